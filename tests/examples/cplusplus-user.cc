/* SPDX-License-Identifier: MIT */
/* From C++: a handle in a smart pointer, a descriptor sent to oneself. */
#include <cstdio>
#include <cstring>
#include <hark.h>
#include <memory>
#include <sys/socket.h>
#include <unistd.h>

struct free_listener {
    void operator()(struct hark_listener *listener) const
    {
        hark_listener_free(listener);
    }
};
using listener_pointer = std::unique_ptr<struct hark_listener, free_listener>;

static listener_pointer listen_on(const char *address)
{
    struct hark_listen_options options = HARK_LISTEN_OPTIONS_INIT;
    struct hark_listener *listener = nullptr;

    options.flags = HARK_LISTEN_NONBLOCK;
    int r = hark_listen(address, &options, &listener);
    if (r < 0)
        std::fprintf(stderr, "cannot listen on \"%s\": %s\n", address, std::strerror(-r));
    return listener_pointer(listener);
}

int main()
{
    char address[64], byte = 'x';
    int ends[2], copy = -1;
    size_t n = 1;

    std::snprintf(address, sizeof(address), "@hark-example-%d", static_cast<int>(getpid()));
    listener_pointer listener = listen_on(address);
    if (!listener || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return 1;
    int fd = hark_listener_fd(listener.get());
    bool good = hark_send_fds(ends[0], &byte, 1, &fd, 1) == 1 &&
                hark_receive_fds(ends[1], &byte, 1, &copy, &n) == 1 && n == 1 &&
                std::strcmp(hark_listener_address(listener.get()), address) == 0;
    if (copy >= 0)
        close(copy);
    close(ends[0]);
    close(ends[1]);
    return good ? 0 : 1;
}
