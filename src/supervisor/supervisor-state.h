/* SPDX-License-Identifier: MIT */
/* The supervisor's state, and what its parts ask of each other. For files of the supervisor only:
 *
 *   supervisor.c         puts the parts together, and hears what they tell
 *   listening.c          listeners that lose their names while they serve
 *   stopping.c           the ways to end
 *   supervisor-state.c   what all of them ask
 */
#pragma once

#include <sys/resource.h>
#include <systemd/sd-event.h>

#include "supervisor/log.h"
#include "supervisor/notify.h"
#include "supervisor/processors.h"
#include "supervisor/report.h"
#include "supervisor/server-pool.h"
#include "supervisor/slots.h"
#include "supervisor/supervisor.h"
#include "supervisor/unit.h"
#include "supervisor/waiting.h"

enum supervisor_state {
    SUPERVISOR_STARTING,
    SUPERVISOR_SERVING,
    SUPERVISOR_DRAINING, /* no new connections; handlers finish */
    SUPERVISOR_STOPPING, /* handlers have been told to end */
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
    struct slots *slots;
    struct waiting *waiting;
    struct server_pool *pool;
    struct unit_socket **sockets;
    uint32_t n_sockets, n_started; /* they start one after another */
    struct unit **units;
    uint32_t n_units;
    struct fork_server_unit *server_units;
    uint64_t *told; /* per slot: the key of the handler that has had its SIGTERM */
    sd_event_source *watchdog_timer;
    sd_event_source *stop_timer;    /* to SIGKILL */
    sd_event_source *extend_timer;  /* while draining: asks the manager for patience */
    sd_event_source *goodbye_timer; /* the last words to the manager */
    sd_event_source *backlog_timer; /* looks at old sockets */
    uint64_t watchdog_usec;
    bool watchdog_owed;
    struct log_limit troubles, refusals;
};

/* supervisor-state.c */
unsigned supervisor_count_running(const struct supervisor *supervisor);
bool supervisor_sockets_are_stopped(const struct supervisor *supervisor);
void supervisor_report_state(struct supervisor *supervisor);

/* stopping.c: SIGQUIT, SIGTERM, and looking whether everything is over. */
void supervisor_drain(struct supervisor *supervisor);
void supervisor_stop(struct supervisor *supervisor);
void supervisor_signal_handlers(struct supervisor *supervisor, int signal_number);
void supervisor_end_if_done(struct supervisor *supervisor);

/* listening.c: 0, or a negative errno. Names that are taken away, and traffic that starts a
 * service.
 */
int supervisor_watch_listeners(struct supervisor *supervisor, struct unit_socket *socket);
int supervisor_watch_traffic(struct unit *unit);
