/* SPDX-License-Identifier: MIT */
/*
 * A Varlink server (https://varlink.org) in an sd-event loop that has better things to do.
 *
 *     static int ping(struct varlink_call *call, void *userdata)
 *     {
 *         return varlink_reply(call, json_pack("{s:O}", "pong", varlink_call_parameters(call)));
 *     }
 *
 * org.varlink.service is answered here: GetInfo, GetInterfaceDescription, and the errors for what
 * there is not. A request to upgrade is MethodNotImplemented.
 *
 * The requests of a connection are answered one after the other, in their order: the next is looked
 * at when the present one has been answered and that answer has left for the socket. A stream ends
 * when its client closes. A client that only shuts its sending side gets all its answers.
 *
 * No client can hurt:
 * - Only root, this process' effective uid and the uids in the options are served; anybody else is
 *   sent PermissionDenied and closed.
 * - Everything is bounded: the size and depth of a request (varlink-message.h), the connections,
 *   those of one uid, what is queued for one (VARLINK_STREAM_MAX for a stream, one answer else).
 * - A request that does not become whole, an answer of which nothing is read, ends the connection
 *   after timeout_usec. Silence does not, unless there are too many connections: then the one that
 *   is silent for longest, and for a fifth of timeout_usec, makes room. Who finds none waits in the
 *   backlog; who has too many for one uid is closed.
 * - What is no request ends its connection without a word.
 * - Every turn of the loop does at most one request of one connection, at the given priority.
 * - Nothing blocks; without descriptors or memory it waits a moment with the next connection.
 * - When nobody asks anything, nothing wakes up.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "varlink/varlink-message.h"

/* Bytes that may be queued for a client that streams, behind those in its socket. */
#define VARLINK_STREAM_MAX ((size_t)256 * 1024)

struct varlink_server;
struct varlink_call;

/* Answers the call now, or keeps it (varlink_call_ref) and answers later. A negative errno, or
 * letting an unanswered call go, closes the connection. Must not free the server. */
typedef int (*varlink_method_function)(struct varlink_call *call, void *userdata);

struct varlink_method {
    const char *name; /* "Method" */
    varlink_method_function function;
    bool needs_more; /* a call without "more" is answered with ExpectedMore */
};

struct varlink_interface {
    const char *name;        /* "org.example.I" */
    const char *description; /* its text in the interface definition language */
    const struct varlink_method *methods;
    size_t n_methods;
};

/* All that is pointed to must outlive the server. */
struct varlink_server_options {
    int fd; /* a listening Unix stream socket; stays the caller's; is made non-blocking */
    const char *vendor, *product, *version, *url; /* for GetInfo */
    const struct varlink_interface *interfaces;   /* besides org.varlink.service */
    size_t n_interfaces;
    const uid_t *uids; /* who else may call */
    size_t n_uids;
    int64_t priority; /* of all its sources, as sd_event_source_set_priority(3) has it */
    void *userdata;   /* for the methods */
    size_t max_connections, max_connections_per_uid; /* 0: 64, 16; root has no limit of its own */
    uint64_t timeout_usec;                           /* 0: 5 s */
};

/* 0; -EINVAL for a descriptor that does not listen, -ENOMEM, another errno of sd-event's. */
int varlink_server_new(sd_event *event, const struct varlink_server_options *options,
                       struct varlink_server **ret_server);
/* Ends every connection; the keepers of calls are told from in here. Returns NULL. */
struct varlink_server *varlink_server_free(struct varlink_server *server);

/* How many connections there are. */
size_t varlink_server_connections(const struct varlink_server *server);

/* ---- A call --------------------------------------------------------------------------------- */

/* Never NULL: an object, the call's. */
json_t *varlink_call_parameters(const struct varlink_call *call);
/* Who connected, at that time. */
const struct ucred *varlink_call_peer(const struct varlink_call *call);
/* Whether the client takes more than one reply. */
bool varlink_call_wants_more(const struct varlink_call *call);
/* Whether it wants no answer: any is swallowed, and none is needed. */
bool varlink_call_is_oneway(const struct varlink_call *call);

/* Keeping a call for later. Both return what they are useful for: the call, and NULL. */
struct varlink_call *varlink_call_ref(struct varlink_call *call);
struct varlink_call *varlink_call_unref(struct varlink_call *call);
/* ended() is called once if the connection ends before the call is answered: the place to unref.
 * Always from the loop or varlink_server_free(), never from within another function of this. */
void varlink_call_on_end(struct varlink_call *call,
                         void (*ended)(struct varlink_call *call, void *userdata), void *userdata);

/*
 * The answers. Each takes the parameters over, also when it fails; NULL is what jansson could not
 * make: -ENOMEM. For none it is json_object(). None of them calls back.
 *
 * 0; -EALREADY when the call has been answered; -EPIPE when its connection has ended, or will as
 * soon as the loop turns; -EMSGSIZE for more than VARLINK_REPLY_MAX bytes (it can be answered
 * still: with an error); -ENOMEM.
 */
int varlink_reply(struct varlink_call *call, json_t *parameters);
/* One of several: the last is varlink_reply() or varlink_error(). Also -EPROTO when the client did
 * not ask for more than one; -ENOBUFS when it reads too slowly: this one is left out, as is every
 * other until it has read all that is queued. */
int varlink_reply_more(struct varlink_call *call, json_t *parameters);
/* room() is called each time that replies were left out and there is room again: the place to say
 * so. From the loop. */
void varlink_call_on_room(struct varlink_call *call,
                          void (*room)(struct varlink_call *call, void *userdata), void *userdata);
int varlink_error(struct varlink_call *call, const char *error, json_t *parameters);
/* InvalidParameter, with the name of the parameter. */
int varlink_invalid_parameter(struct varlink_call *call, const char *name);
