/* The devices by system calls of the program's own, with no library in between: what a preloaded library does not see.
 *
 * Structures and numbers: Linux, include/uapi/linux/kfd_ioctl.h. Sizes of a queue's save area: what the kernel's
 * kfd_queue.c demands of the GPU that the topology describes. */
#include <sys/mman.h>

#include "raw-call.h"

enum { ACQUIRE_VM = 0x15, ALLOC = 0x16, MAP = 0x18, CREATE_QUEUE = 0x02, DESTROY_QUEUE = 0x03, GET_VERSION = 0x01, AVAILABLE = 0x23 };
enum { VRAM = 1 << 0, GTT = 1 << 1, EXECUTABLE = 1 << 30, PAGE = 4096, RING = 65536, COMPUTE_AQL = 2 };
#define WRITABLE (1u << 31)
#define IOWR(nr, type) (0xc0000000u | ((uint32_t)sizeof(type) << 16) | ('K' << 8) | (nr))

struct version { uint32_t major, minor; };
struct acquire { uint32_t drm_fd, gpu_id; };
struct alloc { uint64_t va, size, handle, mmap_offset; uint32_t gpu_id, flags; };
struct map { uint64_t handle, devices; uint32_t count, done; };
struct available { uint64_t bytes; uint32_t gpu_id, pad; };
struct destroy { uint32_t queue_id, pad; };
struct queue {
    uint64_t ring, write_pointer, read_pointer, doorbell;
    uint32_t ring_size, gpu_id, type, percentage, priority, id;
    uint64_t eop, eop_size, save;
    uint32_t save_size, control_stack_size, sdma_engine, pad;
};

static int kfd, render;
static uint32_t gpu_id;

static long call(uint32_t request, void *argument)
{
    return raw(SYS_ioctl, kfd, request, (long)argument, 0, 0, 0);
}

static void fail(const char *what, long error)
{
    printf("{\"error\":\"%s\",\"errno\":%ld}\n", what, -error);
    _exit(1);
}

static long must(const char *what, long result)
{
    if (result < 0)
        fail(what, result);
    return result;
}

/* One value of a topology node's properties; the name is followed by a blank. */
static uint64_t property(const char *text, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, name, length) && line[length] == ' ')
            return number_of(line + length + 1);
    }
    fail(name, 0);
    return 0;
}

static void read_file(const char *path, char *text, size_t size)
{
    long fd = must(path, open_file(path, O_RDONLY));
    size_t have = 0;
    long got;
    while ((got = must(path, raw(SYS_read, fd, (long)text + (long)have, (long)(size - 1 - have), 0, 0, 0))) > 0)
        have += (size_t)got;
    text[have] = 0;
    raw(SYS_close, fd, 0, 0, 0, 0, 0);
}

/* The first topology node that is a GPU: its properties; sets gpu_id and opens its render node. */
static void find_gpu(char *properties, size_t size)
{
    char path[128], text[64];
    for (int node = 0; node < 80; node++) {
        snprintf(path, sizeof path, "/sys/class/kfd/kfd/topology/nodes/%d/gpu_id", node);
        read_file(path, text, sizeof text);
        gpu_id = (uint32_t)number_of(text);
        if (!gpu_id)
            continue;
        snprintf(path, sizeof path, "/sys/class/kfd/kfd/topology/nodes/%d/properties", node);
        read_file(path, properties, size);
        snprintf(path, sizeof path, "/dev/dri/renderD%d", (int)property(properties, "drm_render_minor"));
        render = (int)must(path, open_file(path, O_RDWR));
        return;
    }
    fail("no GPU in the topology", 0);
}

/* Allocates and maps to the GPU; the buffer's address is the same for CPU and GPU. */
static uint64_t buffer(uint64_t size, uint32_t flags)
{
    long va = must("mmap", raw(SYS_mmap, 0, (long)size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    struct alloc alloc = { .va = (uint64_t)va, .size = size, .gpu_id = gpu_id, .flags = flags };
    must("ALLOC_MEMORY_OF_GPU", call(IOWR(ALLOC, struct alloc), &alloc));
    struct map map = { .handle = alloc.handle, .devices = (uint64_t)(uintptr_t)&gpu_id, .count = 1 };
    must("MAP_MEMORY_TO_GPU", call(IOWR(MAP, struct map), &map));
    must("mmap of the render node", raw(SYS_mmap, va, (long)size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, render, (long)alloc.mmap_offset));
    return (uint64_t)va;
}

static uint64_t up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

/* A request for a compute queue, with all the buffers that it needs. */
static struct queue queue_request(const char *properties)
{
    uint64_t xcc = property(properties, "num_xcc"), target = property(properties, "gfx_target_version");
    uint64_t units = property(properties, "simd_count") / property(properties, "simd_per_cu") / xcc;
    uint64_t engines = property(properties, "array_count") / property(properties, "simd_arrays_per_engine");
    uint64_t by_engine = engines * 512, waves = units * (target < 100100 ? 40 : 32);
    if (target < 100100 && waves > by_engine)
        waves = by_engine;
    uint64_t registers = target == 90010 || target / 100 == 904 || target / 100 == 905 ? 0x80000 : target >= 110000 ? 0x60000 : 0x40000;
    uint64_t data = up(units * (registers + 0x4000 + 0x10000 + 0x1000), PAGE);
    uint64_t control = up(40 + waves * (target < 100100 ? 8 : 12) + 8, PAGE);
    uint64_t debug = up(waves * 32, 64), save = up((control + data + debug) * xcc, PAGE);

    uint64_t pointers = buffer(PAGE, GTT | WRITABLE);
    return (struct queue){
        .ring = buffer(RING, GTT | WRITABLE | EXECUTABLE),
        .write_pointer = pointers,
        .read_pointer = pointers + 64,
        .ring_size = RING,
        .gpu_id = gpu_id,
        .type = COMPUTE_AQL,
        .percentage = 100,
        .priority = 7,
        .eop = buffer(PAGE, VRAM | WRITABLE | EXECUTABLE),
        .eop_size = PAGE,
        .save = buffer(save, GTT | WRITABLE | EXECUTABLE),
        .save_size = (uint32_t)(control + data),
        .control_stack_size = (uint32_t)control,
    };
}

/* Opens the GPU's devices and gives the process its address space there. */
static void open_gpu(char *properties, size_t size)
{
    find_gpu(properties, size);
    kfd = (int)must("/dev/kfd", open_file("/dev/kfd", O_RDWR));
    struct acquire acquire = { (uint32_t)render, gpu_id };
    must("ACQUIRE_VM", call(IOWR(ACQUIRE_VM, struct acquire), &acquire));
}
