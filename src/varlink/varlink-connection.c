/* SPDX-License-Identifier: MIT */
/* One connection: its requests, one after the other, and what is answered. */
#include "varlink/varlink-connection.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "basic/cleanup.h"
#include "basic/clock.h"

struct varlink_call {
    unsigned int references;
    struct varlink_connection *connection; /* NULL: answered, or gone */
    struct varlink_request request;
    struct ucred peer;
    bool answered;
    void (*ended)(struct varlink_call *call, void *userdata);
    void *ended_userdata;
    void (*room)(struct varlink_call *call, void *userdata);
    void *room_userdata;
};

/* ---- What a connection waits for ------------------------------------------------------------ */

/* Nothing is being answered: the next request may come. */
static bool is_ready(const struct varlink_connection *connection)
{
    return connection->call == NULL && varlink_buffer_length(&connection->output) == 0 &&
           !connection->broken;
}

static enum varlink_deadline wanted_deadline(struct varlink_connection *connection)
{
    if (connection->call != NULL || connection->broken)
        return VARLINK_DEADLINE_NONE;
    if (varlink_buffer_length(&connection->output) > 0 ||
        varlink_buffer_has_message(&connection->input)) /* waits for room too: see update() */
        return VARLINK_DEADLINE_ANSWER;
    if (varlink_buffer_length(&connection->input) > 0)
        return VARLINK_DEADLINE_REQUEST;
    return VARLINK_DEADLINE_NONE;
}

/* There is progress: its times begin anew. */
static void renew_times(struct varlink_connection *connection)
{
    connection->deadline = VARLINK_DEADLINE_NONE;
    connection->deadline_usec = connection->idle_usec = UINT64_MAX;
}

static void update_times(struct varlink_connection *connection)
{
    enum varlink_deadline deadline = wanted_deadline(connection);
    bool idle = is_ready(connection) && varlink_buffer_length(&connection->input) == 0;

    if (deadline == connection->deadline && idle == (connection->idle_usec != UINT64_MAX))
        return;
    uint64_t now = monotonic_usec();
    if (deadline != connection->deadline) {
        connection->deadline = deadline;
        connection->deadline_usec = deadline == VARLINK_DEADLINE_NONE
                                        ? UINT64_MAX
                                        : now + connection->server->options.timeout_usec;
    }
    if (!idle)
        connection->idle_usec = UINT64_MAX;
    else if (connection->idle_usec == UINT64_MAX)
        connection->idle_usec = now;
    varlink_server_arm(connection->server);
}

/* After every change. What can be done without waiting for the client, the next request that came
 * with the last one, waits for room in the socket: there is some unless answers are not read. (A
 * defer source would always come before those of other clients.) */
static void update(struct varlink_connection *connection)
{
    uint32_t events = 0;

    if (varlink_buffer_length(&connection->input) == 0)
        varlink_buffer_done(&connection->input); /* silence costs no memory */
    if (is_ready(connection)) {
        if (varlink_buffer_has_message(&connection->input))
            events = EPOLLOUT;
        else if (connection->at_end)
            connection->broken = true;
        else
            events = EPOLLIN;
    } else if (varlink_buffer_length(&connection->output) > 0) {
        events = EPOLLOUT;
    }
    if (sd_event_source_set_io_events(connection->io, events) < 0)
        connection->broken = true;
    if (connection->broken)
        (void)shutdown(connection->fd, SHUT_RDWR); /* EPOLLHUP, which nothing masks */
    update_times(connection);
}

/* ---- Answers -------------------------------------------------------------------------------- */

static void finish(struct varlink_call *call)
{
    struct varlink_connection *connection = call->connection;

    call->answered = true;
    call->connection = NULL;
    connection->call = NULL;
    update(connection);
}

static int send_output(struct varlink_connection *connection)
{
    size_t before = varlink_buffer_length(&connection->output);
    int r = varlink_buffer_send(&connection->output, connection->fd);

    if (r < 0) {
        connection->broken = true;
        return -EPIPE;
    }
    /* A Unix socket takes more when most of what it held has been read: that is worth more time. */
    if (varlink_buffer_length(&connection->output) < before)
        renew_times(connection);
    return 0;
}

static int queue_message(struct varlink_connection *connection, const json_t *message, bool final)
{
    bool first = varlink_buffer_length(&connection->output) == 0;

    /* Not by one message in and one out: who is told of a gap shall be told of a whole one. */
    connection->is_full |= varlink_buffer_length(&connection->output) > VARLINK_STREAM_MAX;
    if (connection->is_full && !final)
        return -ENOBUFS;
    int r = varlink_buffer_append(&connection->output, message, VARLINK_REPLY_MAX);
    if (r < 0)
        return r;
    return first ? send_output(connection) : 0;
}

static void tell_room(struct varlink_connection *connection)
{
    struct varlink_call *call = connection->call;

    if (!connection->is_full || connection->broken ||
        varlink_buffer_length(&connection->output) > 0)
        return;
    connection->is_full = false;
    if (call != NULL && call->room != NULL)
        call->room(call, call->room_userdata);
}

/* Takes the message over. */
static int answer(struct varlink_call *call, json_t *taken, bool final)
{
    cleanup(varlink_json_unref) json_t *message = taken;
    struct varlink_connection *connection = call->connection;
    int r = 0;

    if (call->answered)
        return -EALREADY;
    if (connection == NULL || connection->broken)
        return -EPIPE;
    if (message == NULL)
        return -ENOMEM;
    if (!call->request.oneway) {
        r = queue_message(connection, message, final);
        if (r < 0 && !connection->broken)
            return r;
    }
    if (r == 0 && final)
        finish(call);
    else
        update(connection);
    return r;
}

int varlink_reply(struct varlink_call *call, json_t *parameters)
{
    return answer(call, varlink_make_reply(parameters, false), true);
}

int varlink_reply_more(struct varlink_call *call, json_t *parameters)
{
    if (!call->request.more && !call->request.oneway) {
        json_decref(parameters);
        return -EPROTO;
    }
    return answer(call, varlink_make_reply(parameters, true), false);
}

int varlink_error(struct varlink_call *call, const char *error, json_t *parameters)
{
    return answer(call, varlink_make_error(error, parameters), true);
}

int varlink_invalid_parameter(struct varlink_call *call, const char *name)
{
    return varlink_error(call, VARLINK_ERROR_INVALID_PARAMETER,
                         json_pack("{s:s}", "parameter", name));
}

/* ---- Calls ---------------------------------------------------------------------------------- */

json_t *varlink_call_parameters(const struct varlink_call *call)
{
    return call->request.parameters;
}

const struct ucred *varlink_call_peer(const struct varlink_call *call)
{
    return &call->peer;
}

bool varlink_call_wants_more(const struct varlink_call *call)
{
    return call->request.more;
}

bool varlink_call_is_oneway(const struct varlink_call *call)
{
    return call->request.oneway;
}

const struct varlink_server *varlink_call_server(const struct varlink_call *call)
{
    return call->connection->server;
}

struct varlink_call *varlink_call_ref(struct varlink_call *call)
{
    call->references++;
    return call;
}

struct varlink_call *varlink_call_unref(struct varlink_call *call)
{
    if (call == NULL || --call->references > 0)
        return NULL;
    if (call->connection != NULL) {
        if (!call->request.oneway)
            call->connection->broken = true; /* its client would wait for ever */
        finish(call);
    }
    varlink_request_done(&call->request);
    free(call);
    return NULL;
}

void varlink_call_on_end(struct varlink_call *call,
                         void (*ended)(struct varlink_call *call, void *userdata), void *userdata)
{
    call->ended = ended;
    call->ended_userdata = userdata;
}

void varlink_call_on_room(struct varlink_call *call,
                          void (*room)(struct varlink_call *call, void *userdata), void *userdata)
{
    call->room = room;
    call->room_userdata = userdata;
}

static int run_method(struct varlink_call *call)
{
    const struct varlink_server *server = call->connection->server;
    const char *full = call->request.method, *dot = strrchr(full, '.');

    if (dot == NULL)
        return varlink_invalid_parameter(call, "method");
    const struct varlink_interface *interface =
        varlink_find_interface(server, full, (size_t)(dot - full));
    if (interface == NULL)
        return varlink_error(call, VARLINK_ERROR_INTERFACE_NOT_FOUND,
                             json_pack("{s:s%}", "interface", full, (size_t)(dot - full)));
    for (size_t i = 0; i < interface->n_methods; i++) {
        const struct varlink_method *method = &interface->methods[i];

        if (strcmp(method->name, dot + 1) != 0)
            continue;
        if (call->request.upgrade)
            return varlink_error(call, VARLINK_ERROR_METHOD_NOT_IMPLEMENTED,
                                 json_pack("{s:s}", "method", full));
        if (method->needs_more && !call->request.more)
            return varlink_error(call, VARLINK_ERROR_EXPECTED_MORE, json_object());
        return method->function(call, server->options.userdata);
    }
    return varlink_error(call, VARLINK_ERROR_METHOD_NOT_FOUND, json_pack("{s:s}", "method", full));
}

/* ---- Requests ------------------------------------------------------------------------------- */

static int handle_message(struct varlink_connection *connection, const char *text, size_t length)
{
    struct varlink_call *call = calloc(1, sizeof(*call));

    if (call == NULL)
        return -ENOMEM;
    int r = varlink_request_parse(text, length, &call->request);
    if (r < 0) {
        free(call);
        return r;
    }
    call->references = 1;
    call->peer = connection->peer;
    call->connection = connection;
    connection->call = call;
    r = run_method(call);
    varlink_call_unref(call);
    return r;
}

static void work(struct varlink_connection *connection)
{
    const char *text;
    size_t length;

    if (!is_ready(connection) || !varlink_buffer_next(&connection->input, &text, &length))
        return;
    renew_times(connection);
    if (handle_message(connection, text, length) < 0)
        connection->broken = true;
}

static void receive(struct varlink_connection *connection)
{
    int r = varlink_buffer_receive(&connection->input, connection->fd, VARLINK_REQUEST_MAX);

    if (r == 0)
        connection->at_end = true;
    else if (r < 0 && r != -EAGAIN && r != -EINTR)
        connection->broken = true;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct varlink_connection *connection = userdata;

    (void)source;
    (void)fd;
    if (events & EPOLLOUT)
        (void)send_output(connection);
    tell_room(connection);
    if (!is_ready(connection)) {
        if (events & (EPOLLHUP | EPOLLERR)) /* nobody is there to read an answer */
            connection->broken = true;
    } else if ((events & ~(uint32_t)EPOLLOUT) != 0 && !connection->at_end &&
               !varlink_buffer_has_message(&connection->input)) {
        receive(connection);
    }
    work(connection);
    update(connection);
    if (connection->broken)
        varlink_connection_close(connection);
    return 0;
}

void varlink_connection_expire(struct varlink_connection *connection)
{
    struct pollfd poll_fd = {.fd = connection->fd, .events = POLLOUT};
    bool late;

    if (connection->deadline == VARLINK_DEADLINE_REQUEST) {
        receive(connection);
        late = varlink_buffer_has_message(&connection->input);
    } else {
        late = poll(&poll_fd, 1, 0) > 0;
    }
    if (!late || connection->broken) {
        varlink_connection_close(connection);
        return;
    }
    renew_times(connection);
    update(connection);
}

/* ---- Life ----------------------------------------------------------------------------------- */

int varlink_connection_new(struct varlink_server *server, int fd, const struct ucred *peer)
{
    cleanup_close int owned = fd;
    struct varlink_connection *connection = calloc(1, sizeof(*connection));

    if (connection == NULL)
        return -ENOMEM;
    int r = sd_event_add_io(server->event, &connection->io, fd, 0, on_io, connection);
    if (r >= 0)
        r = sd_event_source_set_priority(connection->io, server->options.priority);
    if (r < 0) {
        sd_event_source_disable_unref(connection->io);
        free(connection);
        return r;
    }
    connection->server = server;
    connection->fd = take_fd(&owned);
    connection->peer = *peer;
    connection->deadline_usec = connection->idle_usec = UINT64_MAX;
    connection->next = server->connections;
    if (connection->next != NULL)
        connection->next->previous = connection;
    server->connections = connection;
    server->n_connections++;
    update(connection);
    return 0;
}

void varlink_connection_close(struct varlink_connection *connection)
{
    struct varlink_server *server = connection->server;
    struct varlink_call *call = take_pointer(&connection->call);

    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        server->connections = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    server->n_connections--;
    sd_event_source_disable_unref(connection->io);
    fd_close(connection->fd);
    varlink_buffer_done(&connection->input);
    varlink_buffer_done(&connection->output);
    free(connection);
    varlink_server_has_room(server);
    if (call != NULL) {
        call->connection = NULL;
        if (call->ended != NULL)
            call->ended(call, call->ended_userdata);
    }
}
