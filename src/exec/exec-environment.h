/* SPDX-License-Identifier: MIT */
/*
 * The environment of a process, as systemd puts it together: each name once, of several values that
 * of the last source:
 *
 *   - of a service of the system: PATH, and what hark's own environment says of the language
 *     (LANG=C.UTF-8 when it says nothing); of a user's: hark's environment, but for what a manager
 *     tells its services
 *   - the extra variables of the request, and those of the connection
 *   - LISTEN_*, HOME, LOGNAME, USER, SHELL, INVOCATION_ID, TERM, JOURNAL_STREAM, SYSTEMD_EXEC_PID
 *   - PassEnvironment=, Environment=, EnvironmentFile=
 *
 * Then UnsetEnvironment= takes out, of whatever source.
 */
#pragma once

#include "exec/child-variables.h"
#include "exec/exec-identity.h"
#include "exec/exec-request.h"

struct exec_environment_sources {
    const struct exec_request *request;
    const struct exec_identity *identity;
    const char *journal_variable;    /* "JOURNAL_STREAM=…", or "" */
    const struct string_list *files; /* the variables in EnvironmentFile= */
    const struct child_placeholders *placeholders;
};

/* What the child sets is in it as child-variables.h has it. 0, or -ENOMEM. */
int exec_environment_build(const struct exec_environment_sources *sources,
                           struct string_list *ret_environment);

/* What can be wrong with the keys themselves. */
void exec_environment_check(const struct exec_request *request, struct problems *problems);
