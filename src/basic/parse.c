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

static const struct time_unit {
    const char *name;
    uint64_t usec;
} time_units[] = {
    {"usec", 1},
    {"us", 1},
    {"msec", USEC_PER_MSEC},
    {"ms", USEC_PER_MSEC},
    {"seconds", USEC_PER_SEC},
    {"second", USEC_PER_SEC},
    {"sec", USEC_PER_SEC},
    {"s", USEC_PER_SEC},
    {"minutes", 60 * USEC_PER_SEC},
    {"minute", 60 * USEC_PER_SEC},
    {"min", 60 * USEC_PER_SEC},
    {"m", 60 * USEC_PER_SEC},
    {"hours", 3600 * USEC_PER_SEC},
    {"hour", 3600 * USEC_PER_SEC},
    {"hr", 3600 * USEC_PER_SEC},
    {"h", 3600 * USEC_PER_SEC},
    {"days", 86400 * USEC_PER_SEC},
    {"day", 86400 * USEC_PER_SEC},
    {"d", 86400 * USEC_PER_SEC},
};

/* Takes the unit name at *text; no name at all means seconds. */
static int take_time_unit(const char **text, uint64_t *ret_usec)
{
    size_t length = strspn(*text, "abcdefghijklmnopqrstuvwxyz");

    if (length == 0) {
        *ret_usec = USEC_PER_SEC;
        return 0;
    }
    for (size_t i = 0; i < sizeof(time_units) / sizeof(time_units[0]); i++)
        if (strlen(time_units[i].name) == length &&
            strncmp(*text, time_units[i].name, length) == 0) {
            *text += length;
            *ret_usec = time_units[i].usec;
            return 0;
        }
    return -EINVAL;
}

/* The digits behind a decimal point, as millionths; more than six are read and dropped. */
static uint64_t take_millionths(const char **text)
{
    uint64_t value = 0, scale = 100000;

    for (; is_digit(**text); (*text)++, scale /= 10)
        value += (uint64_t)(**text - '0') * scale;
    return value;
}

int parse_time_span(const char *text, uint64_t *ret_usec)
{
    uint64_t total = 0;

    if (strcmp(text, "infinity") == 0) {
        *ret_usec = TIME_INFINITY;
        return 0;
    }
    do {
        uint64_t whole, millionths = 0, unit, part;
        int r = take_decimal(&text, &whole);

        if (r < 0)
            return r;
        if (*text == '.') {
            text++;
            if (!is_digit(*text))
                return -EINVAL;
            millionths = take_millionths(&text);
        }
        r = take_time_unit(&text, &unit);
        if (r < 0)
            return r;
        if (__builtin_mul_overflow(whole, unit, &part) ||
            __builtin_add_overflow(total, part, &total) ||
            __builtin_add_overflow(total, millionths * unit / 1000000, &total) ||
            total == TIME_INFINITY)
            return -ERANGE;
        text += strspn(text, " ");
    } while (*text != '\0');
    *ret_usec = total;
    return 0;
}
