/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/un.h>

#include "libhark/peer.h"

/* What is behind the text must stay as it was. */
struct bounded {
    char text[PEER_TEXT_MAX];
    char canary[8];
};

static struct bounded bounded_text(void)
{
    struct bounded bounded;

    memset(&bounded, '#', sizeof(bounded));
    return bounded;
}

static void check_bounded(const struct bounded *bounded, size_t length)
{
    ASSERT(length < PEER_TEXT_MAX);
    ASSERT_INT(strnlen(bounded->text, PEER_TEXT_MAX), length);
    ASSERT_INT(memcmp(bounded->canary, "########", sizeof(bounded->canary)), 0);
}

static const char *address_of(const struct peer *peer, const char *interface)
{
    static struct bounded out;

    out = bounded_text();
    check_bounded(&out, peer_format_address(peer, interface, out.text));
    return out.text;
}

static const char *port_of(const struct peer *peer)
{
    static struct bounded out;

    out = bounded_text();
    check_bounded(&out, peer_format_port(peer, out.text));
    return out.text;
}

static const char *word_of(const struct peer *peer)
{
    static struct bounded out;

    out = bounded_text();
    check_bounded(&out, peer_format(peer, out.text));
    return out.text;
}

static struct peer ipv4_peer(const char *address, uint16_t port)
{
    struct sockaddr_storage storage = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&storage;
    struct peer peer;

    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    ASSERT_INT(inet_pton(AF_INET, address, &in->sin_addr), 1);
    peer_from_socket(-1, &storage, &peer);
    return peer;
}

static struct peer ipv6_peer(const struct in6_addr *address, uint16_t port, uint32_t scope)
{
    struct sockaddr_storage storage = {0};
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&storage;
    struct peer peer;

    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    in6->sin6_addr = *address;
    in6->sin6_scope_id = scope;
    peer_from_socket(-1, &storage, &peer);
    return peer;
}

static struct peer ipv6_text_peer(const char *text, uint16_t port, uint32_t scope)
{
    struct in6_addr address;

    ASSERT_INT(inet_pton(AF_INET6, text, &address), 1);
    return ipv6_peer(&address, port, scope);
}

static struct peer vsock_peer(uint32_t cid, uint32_t port)
{
    struct sockaddr_storage storage = {0};
    struct sockaddr_vm *vm = (struct sockaddr_vm *)&storage;
    struct peer peer;

    vm->svm_family = AF_VSOCK;
    vm->svm_cid = cid;
    vm->svm_port = port;
    peer_from_socket(-1, &storage, &peer);
    return peer;
}

TEST(decimals_of_every_length)
{
    uint64_t value = 1;
    char text[24], expected[24];

    for (int i = 0; i < 20; i++, value = value * 10 + 7) {
        memset(text, '#', sizeof(text));
        size_t length = format_decimal(value, text);
        (void)snprintf(expected, sizeof(expected), "%" PRIu64, value);
        ASSERT_INT(length, strlen(expected));
        ASSERT_INT(memcmp(text, expected, length), 0);
        ASSERT_INT(text[length], '#');
    }
    ASSERT_INT(format_decimal(0, text), 1);
    ASSERT_INT(text[0], '0');
    ASSERT_INT(format_decimal(UINT64_MAX, text), 20);
    ASSERT_INT(memcmp(text, "18446744073709551615", 20), 0);
}

TEST(ipv4)
{
    struct peer peer = ipv4_peer("192.0.2.1", 4711);

    ASSERT_STRING(address_of(&peer, NULL), "192.0.2.1");
    ASSERT_STRING(port_of(&peer), "4711");
    ASSERT_STRING(word_of(&peer), "192.0.2.1:4711");
    peer = ipv4_peer("255.255.255.255", 65535);
    ASSERT_STRING(word_of(&peer), "255.255.255.255:65535");
    peer = ipv4_peer("0.0.0.0", 0);
    ASSERT_STRING(word_of(&peer), "0.0.0.0:0");
}

TEST(ipv6_as_rfc_5952_wants_it)
{
    static const char *const forms[] = {
        "::",
        "::1",
        "1::",
        "2001:db8::1",
        "2001:db8:0:1:1:1:1:1", /* a single group stays */
        "2001:0:0:1::1",        /* the longer run */
        "2001:db8::1:0:0:1",    /* the first of equals */
        "1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6::",
        "::3:4:5:6:7:8",
        "0:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7:0",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "10:100:1000:a:ab:abc:abcd:f000",
    };

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct peer peer = ipv6_text_peer(forms[i], 1, 0);

        ASSERT_STRING(address_of(&peer, NULL), forms[i]);
    }
}

/* ::a.b.c.d was given up by RFC 4291; only there inet_ntop(3) mixes the notations. */
static bool is_v4_compatible(const struct in6_addr *address)
{
    static const uint8_t zeros[12];

    return memcmp(address, zeros, sizeof(zeros)) == 0 &&
           (address->s6_addr[12] != 0 || address->s6_addr[13] != 0);
}

TEST(ipv6_agrees_with_inet_ntop)
{
    unsigned state = 20260101;

    for (int i = 0; i < 20000; i++) {
        struct in6_addr address;
        char expected[INET6_ADDRSTRLEN];

        for (int group = 0; group < 8; group++) {
            /* Many groups of zero, some short ones: every kind of run. */
            unsigned kind = (unsigned)rand_r(&state) % 4, value = (unsigned)rand_r(&state);
            unsigned word = kind < 2 ? 0 : kind == 2 ? value & 0xff : value & 0xffff;

            address.s6_addr[2 * group] = (uint8_t)(word >> 8);
            address.s6_addr[2 * group + 1] = (uint8_t)word;
        }
        if (is_v4_compatible(&address) || IN6_IS_ADDR_V4MAPPED(&address))
            continue;
        struct peer peer = ipv6_peer(&address, 1, 0);
        ASSERT(inet_ntop(AF_INET6, &address, expected, sizeof(expected)));
        ASSERT_STRING(address_of(&peer, NULL), expected);
    }
}

TEST(ipv6_word_and_port)
{
    struct peer peer = ipv6_text_peer("::1", 4711, 0);

    ASSERT_STRING(port_of(&peer), "4711");
    ASSERT_STRING(word_of(&peer), "[::1]:4711");
}

TEST(ipv4_mapped_into_ipv6_is_ipv4)
{
    struct peer peer = ipv6_text_peer("::ffff:192.0.2.7", 80, 0);

    ASSERT_INT(peer.family, AF_INET);
    ASSERT_STRING(address_of(&peer, NULL), "192.0.2.7");
    ASSERT_STRING(port_of(&peer), "80");
    ASSERT_STRING(word_of(&peer), "192.0.2.7:80");
    peer = ipv6_text_peer("::fffe:192.0.2.7", 80, 0);
    ASSERT_INT(peer.family, AF_INET6);
}

TEST(link_local_names_its_interface)
{
    struct peer peer = ipv6_text_peer("fe80::1", 9, 17);

    ASSERT_STRING(address_of(&peer, "eth0"), "fe80::1%eth0");
    ASSERT_STRING(address_of(&peer, NULL), "fe80::1%17");
    ASSERT_STRING(word_of(&peer), "[fe80::1%17]:9");
    peer = ipv6_text_peer("2001:db8::1", 9, 0);
    ASSERT_STRING(address_of(&peer, "eth0"), "2001:db8::1");
}

TEST(the_longest_fits)
{
    struct peer peer = ipv6_text_peer("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, UINT32_MAX);

    ASSERT_STRING(word_of(&peer), "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535");
    ASSERT_STRING(address_of(&peer, "fifteen-letters"),
                  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%fifteen-letters");
}

TEST(what_is_too_long_is_cut_off)
{
    struct peer peer = ipv6_text_peer("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1, 1);
    char interface[200];

    memset(interface, 'x', sizeof(interface) - 1);
    interface[sizeof(interface) - 1] = '\0';
    ASSERT_INT(strlen(address_of(&peer, interface)), PEER_TEXT_MAX - 1);
}

TEST(vsock_as_systemd_writes_it)
{
    struct peer peer = vsock_peer(2, 1024);

    ASSERT_STRING(address_of(&peer, NULL), "vsock:2");
    ASSERT_STRING(port_of(&peer), "1024");
    ASSERT_STRING(word_of(&peer), "vsock:2:1024");
    peer = vsock_peer(VMADDR_CID_ANY, UINT32_MAX);
    ASSERT_STRING(word_of(&peer), "vsock:4294967295:4294967295");
}

TEST(a_unix_peer_is_known_by_its_credentials)
{
    struct sockaddr_storage storage = {.ss_family = AF_UNIX};
    struct peer peer;
    char expected[64];
    int pair[2];

    ASSERT_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    peer_from_socket(pair[0], &storage, &peer);
    close(pair[0]);
    close(pair[1]);
    ASSERT_INT(peer.family, AF_UNIX);
    (void)snprintf(expected, sizeof(expected), "unix:pid=%d,uid=%u", getpid(), getuid());
    ASSERT_STRING(word_of(&peer), expected);
    /* Its name, if it has one, is not kept. */
    ASSERT_STRING(address_of(&peer, NULL), "");
    ASSERT_STRING(port_of(&peer), "");
}

static const char *unix_address_of(const char *path, size_t length)
{
    static char text[PEER_UNIX_TEXT_MAX + 8];
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memset(text, '#', sizeof(text));
    memcpy(address.sun_path, path, length);
    size_t n = peer_format_unix_address(
        &address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length), text);
    ASSERT(n < PEER_UNIX_TEXT_MAX);
    ASSERT_INT(strlen(text), n);
    ASSERT_INT(memcmp(text + PEER_UNIX_TEXT_MAX, "########", 8), 0);
    return text;
}

TEST(names_of_unix_peers)
{
    char longest[sizeof(((struct sockaddr_un *)0)->sun_path)];
    char expected[PEER_UNIX_TEXT_MAX] = "@";

    ASSERT_STRING(unix_address_of("", 0), "");
    ASSERT_STRING(unix_address_of("", 1), "");
    ASSERT_STRING(unix_address_of("/run/x", 6), "/run/x");
    ASSERT_STRING(unix_address_of("/run/x", 7), "/run/x");
    ASSERT_STRING(unix_address_of("relative", 8), "");
    ASSERT_STRING(unix_address_of("@x", 2), ""); /* relative, and no abstract name */
    ASSERT_STRING(unix_address_of("\0x ~\\\n\0", 7), "@x ~\\x5c\\x0a\\x00");
    longest[0] = '\0';
    memset(longest + 1, 0x7f, sizeof(longest) - 1);
    for (size_t i = 1; i < sizeof(longest); i++)
        memcpy(expected + 4 * i - 3, "\\x7f", 5);
    ASSERT_STRING(unix_address_of(longest, sizeof(longest)), expected);
    memset(longest, '/', sizeof(longest));
    ASSERT_INT(strlen(unix_address_of(longest, sizeof(longest))), sizeof(longest));
}

/* ---- Instances and sources ------------------------------------------------------------------- */

static const char *instance_of(uint64_t number, const struct peer *local, const struct peer *remote)
{
    static char text[PEER_INSTANCE_TEXT_MAX + 8];

    memset(text, '#', sizeof(text));
    size_t n = peer_format_instance(number, local, remote, text);
    ASSERT(n < PEER_INSTANCE_TEXT_MAX);
    ASSERT_INT(strlen(text), n);
    ASSERT_INT(memcmp(text + PEER_INSTANCE_TEXT_MAX, "########", 8), 0);
    return text;
}

static struct peer unix_peer(pid_t pid, uid_t uid)
{
    return (struct peer){.family = AF_UNIX, .unix_credentials = {.pid = pid, .uid = uid}};
}

TEST(instances_as_systemd_names_them)
{
    struct peer local = ipv4_peer("192.0.2.1", 80), remote = ipv4_peer("192.0.2.2", 4711);
    const struct peer unknown = {.family = AF_UNSPEC};

    ASSERT_STRING(instance_of(0, &local, &remote), "0-192.0.2.1:80-192.0.2.2:4711");
    local = ipv6_text_peer("fe80::1", 80, 3);
    remote = ipv6_text_peer("fe80::2", 4711, 3);
    ASSERT_STRING(instance_of(7, &local, &remote), "7-fe80::1:80-fe80::2:4711");
    local = ipv6_text_peer("::ffff:192.0.2.1", 80, 0);
    remote = ipv6_text_peer("::ffff:192.0.2.2", 4711, 0);
    ASSERT_STRING(instance_of(1, &local, &remote), "1-192.0.2.1:80-192.0.2.2:4711");
    local = vsock_peer(2, 80);
    remote = vsock_peer(3, 4711);
    ASSERT_STRING(instance_of(9, &local, &remote), "9-2:80-3:4711");
    remote = unix_peer(17, 1000);
    ASSERT_STRING(instance_of(9, &unknown, &remote), "9-17-1000");
    remote = unix_peer(0, 65534);
    ASSERT_STRING(instance_of(9, &unknown, &remote), "9-unknown");
    ASSERT_STRING(instance_of(9, &unknown, &unknown), "");
    local = remote = ipv6_text_peer("1111:1111:1111:1111:1111:1111:1111:1111", 65535, 0);
    ASSERT_STRING(instance_of(UINT64_MAX, &local, &remote),
                  "18446744073709551615-1111:1111:1111:1111:1111:1111:1111:1111:65535"
                  "-1111:1111:1111:1111:1111:1111:1111:1111:65535");
}

static void check_sources(struct peer one, struct peer other, bool same)
{
    ASSERT_INT(peer_same_source(&one, &other), same);
    ASSERT_INT(peer_same_source(&other, &one), same);
    if (same)
        ASSERT_INT(peer_source_hash(&one), peer_source_hash(&other));
}

TEST(sources_are_addresses_without_ports)
{
    const struct peer unknown = {.family = AF_UNSPEC};

    check_sources(ipv4_peer("192.0.2.1", 1), ipv4_peer("192.0.2.1", 2), true);
    check_sources(ipv4_peer("192.0.2.1", 1), ipv4_peer("192.0.2.2", 1), false);
    check_sources(ipv4_peer("192.0.2.1", 1), ipv6_text_peer("::ffff:192.0.2.1", 2, 0), true);
    check_sources(ipv6_text_peer("fe80::1", 1, 2), ipv6_text_peer("fe80::1", 2, 3), true);
    check_sources(ipv6_text_peer("fe80::1", 1, 2), ipv6_text_peer("fe80::2", 1, 2), false);
    check_sources(vsock_peer(3, 1), vsock_peer(3, 2), true);
    check_sources(vsock_peer(3, 1), vsock_peer(4, 1), false);
    check_sources(unix_peer(1, 1000), unix_peer(2, 1000), true);
    check_sources(unix_peer(1, 1000), unix_peer(1, 1001), false);
    check_sources(unknown, unknown, false);
    ASSERT(peer_source_hash(&unknown) == peer_source_hash(&unknown));
}

TEST(unknown_peers)
{
    struct sockaddr_storage storage = {.ss_family = AF_UNIX};
    struct peer peer;

    peer_from_socket(-1, &storage, &peer); /* SO_PEERCRED fails */
    ASSERT_INT(peer.family, AF_UNSPEC);
    storage.ss_family = AF_NETLINK;
    peer_from_socket(-1, &storage, &peer);
    ASSERT_INT(peer.family, AF_UNSPEC);
    ASSERT_STRING(word_of(&peer), "-");
    ASSERT_STRING(address_of(&peer, NULL), "");
    ASSERT_STRING(port_of(&peer), "");
}
