/* SPDX-License-Identifier: MIT */
#include "supervisor/server-pool.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "basic/signals.h"
#include "supervisor/log.h"
#include "supervisor/report.h"

/* A server that could not even set itself up is tried again later, ever later. */
#define RESTART_USEC     (100 * USEC_PER_MSEC)
#define RESTART_MAX_USEC (5 * USEC_PER_SEC)

struct server {
    struct server_pool *pool;
    uint32_t index;
    uint32_t incarnation;
    pid_t pid; /* 0: none now */
    int control_fd;
    sd_event_source *control, *child, *restart;
    bool ready;
    bool asked;   /* a ping is not answered yet */
    bool leaving; /* was told to */
    uint64_t delay_usec;
};

struct server_pool {
    sd_event *event;
    struct slots *slots;
    int wake_fd;
    struct server_pool_callbacks callbacks;
    struct processors processors;
    struct rlimit open_files;
    struct server *servers;
    uint32_t n_servers;
    int poke_fd;
    uint32_t incarnations;
    uint64_t pings;
    uint32_t next; /* whom to ask to start the next program */
    bool dismissed;
    struct log_limit ends;
};

static int start_server(struct server *server);

/* ---- Life of one server ------------------------------------------------------------------------
 */

void server_pool_poke(struct server_pool *pool)
{
    uint64_t one = 1;

    (void)!write(pool->poke_fd, &one, sizeof(one));
}

static void close_server(struct server *server)
{
    server->control = sd_event_source_disable_unref(server->control);
    server->child = sd_event_source_disable_unref(server->child);
    server->control_fd = fd_close(server->control_fd);
    server->pid = 0;
    server->ready = server->asked = server->leaving = false;
}

static int on_restart(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct server *server = userdata;

    (void)source;
    (void)usec;
    server->restart = sd_event_source_disable_unref(server->restart);
    if (server->pid == 0 && !server->pool->dismissed)
        (void)start_server(server);
    return 0;
}

static void restart_later(struct server *server)
{
    server->delay_usec = server->delay_usec == 0 ? RESTART_USEC : server->delay_usec * 2;
    if (server->delay_usec > RESTART_MAX_USEC)
        server->delay_usec = RESTART_MAX_USEC;
    sd_event_source_disable_unref(server->restart);
    server->restart = NULL;
    (void)sd_event_add_time_relative(server->pool->event, &server->restart, CLOCK_MONOTONIC,
                                     server->delay_usec, 0, on_restart, server);
}

static void log_end(const struct server *server, const siginfo_t *info)
{
    const struct handler_exit end = {
        .pid = info->si_pid, .code = info->si_code, .status = info->si_status};
    char text[64], status[SIGNAL_NAME_MAX];
    const char *code = report_describe_code(&end, status);

    report_describe_end(&end, text, sizeof(text));
    log_event(&(const struct log_event){.level = LOG_WARNING,
                                        .id = MESSAGE_FORK_SERVER_LOST,
                                        .exit_code = code,
                                        .exit_status = status,
                                        .server = end.pid},
              "fork server %u (pid %d) %s", server->index, end.pid, text);
}

static int on_server_exit(sd_event_source *source, const siginfo_t *info, void *userdata)
{
    struct server *server = userdata;
    struct server_pool *pool = server->pool;
    bool was_ready = server->ready, expected = server->leaving || pool->dismissed;

    (void)source;
    close_server(server);
    (void)slots_reclaim(pool->slots, server->incarnation);
    atomic_store(&pool->slots->windows[server->index].start_usec, 0);
    if (!expected && log_limit_pass(&pool->ends, "ends of fork servers"))
        log_end(server, info);
    /* A connection may have woken just this one. */
    server_pool_poke(pool);
    if (!pool->dismissed) {
        if (was_ready)
            server->delay_usec = 0;
        if (!was_ready && info->si_code == CLD_EXITED && !expected)
            restart_later(server);
        else
            (void)start_server(server);
    }
    pool->callbacks.on_death(pool->callbacks.userdata);
    return 0;
}

static void handle_message(struct server *server, const struct server_message *message)
{
    struct server_pool *pool = server->pool;

    switch (message->type) {
    case SERVER_MESSAGE_READY:
        server->ready = true;
        server->delay_usec = 0;
        for (uint32_t i = 0; i < pool->n_servers; i++)
            if (!pool->servers[i].ready || pool->servers[i].leaving)
                return;
        pool->callbacks.on_ready(pool->callbacks.userdata);
        break;
    case SERVER_MESSAGE_PONG:
        if (message->number == pool->pings)
            server->asked = false;
        break;
    default:
        pool->callbacks.on_message(pool->callbacks.userdata, message);
    }
}

static int on_control(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct server *server = userdata;

    (void)revents;
    for (;;) {
        struct server_message message;
        int r = server_message_receive(fd, &message);

        if (r == -EAGAIN)
            return 0;
        if (r <= 0) { /* gone, or out of its mind; on_server_exit() does the rest */
            if (r < 0)
                (void)kill(server->pid, SIGKILL);
            (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
            return 0;
        }
        handle_message(server, &message);
        if (server->control != source) /* a callback closed it */
            return 0;
    }
}

static _Noreturn void become_server(struct server *server, int control_fd, pid_t supervisor)
{
    struct server_pool *pool = server->pool;
    struct fork_server_setup setup = {
        .slots = pool->slots,
        .index = server->index,
        .incarnation = server->incarnation,
        .n_servers = pool->n_servers,
        .control_fd = control_fd,
        .wake_fd = pool->wake_fd,
        .poke_fd = pool->poke_fd,
        .cpu = processors_choose(&pool->processors, pool->n_servers, server->index),
        .affinity = processors_of_handlers(&pool->processors),
        .open_files = &pool->open_files,
        .supervisor = supervisor,
    };

    setup.units = pool->callbacks.units(pool->callbacks.userdata, &setup.n_units);
    fork_server_run(&setup);
}

static int watch_server(struct server *server)
{
    struct server_pool *pool = server->pool;
    int r = sd_event_add_io(pool->event, &server->control, server->control_fd, EPOLLIN, on_control,
                            server);

    if (r < 0)
        return r;
    return sd_event_add_child(pool->event, &server->child, server->pid, WEXITED, on_server_exit,
                              server);
}

static int create_server(struct server *server)
{
    int pair[2];
    pid_t supervisor = getpid();

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    cleanup_close int ours = pair[0];
    cleanup_close int theirs = pair[1];
    server->incarnation = ++server->pool->incarnations;
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        become_server(server, take_fd(&theirs), supervisor);
    log_debug("fork server %u: pid %d, CPU %d (-1: any)", server->index, pid,
              processors_choose(&server->pool->processors, server->pool->n_servers, server->index));
    server->pid = pid;
    server->control_fd = take_fd(&ours);
    return 0;
}

static int start_server(struct server *server)
{
    int r = create_server(server);

    if (r >= 0) {
        r = watch_server(server);
        if (r < 0) { /* cannot be waited for, so it must not live */
            (void)kill(server->pid, SIGKILL);
            (void)waitpid(server->pid, NULL, 0);
            close_server(server);
        }
    }
    if (r < 0) {
        log_error("cannot start fork server %u: %s", server->index, strerror(-r));
        restart_later(server);
    }
    return r;
}

/* ---- All of them -------------------------------------------------------------------------------
 */

int server_pool_start(struct server_pool *pool)
{
    int result = 0;

    pool->dismissed = false;
    for (uint32_t i = 0; i < pool->n_servers; i++) {
        int r = pool->servers[i].pid == 0 ? start_server(&pool->servers[i]) : 0;
        if (r < 0 && result == 0)
            result = r;
    }
    return result;
}

static void tell_to_leave(struct server *server)
{
    const struct server_message message = {.type = SERVER_MESSAGE_LEAVE};

    if (server->pid == 0)
        return;
    server->leaving = true;
    if (server_message_send(server->control_fd, &message) < 0)
        (void)kill(server->pid, SIGKILL);
}

void server_pool_renew(struct server_pool *pool)
{
    for (uint32_t i = 0; i < pool->n_servers; i++)
        tell_to_leave(&pool->servers[i]);
}

void server_pool_dismiss(struct server_pool *pool)
{
    pool->dismissed = true;
    for (uint32_t i = 0; i < pool->n_servers; i++) {
        pool->servers[i].restart = sd_event_source_disable_unref(pool->servers[i].restart);
        tell_to_leave(&pool->servers[i]);
    }
}

void server_pool_set_slots(struct server_pool *pool, struct slots *slots)
{
    pool->slots = slots;
}

bool server_pool_is_empty(const struct server_pool *pool)
{
    for (uint32_t i = 0; i < pool->n_servers; i++)
        if (pool->servers[i].pid != 0)
            return false;
    return true;
}

int server_pool_request_start(struct server_pool *pool, const struct server_message *message,
                              uint32_t *ret_incarnation)
{
    for (uint32_t i = 0; i < pool->n_servers; i++) {
        struct server *server = &pool->servers[pool->next++ % pool->n_servers];

        if (!server->ready || server->leaving ||
            server_message_send(server->control_fd, message) < 0)
            continue;
        *ret_incarnation = server->incarnation;
        return 0;
    }
    return -EAGAIN;
}

bool server_pool_has_incarnation(const struct server_pool *pool, uint32_t incarnation)
{
    for (uint32_t i = 0; i < pool->n_servers; i++)
        if (pool->servers[i].pid != 0 && pool->servers[i].incarnation == incarnation)
            return true;
    return false;
}

bool server_pool_ping(struct server_pool *pool)
{
    struct server_message message = {.type = SERVER_MESSAGE_PING, .number = pool->pings + 1};
    bool all = true;

    for (uint32_t i = 0; i < pool->n_servers; i++) {
        struct server *server = &pool->servers[i];

        if (server->asked && server->pid != 0) {
            log_error("fork server %u (pid %d) does not answer, killing it", i, server->pid);
            (void)kill(server->pid, SIGKILL);
        }
        all &= server->ready && !server->asked;
    }
    pool->pings++;
    for (uint32_t i = 0; i < pool->n_servers; i++)
        if (pool->servers[i].ready)
            pool->servers[i].asked =
                server_message_send(pool->servers[i].control_fd, &message) >= 0;
    return all;
}

void server_pool_kill_stopped(struct server_pool *pool)
{
    for (uint32_t i = 0; i < pool->n_servers; i++) {
        siginfo_t info = {0};
        pid_t pid = pool->servers[i].pid;

        if (pid == 0 || waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOHANG) < 0 || info.si_pid == 0)
            continue;
        if (log_limit_pass(&pool->ends, "ends of fork servers"))
            log_warning("fork server %u (pid %d) was stopped, replacing it", i, pid);
        (void)kill(pid, SIGKILL);
    }
}

bool server_pool_has_pid(const struct server_pool *pool, pid_t pid)
{
    for (uint32_t i = 0; i < pool->n_servers; i++)
        if (pool->servers[i].pid == pid)
            return true;
    return false;
}

uint32_t server_pool_incarnations(const struct server_pool *pool)
{
    return pool->incarnations;
}

pid_t server_pool_pid(const struct server_pool *pool, uint32_t index)
{
    return index < pool->n_servers ? pool->servers[index].pid : 0;
}

static void server_pool_cleanup(struct server_pool **pool)
{
    server_pool_free(*pool);
}

int server_pool_new(sd_event *event, struct slots *slots, const struct server_pool_options *options,
                    const struct server_pool_callbacks *callbacks, struct server_pool **ret_pool)
{
    cleanup(server_pool_cleanup) struct server_pool *pool = calloc(1, sizeof(*pool));

    if (pool == NULL)
        return -ENOMEM;
    pool->event = event;
    pool->slots = slots;
    pool->wake_fd = options->wake_fd;
    pool->incarnations = options->incarnations;
    pool->callbacks = *callbacks;
    pool->processors = *options->processors;
    pool->open_files = *options->open_files;
    pool->ends =
        (struct log_limit){.interval_usec = 5 * USEC_PER_SEC, .burst = 20, .level = LOG_WARNING};
    pool->servers = calloc(options->n_servers, sizeof(*pool->servers));
    pool->poke_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pool->servers == NULL)
        return -ENOMEM;
    if (pool->poke_fd < 0)
        return -errno;
    pool->n_servers = options->n_servers;
    for (uint32_t i = 0; i < pool->n_servers; i++)
        pool->servers[i] = (struct server){.pool = pool, .index = i, .control_fd = -1};
    *ret_pool = take_pointer(&pool);
    return 0;
}

struct server_pool *server_pool_free(struct server_pool *pool)
{
    if (pool == NULL)
        return NULL;
    for (uint32_t i = 0; i < pool->n_servers; i++) {
        struct server *server = &pool->servers[i];

        if (server->pid != 0) {
            (void)kill(server->pid, SIGKILL);
            (void)waitpid(server->pid, NULL, 0);
        }
        server->restart = sd_event_source_disable_unref(server->restart);
        close_server(server);
    }
    fd_close(pool->poke_fd);
    free(pool->servers);
    free(pool);
    return NULL;
}
