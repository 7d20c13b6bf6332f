/* raw-exchange ROOT PATH OTHER [PATH OTHER]…: exchanges each PATH below ROOT with its OTHER, in turn, until it is killed. By
 * the directories that they are in now: where a path leads later does not matter. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct name { int directory; char *name; };

static struct name name_of(int root, const char *path)
{
    char *copy = strdup(path);
    struct name name = { openat(root, dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC), basename(strdup(path)) };
    if (name.directory < 0) {
        perror(path);
        exit(1);
    }
    return name;
}

int main(int count, char **arguments)
{
    struct name names[32];
    int all = count - 2, root = count > 3 ? open(arguments[1], O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (root < 0 || all % 2 || all > (int)(sizeof names / sizeof *names)) {
        fprintf(stderr, "usage: raw-exchange ROOT PATH OTHER [PATH OTHER]...\n");
        return 64;
    }
    for (int at = 0; at < all; at++)
        names[at] = name_of(root, arguments[2 + at]);
    for (;;) {
        for (int at = 0; at < all; at += 2) {
            struct name one = names[at], other = names[at + 1];
            if (renameat2(one.directory, one.name, other.directory, other.name, RENAME_EXCHANGE) < 0) {
                perror(one.name);
                return 1;
            }
        }
    }
}
