/* SPDX-License-Identifier: MIT */
/*
 * libhark: the three parts of a socket activation helper, for any C or C++ program.
 *
 *   lock files    a lock beside a file that dies with its holder, and the atomic update of that
 * file listen        the socket that systemd passed, else one made without a race: lock, probe,
 * bind fork server   a small process, started early, that starts programs and functions for the
 * others
 *
 * Rules that hold for every function. 0 or a positive number is success; a failure is a negative
 * errno, and outputs (last, named ret_…) are then as they were. Nothing here prints, exits, aborts
 * on input, or changes what belongs to the whole process: its working directory, environment,
 * signal handlers, umask, or ids. Every descriptor that is made is close-on-exec. A handle may be
 * used by one thread at a time, and by another afterwards; different handles are independent.
 * x_free(NULL) is allowed. After fork(), the child may only free what it inherited; that closes
 * descriptors and never touches the parent's files.
 */
#ifndef HARK_H
#define HARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HARK_PUBLIC __attribute__((visibility("default")))
#else
#define HARK_PUBLIC
#endif

/* ---- Who holds something ------------------------------------------------------------------- */

struct hark_holder {
    pid_t pid;    /* 0: not known */
    uid_t uid;    /* (uid_t)-1: not known */
    bool foreign; /* it lives in another pid namespace ("another container"): pid means nothing here
                   */
    char command[32]; /* its name as in /proc/PID/comm, "" when not known */
};

/* ---- Lock files ---------------------------------------------------------------------------- */

struct hark_lockfile;

enum hark_lockfile_flags {
    HARK_LOCKFILE_FOLLOW = 1 << 0, /* lock the file that a symbolic link at path leads to */
    HARK_LOCKFILE_APPEND = 1 << 1, /* begin with a copy of what the file holds now */
    HARK_LOCKFILE_FSYNC = 1 << 2,  /* commit: flush the file and its directory to disk */
    HARK_LOCKFILE_IDENTIFY =
        1 << 3, /* write pid, boot id and pid namespace into the lock file (a pure lock) */
};

HARK_PUBLIC int hark_lockfile_hold(const char *path, int timeout_ms, unsigned flags,
                                   struct hark_lockfile **ret_lock);
HARK_PUBLIC int hark_lockfile_fd(const struct hark_lockfile *lock);
HARK_PUBLIC const char *hark_lockfile_path(const struct hark_lockfile *lock);
HARK_PUBLIC const char *hark_lockfile_target(const struct hark_lockfile *lock);
HARK_PUBLIC int hark_lockfile_commit(struct hark_lockfile *lock);
HARK_PUBLIC int hark_lockfile_commit_to(struct hark_lockfile *lock, const char *path);
HARK_PUBLIC struct hark_lockfile *hark_lockfile_free(struct hark_lockfile *lock);
HARK_PUBLIC int hark_lockfile_holder(const char *path, struct hark_holder *ret_holder);

/* ---- Listen -------------------------------------------------------------------------------- */

struct hark_listener;

enum hark_listen_flags {
    HARK_LISTEN_NONBLOCK = 1 << 0, /* accept() must not wait (never set on a passed socket) */
    HARK_LISTEN_MKDIR = 1 << 1,    /* create missing parent directories, mode 0755 */
};

struct hark_listen_options {
    size_t size;         /* sizeof(struct hark_listen_options): lets the structure grow */
    int type;            /* SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET */
    int backlog;         /* of listen(2); the kernel caps it at net.core.somaxconn */
    mode_t mode;         /* of the node of a path */
    uid_t owner;         /* of that node; (uid_t)-1: the caller */
    gid_t group;         /* of that node; (gid_t)-1: the caller's */
    int lock_timeout_ms; /* how long to wait for a lock, or an old listener, that is going away */
    unsigned flags;      /* enum hark_listen_flags */
    const char *name;    /* take the descriptor that was passed under this name, or NULL */
};
#define HARK_LISTEN_OPTIONS_INIT                                                                   \
    {                                                                                              \
        sizeof(struct hark_listen_options), 1 /* SOCK_STREAM */, 0x7fffffff, 0600, (uid_t)-1,      \
            (gid_t)-1, 1000, 0, NULL                                                               \
    }

enum hark_listener_state {
    HARK_LISTENER_IN_PLACE = 0, /* its name leads to it */
    HARK_LISTENER_REMOVED,      /* nothing has the name */
    HARK_LISTENER_REPLACED,     /* something else has the name */
};

HARK_PUBLIC int hark_listen(const char *address, const struct hark_listen_options *options,
                            struct hark_listener **ret_listener);
/* A passed socket as a listener: checks that fd is a socket of that type and, if the type needs
 * it, that it listens. Consumes fd on success only. */
HARK_PUBLIC int hark_listener_from_fd(int fd, int type, const char *name,
                                      struct hark_listener **ret_listener);
HARK_PUBLIC int hark_listener_fd(const struct hark_listener *listener);
HARK_PUBLIC int hark_listener_type(const struct hark_listener *listener);
HARK_PUBLIC const char *hark_listener_address(const struct hark_listener *listener);
HARK_PUBLIC const char *hark_listener_name(const struct hark_listener *listener); /* or NULL */
HARK_PUBLIC bool hark_listener_was_passed(const struct hark_listener *listener);
/* For a path that hark_listen() made: the directory that holds it (to watch); else NULL. */
HARK_PUBLIC const char *hark_listener_directory(const struct hark_listener *listener);
HARK_PUBLIC int
hark_listener_check(const struct hark_listener *listener); /* a state, or negative errno */
/* Binds the name anew after it was removed or replaced by something dead. The listener has the new
 * socket then; *ret_old_fd gets the old one, whose backlog is still to be served. */
HARK_PUBLIC int hark_listener_rebind(struct hark_listener *listener, int *ret_old_fd);
/* Removes the name (only if it still leads to this socket), closes the socket, lets go of the lock.
 */
HARK_PUBLIC struct hark_listener *hark_listener_free(struct hark_listener *listener);
/* Who is bound to that address now, as far as it can be known. */
HARK_PUBLIC int hark_address_holder(const char *address, int type, struct hark_holder *ret_holder);

/* ---- Passed sockets ------------------------------------------------------------------------ */

struct hark_passed {
    int fd;     /* close-on-exec; the caller owns it */
    char *name; /* from LISTEN_FDNAMES, NULL when that was not set */
};

HARK_PUBLIC int hark_passed_fds(struct hark_passed **ret_passed, size_t *ret_n);
HARK_PUBLIC struct hark_passed *hark_passed_free(struct hark_passed *passed, size_t n);

/* ---- Fork server --------------------------------------------------------------------------- */

/*
 * A small process that creates the others. A large or threaded program forks slowly and at a risk;
 * one that started a fork server while it was still small asks that instead, from any thread, and
 * never meets the children itself: neither wait(-1) nor SIGCHLD of the host knows of the server or
 * of anything it creates.
 *
 * Order: hark_forkserver_start() as early as can be, while there is one thread and little memory;
 * hark_forkserver_spawn() and hark_forkserver_fork() as often as wanted; hark_forkserver_stop(), or
 * hark_forkserver_stop_server(), or neither; hark_forkserver_free().
 *
 * Threads: any number may be inside spawn, fork, kill_all and pid of one handle at once (each
 * request has a reply channel of its own). stop and stop_server may be called by one thread at a
 * time while they are (those then fail with -ESHUTDOWN or -EPIPE); free, by nobody else's leave,
 * last.
 *
 * Connections: the handle from start is the starter's. A child of fork that was given
 * HARK_CHILD_CONNECTION has one too, with all its power but stop and stop_server; there is no limit
 * on their number but memory and descriptors. The server lives until the starter stops it or frees
 * its handle; if the starter just dies, as long as anybody else has a connection or there is an
 * exit to report. It leaves without a word then, and its children go on without a parent. (A plain
 * fork(2) of a client shares the connection, and keeps it open until that process frees it or calls
 * execve(2).)
 *
 * What children are like: they have the server's, that is the starter's, ids, limits, session,
 * process group, terminal and umask at the time of start, all signals at their defaults and
 * unblocked, and of all descriptors only 0, 1 and 2 (those of the starter; /dev/null where it had
 * none) and what they are given. A ^C on the terminal ends them as it would the starter's own
 * children, but not the server: it blocks all signals, and only SIGKILL ends it.
 *
 * Rights: a request is refused with -EPERM unless the effective user and group of who sends it are
 * those of the server; a host that gives up its rights for good can no longer use a server it
 * started with them. Other groups, capabilities and the like are not compared: a server must not be
 * shared across them.
 *
 * Pids are those of the server's pid namespace. As PID 1 of one (the starter called
 * unshare(CLONE_NEWPID) before) the server reaps every orphan, and the namespace ends with it.
 *
 * Errors that each request can have: -EPIPE the server is gone (stopped, killed) or took the
 * request for no request; -EMFILE, -ENFILE no descriptor left, here or in the server; -ENOMEM,
 * -ENOBUFS; -ETOOMANYREFS too many descriptors on their way (unix(7)); -EPERM see above; -EAGAIN
 * the limit of processes (clone(2)).
 *
 * Not solved in this version: a new program is awaited until it runs. One that hangs before that
 * (its file or directory on a dead network file system, or its process stopped by SIGSTOP in that
 * moment) holds up the server, and so every request, until it goes on or is killed. And each exit
 * descriptor that is owed costs every further fork about 0.1 µs.
 */
struct hark_forkserver;

#define HARK_SPAWN_FDS_MAX 249 /* HARK_FDS_MAX less what a request needs itself */

/* A program to start. Nothing in here is used after the call. */
struct hark_spawn {
    size_t size;                    /* sizeof(struct hark_spawn): lets the structure grow */
    const char *program;            /* absolute path */
    const char *const *arguments;   /* argv, at least argv[0], NULL-terminated */
    const char *const *environment; /* NULL-terminated; NULL: the server's own */
    const char *directory;          /* working directory; NULL: the server's */
    const int *fds;                 /* become 0, 1, 2, … of the program; -1: /dev/null */
    size_t n_fds; /* at most HARK_SPAWN_FDS_MAX; those of 0, 1, 2 beyond: the server's */
};

struct hark_child {
    pid_t pid;
    int socket_fd; /* HARK_CHILD_SOCKET: the caller's end of a SOCK_STREAM socket pair, else -1 */
    int exit_fd;   /* HARK_CHILD_EXIT: becomes readable once, see struct hark_exit; else -1 */
};

/* How a child ended: read(2) of exit_fd gives one of these, whole. End of file in its place: the
 * server ended before the child did. Whoever does not read it hurts nobody; closing it is fine at
 * any time. */
struct hark_exit {
    int32_t pid;
    int32_t code;   /* CLD_EXITED, CLD_KILLED, CLD_DUMPED: waitid(2) */
    int32_t status; /* exit status or signal */
    int32_t error;  /* 0; kept for the errno of a program that could not be started */
};

enum hark_child_flags {
    /* Give the child one end of a socket pair: the argument of the entry point; for a program, the
     * descriptor after those of fds, but at least 3. */
    HARK_CHILD_SOCKET = 1 << 0,
    HARK_CHILD_EXIT = 1 << 1,       /* make an exit descriptor */
    HARK_CHILD_CONNECTION = 1 << 2, /* fork only: give the child a connection of its own */
};

/* Creates the server, waits until it is ready. -EBUSY: there are other threads (they may hold
 * locks, which would stay locked in the server); -ENOSYS, -EPERM: no clone3(2) here; errors of
 * clone(2), socketpair(2), epoll_create(2), signalfd(2), getrandom(2). */
HARK_PUBLIC int hark_forkserver_start(struct hark_forkserver **ret_server);

/* The server's pid, for who is to be told; it cannot be waited for. Never fails. */
HARK_PUBLIC pid_t hark_forkserver_pid(const struct hark_forkserver *server);

/* Starts a program, and returns when it runs (it may have ended already). The caller owns the
 * descriptors in *ret_child, and keeps its own. Arguments and environment may be as large as
 * execve(2) allows. -EINVAL: size, no absolute path, no argv[0], unknown flags; -EBADF: one of fds
 * is not open; -E2BIG: too many fds, or strings; -ESHUTDOWN: the server is being stopped; what
 * every request can have; and the errno of what failed in the child: chdir(2), execve(2) (-ENOENT,
 * -EACCES, -ENOEXEC, …). No process is left then. */
HARK_PUBLIC int hark_forkserver_spawn(struct hark_forkserver *server,
                                      const struct hark_spawn *spawn, unsigned flags,
                                      struct hark_child *ret_child);

/* Runs a function in a copy of the server's process, which is a copy of the starter's at the time
 * of start: its memory is what it was then, unwritten stdio included. entry must be in the program
 * or in a library that was loaded then. It gets a connection, or NULL, and its end of the socket
 * pair, or -1, and owns both; what it returns is the exit status. (The process leaves by _exit(2):
 * nothing is flushed; fork handlers of pthread_atfork(3) are run.) -EINVAL: no entry, unknown
 * flags; -ESHUTDOWN; what every request can have. */
HARK_PUBLIC int hark_forkserver_fork(struct hark_forkserver *server,
                                     int (*entry)(struct hark_forkserver *connection,
                                                  int socket_fd),
                                     unsigned flags, struct hark_child *ret_child);

/* Sends a signal (0: none, just counts) to every living child but the caller, never to the starter
 * or the server. How many got it. -EINVAL: no such signal; what every request can have. */
HARK_PUBLIC int hark_forkserver_kill_all(struct hark_forkserver *server, int signal_number);

/* Ends all children, then the server, and waits for both: SIGTERM (and SIGCONT) to all, SIGKILL to
 * those that live after timeout_ms (0: at once; -1: never). Exits are reported as ever. Further
 * requests fail with -ESHUTDOWN meanwhile. How many had to be killed. -EINVAL: a timeout below -1;
 * -EPERM: not the starter; -EALREADY: another thread stops it; -ETIMEDOUT: children that even
 * SIGKILL did not end for 5 s: the server is gone, they are not; -EPIPE: it was gone before; what
 * every request can have. */
HARK_PUBLIC int hark_forkserver_stop(struct hark_forkserver *server, int timeout_ms);

/* Ends the server only, and waits for it, a second at most. Children live on; their exit
 * descriptors see the end of file. -EPERM: not the starter; -EPIPE: it was gone before; what every
 * request can have. */
HARK_PUBLIC int hark_forkserver_stop_server(struct hark_forkserver *server);

/* Closes the connection. The starter's: ends the server first if it still runs, as
 * hark_forkserver_stop_server() does. In a process that inherited the handle by fork(): closes it
 * there. */
HARK_PUBLIC struct hark_forkserver *hark_forkserver_free(struct hark_forkserver *server);

/* ---- Passing descriptors ------------------------------------------------------------------- */

/*
 * Descriptors across an AF_UNIX socket, one message at a time: sendmsg(2) and recvmsg(2) with
 * SCM_RIGHTS, done right. Both wait unless the socket is non-blocking, begin again when a signal
 * interrupts, never raise SIGPIPE, and are safe from any thread.
 */

#define HARK_FDS_MAX 253 /* the kernel's limit for one message: SCM_MAX_FD */

/* Sends data, and copies of n_fds descriptors, which the caller keeps. The number of bytes sent,
 * which on a stream can be fewer than size; the descriptors went with the first. -EINVAL: no data
 * (a descriptor needs a byte to travel with); -E2BIG: more than HARK_FDS_MAX; -EBADF;
 * -ETOOMANYREFS; -EMSGSIZE; -EPIPE; -EAGAIN; others of sendmsg(2). */
HARK_PUBLIC ssize_t hark_send_fds(int socket_fd, const void *data, size_t size, const int *fds,
                                  size_t n_fds);

/* Receives up to size bytes and up to *fds_count descriptors, close-on-exec, owned by the caller;
 * *fds_count becomes their number. The number of bytes; 0: the other end was closed. Nothing is
 * ever cut off silently: when there was more, every descriptor that came is closed, and the message
 * is lost. -EMSGSIZE: more data (not on a stream) or descriptors than there is room for; -EMFILE:
 * this process may not open so many; -EINVAL: no room at all; -EAGAIN; -ECONNRESET; others of
 * recvmsg(2). What data holds after a failure is undefined. */
HARK_PUBLIC ssize_t hark_receive_fds(int socket_fd, void *data, size_t size, int *ret_fds,
                                     size_t *fds_count);

#ifdef __cplusplus
}
#endif

#endif
