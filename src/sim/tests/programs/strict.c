/* strict: asks the devices for what the kernel refuses, and prints "STEP RESULT" for each step: 0, or the errno's name.
 * No library: system calls by syscall(2) alone. Structures: Linux, kfd_ioctl.h and amdgpu_drm.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define KFD(nr, type) (0xc0000000u | ((uint32_t)sizeof(type) << 16) | 'K' << 8 | (nr))
#define DRM(nr, type) (0xc0000000u | ((uint32_t)sizeof(type) << 16) | 'd' << 8 | (nr))
enum { VRAM = 1, GTT = 2 };
#define WRITABLE (1u << 31)

struct pair { uint32_t a, b; };
struct alloc { uint64_t va, size, handle, offset; uint32_t gpu_id, flags; };
struct map { uint64_t handle, devices; uint32_t count, done; };
struct available { uint64_t bytes; uint32_t gpu_id, pad; };
struct mask { uint32_t queue, bits; uint64_t words; };
struct queue {
    uint64_t ring, write, read, doorbell;
    uint32_t ring_size, gpu_id, type, percentage, priority, id;
    uint64_t eop, eop_size, save;
    uint32_t save_size, stack_size, engine, pad;
};
struct event { uint64_t page; uint32_t trigger, type, auto_reset, node, id, slot; };
struct wait { uint64_t events; uint32_t count, all, timeout, result; };
struct event_data { uint64_t data[5]; uint32_t id, pad; };
struct gem_create { uint64_t size, alignment, domains, flags; };

static int kfd, render;
static uint32_t gpu_id;

static long report(const char *step, long result)
{
    printf("%s %s\n", step, result < 0 ? strerrorname_np(errno) : "0");
    return result;
}

static long kfd_call(const char *step, uint32_t request, void *argument)
{
    return report(step, syscall(SYS_ioctl, kfd, request, argument));
}

static uint64_t number_in(const char *format, uint64_t a, uint64_t b)
{
    char path[128], text[32] = "";
    snprintf(path, sizeof path, format, a, b);
    int fd = open(path, O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
        return UINT64_MAX;
    close(fd);
    return strtoull(text, NULL, 10);
}

static void memory(void)
{
    uint32_t ids[1] = {gpu_id};
    struct pair acquire = {render, gpu_id + 1};
    struct alloc alloc = {.va = 0x700000000000, .size = 1 << 20, .gpu_id = gpu_id, .flags = VRAM | WRITABLE};
    kfd_call("alloc-before-acquire", KFD(0x16, alloc), &alloc);
    kfd_call("acquire-other-gpu", KFD(0x15, acquire), &acquire);
    acquire = (struct pair){kfd, gpu_id};
    kfd_call("acquire-by-kfd", KFD(0x15, acquire), &acquire);
    acquire.a = render;
    kfd_call("acquire", KFD(0x15, acquire), &acquire);
    alloc.size = 0;
    kfd_call("alloc-nothing", KFD(0x16, alloc), &alloc);
    alloc.size = 1ull << 40;
    kfd_call("alloc-too-much", KFD(0x16, alloc), &alloc);
    alloc.size = 1 << 20;
    kfd_call("alloc", KFD(0x16, alloc), &alloc);
    printf("figure %lu\n", number_in("/sys/class/kfd/kfd/proc/%lu/vram_%lu", getpid(), gpu_id));
    char *bytes = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, render, alloc.offset);
    report("mmap", bytes == MAP_FAILED ? -1 : 0);
    memset(bytes, 7, 1 << 20);
    struct map map = {alloc.handle, (uint64_t)ids, 1, 0};
    kfd_call("map", KFD(0x18, map), &map);
    kfd_call("free-mapped", KFD(0x17, alloc.handle), &alloc.handle);
    map.done = 0;
    kfd_call("unmap", KFD(0x19, map), &map);
    kfd_call("free", KFD(0x17, alloc.handle), &alloc.handle);
    kfd_call("free-again", KFD(0x17, alloc.handle), &alloc.handle);
    printf("figure %lu\n", number_in("/sys/class/kfd/kfd/proc/%lu/vram_%lu", getpid(), gpu_id));
}

static void queues(void)
{
    uint32_t words[2] = {0xffff, 0};
    struct mask mask = {0, 33, (uint64_t)words};
    kfd_call("mask-of-33-bits", KFD(0x1a, mask), &mask);
    mask.bits = 0;
    kfd_call("mask-of-no-bits", KFD(0x1a, mask), &mask);
    mask.bits = 64;
    kfd_call("mask-without-queue", KFD(0x1a, mask), &mask);
    struct queue queue = {.ring_size = 3000, .gpu_id = gpu_id, .type = 2, .percentage = 100};
    kfd_call("queue-of-3000-bytes", KFD(0x02, queue), &queue);
    queue.ring_size = 4096;
    kfd_call("queue-without-buffers", KFD(0x02, queue), &queue);
    queue.type = 9;
    kfd_call("queue-of-unknown-type", KFD(0x02, queue), &queue);
}

static void events(void)
{
    struct event event = {.auto_reset = 1};
    kfd_call("event", KFD(0x08, event), &event);
    printf("event-page %s\n", event.page ? "given" : "missing");
    struct event_data data = {.id = event.id};
    struct wait wait = {(uint64_t)&data, 1, 0, 20, 9};
    kfd_call("wait", KFD(0x0c, wait), &wait);
    printf("wait-result %u\n", wait.result);
    struct pair set = {event.id, 0};
    kfd_call("set", KFD(0x0a, set), &set);
    wait.timeout = UINT32_MAX;
    kfd_call("wait-for-set", KFD(0x0c, wait), &wait);
    printf("wait-result %u\n", wait.result);
    set.a = 4000;
    kfd_call("set-unknown", KFD(0x0a, set), &set);
}

static void render_node(void)
{
    struct stat status;
    report("fstat", fstat(render, &status));
    printf("device %s %u %u\n", S_ISCHR(status.st_mode) ? "char" : "other", major(status.st_rdev), minor(status.st_rdev));
    struct gem_create create = {1 << 20, 0, 4, 0};
    report("gem-create", syscall(SYS_ioctl, render, DRM(0x40, create), &create));
    struct pair close_handle = {(uint32_t)create.size, 0};
    report("gem-close", syscall(SYS_ioctl, render, DRM(0x09, close_handle), &close_handle));
    report("gem-close-again", syscall(SYS_ioctl, render, DRM(0x09, close_handle), &close_handle));
    report("command-submission", syscall(SYS_ioctl, render, DRM(0x44, create), &create));
}

/* A number may come to stand for another file, and a device may get another number. */
static void descriptors(void)
{
    struct pair version = {0, 0};
    int copy = dup(kfd), null = open("/dev/null", O_RDWR);
    report("version-by-a-copy", syscall(SYS_ioctl, copy, KFD(0x01, version), &version));
    dup2(null, kfd);
    kfd_call("null-in-its-place", KFD(0x01, version), &version);
    dup2(copy, kfd);
    kfd_call("version-by-the-old-number", KFD(0x01, version), &version);
}

/* What a process held is free for others as soon as it is gone. */
static void given_back(void)
{
    struct alloc alloc = {.va = 0x600000000000, .size = 150ull << 30, .gpu_id = gpu_id, .flags = VRAM | WRITABLE};
    if (!fork()) {
        kfd = open("/dev/kfd", O_RDWR);
        struct pair acquire = {open("/dev/dri/renderD128", O_RDWR), gpu_id};
        kfd_call("acquire-in-a-child", KFD(0x15, acquire), &acquire);
        kfd_call("alloc-in-a-child", KFD(0x16, alloc), &alloc);
        _exit(0);
    }
    wait(NULL);
    kfd_call("alloc-the-same", KFD(0x16, alloc), &alloc);
    kfd_call("free-the-same", KFD(0x17, alloc.handle), &alloc.handle);
}

int main(void)
{
    setbuf(stdout, NULL);
    gpu_id = number_in("/sys/class/kfd/kfd/topology/nodes/%lu/gpu_id", 1, 0);
    kfd = report("open-kfd", open("/dev/kfd", O_RDWR | O_CLOEXEC));
    render = report("open-render", open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC));
    struct pair version = {0, 0};
    kfd_call("version", KFD(0x01, version), &version);
    version.a = 0;
    /* The kernel looks at the number alone. */
    kfd_call("version-of-another-type", 0xc0080001, &version);
    printf("version %u\n", version.a);
    kfd_call("unknown-call", KFD(0x7f, version), &version);
    kfd_call("bad-pointer", KFD(0x01, version), (void *)16);
    memory();
    queues();
    events();
    render_node();
    descriptors();
    given_back();
    if (!fork()) {
        struct available available = {0, gpu_id, 0};
        kfd_call("in-a-child", KFD(0x23, available), &available);
        _exit(0);
    }
    wait(NULL);
    return 0;
}
