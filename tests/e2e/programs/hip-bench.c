/* hip-bench [ROUNDS]: medians in nanoseconds of hipMalloc, hipFree and hipMemGetInfo, and of an ioctl that no device
 * takes, as a measure of the way to a supervisor of system calls and back. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <time.h>

#include "hip.h"

enum { MOST = 20000, WARM_UP = 100, BYTES = 4 << 20 };

static double samples[4][MOST];

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    return values[count / 2];
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? (int)bytes_of(argv[1]) : 2000;
    REQUIRE(rounds > 0 && rounds <= MOST, "1 to %d rounds", MOST);
    hip_open();
    int null = open("/dev/null", O_RDWR);
    REQUIRE(null >= 0, "no /dev/null");
    for (int i = -WARM_UP; i < rounds; i++) {
        int at = i < 0 ? 0 : i;
        void *memory = NULL;
        size_t available = 0, total = 0;
        double start = now();
        HIP(hipMalloc(&memory, BYTES));
        double allocated = now();
        HIP(hipMemGetInfo(&available, &total));
        double asked = now();
        HIP(hipFree(memory));
        double freed = now();
        int refused = ioctl(null, _IO('K', 0));
        samples[3][at] = now() - freed;
        REQUIRE(refused == -1 && errno == ENOTTY, "/dev/null took an ioctl");
        samples[0][at] = allocated - start;
        samples[1][at] = freed - asked;
        samples[2][at] = asked - allocated;
    }
    step("medians", "\"hipMalloc\":%.0f,\"hipFree\":%.0f,\"hipMemGetInfo\":%.0f,\"ioctl\":%.0f",
         median(samples[0], rounds), median(samples[1], rounds), median(samples[2], rounds),
         median(samples[3], rounds));
    return 0;
}
