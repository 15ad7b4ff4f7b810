/* SPDX-License-Identifier: MIT */
#include "basic/parse.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "basic/clock.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Takes the decimal digits at *text; -EINVAL when there are none. */
static int take_decimal(const char **text, uint64_t *ret_value)
{
    const char *p = *text;
    uint64_t value = 0;

    if (!is_digit(*p))
        return -EINVAL;
    for (; is_digit(*p); p++)
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return -ERANGE;
    *text = p;
    *ret_value = value;
    return 0;
}

int parse_unsigned(const char *text, uint64_t maximum, uint64_t *ret_value)
{
    uint64_t value;
    int r = take_decimal(&text, &value);

    if (r < 0)
        return r;
    if (*text != '\0')
        return -EINVAL;
    if (value > maximum)
        return -ERANGE;
    *ret_value = value;
    return 0;
}

int parse_mode(const char *text, mode_t *ret_mode)
{
    mode_t mode = 0;

    if (*text == '\0')
        return -EINVAL;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '7')
            return -EINVAL;
        mode = mode * 8 + (mode_t)(*text - '0');
        if (mode > 07777)
            return -ERANGE;
    }
    *ret_mode = mode;
    return 0;
}

#define USEC_PER_MINUTE (60 * USEC_PER_SEC)
#define USEC_PER_HOUR   (60 * USEC_PER_MINUTE)
#define USEC_PER_DAY    (24 * USEC_PER_HOUR)
#define USEC_PER_MONTH  (UINT64_C(2629800) * USEC_PER_SEC)  /* 30.44 days */
#define USEC_PER_YEAR   (UINT64_C(31557600) * USEC_PER_SEC) /* 365.25 days */
#define NSEC_PER_USEC   UINT64_C(1000)

/* The first that the text begins with is meant: longer names stand before their beginnings. */
static const struct time_unit {
    const char *name;
    uint64_t usec;
} time_units[] = {
    {"seconds", USEC_PER_SEC},
    {"second", USEC_PER_SEC},
    {"sec", USEC_PER_SEC},
    {"s", USEC_PER_SEC},
    {"minutes", USEC_PER_MINUTE},
    {"minute", USEC_PER_MINUTE},
    {"min", USEC_PER_MINUTE},
    {"months", USEC_PER_MONTH},
    {"month", USEC_PER_MONTH},
    {"M", USEC_PER_MONTH},
    {"msec", USEC_PER_MSEC},
    {"ms", USEC_PER_MSEC},
    {"m", USEC_PER_MINUTE},
    {"hours", USEC_PER_HOUR},
    {"hour", USEC_PER_HOUR},
    {"hr", USEC_PER_HOUR},
    {"h", USEC_PER_HOUR},
    {"days", USEC_PER_DAY},
    {"day", USEC_PER_DAY},
    {"d", USEC_PER_DAY},
    {"weeks", 7 * USEC_PER_DAY},
    {"week", 7 * USEC_PER_DAY},
    {"w", 7 * USEC_PER_DAY},
    {"years", USEC_PER_YEAR},
    {"year", USEC_PER_YEAR},
    {"y", USEC_PER_YEAR},
    {"usec", 1},
    {"us", 1},
    {"\xc2\xb5s", 1}, /* U+00B5, the micro sign */
    {"\xce\xbcs", 1}, /* U+03BC, the Greek letter */
};

/* How one kind of time span is read. */
struct time_syntax {
    bool loose;     /* as in unit files */
    uint64_t scale; /* what is counted, in one microsecond */
    uint64_t bare;  /* the unit of a number without one */
};

static const char blanks[] = " \t\n\r";

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Takes the unit's name at *text; no name at all means the bare unit. */
static void take_time_unit(const char **text, const struct time_syntax *syntax, uint64_t *ret_unit)
{
    for (size_t i = 0; i < sizeof(time_units) / sizeof(time_units[0]); i++)
        if (has_prefix(*text, time_units[i].name)) {
            *text += strlen(time_units[i].name);
            *ret_unit = time_units[i].usec * syntax->scale;
            return;
        }
    *ret_unit = syntax->bare;
    if (syntax->scale == NSEC_PER_USEC && (has_prefix(*text, "nsec") || has_prefix(*text, "ns"))) {
        *text += has_prefix(*text, "nsec") ? strlen("nsec") : strlen("ns");
        *ret_unit = 1;
    }
}

/* Takes a number: its whole part, and where the digits behind a point begin (NULL: no point). */
static int take_time_number(const char **text, bool loose, uint64_t *ret_whole,
                            const char **ret_fraction)
{
    const char *p = *text, *fraction = NULL;
    uint64_t whole = 0;

    if (loose && *p == '-')
        return -ERANGE;
    if (loose && *p == '+' && is_digit(p[1]))
        p++;
    if (!loose || *p != '.') {
        int r = take_decimal(&p, &whole);
        if (r < 0)
            return r;
        if (whole > INT64_MAX)
            return -ERANGE;
    }
    if (*p == '.') {
        fraction = ++p;
        if (!is_digit(*p))
            return -EINVAL;
        p += strspn(p, "0123456789");
    }
    *text = p;
    *ret_whole = whole;
    *ret_fraction = fraction;
    return 0;
}

/* Takes a number with its unit. Every digit behind the point is rounded down on its own, as systemd
 * does. */
static int take_time_part(const char **text, const struct time_syntax *syntax, uint64_t *ret_part)
{
    const char *p = *text, *after_number, *fraction;
    uint64_t whole, unit, part;
    int r = take_time_number(&p, syntax->loose, &whole, &fraction);

    if (r < 0)
        return r;
    after_number = p;
    if (syntax->loose)
        p += strspn(p, blanks);
    take_time_unit(&p, syntax, &unit);
    if (p == after_number && *p != '\0' && (syntax->loose || *p != ' '))
        return -EINVAL; /* "1.2.3", or no such unit */
    if (whole >= UINT64_MAX / unit)
        return -ERANGE;
    part = whole * unit;
    for (unit /= 10; fraction && is_digit(*fraction); fraction++, unit /= 10)
        if (__builtin_add_overflow(part, (uint64_t)(*fraction - '0') * unit, &part))
            return -ERANGE;
    *text = p;
    *ret_part = part;
    return 0;
}

static int parse_time(const char *text, const struct time_syntax *syntax, uint64_t *ret_time)
{
    uint64_t total = 0;

    if (syntax->loose)
        text += strspn(text, blanks);
    if (has_prefix(text, "infinity")) {
        text += strlen("infinity");
        if (syntax->loose)
            text += strspn(text, blanks);
        if (*text != '\0')
            return -EINVAL;
        *ret_time = TIME_INFINITY;
        return 0;
    }
    do {
        uint64_t part;
        int r = take_time_part(&text, syntax, &part);
        if (r < 0)
            return r;
        if (__builtin_add_overflow(total, part, &total) || total == TIME_INFINITY)
            return -ERANGE;
        text += strspn(text, syntax->loose ? blanks : " ");
    } while (*text != '\0');
    *ret_time = total;
    return 0;
}

int parse_time_span(const char *text, uint64_t *ret_usec)
{
    static const struct time_syntax strict = {.scale = 1, .bare = USEC_PER_SEC};

    return parse_time(text, &strict, ret_usec);
}

int parse_loose_time_span(const char *text, uint64_t bare_usec, uint64_t *ret_usec)
{
    struct time_syntax syntax = {.loose = true, .scale = 1, .bare = bare_usec};

    return parse_time(text, &syntax, ret_usec);
}

int parse_loose_time_span_nsec(const char *text, uint64_t *ret_nsec)
{
    static const struct time_syntax syntax = {.loose = true, .scale = NSEC_PER_USEC, .bare = 1};

    return parse_time(text, &syntax, ret_nsec);
}
