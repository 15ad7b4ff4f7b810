/* SPDX-License-Identifier: MIT */
/*
 * foreign: a server that knows nothing of hark, bound to a path.
 *
 *   foreign stream|seqpacket|dgram PATH [--steal] [--deaf] [--backlog=N]
 *
 * Prints "ready\n", then answers each connection or datagram with "foreign\n" (datagrams: counts
 * them) until it is killed. --steal unlinks what is at PATH first, --deaf never accepts.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int type_from_name(const char *name)
{
    if (strcmp(name, "stream") == 0)
        return SOCK_STREAM;
    if (strcmp(name, "seqpacket") == 0)
        return SOCK_SEQPACKET;
    return SOCK_DGRAM;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 64;
    int type = type_from_name(argv[1]);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(argv[2]) >= sizeof(address.sun_path))
        return 64;
    memcpy(address.sun_path, argv[2], strlen(argv[2]) + 1);
    int backlog = 16;
    bool deaf = false;
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--steal") == 0)
            unlink(argv[2]);
        else if (strcmp(argv[i], "--deaf") == 0)
            deaf = true;
        else if (strncmp(argv[i], "--backlog=", 10) == 0)
            backlog = (int)strtol(argv[i] + 10, NULL, 10);
    }
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        perror("bind");
        return 1;
    }
    if (type != SOCK_DGRAM && listen(fd, backlog) < 0) {
        perror("listen");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        if (deaf) {
            pause();
            continue;
        }
        if (type == SOCK_DGRAM) {
            char message[4096];
            if (recv(fd, message, sizeof(message), 0) >= 0)
                puts("datagram");
            fflush(stdout);
            continue;
        }
        int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            continue;
        send(connection, "foreign\n", 8, MSG_NOSIGNAL);
        close(connection);
        puts("connection");
        fflush(stdout);
    }
}
