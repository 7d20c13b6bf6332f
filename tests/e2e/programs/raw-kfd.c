/* raw-kfd BYTES [BEYOND]: allocates video memory and makes a compute queue, then asks for BEYOND bytes more, which a slice
 * refuses. raw-kfd has no library in between: static, its own system calls. It shows what reaches the device whatever is
 * preloaded. libc-kfd is the same by way of libc, as ROCm's programs are: a slice's shim holds it. */
#include "raw.h"

int main(int argc, char **argv)
{
    static char properties[8192];
    struct version version = { 0, 0 };
    uint64_t bytes = number_of(argc > 1 ? argv[1] : "1048576");
    setvbuf(stdout, NULL, _IOLBF, 0);

    open_gpu(properties, sizeof properties);
    must("GET_VERSION", call(IOWR(GET_VERSION, struct version), &version));
    printf("{\"step\":\"open\",\"gpu_id\":%u,\"version\":\"%u.%u\"}\n", gpu_id, version.major, version.minor);
    struct available available = { .gpu_id = gpu_id };
    must("AVAILABLE_MEMORY", call(IOWR(AVAILABLE, struct available), &available));
    printf("{\"step\":\"available\",\"bytes\":%llu}\n", (unsigned long long)available.bytes);

    volatile char *memory = (volatile char *)(uintptr_t)buffer(bytes, VRAM | WRITABLE);
    memory[0] = 1;
    memory[bytes - 1] = 2;
    printf("{\"step\":\"allocated\",\"bytes\":%llu}\n", (unsigned long long)bytes);
    struct queue queue = queue_request(properties);
    must("CREATE_QUEUE", call(IOWR(CREATE_QUEUE, struct queue), &queue));
    printf("{\"step\":\"queue\",\"id\":%u}\n", queue.id);
    struct destroy destroy = { .queue_id = queue.id };
    must("DESTROY_QUEUE", call(IOWR(DESTROY_QUEUE, struct destroy), &destroy));
    if (argc > 2) {
        struct alloc beyond = wish(number_of(argv[2]), VRAM | WRITABLE);
        printf("{\"step\":\"beyond\",\"errno\":%ld}\n", -call(IOWR(ALLOC, struct alloc), &beyond));
    }
    printf("{\"step\":\"done\"}\n");
    return 0;
}
