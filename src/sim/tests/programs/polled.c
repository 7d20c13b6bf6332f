// polled FILE: whether the file can be polled, as one of a real sysfs can and one of an overlay cannot.
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>

int main(int argc, char **argv) {
    int file = open(argv[argc - 1], O_RDONLY);
    struct epoll_event event = {.events = EPOLLPRI};
    if (epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, file, &event) != 0) {
        perror(argv[argc - 1]);
        return 1;
    }
    return 0;
}
