/* SPDX-License-Identifier: MIT */
/*
 * Names of units: PREFIX.TYPE (plain), PREFIX@.TYPE (template), PREFIX@INSTANCE.TYPE (instance), of
 * letters, digits and :-_.\ (an instance also of @), at most UNIT_NAME_MAX long; and their escaping
 * as systemd-escape(1) has it.
 *
 * Functions that give a string give a new one, to be freed. They return 0, -ENOMEM, -EINVAL for a
 * name that is none (or not of the wanted kind), -ENAMETOOLONG when what was built is too long.
 */
#pragma once

#include <stdbool.h>

#define UNIT_NAME_MAX 255

enum unit_name_kind {
    UNIT_NAME_INVALID,
    UNIT_NAME_PLAIN,
    UNIT_NAME_TEMPLATE,
    UNIT_NAME_INSTANCE,
};

enum unit_name_kind unit_name_classify(const char *name);

/* True for "service", "socket" and the other nine types. */
bool unit_type_is_valid(const char *type);
/* True for what may stand before @ or the type: one character at least, no @. */
bool unit_prefix_is_valid(const char *prefix);
/* True for what may stand between @ and the type; it may be empty, which makes a template. */
bool unit_instance_is_valid(const char *instance);

/* The type, a pointer into name; NULL for an invalid name. */
const char *unit_name_type(const char *name);

/* foo@bar.service: "foo", "foo@bar", "bar". The instance of a plain name and of a template is "".
 */
int unit_name_prefix(const char *name, char **ret_prefix);
int unit_name_without_type(const char *name, char **ret_text);
int unit_name_instance(const char *name, char **ret_instance);

/* foo@bar.service of foo, bar, service; foo.service when instance is NULL, a template when it is
 * "". */
int unit_name_build(const char *prefix, const char *instance, const char *type, char **ret_name);
/* foo@.service of foo@bar.service or of itself. */
int unit_name_template(const char *name, char **ret_name);
/* foo@new.service of foo@bar.service or foo@.service. */
int unit_name_replace_instance(const char *name, const char *instance, char **ret_name);
/* foo@bar.service of foo@bar.socket. */
int unit_name_change_type(const char *name, const char *type, char **ret_name);

/* "/" becomes "-"; "-", "\", a first "." and all that a name must not have become \xHH. */
int unit_name_escape(const char *text, char **ret_escaped);
/* The opposite. systemd-escape(1) cuts the text off at \x00; here that is -EINVAL. */
int unit_name_unescape(const char *escaped, char **ret_text);

/* As above for a path, without the slashes around it and without "." in it; "/" and "" become "-".
 * ".." in it is -EINVAL, and so is a path of nothing but ".". */
int unit_name_path_escape(const char *path, char **ret_escaped);
/* The opposite: an absolute path. -EINVAL for what is not the escaped form of a path. */
int unit_name_path_unescape(const char *escaped, char **ret_path);
