/* SPDX-License-Identifier: MIT */
/*
 * slow: a handler that stays.
 *
 *   slow [--fd=FD] [--ms=N] [--ignore-term] [--on-term=STATUS] [--accept]
 *
 * Says "up\n" on the connection, then lives until its peer closes, or for N milliseconds, and says
 * "done\n". With --accept, FD is a listener that it holds: it serves one connection after another
 * and never ends by itself.
 */
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int term_status;

static void on_term(int signal_number)
{
    (void)signal_number;
    _exit(term_status);
}

static void say(int fd, const char *text)
{
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        return; /* the peer is gone; that is its business */
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void stay(int fd, int milliseconds)
{
    long long end = now_ms() + milliseconds;
    for (;;) {
        int left = milliseconds < 0 ? -1 : (int)(end - now_ms());
        if (milliseconds >= 0 && left <= 0)
            break;
        struct pollfd event = {.fd = fd, .events = POLLIN};
        int r = poll(&event, 1, left);
        if (r == 0)
            break;
        char buffer[256];
        if (r > 0 && read(fd, buffer, sizeof(buffer)) <= 0)
            break;
    }
    say(fd, "done\n");
}

int main(int argc, char **argv)
{
    int fd = 3;
    int milliseconds = -1;
    bool listener = false;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--fd=", 5) == 0)
            fd = (int)strtol(argv[i] + 5, NULL, 10);
        else if (strncmp(argv[i], "--ms=", 5) == 0)
            milliseconds = (int)strtol(argv[i] + 5, NULL, 10);
        else if (strcmp(argv[i], "--ignore-term") == 0)
            signal(SIGTERM, SIG_IGN);
        else if (strncmp(argv[i], "--on-term=", 10) == 0) {
            term_status = (int)strtol(argv[i] + 10, NULL, 10);
            signal(SIGTERM, on_term);
        } else if (strcmp(argv[i], "--accept") == 0)
            listener = true;
    }
    if (!listener) {
        say(fd, "up\n");
        stay(fd, milliseconds);
        return 0;
    }
    for (;;) {
        struct pollfd event = {.fd = fd, .events = POLLIN};
        poll(&event, 1, -1);
        int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            continue;
        say(connection, "up\n");
        close(connection);
    }
}
