/* SPDX-License-Identifier: MIT */
/*
 * Notices when a listener's path no longer leads to it. The node itself is watched (inotify on its
 * inode tells of unlink, rename and rename over it, without a wake-up for every other file in its
 * directory), its directory for being renamed itself, and both are looked at now and then for the
 * sake of directories further up.
 */
#pragma once

#include <systemd/sd-event.h>

#include "listener/listener.h"

struct watch;

/* The path has led elsewhere, or nowhere, for the settle time: whoever is replacing the socket had
 * time between its unlink(2) and its bind(2). Answer with watch_resume() or watch_retry(), or free
 * it. */
typedef void (*watch_lost_t)(struct listener *listener, void *userdata);

/* *ret_watch gets NULL for a listener without a path of its own making: there is nothing to watch.
 */
int watch_new(sd_event *event, struct listener *listener, watch_lost_t lost, void *userdata,
              struct watch **ret_watch);
struct watch *watch_free(struct watch *watch);

/* The listener is in place (again). */
void watch_resume(struct watch *watch);
/* It could not be put in place: look again later, ever later. */
void watch_retry(struct watch *watch);
