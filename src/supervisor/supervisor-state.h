/* SPDX-License-Identifier: MIT */
/* The supervisor's state, and what its parts ask of each other. For files of the supervisor only:
 *
 *   supervisor.c         puts the parts together, and hears what they tell
 *   reload.c             from what is served now to what is to be served next
 *   upgrade.c            another image of the program takes over
 *   listening.c          listeners that lose their names while they serve
 *   storing.c            listeners that the service manager keeps for the next hark
 *   stopping.c           the ways to end
 *   supervisor-state.c   what all of them ask
 */
#pragma once

#include <sys/resource.h>
#include <systemd/sd-event.h>

#include "supervisor/control.h"
#include "supervisor/log.h"
#include "supervisor/notify.h"
#include "supervisor/processors.h"
#include "supervisor/report.h"
#include "supervisor/server-pool.h"
#include "supervisor/serving.h"
#include "supervisor/slots.h"
#include "supervisor/succession.h"
#include "supervisor/supervisor.h"
#include "supervisor/waiting.h"

enum supervisor_state {
    SUPERVISOR_STARTING,
    SUPERVISOR_SERVING,
    SUPERVISOR_DRAINING, /* no new connections; handlers finish */
    SUPERVISOR_STOPPING, /* handlers have been told to end */
};

enum reload_state {
    RELOAD_NONE,
    RELOAD_STARTING, /* the sockets of supervisor->next are being made */
    RELOAD_EMPTYING, /* the fork servers leave, so that the slots can be divided anew */
    RELOAD_RENEWING, /* the new ones are not there yet */
};

struct reload {
    enum reload_state state;
    bool again;              /* asked for meanwhile */
    sd_event_source *waiter; /* for children that are half-made */
    uint64_t patience_usec;  /* until then for those that are stuck, while servers serve */
    sd_event_source *sweeper;
    struct log_tap tap; /* why it fails */
};

enum upgrade_state {
    UPGRADE_NONE,
    UPGRADE_CHECKING, /* a child of the new image looks whether it can go on */
    UPGRADE_EMPTYING, /* the fork servers leave, and what is to be told is told */
};

struct upgrade {
    enum upgrade_state state;
    bool wanted; /* as soon as there is no reload */
    pid_t child;
    sd_event_source *child_source, *timer;
    uint64_t deadline_usec;
};

struct supervisor {
    struct supervisor_options options;
    enum supervisor_state state;
    int exit_status;
    struct processors processors;
    struct rlimit open_files;
    sd_event *event;
    struct notify *notify;
    struct report report;
    struct control *control; /* or NULL */
    uint64_t start_usec;
    struct slots *slots;
    struct waiting *waiting;
    struct server_pool *pool;
    struct serving now;
    struct serving next;  /* before the start, and while reloading */
    struct serving *gone; /* of before, or that did not come to serve: their sockets are stopping */
    struct reload reload;
    struct upgrade upgrade;
    uint64_t *told; /* per slot: the key of the handler that has had its SIGTERM */
    sd_event_source *watchdog_timer;
    sd_event_source *stop_timer;    /* to SIGKILL */
    sd_event_source *extend_timer;  /* while draining: asks the manager for patience */
    sd_event_source *goodbye_timer; /* the last words to the manager */
    sd_event_source *backlog_timer; /* looks at old sockets */
    uint64_t watchdog_usec;
    bool watchdog_owed;
    struct log_limit troubles, stuck, pauses, refusals;
};

/* supervisor-state.c */
unsigned supervisor_count_running(const struct supervisor *supervisor);
bool supervisor_sockets_are_stopped(const struct supervisor *supervisor);
void supervisor_report_state(struct supervisor *supervisor);
/* The memory for these units; living: how many handlers each has that are to be in it, or NULL. */
int supervisor_divide_slots(const struct supervisor *supervisor, const struct serving *serving,
                            const uint32_t *living, struct slots **ret_slots);
/* Makes a unit's service, or fits the one it has to the unit and the slots as they are now. */
int supervisor_prepare_service(struct supervisor *supervisor, struct unit *unit);

/* stopping.c: SIGQUIT, SIGTERM, and looking whether everything is over. */
void supervisor_drain(struct supervisor *supervisor);
void supervisor_stop(struct supervisor *supervisor);
void supervisor_signal_handlers(struct supervisor *supervisor, int signal_number);
/* One handler, with its process group: false when there is none of that pid. */
bool supervisor_signal_handler(const struct supervisor *supervisor, int64_t pid, int signal_number);
void supervisor_end_if_done(struct supervisor *supervisor);

/* reload.c: SIGHUP, and what concerns a reload that is under way. */
void supervisor_reload(struct supervisor *supervisor);
void supervisor_abort_reload(struct supervisor *supervisor);
/* RELOADING=1, for an upgrade, too. */
void supervisor_tell_reloading(struct supervisor *supervisor);
void supervisor_on_socket_of_reload(struct supervisor *supervisor, struct unit_socket *socket);
void supervisor_on_servers_of_reload(struct supervisor *supervisor, bool all_ready);
/* The next reload, if one was asked for meanwhile. */
void supervisor_end_reload(struct supervisor *supervisor, bool done);
/* Commands of sockets that do not serve (yet, or any more). */
bool supervisor_reload_has_pid(const struct supervisor *supervisor, pid_t pid);

/* For an image that takes over: from the units of the one before, without listeners, to those of
 * next. Before there are fork servers. */
int supervisor_succeed(struct supervisor *supervisor);

/* upgrade.c: SIGUSR2, and what concerns an upgrade that is under way. */
void supervisor_upgrade(struct supervisor *supervisor);
void supervisor_abort_upgrade(struct supervisor *supervisor);
void supervisor_on_servers_of_upgrade(struct supervisor *supervisor);
bool supervisor_upgrade_has_pid(const struct supervisor *supervisor, pid_t pid);
/* Begins with what an earlier image has left: its units (without anything but names) are now's, and
 * its slots are ours. */
int supervisor_take_succession(struct supervisor *supervisor);
/* Services whose programs run already go on. */
void supervisor_resume_services(struct supervisor *supervisor);

/* listening.c: 0, or a negative errno. Names that are taken away, and traffic that starts a
 * service.
 */
int supervisor_watch_listeners(struct supervisor *supervisor, struct unit_socket *socket);
int supervisor_watch_traffic(struct unit *unit);

/* storing.c: before sockets are started, and after that notify_store_later() of what has changed.
 */
void supervisor_store_listeners(struct supervisor *supervisor);
