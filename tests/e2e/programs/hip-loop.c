/* hip-loop STREAMS: kernels in a loop on several streams until a signal ends the program; fails if any call does, or if
 * memory is not what the last kernels made it. */
#include <signal.h>

#include "hip.h"

enum { MOST = 8, BYTES = 1 << 20 };

static volatile sig_atomic_t over;

static void leave(int signal)
{
    (void)signal;
    over = 1;
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? (int)bytes_of(argv[1]) : 1, rounds = 0;
    void *streams[MOST], *memory[MOST];
    hip_open();
    REQUIRE(count > 0 && count <= MOST, "1 to %d streams", MOST);
    signal(SIGTERM, leave);
    for (int i = 0; i < count; i++) {
        HIP(hipStreamCreate(&streams[i]));
        HIP(hipMalloc(&memory[i], BYTES));
    }
    do {
        rounds++;
        for (int i = 0; i < count; i++)
            HIP(hipMemsetAsync(memory[i], rounds & 0xff, BYTES, streams[i]));
        for (int i = 0; i < count; i++)
            HIP(hipStreamSynchronize(streams[i]));
        if (rounds == 1)
            step("looping", "\"streams\":%d,\"pid\":%d", count, (int)getpid());
    } while (!over);
    for (int i = 0; i < count; i++) {
        unsigned char bytes[BYTES];
        HIP(hipMemcpy(bytes, memory[i], BYTES, HIP_DEVICE_TO_HOST));
        for (int at = 0; at < BYTES; at++)
            REQUIRE(bytes[at] == (rounds & 0xff), "byte %d of memory %d: %d after round %d", at, i, bytes[at], rounds);
        HIP(hipStreamDestroy(streams[i]));
        HIP(hipFree(memory[i]));
    }
    step("rounds", "\"count\":%d", rounds);
    done();
    return 0;
}
