/* A library as ROCm's are: it calls ioctl, and opens others of its kind. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

/* The file name of the library whose ioctl is called here, and by a library that this one opens in its turn. */
const char *whose_ioctl(const char *next)
{
    Dl_info info;
    int (*volatile called)(int, unsigned long, ...) = ioctl;
    void *inner = next ? dlopen(next, RTLD_NOW | RTLD_DEEPBIND) : NULL;
    const char *(*whose)(const char *) = inner ? dlsym(inner, "whose_ioctl") : NULL;
    int same = next == NULL || (whose && strcmp(whose(NULL), whose_ioctl(NULL)) == 0);
    if (inner)
        dlclose(inner);
    if (!same)
        return "not the one that the next calls";
    return dladdr((void *)called, &info) ? strrchr(info.dli_fname, '/') + 1 : NULL;
}
