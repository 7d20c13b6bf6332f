/* opener LIBRARY WAY…: opens a library in each of these ways and prints whose ioctl it calls, or why it is not opened. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static void *open_by(const char *way, const char *library)
{
    Lmid_t namespace;
    void *other;
    if (strcmp(way, "plain") == 0)
        return dlopen(library, RTLD_NOW);
    if (strcmp(way, "deep") == 0)
        return dlopen(library, RTLD_LAZY | RTLD_DEEPBIND);
    if (strcmp(way, "base") == 0)
        return dlmopen(LM_ID_BASE, library, RTLD_NOW | RTLD_DEEPBIND);
    if (strcmp(way, "new") == 0)
        return dlmopen(LM_ID_NEWLM, library, RTLD_NOW);
    if (strcmp(way, "new-deep") == 0)
        return dlmopen(LM_ID_NEWLM, library, RTLD_LAZY | RTLD_DEEPBIND);
    /* beside: into the namespace of a library that was opened in a new one */
    other = dlmopen(LM_ID_NEWLM, "libm.so.6", RTLD_NOW);
    if (other == NULL || dlinfo(other, RTLD_DI_LMID, &namespace) != 0)
        return NULL;
    return dlmopen(namespace, library, RTLD_NOW);
}

int main(int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        void *library = open_by(argv[i], argv[1]);
        const char *(*whose)(const char *) = library ? dlsym(library, "whose_ioctl") : NULL;
        printf("%s: %s\n", argv[i], whose ? whose(argv[1]) : dlerror());
        if (library)
            dlclose(library);
    }
    return 0;
}
