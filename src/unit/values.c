/* SPDX-License-Identifier: MIT */
#include "unit/values.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "unit/text.h"
#include "unit/utf8.h"

int value_boolean(const char *text, bool *ret_value)
{
    static const char *const words[][2] = {
        {"0", "1"}, {"no", "yes"}, {"n", "y"}, {"false", "true"}, {"f", "t"}, {"off", "on"},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        for (int value = 0; value <= 1; value++)
            if (strcasecmp(text, words[i][value]) == 0) {
                *ret_value = value;
                return 0;
            }
    return -EINVAL;
}

/* Digits in the base that their prefix names, to the end of the text. */
static int parse_digits(const char *text, uint64_t *ret_value)
{
    static const struct {
        char prefix[3];
        int base;
    } bases[] = {{"0x", 16}, {"0X", 16}, {"0b", 2}, {"0B", 2}, {"0o", 8}, {"0O", 8}, {"0", 8}};
    int base = 10;
    char *end;

    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        size_t length = strlen(bases[i].prefix);
        if (strncmp(text, bases[i].prefix, length) != 0)
            continue;
        base = bases[i].base;
        if (length == 2) /* a mere 0 is a digit, too */
            text += length;
        break;
    }
    if (strspn(text, "0123456789abcdefABCDEF") != strlen(text) || *text == '\0')
        return -EINVAL;
    errno = 0;
    uint64_t value = strtoull(text, &end, base);
    if (*end != '\0')
        return -EINVAL;
    if (errno == ERANGE)
        return -ERANGE;
    *ret_value = value;
    return 0;
}

int value_unsigned(const char *text, uint64_t maximum, uint64_t *ret_value)
{
    bool negative = *text == '-';
    uint64_t value;
    int r = parse_digits(text + (negative || *text == '+'), &value);

    if (r < 0)
        return r;
    if (value > maximum || (negative && value > 0))
        return -ERANGE;
    *ret_value = value;
    return 0;
}

int value_integer(const char *text, int64_t minimum, int64_t maximum, int64_t *ret_value)
{
    bool negative = *text == '-';
    uint64_t magnitude;
    int64_t value;
    int r = parse_digits(text + (negative || *text == '+'), &magnitude);

    if (r < 0)
        return r;
    if (magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return -ERANGE;
    value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    if (value < minimum || value > maximum)
        return -ERANGE;
    *ret_value = value;
    return 0;
}

int value_time(const char *text, uint64_t *ret_usec)
{
    return parse_loose_time_span(text, USEC_PER_SEC, ret_usec);
}

int value_timeout(const char *text, uint64_t *ret_usec)
{
    uint64_t usec;
    int r = value_time(text, &usec);

    if (r < 0)
        return r;
    *ret_usec = usec == 0 ? TIME_INFINITY : usec;
    return 0;
}

int value_nanoseconds(const char *text, uint64_t *ret_nsec)
{
    return parse_loose_time_span_nsec(text, ret_nsec);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Takes "1.5" or "10." off *text: the whole part, and the rest as a fraction of one. */
static int take_size_number(const char **text, uint64_t *ret_whole, double *ret_fraction)
{
    const char *p = *text;
    double fraction = 0;
    char *end;

    if (*p == '-')
        return -ERANGE;
    if (*p == '+')
        p++;
    if (!is_digit(*p))
        return -EINVAL;
    errno = 0;
    uint64_t whole = strtoull(p, &end, 10);
    if (errno == ERANGE)
        return -ERANGE;
    p = end;
    if (*p == '.' && is_digit(*++p)) { /* "10." is fine */
        fraction = (double)strtoull(p, &end, 10);
        if (errno == ERANGE)
            return -ERANGE;
        for (; p < end; p++)
            fraction /= 10;
    }
    *text = p;
    *ret_whole = whole;
    *ret_fraction = fraction;
    return 0;
}

int value_size(const char *text, uint64_t *ret_bytes)
{
    static const char suffixes[] = "EPTGMKB"; /* from 1024⁶ down to 1 */
    const size_t n = sizeof(suffixes) - 1;
    uint64_t total = 0;
    size_t next = 0; /* a suffix before this one would be larger than the part before */

    do {
        uint64_t whole, part, factor;
        double fraction;
        size_t i = n;

        text += strspn(text, BLANKS);
        int r = take_size_number(&text, &whole, &fraction);
        if (r < 0)
            return r;
        text += strspn(text, BLANKS);
        const char *suffix = *text == '\0' ? NULL : strchr(suffixes, *text);
        if (suffix && (size_t)(suffix - suffixes) >= next)
            i = (size_t)(suffix - suffixes);
        else if (next > n)
            return -EINVAL;
        factor = i == n ? 1 : UINT64_C(1) << (10 * (n - 1 - i));
        if (__builtin_mul_overflow(whole, factor, &part) ||
            __builtin_add_overflow(part, (uint64_t)(fraction * (double)factor), &part) ||
            __builtin_add_overflow(total, part, &total))
            return -ERANGE;
        text += i < n;
        next = i + 1;
    } while (*text != '\0');
    *ret_bytes = total;
    return 0;
}

int value_percent(const char *text, bool unbound, uint32_t *ret_permyriad)
{
    static const struct {
        const char *sign;
        uint32_t factor;
        size_t decimals;
    } signs[] = {{"%", 100, 2}, {"\xe2\x80\xb0", 10, 1}, {"\xe2\x80\xb1", 1, 0}};
    size_t digits = strspn(text, "0123456789");
    const char *rest = text + digits;
    uint32_t value = 0, fraction = 0;
    size_t decimals = 0, i;

    if (digits == 0)
        return -EINVAL;
    if (*rest == '.') {
        decimals = strspn(++rest, "0123456789");
        if (decimals == 0 || decimals > 2)
            return -EINVAL;
        fraction = (uint32_t)(rest[0] - '0') * 10 + (decimals == 2 ? (uint32_t)(rest[1] - '0') : 0);
        rest += decimals;
    }
    for (i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
        if (strcmp(rest, signs[i].sign) == 0)
            break;
    if (i == sizeof(signs) / sizeof(signs[0]) || decimals > signs[i].decimals)
        return -EINVAL;
    for (size_t k = 0; k < digits; k++)
        if (__builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, (uint32_t)(text[k] - '0'), &value))
            return -ERANGE;
    if (__builtin_mul_overflow(value, signs[i].factor, &value) ||
        __builtin_add_overflow(value, signs[i].factor == 10 ? fraction / 10 : fraction, &value) ||
        value > INT32_MAX || (!unbound && value > 10000))
        return -ERANGE;
    *ret_permyriad = value;
    return 0;
}

void path_tidy(char *path)
{
    bool absolute = *path == '/';
    char *to = path;
    const char *from = path;

    while (*(from += strspn(from, "/")) != '\0') {
        size_t length = strcspn(from, "/");
        if (length != 1 || *from != '.') {
            if (to != path || absolute)
                *to++ = '/';
            memmove(to, from, length);
            to += length;
        }
        from += length;
    }
    if (to == path && *path != '\0')
        *to++ = absolute ? '/' : '.';
    *to = '\0';
}

bool path_is_possible(const char *path)
{
    if (*path == '\0' || strlen(path) >= PATH_MAX)
        return false;
    for (size_t length; *(path += strspn(path, "/")) != '\0'; path += length) {
        length = strcspn(path, "/");
        if (length > NAME_MAX)
            return false;
    }
    return true;
}

static bool has_dot_dot(const char *path)
{
    for (size_t length; *(path += strspn(path, "/")) != '\0'; path += length) {
        length = strcspn(path, "/");
        if (length == 2 && path[0] == '.' && path[1] == '.')
            return true;
    }
    return false;
}

int value_path(const char *text, char **ret_path)
{
    cleanup_free char *path = NULL;

    if (*text != '/' || !utf8_is_valid(text))
        return -EINVAL;
    path = strdup(text);
    if (!path)
        return -ENOMEM;
    path_tidy(path);
    if (!path_is_possible(path))
        return -ENAMETOOLONG;
    if (has_dot_dot(path))
        return -EINVAL;
    *ret_path = take_pointer(&path);
    return 0;
}

void path_leave_var_run(char *path)
{
    static const char old_run[] = "/var/run";
    const size_t n = sizeof(old_run) - 1;

    if (strncmp(path, old_run, n) == 0 && (path[n] == '/' || path[n] == '\0'))
        memmove(path, path + strlen("/var"), strlen(path) + 1 - strlen("/var"));
}

int value_fd_name(const char *text)
{
    size_t length = strlen(text);

    if (length > 255)
        return -ERANGE;
    for (size_t i = 0; i < length; i++)
        if (text[i] < ' ' || text[i] >= 127 || text[i] == ':')
            return -EINVAL;
    return 0;
}
