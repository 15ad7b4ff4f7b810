/* SPDX-License-Identifier: MIT */
/* The peer of a connection, small enough to keep one per running handler, and its text forms.
 * Everything here is async-signal-safe: the child of a vfork uses it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

struct peer {
    sa_family_t family; /* AF_UNSPEC: not known */
    uint16_t port;      /* AF_INET, AF_INET6: host byte order */
    uint32_t scope;     /* AF_INET6: interface index of a link-local address */
    union {
        uint8_t inet[16]; /* 4 or 16 bytes, network order */
        struct {
            uint32_t cid, port;
        } vsock;
        struct {
            pid_t pid; /* 0: in a pid namespace that is not visible from here */
            uid_t uid;
        } unix_credentials;
    };
};

/* What accept(2) returned for fd; asks SO_PEERCRED where the family is AF_UNIX. IPv4 addresses
 * mapped into IPv6 become AF_INET. */
void peer_from_socket(int fd, const struct sockaddr_storage *address, struct peer *ret_peer);

/* Whether limits count both as one source: the address without the port (and without the interface,
 * as systemd), the uid, or the vsock cid. Two that are not known are not. Equal sources have equal
 * hashes. */
bool peer_same_source(const struct peer *one, const struct peer *other);
uint32_t peer_source_hash(const struct peer *peer);

#define PEER_TEXT_MAX 80

/* REMOTE_ADDR as systemd writes it ("192.0.2.1", "2001:db8::1", "fe80::1%eth0", "vsock:2"), and
 * REMOTE_PORT. The length; 0 and an empty text for a family that has none. interface is the name
 * for scope, or NULL to write the number. */
size_t peer_format_address(const struct peer *peer, const char *interface,
                           char text[PEER_TEXT_MAX]);
size_t peer_format_port(const struct peer *peer, char text[PEER_TEXT_MAX]);

#define PEER_UNIX_TEXT_MAX (1 + 4 * sizeof(((struct sockaddr_un *)0)->sun_path) + 1)

/* REMOTE_ADDR of a Unix peer that is bound, from what accept(2) returned: "/path" as it is, or
 * "@name" with \xNN for whatever is not printable ASCII and for the backslash. The length; 0 and an
 * empty text when it is not bound, or by a relative path, which could pass for an abstract name. */
size_t peer_format_unix_address(const struct sockaddr_un *address, socklen_t size,
                                char text[PEER_UNIX_TEXT_MAX]);

/* The longest has a number, two IPv6 addresses and two ports. */
#define PEER_INSTANCE_TEXT_MAX (20 + 2 * (1 + 39 + 1 + 5) + 1)

/* What systemd (252) calls the instance for a connection: "7-192.0.2.1:80-192.0.2.2:4711",
 * "7-::1:80-::1:4711", "7-2:80-3:4711" (vsock), "7-PID-UID" or "7-unknown" (Unix, where local is
 * not looked at). The length; 0 and an empty text for peers that are not known. */
size_t peer_format_instance(uint64_t number, const struct peer *local, const struct peer *remote,
                            char text[PEER_INSTANCE_TEXT_MAX]);

/* One word for a report: "192.0.2.1:4711", "[::1]:4711", "vsock:2:1024", "unix:pid=7,uid=0", "-".
 */
size_t peer_format(const struct peer *peer, char text[PEER_TEXT_MAX]);

/* Writes value in decimal without a terminator: the number of digits. */
size_t format_decimal(uint64_t value, char text[20]);
