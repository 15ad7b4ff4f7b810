/* SPDX-License-Identifier: MIT */
#include "unit/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"

void problems_add(struct problems *problems, enum problem_severity severity, const char *file,
                  unsigned line, const char *format, ...)
{
    cleanup_free char *text = NULL, *own_file = NULL;
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
    if (file) {
        own_file = strdup(file);
        if (!own_file)
            return;
    }
    va_start(arguments, format);
    int r = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (r < 0) {
        text = NULL; /* undefined by asprintf(3) */
        return;
    }
    list[problems->n++] = (struct problem){
        .severity = severity,
        .file = take_pointer(&own_file),
        .line = line,
        .text = take_pointer(&text),
    };
    problems->n_dropped--;
}

void problems_done(struct problems *problems)
{
    for (size_t i = 0; i < problems->n; i++) {
        free(problems->list[i].file);
        free(problems->list[i].text);
    }
    free(problems->list);
    *problems = (struct problems){0};
}
