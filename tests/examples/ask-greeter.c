/* SPDX-License-Identifier: MIT */
/* A client that waits five seconds at most: for a server that is still to start, or is busy. */
#include <hark.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "/run/greeter.sock";
    const unsigned flags = HARK_CONNECT_AWAIT_NAME | HARK_CONNECT_AWAIT_LISTENER;
    char text[100];
    ssize_t n;
    int fd;

    int r = hark_connect(address, SOCK_STREAM, 5000, flags, &fd);
    if (r < 0) {
        fprintf(stderr, "cannot connect to \"%s\": %s\n", address, strerror(-r));
        return 1;
    }
    while ((n = read(fd, text, sizeof(text))) > 0)
        fwrite(text, 1, (size_t)n, stdout);
    close(fd);
    return 0;
}
