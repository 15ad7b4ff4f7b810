/* SPDX-License-Identifier: MIT */
#include "unit/string-list.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int string_list_take(struct string_list *list, char *text)
{
    /* Room for the next one and the end; doubled whenever the count is a power of two. */
    if (text && (list->n & (list->n - 1)) == 0) {
        size_t room = list->n == 0 ? 2 : 2 * list->n + 1;
        char **items = reallocarray(list->items, room, sizeof(char *));

        if (!items) {
            free(text);
            return -ENOMEM;
        }
        list->items = items;
    }
    if (!text)
        return -ENOMEM;
    list->items[list->n++] = text;
    list->items[list->n] = NULL;
    return 0;
}

int string_list_add(struct string_list *list, const char *text)
{
    return string_list_take(list, strdup(text));
}

int string_list_add_format(struct string_list *list, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    int r = vasprintf(&text, format, arguments);
    va_end(arguments);
    return r < 0 ? -ENOMEM : string_list_take(list, text);
}

bool string_list_contains(const struct string_list *list, const char *text)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i], text) == 0)
            return true;
    return false;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void string_list_sort(struct string_list *list)
{
    if (list->n > 1)
        qsort(list->items, list->n, sizeof(char *), compare);
}

void string_list_done(struct string_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct string_list){0};
}
