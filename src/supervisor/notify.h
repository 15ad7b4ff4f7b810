/* SPDX-License-Identifier: MIT */
/*
 * Notifications to the service manager (sd_notify(3)) over a non-blocking socket of our own:
 * sd_notify() itself waits for ever for a manager that does not read.
 *
 * Three kinds. States (READY=1, STOPPING=1, WATCHDOG=1) go out at once, each in a datagram of its
 * own, because container monitors forward only those that stand alone. The status line is
 * coalesced: at most ten a second, the newest wins. Exit lines are packed into datagrams of up to
 * 4096 bytes, paced, and queued in bounded memory; what the reader is too slow for is counted and
 * told as X_HARK_LOST=n.
 *
 * And descriptors for the manager's store (FDSTORE=1). They are not queued: one that waits could be
 * closed meanwhile, and its number be another one's. Who has them is asked to send them when it is
 * time, and again after a refusal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct notify;

/* Takes the address from $NOTIFY_SOCKET; without one, everything below does nothing. -EINVAL for an
 * address that is neither a path nor abstract; -ENOMEM; an errno of socket(2). */
int notify_new(sd_event *event, struct notify **ret_notify);
struct notify *notify_free(struct notify *notify);
bool notify_is_wanted(const struct notify *notify);

/* One assignment such as "READY=1". Kept and tried again when the manager's queue is full; one that
 * waits and is out of date then goes, and eight may wait. */
void notify_state(struct notify *notify, const char *assignment);
/* The text of STATUS=. */
void notify_status(struct notify *notify, const char *text);
/* One line, without the newline. */
void notify_exit(struct notify *notify, const char *line);

/* Has work() called, never from within another call, after each notify_store_later(), until it
 * returns 0. It sends what there is to be stored and forgotten, up to the first failure, which it
 * returns. Never for a manager that says that it keeps nothing ($FDSTORE). */
void notify_on_store(struct notify *notify, int (*work)(void *userdata), void *userdata);
void notify_store_later(struct notify *notify);
/* For work() alone: at once, in a datagram of its own. The manager has the descriptor under that
 * name then, or none of that name any more. -EINVAL for a name that sd_notify(3) does not allow,
 * -EAGAIN and others of sendmsg(2): try later. */
int notify_store(struct notify *notify, const char *name, int fd);
int notify_forget(struct notify *notify, const char *name);

/* Nothing waits to be sent. */
bool notify_is_idle(const struct notify *notify);
/* From now on nothing is paced, and idle() is called whenever the last thing has been sent. */
void notify_hurry(struct notify *notify, void (*idle)(void *userdata), void *userdata);
/* How many exit lines nobody will learn of. */
uint64_t notify_lost(const struct notify *notify);
