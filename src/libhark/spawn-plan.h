/* SPDX-License-Identifier: MIT */
/* What spawn_plan_prepare() makes of a plan, for the child and for nobody else. */
#pragma once

#include <stdint.h>

#include "libhark/spawn-template.h"
#include "libhark/spawn.h"

#define SPAWN_N_STEPS         (SPAWN_EXEC + 1)
#define SPAWN_CHILD_VARIABLES 5 /* LISTEN_PID, REMOTE_ADDR, REMOTE_PORT, and the next two */

struct prepared_plan {
    struct spawn_plan plan;       /* pointers lead to copies owned here; its strings are below */
    uint8_t steps[SPAWN_N_STEPS]; /* enum spawn_step: those after the accept that the plan wants */
    int accept_flags;
    bool connection_is_standard;
    char **arguments;
    size_t n_arguments;
    char **environment; /* with room for SPAWN_CHILD_VARIABLES at n_environment, and the end */
    size_t n_environment;
    char *program, *directory, *paths[3];
    int *fds;
    struct spawn_limit *limits;
    gid_t *groups;
    struct spawn_socket_option *options;
    char *option_values;
    cpu_set_t affinity;
    struct spawn_templates templates;
    char **kept_arguments; /* what the program gets when arguments can be left out; or NULL */
    char oom_score[sizeof("-1000")];
    char listen_pid[sizeof("LISTEN_PID=") + SPAWN_PID_TEXT_MAX];
    char exec_pid[sizeof("SYSTEMD_EXEC_PID=") + SPAWN_PID_TEXT_MAX];
    char invocation_id[sizeof("INVOCATION_ID=") + SPAWN_INVOCATION_ID_TEXT_MAX];
    char remote_address[sizeof("REMOTE_ADDR=") + PEER_UNIX_TEXT_MAX];
    char remote_port[sizeof("REMOTE_PORT=") + PEER_TEXT_MAX];
    struct sockaddr_storage peer_address; /* as accept(2) returned it */
    socklen_t peer_address_size;
    char pid[SPAWN_PID_TEXT_MAX];
    char instance[PEER_INSTANCE_TEXT_MAX], unescaped[PEER_INSTANCE_TEXT_MAX];
};
