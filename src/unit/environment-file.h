/* SPDX-License-Identifier: MIT */
/*
 * EnvironmentFile= (systemd.exec(5)): NAME=VALUE lines, which look like shell but are not. Values
 * may be quoted, by "" over several lines too; a line that begins with "#" or ";" is a comment, and
 * goes on when it ends in a backslash (as in systemd up to 253). Nothing is expanded. The file is
 * read at each start of the service; the "-" in front of its name, and patterns, are the caller's.
 */
#pragma once

#include <stddef.h>

#include "unit/string-list.h"

#define ENVIRONMENT_FILE_MAX       (4 * 1024 * 1024)
#define ENVIRONMENT_FILE_FAULT_MAX 64

/* An assignment that was left out: its name cannot be a variable's. */
struct environment_fault {
    unsigned line; /* where it begins, from 1 */
    char *name;
};

struct environment_file {
    struct string_list variables; /* "NAME=VALUE", each name once */
    struct environment_fault
        *faults; /* at most ENVIRONMENT_FILE_FAULT_MAX, later ones are dropped */
    size_t n_faults;
};

/*
 * 0; -EBADMSG for a NUL byte, -EILSEQ for what is not UTF-8 in a name or a value, both with the
 * line in *ret_line if that is not NULL; -ENOMEM. systemd refuses such files as a whole, too.
 */
int environment_file_parse(const char *data, size_t length, struct environment_file *ret_file,
                           unsigned *ret_line);

/* The same of a regular file, or /dev/null. Also -EFBIG above ENVIRONMENT_FILE_MAX, -EISDIR,
 * -EINVAL for what is neither, or an errno of open(2) or read(2). Never blocks. */
int environment_file_load(const char *path, struct environment_file *ret_file, unsigned *ret_line);

void environment_file_done(struct environment_file *file);
