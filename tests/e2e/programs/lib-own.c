/* A library that an image's own /etc/ld.so.preload may name: each program that it is in says so on stderr. */
#include <unistd.h>

__attribute__((constructor)) static void say(void)
{
    static const char text[] = "the image's own library is here\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(125);
}
