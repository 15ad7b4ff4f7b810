/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
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
    /* systemd sets no REMOTE_ADDR of it. */
    ASSERT_STRING(address_of(&peer, NULL), "");
    ASSERT_STRING(port_of(&peer), "");
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
