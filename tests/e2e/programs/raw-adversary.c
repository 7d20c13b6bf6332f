/* raw-adversary NAME: one way past a slice of 20 GiB and a quarter of the compute units, by system calls of its own.
 * Ends with 3 where it is refused, with 0 where it has got what it wanted and keeps it for four seconds unmolested. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "raw.h"

enum { REFUSED = 3, IMPORT_DMABUF = 0x1d, SVM = 0x20, CRIU = 0x22, EXPORT_DMABUF = 0x24, SET_CU_MASK = 0x1a, FREE = 0x17 };
enum { GEM_CREATE = 0x40, GEM_OP = 0x50, USERQ = 0x56, GEM_VRAM = 4, SET_PLACEMENT = 1, AQL_QUEUE_MEM = 1 << 27 };
#define GIB ((uint64_t)1 << 30)
#define BEYOND (30 * GIB)
#define WORD(kind, nr, size) (0xc0000000u | ((uint32_t)(size) << 16) | ((uint32_t)(kind) << 8) | (nr))

struct mask { uint32_t queue_id, bits; uint64_t words; };
struct svm { uint64_t start, size; uint32_t op, count, kind, value; };
struct criu { uint64_t pointers[4]; uint32_t counts[4], op, pad; };
struct handover { uint64_t handle; uint32_t flags; int32_t fd; };
struct import { uint64_t va, handle; uint32_t gpu_id, fd; };
struct gem { uint64_t size, alignment, domains, flags; };
struct gem_op { uint32_t handle, op; uint64_t value; };

static char properties[8192];

/* Keeps what it has got, for the watchdog to find. */
static int keep(void)
{
    printf("{\"step\":\"got\"}\n");
    struct timespec while_watched = { 4, 0 };
    nanosleep(&while_watched, NULL);
    return 0;
}

static int outcome(long result)
{
    if (result >= 0)
        return keep();
    printf("{\"step\":\"refused\",\"errno\":%ld}\n", -result);
    return REFUSED;
}

static long allocate(uint64_t size)
{
    struct alloc alloc = wish(size, VRAM | WRITABLE);
    return call(IOWR(ALLOC, struct alloc), &alloc);
}

static long device(uint32_t request, void *argument)
{
    return raw(SYS_ioctl, render, request, (long)argument, 0, 0, 0);
}

/* 1: ALLOC, with no library in between. */
static int allocation(void)
{
    return outcome(allocate(BEYOND));
}

/* 2: the KFD heeds the number alone; a filter that looked for 'K' would see nothing. */
static int type_byte(void)
{
    struct alloc alloc = wish(BEYOND, VRAM | WRITABLE);
    return outcome(call(WORD('x', ALLOC, sizeof alloc), &alloc));
}

/* 3: a size that no header knows; the KFD fills up or cuts off. */
static int odd_size(void)
{
    struct { struct alloc alloc; char more[24]; } larger = { .alloc = wish(BEYOND, VRAM | WRITABLE) };
    return outcome(call(WORD('K', ALLOC, sizeof larger), &larger));
}

/* 4: each step is small. */
static int small_steps(void)
{
    long result = 0;
    for (int step = 0; step < 30 && result >= 0; step++)
        result = allocate(GIB);
    return outcome(result);
}

/* 5: memory that counts half. */
static int halved_ring(void)
{
    struct alloc alloc = wish(2 * BEYOND, VRAM | WRITABLE | AQL_QUEUE_MEM);
    return outcome(call(IOWR(ALLOC, struct alloc), &alloc));
}

/* 6: the children have the memory, each of them less than the limit. */
static int children(void)
{
    int status, refused = 0;
    for (int child = 0; child < 3; child++) {
        if (fork() == 0) {
            kfd = (int)must("/dev/kfd", open_file("/dev/kfd", O_RDWR));
            struct acquire acquire = { (uint32_t)render, gpu_id };
            must("ACQUIRE_VM", call(IOWR(ACQUIRE_VM, struct acquire), &acquire));
            _exit(outcome(allocate(10 * GIB)));
        }
    }
    while (wait(&status) > 0)
        refused += WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
    return refused ? REFUSED : 0;
}

/* 7: a process that has left its parent, session and process group. */
static int orphan(void)
{
    int ends[2], result = 0;
    must("pipe", pipe(ends));
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            kfd = (int)must("/dev/kfd", open_file("/dev/kfd", O_RDWR));
            struct acquire acquire = { (uint32_t)render, gpu_id };
            must("ACQUIRE_VM", call(IOWR(ACQUIRE_VM, struct acquire), &acquire));
            result = outcome(allocate(BEYOND));
            must("write", write(ends[1], &result, sizeof result));
        }
        _exit(0);
    }
    close(ends[1]);
    /* Nothing comes from one that was killed. */
    return read(ends[0], &result, sizeof result) == sizeof result ? result : REFUSED;
}

/* 8: a descriptor that another process opened, and a buffer that another process has. */
static int descriptor_of_another(void)
{
    struct alloc own = wish(GIB, VRAM | WRITABLE);
    must("ALLOC_MEMORY_OF_GPU", call(IOWR(ALLOC, struct alloc), &own));
    if (fork() == 0) {
        int refused = allocate(GIB) < 0;
        int again = (int)must("/dev/kfd", open_file("/dev/kfd", O_RDWR));
        uint64_t handle = own.handle;
        refused &= raw(SYS_ioctl, again, WORD('K', FREE, sizeof handle), (long)&handle, 0, 0, 0) < 0;
        _exit(refused ? REFUSED : 0);
    }
    int status;
    wait(&status);
    return WEXITSTATUS(status);
}

static uint64_t available_memory(void)
{
    struct available available = { .gpu_id = gpu_id };
    must("AVAILABLE_MEMORY", call(IOWR(AVAILABLE, struct available), &available));
    return available.bytes;
}

/* What the whole GPU has before a race. A killed process's memory comes back a moment after its end: until then the race
 * would be for nothing, and what comes back meanwhile would be counted in its stead. */
static uint64_t memory_before_a_race(void)
{
    struct timespec moment = { 0, 10000000 };
    for (int wait = 0; wait < 200 && available_memory() < 150 * GIB; wait++)
        nanosleep(&moment, NULL);
    return available_memory();
}

/* Whether a race has brought more than the slice, by what the whole GPU has less than before: a race that is won brings 30 GiB,
 * one that is lost the slice's 20 at most, and the program beside it takes and gives back a few meanwhile. */
static int outcome_of_race(uint64_t before)
{
    return available_memory() + 25 * GIB < before ? keep() : REFUSED;
}

/* 9: memory that another thread enlarges after it was looked at. */
static volatile struct alloc raced;
static volatile int racing = 1;

static void *enlarge(void *unused)
{
    while (racing) {
        raced.size = GIB;
        raced.size = BEYOND;
    }
    return unused;
}

static int race_on_arguments(void)
{
    pthread_t thread;
    uint64_t before = memory_before_a_race();
    *(struct alloc *)&raced = wish(BEYOND, VRAM | WRITABLE);
    pthread_create(&thread, NULL, enlarge, NULL);
    for (int round = 0; round < 25; round++)
        call(IOWR(ALLOC, struct alloc), (void *)&raced);
    racing = 0;
    pthread_join(thread, NULL);
    return outcome_of_race(before);
}

/* 10: a descriptor that another thread exchanges after it was looked at. */
static int changing = 100;

static void *exchange(void *null)
{
    while (racing) {
        dup2(*(int *)null, changing);
        dup2(kfd, changing);
    }
    return null;
}

static int race_on_descriptor(void)
{
    pthread_t thread;
    int null = open("/dev/null", O_RDWR);
    uint64_t before = memory_before_a_race();
    pthread_create(&thread, NULL, exchange, &null);
    for (int round = 0; round < 200; round++) {
        struct alloc alloc = wish(BEYOND, VRAM | WRITABLE);
        raw(SYS_ioctl, changing, IOWR(ALLOC, struct alloc), (long)&alloc, 0, 0, 0);
    }
    racing = 0;
    pthread_join(thread, NULL);
    return outcome_of_race(before);
}

/* 11: the page in which the shims count, all zeroes, then all ones. */
static int scribble(void)
{
    int usage = (int)must("usage page", open_file("/run/sdg/usage", O_RDWR));
    size_t size = 294976;
    char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, usage, 0);
    memset(page, 0, size);
    long result = allocate(BEYOND);
    memset(page, 0xff, size);
    return outcome(result);
}

/* 12: the page that says the limit. */
static int write_limits(void)
{
    long writable = open_file("/run/sdg/limits", O_RDWR);
    int readable = (int)must("limits page", open_file("/run/sdg/limits", O_RDONLY));
    void *page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, readable, 0);
    int refused = writable < 0 && mprotect(page, PAGE, PROT_READ | PROT_WRITE) < 0 && unlink("/run/sdg/limits") < 0;
    return refused ? REFUSED : 0;
}

/* 13: what is mounted goes, or is covered, or made writable. */
static int unmount(void)
{
    int refused = umount2("/run/sdg/limits", MNT_DETACH) < 0 && mount("/etc/hostname", "/run/sdg/limits", NULL, MS_BIND, NULL) < 0 &&
                  mount(NULL, "/run/sdg/limits", NULL, MS_REMOUNT | MS_BIND, NULL) < 0;
    return refused ? REFUSED : 0;
}

/* 14: the same in namespaces of its own, where it is root, and a page of its own lies over the slice's. */
static int own_namespaces(void)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return REFUSED;
    mount("/etc/hostname", "/run/sdg/limits", NULL, MS_BIND, NULL);
    return outcome(allocate(BEYOND));
}

/* 15: the render node of another GPU. */
static int node_of_another_gpu(void)
{
    mknod("/tmp/node", S_IFCHR | 0666, (226 << 8) | 136);
    return open_file("/tmp/node", O_RDWR) < 0 ? REFUSED : 0;
}

/* 16: memory that moves to the GPU by itself. */
static int managed(void)
{
    long va = must("mmap", raw(SYS_mmap, 0, (long)BEYOND, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    struct svm svm = { .start = (uint64_t)va, .size = BEYOND, .count = 1, .kind = 1, .value = gpu_id };
    return outcome(call(WORD('K', SVM, sizeof svm), &svm));
}

/* 17: past the KFD. */
static int graphics_buffer(void)
{
    struct gem gem = { .size = BEYOND, .alignment = PAGE, .domains = GEM_VRAM };
    return outcome(device(WORD('d', GEM_CREATE, sizeof gem), &gem));
}

/* 18: a buffer in system memory is moved to the GPU's. */
static int placed_buffer(void)
{
    struct gem gem = { .size = BEYOND, .alignment = PAGE, .domains = 2 };
    must("GEM_CREATE", device(WORD('d', GEM_CREATE, sizeof gem), &gem));
    struct gem_op op = { .handle = (uint32_t)gem.size, .op = SET_PLACEMENT, .value = GEM_VRAM };
    return outcome(device(WORD('d', GEM_OP, sizeof op), &op));
}

/* 19: one buffer, imported again and again: memory is not had twice. */
static int imported_buffer(void)
{
    struct alloc own = wish(GIB, VRAM | WRITABLE);
    must("ALLOC_MEMORY_OF_GPU", call(IOWR(ALLOC, struct alloc), &own));
    struct handover out = { .handle = own.handle };
    must("EXPORT_DMABUF", call(WORD('K', EXPORT_DMABUF, sizeof out), &out));
    for (int time = 0; time < 30; time++) {
        struct import in = { .va = wish(GIB, 0).va, .gpu_id = gpu_id, .fd = (uint32_t)out.fd };
        call(WORD('K', IMPORT_DMABUF, sizeof in), &in);
    }
    return keep();
}

/* 20: memory and queues from a checkpoint. */
static int checkpoint(void)
{
    struct criu criu = { .op = 3 };
    return outcome(call(WORD('K', CRIU, 56), &criu));
}

static uint32_t make_queue(void)
{
    struct queue queue = queue_request(properties);
    must("CREATE_QUEUE", call(IOWR(CREATE_QUEUE, struct queue), &queue));
    return queue.id;
}

static long set_mask(uint32_t queue, uint32_t word)
{
    uint32_t words[10];
    for (int at = 0; at < 10; at++)
        words[at] = word;
    struct mask mask = { queue, 320, (uint64_t)(uintptr_t)words };
    return call(IOWR(SET_CU_MASK, struct mask), &mask);
}

/* 21: a queue that nobody has given a mask. */
static int unmasked_queue(void)
{
    make_queue();
    return keep();
}

/* 22: a mask of all compute units. */
static int wide_mask(void)
{
    return outcome(set_mask(make_queue(), 0xffffffff));
}

/* 23: a queue that gets its mask, and a second one that gets the number of the first. */
static int number_of_a_masked_queue(void)
{
    struct queue queue = queue_request(properties), second = queue;
    must("CREATE_QUEUE", call(IOWR(CREATE_QUEUE, struct queue), &queue));
    /* The slice's own mask: src/abi/src/limits.rs. */
    int limits = (int)must("limits page", open_file("/run/sdg/limits", O_RDONLY));
    const char *page = mmap(NULL, 3 * PAGE, PROT_READ, MAP_SHARED, limits, 0);
    struct mask mask = { queue.id, 320, (uint64_t)(uintptr_t)(page + 64 + 24) };
    must("SET_CU_MASK", call(IOWR(SET_CU_MASK, struct mask), &mask));
    struct destroy destroy = { .queue_id = queue.id };
    must("DESTROY_QUEUE", call(IOWR(DESTROY_QUEUE, struct destroy), &destroy));
    must("CREATE_QUEUE", call(IOWR(CREATE_QUEUE, struct queue), &second));
    return second.id == queue.id ? keep() : 0;
}

/* 24: a queue of the DRM, which has no mask. */
static int user_queue(void)
{
    uint32_t userq[20] = { 1 };
    return outcome(device(WORD('d', USERQ, sizeof userq), userq));
}

static const struct { const char *name; int (*run)(void); } ADVERSARIES[] = {
    { "allocation", allocation },
    { "type-byte", type_byte },
    { "odd-size", odd_size },
    { "small-steps", small_steps },
    { "halved-ring", halved_ring },
    { "children", children },
    { "orphan", orphan },
    { "descriptor-of-another", descriptor_of_another },
    { "race-on-arguments", race_on_arguments },
    { "race-on-descriptor", race_on_descriptor },
    { "scribble", scribble },
    { "write-limits", write_limits },
    { "unmount", unmount },
    { "own-namespaces", own_namespaces },
    { "node-of-another-gpu", node_of_another_gpu },
    { "managed", managed },
    { "graphics-buffer", graphics_buffer },
    { "placed-buffer", placed_buffer },
    { "imported-buffer", imported_buffer },
    { "checkpoint", checkpoint },
    { "unmasked-queue", unmasked_queue },
    { "wide-mask", wide_mask },
    { "number-of-a-masked-queue", number_of_a_masked_queue },
    { "user-queue", user_queue },
};

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    open_gpu(properties, sizeof properties);
    for (size_t at = 0; at < sizeof ADVERSARIES / sizeof *ADVERSARIES; at++)
        if (argc > 1 && !strcmp(argv[1], ADVERSARIES[at].name))
            return ADVERSARIES[at].run();
    fprintf(stderr, "raw-adversary: no adversary %s\n", argc > 1 ? argv[1] : "given");
    return 64;
}
