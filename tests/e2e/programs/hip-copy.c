/* hip-copy: real bytes through every way of copying and filling, on streams and with events.
 *
 * Within one device HIP copies and fills by compute kernels, which a simulator may not execute: whether the bytes are
 * right is reported there, for the caller to judge, and demanded everywhere else. */
#include "hip.h"

enum { BYTES = 5 * 1024 * 1024 + 12 };
static unsigned char source[BYTES], back[BYTES];

static void check(const char *name, const unsigned char *memory, unsigned seed)
{
    size_t place = first_difference(memory, BYTES, seed);
    REQUIRE(place == BYTES, "%s: byte %zu is %02x", name, place, memory[place]);
    step(name, "\"bytes\":%d", BYTES);
}

static void report(const char *name, int same)
{
    step(name, "\"bytes\":%d,\"same\":%s", BYTES, same ? "true" : "false");
}

static void blocking(unsigned char *one, unsigned char *two)
{
    fill(source, BYTES, 1);
    HIP(hipMemcpy(one, source, BYTES, HIP_HOST_TO_DEVICE));
    HIP(hipMemcpy(back, one, BYTES, HIP_DEVICE_TO_HOST));
    check("host-device-host", back, 1);

    HIP(hipMemcpy(two, one, BYTES, HIP_DEVICE_TO_DEVICE));
    HIP(hipDeviceSynchronize());
    HIP(hipMemcpy(back, two, BYTES, HIP_DEVICE_TO_HOST));
    report("device-device", first_difference(back, BYTES, 1) == BYTES);
}

static void async(unsigned char *one)
{
    void *stream = NULL, *other = NULL, *begin = NULL, *end = NULL, *pinned = NULL;
    float elapsed = -1;
    HIP(hipStreamCreate(&stream));
    HIP(hipStreamCreate(&other));
    HIP(hipEventCreate(&begin));
    HIP(hipEventCreate(&end));
    HIP(hipHostMalloc(&pinned, BYTES, 0));
    fill(pinned, BYTES, 2);
    HIP(hipEventRecord(begin, stream));
    HIP(hipMemcpyAsync(one, pinned, BYTES, HIP_HOST_TO_DEVICE, stream));
    HIP(hipEventRecord(end, stream));
    HIP(hipStreamWaitEvent(other, end, 0));
    HIP(hipMemcpyAsync(back, one, BYTES, HIP_DEVICE_TO_HOST, other));
    HIP(hipStreamSynchronize(other));
    HIP(hipEventSynchronize(end));
    check("streams", back, 2);
    HIP(hipEventElapsedTime(&elapsed, begin, end));
    REQUIRE(elapsed >= 0, "%f ms elapsed", elapsed);
    step("events", "\"milliseconds\":%f", elapsed);
    HIP(hipHostFree(pinned));
    HIP(hipEventDestroy(begin));
    HIP(hipEventDestroy(end));
    HIP(hipStreamDestroy(other));
    HIP(hipStreamDestroy(stream));
}

static void managed(void)
{
    unsigned char *memory = NULL;
    HIP(hipMallocManaged((void **)&memory, BYTES, HIP_MEM_ATTACH_GLOBAL));
    fill(memory, BYTES, 3);
    HIP(hipMemcpy(back, memory, BYTES, HIP_DEVICE_TO_HOST));
    check("managed", back, 3);
    HIP(hipFree(memory));
}

static void virtual_memory(void)
{
    hip_allocation_prop prop = { .type = 1, .location = { .type = 1, .id = 0 } };
    hip_access access = { .location = { .type = 1, .id = 0 }, .flags = 3 };
    size_t granule = 0, size;
    void *address = NULL, *handle = NULL;
    HIP(hipMemGetAllocationGranularity(&granule, &prop, 0));
    if (!granule) {
        /* HIP 5.7 has the functions, but nothing behind them on Linux. */
        step("virtual-memory", "\"supported\":false");
        return;
    }
    size = (BYTES + granule - 1) / granule * granule;
    HIP(hipMemAddressReserve(&address, size, 0, NULL, 0));
    HIP(hipMemCreate(&handle, size, &prop, 0));
    HIP(hipMemMap(address, size, 0, handle, 0));
    HIP(hipMemSetAccess(address, size, &access, 1));
    fill(source, BYTES, 4);
    HIP(hipMemcpy(address, source, BYTES, HIP_HOST_TO_DEVICE));
    HIP(hipMemcpy(back, address, BYTES, HIP_DEVICE_TO_HOST));
    check("virtual-memory", back, 4);
    HIP(hipMemUnmap(address, size));
    HIP(hipMemRelease(handle));
    HIP(hipMemAddressFree(address, size));
}

int main(void)
{
    unsigned char *one = NULL, *two = NULL;
    hip_open();
    HIP(hipMalloc((void **)&one, BYTES));
    HIP(hipMalloc((void **)&two, BYTES));
    blocking(one, two);
    async(one);
    HIP(hipMemset(one, 0x5a, BYTES));
    HIP(hipMemcpy(back, one, BYTES, HIP_DEVICE_TO_HOST));
    report("memset", back[0] == 0x5a && !memcmp(back, back + 1, BYTES - 1));
    managed();
    virtual_memory();
    HIP(hipFree(one));
    HIP(hipFree(two));
    done();
    return 0;
}
