/* SPDX-License-Identifier: MIT */
/*
 * The syntax of unit files (systemd.syntax(7)): from text to a list of assignments, in the order
 * written. Nothing is known here of keys or values.
 *
 *     struct unit_text text = {0};
 *     r = unit_text_read(&text, main_file, sections, &problems);
 *     for each drop-in: r = unit_text_read(&text, drop_in, sections, &problems);
 *     for (size_t i = 0; i < text.n; i++)
 *         ... text.assignments[i] ...
 *     unit_text_done(&text);
 *
 * As systemd 252 reads them:
 * - A line ends with LF, CR, or both. A byte order mark is dropped, once, from the start of a line.
 * - A line whose first non-blank is # or ; is a comment, also between two lines that are joined.
 * There are no comments behind text.
 * - A line that ends with an odd number of backslashes goes on in the next: the last one becomes a
 * space. An empty line ends it.
 * - [Section] starts or continues a section; quotes, backslashes and control characters in its
 * name, or a missing bracket, end the reading of the file. So does text that is not UTF-8, in any
 * section.
 * - KEY=VALUE: blanks (space, tab) on both sides of both are dropped. A section or a key whose name
 *   starts with X- is not systemd's: it is kept, marked as an extension. Lines without = in an X-
 *   section are nothing.
 *
 * Unlike systemd:
 * - What systemd skips with a warning (an unknown section; a line without = or key; an assignment
 * before the first section) is an error: nothing that was written is silently without effect.
 * - A NUL byte is an error that ends the reading; to systemd it ends a line.
 * - The line of an assignment is the first of its lines, not the last.
 * - Only regular files are read, of at most UNIT_FILE_SIZE_MAX; opening never blocks, and neither
 * does reading. Memory is at most about 25 times the size of the file.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "unit/problem.h"
#include "unit/string-list.h"

#define UNIT_LINE_MAX      ((size_t)1 << 20) /* of a line, and of lines joined, as systemd has it */
#define UNIT_FILE_SIZE_MAX ((size_t)2 << 20) /* systemd has no such limit */

/* All strings belong to the unit_text. */
struct unit_assignment {
    const char *section, *key, *value;
    const char *file;
    unsigned line;
    bool extension; /* the section or the key starts with X- */
};

/* Starts as {0}. */
struct unit_text {
    struct unit_assignment *assignments;
    size_t n;
    struct string_list storage;
};

/*
 * Adds the assignments of a file. sections, NULL-terminated, are those that this type of unit has
 * ("Unit", "Socket", "Install"). Errors of single lines are only in problems, and the other lines
 * are read; a negative errno means that the file was not read to its end, with a problem that says
 * why: of open(2) or read(2), -EISDIR, -ENXIO (another kind of file), -EFBIG, -ENOBUFS (a line is
 * too long), -EILSEQ (not UTF-8, or NUL), -EBADMSG (a bad section header), -ENOMEM.
 */
int unit_text_read(struct unit_text *text, const char *file, const char *const *sections,
                   struct problems *problems);

/* The same for size bytes that came from somewhere else; data is not kept. */
struct unit_source {
    const char *file; /* what to call it */
    const char *data;
    size_t size;
};
int unit_text_parse(struct unit_text *text, const struct unit_source *source,
                    const char *const *sections, struct problems *problems);

void unit_text_done(struct unit_text *text);
