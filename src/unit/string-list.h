/* SPDX-License-Identifier: MIT */
/* A list of strings that owns them. items is NULL-terminated, or NULL when nothing was ever added.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct string_list {
    char **items;
    size_t n;
};

/* Each adds a string at the end: a copy, one built by printf(3), one that the list takes over
 * (freed on failure too). 0 or -ENOMEM. */
int string_list_add(struct string_list *list, const char *text);
int string_list_add_format(struct string_list *list, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int string_list_take(struct string_list *list, char *text);

bool string_list_contains(const struct string_list *list, const char *text);
/* In the order of strcmp(3). */
void string_list_sort(struct string_list *list);
/* Frees everything and leaves an empty list. */
void string_list_done(struct string_list *list);
