/* SPDX-License-Identifier: MIT */
#include "libhark/forkserver-process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "basic/signals.h"
#include "libhark/forkserver-children.h"
#include "libhark/forkserver-connection.h"
#include "libhark/forkserver-program.h"
#include "libhark/pass-fds.h"
#include "libhark/spawn.h"

#define N_STANDARD 3 /* descriptors 0, 1, 2 */

struct client {
    int fd;
    enum client_kind kind;
};

struct server {
    int epoll_fd, signal_fd;
    const uint8_t *cookie;
    uid_t uid;
    gid_t gid;
    size_t n_clients;
    struct children children;
    struct spawner *spawner;
    bool leaving;           /* the loop is to end */
    int stop_reply;         /* who waits for all children to end, or -1: nobody asked */
    uint64_t stop_deadline; /* when they are killed, UINT64_MAX: not (any more) */
    int n_killed;
    union {
        struct forkserver_request request;
        char bytes[sizeof(struct forkserver_request) + FORKSERVER_INLINE_MAX];
    } message;
};

typedef int (*entry_function)(struct hark_forkserver *, int);
typedef int (*call_function)(const void *, size_t);

/* ---- Clients --------------------------------------------------------------------------------- */

/* Does not close fd on failure. */
static int client_add(struct server *server, int fd, enum client_kind kind,
                      struct client **ret_client)
{
    cleanup_free struct client *client = calloc(1, sizeof(*client));
    struct epoll_event event = {.events = EPOLLIN};

    if (!client)
        return -ENOMEM;
    client->fd = fd;
    client->kind = kind;
    event.data.ptr = client;
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    server->n_clients++;
    *ret_client = take_pointer(&client);
    return 0;
}

/* Explicitly out of epoll: a fork child that has not closed it yet would keep it in there. */
static void client_drop(struct server *server, struct client *client)
{
    (void)epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, client->fd, NULL);
    fd_close(client->fd);
    free(client);
    server->n_clients--;
}

/* ---- Replies --------------------------------------------------------------------------------- */

/* What a client passes as a channel may be anything; sending on an AF_UNIX socket never blocks. */
static bool is_channel(int fd)
{
    int domain;
    socklen_t size = sizeof(domain);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

static void reply(int fd, int result, int value)
{
    const struct forkserver_reply message = {.result = result, .value = value};

    (void)send(fd, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- Connections for children ---------------------------------------------------------------- */

/* What a connection for the child consists of until the child exists. */
struct offer {
    struct client *client; /* NULL: no connection */
    int fd;                /* the child's end */
};
#define OFFER_INIT                                                                                 \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

static int offer_make(struct server *server, enum client_kind kind, struct offer *ret_offer)
{
    struct forkserver_hello hello = {.version = FORKSERVER_VERSION};
    cleanup_close int far = -1, near = -1;
    struct client *client = NULL;
    int r = forkserver_connection_pair(&far, &near);

    if (r < 0)
        return r;
    memcpy(hello.cookie, server->cookie, sizeof(hello.cookie));
    if (kind == CLIENT_PROGRAM &&
        send(near, &hello, sizeof(hello), MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof(hello))
        return -ENOBUFS;
    r = client_add(server, near, kind, &client);
    if (r < 0)
        return r;
    (void)take_fd(&near);
    *ret_offer = (struct offer){.client = client, .fd = take_fd(&far)};
    return 0;
}

/* There is no child. */
static void offer_withdraw(struct server *server, struct offer *offer)
{
    if (offer->client)
        client_drop(server, offer->client);
    offer->fd = fd_close(offer->fd);
}

/* ---- Programs -------------------------------------------------------------------------------- */

static void add_child(struct server *server, struct incoming *incoming, struct child *child,
                      pid_t pid)
{
    children_add(&server->children, child, pid, incoming->exit ? take_fd(incoming->exit) : -1,
                 incoming->request->exit_cookie);
}

static pid_t serve_spawn(struct server *server, struct incoming *incoming)
{
    cleanup_free char *memory = NULL;
    struct offer offer = OFFER_INIT;
    int r = incoming_take_body(incoming, &memory);

    if (r < 0)
        return r;
    struct child *child = child_new();
    if (!child)
        return -ENOMEM;
    if (incoming->request->flags & FORKSERVER_WITH_CONNECTION) {
        r = offer_make(server, CLIENT_PROGRAM, &offer);
        incoming->connection = &offer.fd;
    }
    pid_t pid = r < 0 ? r : forkserver_program_start(server->spawner, incoming);
    incoming->connection = NULL;
    if (pid < 0) {
        child_free(child);
        offer_withdraw(server, &offer);
        return pid;
    }
    fd_close(offer.fd);
    add_child(server, incoming, child, pid);
    return pid;
}

/* ---- Functions ------------------------------------------------------------------------------- */

/* The child of a fork: keep is what the entry point gets, and nothing of the server stays. */
static _Noreturn void run_entry(int64_t entry, struct hark_forkserver *connection, int *keep,
                                size_t n_keep, int socket_fd)
{
    entry_function function = (entry_function)((intptr_t)forkserver_anchor + (intptr_t)entry);
    sigset_t none;

    if (fd_close_all_from(N_STANDARD, keep, n_keep) < 0)
        _exit(EXIT_FAILURE);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (connection)
        forkserver_handle_adopt(connection);
    _exit(function(connection, socket_fd));
}

static pid_t serve_fork(struct server *server, struct incoming *incoming)
{
    const struct forkserver_request *request = incoming->request;
    struct hark_forkserver *handle = NULL;
    struct offer offer = OFFER_INIT;
    int keep[2], socket_fd = incoming->socket ? *incoming->socket : -1;
    size_t n_keep = 0;
    struct child *child = child_new();
    int r = child ? 0 : -ENOMEM;

    if (r >= 0 && request->flags & FORKSERVER_WITH_CONNECTION) {
        r = offer_make(server, CLIENT_FUNCTION, &offer);
        if (r >= 0)
            r = forkserver_handle_new(offer.fd, getpid(), server->cookie, &handle);
    }
    if (socket_fd >= 0)
        keep[n_keep++] = socket_fd;
    if (offer.fd >= 0)
        keep[n_keep++] = offer.fd;
    pid_t pid = r < 0 ? r : fork();
    if (pid == 0)
        run_entry(request->entry, handle, keep, n_keep, socket_fd);
    if (r >= 0 && pid < 0)
        pid = -errno;
    if (handle) { /* the child has it; here it goes, with its descriptor */
        forkserver_handle_free(handle);
        offer.fd = -1;
    }
    if (pid >= 0) {
        add_child(server, incoming, child, pid);
    } else {
        child_free(child);
        offer_withdraw(server, &offer);
    }
    return pid;
}

/* In here, with all that it can do to us: only the starter may ask for it. */
static int serve_call(struct incoming *incoming, int *ret_value)
{
    const struct forkserver_request *request = incoming->request;
    cleanup_free char *memory = NULL;

    if (incoming->from != CLIENT_STARTER)
        return -EPERM;
    int r = incoming_take_body(incoming, &memory);
    if (r < 0)
        return r;
    call_function function =
        (call_function)((intptr_t)forkserver_anchor + (intptr_t)request->entry);
    *ret_value =
        function(request->body_size > 0 ? incoming->body : NULL, (size_t)request->body_size);
    return 0;
}

/* ---- Stopping -------------------------------------------------------------------------------- */

static int begin_stop(struct server *server, struct incoming *incoming)
{
    int timeout_ms = incoming->request->number;

    if (incoming->from != CLIENT_STARTER)
        return -EPERM;
    if (server->stop_reply >= 0)
        return -EALREADY;
    server->stop_reply = take_fd(incoming->reply);
    server->stop_deadline =
        timeout_ms < 0 ? UINT64_MAX : monotonic_usec() + (uint64_t)timeout_ms * USEC_PER_MSEC;
    (void)children_kill(&server->children, SIGTERM, 0);
    (void)children_kill(&server->children, SIGCONT, 0);
    return 0;
}

static void continue_stop(struct server *server)
{
    if (server->stop_reply < 0)
        return;
    if (server->children.n > 0 && monotonic_usec() >= server->stop_deadline) {
        server->n_killed = children_kill(&server->children, SIGKILL, 0);
        server->stop_deadline = UINT64_MAX;
    }
    if (server->children.n == 0) {
        reply(server->stop_reply, server->n_killed, 0);
        server->leaving = true;
    }
}

/* ---- The loop -------------------------------------------------------------------------------- */

/* The request's meaning for each descriptor; their number was checked. */
static void sort_fds(struct incoming *incoming)
{
    uint32_t flags = incoming->request->flags;
    int *next = incoming->ancillary.fds, *end = next + incoming->ancillary.n_fds;

    incoming->reply = next++;
    incoming->socket = flags & FORKSERVER_WITH_SOCKET ? next++ : NULL;
    incoming->exit = flags & FORKSERVER_WITH_EXIT ? next++ : NULL;
    incoming->memfd = flags & FORKSERVER_WITH_MEMFD ? --end : NULL;
    incoming->program_fds = next;
}

/* 0 or positive, or the errno to reply with. */
static int serve(struct server *server, struct incoming *incoming, int *ret_value)
{
    const struct forkserver_request *request = incoming->request;
    const struct ucred *sender = &incoming->ancillary.credentials;
    pid_t pid;

    if (sender->uid != server->uid || sender->gid != server->gid)
        return -EPERM;
    if (request->type == FORKSERVER_KILL_ALL)
        return children_kill(&server->children, request->number, sender->pid);
    if (request->type == FORKSERVER_KILL)
        return children_kill_one(&server->children, request->number, (pid_t)request->entry,
                                 request->exit_cookie);
    if (request->type == FORKSERVER_STOP)
        return begin_stop(server, incoming);
    if (request->type == FORKSERVER_STOP_SERVER) {
        server->leaving = incoming->from == CLIENT_STARTER;
        return server->leaving ? 0 : -EPERM;
    }
    if (server->stop_reply >= 0)
        return -ESHUTDOWN;
    if (request->type == FORKSERVER_CALL)
        return serve_call(incoming, ret_value);
    if (request->type == FORKSERVER_FORK && incoming->from == CLIENT_PROGRAM)
        return -EOPNOTSUPP;
    pid = request->type == FORKSERVER_SPAWN ? serve_spawn(server, incoming)
                                            : serve_fork(server, incoming);
    if (pid < 0)
        return pid;
    *ret_value = pid;
    return 0;
}

/* False: no client of ours would send this. */
static bool on_message(struct server *server, struct incoming *incoming, size_t size)
{
    struct ancillary *ancillary = &incoming->ancillary;
    int value = 0;

    if (ancillary->fds_cut) { /* our descriptors ran out, which is not the client's fault */
        if (ancillary->n_fds > 0 && is_channel(ancillary->fds[0]))
            reply(ancillary->fds[0], -EMFILE, 0);
        return true;
    }
    incoming->request = &server->message.request;
    incoming->body = server->message.bytes + sizeof(struct forkserver_request);
    if (ancillary->data_cut ||
        forkserver_request_check(incoming->request, size, ancillary->n_fds) < 0 ||
        memcmp(incoming->request->cookie, server->cookie, FORKSERVER_COOKIE_SIZE) != 0)
        return false;
    sort_fds(incoming);
    if (!is_channel(*incoming->reply) || (incoming->exit && !is_channel(*incoming->exit)))
        return false;
    if (incoming->request->flags & FORKSERVER_WITH_IDENTITY)
        incoming->claims = forkserver_rights_receive(*incoming->reply, incoming->request,
                                                     ancillary->credentials.pid);
    int r = serve(server, incoming, &value);
    if (*incoming->reply >= 0 && !incoming->malformed)
        reply(*incoming->reply, r, value);
    return !incoming->malformed;
}

static void on_client(struct server *server, struct client *client)
{
    struct incoming incoming = {.from = client->kind};
    struct iovec room = {.iov_base = &server->message, .iov_len = sizeof(server->message)};
    ssize_t n = message_receive(client->fd, &room, 0, &incoming.ancillary);

    if (n == -EAGAIN || n == -ENOMEM || n == -ENOBUFS)
        return;
    bool good = n > 0 && on_message(server, &incoming, (size_t)n);
    ancillary_done(&incoming.ancillary);
    if (!good)
        client_drop(server, client);
}

static void on_signal(struct server *server)
{
    struct signalfd_siginfo infos[16];
    ssize_t n = read(server->signal_fd, infos, sizeof(infos));

    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(infos[0]); i++)
        children_on_signal(&server->children, (pid_t)infos[i].ssi_pid);
}

/* In milliseconds, rounded up; -1: nothing is to be done by the clock. */
static int next_timeout(const struct server *server)
{
    uint64_t next = children_next_sweep(&server->children), now = monotonic_usec();

    if (server->stop_deadline < next)
        next = server->stop_deadline;
    if (next == UINT64_MAX)
        return -1;
    if (next <= now)
        return 0;
    uint64_t msec = (next - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC;
    return msec > INT_MAX ? INT_MAX : (int)msec;
}

/* One event at a time, so that none can be of a client that the one before has dropped. */
static void run_loop(struct server *server)
{
    while (!server->leaving && (server->n_clients > 0 || server->children.n_owed > 0)) {
        struct epoll_event event;
        int n = epoll_wait(server->epoll_fd, &event, 1, next_timeout(server));

        if (n < 0 && errno != EINTR)
            return;
        if (n > 0 && event.data.ptr)
            on_client(server, event.data.ptr);
        else if (n > 0)
            on_signal(server);
        children_sweep(&server->children);
        continue_stop(server);
    }
}

/* ---- The process ----------------------------------------------------------------------------- */

static void reset_dispositions(void)
{
    const struct sigaction child = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP};

    signals_set_default();
    (void)sigaction(SIGCHLD, &child, NULL); /* a stopped child is no news */
}

/* Standard descriptors that are missing would be filled by the server's own, and handed to
 * children. */
static int fill_standard_fds(void)
{
    for (int i = 0; i < N_STANDARD; i++) {
        if (fcntl(i, F_GETFD) >= 0)
            continue;
        int fd = open("/dev/null", O_RDWR | O_NOCTTY);
        if (fd < 0)
            return -errno;
        if (fd != i) /* cannot be: the lowest free one is i */
            fd_close(fd);
    }
    return 0;
}

static int server_init(struct server *server, int connection, const uint8_t *cookie)
{
    struct epoll_event event = {.events = EPOLLIN};
    struct client *starter;
    sigset_t child_signal;

    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    server->cookie = cookie;
    server->uid = geteuid();
    server->gid = getegid();
    server->stop_reply = -1;
    server->stop_deadline = UINT64_MAX;
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server->signal_fd = signalfd(-1, &child_signal, SFD_CLOEXEC | SFD_NONBLOCK);
    if (server->epoll_fd < 0 || server->signal_fd < 0 ||
        epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->signal_fd, &event) < 0)
        return -errno;
    int r = children_init(&server->children);
    if (r >= 0)
        r = spawner_new(&server->spawner);
    return r < 0 ? r : client_add(server, connection, CLIENT_STARTER, &starter);
}

_Noreturn void forkserver_process_run(int connection, const uint8_t *cookie)
{
    int keep[] = {connection};
    struct server *server = NULL;

    reset_dispositions();
    int r = fd_close_all_from(N_STANDARD, keep, 1);
    if (r >= 0)
        r = fill_standard_fds();
    if (r >= 0) {
        server = calloc(1, sizeof(*server));
        r = server ? server_init(server, connection, cookie) : -ENOMEM;
    }
    reply(connection, r, getpid()); /* hark_forkserver_start() waits for it */
    if (r >= 0)
        run_loop(server);
    _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
