/* SPDX-License-Identifier: MIT */
/*
 * EnvironmentFile=: all files of a unit, patterns included, read together; and whether they are
 * still what was read. As systemd: a pattern that nothing matches is a file that is not there; with
 * "-" in front no failure counts, of each file by itself; an assignment whose name cannot be a
 * variable's is left out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "unit/environment-file.h"
#include "unit/string-list.h"

/* One name as it stands in the unit, and what it was when it was read. */
struct environment_source;

/* Empty is {0}. */
struct environment_files {
    struct string_list variables; /* "NAME=VALUE"; of two with one name the last one counts */
    struct environment_source *sources;
    size_t n_sources;
};

/* Told of what is left out, and of the file that made the load fail. line is 0 for a whole file. */
struct environment_files_listener {
    void (*tell)(void *context, const char *path, unsigned line, const char *text);
    void *context;
};

/* names as in exec_context.environment_files. listener may be NULL. 0; what
 * environment_file_load() says, -ENOENT for a pattern without a match; -ENOMEM. */
int environment_files_load(const struct string_list *names,
                           const struct environment_files_listener *listener,
                           struct environment_files *ret_files);

/* False when another file is in the place of one of them, a missing one has come, or a pattern
 * matches others. One stat(2) each; a pattern costs reading its directories. */
bool environment_files_are_fresh(const struct environment_files *files);

void environment_files_done(struct environment_files *files);
