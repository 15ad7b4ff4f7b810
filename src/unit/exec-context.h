/* SPDX-License-Identifier: MIT */
/*
 * How processes are set up (systemd.exec(5)): of a service, and of the commands of a socket unit.
 * What is here is what the unit says; users, files and variables are looked up when a process
 * starts.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "unit/string-list.h"
#include "unit/unit-values.h"

/* As systemd, what StandardInputText= and StandardInputData= can hold together. */
#define EXEC_INPUT_MAX ((size_t)64 << 20)

/* Of the words in Environment=, SupplementaryGroups= and their kin; systemd has no such limit. */
#define EXEC_LIST_MAX 4096

enum exec_stream_kind {
    EXEC_STREAM_NULL,
    EXEC_STREAM_INHERIT, /* output: what stdin is; of stderr what stdout is */
    EXEC_STREAM_DATA,    /* input: exec_context.input */
    EXEC_STREAM_FILE,    /* input; output: without truncating it */
    EXEC_STREAM_APPEND,
    EXEC_STREAM_TRUNCATE,
    EXEC_STREAM_SOCKET,
    EXEC_STREAM_FD,
    EXEC_STREAM_JOURNAL,
    EXEC_STREAM_KMSG,
    EXEC_STREAM_JOURNAL_CONSOLE,
    EXEC_STREAM_KMSG_CONSOLE,
};

struct exec_stream {
    enum exec_stream_kind kind;
    char *name; /* the path of a file; the name of an fd, NULL for "stdin", "stdout", "stderr" */
};

struct exec_limit {
    bool is_set;
    struct rlimit value;
};

struct exec_number {
    bool is_set;
    int value;
};

struct exec_context {
    char *user, *group; /* names or numbers; NULL: not set */
    struct string_list supplementary_groups;
    char *working_directory;     /* absolute; NULL: / for the system, home for a user */
    bool working_directory_home; /* "~": that of user */
    bool working_directory_optional;
    bool umask_is_set; /* else 0022 for the system, the caller's own for a user */
    mode_t umask;
    struct string_list environment;       /* "NAME=VALUE", each name once */
    struct string_list environment_files; /* in their order; "-" in front as it is written */
    struct string_list pass_environment;
    struct string_list unset_environment; /* NAME, or NAME=VALUE */
    struct exec_stream std[3];            /* by descriptor */
    char *input;                          /* of EXEC_STREAM_DATA; not terminated */
    size_t input_size;
    struct exec_limit limits[RLIM_NLIMITS];
    struct exec_number nice, oom_score; /* -20 to 19; -1000 to 1000 */
    bool no_new_privileges;
    bool ignore_sigpipe;
};

/* With the defaults: stdin null, output inherited, SIGPIPE ignored. */
void exec_context_init(struct exec_context *context);
void exec_context_done(struct exec_context *context);

/* The table of its keys, for unit_values_read(). */
struct unit_keys exec_context_keys(struct exec_context *context);

/* After reading a service: input data that was given makes them the input, and output that nothing
 * says anything about goes to the journal unless stdin is a socket or another descriptor. systemd
 * does not do this for the commands of sockets: theirs starts as the journal. */
void exec_context_settle(struct exec_context *context);
