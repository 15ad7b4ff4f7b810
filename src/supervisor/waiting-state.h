/* SPDX-License-Identifier: MIT */
/* What waiting.c, stuck.c and former-slots.c share. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "supervisor/waiting.h"

/* Times are those of watched_usec. */
struct young {
    uint32_t slot;
    uint64_t since_usec;
    uint64_t interrupted_usec; /* when it got its first SIGURG; 0 */
    uint64_t killed_usec;      /* 0 */
};

/* All zero: we know of none in that slot. */
struct known_child {
    uint64_t key;
    int pidfd; /* -1: it is young */
};

/* A server that looks at files. */
struct preparing {
    uint64_t start_usec; /* as its window has it: which one it is */
    uint64_t since_usec;
};

struct waiting {
    struct slots *slots;
    struct former_slots *former;
    struct waiting_callbacks callbacks;
    int epoll_fd; /* signal_fd and pidfds */
    int signal_fd, wake_fd;
    sd_event_source *sleeping, *wake, *timer;
    bool awake, signalled, room, looking;
    uint64_t sweep_usec;
    /* How long we have watched, in which somebody had the time to go on: it stands still while the
     * machine, the container or just this process does. */
    uint64_t watched_usec, look_usec;
    struct preparing preparing[SERVERS_MAX];
    struct known_child *known; /* per slot */
    struct young *young;
    uint32_t n_young, n_living;
};

/* Counts the time since the last look. */
void waiting_watch_time(struct waiting *waiting);

/* Whether the child in the slot stands between its creation and its program, and its creator with
 * it. */
bool waiting_is_half_made(const struct waiting *waiting, uint32_t slot);

/* Interrupts it, kills it, ends its creator: whatever it is time for. */
void waiting_hurry(struct waiting *waiting, struct young *young);

/* SIGKILL has not ended it for a second: the kernel keeps it (state D, or frozen), and lets it end,
 * but do nothing more. */
bool waiting_is_beyond_help(const struct waiting *waiting, const struct young *young);

/* Servers that look at files which do not answer. True while any looks: time to look at it again.
 */
bool waiting_hurry_servers(struct waiting *waiting);
