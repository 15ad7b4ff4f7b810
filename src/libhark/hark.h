/* SPDX-License-Identifier: MIT */
/*
 * libhark: the three parts of a socket activation helper, for any C or C++ program.
 *
 *   lock files    a lock beside a file that dies with its holder, and the atomic update of the file
 *   listen        the socket that systemd passed, else one made without a race: lock, probe, bind
 *   fork server   a small process, started early, that starts programs and functions for others
 *
 * Rules that hold for every function. 0 or a positive number is success; a failure is a negative
 * errno, and outputs (last, named ret_…) are then as they were. Nothing here prints, exits, aborts
 * on input, or changes what belongs to the whole process: its working directory, environment,
 * signal handlers, umask (but with HARK_LISTEN_ONE_THREAD), or ids. Every descriptor that is made
 * is close-on-exec. A handle may be used by one thread at a time, and by another afterwards, unless
 * its section says more; different handles are independent. A missing output or address is -EINVAL;
 * a handle must be one; x_free(NULL) is allowed. After fork(), the child may only free what it
 * inherited; that closes descriptors and never touches the parent's files.
 */
#ifndef HARK_H
#define HARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HARK_PUBLIC __attribute__((visibility("default")))
#else
#define HARK_PUBLIC
#endif

/* ---- Who holds something --------------------------------------------------------------------- */

/* For messages. What cannot be found out (other users' processes, no /proc) is left empty. */
struct hark_holder {
    pid_t pid;        /* 0: not known */
    uid_t uid;        /* (uid_t)-1: not known */
    bool foreign;     /* in another pid namespace ("another container"): pid means nothing here */
    char command[32]; /* its name as in /proc/PID/comm, "" when not known */
};

/* ---- Lock files ------------------------------------------------------------------------------ */

/*
 * A lock on a file: PATH.lock beside it, held by flock(2). The kernel drops the lock when its
 * holder dies, however that happens: a file that is left behind blocks nobody. What is written into
 * the lock file can replace the file as a whole (commit).
 *
 * Order: hark_lockfile_hold(); write to hark_lockfile_fd() or hark_lockfile_stream();
 * hark_lockfile_commit(), or not; hark_lockfile_free(), which rolls back what was not committed.
 *
 * The lock file has mode 0600, as whoever can open it can lock it; one with more is repaired. Lock
 * files work on every file system with flock(2), between all processes that see the directory, in
 * other containers too. The directory must be writable.
 */
struct hark_lockfile;

enum hark_lockfile_flags {
    HARK_LOCKFILE_FOLLOW = 1 << 0, /* lock the file that a symbolic link at path leads to */
    HARK_LOCKFILE_APPEND = 1 << 1, /* begin with a copy of what the file holds now */
    HARK_LOCKFILE_FSYNC = 1 << 2,  /* commit: flush the file and its directory to disk */
    /* A pure lock, without commit: who holds it, as lines "pid N", "boot UUID", "pidns INODE". */
    HARK_LOCKFILE_IDENTIFY = 1 << 3,
};

/*
 * Locks path, which need not exist. Waits up to timeout_ms of monotonic time (0: one try, -1: for
 * ever). A relative path is made absolute.
 *
 *   -EBUSY        somebody else holds it: hark_lockfile_holder()
 *   -EPERM        the lock file belongs to another user, who is not root
 *   -ELOOP        the lock file is a symbolic link; with APPEND, path is; with FOLLOW, too many
 *   -EMLINK       the lock file has a second name
 *   -EMEDIUMTYPE  the lock file, or with APPEND the file, is not a regular one
 *   -EINVAL       unknown flags, APPEND with IDENTIFY, a timeout below -1; path is "" or ends in
 *                 "/", "." or ".."
 *   -EINTR        a signal handler ran while it waited
 *   -ENOENT, -ENOTDIR, -EACCES, -EROFS, -ENAMETOOLONG, -ENOSPC, -EMFILE, -ENFILE, -ENOMEM, …
 *                 from open(2), write(2) of the directory and the lock file
 */
HARK_PUBLIC int hark_lockfile_hold(const char *path, int timeout_ms, unsigned flags,
                                   struct hark_lockfile **ret_lock);

/*
 * The lock that fd holds: of a handle's descriptor that came across execve(2), with its
 * close-on-exec flag taken off before, or from a parent or another process, which then disowns its
 * own handle (else hark_lockfile_free() there would let go of the lock). Takes fd over on success
 * only. The flags are those of before, but APPEND; what was written stays, with IDENTIFY it is
 * written anew. A lock that nobody holds is taken.
 *
 *   -ESTALE   the name of path's lock file does not lead to fd (any more)
 *   -EBUSY    another descriptor holds the lock
 *   -EBADF    fd is not open, or not for reading and writing
 *   and those of hark_lockfile_hold() about the file and the path
 */
HARK_PUBLIC int hark_lockfile_adopt(const char *path, int fd, unsigned flags,
                                    struct hark_lockfile **ret_lock);

/* The lock is another process's from now on, which has adopted it, or will: hark_lockfile_free()
 * only closes this one's copy, and nothing else is allowed. */
HARK_PUBLIC void hark_lockfile_disown(struct hark_lockfile *lock);

/* The lock file, open for reading and writing; -1 after a commit, or close. It stays the lock's:
 * closing it drops the lock. Copies (fork, dup) share the lock; hark_lockfile_free() drops it for
 * all of them. */
HARK_PUBLIC int hark_lockfile_fd(const struct hark_lockfile *lock);

/* The same as a stream, one per handle, for reading and writing. It stays the lock's: close,
 * reopen, commit and free close it, whether they succeed or not. Flush it before the descriptor is
 * used. -EBADF: after close; -ESTALE: after a commit; -EPERM: in a forked child; -EINVAL: IDENTIFY;
 * -EMFILE, -ENOMEM. */
HARK_PUBLIC int hark_lockfile_stream(struct hark_lockfile *lock, FILE **ret_stream);

/* Nothing more is to be written, but the lock is kept: tells whether all of it could be, and
 * hark_lockfile_fd() is -1. The lock file may be read, and changed in place, by others. After a
 * failure (-EIO, -ENOSPC, -EDQUOT, …) commit fails in the same way. -ESTALE, -EPERM, -EINVAL as
 * above. */
HARK_PUBLIC int hark_lockfile_close(struct hark_lockfile *lock);

/* Begins anew, at any time before a commit, under the same lock: the lock file is empty and open.
 * -ESTALE: also when its name was taken away; -EPERM, -EINVAL as above; errors of ftruncate(2). */
HARK_PUBLIC int hark_lockfile_reopen(struct hark_lockfile *lock);

/* Whether it is still what it was: -ESTALE when somebody removed or replaced the lock file, so that
 * another can hold a lock of the same name; and after a commit. Opens nothing, never blocks. */
HARK_PUBLIC int hark_lockfile_check(const struct hark_lockfile *lock);

/* The lock file's path, and that of the file it locks, links followed: absolute, good until free.
 */
HARK_PUBLIC const char *hark_lockfile_path(const struct hark_lockfile *lock);
HARK_PUBLIC const char *hark_lockfile_target(const struct hark_lockfile *lock);

/* Renames the lock file over the file, or over another path of the same file system, and lets go of
 * the lock; only free is left to call then. The new file has the mode of the one it replaces, or
 * 0600, unless the caller gave the descriptor another; owner and group are the caller's. On failure
 * the lock is still held. What could not be written whole is never committed. -ESTALE: its name was
 * taken away, or it was committed before; -EPERM: in a forked child; -EINVAL:
 * HARK_LOCKFILE_IDENTIFY; errors of write(2) (-ENOSPC, -EIO, …), rename(2) (-EXDEV, -EISDIR, …),
 * fchmod(2), fsync(2); -EMFILE. If only the fsync of the directory failed, the file is replaced and
 * hark_lockfile_fd() is -1. */
HARK_PUBLIC int hark_lockfile_commit(struct hark_lockfile *lock);
HARK_PUBLIC int hark_lockfile_commit_to(struct hark_lockfile *lock, const char *path);

/* Removes the lock file, if its name still leads to it, and lets go of the lock. A forked child
 * only closes its copy. Returns NULL. */
HARK_PUBLIC struct hark_lockfile *hark_lockfile_free(struct hark_lockfile *lock);

/* Who holds the lock on path (not of PATH.lock): the pid by /proc/locks (proc(5)); if that does not
 * show it and the file was written by HARK_LOCKFILE_IDENTIFY on another machine or in another pid
 * namespace, what it says (the holder may be dead then: from here that cannot be known). -ESRCH:
 * nobody; -EINVAL, and errors of reaching the directory. */
HARK_PUBLIC int hark_lockfile_holder(const char *path, struct hark_holder *ret_holder);

/* ---- Listen ---------------------------------------------------------------------------------- */

/*
 * A listening socket, passed by systemd or made here, or a connection to one, under these
 * addresses:
 *
 *   /path  ./path  a/b    Unix socket; a relative path must contain a slash ("./word", not "word")
 *   @name                 abstract Unix socket (unix(7))
 *   PORT                  all addresses of both IP versions, or of IPv4 where there is no IPv6
 *   1.2.3.4:PORT  [::1]:PORT  [fe80::1]:PORT%eth0  [fe80::1%eth0]:PORT
 *   vsock:CID:PORT        vsock(7); an empty CID is any
 *
 * Ports are 1 to 65535; nothing is looked up but interface names.
 *
 * At a path: PATH.lock is locked and kept for the life of the listener, so that two that use this
 * library never interfere; then it is found out, without connecting to it, whether anybody is bound
 * to what is there; only a dead socket is removed. A living server of any make and type, stopped or
 * busy, is not disturbed and sees nothing. The new node has its mode and owner from its first
 * instant, whatever the umask. A path that does not fit sun_path (107 bytes) works as long as its
 * last component does; getsockname(2) then shows only that.
 *
 * Order: hark_listen() or hark_listener_from_fd(); accept on hark_listener_fd(); for a path, now
 * and then or when its directory changes (inotify(7)), hark_listener_check() and
 * hark_listener_rebind(); hark_listener_free(). Strings that are returned are good until the
 * listener is freed.
 *
 * Descriptors: a process that is forked and does not exec must close its copies of the listener's
 * and the lock's descriptor (hark_listener_free()), or it keeps them alive after this process died.
 *
 * Handing over, so that no connection is refused: the socket (hark_listener_fd()) and the lock
 * (hark_listener_lock_fd()) go across execve(2), with their close-on-exec flags taken off, or to
 * another process; that one calls hark_listener_adopt(). If it is another, this one calls
 * hark_listener_disown() once it has succeeded, and hark_listener_free().
 */
struct hark_listener;

enum hark_listen_flags {
    HARK_LISTEN_NONBLOCK = 1 << 0, /* accept() must not wait (never set on a passed socket) */
    HARK_LISTEN_MKDIR = 1 << 1,    /* create missing parent directories */
    /* hark_listener_free() leaves the name of a path, for others to find again: a dead socket,
     * which the next hark_listen() replaces. */
    HARK_LISTEN_KEEP_NAME = 1 << 2,
    /* No other thread of the process (and no io_uring) makes files while this library makes a name,
     * here and in hark_listener_rebind(): so its umask may be another for that moment, with all
     * signals blocked. Else each name takes a short-lived process: some 0.2 ms. */
    HARK_LISTEN_ONE_THREAD = 1 << 3,
};

struct hark_listen_options {
    size_t size; /* sizeof(struct hark_listen_options): lets the structure grow */
    int type;    /* SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET */
    int backlog; /* of listen(2); the kernel caps it at net.core.somaxconn */
    mode_t mode; /* of the node of a path, at most 0777 */
    uid_t owner; /* of that node; (uid_t)-1: the caller */
    gid_t group; /* of that node; (gid_t)-1: the caller's, or the directory's (set-group-id) */
    int lock_timeout_ms; /* how long to wait for a lock, or for who has the address, to go away; */
                         /* monotonic; 0: one try, -1: for ever */
    unsigned flags;      /* enum hark_listen_flags */
    const char *name;    /* take the descriptor that was passed under this name, or NULL */
    int protocol;        /* of socket(2): IPPROTO_MPTCP, …; 0: the usual one */
    mode_t directory_mode; /* of directories that are created, whatever the umask; at most 01777 */
    /* Called with every socket that is made, before it is bound: here, and by
     * hark_listener_rebind(). It may set options and must not close the socket. A negative errno
     * fails the call; more than one socket may be made and prepared in one call. Not called with a
     * passed one. userdata must be good as long as the listener lives. */
    int (*prepare)(int fd, void *userdata); /* or NULL */
    void *userdata;
};
#define HARK_LISTEN_OPTIONS_INIT                                                                   \
    {                                                                                              \
        sizeof(struct hark_listen_options), 1 /* SOCK_STREAM */, 0x7fffffff, 0600, (uid_t)-1,      \
            (gid_t)-1, 1000, 0, NULL, 0, 0755, NULL, NULL                                          \
    }

enum hark_listener_state {
    HARK_LISTENER_IN_PLACE = 0, /* its name leads to it */
    HARK_LISTENER_REMOVED,      /* nothing has the name */
    HARK_LISTENER_REPLACED,     /* something else has the name */
};

/*
 * Listens; options may be NULL for the defaults above. With options->name, and if a descriptor was
 * passed under it (sd_listen_fds(3)), that one is taken, the first if there are several, and
 * neither made nor configured. Take all that you want before you close any.
 *
 *   -EADDRINUSE    a living server has the address, or holds the lock: hark_address_holder()
 *   -EEXIST        what is at the path is no socket (a symbolic link is not one): untouched
 *   -EPERM         the dead (or unknown) socket at the path, or the lock file, belongs to another
 *                  user; or the node may not be given to that owner or group
 *   -EINVAL        no address; options without sense; passed names and descriptors disagree
 *   -ERANGE        a port or CID out of range
 *   -ENODEV        no such interface, or no vsock of that type
 *   -E2BIG         options of a later version of this library that this one does not know
 *   -ENAMETOOLONG  the last component of the path, or the abstract name, exceeds 107 bytes,
 *                  or the whole path PATH_MAX
 *   -EACCES, -EROFS, -ENOENT, -ENOTDIR, -ELOOP
 *                  the directory; -EACCES: also a port below 1024
 *   -EMLINK, -ELOOP, -EMEDIUMTYPE
 *                  the lock file: hark_lockfile_hold()
 *   -EOPNOTSUPP    the directory or file system gives new files another owner, group or wider mode
 *                  than was asked for; or the family has no such type
 *   -EADDRNOTAVAIL, -EAFNOSUPPORT, -EPROTONOSUPPORT, -ESOCKTNOSUPPORT
 *                  not on this machine
 *   -ENOTSOCK, -EPROTOTYPE, -ENOTCONN
 *                  the passed one: hark_listener_from_fd(); -EAFNOSUPPORT: it is of another family
 *                  than the address; -EBADF: one of those passed is closed already
 *   -ENOSYS        no /proc, which the question whether a server lives needs
 *   -EINTR         a signal handler ran while it waited
 *   -EMFILE, -ENFILE, -ENOMEM, -ENOBUFS, -ENOSPC, -EAGAIN
 *                  resources
 *   and what options->prepare returned
 */
HARK_PUBLIC int hark_listen(const char *address, const struct hark_listen_options *options,
                            struct hark_listener **ret_listener);

/* A passed socket as a listener; type 0 accepts each. Takes fd over on success only, and makes it
 * close-on-exec; it is not made non-blocking, as that would happen to the one who passed it, too.
 *   -ENOTSOCK    no socket
 *   -EPROTOTYPE  another type
 *   -ENOTCONN    a stream or seqpacket socket that does not listen
 *   -EBADF, -ENOMEM; -EAFNOSUPPORT: of a family that has no address above */
HARK_PUBLIC int hark_listener_from_fd(int fd, int type, const char *name,
                                      struct hark_listener **ret_listener);

/*
 * What another process, or this one before execve(2), made with hark_listen() of that address and
 * options: its socket and, of a path, its lock's descriptor, so that everything here is as it was
 * there; or with lock_fd -1, and for a socket that any program has made: the lock is taken anew.
 * Takes both over on success only. Of the options, type is what fd must be, lock_timeout_ms is for
 * a lock that is taken anew, name becomes the listener's, and the others count for
 * hark_listener_rebind() and _free(). A socket that has lost its name since is adopted all the
 * same: hark_listener_check().
 *
 *   -EADDRNOTAVAIL fd is bound to something else (of a path the last component counts)
 *   -ESTALE        the lock file was removed or replaced: lock_fd is nobody's lock any more. Again
 *                  with -1, which takes the new one
 *   -EADDRINUSE    another descriptor holds the lock
 *   -EBADF, -ENOTSOCK, -EPROTOTYPE, -ENOTCONN
 *                  fd, as hark_listener_from_fd(); -EBADF: also lock_fd
 *   -EAFNOSUPPORT  fd is of another family than the address
 *   -EINVAL        a lock_fd below -1, or for what is no path; no address; options without sense
 *   and those of hark_listen() about the address, the options, the directory and the lock file
 */
HARK_PUBLIC int hark_listener_adopt(const char *address, int fd, int lock_fd,
                                    const struct hark_listen_options *options,
                                    struct hark_listener **ret_listener);

/* The socket. It stays the listener's. */
HARK_PUBLIC int hark_listener_fd(const struct hark_listener *listener);

/* The lock of a path that hark_listen() made, or that was adopted: -1 for all others. It stays the
 * listener's. hark_listener_rebind() may change it, as it changes the socket. */
HARK_PUBLIC int hark_listener_lock_fd(const struct hark_listener *listener);

/* SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET. */
HARK_PUBLIC int hark_listener_type(const struct hark_listener *listener);

/* The absolute path, or what getsockname(2) says in the form above: "[::]:80", "@name", "unnamed".
 */
HARK_PUBLIC const char *hark_listener_address(const struct hark_listener *listener);

/* The name it was asked for or passed under, or NULL. */
HARK_PUBLIC const char *hark_listener_name(const struct hark_listener *listener);
HARK_PUBLIC bool hark_listener_was_passed(const struct hark_listener *listener);

/* For a path that hark_listen() made, or that was adopted: the directory that holds it (to watch);
 * else NULL. */
HARK_PUBLIC const char *hark_listener_directory(const struct hark_listener *listener);

/* An enum hark_listener_state, or an errno of lstat(2) (-EACCES, …). The path is looked up anew, so
 * a parent directory that was renamed shows as removed. What is not a path, or was passed, is in
 * place always. */
HARK_PUBLIC int hark_listener_check(const struct hark_listener *listener);

/* Binds the name anew after it was removed or replaced by something dead, with the options of
 * before. The listener has the new socket then; *ret_old_fd gets the old one, whose backlog is
 * still to be served and which the caller closes. If that fails nothing has changed. -EALREADY: it
 * is in place; -EADDRINUSE: somebody else lives there or holds the lock; -EOPNOTSUPP: not a path,
 * or it was passed; -EPERM: also in a forked child, or disowned; others as hark_listen(). Waits a
 * tenth of a second at most. */
HARK_PUBLIC int hark_listener_rebind(struct hark_listener *listener, int *ret_old_fd);

/* The name and the lock are another process's from now on, which has adopted them, or will:
 * hark_listener_free() only closes this one's copies. Until then it may still accept. */
HARK_PUBLIC void hark_listener_disown(struct hark_listener *listener);

/* Removes the name (only if it still leads to this socket, and not with HARK_LISTEN_KEEP_NAME),
 * closes the socket, removes the lock file and lets go of the lock. A forked child only closes its
 * copies. Returns NULL. */
HARK_PUBLIC struct hark_listener *hark_listener_free(struct hark_listener *listener);

/* Who is bound to that address now, as far as it can be known: the holder of the lock, else whom
 * sock_diag(7) and /proc show. Connects to nobody; the caller's own lock does not count. type
 * matters for IP only. -ESRCH: nobody that could be found (always for vsock); -EINVAL, -ERANGE,
 * -ENODEV, -ENAMETOOLONG: no address; -EPROTOTYPE: an IP address of neither type; errors of
 * netlink(7) and of reaching the directory. */
HARK_PUBLIC int hark_address_holder(const char *address, int type, struct hark_holder *ret_holder);

enum hark_address_state {
    HARK_ADDRESS_FREE = 0,  /* nobody is bound to it, nothing has the path */
    HARK_ADDRESS_DEAD,      /* of a path: a socket that nobody is bound to */
    HARK_ADDRESS_IN_USE,    /* somebody is bound to it, and may listen, be busy or stopped */
    HARK_ADDRESS_NO_SOCKET, /* of a path: something else, a symbolic link too */
    HARK_ADDRESS_UNKNOWN,   /* a socket that this process may not ask; always for vsock */
};

/* Whether anybody is bound to that address now: an enum hark_address_state. Connects to nobody,
 * locks and changes nothing; an answer may be out of date at once, so it is for messages and
 * decisions of people: hark_listen() asks itself, under the lock. Errors as hark_address_holder(),
 * but -ESRCH; -ENOSYS: no /proc. */
HARK_PUBLIC int hark_address_state(const char *address, int type);

enum hark_connect_flags {
    HARK_CONNECT_NONBLOCK = 1 << 0,       /* leave the socket non-blocking */
    HARK_CONNECT_AWAIT_NAME = 1 << 1,     /* wait while nothing has the path (-ENOENT) */
    HARK_CONNECT_AWAIT_LISTENER = 1 << 2, /* wait while nobody listens (-ECONNREFUSED) */
};

/*
 * A connection to an address of the form above; a mere PORT, and an empty CID, are this machine's.
 * A path may be a symbolic link, and of any length. Waits up to timeout_ms of monotonic time in all
 * (0: not at all, -1: for ever): for room in a full backlog, for the answer of another machine, for
 * a server that is bound to its path and does not listen yet, and for what the flags say. type as
 * in hark_listen(). The caller owns *ret_fd.
 *
 *   -ETIMEDOUT     no room in the backlog, no answer; of TCP also before timeout_ms: tcp(7)
 *   -ECONNREFUSED  nobody listens there; with AWAIT_LISTENER: nobody has begun to
 *   -ENOENT        no such path; with AWAIT_NAME: none has come
 *   -ENOTSOCK      what is at the path is no socket
 *   -EPROTOTYPE    a server of another type
 *   -EPERM         a datagram socket that only hears another peer
 *   -EACCES        a directory may not be searched, or the socket not be written to
 *   -EINTR         a signal handler ran while it waited
 *   -EINVAL        no address; no such type; a timeout below -1; an unknown flag
 *   -ERANGE, -ENODEV, -ENAMETOOLONG
 *                  the address, as hark_listen(); a path only above PATH_MAX
 *   -ENOTDIR, -ELOOP, -EHOSTUNREACH, -ENETUNREACH, -ECONNRESET, -EADDRNOTAVAIL, -EAFNOSUPPORT,
 *   -EPROTONOSUPPORT, -ESOCKTNOSUPPORT, …
 *                  connect(2), socket(2)
 *   -ENOSYS        a path above 107 bytes, and no /proc
 *   -EMFILE, -ENFILE, -ENOMEM, -ENOBUFS
 *                  resources
 */
HARK_PUBLIC int hark_connect(const char *address, int type, int timeout_ms, unsigned flags,
                             int *ret_fd);

/* ---- Passed sockets -------------------------------------------------------------------------- */

struct hark_passed {
    int fd;     /* close-on-exec; the caller owns it */
    char *name; /* from LISTEN_FDNAMES, NULL when that was not set */
};

/* The descriptors that the service manager passed to this process: LISTEN_FDS, LISTEN_PID,
 * LISTEN_FDNAMES of sd_listen_fds(3). The environment is left as it is: the program unsets them,
 * lest its children believe them. Once per process: a second list would own the same numbers. 0
 * with no descriptors when nothing was passed, or to another process. -EINVAL: the numbers of names
 * and of descriptors disagree, or a variable is no number; -ERANGE: one too large; -EBADF: one is
 * not open; -ENOMEM.
 * Nothing is closed then. */
HARK_PUBLIC int hark_passed_fds(struct hark_passed **ret_passed, size_t *ret_n);

/* Closes those whose fd is not -1 (set it so after handing one over), frees the list. Returns NULL.
 */
HARK_PUBLIC struct hark_passed *hark_passed_free(struct hark_passed *passed, size_t n);

/* ---- Fork server ----------------------------------------------------------------------------- */

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
 * Threads: any number may be inside spawn, fork, call, kill, kill_all and pid of one handle at once
 * (each request has a reply channel of its own). stop and stop_server may be called by one thread
 * at a time while they are (those then fail with -ESHUTDOWN or -EPIPE); free, by nobody else's
 * leave, last.
 *
 * Connections: the handle from start is the starter's. A child that was given HARK_CHILD_CONNECTION
 * has one too, with all its power but call, stop and stop_server, and of a program but fork; their
 * number has no limit but memory and descriptors. The server lives until the starter stops it or
 * frees its handle; if the starter just dies, as long as anybody else has a connection or there is
 * an exit to report. It leaves without a word then, and its children go on without a parent. (A
 * plain fork(2) of a client shares the connection, and keeps it open until that process frees it or
 * calls execve(2).)
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
 * moment, also by the other user it is to run as) holds up the server, and so every request, until
 * it goes on or is killed. A program that calls execve(2) while its server runs leaves itself
 * a zombie that only waitpid(2) with __WALL removes: free the server before. And each exit
 * descriptor that is owed costs every further fork about 0.1 µs.
 */
struct hark_forkserver;

#define HARK_SPAWN_FDS_MAX    249 /* HARK_FDS_MAX less what a request needs itself */
#define HARK_SPAWN_LIMITS_MAX 32
#define HARK_SPAWN_GROUPS_MAX 256

/* A resource limit, as of setrlimit(2). */
struct hark_limit {
    int resource;  /* RLIMIT_… of <sys/resource.h> */
    uint64_t soft; /* UINT64_MAX: none (RLIM_INFINITY) */
    uint64_t hard; /* at most the server's */
};

/* Whom a program runs as: real, effective and saved ids, and exactly these supplementary groups. */
struct hark_identity {
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    size_t n_groups; /* at most HARK_SPAWN_GROUPS_MAX */
};

/* A program to start. Nothing in here is used after the call. */
struct hark_spawn {
    size_t size;                    /* sizeof(struct hark_spawn): lets the structure grow */
    const char *program;            /* absolute path */
    const char *const *arguments;   /* argv, at least argv[0], NULL-terminated */
    const char *const *environment; /* NULL-terminated; NULL: the server's own */
    const char *directory;          /* working directory; NULL: the server's */
    const int *fds;                 /* become 0, 1, 2, … of the program; -1: /dev/null */
    size_t n_fds; /* at most HARK_SPAWN_FDS_MAX; those of 0, 1, 2 beyond: the server's */
    const struct hark_limit *limits; /* the others are the server's */
    size_t n_limits;                 /* at most HARK_SPAWN_LIMITS_MAX */
    /* NULL: the server's. Another one must be one that the requester could take itself
     * (setresuid(2), setresgid(2), setgroups(2); the kernel vouches for that), and the server, too.
     * The directory and the program are then reached with that one's rights. */
    const struct hark_identity *identity;
};

struct hark_child {
    pid_t pid;
    int socket_fd; /* HARK_CHILD_SOCKET: the caller's end of a SOCK_STREAM socket pair, else -1 */
    int exit_fd;   /* HARK_CHILD_EXIT: becomes readable once, see struct hark_exit; else -1 */
};

/* How a child ended: read(2) of exit_fd gives one of these, whole (a later version may have more to
 * say, which does not arrive then). End of file in its place: the server ended before the child
 * did. Whoever does not read it hurts nobody; closing it is fine at any time. */
struct hark_exit {
    int32_t pid;
    int32_t code;         /* CLD_EXITED, CLD_KILLED, CLD_DUMPED: waitid(2) */
    int32_t status;       /* exit status or signal */
    int32_t error;        /* 0; kept for the errno of a program that could not be started */
    uint64_t user_usec;   /* processor time, of the child and its own that it waited for, … */
    uint64_t system_usec; /* … and the kernel's for them: getrusage(2) */
    uint64_t max_rss_kib; /* the most memory that one of them had at a time */
};

enum hark_child_flags {
    /* Give the child one end of a socket pair: the argument of the entry point; for a program, the
     * descriptor after those of fds, but at least 3. */
    HARK_CHILD_SOCKET = 1 << 0,
    HARK_CHILD_EXIT = 1 << 1, /* make an exit descriptor */
    /* Give the child a connection of its own: the argument of the entry point; for a program, the
     * descriptor after those of fds and the socket, but at least 3: hark_forkserver_from_fd(). */
    HARK_CHILD_CONNECTION = 1 << 2,
};

/* Creates the server, waits until it is ready. -EBUSY: there are other threads (they may hold
 * locks, which would stay locked in the server); -ENOSYS, -EPERM: no clone3(2) here; errors of
 * clone(2), socketpair(2), epoll_create(2), signalfd(2), getrandom(2). */
HARK_PUBLIC int hark_forkserver_start(struct hark_forkserver **ret_server);

/*
 * In a program that was spawned with HARK_CHILD_CONNECTION: the connection behind that descriptor,
 * which is taken over on success only, and becomes close-on-exec. The server's functions are not
 * this program's, so it may do all but fork (-EOPNOTSUPP) and what is the starter's. A copy of the
 * descriptor that went to yet another program is one to it, too. The ids must be the server's, as
 * ever: a connection is of no use to an identity that is not.
 *
 *   -EBADF, -ENOTSOCK  no descriptor, no socket
 *   -EPROTOTYPE        no connection of a fork server, or not one for a program
 *   -EPROTONOSUPPORT   the server is of another version of this library, with another protocol
 *   -EPIPE             the server is gone
 *   -EINVAL, -ENOMEM
 */
HARK_PUBLIC int hark_forkserver_from_fd(int fd, struct hark_forkserver **ret_server);

/* The server's pid, for who is to be told, 0 where it is not visible; it cannot be waited for.
 * Never fails. */
HARK_PUBLIC pid_t hark_forkserver_pid(const struct hark_forkserver *server);

/* Starts a program, and returns when it runs (it may have ended already). The caller owns the
 * descriptors in *ret_child, and keeps its own. Arguments and environment may be as large as
 * execve(2) allows. -EINVAL: size, no absolute path, no argv[0], unknown flags, no such limit, a
 * soft limit above the hard one, an id of -1; -EBADF: one of fds is not open; -E2BIG: too many fds,
 * limits, groups, or strings, or a structure of a later version with more than this one knows;
 * -EPERM: also a hard limit above the server's, an identity that is not to be had; -ESHUTDOWN: the
 * server is being stopped; what every request can have; and the errno of what failed in the child:
 * chdir(2), execve(2) (-ENOENT, -EACCES, -ENOEXEC, …). No process is left then. */
HARK_PUBLIC int hark_forkserver_spawn(struct hark_forkserver *server,
                                      const struct hark_spawn *spawn, unsigned flags,
                                      struct hark_child *ret_child);

/* Runs a function in a copy of the server's process, which is a copy of the starter's at the time
 * of start: its memory is what it was then, unwritten stdio included. entry must be in the program
 * or in a library that was loaded then. It gets a connection, or NULL, and its end of the socket
 * pair, or -1, and owns both; what it returns is the exit status. (The process leaves by _exit(2):
 * nothing is flushed; fork handlers of pthread_atfork(3) are run.) -EINVAL: no entry, unknown
 * flags; -EOPNOTSUPP: a spawned program's connection; -ESHUTDOWN; what every request can have. */
HARK_PUBLIC int hark_forkserver_fork(struct hark_forkserver *server,
                                     int (*entry)(struct hark_forkserver *connection,
                                                  int socket_fd),
                                     unsigned flags, struct hark_child *ret_child);

/* Calls a function in the server itself, with a copy of the data (NULL when size is 0), and waits
 * for what it returns. For what is to hold for all later children: environment, limits, umask,
 * working directory, prctl(2). It is the starter's alone, and runs with all signals blocked; the
 * server serves nobody else meanwhile, and has its fate: a crash or an exit is the server's own. It
 * must not start threads, nor leave descriptors open that are not close-on-exec. function must be
 * where entry must. -EINVAL: no function, no data; -E2BIG: more than 8 MiB; -EPERM: also not the
 * starter; -ESHUTDOWN; what every request can have (-EPIPE: also a crash). */
HARK_PUBLIC int hark_forkserver_call(struct hark_forkserver *server,
                                     int (*function)(const void *data, size_t size),
                                     const void *data, size_t size, int *ret_result);

/*
 * Sends a signal (0: none, just asks) to one child, whoever asked for it. Its exit descriptor, or a
 * copy, says which is meant, so that it is never another that got the same pid later; if that is
 * -1, it is whichever child of this server has the pid now. Never a process that is not the
 * server's child. One that has ended this moment may count still.
 *
 *   -ESRCH   it has ended, or there never was one
 *   -EPERM   also one that the server may not signal: kill(2)
 *   -EINVAL  no child, no pid, no such signal
 *   -EBADF   the exit descriptor is neither -1 nor open; -ENOTSOCK: nor an exit descriptor
 *   and what every request can have
 */
HARK_PUBLIC int hark_forkserver_kill(struct hark_forkserver *server, const struct hark_child *child,
                                     int signal_number);

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

/* Ends the server only, and waits for it, two seconds at most (then it is killed). Children live
 * on; their exit descriptors see the end of file. -EPERM: not the starter; -EPIPE: it was gone
 * before; what every request can have. */
HARK_PUBLIC int hark_forkserver_stop_server(struct hark_forkserver *server);

/* Closes the connection. The starter's: ends the server first if it still runs, as
 * hark_forkserver_stop_server() does. In a process that inherited the handle by fork(): closes it
 * there. */
HARK_PUBLIC struct hark_forkserver *hark_forkserver_free(struct hark_forkserver *server);

/* ---- Passing descriptors --------------------------------------------------------------------- */

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
