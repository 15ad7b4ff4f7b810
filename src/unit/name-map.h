/* SPDX-License-Identifier: MIT */
/* Which name of a unit is which file: all unit files and links of the load path. Part of load-path.
 */
#pragma once

#include <stddef.h>

#include "unit/problem.h"
#include "unit/string-list.h"

/* A name leads to a file (absolute), or is an alias of another name. */
struct name_entry {
    char *name;
    char *target;
    size_t order; /* the first one of a name counts */
};

/* Starts as {0}. Sorted and without double names after name_map_scan(). */
struct name_map {
    struct name_entry *entries;
    size_t n;
};

/* Before the scan: name is this file, whatever the directories have. 0 or -ENOMEM. */
int name_map_pin(struct name_map *map, const char *name, const char *file);

/* Adds what is in the directories, which are below root ("" for none), and to present those of them
 * that exist. 0 or -ENOMEM. */
int name_map_scan(struct name_map *map, const char *root, const struct string_list *directories,
                  struct problems *problems, struct string_list *present);

/* The file of a name through all aliases, an instance also by its template where an alias leads
 * there; owned by the map. 0, -ENOENT when the name is not there, -ENXIO when an alias leads
 * nowhere, -ELOOP, -ENOMEM. */
int name_map_resolve(const struct name_map *map, const char *name, const char **ret_file);

void name_map_done(struct name_map *map);
