/* SPDX-License-Identifier: MIT */
/* Where a benchmark's server listens: a path (anything with a slash), or a TCP port of 127.0.0.1.
 */
#pragma once

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/parse.h"

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_un local;
        struct sockaddr_in inet;
    } socket;
    socklen_t length;
};

/* 0, -EINVAL or -ERANGE for what is neither, -ENAMETOOLONG. */
static inline int address_parse(const char *text, struct address *ret_address)
{
    struct address address = {0};

    if (strchr(text, '/') != NULL) {
        size_t length = strlen(text);

        if (length >= sizeof(address.socket.local.sun_path))
            return -ENAMETOOLONG;
        address.socket.local.sun_family = AF_UNIX;
        memcpy(address.socket.local.sun_path, text, length + 1);
        address.length = sizeof(address.socket.local);
    } else {
        uint64_t port;
        int r = parse_unsigned(text, UINT16_MAX, &port);

        if (r < 0)
            return r;
        address.socket.inet.sin_family = AF_INET;
        address.socket.inet.sin_port = htons((uint16_t)port);
        address.socket.inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.length = sizeof(address.socket.inet);
    }
    *ret_address = address;
    return 0;
}
