/* SPDX-License-Identifier: MIT */
/*
 * Socket addresses as text. Understood, strictly and without looking anything up but interface
 * names:
 *
 *     /path  ./path  a/b    Unix socket; a relative path contains a slash
 *     @name                 abstract Unix socket, 1 to 107 bytes (unix(7))
 *     PORT                  any address of both IP versions, 1 to 65535
 *     IPv4:PORT
 *     [IPv6]:PORT  [IPv6]:PORT%if  [IPv6%if]:PORT    if: an interface's name or index
 *     vsock:CID:PORT        CID empty: any (vsock(7))
 */
#pragma once

#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

struct address {
    int family;       /* AF_UNIX, AF_INET, AF_INET6, AF_VSOCK */
    const char *path; /* of a Unix path: the text that was parsed, not a copy; else NULL */
    bool dual_stack;  /* a mere PORT: [::] without IPV6_V6ONLY, or 0.0.0.0 where there is no IPv6 */
    socklen_t length; /* of socket; 0 for a path, which may be longer than sun_path */
    union {
        struct sockaddr generic;
        struct sockaddr_un un;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_vm vm;
        struct sockaddr_storage storage;
    } socket;
};

/* 0; -EINVAL for what is no address, -ERANGE for a port or CID out of range, -ENAMETOOLONG for a
 * path or abstract name, -ENODEV for an interface that does not exist. The output stays untouched
 * then. */
int address_parse(const char *text, struct address *ret_address);

#define ADDRESS_TEXT_MAX 512 /* an abstract name of nothing but escapes fits */

/* The same form back, from what getsockname(2) or accept(2) gave: "1.2.3.4:80", "[::1]:80",
 * "[fe80::1]:80%eth0", "/path", "@name" with \xNN for what is not printable, "vsock:2:1024"; an
 * IPv4 address mapped into IPv6 is written as IPv4; "unnamed" for a Unix socket without a name. The
 * length, or -EAFNOSUPPORT, -EINVAL for a length that does not fit the family, -ENOBUFS. */
int address_format(const struct sockaddr *socket, socklen_t length, char *text, size_t size);
