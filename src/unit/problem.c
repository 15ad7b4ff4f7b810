/* SPDX-License-Identifier: MIT */
#include "unit/problem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unit/text.h"

/* A shorter part of a hidden text than this, at a cut, says nothing. */
#define CUT_MIN 4

static int copy(const char *text, char **ret_copy)
{
    if (text && !(*ret_copy = strdup(text)))
        return -ENOMEM;
    return 0;
}

void problems_add(struct problems *problems, enum problem_severity severity, const char *file,
                  unsigned line, const char *format, ...)
{
    cleanup_free char *text = NULL, *shown = NULL, *own_file = NULL, *own_unit = NULL;
    va_list arguments;

    if (severity == PROBLEM_ERROR)
        problems->n_errors++;
    problems->n_dropped++; /* until it is in the list */
    if (problems->n >= PROBLEMS_MAX)
        return;
    struct problem *list = reallocarray(problems->list, problems->n + 1, sizeof(*list));
    if (!list)
        return;
    problems->list = list;
    if (copy(file, &own_file) < 0 || copy(problems->unit, &own_unit) < 0)
        return;
    va_start(arguments, format);
    int r = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (r < 0) {
        text = NULL; /* undefined by asprintf(3) */
        return;
    }
    shown = problems_show(problems, text);
    if (!shown)
        return;
    list[problems->n] = (struct problem){
        .severity = severity,
        .unit = take_pointer(&own_unit),
        .file = take_pointer(&own_file),
        .line = line,
        .text = take_pointer(&shown),
        .order = problems->n,
    };
    problems->n++;
    problems->n_dropped--;
}

int problems_hide(struct problems *problems, const char *text, const char *shown)
{
    cleanup_free char *own_text = NULL, *own_shown = NULL;
    struct problem_alias *aliases =
        reallocarray(problems->aliases, problems->n_aliases + 1, sizeof(*aliases));

    if (!aliases)
        return -ENOMEM;
    problems->aliases = aliases;
    if (copy(text, &own_text) < 0 || copy(shown, &own_shown) < 0)
        return -ENOMEM;
    aliases[problems->n_aliases++] = (struct problem_alias){
        .text = take_pointer(&own_text),
        .shown = take_pointer(&own_shown),
    };
    return 0;
}

/* How much of the text is what is hidden: all of it, or as much as there is before a cut; 0. */
static size_t match(const struct problem_alias *alias, const char *text)
{
    size_t length = 0;

    while (alias->text[length] && alias->text[length] == text[length])
        length++;
    if (alias->text[length] == '\0')
        return length;
    return length >= CUT_MIN && strncmp(text + length, "…", strlen("…")) == 0 ? length : 0;
}

char *problems_show(const struct problems *problems, const char *text)
{
    cleanup(text_done) struct text result = {0};

    while (*text) {
        const struct problem_alias *found = NULL;
        size_t length = 0;
        for (size_t i = 0; i < problems->n_aliases && length == 0; i++) {
            found = &problems->aliases[i];
            length = match(found, text);
        }
        int r = length > 0 ? text_add(&result, found->shown, strlen(found->shown))
                           : text_add_char(&result, *text);
        if (r < 0)
            return NULL;
        text += length > 0 ? length : 1;
    }
    return text_take(&result);
}

static int compare_place(const char *file, unsigned line, const struct problem *other)
{
    int r =
        !file || !other->file ? (file != NULL) - (other->file != NULL) : strcmp(file, other->file);

    return r != 0 ? r : (line > other->line) - (line < other->line);
}

static int compare(const void *a, const void *b)
{
    const struct problem *one = a, *other = b;
    int r = compare_place(one->file, one->line, other);

    return r != 0 ? r : (one->order > other->order) - (one->order < other->order);
}

void problems_sort(struct problems *problems)
{
    if (problems->n > 1)
        qsort(problems->list, problems->n, sizeof(*problems->list), compare);
}

static bool is_same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool problems_has_error(const struct problems *problems, const char *unit, const char *file,
                        unsigned line)
{
    size_t low = 0, high = problems->n;

    while (low < high) { /* the first at the place */
        size_t middle = low + (high - low) / 2;
        if (compare_place(file, line, &problems->list[middle]) > 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < problems->n && compare_place(file, line, &problems->list[low]) == 0; low++)
        if (problems->list[low].severity == PROBLEM_ERROR &&
            is_same_text(problems->list[low].unit, unit))
            return true;
    return false;
}

/* Whether an earlier one says the same; of any unit, or of the same one. */
static bool is_repeated(const struct problems *problems, size_t i, bool of_any_unit)
{
    const struct problem *one = &problems->list[i];

    for (size_t j = i; j-- > 0;) {
        const struct problem *other = &problems->list[j];
        if (compare_place(one->file, one->line, other) != 0)
            return false;
        if (one->severity == other->severity && strcmp(one->text, other->text) == 0 &&
            (of_any_unit || is_same_text(one->unit, other->unit)))
            return true;
    }
    return false;
}

bool problems_is_repeated(const struct problems *problems, size_t i)
{
    return is_repeated(problems, i, true);
}

size_t problems_count_errors(const struct problems *problems, const char *unit)
{
    size_t n = 0;

    for (size_t i = 0; i < problems->n; i++)
        if (problems->list[i].severity == PROBLEM_ERROR &&
            is_same_text(problems->list[i].unit, unit) && !is_repeated(problems, i, false))
            n++;
    return n;
}

void problems_done(struct problems *problems)
{
    for (size_t i = 0; i < problems->n; i++) {
        free(problems->list[i].unit);
        free(problems->list[i].file);
        free(problems->list[i].text);
    }
    for (size_t i = 0; i < problems->n_aliases; i++) {
        free(problems->aliases[i].text);
        free(problems->aliases[i].shown);
    }
    free(problems->list);
    free(problems->aliases);
    *problems = (struct problems){0};
}
