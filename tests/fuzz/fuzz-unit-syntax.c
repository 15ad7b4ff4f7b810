/* SPDX-License-Identifier: MIT */
/* Any bytes as a unit file: all that comes out is readable text, in order of lines. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "unit/unit-syntax.h"
#include "unit/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const sections[] = {"Unit", "Socket", "Install", NULL};
    struct unit_source source = {.file = "fuzz", .data = (const char *)data, .size = size};
    struct unit_text text = {0};
    struct problems problems = {0};
    unsigned line = 1;

    if (unit_text_parse(&text, &source, sections, &problems) < 0 && problems.n_errors == 0)
        abort();
    for (size_t i = 0; i < text.n; i++) {
        const struct unit_assignment *one = &text.assignments[i];

        if (!*one->key || one->line < line || !utf8_is_valid(one->key) ||
            !utf8_is_valid(one->value) || strpbrk(one->value, "\r\n") || strcmp(one->file, "fuzz"))
            abort();
        line = one->line;
    }
    problems_done(&problems);
    unit_text_done(&text);
    return 0;
}
