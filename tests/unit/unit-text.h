/* SPDX-License-Identifier: MIT */
/* Units from text, for tests: what is wrong with them as one text. */
#pragma once

#include "directory.h"
#include "unit/unit-file.h"

/* "u:LINE: TEXT\n" for each problem, "warning: " in front of the text of a warning; the list is
 * emptied. A file in the temporary directory is shown without that. Good until the next call. */
static inline const char *list_problems(struct problems *problems)
{
    static char text[65536];
    size_t used = 0, length = strlen(directory_path);

    text[0] = '\0';
    for (size_t i = 0; i < problems->n; i++) {
        const struct problem *one = &problems->list[i];
        const char *file = one->file ? one->file : "-";
        if (length > 0 && strncmp(file, directory_path, length) == 0)
            file += length + 1;
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s:%u: %s%s\n", file, one->line,
                                 one->severity == PROBLEM_WARNING ? "warning: " : "", one->text);
        ASSERT(used < sizeof(text));
    }
    problems_done(problems);
    return text;
}

/* The unit of a text, which is called "u" in messages. */
static inline struct unit_file *parse_unit(const char *name, const char *text,
                                           struct problems *problems)
{
    struct unit_file_options options = {0};
    struct unit_source source = {.file = "u", .data = text, .size = strlen(text)};
    struct unit_file *unit;

    ASSERT_OK(unit_file_from_text(&options, name, &source, problems, &unit));
    return unit;
}
