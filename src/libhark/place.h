/* SPDX-License-Identifier: MIT */
/*
 * A Unix socket at a path: lock, probe, bind. The lock file is held as long as the listener lives,
 * so of all that use it only one is ever between probe and bind. Everything that removes a name
 * looks first whether the name still leads to what was looked at; our own name goes while the
 * socket is still bound, when nobody else may take it for dead.
 *
 * Order: place_open(), place_lock(), place_bind_wait(); place_unlink(), close the socket,
 * place_done(). One that another process made: path_open(), place_adopt_lock() or place_lock(),
 * place_find().
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "libhark/hark.h"
#include "libhark/lockfile.h"
#include "libhark/path.h"

struct place {
    struct path path;
    struct hark_lockfile *lock;
    dev_t device; /* of the node */
    ino_t inode;  /* 0: nothing is bound */
};
#define PLACE_INIT                                                                                 \
    {                                                                                              \
        .path = PATH_INIT                                                                          \
    }

/* Creates what is missing of the directories above the last component of an absolute path;
 * one_thread: HARK_LISTEN_ONE_THREAD. */
int place_make_parents(const char *text, mode_t mode, bool one_thread);

/* For HARK_LISTEN_MKDIR the missing directories are made. Errors as path_open(), mkdir(2). */
int place_open(const char *text, const struct hark_listen_options *options, struct path *ret_path);

/* -EADDRINUSE: held; else as hark_lockfile_hold(). */
int place_lock(struct place *place, int timeout_ms);

/* Takes over the lock of another process, as hark_lockfile_adopt(). -EADDRINUSE: another holds it.
 */
int place_adopt_lock(struct place *place, int lock_fd);

/* Which node a socket is bound to that another process made; none if it has lost its name. */
void place_find(struct place *place, int fd);

/* Errors as hark_listen(). */
int place_bind_wait(struct place *place, const struct hark_listen_options *options,
                    struct backoff *backoff, int *ret_fd);

/* Removes the name, if it leads to what was bound. */
void place_unlink(const struct place *place);
void place_done(struct place *place);

/* Of any family: socket(2); the caller's preparations; listen(2) where the type needs it. */
int listen_socket(int family, const struct hark_listen_options *options, int *ret_fd);
int listen_prepare(int fd, const struct hark_listen_options *options);
int listen_start(int fd, const struct hark_listen_options *options);
