/* raw-wait: waits for an event of the GPU without a limit. The GPU sets it when the word at the address that is printed
 * becomes 0, which is left to others, by /proc/PID/mem. SIGUSR1 has a handler, which lets calls go on (SA_RESTART).
 *
 * The queue has one packet, a barrier. Layouts: HSA platform system architecture 1.2; ROCr, amd_hsa_signal.h. */
#include <signal.h>

#include "raw.h"

enum { CREATE_EVENT = 0x08, WAIT_EVENTS = 0x0c, BARRIER_AND = 3, DOORBELLS = 8192, EVENT_PAGE = 32768 };

struct event { uint64_t page; uint32_t trigger, type, auto_reset, node, id, slot; };
struct event_data { uint64_t data[5]; uint32_t id, pad; };
struct wait { uint64_t events; uint32_t count, all, timeout, result; };
struct gpu_signal { int64_t kind, value; uint64_t mailbox; uint32_t event, pad; uint64_t start, end, reserved[2]; };
struct barrier { uint16_t header, reserved; uint32_t pad; uint64_t awaited[5], reserved2, completion; };

static volatile sig_atomic_t handled;

static void handle(int number)
{
    static const char line[] = "{\"step\":\"handled\"}\n";
    (void)number;
    handled++;
    raw(SYS_write, 1, (long)line, sizeof line - 1, 0, 0, 0);
}

int main(void)
{
    static char properties[8192];
    setvbuf(stdout, NULL, _IOLBF, 0);
    open_gpu(properties, sizeof properties);
    struct alloc page = gpu_memory(EVENT_PAGE, GTT | WRITABLE);
    struct event event = { .page = page.handle, .auto_reset = 1 };
    must("CREATE_EVENT", call(IOWR(CREATE_EVENT, struct event), &event));

    struct queue queue = queue_request(properties);
    must("CREATE_QUEUE", call(IOWR(CREATE_QUEUE, struct queue), &queue));
    long offset = (long)(queue.doorbell / DOORBELLS * DOORBELLS);
    long doorbells = must("mmap of the doorbells", raw(SYS_mmap, 0, DOORBELLS, PROT_READ | PROT_WRITE, MAP_SHARED, kfd, offset));
    struct gpu_signal *signals = (struct gpu_signal *)(uintptr_t)buffer(PAGE, GTT | WRITABLE);
    signals[0].value = signals[1].value = 1;
    signals[1].event = event.id;
    signals[1].mailbox = page.va + 8 * event.slot;
    struct barrier *barrier = (struct barrier *)(uintptr_t)queue.ring;
    *barrier = (struct barrier){ .header = BARRIER_AND, .awaited = { (uintptr_t)&signals[0] }, .completion = (uintptr_t)&signals[1] };
    *(volatile uint64_t *)(uintptr_t)(doorbells + (long)(queue.doorbell % DOORBELLS)) = 0;

    struct sigaction action = { .sa_handler = handle, .sa_flags = SA_RESTART };
    sigaction(SIGUSR1, &action, NULL);
    struct event_data data = { .id = event.id };
    struct wait wait = { .events = (uintptr_t)&data, .count = 1, .timeout = UINT32_MAX, .result = 9 };
    printf("{\"step\":\"waiting\",\"address\":%llu}\n", (unsigned long long)(uintptr_t)&signals[0].value);
    long error = -call(IOWR(WAIT_EVENTS, struct wait), &wait);
    printf("{\"step\":\"woken\",\"errno\":%ld,\"result\":%u,\"value\":%lld,\"handled\":%d}\n", error, wait.result,
           (long long)signals[1].value, (int)handled);
    /* The wait has taken the event. */
    wait.timeout = 0;
    must("WAIT_EVENTS", call(IOWR(WAIT_EVENTS, struct wait), &wait));
    printf("{\"step\":\"again\",\"result\":%u}\n", wait.result);
    return 0;
}
