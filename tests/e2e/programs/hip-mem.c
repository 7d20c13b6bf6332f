/* hip-mem [STEP]: the device's size, and what happens when its memory runs out.
 *
 * Allocates in steps (default 1/16 of the total, at least 1 MiB) until HIP reports out of memory, checking that free
 * never exceeds total nor grows; then in halves down to 2 MiB, so that what is left could not hold that; then frees. */
#include "hip.h"

enum { MOST = 4096 };
static void *blocks[MOST];

static size_t free_now(size_t *total)
{
    size_t available = 0;
    HIP(hipMemGetInfo(&available, total));
    REQUIRE(available <= *total, "free %zu > total %zu", available, *total);
    return available;
}

int main(int argc, char **argv)
{
    int devices = hip_open(), units = 0;
    char name[256] = "";
    HIP(hipDeviceGetName(name, sizeof name, 0));
    HIP(hipDeviceGetAttribute(&units, HIP_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
    step("device", "\"devices\":%d,\"name\":\"%s\",\"multiprocessors\":%d", devices, name, units);

    size_t total = 0, before = free_now(&total);
    step("memory", "\"total\":%zu,\"free\":%zu", total, before);
    REQUIRE(hipMalloc(&blocks[0], total + 1) == HIP_OUT_OF_MEMORY, "more than the total was given");
    step("beyond-total", "\"bytes\":%zu,\"refused\":true", total + 1);

    size_t size = argc > 1 ? bytes_of(argv[1]) : total / 16, allocated = 0, last = before, smallest = (size_t)2 << 20;
    size = size < smallest ? smallest : size;
    int count = 0, refused = 0;
    while (count < MOST && size >= smallest) {
        int error = hipMalloc(&blocks[count], size);
        if (error == HIP_OUT_OF_MEMORY) {
            refused++;
            size /= 2;
            continue;
        }
        HIP(error);
        allocated += size;
        count++;
        size_t available = free_now(&total);
        REQUIRE(available <= last, "free grew from %zu to %zu", last, available);
        last = available;
    }
    REQUIRE(refused, "never out of memory after %zu bytes", allocated);
    REQUIRE(allocated <= total, "%zu bytes allocated of %zu", allocated, total);
    step("full", "\"blocks\":%d,\"allocated\":%zu,\"free\":%zu,\"refused\":%d", count, allocated, last, refused);

    for (int i = 0; i < count; i++)
        HIP(hipFree(blocks[i]));
    size_t after = free_now(&total);
    REQUIRE(after + smallest >= before, "free was %zu and is %zu after all was freed", before, after);
    step("freed", "\"free\":%zu", after);
    return 0;
}
