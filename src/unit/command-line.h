/* SPDX-License-Identifier: MIT */
/*
 * ExecStart= and its kin (systemd.service(5), "Command lines"): first parsed, when the unit is
 * loaded; then, at each exec, the $VARIABLES are put in. In between the command says what to run.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "unit/string-list.h"

/* The characters in front of the program. */
enum command_flags {
    COMMAND_IGNORE_FAILURE = 1 << 0,   /* "-": failure, or no such program, counts as success */
    COMMAND_NO_EXPANSION = 1 << 1,     /* ":": a "$" is a "$" */
    COMMAND_FULL_PRIVILEGES = 1 << 2,  /* "+": no User=, no sandbox */
    COMMAND_KEEP_USER = 1 << 3,        /* "!": no User=, but all the rest */
    COMMAND_AMBIENT_FALLBACK = 1 << 4, /* "!!": like "!" only without ambient capabilities, that is
                                          on Linux before 4.3: nothing today */
};

struct command {
    char *program;           /* an absolute path, or the name of a file to be looked up */
    struct string_list argv; /* the first by "@", or the program as it was written */
    unsigned flags;
};

struct command_list {
    struct command *items;
    size_t n;
};
void command_list_done(struct command_list *list);

/* How specifiers are resolved in one word: 0 and a text for the caller to free, or a negative
 * errno. The program is a path, so its limit is another one than an argument's. */
struct word_expander {
    int (*expand)(const void *context, const char *word, bool is_program, char **ret_text);
    const void *context;
};

/* What there is to say about a line. */
struct command_report {
    const char *fault;   /* why the line failed, for a message; NULL when it did not */
    bool is_tolerated;   /* the faulty command had a "-": systemd passes over such a line */
    bool unknown_escape; /* one was kept as it is written, which deserves a warning */
};

/*
 * Parses a value, which may hold several commands, and appends them to the list. expander may be
 * NULL. A value without any command adds nothing. 0; -EINVAL with a fault in the report, or what
 * the expander gave, also with one; -ENOMEM. The list is untouched on failure. The report is
 * always set.
 */
int command_line_parse(const char *line, const struct word_expander *expander,
                       struct command_list *list, struct command_report *ret_report);

/*
 * The arguments to execute: in a word ${NAME} is replaced, $$ is a dollar; a word that is nothing
 * but $NAME is replaced by the words in the variable, without any when it is unset. environment
 * ends with NULL, the last of two equal names counts. Nothing happens with COMMAND_NO_EXPANSION. If
 * no word is left there is one empty one, as Linux would make it. 0, or -ENOMEM.
 */
int command_expand(const struct command *command, char *const *environment,
                   struct string_list *ret_argv);
