/* SPDX-License-Identifier: MIT */
/*
 * What [Socket] says, checked and with its defaults.
 *
 *     r = unit_file_load(&options, "foo.socket", NULL, &problems, &file);
 *     r = socket_unit_new(file, &problems, &unit);
 *     if (problems.n_errors > 0)
 *         ... unit may be shown, but not used ...
 *     socket_unit_free(unit);
 *     unit_file_free(file);
 *
 * Nothing is looked up here but interface names: users, files and sockets are the business of
 * whoever listens.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "unit/command-line.h"
#include "unit/exec-context.h"
#include "unit/problem.h"
#include "unit/string-list.h"
#include "unit/unit-file.h"

enum listener_kind {
    LISTENER_STREAM,
    LISTENER_DATAGRAM,
    LISTENER_SEQPACKET,
    LISTENER_FIFO,
    LISTENER_SPECIAL,
    LISTENER_NETLINK,
    LISTENER_MESSAGE_QUEUE,
};

struct socket_listener {
    enum listener_kind kind;
    /* After specifiers: what address_parse() takes; a path, without /var/run; "FAMILY GROUP"; the
     * name of a message queue. */
    char *address;
    const char *file; /* of the unit_file */
    unsigned line;
};

struct listener_list {
    struct socket_listener *items;
    size_t n;
};

enum ipv6_only {
    IPV6_ONLY_DEFAULT, /* what the system does */
    IPV6_ONLY_BOTH,
    IPV6_ONLY_YES,
};

enum socket_timestamping {
    TIMESTAMPING_OFF,
    TIMESTAMPING_US,
    TIMESTAMPING_NS,
};

/* Overflow= of [X-Hark]: what becomes of a connection beyond MaxConnections=. */
enum socket_overflow {
    SOCKET_OVERFLOW_CLOSE, /* as systemd */
    SOCKET_OVERFLOW_WAIT,  /* it stays in the backlog */
};

#define SOCKET_FORK_SERVERS_MAX 256

/* So many in so long; either 0 means without limit. */
struct rate_limit {
    uint64_t interval; /* microseconds */
    unsigned burst;
};

struct socket_unit {
    const struct unit_file *file;

    struct listener_list listeners; /* in their order */
    bool is_adopted;                /* Accept= and Service= are those of [X-Hark] */
    bool accept;
    char *service_key; /* Service= as given, or NULL */
    char *service;     /* the service, or with accept the template ("foo@.service"), never NULL */
    char *fd_name;     /* of every descriptor; with accept it is "connection" */
    char *passed_name; /* of listeners that are passed to hark: the same, but with accept, too, what
                          FileDescriptorName= says */
    struct string_list symlinks;
    bool remove_on_stop;
    bool writable;      /* ListenSpecial= */
    bool flush_pending; /* without accept */

    char *socket_user, *socket_group; /* names or numbers; NULL: not set */
    mode_t socket_mode, directory_mode;

    unsigned max_connections;            /* with accept */
    unsigned max_connections_per_source; /* 0: without limit */
    struct rate_limit trigger_limit, poll_limit;
    enum socket_overflow overflow;
    unsigned fork_servers; /* ForkServers= of [X-Hark]; 0: as many as suit the machine */

    /* Options of sockets. Where nothing is said of a default it is "leave it alone". */
    int protocol; /* IPPROTO_UDPLITE, IPPROTO_SCTP, IPPROTO_MPTCP, or 0 */
    enum ipv6_only ipv6_only;
    unsigned backlog;
    char *device; /* BindToDevice=, or NULL */
    bool keep_alive;
    uint64_t keep_alive_time, keep_alive_interval; /* microseconds; 0 */
    unsigned keep_alive_probes;                    /* 0 */
    bool no_delay;
    int priority;                         /* -1 */
    uint64_t defer_accept;                /* microseconds; 0 */
    uint64_t receive_buffer, send_buffer; /* bytes; 0 */
    int ip_tos, ip_ttl, mark;             /* -1 */
    bool reuse_port, free_bind, transparent, broadcast;
    bool pass_credentials, pass_security, pass_packet_info, pass_pidfd;
    bool accept_file_descriptors; /* yes */
    enum socket_timestamping timestamping;
    char *tcp_congestion;                        /* NULL */
    uint64_t pipe_size;                          /* bytes; 0 */
    long queue_max_messages, queue_message_size; /* both above 0, or the system's */

    struct command_list exec_start_pre, exec_start_post, exec_stop_pre, exec_stop_post;
    bool pass_descriptors_to_exec; /* to all but exec_start_pre */
    uint64_t timeout;              /* of each of them; microseconds, TIME_INFINITY */
    struct exec_context exec;      /* of them all */
};

/* The unit of a file, which must outlive it. 0 also when there are errors, which are then in
 * problems; -EINVAL for what is not a .socket; -ENOMEM. */
int socket_unit_new(const struct unit_file *file, struct problems *problems,
                    struct socket_unit **ret_unit);
struct socket_unit *socket_unit_free(struct socket_unit *unit);

/* The last use of "Accept" or "Service" that counts: in [X-Hark], where that has one of the two,
 * else in [Socket]. NULL for none. */
const struct directive_use *socket_unit_use(const struct socket_unit *unit, const char *key);

/* "ListenStream", … */
const char *listener_key(enum listener_kind kind);
