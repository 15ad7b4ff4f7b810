/* SPDX-License-Identifier: MIT */
/* A daemon that takes the socket "greeter" (FileDescriptorName=) from systemd, or makes its own. It
 * may be killed in any way: the next start takes over what is left behind, and nothing else. */
#include <errno.h>
#include <hark.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "/run/greeter.sock";
    struct hark_listen_options options = HARK_LISTEN_OPTIONS_INIT;
    struct hark_listener *listener;

    options.name = "greeter";
    int r = hark_listen(address, &options, &listener);
    if (r < 0) {
        fprintf(stderr, "cannot listen on \"%s\": %s\n", address, strerror(-r));
        return 1;
    }
    struct pollfd item = {.fd = hark_listener_fd(listener), .events = POLLIN};
    for (;;) {
        (void)poll(&item, 1, -1); /* a passed socket may be non-blocking */
        int fd = accept(item.fd, NULL, NULL);
        if (fd >= 0) {
            (void)send(fd, "hello\n", 6, MSG_NOSIGNAL);
            close(fd);
        } else if (errno != EINTR && errno != ECONNABORTED && errno != EAGAIN) {
            break;
        }
    }
    perror("cannot accept");
    hark_listener_free(listener);
    return 1;
}
