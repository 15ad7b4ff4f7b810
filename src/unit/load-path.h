/* SPDX-License-Identifier: MIT */
/*
 * Where units are: the directories in their order (systemd.unit(5), "unit file load path"), the
 * main file of a unit, its other names, and its drop-ins.
 *
 *     r = load_path_new(&options, &path);
 *     r = load_path_add_file(path, "units/foo.socket", &name);   for each one given as a file
 *     r = load_path_find(path, "foo.socket", &problems, &files);
 *     ... files->main, then files->drop_ins in their order ...
 *     unit_files_free(files);
 *     load_path_free(path);
 *
 * As systemd 252:
 * - The first directory that has a file of the name wins whole. One that is empty, or a link to a
 * device such as /dev/null, masks the unit.
 * - A link to a name within one of the directories is an alias, of the same type and kind (an
 * instance may also link to a template); others are ignored with a warning. A link to a file
 * elsewhere is that file under the name of the link.
 * - foo@bar.service without a file of its own is made from foo@.service.
 * - Drop-ins are the *.conf files of: NAME.d, TEMPLATE@.d, and the same for each shorter name that
 * ends with a dash (a-b-c.service: a-b-.service.d, a-.service.d), by directory for the unit's own
 *   name, then for its aliases, and last TYPE.d (service.d). The first of several with the same
 * name hides the others, also when it is empty or a link to /dev/null. They are read in the order
 *   of their file names, wherever they are.
 * Aliases are taken in alphabetical order; to systemd their order is random. Links to drop-in
 * directories are followed in any form.
 *
 * The directories are scanned once, by the first load_path_find().
 */
#pragma once

#include <stdbool.h>

#include "unit/problem.h"
#include "unit/string-list.h"

struct load_path;

struct load_path_options {
    bool user;        /* the units of a user's manager */
    const char *root; /* all directories and absolute links are below it; NULL: / */
    /* $SYSTEMD_UNIT_PATH: replaces the usual directories, even by none when it is empty; with ":"
     * at its end they follow. NULL: only the usual ones. */
    const char *unit_path;
    /* Come first, and are not below root. NULL-terminated, or NULL. */
    const char *const *directories;
};

struct unit_files {
    char *name; /* of the main file, with the instance: specifiers of drop-ins are of
                 * this; in the main file itself systemd takes the name asked for */
    struct string_list aliases; /* the other names, sorted, among them the one asked for */
    char *main;                 /* to read, and to show; NULL when masked */
    char *fragment;             /* its real path: %y */
    bool masked;
    struct string_list drop_ins; /* in the order to read them */
};

/* A relative directory is taken from the working directory. User: $XDG_CONFIG_HOME, _RUNTIME_DIR,
 * _DATA_HOME, _CONFIG_DIRS, _DATA_DIRS, $HOME are asked. 0, -ENOMEM, or errno of getcwd(3). */
int load_path_new(const struct load_path_options *options, struct load_path **ret_path);
struct load_path *load_path_free(struct load_path *path);

/* The directories in their order, root in front. */
const struct string_list *load_path_directories(const struct load_path *path);

/* A unit given as a file: that file is the unit of its name, whatever the directories have, and its
 * directory comes before all others (in the order of the calls). To be called before
 * load_path_find(). The name is to be freed. 0, -EINVAL when the name of the file is not one of a
 * unit, -EBUSY after load_path_find(), -ENOMEM. Whether the file exists shows when it is read. */
int load_path_add_file(struct load_path *path, const char *file, char **ret_name);

/*
 * 0; a masked unit is found too. -ENOENT when there is no such unit, -EINVAL for what is no name of
 * a unit or that of a template, -ELOOP for aliases in a circle, -ENOMEM. Problems are only of other
 * files met on the way: links that make no alias, directories that cannot be read.
 */
int load_path_find(struct load_path *path, const char *name, struct problems *problems,
                   struct unit_files **ret_files);
struct unit_files *unit_files_free(struct unit_files *files);
