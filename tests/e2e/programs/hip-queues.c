/* hip-queues [STREAMS]: several streams in use at a time, so that several hardware queues exist, and streams whose
 * compute units the program itself chooses. */
#include "hip.h"

enum { MOST = 64, BYTES = 1 << 16 };

int main(int argc, char **argv)
{
    int count = argc > 1 ? (int)bytes_of(argv[1]) : 4, units = 0;
    void *streams[MOST], *memory[MOST];
    hip_open();
    REQUIRE(count > 0 && count <= MOST, "1 to %d streams", MOST);
    HIP(hipDeviceGetAttribute(&units, HIP_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
    step("device", "\"multiprocessors\":%d", units);
    for (int i = 0; i < count; i++) {
        HIP(hipStreamCreate(&streams[i]));
        HIP(hipMalloc(&memory[i], BYTES));
    }
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < count; i++)
            HIP(hipMemsetAsync(memory[i], round + i, BYTES, streams[i]));
    for (int i = 0; i < count; i++)
        HIP(hipStreamSynchronize(streams[i]));
    step("streams", "\"count\":%d", count);

    const uint32_t mask[2] = { 0x0000ffff, 0 };
    uint32_t read[32] = { 0 };
    void *masked = NULL;
    HIP(hipExtStreamCreateWithCUMask(&masked, 2, mask));
    HIP(hipMemsetAsync(memory[0], 7, BYTES, masked));
    HIP(hipStreamSynchronize(masked));
    HIP(hipExtStreamGetCUMask(masked, 32, read));
    step("masked", "\"asked\":[%u,%u],\"read\":[%u,%u]", mask[0], mask[1], read[0], read[1]);
    HIP(hipDeviceSynchronize());

    HIP(hipStreamDestroy(masked));
    for (int i = 0; i < count; i++) {
        HIP(hipStreamDestroy(streams[i]));
        HIP(hipFree(memory[i]));
    }
    done();
    return 0;
}
