/* SPDX-License-Identifier: MIT */
/*
 * StandardInput=, StandardOutput=, StandardError=: what is checked when units are loaded, and what
 * is opened in the process that spawns. What is the same for all children of a process is opened
 * once (/dev/null, the journal's streams, the data of StandardInputText=); files are opened by each
 * child.
 *
 * The rules of inheritance are those of systemd's setup_input() and setup_output() (252). Other
 * than systemd: an append: or truncate: path that is the file of stdin, too, is opened by itself
 * (there it is the read-only stdin); where there is no journald, output goes to hark's own stderr
 * (there to /dev/null); a file that is a Unix socket is an error (there it is connected to).
 */
#pragma once

#include <stdbool.h>

#include "exec/exec-request.h"

struct exec_stdio {
    size_t passed[3];              /* of "fd:": indices of fd_names */
    int null_input, null_output;   /* -1 until they are needed, as all here */
    int data;                      /* a memfd */
    char data_path[32];            /* each child opens it anew, to read from its beginning */
    int streams[3];                /* of the journal; [0] is not used */
    int error_copy;                /* of hark's stderr, in place of the journal */
    struct spawn_stdio spawned[3]; /* of the last build */
    bool may_block;                /* opening one of them may take any time */
};

void exec_stdio_init(struct exec_stdio *stdio);
void exec_stdio_done(struct exec_stdio *stdio);

/* What can be known before anything is opened; all that is wrong is in problems. */
void exec_stdio_check(struct exec_stdio *stdio, const struct exec_request *request,
                      struct problems *problems);

/* Opens what is missing, and sets spawned and may_block. 0, or an errno of open(2),
 * memfd_create(2), write(2). */
int exec_stdio_build(struct exec_stdio *stdio, const struct exec_request *request);

/* False when the journal has closed a stream. */
bool exec_stdio_is_fresh(const struct exec_stdio *stdio);

/* "JOURNAL_STREAM=…", or "" when no stream of ours is standard. */
#define EXEC_JOURNAL_VARIABLE_MAX 64
void exec_stdio_journal_variable(const struct exec_stdio *stdio,
                                 char text[EXEC_JOURNAL_VARIABLE_MAX]);
