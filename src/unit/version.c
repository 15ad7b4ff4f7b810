/* SPDX-License-Identifier: MIT */
#include "unit/version.h"

#include <errno.h>
#include <fnmatch.h>
#include <stddef.h>
#include <string.h>

#define DIGITS  "0123456789"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

enum comparison comparison_take(const char **text, bool of_texts)
{
    /* Longer ones first. */
    static const struct {
        const char *sign;
        enum comparison of_numbers, of_texts;
    } operators[] = {
        {"!$=", COMPARISON_NONE, COMPARISON_NO_PATTERN},
        {"$=", COMPARISON_NONE, COMPARISON_PATTERN},
        {"<>", COMPARISON_UNEQUAL, COMPARISON_UNEQUAL},
        {"<=", COMPARISON_LESS_OR_EQUAL, COMPARISON_LESS_OR_EQUAL},
        {">=", COMPARISON_GREATER_OR_EQUAL, COMPARISON_GREATER_OR_EQUAL},
        {"==", COMPARISON_EQUAL, COMPARISON_EQUAL},
        {"!=", COMPARISON_UNEQUAL, COMPARISON_OTHER_TEXT},
        {"<", COMPARISON_LESS, COMPARISON_LESS},
        {">", COMPARISON_GREATER, COMPARISON_GREATER},
        {"=", COMPARISON_EQUAL, COMPARISON_SAME_TEXT},
    };

    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
        size_t length = strlen(operators[i].sign);
        enum comparison found = of_texts ? operators[i].of_texts : operators[i].of_numbers;
        if (strncmp(*text, operators[i].sign, length) != 0 || found == COMPARISON_NONE)
            continue;
        *text += length;
        return found;
    }
    return COMPARISON_NONE;
}

bool comparison_holds(enum comparison comparison, int order)
{
    switch (comparison) {
    case COMPARISON_LESS:
        return order < 0;
    case COMPARISON_LESS_OR_EQUAL:
        return order <= 0;
    case COMPARISON_EQUAL:
        return order == 0;
    case COMPARISON_UNEQUAL:
        return order != 0;
    case COMPARISON_GREATER_OR_EQUAL:
        return order >= 0;
    case COMPARISON_GREATER:
        return order > 0;
    default:
        return false;
    }
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int compare_sizes(size_t a, size_t b)
{
    return (a > b) - (a < b);
}

/* What begins with the separator is older than what does not; it is taken off where both do. */
static int take_separator(const char **a, const char **b, char separator)
{
    bool in_a = **a == separator, in_b = **b == separator;

    if (in_a && in_b) {
        ++*a;
        ++*b;
    }
    return in_b - in_a;
}

/* Takes the digits off both: none at all is older than any number. */
static int compare_numbers(const char **a, const char **b)
{
    size_t length_a = strspn(*a, DIGITS), length_b = strspn(*b, DIGITS);
    const char *end_a = *a + length_a, *end_b = *b + length_b;

    if (length_a == 0 || length_b == 0)
        return (length_a > 0) - (length_b > 0);
    const char *from_a = *a + strspn(*a, "0"), *from_b = *b + strspn(*b, "0");
    int order = compare_sizes((size_t)(end_a - from_a), (size_t)(end_b - from_b));
    if (order == 0)
        order = strncmp(from_a, from_b, (size_t)(end_a - from_a));
    *a = end_a;
    *b = end_b;
    return order;
}

static int compare_letters(const char **a, const char **b)
{
    size_t length_a = strspn(*a, LETTERS), length_b = strspn(*b, LETTERS);
    int order = strncmp(*a, *b, length_a < length_b ? length_a : length_b);

    *a += length_a;
    *b += length_b;
    return order != 0 ? order : compare_sizes(length_a, length_b);
}

int version_compare(const char *a, const char *b)
{
    for (;;) {
        int order;

        a += strcspn(a, DIGITS LETTERS "~-^."); /* anything else only separates */
        b += strcspn(b, DIGITS LETTERS "~-^.");
        order = take_separator(&a, &b, '~'); /* older even than the end of the version */
        if (order != 0)
            return order;
        if (*a == '\0' || *b == '\0')
            return (*a != '\0') - (*b != '\0');
        for (const char *separator = "-^."; *separator && order == 0; separator++)
            order = take_separator(&a, &b, *separator);
        if (order == 0)
            order =
                is_digit(*a) || is_digit(*b) ? compare_numbers(&a, &b) : compare_letters(&a, &b);
        if (order != 0)
            return order;
    }
}

int version_matches(enum comparison comparison, const char *actual, const char *wanted)
{
    bool negated = comparison == COMPARISON_OTHER_TEXT || comparison == COMPARISON_NO_PATTERN;
    int r;

    switch (comparison) {
    case COMPARISON_SAME_TEXT:
    case COMPARISON_OTHER_TEXT:
        return (strcmp(actual, wanted) == 0) != negated;
    case COMPARISON_PATTERN:
    case COMPARISON_NO_PATTERN:
        r = fnmatch(wanted, actual, 0);
        return r == 0 || r == FNM_NOMATCH ? (r == 0) != negated : -EINVAL;
    default:
        return comparison_holds(comparison, version_compare(actual, wanted));
    }
}
