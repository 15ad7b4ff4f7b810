/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <arpa/inet.h>
#include <limits.h>
#include <net/if.h>

#include "libhark/address.h"

static int parse(const char *text, struct address *address)
{
    struct address before;

    memset(address, 0x5a, sizeof(*address));
    before = *address;
    int r = address_parse(text, address);
    if (r < 0)
        ASSERT_INT(memcmp(&before, address, sizeof(before)), 0);
    return r;
}

static const char *format(const struct address *address)
{
    static char text[ADDRESS_TEXT_MAX];

    ASSERT_INT(address_format(&address->socket.generic, address->length, text, sizeof(text)),
               strlen(text));
    return text;
}

/* Both ways: from is parsed and written as to. */
static void check(const char *from, const char *to)
{
    struct address address;
    int r = parse(from, &address);

    if (r < 0)
        TEST_FAIL("\"%s\": %s", from, strerror(-r));
    ASSERT_STRING(format(&address), to);
}

TEST(paths)
{
    static const char *const good[] = {"/run/x", "./x",      "a/b",         "../x", "/x", "8080/x",
                                       "[x]/y",  "vsock:/x", "1.2.3.4:5/x", "/a b", "//x"};
    static const char *const bad[] = {"/", "./", "/run/", "/run/.", "/run/..", "a/", "../.."};
    struct address address;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ASSERT_OK(parse(good[i], &address));
        ASSERT_INT(address.family, AF_UNIX);
        ASSERT(address.path == good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ASSERT_ERROR(parse(bad[i], &address), -EINVAL);
    char longest[PATH_MAX + 1];
    memset(longest, 'x', sizeof(longest));
    longest[0] = '/';
    longest[PATH_MAX] = '\0';
    ASSERT_ERROR(parse(longest, &address), -ENAMETOOLONG);
    longest[PATH_MAX - 1] = '\0';
    ASSERT_OK(parse(longest, &address));
}

TEST(a_plain_word_is_no_address)
{
    static const char *const bad[] = {"",    "word", "word.sock", ".",   "..",  "localhost:80",
                                      "x:1", "-1",   "+80",       " 80", "80 ", "0x50",
                                      "8o",  ":80",  "*:80"};
    struct address address;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ASSERT_ERROR(parse(bad[i], &address), -EINVAL);
}

TEST(abstract_names)
{
    char name[110] = "@";
    struct address address;

    check("@name", "@name");
    check("@a/b", "@a/b");
    check("@a b\\c\n\xff", "@a\\x20b\\x5cc\\x0a\\xff");
    ASSERT_OK(parse("@n", &address));
    ASSERT(!address.path);
    ASSERT_INT(address.length, offsetof(struct sockaddr_un, sun_path) + 2);
    ASSERT_ERROR(parse("@", &address), -EINVAL);
    memset(name + 1, '\x01', 107);
    ASSERT_OK(parse(name, &address));
    ASSERT_INT(address.length, sizeof(struct sockaddr_un));
    ASSERT_INT(strlen(format(&address)), 1 + 4 * 107);
    name[108] = 'x';
    ASSERT_ERROR(parse(name, &address), -ENAMETOOLONG);
}

TEST(ports)
{
    struct address address;

    check("80", "[::]:80");
    check("65535", "[::]:65535");
    ASSERT_OK(parse("1", &address));
    ASSERT(address.dual_stack);
    ASSERT_ERROR(parse("0", &address), -ERANGE);
    ASSERT_ERROR(parse("65536", &address), -ERANGE);
    ASSERT_ERROR(parse("99999999999999999999999", &address), -ERANGE);
}

TEST(ipv4)
{
    static const char *const bad[] = {"1.2.3.4",     "1.2.3:80",   "1.2.3.4.5:80", "1.2.3.256:80",
                                      "1.2.3.4:",    "1.2.3.4:x",  "1.2.3.4: 80",  "01.2.3.4:80",
                                      "1.2.3.4:8:0", "1.2.3.4%1:8"};
    struct address address;

    check("1.2.3.4:80", "1.2.3.4:80");
    check("0.0.0.0:1", "0.0.0.0:1");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ASSERT_ERROR(parse(bad[i], &address), -EINVAL);
    ASSERT_ERROR(parse("1.2.3.4:0", &address), -ERANGE);
    ASSERT_ERROR(parse("1.2.3.4:65536", &address), -ERANGE);
    ASSERT_OK(parse("127.0.0.1:80", &address));
    ASSERT(!address.dual_stack);
}

TEST(ipv6)
{
    static const char *const bad[] = {
        "[::1]",     "[::1]80",   "[::1]:",       "[::1:80",   "[]:80",  "[::g]:80", "[1.2.3.4]:8",
        "[::1]:80%", "[::1%]:80", "[::1%1]:80%1", "[::1]:80x", "::1:80", "[::1]x:80"};
    struct address address;

    check("[::1]:80", "[::1]:80");
    check("[::]:80", "[::]:80");
    check("[2001:db8::1]:8080", "[2001:db8::1]:8080");
    check("[::ffff:1.2.3.4]:80", "1.2.3.4:80");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ASSERT_ERROR(parse(bad[i], &address), -EINVAL);
    ASSERT_ERROR(parse("[::1]:0", &address), -ERANGE);
    ASSERT_ERROR(parse("[::1]:65536", &address), -ERANGE);
    ASSERT_ERROR(parse("[::1]:123456", &address), -EINVAL);
}

TEST(scopes)
{
    struct address address;

    check("[fe80::1]:80%lo", "[fe80::1]:80%lo");
    check("[fe80::1%lo]:80", "[fe80::1]:80%lo");
    ASSERT_OK(parse("[fe80::1]:80%lo", &address));
    ASSERT_INT(address.socket.in6.sin6_scope_id, if_nametoindex("lo"));
    ASSERT_OK(parse("[fe80::1]:80%99999", &address));
    ASSERT_INT(address.socket.in6.sin6_scope_id, 99999);
    ASSERT_STRING(format(&address), "[fe80::1]:80%99999");
    ASSERT_ERROR(parse("[fe80::1]:80%none-such", &address), -ENODEV);
    ASSERT_ERROR(parse("[fe80::1]:80%0", &address), -ENODEV);
}

TEST(vsock)
{
    static const char *const bad[] = {
        "vsock:",      "vsock:2",    "vsock::", "vsock:x:1", "vsock:2:x",
        "vsock:2:1:1", "vsock:-1:1", "vsock",   "vsock:2:"};
    struct address address;

    check("vsock:2:1024", "vsock:2:1024");
    check("vsock::1024", "vsock::1024");
    check("vsock:4294967295:1024", "vsock::1024");
    ASSERT_ERROR(parse("vsock:4294967296:1024", &address), -ERANGE);
    ASSERT_ERROR(parse("vsock:2:4294967295", &address), -ERANGE);
    ASSERT_ERROR(parse("vsock:2:0", &address), -ERANGE);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ASSERT_ERROR(parse(bad[i], &address), -EINVAL);
}

TEST(formatting_what_the_kernel_gives)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr other = {.sa_family = AF_NETLINK};
    char text[ADDRESS_TEXT_MAX];

    ASSERT_OK(address_format((struct sockaddr *)&un, sizeof(sa_family_t), text, sizeof(text)));
    ASSERT_STRING(text, "unnamed");
    memset(un.sun_path, 'p', sizeof(un.sun_path)); /* a path of 108 has no terminator */
    ASSERT_INT(address_format((struct sockaddr *)&un, sizeof(un), text, sizeof(text)), 108);
    ASSERT_ERROR(address_format((struct sockaddr *)&un, sizeof(un), text, 108), -ENOBUFS);
    ASSERT_ERROR(address_format((struct sockaddr *)&un, 0, text, sizeof(text)), -EINVAL);
    ASSERT_ERROR(address_format(&other, sizeof(other), text, sizeof(text)), -EAFNOSUPPORT);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(1)};
    ASSERT_ERROR(address_format((struct sockaddr *)&in, 4, text, sizeof(text)), -EINVAL);
    ASSERT_ERROR(address_format((struct sockaddr *)&in, sizeof(in), text, 9), -ENOBUFS);
}
