/* SPDX-License-Identifier: MIT */
/*
 * The specifiers of systemd.unit(5), as of systemd 252: % and a letter.
 *
 *     r = specifiers_expand(value, SPECIFIERS_FULL, &context, &expanded);
 *     if (r == -EBADSLT)
 *         ... "unknown specifier %%%c", *specifiers_find_unknown(value, SPECIFIERS_FULL) ...
 *
 * %% is a percent sign; % before anything but a letter or digit, or at the end, stands for itself.
 * Facts about the host are read when a specifier asks for them, and never kept. User and
 * environment are those of the calling process: it is the manager, and %u, %h are its own, not
 * those of User=.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum specifier_set {
    SPECIFIERS_FULL,      /* most values */
    SPECIFIERS_UNIT_NAME, /* values that name units (Service=, Sockets=): only i j n N p, the
                             host's, u U g G */
};

struct specifier_context {
    const char *unit; /* its full name, of an instance where there is one */
    const char
        *fragment;     /* of %y and %Y: real path of the main file; NULL when it came from none */
    const char *root;  /* prefix of /etc/os-release and the like; NULL or "" for none */
    bool user;         /* directories of a user's manager instead of the system's */
    size_t max_length; /* of the result: PATH_MAX - 1 for paths, UNIT_NAME_MAX for names */
};

/*
 * 0, or
 * -EBADSLT       a letter that is no specifier, or none of this set
 * -EOPNOTSUPP    %c, %r, %R: cgroup paths, which systemd has deprecated and hark does not have
 * -ENAMETOOLONG  longer than max_length
 * -EINVAL        %I, %J, %P, %f of a name that cannot be unescaped
 * -ENXIO         no XDG_RUNTIME_DIR, no home directory, or (%y, %Y) no main file
 * -ENOMEM, or what reading a fact about the host failed with.
 */
int specifiers_expand(const char *text, enum specifier_set set,
                      const struct specifier_context *context, char **ret_text);

/* The first letter in text that is no specifier of the set, or NULL. */
const char *specifiers_find_unknown(const char *text, enum specifier_set set);
