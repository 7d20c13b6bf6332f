/* storm: allocates and frees a thousand times while a timer's signal comes as often as the kernel sends it, so that many
 * calls are interrupted and begin anew. Prints the calls that failed. Structures: Linux, kfd_ioctl.h. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define KFD(nr, type) (0xc0000000u | ((uint32_t)sizeof(type) << 16) | 'K' << 8 | (nr))
enum { ROUNDS = 1000, VRAM = 1 };

struct pair { uint32_t a, b; };
struct alloc { uint64_t va, size, handle, offset; uint32_t gpu_id, flags; };

static volatile sig_atomic_t signals;

static void count(int number)
{
    (void)number;
    signals++;
}

int main(void)
{
    char text[32] = "";
    int failed = 0, file = open("/sys/class/kfd/kfd/topology/nodes/1/gpu_id", O_RDONLY);
    if (read(file, text, sizeof text - 1) < 0)
        return 1;
    uint32_t gpu_id = strtoul(text, NULL, 10);
    int kfd = open("/dev/kfd", O_RDWR);
    struct pair acquire = {open("/dev/dri/renderD128", O_RDWR), gpu_id};
    if (syscall(SYS_ioctl, kfd, KFD(0x15, acquire), &acquire))
        return 1;
    struct sigaction action = {.sa_handler = count, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 20}, {0, 20}};
    setitimer(ITIMER_REAL, &often, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        struct alloc alloc = {.va = 0x700000000000, .size = 1 << 20, .gpu_id = gpu_id, .flags = VRAM | 1u << 31};
        failed += syscall(SYS_ioctl, kfd, KFD(0x16, alloc), &alloc) != 0;
        failed += syscall(SYS_ioctl, kfd, KFD(0x17, alloc.handle), &alloc.handle) != 0;
    }
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    printf("failed %d\n%s\n", failed, signals > 100 ? "stormy" : "calm");
    return 0;
}
