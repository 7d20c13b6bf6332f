/* storm: allocates, frees, and waits for an event that has come, a thousand times; during each call a timer's signal comes,
 * sooner or later, so that many calls are interrupted and begin anew. Prints the calls that failed. Structures: Linux,
 * kfd_ioctl.h. */
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
struct event { uint64_t page; uint32_t trigger, type, auto_reset, node, id, slot; };
struct event_data { uint64_t data[5]; uint32_t id, pad; };
struct wait { uint64_t events; uint32_t count, all, timeout_ms, result; };

static volatile sig_atomic_t signals;

static void count(int number)
{
    (void)number;
    signals++;
}

static int kfd;

/* A call during which the signal comes, unless it is over by then. */
static int in_storm(int round, unsigned long request, void *argument)
{
    struct itimerval soon = {.it_value.tv_usec = 1 + round * 7 % 60};
    setitimer(ITIMER_REAL, &soon, NULL);
    return syscall(SYS_ioctl, kfd, request, argument);
}

int main(void)
{
    char text[32] = "";
    int failed = 0, file = open("/sys/class/kfd/kfd/topology/nodes/1/gpu_id", O_RDONLY);
    if (read(file, text, sizeof text - 1) < 0)
        return 1;
    uint32_t gpu_id = strtoul(text, NULL, 10);
    kfd = open("/dev/kfd", O_RDWR);
    struct pair acquire = {open("/dev/dri/renderD128", O_RDWR), gpu_id};
    if (syscall(SYS_ioctl, kfd, KFD(0x15, acquire), &acquire))
        return 1;
    struct event event = {.auto_reset = 1};
    if (syscall(SYS_ioctl, kfd, KFD(0x08, event), &event))
        return 1;
    struct pair set = {event.id, 0};
    struct sigaction action = {.sa_handler = count, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        struct alloc alloc = {.va = 0x700000000000, .size = 1 << 20, .gpu_id = gpu_id, .flags = VRAM | 1u << 31};
        failed += in_storm(round, KFD(0x16, alloc), &alloc) != 0;
        failed += in_storm(round, KFD(0x17, alloc.handle), &alloc.handle) != 0;
        /* The event is taken by the wait: one that is served twice waits in vain. */
        struct event_data data = {.id = event.id};
        struct wait wait = {.events = (uintptr_t)&data, .count = 1, .timeout_ms = 1000};
        failed += syscall(SYS_ioctl, kfd, KFD(0x0a, set), &set) != 0;
        failed += in_storm(round, KFD(0x0c, wait), &wait) != 0 || wait.result != 0;
    }
    printf("failed %d\n%s\n", failed, signals > 100 ? "stormy" : "calm");
    return 0;
}
