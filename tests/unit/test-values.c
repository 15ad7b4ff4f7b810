/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <limits.h>

#include "basic/cleanup.h"
#include "unit/values.h"

static int boolean(const char *text)
{
    bool value;
    int r = value_boolean(text, &value);

    return r < 0 ? r : value;
}

TEST(booleans)
{
    static const char *const yes[] = {"1", "yes", "YES", "y", "true", "T", "on", "On"};
    static const char *const no[] = {"0", "no", "N", "false", "f", "off"};

    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        ASSERT_INT(boolean(yes[i]), 1);
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        ASSERT_INT(boolean(no[i]), 0);
    ASSERT_ERROR(boolean(""), -EINVAL);
    ASSERT_ERROR(boolean("2"), -EINVAL);
    ASSERT_ERROR(boolean("yes "), -EINVAL);
}

static int64_t integer(const char *text)
{
    int64_t value;
    int r = value_integer(text, -100, 1000, &value);

    return r < 0 ? r * 1000 : value;
}

TEST(integers)
{
    ASSERT_INT(integer("0"), 0);
    ASSERT_INT(integer("-5"), -5);
    ASSERT_INT(integer("+5"), 5);
    ASSERT_INT(integer("010"), 8);
    ASSERT_INT(integer("0x1F"), 31);
    ASSERT_INT(integer("0b101"), 5);
    ASSERT_INT(integer("0o17"), 15);
    ASSERT_INT(integer("-0x10"), -16);
    ASSERT_INT(integer("1001"), -ERANGE * 1000);
    ASSERT_INT(integer("-101"), -ERANGE * 1000);
    ASSERT_INT(integer("99999999999999999999"), -ERANGE * 1000);
    static const char *const wrong[] = {"",    "-",  "x",   "1x",   "0x", "08",
                                        "0b2", "1 ", "--1", "0x-1", "ff"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ASSERT_INT(integer(wrong[i]), -EINVAL * 1000);
    int64_t all;
    ASSERT_OK(value_integer("-9223372036854775808", INT64_MIN, INT64_MAX, &all));
    ASSERT(all == INT64_MIN);
    uint64_t large;
    ASSERT_OK(value_unsigned("18446744073709551615", UINT64_MAX, &large));
    ASSERT(large == UINT64_MAX);
    ASSERT_OK(value_unsigned("-0", 1, &large));
    ASSERT_ERROR(value_unsigned("-1", UINT64_MAX, &large), -ERANGE);
}

static uint64_t span(const char *text)
{
    uint64_t usec = 4711;
    int r = value_time(text, &usec);

    if (r < 0)
        ASSERT_INT(usec, 4711);
    return r < 0 ? (uint64_t)r : usec;
}

TEST(time_spans)
{
    ASSERT(span("5") == 5000000);
    ASSERT(span(" 1.5 h") == UINT64_C(5400000000));
    ASSERT(span(".5") == 500000);
    ASSERT(span("+5") == 5000000);
    ASSERT(span("5 weeks") == UINT64_C(3024000000000));
    ASSERT(span("1M") == UINT64_C(2629800000000));
    ASSERT(span("1y 1month 1w 1d 1h 1m 1s 1ms 1us") == UINT64_C(34882261001001));
    ASSERT(span("1\xc2\xb5s") == 1);
    ASSERT(span("1\xce\xbcs") == 1);
    ASSERT(span("1h30") == UINT64_C(3630000000));
    ASSERT(span("0.1234567s") == 123456);
    ASSERT(span(" infinity ") == TIME_INFINITY);
    static const char *const wrong[] = {"",    " ",   "s",     "1 parsec",   "1.",  "1. 5h",
                                        "1.h", "3ns", "1.5.5", "infinity s", "1e3", "1s,1"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ASSERT(span(wrong[i]) == (uint64_t)-EINVAL);
    ASSERT(span("-5") == (uint64_t)-ERANGE);
    ASSERT(span("1d-1") == (uint64_t)-ERANGE);
    ASSERT(span("18446744073709551615us") == (uint64_t)-ERANGE);
    ASSERT(span("9223372036854775807us") == INT64_MAX);
    ASSERT(span("9223372036854775807") == (uint64_t)-ERANGE);
}

TEST(other_time_spans)
{
    uint64_t value;

    ASSERT_OK(value_timeout("0", &value));
    ASSERT(value == TIME_INFINITY);
    ASSERT_OK(value_timeout("0ms", &value));
    ASSERT(value == TIME_INFINITY);
    ASSERT_OK(value_timeout("90", &value));
    ASSERT_INT(value, 90000000);
    ASSERT_ERROR(value_timeout("", &value), -EINVAL);
    ASSERT_OK(value_nanoseconds("50us 3", &value));
    ASSERT_INT(value, 50003);
    ASSERT_OK(value_nanoseconds("1.5us 2ns 1nsec", &value));
    ASSERT_INT(value, 1503);
    ASSERT_OK(value_nanoseconds("1s", &value));
    ASSERT_INT(value, 1000000000);
    ASSERT_ERROR(value_nanoseconds("9223372036854775807s", &value), -ERANGE);
}

static int64_t size(const char *text)
{
    uint64_t value;
    int r = value_size(text, &value);

    return r < 0 ? r : (int64_t)value;
}

TEST(sizes)
{
    ASSERT_INT(size("0"), 0);
    ASSERT_INT(size("1023"), 1023);
    ASSERT_INT(size("1023B"), 1023);
    ASSERT_INT(size("8M"), 8 << 20);
    ASSERT_INT(size("1.5K"), 1536);
    ASSERT_INT(size("0.125K"), 128);
    ASSERT_INT(size("10.M"), 10 << 20);
    ASSERT_INT(size("1G 500M"), (1 << 30) + (500 << 20));
    ASSERT_INT(size("1G500"), (1 << 30) + 500);
    ASSERT_INT(size("7 E"), INT64_C(7) << 60);
    ASSERT_ERROR(size("16E"), -ERANGE);
    ASSERT_ERROR(size("-1"), -ERANGE);
    ASSERT_ERROR(size("99999999999999999999"), -ERANGE);
    static const char *const wrong[] = {"",    "M",   "1k",   "1MB",   "500M 1G", "1G 1G",
                                        "5 5", ".5K", "1M x", "1 KiB", "+-1"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ASSERT_ERROR(size(wrong[i]), -EINVAL);
}

static int64_t percent(const char *text, bool unbound)
{
    uint32_t value;
    int r = value_percent(text, unbound, &value);

    return r < 0 ? r : (int64_t)value;
}

TEST(percentages)
{
    ASSERT_INT(percent("0%", false), 0);
    ASSERT_INT(percent("50%", false), 5000);
    ASSERT_INT(percent("12.5%", false), 1250);
    ASSERT_INT(percent("12.55%", false), 1255);
    ASSERT_INT(percent("12.5\xe2\x80\xb0", false), 125);
    ASSERT_INT(percent("125\xe2\x80\xb1", false), 125);
    ASSERT_INT(percent("100%", false), 10000);
    ASSERT_ERROR(percent("101%", false), -ERANGE);
    ASSERT_INT(percent("250%", true), 25000);
    ASSERT_ERROR(percent("99999999999%", true), -ERANGE);
    static const char *const wrong[] = {"",    "%",      "50",  "-1%",
                                        "1.%", "1.555%", "5 %", "1.25\xe2\x80\xb0"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ASSERT_ERROR(percent(wrong[i], true), -EINVAL);
}

static void check_path(const char *text, const char *expected)
{
    cleanup_free char *path = NULL;

    ASSERT_OK(value_path(text, &path));
    ASSERT_STRING(path, expected);
}

TEST(paths)
{
    char *path, long_name[NAME_MAX + 3], long_path[PATH_MAX + 1];

    check_path("/", "/");
    check_path("//a/./b///c/", "/a/b/c");
    check_path("/.", "/");
    check_path("/a/..b/c..", "/a/..b/c..");
    ASSERT_ERROR(value_path("", &path), -EINVAL);
    ASSERT_ERROR(value_path("a/b", &path), -EINVAL);
    ASSERT_ERROR(value_path("/a/../b", &path), -EINVAL);
    ASSERT_ERROR(value_path("/a\xff", &path), -EINVAL);
    memset(long_name, 'x', sizeof(long_name));
    long_name[0] = '/';
    long_name[sizeof(long_name) - 1] = '\0';
    ASSERT_ERROR(value_path(long_name, &path), -ENAMETOOLONG);
    for (size_t i = 0; i < PATH_MAX; i++)
        long_path[i] = i % 2 ? 'x' : '/';
    long_path[PATH_MAX] = '\0';
    ASSERT_ERROR(value_path(long_path, &path), -ENAMETOOLONG);
}

TEST(tidy_paths)
{
    static const char *const pairs[][2] = {
        {"a//b/./c/", "a/b/c"}, {"./a", "a"},      {"./", "."}, {"", ""},
        {"../a/..", "../a/.."}, {"/../x", "/../x"}};

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        char path[32];
        strcpy(path, pairs[i][0]);
        path_tidy(path);
        ASSERT_STRING(path, pairs[i][1]);
    }
}

TEST(var_run_is_run)
{
    static const char *const pairs[][2] = {
        {"/var/run/x", "/run/x"}, {"/var/run", "/run"}, {"/var/runner/x", "/var/runner/x"}};

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        char path[32];
        strcpy(path, pairs[i][0]);
        path_leave_var_run(path);
        ASSERT_STRING(path, pairs[i][1]);
    }
}

TEST(fd_names)
{
    char name[257];

    ASSERT_OK(value_fd_name("foo.socket"));
    ASSERT_OK(value_fd_name("with blank"));
    ASSERT_ERROR(value_fd_name("a:b"), -EINVAL);
    ASSERT_ERROR(value_fd_name("a\n"), -EINVAL);
    ASSERT_ERROR(value_fd_name("\xc3\xa9"), -EINVAL);
    memset(name, 'x', sizeof(name));
    name[256] = '\0';
    ASSERT_ERROR(value_fd_name(name), -ERANGE);
    name[255] = '\0';
    ASSERT_OK(value_fd_name(name));
}
