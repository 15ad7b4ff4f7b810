/* SPDX-License-Identifier: MIT */
/*
 * A unit as it is written: the main file and its drop-ins, each assignment with what hark does
 * about it. What the values mean is for socket-unit and service-unit.
 *
 *     r = unit_file_load(&options, "foo.socket", NULL, &problems, &unit);
 *     for (size_t i = 0; i < unit->n_uses; i++)
 *         ... unit->uses[i] ...
 *     unit_file_free(unit);
 *
 * Refused and unknown keys are errors in problems, with what to do instead, unless the operator
 * said to run without them: by the names in options.ignore or in Ignore= of [X-Hark], where
 * "sandbox" stands for all keys that confine a service. Such uses are left to the caller to tell
 * about, each time.
 *
 * A refused key does no harm where it is overridden or reset later on, in the order of reading:
 * - of a key whose neutral value is the empty one only the uses after the last empty one count, of
 *   any other key only the last use;
 * - one empty Condition…= resets all conditions, Assert…= all assertions, Listen…= all listeners.
 *
 * Not here: sections and keys that start with X-, but for [X-Hark]. They are not hark's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "unit/directives.h"
#include "unit/load-path.h"
#include "unit/problem.h"
#include "unit/specifiers.h"
#include "unit/string-list.h"
#include "unit/unit-syntax.h"

/* Of all values of a unit together, with their specifiers resolved. */
#define UNIT_EXPANDED_MAX ((size_t)8 << 20)
/* Percent signs in all values of a unit: each may mean reading a file. systemd has no such limit.
 */
#define UNIT_SPECIFIERS_MAX ((size_t)1 << 16)

enum verdict {
    VERDICT_HONOURED,
    VERDICT_HARMLESS, /* without effect, and nothing is lost by that */
    VERDICT_NEUTRAL,  /* says what is so anyway, or is overridden: refused otherwise */
    VERDICT_IGNORED,  /* refused or unknown, but the operator wants to run without it */
    VERDICT_REFUSED,
    VERDICT_UNKNOWN,
};

/* One assignment. All strings belong to the unit_file. */
struct directive_use {
    const struct directive *directive; /* NULL when unknown */
    enum directive_section section;
    const char *key;
    const char *value; /* as written */
    char *expanded;    /* after specifiers; NULL when they cannot be resolved */
    const char *file;
    unsigned line;
    const char *unit_name; /* that specifiers here are of */
    enum verdict verdict;
};

struct unit_file {
    char *name;      /* with the instance */
    char *main;      /* the main file, to show */
    char *asked;     /* the name asked for, perhaps an alias: that of the main file's specifiers */
    char *fragment;  /* for %y; NULL when made from text */
    char *root;      /* NULL for none */
    bool user;       /* specifiers are of a user's manager */
    bool incomplete; /* a file was not read to its end, which is an error in problems */
    struct directive_use *uses; /* in the order of reading */
    size_t n_uses;
    struct string_list ignored; /* what the operator runs without: options.ignore, then Ignore= */
    struct unit_text text;
};

struct unit_file_options {
    struct load_path *path; /* only for unit_file_load() */
    const char *root;       /* as the load path has it: for specifiers */
    bool user;
    const struct string_list *ignore; /* names of keys, "sandbox"; NULL for none */
};

/*
 * The unit, a .socket or .service; it may have errors, which are then in problems. files: what
 * load_path_find() has found for the name, or NULL. A negative errno means that there is no unit to
 * look at, with a problem that says why: those of load_path_find(), -ERFKILL for a masked unit,
 * -EOPNOTSUPP for another type of unit, -EFBIG for more than UNIT_EXPANDED_MAX or
 * UNIT_SPECIFIERS_MAX, -ENOMEM.
 */
int unit_file_load(const struct unit_file_options *options, const char *name,
                   const struct unit_files *files, struct problems *problems,
                   struct unit_file **ret_unit);

/* The same from a text that is the whole unit. */
int unit_file_from_text(const struct unit_file_options *options, const char *name,
                        const struct unit_source *source, struct problems *problems,
                        struct unit_file **ret_unit);

struct unit_file *unit_file_free(struct unit_file *unit);

/* Whether it makes sense to run without a key of this name, or group: false for one that is never
 * refused. Names that are not known may be those of a later systemd. */
bool unit_file_may_ignore(const char *name);

/* The last use of the key, or NULL. */
const struct directive_use *unit_file_last_use(const struct unit_file *unit,
                                               enum directive_section section, const char *key);

/* What specifiers in this use stand for; max_length as specifiers.h has it. */
struct specifier_context unit_file_specifiers(const struct unit_file *unit,
                                              const struct directive_use *use, size_t max_length);

/* "honoured", "run without", … */
const char *verdict_name(enum verdict verdict);

/* Text as it can stand between quotes in a message: no control characters, not too long. */
#define UNIT_QUOTE_MAX 100
const char *unit_quote(const char *text, char buffer[UNIT_QUOTE_MAX]);
