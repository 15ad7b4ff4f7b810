/* SPDX-License-Identifier: MIT */
/*
 * From the uses of a unit_file to the fields of a struct: each kind of unit has tables of keys, in
 * which a directive's reader is found by its name, and goes through them with unit_values_read().
 * Here are also the readers that several keys have in common.
 *
 * A value that cannot be read is an error in problems and leaves the field alone; to systemd it is
 * mostly a warning, but nothing that was written is silently without effect.
 */
#pragma once

#include <stddef.h>

#include "unit/command-line.h"
#include "unit/problem.h"
#include "unit/string-list.h"
#include "unit/unit-file.h"

/* The value could not be used, which is in problems. */
#define UNIT_FAULT 1

/* One use, as a reader gets it. */
struct value_source {
    const struct unit_file *unit;
    const struct directive_use *use;
    struct problems *problems;
};

/* Sets, or adds to, the field: 0, UNIT_FAULT, -ENOMEM. */
typedef int (*value_reader)(const struct value_source *source, void *field);

struct unit_key {
    const char *name;
    value_reader read;
    size_t offset; /* of the field */
};

/* A table and the struct it is about. */
struct unit_keys {
    const struct unit_key *keys;
    size_t n;
    void *object;
};

/* Reads all honoured uses in a section, in their order, by the first table that has the key. 0, or
 * -ENOMEM. A key without a reader is an error in problems. */
int unit_values_read(const struct unit_file *unit, enum directive_section section,
                     const struct unit_keys *tables, size_t n_tables, struct problems *problems);

/* Adds "cannot parse "KEY=VALUE": …". Always UNIT_FAULT. */
int value_fault(const struct value_source *source, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The result of a parser: 0 and -ENOMEM as they are, any other a fault: "not EXPECTED". */
int value_check(const struct value_source *source, int result, const char *expected);

enum expansion {
    EXPAND_TEXT,      /* to at most UNIT_LINE_MAX */
    EXPAND_PATH,      /* PATH_MAX */
    EXPAND_UNIT_NAME, /* with the few specifiers that are possible there */
};

/* Resolves the specifiers in a value, or in a part of it. 0, UNIT_FAULT, -ENOMEM. */
int value_expand(const struct value_source *source, const char *text, enum expansion expansion,
                 char **ret_text);
/* The same, to an absolute path. */
int value_expand_path(const struct value_source *source, const char *text, char **ret_path);

/* Puts text, which it takes over, in the place of the string in a field. 0. */
int value_replace(char **field, char *text);

/* True for the name or number of a user or group that systemd takes. */
bool value_is_user(const char *text);

/* A word out of a list: its number is given back, or -EINVAL. names ends with NULL. */
int value_choice(const char *text, const char *const *names);

/* Readers. The comment is the type of the field. */
int read_nothing(const struct value_source *source, void *field);  /* any: it is left alone */
int read_boolean(const struct value_source *source, void *field);  /* bool */
int read_unsigned(const struct value_source *source, void *field); /* unsigned */
int read_integer(const struct value_source *source, void *field);  /* int */
int read_long(const struct value_source *source, void *field);     /* long */
int read_time(const struct value_source *source, void *field);     /* uint64_t, microseconds */
int read_timeout(const struct value_source *source, void *field);  /* the same; 0: for ever */
int read_size(const struct value_source *source, void *field);     /* uint64_t, bytes */
int read_mode(const struct value_source *source, void *field);     /* mode_t */
int read_text(const struct value_source *source, void *field);     /* char *; empty: NULL */
int read_user(const struct value_source *source, void *field);     /* char *; empty: NULL */
int read_commands(const struct value_source *source, void *field); /* struct command_list */
