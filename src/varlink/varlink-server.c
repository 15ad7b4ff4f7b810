/* SPDX-License-Identifier: MIT */
/* Who may connect, how many, for how long. */
#include "varlink/varlink-server.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "varlink/varlink-connection.h"

#define CONNECTIONS_MAX         64
#define CONNECTIONS_MAX_PER_UID 16
#define TIMEOUT_USEC            (5 * USEC_PER_SEC)
#define ACCURACY_USEC           (20 * USEC_PER_MSEC)
#define ACCEPT_RETRY_USEC       (100 * USEC_PER_MSEC)

/* ---- Time ----------------------------------------------------------------------------------- */

/* Whoever is silent for less may be about to ask. */
static uint64_t grace(const struct varlink_server *server)
{
    return server->options.timeout_usec / 5;
}

static uint64_t next_due(const struct varlink_server *server)
{
    uint64_t due = server->accept_usec;

    for (const struct varlink_connection *c = server->connections; c != NULL; c = c->next) {
        if (c->deadline_usec < due)
            due = c->deadline_usec;
        if (server->wants_room && c->idle_usec != UINT64_MAX && c->idle_usec + grace(server) < due)
            due = c->idle_usec + grace(server);
    }
    return due;
}

void varlink_server_arm(struct varlink_server *server)
{
    uint64_t due = next_due(server);

    if (due == UINT64_MAX) {
        (void)sd_event_source_set_enabled(server->timer, SD_EVENT_OFF);
        return;
    }
    (void)sd_event_source_set_time(server->timer, due);
    (void)sd_event_source_set_enabled(server->timer, SD_EVENT_ONESHOT);
}

static void listen_again(struct varlink_server *server)
{
    server->wants_room = false;
    server->accept_usec = UINT64_MAX;
    (void)sd_event_source_set_enabled(server->listener, SD_EVENT_ON);
}

void varlink_server_has_room(struct varlink_server *server)
{
    if (server->wants_room)
        listen_again(server);
    varlink_server_arm(server);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct varlink_server *server = userdata;
    uint64_t now = monotonic_usec();
    struct varlink_connection *next;

    (void)source;
    (void)usec;
    for (struct varlink_connection *c = server->connections; c != NULL; c = next) {
        next = c->next;
        if (c->deadline_usec <= now)
            varlink_connection_expire(c);
    }
    /* If there is still no room, the listener will say so. */
    if (server->accept_usec <= now || server->wants_room)
        listen_again(server);
    varlink_server_arm(server);
    return 0;
}

/* ---- Accepting ------------------------------------------------------------------------------ */

/* Closes the one that is silent for longest, of any uid or of that one. */
static bool make_room(struct varlink_server *server, const uid_t *uid)
{
    struct varlink_connection *victim = NULL;

    for (struct varlink_connection *c = server->connections; c != NULL; c = c->next)
        if ((uid == NULL || c->peer.uid == *uid) && c->idle_usec != UINT64_MAX &&
            (victim == NULL || c->idle_usec < victim->idle_usec))
            victim = c;
    if (victim == NULL || monotonic_usec() - victim->idle_usec < grace(server))
        return false;
    varlink_connection_close(victim);
    return true;
}

static bool is_allowed(const struct varlink_server *server, uid_t uid)
{
    if (uid == 0 || uid == geteuid())
        return true;
    for (size_t i = 0; i < server->options.n_uids; i++)
        if (server->options.uids[i] == uid)
            return true;
    return false;
}

static bool has_room_for(struct varlink_server *server, uid_t uid)
{
    size_t n = 0;

    if (uid == 0)
        return true;
    for (const struct varlink_connection *c = server->connections; c != NULL; c = c->next)
        if (c->peer.uid == uid)
            n++;
    return n < server->options.max_connections_per_uid || make_room(server, &uid);
}

/* Whatever it was going to ask. */
static void refuse(int fd)
{
    struct varlink_buffer buffer = {0};
    cleanup(varlink_json_unref) json_t *message =
        varlink_make_error(VARLINK_ERROR_PERMISSION_DENIED, json_object());

    if (message != NULL && varlink_buffer_append(&buffer, message, VARLINK_REPLY_MAX) == 0)
        (void)varlink_buffer_send(&buffer, fd);
    varlink_buffer_done(&buffer);
}

static void welcome(struct varlink_server *server, int fd)
{
    cleanup_close int owned = fd;
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return;
    if (!is_allowed(server, peer.uid))
        refuse(fd);
    else if (has_room_for(server, peer.uid))
        (void)varlink_connection_new(server, take_fd(&owned), &peer);
}

static int on_listener(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct varlink_server *server = userdata;

    (void)events;
    if (server->n_connections >= server->options.max_connections && !make_room(server, NULL)) {
        server->wants_room = true;
    } else {
        int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (connection >= 0) {
            welcome(server, connection);
            return 0;
        }
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            return 0;
        /* No descriptors, no memory: it would be ready again at once. */
        server->accept_usec = monotonic_usec() + ACCEPT_RETRY_USEC;
    }
    (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    varlink_server_arm(server);
    return 0;
}

/* ---- Life ----------------------------------------------------------------------------------- */

static void server_cleanup(struct varlink_server **server)
{
    varlink_server_free(*server);
}

int varlink_server_new(sd_event *event, const struct varlink_server_options *options,
                       struct varlink_server **ret_server)
{
    int listening = 0;
    socklen_t size = sizeof(listening);

    if (getsockopt(options->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || !listening)
        return -EINVAL;
    int r = fd_set_nonblocking(options->fd, true);
    if (r < 0)
        return r;

    cleanup(server_cleanup) struct varlink_server *server = calloc(1, sizeof(*server));
    if (server == NULL)
        return -ENOMEM;
    server->options = *options;
    server->event = sd_event_ref(event);
    server->accept_usec = UINT64_MAX;
    if (options->max_connections == 0)
        server->options.max_connections = CONNECTIONS_MAX;
    if (options->max_connections_per_uid == 0)
        server->options.max_connections_per_uid = CONNECTIONS_MAX_PER_UID;
    if (options->timeout_usec == 0)
        server->options.timeout_usec = TIMEOUT_USEC;
    r = sd_event_add_io(event, &server->listener, options->fd, EPOLLIN, on_listener, server);
    if (r >= 0)
        r = sd_event_source_set_priority(server->listener, options->priority);
    if (r >= 0)
        r = sd_event_add_time(event, &server->timer, CLOCK_MONOTONIC, 0, ACCURACY_USEC, on_timer,
                              server);
    if (r >= 0)
        r = sd_event_source_set_priority(server->timer, options->priority);
    if (r >= 0)
        r = sd_event_source_set_enabled(server->timer, SD_EVENT_OFF);
    if (r < 0)
        return r;
    *ret_server = take_pointer(&server);
    return 0;
}

struct varlink_server *varlink_server_free(struct varlink_server *server)
{
    if (server == NULL)
        return NULL;
    while (server->connections != NULL)
        varlink_connection_close(server->connections);
    sd_event_source_disable_unref(server->listener);
    sd_event_source_disable_unref(server->timer);
    sd_event_unref(server->event);
    free(server);
    return NULL;
}

size_t varlink_server_connections(const struct varlink_server *server)
{
    return server->n_connections;
}
