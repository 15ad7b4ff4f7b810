/* SPDX-License-Identifier: MIT */
/* hark activate: parse, find the program, take and make the sockets, serve. Nothing is touched
 * before everything that can be checked has been checked. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "basic/cleanup.h"
#include "cli/activate-options.h"
#include "cli/exit-status.h"
#include "cli/handler-environment.h"
#include "cli/program.h"
#include "cli/verbs.h"
#include "libhark/address.h"
#include "libhark/hark.h"
#include "listener/listener.h"
#include "supervisor/log.h"
#include "supervisor/supervisor.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START of sd_listen_fds(3) */

struct activation {
    struct activate_options options;
    char *program;
    struct hark_listener **sockets;
    struct listener **listeners; /* the same, when all of them are there */
    size_t n_sockets, n_passed;  /* the passed ones come first */
    char *fd_names;
    char **environment;
};

static void activation_done(struct activation *activation)
{
    for (size_t i = 0; i < activation->n_sockets; i++) {
        if (activation->listeners != NULL)
            listener_free(activation->listeners[i]);
        hark_listener_free(activation->sockets[i]);
    }
    free(activation->listeners);
    free(activation->sockets);
    free(activation->program);
    free(activation->fd_names);
    handler_environment_free(activation->environment);
    activate_options_done(&activation->options);
}

static int out_of_memory(void)
{
    log_error("out of memory");
    return EXIT_STATUS_FAILURE;
}

/* ---- The program ----------------------------------------------------------------------------- */

static int find_program(struct activation *activation)
{
    const char *name = activation->options.program[0];
    int r = program_find(name, &activation->program);

    if (r >= 0)
        return EXIT_STATUS_OK;
    log_error("cannot run \"%s\": %s", name, strerror(-r));
    return EXIT_STATUS_PROGRAM;
}

/* ---- Passed sockets -------------------------------------------------------------------------- */

static const char *why_not_taken(int error)
{
    switch (error) {
    case -ENOTSOCK:
        return "it is not a socket";
    case -ENOTCONN:
        return "it is a connection-oriented socket that does not listen";
    case -EPROTOTYPE:
        return "it is a socket of another type";
    default:
        return strerror(-error);
    }
}

static int take_passed_socket(struct activation *activation, struct hark_passed *passed, size_t i)
{
    struct hark_listener *listener;
    int r = hark_listener_from_fd(passed->fd, 0, passed->name, &listener);

    if (r < 0) {
        log_error("cannot use passed descriptor %zu (\"%s\"): %s", FIRST_FD + i,
                  passed->name != NULL ? passed->name : "unnamed", why_not_taken(r));
        return EXIT_STATUS_PASSED;
    }
    passed->fd = -1;
    activation->sockets[activation->n_sockets++] = listener;
    if (activation->options.accept && hark_listener_type(listener) == SOCK_DGRAM) {
        log_error("cannot use passed descriptor %zu (\"%s\"): datagram sockets do not accept "
                  "connections, leave --accept out",
                  FIRST_FD + i, hark_listener_address(listener));
        return EXIT_STATUS_PASSED;
    }
    return EXIT_STATUS_OK;
}

static void forget_listen_variables(void)
{
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_PIDFDID");
    (void)unsetenv("LISTEN_FDNAMES");
}

static int take_passed_sockets(struct activation *activation)
{
    struct hark_passed *passed = NULL;
    size_t n = 0;
    int r = hark_passed_fds(&passed, &n), status = EXIT_STATUS_OK;

    forget_listen_variables();
    if (r == -EINVAL) {
        log_error("cannot take the passed sockets: LISTEN_FDS and LISTEN_FDNAMES do not fit each "
                  "other");
        return EXIT_STATUS_PASSED;
    }
    if (r < 0) {
        log_error("cannot take the passed sockets: %s", strerror(-r));
        return EXIT_STATUS_PASSED;
    }
    activation->sockets =
        calloc(n + activation->options.n_listen + 1, sizeof(*activation->sockets));
    if (activation->sockets == NULL)
        status = out_of_memory();
    for (size_t i = 0; i < n && status == EXIT_STATUS_OK; i++)
        status = take_passed_socket(activation, &passed[i], i);
    activation->n_passed = activation->n_sockets;
    hark_passed_free(passed, n);
    return status;
}

/* ---- Listening ------------------------------------------------------------------------------- */

/* True when one of the passed sockets is what -l asks for: the same command line then works with
 * and without somebody who passes it. */
static bool was_passed(const struct activation *activation, const char *text)
{
    struct address address;
    char normal[ADDRESS_TEXT_MAX], ipv4[32] = "";

    if (address_parse(text, &address) < 0)
        return false;
    if (address.path != NULL)
        (void)snprintf(normal, sizeof(normal), "%s", text);
    else if (address_format(&address.socket.generic, address.length, normal, sizeof(normal)) < 0)
        return false;
    if (address.dual_stack)
        (void)snprintf(ipv4, sizeof(ipv4), "0.0.0.0:%s", text);
    for (size_t i = 0; i < activation->n_passed; i++) {
        const char *passed = hark_listener_address(activation->sockets[i]);

        if (hark_listener_type(activation->sockets[i]) == activation->options.type &&
            (strcmp(passed, normal) == 0 || strcmp(passed, ipv4) == 0))
            return true;
    }
    return false;
}

static int explain_listen_error(const struct activation *activation, const char *address, int error)
{
    char text[512];

    listener_explain_address(address, activation->options.type, error, text, sizeof(text));
    log_error("%s", text);
    return error == -EADDRINUSE ? EXIT_STATUS_IN_USE : EXIT_STATUS_CANNOT_LISTEN;
}

/* What can be known of the sockets before one is made. */
static int check_sockets(struct activation *activation)
{
    const struct activate_options *options = &activation->options;
    size_t n = activation->n_passed;

    for (size_t i = 0; i < options->n_listen; i++)
        n += !was_passed(activation, options->listen[i]);
    if (n == 0)
        log_error("nothing to listen on: give -l ADDRESS, or pass sockets");
    else if (options->inetd && !options->accept && n > 1)
        log_error("--inetd without --accept is for one socket, there are %zu", n);
    else
        return EXIT_STATUS_OK;
    return EXIT_STATUS_USAGE;
}

static int make_sockets(struct activation *activation)
{
    const struct activate_options *options = &activation->options;
    struct hark_listen_options listen = HARK_LISTEN_OPTIONS_INIT;

    listen.type = options->type;
    listen.mode = options->mode;
    listen.owner = options->owner;
    listen.group = options->group;
    listen.lock_timeout_ms = options->lock_timeout_ms;
    /* A program that gets the listener itself expects it to block, as everybody passes it. */
    listen.flags =
        HARK_LISTEN_MKDIR | HARK_LISTEN_ONE_THREAD | (options->accept ? HARK_LISTEN_NONBLOCK : 0);
    for (size_t i = 0; i < options->n_listen; i++) {
        struct hark_listener **next = &activation->sockets[activation->n_sockets];

        if (was_passed(activation, options->listen[i]))
            continue;
        int r = hark_listen(options->listen[i], &listen, next);
        if (r < 0)
            return explain_listen_error(activation, options->listen[i], r);
        activation->n_sockets++;
    }
    return EXIT_STATUS_OK;
}

/* ---- Names and environment ------------------------------------------------------------------- */

/* A single --fdname is for all of them, as systemd-socket-activate has it; of several, each is for
 * one. Without, passed ones have the names they came with. */
static const char *name_of(const struct activation *activation, size_t i)
{
    const struct activate_options *options = &activation->options;

    if (options->n_fd_names == 1)
        return options->fd_names[0];
    if (options->n_fd_names > 0)
        return i < options->n_fd_names ? options->fd_names[i] : NULL;
    return hark_listener_name(activation->sockets[i]);
}

/* LISTEN_FDNAMES: "unknown" for those without a name; left out when none has one. */
static int join_names(struct activation *activation)
{
    size_t size = 1, length = 0, n = activation->n_sockets;
    bool named = false;

    for (size_t i = 0; i < n; i++) {
        const char *name = name_of(activation, i);

        named |= name != NULL;
        size += strlen(name != NULL ? name : "unknown") + 1;
    }
    if (activation->options.n_fd_names > 1 && activation->options.n_fd_names != n)
        log_warning("--fdname has %zu names for %zu sockets: %s", activation->options.n_fd_names, n,
                    activation->options.n_fd_names > n ? "the rest is ignored"
                                                       : "the others are \"unknown\"");
    if (!named)
        return EXIT_STATUS_OK;
    activation->fd_names = malloc(size);
    if (activation->fd_names == NULL)
        return out_of_memory();
    for (size_t i = 0; i < n; i++) {
        const char *name = name_of(activation, i);

        length += (size_t)snprintf(activation->fd_names + length, size - length, "%s%s",
                                   i > 0 ? ":" : "", name != NULL ? name : "unknown");
    }
    return EXIT_STATUS_OK;
}

static int build_environment(struct activation *activation)
{
    const struct activate_options *options = &activation->options;
    struct handler_environment environment = {
        .fd_names = options->accept ? "connection" : activation->fd_names,
        .setenv = options->setenv,
        .n_setenv = options->n_setenv,
    };

    if (!options->inetd)
        environment.n_listen_fds = options->accept ? 1 : activation->n_sockets;
    if (handler_environment_build(&environment, &activation->environment) < 0)
        return out_of_memory();
    return EXIT_STATUS_OK;
}

/* ---- Serving --------------------------------------------------------------------------------- */

static unsigned plan_flags(const struct activate_options *options)
{
    unsigned flags = SPAWN_SIBLING;

    flags |= options->stay_in_session ? SPAWN_NEW_GROUP : SPAWN_NEW_SESSION;
    flags |= options->inetd ? SPAWN_CONNECTION_STDIO : SPAWN_LISTEN_VARIABLES;
    /* Who holds a listener must not keep the next start from it when hark is killed. */
    flags |= options->accept ? SPAWN_REMOTE_VARIABLES : SPAWN_DEATH_SIGNAL_TERM;
    return flags;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* They become listeners of the supervisor's kind. */
static int wrap_sockets(struct activation *activation)
{
    activation->listeners = calloc(activation->n_sockets, sizeof(*activation->listeners));
    if (activation->listeners == NULL)
        return out_of_memory();
    for (size_t i = 0; i < activation->n_sockets; i++) {
        if (listener_from_socket(activation->sockets[i], &activation->listeners[i]) < 0)
            return out_of_memory();
        activation->sockets[i] = NULL;
    }
    return EXIT_STATUS_OK;
}

static int add_unit(struct activation *activation, const struct spawn_plan *plan,
                    struct supervisor *supervisor)
{
    const struct activate_options *options = &activation->options;
    const struct plan_source program = {.fixed = plan};
    const struct supervisor_socket socket = {
        .name = base_name(activation->program),
        .listeners = activation->listeners,
        .n_listeners = activation->n_sockets,
    };
    const struct supervisor_unit_socket its_socket = {.index = 0, .starts = true};
    const struct supervisor_unit unit = {
        .name = base_name(activation->program),
        .accept = options->accept,
        .max_connections = options->max_connections,
        .overflow = OVERFLOW_WAIT,
        .stay_on_cpu = options->stay_on_cpu,
        .programs = &program,
        .n_programs = 1,
        .sockets = &its_socket,
        .n_sockets = 1,
    };
    int r = supervisor_add_socket(supervisor, &socket);

    if (r < 0)
        return r;
    activation->n_sockets = 0; /* the supervisor's now */
    return supervisor_add_unit(supervisor, &unit);
}

static int serve(struct activation *activation)
{
    const struct activate_options *options = &activation->options;
    struct supervisor_options supervisor_options = options->supervisor;
    const struct spawn_plan plan = {
        .program = activation->program,
        .arguments = (const char *const *)options->program,
        .environment = (const char *const *)activation->environment,
        .flags = plan_flags(options),
        .first_fd = FIRST_FD,
        .listener = -1,
    };
    struct supervisor *supervisor = NULL;
    int r = supervisor_block_signals(&supervisor_options.ignore_hangup);

    supervisor_options.once = options->once;
    if (r >= 0)
        r = supervisor_new(&supervisor_options, &supervisor);
    if (r >= 0)
        r = add_unit(activation, &plan, supervisor);
    if (r < 0) {
        log_error("cannot set up: %s", strerror(-r));
        supervisor_free(supervisor);
        return EXIT_STATUS_FAILURE;
    }
    r = supervisor_run(supervisor);
    supervisor_free(supervisor);
    return r < 0 ? EXIT_STATUS_FAILURE : r;
}

static int run_steps(struct activation *activation)
{
    static int (*const steps[])(struct activation *) = {
        find_program, take_passed_sockets, check_sockets, make_sockets,
        join_names,   build_environment,   wrap_sockets,
    };

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int status = steps[i](activation);
        if (status != EXIT_STATUS_OK)
            return status;
    }
    return serve(activation);
}

int verb_activate(int argc, char *argv[])
{
    cleanup(activation_done) struct activation activation = {0};
    int r = activate_options_parse(&activation.options, argc, argv);

    if (r < 0)
        return EXIT_STATUS_USAGE;
    return r == 0 ? EXIT_STATUS_OK : run_steps(&activation);
}
