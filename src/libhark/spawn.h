/* SPDX-License-Identifier: MIT */
/*
 * One child, the vfork way: a plan that is prepared once, and the shortest possible run of it per
 * child. The only place in hark that creates programs; both the program's fork servers and the
 * library's use it.
 *
 * The child shares the creator's memory until it execs, and the creating thread stands still
 * meanwhile (CLONE_VM | CLONE_VFORK), so the child may use what was prepared, and may tell the
 * creator what happened by writing to memory. Why its code is safe, and why its steps have the
 * order they have, is in spawn-child.c. SPAWN_OWN_MEMORY is the exception, for a creator that must
 * not stand still.
 *
 * Order: spawner_new() once per process, spawn_plan_prepare() once per plan, spawn_run() per child.
 */
#pragma once

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "libhark/peer.h"

/* What a child does between its first instruction and its program's, in this order; what the plan
 * does not ask for is left out. */
enum spawn_step {
    SPAWN_CREATED = 0,
    SPAWN_ACCEPT,
    SPAWN_ADMISSION,
    SPAWN_CONNECTION_OPTIONS,
    SPAWN_TEXTS,
    SPAWN_SESSION,
    SPAWN_UMASK,
    SPAWN_STDIN,
    SPAWN_STDOUT,
    SPAWN_STDERR,
    SPAWN_OOM_SCORE,
    SPAWN_NICE,
    SPAWN_AFFINITY,
    SPAWN_ENVIRONMENT,
    SPAWN_LIMITS,
    SPAWN_GROUP,
    SPAWN_DESCRIPTORS,
    SPAWN_USER,
    SPAWN_DEATH_SIGNAL,
    SPAWN_DIRECTORY,
    SPAWN_NO_NEW_PRIVILEGES,
    SPAWN_SIGNALS,
    SPAWN_EXEC,
};

/* A word for messages ("working directory"), and the exit status a child leaves with when the step
 * fails: systemd's own where it has one (systemd.exec(5), "Process exit codes"). */
const char *spawn_step_name(enum spawn_step step);
int spawn_step_exit_status(enum spawn_step step);

enum spawn_flags {
    SPAWN_WITH_ACCEPT = 1 << 0, /* the child accepts a connection from plan->listener */
    SPAWN_MAY_BLOCK = 1 << 1,   /* … which is not ours to make non-blocking: see spawn_run() */
    SPAWN_CONNECTION_STDIO = 1 << 2, /* short for SPAWN_STDIO_CONNECTION as input and output */
    SPAWN_LISTEN_VARIABLES = 1 << 3, /* set LISTEN_PID; LISTEN_FDS and _FDNAMES are the plan's */
    /* Set REMOTE_ADDR and REMOTE_PORT as systemd does; of a Unix peer that is bound REMOTE_ADDR, as
     * systemd 257 does: peer_format_unix_address(). */
    SPAWN_REMOTE_VARIABLES = 1 << 4,
    SPAWN_NEW_SESSION = 1 << 5,       /* setsid(2) */
    SPAWN_SIBLING = 1 << 6,           /* a child of the creator's parent (CLONE_PARENT) */
    SPAWN_DEATH_SIGNAL_TERM = 1 << 7, /* SIGTERM when the parent dies */
    SPAWN_INVOCATION_ID = 1 << 8,     /* set INVOCATION_ID, random for each child */
    SPAWN_EXEC_PID = 1 << 9,          /* set SYSTEMD_EXEC_PID, the child's pid */
    SPAWN_SET_UMASK = 1 << 10,        /* the fields of these names count */
    SPAWN_SET_NICE = 1 << 11,
    SPAWN_SET_OOM_SCORE = 1 << 12,
    SPAWN_SET_GROUPS = 1 << 13, /* an empty list too */
    SPAWN_SET_GID = 1 << 14,
    SPAWN_SET_UID = 1 << 15, /* only with groups and gid: the creator's would be the user's else */
    SPAWN_NO_PRIVILEGE_GAIN = 1 << 16,  /* PR_SET_NO_NEW_PRIVS */
    SPAWN_IGNORE_SIGPIPE = 1 << 17,     /* the program starts with SIGPIPE ignored */
    SPAWN_DIRECTORY_OPTIONAL = 1 << 18, /* stay where it is when chdir(2) fails, as systemd does */
    SPAWN_DESCRIPTORS_NONBLOCK = 1 << 19, /* O_NONBLOCK on what is handed over as 3 and above */
    SPAWN_DESCRIPTORS_BLOCK = 1 << 20, /* no O_NONBLOCK there, nor on a socket that is standard */
    SPAWN_OWN_MEMORY = 1 << 21,        /* the creator does not stand still: see spawn_run() */
    SPAWN_NEW_GROUP = 1 << 22, /* a process group of its own; SPAWN_NEW_SESSION makes one as well */
};

/* A standard descriptor of the program. */
enum spawn_stdio_kind {
    SPAWN_STDIO_INHERIT = 0, /* the creator's */
    SPAWN_STDIO_DESCRIPTOR,  /* fd: /dev/null, a journal stream, a memfd, …; 3 or above */
    SPAWN_STDIO_CONNECTION,  /* the accepted one, else fds[0] */
    SPAWN_STDIO_INPUT,       /* for output and error: what the input became */
    SPAWN_STDIO_OUTPUT,      /* for error: what the output became */
    SPAWN_STDIO_FILE,        /* opened by the child, with the creator's rights */
    SPAWN_STDIO_PASSED,      /* fds[fd] of the plan, or with fd 0 the accepted one, made blocking;
                                handed over besides */
};

struct spawn_stdio {
    enum spawn_stdio_kind kind;
    int fd;
    const char *path; /* of a regular file: on anything else open(2) may block the creator too */
    int flags;        /* for open(2), which gets O_CLOEXEC and O_NOCTTY besides */
    mode_t mode;      /* with O_CREAT, less the umask */
};

/* Raised as far as permitted, and no further than the hard limit without a word, as systemd. */
struct spawn_limit {
    int resource;
    struct rlimit value;
};

/* What only the child knows. */
enum spawn_text {
    SPAWN_TEXT_INSTANCE,           /* systemd's name of the connection: peer_format_instance() */
    SPAWN_TEXT_INSTANCE_UNESCAPED, /* … with "/" for each "-", as systemd's %I */
    SPAWN_TEXT_REMOTE_ADDRESS,     /* what SPAWN_REMOTE_VARIABLES would set, or nothing */
    SPAWN_TEXT_REMOTE_PORT,
    SPAWN_TEXT_PID,
    SPAWN_TEXT_INVOCATION_ID, /* the same as the variable's */
};

#define SPAWN_N_TEXTS (SPAWN_TEXT_INVOCATION_ID + 1)

/* The child puts its text wherever the placeholder is found in an argument, in the environment, in
 * the directory and in the paths of stdio, but not in the program's path. There is no escaping: the
 * caller chooses a placeholder that nobody can have written there by accident or on purpose (some
 * random bytes), and no two of which one begins the other. Without accept the connection's texts
 * are empty. */
struct spawn_substitution {
    const char *placeholder;
    enum spawn_text text;
    bool drop_if_empty; /* an argument that is this and nothing else is left out when it is empty */
};

/* For setsockopt(2) on an accepted connection; a failure is nobody's. */
struct spawn_socket_option {
    int level, name;
    int fallback_name; /* tried on EPERM: SO_RCVBUF for SO_RCVBUFFORCE; 0: none */
    const void *value;
    socklen_t size;
};

/* What is known of one child. May lie in shared memory: every process that maps it can read how
 * far the child came. The creator zeroes it before. 56 bytes: there is one per running handler. */
struct spawn_record {
    _Atomic pid_t pid;     /* written by the kernel before the child runs (CLONE_PARENT_SETTID) */
    _Atomic uint32_t step; /* enum spawn_step, as it begins each */
    _Atomic int32_t error; /* positive errno of the step that failed */
    uint64_t start_usec;   /* CLOCK_MONOTONIC, when it was created */
    uint64_t number;       /* counted per accepted connection or started program, from 0 */
    struct peer peer;
};

_Static_assert(sizeof(struct spawn_record) == 56, "small");

/* The records of all children that count for max_per_source, and what each says of its source (see
 * spawn-admission.c): one word per record, together, because every child looks at all of them. Who
 * zeroes a record zeroes its word as well. */
struct spawn_records {
    struct spawn_record *list;
    _Atomic uint32_t *sources;
    size_t n;
};

struct spawn_plan {
    const char *program; /* absolute path */
    const char *const *arguments;
    const char *const *environment; /* what the flags above set is left out of it */
    unsigned flags;
    int listener;   /* SPAWN_WITH_ACCEPT */
    const int *fds; /* handed over as first_fd, first_fd + 1, … */
    size_t n_fds;
    int first_fd;              /* 3, or 0 to set the standard descriptors too */
    const char *directory;     /* NULL: unchanged */
    const cpu_set_t *affinity; /* NULL: unchanged; without any CPU of the cpuset: all of that */
    _Atomic uint64_t *counter; /* numbers the children; may be shared between processes; or NULL */

    /* What units ask for. Zero is "as the creator", and costs nothing. */
    struct spawn_stdio stdio[3]; /* input, output, error; first_fd is 3 or more then */
    const struct spawn_limit *limits;
    size_t n_limits;
    mode_t umask;
    int nice;      /* -20 to 19; when it is not permitted, as close as is (RLIMIT_NICE) */
    int oom_score; /* -1000 to 1000; the creator's stays when it is not permitted */
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    size_t n_groups;
    const struct spawn_substitution *substitutions;
    size_t n_substitutions;

    /* SPAWN_WITH_ACCEPT only. */
    const struct spawn_socket_option *connection_options;
    size_t n_connection_options;
    /* How many children with peers of the same source (peer_same_source()) may live at a time,
     * those included whose records are not zeroed yet; 0: any number. Peers that are not known are
     * not limited. */
    uint32_t max_per_source;
    /* Those of all children that count for it, now or in a later plan, in memory that is shared by
     * all that create them; a child's own is one of them, and counter is needed. Not copied. */
    struct spawn_records records;
};

struct spawner;
struct prepared_plan;

/* The stack and the constant parts. -ENOMEM. */
int spawner_new(struct spawner **ret_spawner);
struct spawner *spawner_free(struct spawner *spawner);

/* Builds the argv and environment that spawn_run() needs no further work on (but for
 * substitutions), and takes a copy of every string and list in the plan, but not of descriptors and
 * records. All descriptors of the plan must be at or above first_fd + n_fds (fd_move_above()), so
 * that no hand-over overwrites another; those of stdio at or above 3. A connection that is a
 * standard descriptor is not handed over as first_fd, and nothing else is then (systemd.exec(5),
 * StandardInput=socket).
 * -ENOMEM; -EINVAL for descriptors below that, and for fields that contradict each other;
 * -EBADF when the plan has descriptors or files for stdio and a standard descriptor of the caller
 * is closed: what the child accepts or opens could land there, and be overwritten. */
int spawn_plan_prepare(const struct spawn_plan *plan, struct prepared_plan **ret_prepared);
struct prepared_plan *spawn_plan_free(struct prepared_plan *prepared);

/* Creates one child; returns its pid when the program runs (or has run already).
 * All signals must be blocked in the calling thread, all dispositions that the program must not
 * inherit be default. The caller, or for SPAWN_SIBLING its parent, waits for the child (exit signal
 * SIGCHLD), also when it failed: a pid was taken then, and record->pid says which.
 * Negative:
 *   -EAGAIN      the connection was gone, nothing to do (a sibling or an earlier child was faster);
 *                or there were max_per_source of its peer's already: record->step is
 *                SPAWN_ADMISSION then, record->error ECONNREFUSED; the child closes the connection
 *                by its exit, with status 0
 *   -ECANCELED   a step failed: record->step and record->error say which and why; the child exits
 *                with the step's status
 *   -ENOBUFS     accept(2) failed, and the connection waits: descriptors or memory ran out, a rule
 *                forbids it, the listener is none (spawner_accept_error()); stop for a while
 *   -EUSERS      the child could not be created: no more processes (EAGAIN of clone(2))
 *   others       … for another reason: record->pid is 0
 * SPAWN_OWN_MEMORY: the child gets a copy of the memory and the creator goes on at once, whatever
 * becomes of the child: it costs more, and a failed step shows only in the exit status
 * (spawn_step_exit_status()), and in the record when that lies in shared memory.
 * SPAWN_MAY_BLOCK: a listener whose description is shared with a stranger may be blocking. The
 * child then polls first, and accepts with SIGURG deliverable: whoever finds it in SPAWN_ACCEPT for
 * too long sends SIGURG (ignored by default, so harmless when it comes late). The process needs a
 * SIGURG handler without SA_RESTART for that: spawn_install_interrupt(). */
pid_t spawn_run(struct spawner *spawner, struct prepared_plan *prepared,
                struct spawn_record *record);
int spawn_install_interrupt(void);

/* After -ENOBUFS: what accept(2) said, a positive errno. The record has it only until whoever waits
 * for the child clears it. */
int spawner_accept_error(const struct spawner *spawner);

/* Whether errno of accept(2) is about the one connection, which is gone, or about none: the
 * listener is well. accept(2), "Error handling". */
bool spawn_connection_is_gone(int error);
