/* SPDX-License-Identifier: MIT */
/*
 * A server on hark_listen(): listen-tool [OPTION…] ADDRESS
 *
 *   -t stream|dgram|seqpacket  -m MODE  -o UID  -g GID  -w TIMEOUT_MS  -p (make parents)  -n NAME
 *   -d MODE of parents  -k (keep the name)
 *   -1   leave at once, cleanly, when it listens
 *
 * Says "ready" on standard output when it listens, answers each connection or datagram with its
 * pid, binds anew when its path is gone or dead ("rebound", or "lost: …" and exit status 3), and
 * leaves cleanly on SIGTERM. A failure to listen is told as its errno name on standard error, with
 * exit status 2.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libhark/hark.h"

#define CHECK_MS 20

static int fail(const char *what, int r)
{
    struct hark_holder holder = {0};

    fprintf(stderr, "%s: %s\n", what, strerrorname_np(-r));
    if (r == -EADDRINUSE && hark_address_holder(what, SOCK_STREAM, &holder) == 0)
        fprintf(stderr, "held by %d (%s)%s\n", (int)holder.pid, holder.command,
                holder.foreign ? ", foreign" : "");
    return 2;
}

static void answer(int fd, int type)
{
    struct sockaddr_un peer;
    socklen_t length = sizeof(peer);
    char text[32];
    int size = snprintf(text, sizeof(text), "%d\n", (int)getpid());

    if (type == SOCK_DGRAM) {
        char message[64];

        if (recvfrom(fd, message, sizeof(message), 0, (struct sockaddr *)&peer, &length) >= 0)
            (void)sendto(fd, text, (size_t)size, 0, (struct sockaddr *)&peer, length);
        return;
    }
    int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (connection >= 0) {
        (void)send(connection, text, (size_t)size, MSG_NOSIGNAL);
        close(connection);
    }
}

static int serve(struct hark_listener *listener, int signal_fd)
{
    int old = -1;

    for (;;) {
        struct pollfd fds[] = {{.fd = hark_listener_fd(listener), .events = POLLIN},
                               {.fd = signal_fd, .events = POLLIN},
                               {.fd = old, .events = POLLIN}};

        if (poll(fds, 3, CHECK_MS) < 0)
            return 1;
        if (fds[1].revents)
            return 0;
        if (fds[0].revents)
            answer(fds[0].fd, hark_listener_type(listener));
        if (fds[2].revents)
            answer(old, hark_listener_type(listener));
        if (hark_listener_check(listener) == HARK_LISTENER_IN_PLACE)
            continue;
        if (old >= 0)
            close(old);
        int r = hark_listener_rebind(listener, &old);
        if (r < 0) {
            printf("lost: %s\n", strerrorname_np(-r));
            return 3;
        }
        puts("rebound");
    }
}

static int parse_type(const char *text)
{
    return strcmp(text, "dgram") == 0       ? SOCK_DGRAM
           : strcmp(text, "seqpacket") == 0 ? SOCK_SEQPACKET
                                            : SOCK_STREAM;
}

int main(int argc, char **argv)
{
    struct hark_listen_options options = HARK_LISTEN_OPTIONS_INIT;
    struct hark_listener *listener;
    bool once = false;
    sigset_t mask;

    for (int option; (option = getopt(argc, argv, "t:m:o:g:w:pn:d:k1")) != -1;)
        switch (option) {
        case 't':
            options.type = parse_type(optarg);
            break;
        case 'm':
            options.mode = (mode_t)strtoul(optarg, NULL, 8);
            break;
        case 'o':
            options.owner = (uid_t)strtoul(optarg, NULL, 10);
            break;
        case 'g':
            options.group = (gid_t)strtoul(optarg, NULL, 10);
            break;
        case 'w':
            options.lock_timeout_ms = (int)strtol(optarg, NULL, 10);
            break;
        case 'p':
            options.flags |= HARK_LISTEN_MKDIR;
            break;
        case 'd':
            options.directory_mode = (mode_t)strtoul(optarg, NULL, 8);
            break;
        case 'k':
            options.flags |= HARK_LISTEN_KEEP_NAME;
            break;
        case 'n':
            options.name = optarg;
            break;
        case '1':
            once = true;
            break;
        default:
            return 1;
        }
    if (optind + 1 != argc)
        return 1;
    setlinebuf(stdout);
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    int signal_fd = signalfd(-1, &mask, SFD_CLOEXEC);
    int r = hark_listen(argv[optind], &options, &listener);
    if (r < 0)
        return fail(argv[optind], r);
    puts("ready");
    r = once ? 0 : serve(listener, signal_fd);
    hark_listener_free(listener);
    return r;
}
