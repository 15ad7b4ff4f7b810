/* SPDX-License-Identifier: MIT */
/*
 * What a client says to its fork server.
 *
 * Both are processes on one machine, and of one image unless the client is a program that was
 * spawned with a connection, so the numbers are native; what arrives is checked as if a stranger
 * had sent it all the same.
 *
 * A program learns what it needs from struct forkserver_hello, one message that waits in its
 * connection, and is only ever peeked at: others may get copies of the connection.
 *
 * A request is one SOCK_SEQPACKET message: struct forkserver_request, then, for a spawn, the body.
 * With it come descriptors, in this order, and the sender's SCM_CREDENTIALS:
 *
 * - the reply channel: one end of a SOCK_SEQPACKET pair made for this request;
 * - FORKSERVER_WITH_SOCKET: the child's end of a socket pair;
 * - FORKSERVER_WITH_EXIT: the exit channel, one end of a SOCK_SEQPACKET pair;
 * - for a spawn, the descriptors of the program: those of n_fds that are not in null_fds;
 * - FORKSERVER_WITH_MEMFD: a sealed memfd with the body, when that is larger than
 *   FORKSERVER_INLINE_MAX.
 *
 * The body of a spawn: n_limits of struct forkserver_limit; n_groups of uint32_t; then a row of
 * strings, each with its NUL: the program, the directory if there is one, the arguments, the
 * environment if there is one; nothing after them. That of a call is its data.
 *
 * Before a request with FORKSERVER_WITH_IDENTITY, its reply channel carries the sender's claims:
 * forkserver-rights.h.
 *
 * The reply is one struct forkserver_reply on the reply channel. No reply but the end of the
 * channel means that the request was not understood, or that the server is gone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libhark/hark.h"

#define FORKSERVER_VERSION     UINT32_C(0x68726b03)
#define FORKSERVER_COOKIE_SIZE 16
/* Larger bodies travel in a memfd: a message must fit the socket's send buffer. */
#define FORKSERVER_INLINE_MAX ((size_t)64 * 1024)
/* More than execve(2) takes (its strings and pointers end at 6 MiB), so that it alone decides. */
#define FORKSERVER_BODY_MAX ((size_t)8 * 1024 * 1024)

enum forkserver_request_type {
    FORKSERVER_SPAWN = 1,
    FORKSERVER_FORK,
    FORKSERVER_KILL_ALL, /* number: the signal */
    FORKSERVER_STOP,     /* number: milliseconds, or -1 */
    FORKSERVER_STOP_SERVER,
    FORKSERVER_CALL, /* entry: the function; the body: its data */
    FORKSERVER_KILL, /* number: the signal; entry: the pid; exit_cookie: of that child, or 0 */
};

enum forkserver_request_flags {
    FORKSERVER_WITH_SOCKET = 1 << 0,
    FORKSERVER_WITH_EXIT = 1 << 1,
    FORKSERVER_WITH_CONNECTION = 1 << 2,
    FORKSERVER_WITH_DIRECTORY = 1 << 3,
    FORKSERVER_WITH_ENVIRONMENT = 1 << 4,
    FORKSERVER_WITH_MEMFD = 1 << 5,
    FORKSERVER_WITH_IDENTITY = 1 << 6,
};

struct forkserver_limit {
    uint64_t soft, hard; /* UINT64_MAX: none */
    uint32_t resource;
    uint32_t zero;
};
_Static_assert(sizeof(struct forkserver_limit) == 24, "no padding goes over the wire");

/* Every field that a type has no use for is 0. */
struct forkserver_request {
    uint32_t version; /* FORKSERVER_VERSION */
    uint32_t type;
    uint32_t flags;
    uint32_t n_fds;       /* of the program, those in null_fds included */
    uint32_t n_arguments; /* at least 1 */
    uint32_t n_environment;
    uint32_t n_limits;
    uint32_t n_groups; /* this and the next two: FORKSERVER_WITH_IDENTITY */
    uint32_t uid, gid;
    uint32_t body_size;
    int32_t number;
    int64_t entry; /* a fork, a call: the function's distance from forkserver_anchor */
    /* FORKSERVER_WITH_EXIT: of the client's end of the exit channel (SO_COOKIE), which no other
     * socket ever has: the child's name that is never used again, other than its pid. */
    uint64_t exit_cookie;
    uint8_t cookie[FORKSERVER_COOKIE_SIZE];         /* made at start: who has it, has our memory */
    uint8_t null_fds[(HARK_SPAWN_FDS_MAX + 7) / 8]; /* bit i: descriptor i is /dev/null */
};
_Static_assert(sizeof(struct forkserver_request) == 112, "no padding goes over the wire");

struct forkserver_reply {
    int32_t result; /* 0 or positive, or a negative errno */
    int32_t value;  /* the pid of the new child, in the server's namespace; what a call returned */
};

struct forkserver_hello {
    uint32_t version; /* FORKSERVER_VERSION */
    uint8_t cookie[FORKSERVER_COOKIE_SIZE];
};

/* Where entry points are measured from. */
extern const char forkserver_anchor[1];

bool forkserver_fd_is_null(const struct forkserver_request *request, size_t i);

/* Whether a message of that size, with that many descriptors, can be what it says.
 * 0; -EBADMSG: whoever sent it is no client of ours. */
int forkserver_request_check(const struct forkserver_request *request, size_t size, size_t n_fds);

/* The parts of a spawn's body; program, directory and the strings of the lists lie in it. */
struct forkserver_strings {
    const char *program;
    const char *directory;    /* or NULL */
    const char **arguments;   /* NULL-terminated */
    const char **environment; /* NULL-terminated, or NULL */
    const char **list;        /* what forkserver_strings_done() frees, as these: */
    struct forkserver_limit *limits;
    gid_t *groups;
};

/* Takes a body of request->body_size bytes apart. 0; -EBADMSG; -ENOMEM. */
int forkserver_body_parse(const struct forkserver_request *request, const char *body,
                          struct forkserver_strings *ret_strings);
void forkserver_strings_done(struct forkserver_strings *strings);

/* Fills in what a spawn needs but version, cookie and channels, and makes its body, to be freed. 0;
 * -EINVAL for what hark.h does not allow; -E2BIG for more strings or descriptors than can be;
 * -EBADF; -ENOMEM. */
int forkserver_spawn_encode(const struct hark_spawn *spawn, struct forkserver_request *request,
                            char **ret_body);

/* A sealed memfd that holds the body, and back. The reader refuses whatever could change or block
 * under its hands. A negative errno of memfd_create(2) and write(2), -EBADMSG, -ENOMEM. */
int forkserver_body_to_memfd(const char *body, size_t size);
int forkserver_body_from_memfd(int fd, size_t size, char **ret_body);
