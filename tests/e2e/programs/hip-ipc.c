/* hip-ipc: a parent's device memory, read and written by its child through hipIpc. */
#include <sys/wait.h>

#include "hip.h"

enum { BYTES = 2 * 1024 * 1024 };
static unsigned char host[BYTES];

static void exact(ssize_t done, size_t wanted, const char *what)
{
    REQUIRE(done == (ssize_t)wanted, "%s: %zd of %zu bytes", what, done, wanted);
}

static int child(int from_parent, int to_parent)
{
    hip_ipc_handle handle;
    void *shared = NULL;
    exact(read(from_parent, &handle, sizeof handle), sizeof handle, "handle");
    hip_open();
    /* hipIpcMemLazyEnablePeerAccess, the only flag there is: 1 since HIP 6, and 0 before. */
    int error = hipIpcOpenMemHandle(&shared, handle, 1);
    HIP(error == HIP_INVALID_VALUE ? hipIpcOpenMemHandle(&shared, handle, 0) : error);
    HIP(hipMemcpy(host, shared, BYTES, HIP_DEVICE_TO_HOST));
    size_t place = first_difference(host, BYTES, 5);
    REQUIRE(place == BYTES, "child: byte %zu is %02x", place, host[place]);
    step("child-read", "\"bytes\":%d", BYTES);
    fill(host, BYTES, 6);
    HIP(hipMemcpy(shared, host, BYTES, HIP_HOST_TO_DEVICE));
    HIP(hipDeviceSynchronize());
    HIP(hipIpcCloseMemHandle(shared));
    exact(write(to_parent, "x", 1), 1, "answer");
    return 0;
}

static void parent(int to_child, int from_child)
{
    hip_ipc_handle handle;
    void *memory = NULL;
    char answer;
    hip_open();
    HIP(hipMalloc(&memory, BYTES));
    fill(host, BYTES, 5);
    HIP(hipMemcpy(memory, host, BYTES, HIP_HOST_TO_DEVICE));
    HIP(hipIpcGetMemHandle(&handle, memory));
    exact(write(to_child, &handle, sizeof handle), sizeof handle, "handle");
    exact(read(from_child, &answer, 1), 1, "answer");
    HIP(hipMemcpy(host, memory, BYTES, HIP_DEVICE_TO_HOST));
    size_t place = first_difference(host, BYTES, 6);
    REQUIRE(place == BYTES, "parent: byte %zu is %02x", place, host[place]);
    step("parent-read", "\"bytes\":%d", BYTES);
    HIP(hipFree(memory));
}

int main(void)
{
    int down[2], up[2], status = 0;
    REQUIRE(!pipe(down) && !pipe(up), "pipe failed");
    /* The driver's descriptors work in the process that opened them only: fork first, open HIP in each. */
    pid_t pid = fork();
    REQUIRE(pid >= 0, "fork failed");
    if (!pid) {
        close(up[0]);
        close(down[1]);
        _exit(child(down[0], up[1]));
    }
    close(up[1]);
    close(down[0]);
    parent(down[1], up[0]);
    REQUIRE(waitpid(pid, &status, 0) == pid && status == 0, "the child left with status %#x", (unsigned)status);
    done();
    return 0;
}
