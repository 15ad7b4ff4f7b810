/* SPDX-License-Identifier: MIT */
#include "supervisor/server-message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "supervisor/slots.h"

int server_message_parse(const void *data, size_t size, struct server_message *ret_message)
{
    struct server_message message;

    if (size != sizeof(message))
        return -EBADMSG;
    memcpy(&message, data, sizeof(message));
    if (message.type < SERVER_MESSAGE_START || message.type >= SERVER_MESSAGE_TYPE_END_)
        return -EBADMSG;
    if (message.unit >= SLOTS_MAX || message.slot >= SLOTS_MAX || message.error < 0)
        return -EBADMSG;
    *ret_message = message;
    return 0;
}

int server_message_send(int fd, const struct server_message *message)
{
    ssize_t n;

    do
        n = send(fd, message, sizeof(*message), MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

int server_message_receive(int fd, struct server_message *ret_message)
{
    char buffer[sizeof(struct server_message) + 1]; /* one more, to notice a longer one */
    ssize_t n;

    do
        n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == ECONNRESET ? 0 : -errno;
    if (n == 0)
        return 0;
    int r = server_message_parse(buffer, (size_t)n, ret_message);
    return r < 0 ? r : 1;
}

const char *server_trouble_name(uint64_t trouble)
{
    static const char *const names[] = {
        [SERVER_TROUBLE_ACCEPT] = "accept a connection",
        [SERVER_TROUBLE_CREATE] = "create a process",
        [SERVER_TROUBLE_PREPARE] = "prepare one",
        [SERVER_TROUBLE_SET_UP] = "set up a fork server",
    };

    return trouble < sizeof(names) / sizeof(*names) ? names[trouble] : "do something unknown";
}
