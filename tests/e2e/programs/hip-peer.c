/* hip-peer: memory of two GPUs, each seen from the other. */
#include "hip.h"

enum { BYTES = 3 * 1024 * 1024 };
static unsigned char host[BYTES];

int main(void)
{
    int devices = hip_open(), there = 0, back = 0;
    unsigned char *memory[2] = { NULL, NULL };
    REQUIRE(devices >= 2, "two devices are needed, there are %d", devices);
    HIP(hipDeviceCanAccessPeer(&there, 0, 1));
    HIP(hipDeviceCanAccessPeer(&back, 1, 0));
    REQUIRE(there && back, "no peer access: %d and %d", there, back);
    step("peers", "\"devices\":%d", devices);
    for (int device = 0; device < 2; device++) {
        HIP(hipSetDevice(device));
        HIP(hipMalloc((void **)&memory[device], BYTES));
        HIP(hipDeviceEnablePeerAccess(1 - device, 0));
    }
    fill(host, BYTES, 8);
    HIP(hipSetDevice(0));
    HIP(hipMemcpy(memory[0], host, BYTES, HIP_HOST_TO_DEVICE));
    HIP(hipMemcpyPeer(memory[1], 1, memory[0], 0, BYTES));
    HIP(hipDeviceSynchronize());
    memset(host, 0, BYTES);
    HIP(hipSetDevice(1));
    HIP(hipMemcpy(host, memory[1], BYTES, HIP_DEVICE_TO_HOST));
    step("peer-copy", "\"bytes\":%d,\"same\":%s", BYTES, first_difference(host, BYTES, 8) == BYTES ? "true" : "false");
    HIP(hipFree(memory[0]));
    HIP(hipFree(memory[1]));
    done();
    return 0;
}
