/* SPDX-License-Identifier: MIT */
/* A text that grows, and a question about text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define BLANKS " \t\n\r" /* what systemd takes for white space */

/* Empty is {0}. data is not terminated before text_take(). */
struct text {
    char *data;
    size_t length, capacity;
};

/* 0, or -ENOMEM. */
int text_add(struct text *text, const char *data, size_t length);
int text_add_char(struct text *text, char c);

/* The text, terminated, now the caller's; NULL when there is no memory. The text is empty again. */
char *text_take(struct text *text);
void text_done(struct text *text);

/* The name of an environment variable: letters, digits, "_", no digit in front. */
bool text_is_variable_name(const char *text, size_t length);
