/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "basic/parse.h"

static int64_t number(const char *text, uint64_t maximum)
{
    uint64_t value = 4711;
    int r = parse_unsigned(text, maximum, &value);

    if (r < 0)
        ASSERT_INT(value, 4711);
    return r < 0 ? r : (int64_t)value;
}

TEST(numbers)
{
    ASSERT_INT(number("0", 10), 0);
    ASSERT_INT(number("10", 10), 10);
    ASSERT_INT(number("007", 10), 7);
    ASSERT_ERROR(number("11", 10), -ERANGE);
    ASSERT_ERROR(number("18446744073709551616", UINT64_MAX), -ERANGE);
    ASSERT_ERROR(number("99999999999999999999999", UINT64_MAX), -ERANGE);
    static const char *const wrong[] = {"", "-1", "+1", " 1", "1 ", "1x", "0x1", "\xb2"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ASSERT_ERROR(number(wrong[i], 100), -EINVAL);
    uint64_t all;
    ASSERT_OK(parse_unsigned("18446744073709551615", UINT64_MAX, &all));
    ASSERT(all == UINT64_MAX);
}

static int mode(const char *text)
{
    mode_t value;
    int r = parse_mode(text, &value);

    return r < 0 ? r : (int)value;
}

TEST(modes)
{
    ASSERT_INT(mode("0"), 0);
    ASSERT_INT(mode("644"), 0644);
    ASSERT_INT(mode("0644"), 0644);
    ASSERT_INT(mode("07777"), 07777);
    ASSERT_ERROR(mode("10000"), -ERANGE);
    ASSERT_ERROR(mode("0777777777777777777777777777"), -ERANGE);
    static const char *const wrong[] = {"", "8", "64x", "-1", "u+x", " 644"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ASSERT_ERROR(mode(wrong[i]), -EINVAL);
}

static int64_t span(const char *text)
{
    uint64_t usec;
    int r = parse_time_span(text, &usec);

    return r < 0 ? r : (int64_t)usec;
}

TEST(time_spans)
{
    uint64_t usec;

    ASSERT_INT(span("5"), 5000000);
    ASSERT_INT(span("1.5"), 1500000);
    ASSERT_INT(span("500ms"), 500000);
    ASSERT_INT(span("1min 30s"), 90000000);
    ASSERT_INT(span("1min30s"), 90000000);
    ASSERT_INT(span("2h"), 7200000000);
    ASSERT_INT(span("1d"), 86400000000);
    ASSERT_INT(span("0"), 0);
    ASSERT_INT(span("10us"), 10);
    ASSERT_INT(span("0.1234567s"), 123456);
    ASSERT_OK(parse_time_span("infinity", &usec));
    ASSERT(usec == TIME_INFINITY);
    static const char *const wrong[] = {"",   " ",  "s",  "1 parsec", "1.",
                                        ".5", "-1", "+1", "1 s",      "x"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ASSERT_ERROR(span(wrong[i]), -EINVAL);
    ASSERT_ERROR(span("18446744073709551615"), -ERANGE);
    ASSERT_ERROR(span("18446744073709551615us"), -ERANGE);
    ASSERT_ERROR(span("18446744073709551615us 18446744073709551615us"), -ERANGE);
}
