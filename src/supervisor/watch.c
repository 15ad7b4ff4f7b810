/* SPDX-License-Identifier: MIT */
#include "supervisor/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/inotify.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "libhark/hark.h"

#define SETTLE_USEC    (150 * USEC_PER_MSEC)
#define RETRY_USEC     (1 * USEC_PER_SEC)
#define RETRY_MAX_USEC (30 * USEC_PER_SEC)
#define LOOK_USEC      (30 * USEC_PER_SEC)
#define NODE_EVENTS    (IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF | IN_DONT_FOLLOW)
/* Only what happens to the directory itself, not to what is in it. */
#define DIRECTORY_EVENTS (IN_MOVE_SELF | IN_DELETE_SELF | IN_ONLYDIR)

struct watch {
    sd_event *event;
    struct listener *listener;
    watch_lost_t lost;
    void *userdata;
    sd_event_source *node, *directory, *timer;
    uint64_t retry_usec;
    bool settling;
};

static void set_timer(struct watch *watch, uint64_t usec)
{
    (void)sd_event_source_set_time_relative(watch->timer, usec);
    (void)sd_event_source_set_enabled(watch->timer, SD_EVENT_ONESHOT);
}

static void begin_settling(struct watch *watch)
{
    if (watch->settling)
        return;
    watch->settling = true;
    set_timer(watch, SETTLE_USEC);
}

static bool in_place(const struct watch *watch)
{
    return listener_check(watch->listener) == HARK_LISTENER_IN_PLACE;
}

static int on_inotify(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
    struct watch *watch = userdata;

    (void)source;
    (void)event;
    if (!in_place(watch))
        begin_settling(watch);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct watch *watch = userdata;
    bool was_settling = watch->settling;

    (void)source;
    (void)usec;
    watch->settling = false;
    if (in_place(watch)) {
        if (was_settling || watch->retry_usec > 0)
            watch_resume(watch);
        else
            set_timer(watch, LOOK_USEC);
    } else if (was_settling) {
        watch->lost(watch->listener, watch->userdata);
    } else {
        begin_settling(watch);
    }
    return 0;
}

void watch_resume(struct watch *watch)
{
    watch->retry_usec = 0;
    watch->settling = false;
    watch->node = sd_event_source_disable_unref(watch->node);
    watch->directory = sd_event_source_disable_unref(watch->directory);
    /* When it is gone again by now, the look below finds that out. */
    (void)sd_event_add_inotify(watch->event, &watch->node, listener_address(watch->listener),
                               NODE_EVENTS, on_inotify, watch);
    (void)sd_event_add_inotify(watch->event, &watch->directory, listener_directory(watch->listener),
                               DIRECTORY_EVENTS, on_inotify, watch);
    set_timer(watch, LOOK_USEC);
    if (!in_place(watch))
        begin_settling(watch);
}

void watch_retry(struct watch *watch)
{
    watch->retry_usec = watch->retry_usec == 0 ? RETRY_USEC : watch->retry_usec * 2;
    if (watch->retry_usec > RETRY_MAX_USEC)
        watch->retry_usec = RETRY_MAX_USEC;
    watch->settling = true; /* it has had its time: report at once when it is still lost */
    set_timer(watch, watch->retry_usec);
}

int watch_new(sd_event *event, struct listener *listener, watch_lost_t lost, void *userdata,
              struct watch **ret_watch)
{
    if (listener_directory(listener) == NULL) {
        *ret_watch = NULL;
        return 0;
    }
    cleanup_free struct watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL)
        return -ENOMEM;
    *watch =
        (struct watch){.event = event, .listener = listener, .lost = lost, .userdata = userdata};
    int r = sd_event_add_time_relative(event, &watch->timer, CLOCK_MONOTONIC, LOOK_USEC,
                                       USEC_PER_MSEC, on_timer, watch);
    if (r < 0)
        return r;
    watch_resume(watch);
    *ret_watch = take_pointer(&watch);
    return 0;
}

struct watch *watch_free(struct watch *watch)
{
    if (watch == NULL)
        return NULL;
    sd_event_source_disable_unref(watch->node);
    sd_event_source_disable_unref(watch->directory);
    sd_event_source_disable_unref(watch->timer);
    free(watch);
    return NULL;
}
