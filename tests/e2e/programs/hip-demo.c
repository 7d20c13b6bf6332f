/* hip-demo: for people. Says what GPU it sees, takes memory until there is no more, gives some back, then holds the rest
 * until it is told to end (SIGTERM), with a stream at work so that a compute queue exists. */
#include "hip.h"
#include <signal.h>

enum { MOST = 4096 };
static const double gib = 1024.0 * 1024 * 1024;

int main(void)
{
    /* A container's first process ignores signals that it has no handler for: waited for below. */
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigprocmask(SIG_BLOCK, &end, NULL);

    hip_open();
    char name[256] = "";
    int units = 0;
    size_t available = 0, total = 0;
    HIP(hipDeviceGetName(name, sizeof name, 0));
    HIP(hipDeviceGetAttribute(&units, HIP_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
    HIP(hipMemGetInfo(&available, &total));
    printf("GPU:             %s\n", name);
    printf("compute units:   %d\n", units);
    printf("memory:          %.2f GiB, %.2f GiB of it free\n", total / gib, available / gib);

    static void *blocks[MOST];
    size_t step = (size_t)2 << 30, held = 0;
    int count = 0, error = HIP_SUCCESS;
    while (count < MOST && (error = hipMalloc(&blocks[count], step)) == HIP_SUCCESS) {
        held += step;
        count++;
    }
    REQUIRE(error == HIP_OUT_OF_MEMORY, "hipMalloc: error %d", error);
    HIP(hipMemGetInfo(&available, &total));
    printf("hipMalloc(2 GiB) %d times: %.0f GiB; once more: hipErrorOutOfMemory (%.2f GiB free)\n", count, held / gib,
           available / gib);
    /* Most of it is given back: a queue needs some memory too. */
    for (; count > 2; held -= step)
        HIP(hipFree(blocks[--count]));

    void *stream = NULL;
    HIP(hipStreamCreate(&stream));
    HIP(hipMemsetAsync(blocks[0], 1, 4096, stream));
    HIP(hipStreamSynchronize(stream));
    printf("holding %.0f GiB until the container is stopped\n", held / gib);
    fflush(stdout);

    int signal_number;
    sigwait(&end, &signal_number);
    return 0;
}
