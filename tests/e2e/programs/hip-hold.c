/* hip-hold BYTES: allocates so much and keeps it until a signal: SIGUSR1 frees it, SIGTERM ends the program. */
#include <signal.h>

#include "hip.h"

static volatile sig_atomic_t over;

static void heed(int signal)
{
    over = signal == SIGTERM;
}

int main(int argc, char **argv)
{
    void *memory = NULL;
    size_t bytes = bytes_of(argc > 1 ? argv[1] : "1G"), available = 0, total = 0;
    sigset_t heeded, before;
    hip_open();
    sigemptyset(&heeded);
    sigaddset(&heeded, SIGTERM);
    sigaddset(&heeded, SIGUSR1);
    signal(SIGTERM, heed);
    signal(SIGUSR1, heed);
    int error = hipMalloc(&memory, bytes);
    if (error != HIP_SUCCESS) {
        step("refused", "\"bytes\":%zu,\"error\":\"%s\"", bytes, hipGetErrorName(error));
        return 2;
    }
    HIP(hipMemset(memory, 1, 4096));
    HIP(hipDeviceSynchronize());
    HIP(hipMemGetInfo(&available, &total));
    /* A signal that comes before the wait would be missed. */
    sigprocmask(SIG_BLOCK, &heeded, &before);
    step("holding", "\"bytes\":%zu,\"free\":%zu,\"total\":%zu,\"pid\":%d", bytes, available, total, (int)getpid());
    sigsuspend(&before);
    HIP(hipFree(memory));
    if (!over) {
        step("freed", "\"bytes\":%zu", bytes);
        sigsuspend(&before);
    }
    done();
    return 0;
}
