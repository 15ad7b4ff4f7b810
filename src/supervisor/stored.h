/* SPDX-License-Identifier: MIT */
/*
 * What the service manager keeps of our listeners in its file descriptor store
 * (FileDescriptorStoreMax= of systemd.service(5)), for the hark that comes after one that was
 * killed: under which name, and which socket or file that is.
 *
 * A name begins with "hark-", for people goes on with the unit, and ends with a hash of what makes
 * a listener another one: the unit, its kind, its address, and what it is bound with. So who finds
 * it under its name need not compare anything.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "unit/socket-unit.h"

#define STORED_NAME_SIZE 256 /* with the zero */

struct stored {
    char *name;
    dev_t device; /* fstat(2) of it */
    ino_t inode;
    bool wanted; /* the supervisor's own mark */
};

struct stored_list {
    struct stored *items;
    size_t n;
};

/* The name for a listener of a unit, which is called socket ("foo.socket"). */
void stored_name(const char *socket, const struct socket_unit *unit, size_t index,
                 char ret_name[STORED_NAME_SIZE]);
/* Whether it may be one of ours. */
bool stored_is_name(const char *name);

/* Adds. 0, -ENOMEM, or an errno of fstat(2). */
int stored_list_add(struct stored_list *list, const char *name, int fd);
/* Forgets all of a name, which is not one of the list's own texts. */
void stored_list_remove(struct stored_list *list, const char *name);
/* The one of that name that is also that socket or file; NULL. */
struct stored *stored_list_get(const struct stored_list *list, const char *name, int fd);
/* The name of what is that socket or file; NULL. The list may be NULL. */
const char *stored_list_find(const struct stored_list *list, int fd);
void stored_list_done(struct stored_list *list);
