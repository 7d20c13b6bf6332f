/* raw-init -- COMMAND…: becomes the command. Static, as the inits are that engines put before a program. */
#include <stdio.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    if (count < 3)
        return 64;
    execvp(arguments[2], arguments + 2);
    perror(arguments[2]);
    return 127;
}
