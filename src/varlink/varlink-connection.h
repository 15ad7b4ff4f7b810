/* SPDX-License-Identifier: MIT */
/* What the files of the server share. A connection reads, has one call answered, writes; the server
 * accepts, counts and times. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "varlink/varlink-message.h"
#include "varlink/varlink-server.h"

enum varlink_deadline {
    VARLINK_DEADLINE_NONE,
    VARLINK_DEADLINE_REQUEST, /* half a request is there */
    VARLINK_DEADLINE_ANSWER,  /* an answer waits to be read */
};

struct varlink_connection {
    struct varlink_server *server;
    struct varlink_connection *previous, *next;
    int fd;
    struct ucred peer;
    sd_event_source *io;
    struct varlink_buffer input, output;
    struct varlink_call *call; /* the one to be answered; its keepers own it */
    bool at_end;               /* the client sends no more */
    bool broken;               /* to be closed from the loop */
    bool is_full;              /* of a stream's: a reply was left out, and more will be */
    enum varlink_deadline deadline;
    uint64_t deadline_usec;
    uint64_t idle_usec; /* silent since; UINT64_MAX: it is not */
};

struct varlink_server {
    struct varlink_server_options options;
    sd_event *event;
    sd_event_source *listener, *timer;
    struct varlink_connection *connections; /* newest first */
    size_t n_connections;
    bool wants_room;      /* does not listen until there is some */
    uint64_t accept_usec; /* does not listen until then; UINT64_MAX: it does */
};

/* Adds a connection to the server's. Takes fd over, also when it fails. */
int varlink_connection_new(struct varlink_server *server, int fd, const struct ucred *peer);
/* Its deadline has passed: closes it, unless it was this process that did not come to it. */
void varlink_connection_expire(struct varlink_connection *connection);
/* Takes it out, tells who keeps its call, frees it. */
void varlink_connection_close(struct varlink_connection *connection);

/* The server's part: a deadline, or a connection's being idle, has changed; one has ended. */
void varlink_server_arm(struct varlink_server *server);
void varlink_server_has_room(struct varlink_server *server);

/* org.varlink.service. */
extern const struct varlink_interface varlink_service;
/* The interface of that name; NULL. */
const struct varlink_interface *varlink_find_interface(const struct varlink_server *server,
                                                       const char *name, size_t length);
/* The server of a call that has not been answered. */
const struct varlink_server *varlink_call_server(const struct varlink_call *call);
