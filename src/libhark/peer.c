/* SPDX-License-Identifier: MIT */
#include "libhark/peer.h"

#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

size_t format_decimal(uint64_t value, char text[20])
{
    char reversed[20];
    size_t n = 0;

    do {
        reversed[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    for (size_t i = 0; i < n; i++)
        text[i] = reversed[n - 1 - i];
    return n;
}

/* A text that grows up to its size, the end included, and is cut off there. */
struct text {
    char *start;
    size_t length, size;
};

static struct text text_begin(char *start, size_t size)
{
    start[0] = '\0';
    return (struct text){.start = start, .size = size};
}

static void append(struct text *text, const char *what, size_t length)
{
    if (length > text->size - 1 - text->length)
        length = text->size - 1 - text->length;
    memcpy(text->start + text->length, what, length);
    text->length += length;
    text->start[text->length] = '\0';
}

static void append_string(struct text *text, const char *what)
{
    append(text, what, strlen(what));
}

static void append_decimal(struct text *text, uint64_t value)
{
    char digits[20];

    append(text, digits, format_decimal(value, digits));
}

static void append_hexadecimal(struct text *text, unsigned value)
{
    static const char digits[] = "0123456789abcdef";
    int shift = 12;

    while (shift > 0 && (value >> shift) == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        append(text, &digits[(value >> shift) & 15], 1);
}

static void append_ipv4(struct text *text, const uint8_t address[4])
{
    for (int i = 0; i < 4; i++) {
        if (i > 0)
            append_string(text, ".");
        append_decimal(text, address[i]);
    }
}

/* RFC 5952: the longest run of at least two zero groups, the first of equals, is written "::". */
static void append_ipv6(struct text *text, const uint8_t address[16])
{
    unsigned group[8];
    int best = -1, best_length = 1;

    for (int i = 0; i < 8; i++)
        group[i] = (unsigned)address[2 * i] << 8 | address[2 * i + 1];
    for (int i = 0; i < 8; i++) {
        int length = 0;

        while (i + length < 8 && group[i + length] == 0)
            length++;
        if (length > best_length) {
            best = i;
            best_length = length;
        }
    }
    for (int i = 0; i < 8; i++) {
        if (i == best) {
            append_string(text, "::");
            i += best_length - 1;
            continue;
        }
        if (i > 0 && i != best + best_length)
            append_string(text, ":");
        append_hexadecimal(text, group[i]);
    }
}

void peer_from_socket(int fd, const struct sockaddr_storage *address, struct peer *ret_peer)
{
    static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    const struct sockaddr_vm *vm = (const struct sockaddr_vm *)address;
    struct peer peer = {.family = address->ss_family};

    switch (address->ss_family) {
    case AF_INET:
        memcpy(peer.inet, &in->sin_addr, 4);
        peer.port = ntohs(in->sin_port);
        break;
    case AF_INET6:
        peer.port = ntohs(in6->sin6_port);
        if (memcmp(&in6->sin6_addr, mapped_prefix, sizeof(mapped_prefix)) == 0) {
            peer.family = AF_INET;
            memcpy(peer.inet, in6->sin6_addr.s6_addr + 12, 4);
        } else {
            memcpy(peer.inet, &in6->sin6_addr, 16);
            peer.scope = in6->sin6_scope_id;
        }
        break;
    case AF_VSOCK:
        peer.vsock.cid = vm->svm_cid;
        peer.vsock.port = vm->svm_port;
        break;
    case AF_UNIX: {
        struct ucred credentials = {0};
        socklen_t size = sizeof(credentials);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) {
            peer.family = AF_UNSPEC;
            break;
        }
        peer.unix_credentials.pid = credentials.pid;
        peer.unix_credentials.uid = credentials.uid;
        break;
    }
    default:
        peer.family = AF_UNSPEC;
    }
    *ret_peer = peer;
}

/* ---- Sources --------------------------------------------------------------------------------- */

/* What the source of a peer is known by; the size, 0 for one that is not known. */
static size_t source_bytes(const struct peer *peer, const void **ret_bytes)
{
    switch (peer->family) {
    case AF_INET:
        *ret_bytes = peer->inet;
        return 4;
    case AF_INET6:
        *ret_bytes = peer->inet;
        return sizeof(peer->inet);
    case AF_VSOCK:
        *ret_bytes = &peer->vsock.cid;
        return sizeof(peer->vsock.cid);
    case AF_UNIX:
        *ret_bytes = &peer->unix_credentials.uid;
        return sizeof(peer->unix_credentials.uid);
    default:
        return 0;
    }
}

bool peer_same_source(const struct peer *one, const struct peer *other)
{
    const void *one_bytes, *other_bytes;
    size_t size = source_bytes(one, &one_bytes);

    return one->family == other->family && size > 0 && source_bytes(other, &other_bytes) == size &&
           memcmp(one_bytes, other_bytes, size) == 0;
}

/* FNV-1a: no defence against chosen addresses, so nobody may take equal hashes for equal sources.
 */
uint32_t peer_source_hash(const struct peer *peer)
{
    const void *bytes = NULL;
    size_t size = source_bytes(peer, &bytes);
    uint32_t hash = 2166136261U ^ peer->family;

    for (size_t i = 0; i < size; i++)
        hash = (uint32_t)((uint64_t)16777619 * (hash ^ ((const uint8_t *)bytes)[i]));
    return hash;
}

/* ---- Texts ----------------------------------------------------------------------------------- */

size_t peer_format_address(const struct peer *peer, const char *interface, char text[PEER_TEXT_MAX])
{
    struct text out = text_begin(text, PEER_TEXT_MAX);

    switch (peer->family) {
    case AF_INET:
        append_ipv4(&out, peer->inet);
        break;
    case AF_INET6:
        append_ipv6(&out, peer->inet);
        if (peer->scope != 0) {
            append_string(&out, "%");
            if (interface != NULL)
                append_string(&out, interface);
            else
                append_decimal(&out, peer->scope);
        }
        break;
    case AF_VSOCK:
        append_string(&out, "vsock:");
        append_decimal(&out, peer->vsock.cid);
        break;
    default:
        break;
    }
    return out.length;
}

size_t peer_format_port(const struct peer *peer, char text[PEER_TEXT_MAX])
{
    struct text out = text_begin(text, PEER_TEXT_MAX);

    if (peer->family == AF_INET || peer->family == AF_INET6)
        append_decimal(&out, peer->port);
    else if (peer->family == AF_VSOCK)
        append_decimal(&out, peer->vsock.port);
    return out.length;
}

static void append_printable(struct text *text, const char *bytes, size_t length)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < length; i++) {
        uint8_t byte = (uint8_t)bytes[i];
        const char escaped[] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};

        if (byte < ' ' || byte > '~' || byte == '\\')
            append(text, escaped, sizeof(escaped));
        else
            append(text, &bytes[i], 1);
    }
}

size_t peer_format_unix_address(const struct sockaddr_un *address, socklen_t size,
                                char text[PEER_UNIX_TEXT_MAX])
{
    struct text out = text_begin(text, PEER_UNIX_TEXT_MAX);
    const char *name = address->sun_path;
    size_t before = offsetof(struct sockaddr_un, sun_path);
    size_t length = size > before ? size - before : 0;

    if (length > sizeof(address->sun_path))
        length = sizeof(address->sun_path);
    if (length > 0 && name[0] == '/') {
        append(&out, name, strnlen(name, length));
    } else if (length > 1 && name[0] == '\0') {
        append_string(&out, "@");
        append_printable(&out, name + 1, length - 1);
    }
    return out.length;
}

/* "-192.0.2.1:80" */
static void append_endpoint(struct text *text, const struct peer *peer)
{
    append_string(text, "-");
    if (peer->family == AF_INET)
        append_ipv4(text, peer->inet);
    else if (peer->family == AF_INET6)
        append_ipv6(text, peer->inet);
    else
        append_decimal(text, peer->vsock.cid);
    append_string(text, ":");
    append_decimal(text, peer->family == AF_VSOCK ? peer->vsock.port : peer->port);
}

size_t peer_format_instance(uint64_t number, const struct peer *local, const struct peer *remote,
                            char text[PEER_INSTANCE_TEXT_MAX])
{
    struct text out = text_begin(text, PEER_INSTANCE_TEXT_MAX);

    switch (remote->family) {
    case AF_INET:
    case AF_INET6:
    case AF_VSOCK:
        append_decimal(&out, number);
        append_endpoint(&out, local);
        append_endpoint(&out, remote);
        break;
    case AF_UNIX:
        append_decimal(&out, number);
        append_string(&out, "-");
        if (remote->unix_credentials.pid == 0) {
            append_string(&out, "unknown");
            break;
        }
        append_decimal(&out, (uint64_t)remote->unix_credentials.pid);
        append_string(&out, "-");
        append_decimal(&out, remote->unix_credentials.uid);
        break;
    default:
        break;
    }
    return out.length;
}

size_t peer_format(const struct peer *peer, char text[PEER_TEXT_MAX])
{
    char address[PEER_TEXT_MAX], port[PEER_TEXT_MAX];
    struct text out = text_begin(text, PEER_TEXT_MAX);

    switch (peer->family) {
    case AF_INET:
    case AF_INET6:
    case AF_VSOCK:
        peer_format_address(peer, NULL, address);
        peer_format_port(peer, port);
        append_string(&out, peer->family == AF_INET6 ? "[" : "");
        append_string(&out, address);
        append_string(&out, peer->family == AF_INET6 ? "]:" : ":");
        append_string(&out, port);
        break;
    case AF_UNIX:
        append_string(&out, "unix:pid=");
        append_decimal(&out, (uint64_t)peer->unix_credentials.pid);
        append_string(&out, ",uid=");
        append_decimal(&out, peer->unix_credentials.uid);
        break;
    default:
        append_string(&out, "-");
    }
    return out.length;
}
