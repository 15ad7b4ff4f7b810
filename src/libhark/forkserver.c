/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "libhark/forkserver-connection.h"
#include "libhark/forkserver-process.h"
#include "libhark/forkserver-protocol.h"
#include "libhark/forkserver-rights.h"
#include "libhark/hark.h"
#include "libhark/pass-fds.h"
#include "libhark/spawn-admission.h"

/* What killed children and the server get beyond the caller's timeout. */
#define STOP_GRACE_MS    5000
#define RELEASE_GRACE_MS 1000 /* what a server gets that has nothing to do but leave */

#define CHILD_FLAGS ((unsigned)(HARK_CHILD_SOCKET | HARK_CHILD_EXIT | HARK_CHILD_CONNECTION))

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_THREAD_SANITIZER 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define WITH_THREAD_SANITIZER 1
#endif

pid_t hark_forkserver_pid(const struct hark_forkserver *server)
{
    return server->pid;
}

/* ---- Requests -------------------------------------------------------------------------------- */

/* timeout_ms -1: as long as it takes. -ETIMEDOUT. */
static int wait_ready(int fd, short events, int timeout_ms)
{
    struct pollfd item = {.fd = fd, .events = events};
    uint64_t end = monotonic_usec() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * USEC_PER_MSEC;

    for (;;) {
        uint64_t now = monotonic_usec();
        int left = now < end ? (int)((end - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC) : 0;
        int n = poll(&item, 1, timeout_ms < 0 ? -1 : left);

        if (n > 0)
            return 0;
        if (n == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

/* One request and the channels made for it: "near" ends are ours, "far" ones go with the message.
 */
struct exchange {
    struct forkserver_request request;
    char *body;
    int fds[HARK_FDS_MAX];
    size_t n_fds;
    int near_reply, near_socket, near_exit;
    int far[4]; /* what is closed once the message is on its way */
    size_t n_far;
};

static void exchange_init(struct exchange *exchange, const struct hark_forkserver *server,
                          enum forkserver_request_type type)
{
    *exchange = (struct exchange){.near_reply = -1, .near_socket = -1, .near_exit = -1};
    exchange->request.version = FORKSERVER_VERSION;
    exchange->request.type = type;
    memcpy(exchange->request.cookie, server->cookie, FORKSERVER_COOKIE_SIZE);
}

static void exchange_close_far(struct exchange *exchange)
{
    while (exchange->n_far > 0)
        fd_close(exchange->far[--exchange->n_far]);
}

static void exchange_done(struct exchange *exchange)
{
    exchange_close_far(exchange);
    fd_close(exchange->near_reply);
    fd_close(exchange->near_socket);
    fd_close(exchange->near_exit);
    free(exchange->body);
}

static void add_far(struct exchange *exchange, int fd)
{
    exchange->far[exchange->n_far++] = fd;
    exchange->fds[exchange->n_fds++] = fd;
}

static int add_channel(struct exchange *exchange, int type, int *ret_near)
{
    int ends[2];

    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    *ret_near = ends[0];
    add_far(exchange, ends[1]);
    return 0;
}

static int socket_cookie(int fd, uint64_t *ret_cookie)
{
    socklen_t size = sizeof(*ret_cookie);

    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret_cookie, &size) < 0 ? -errno : 0;
}

static int add_channels(struct exchange *exchange, unsigned flags)
{
    int r = add_channel(exchange, SOCK_SEQPACKET, &exchange->near_reply);

    if (r >= 0 && flags & HARK_CHILD_SOCKET) {
        exchange->request.flags |= FORKSERVER_WITH_SOCKET;
        r = add_channel(exchange, SOCK_STREAM, &exchange->near_socket);
    }
    if (r >= 0 && flags & HARK_CHILD_EXIT) {
        exchange->request.flags |= FORKSERVER_WITH_EXIT;
        r = add_channel(exchange, SOCK_SEQPACKET, &exchange->near_exit);
        if (r >= 0)
            r = socket_cookie(exchange->near_exit, &exchange->request.exit_cookie);
    }
    if (flags & HARK_CHILD_CONNECTION)
        exchange->request.flags |= FORKSERVER_WITH_CONNECTION;
    return r;
}

static int exchange_send(struct exchange *exchange, const struct hark_forkserver *server, int flags)
{
    const struct forkserver_request *request = &exchange->request;
    const struct ucred self = {.pid = getpid(), .uid = geteuid(), .gid = getegid()};
    struct message message = {.fds = exchange->fds, .n_fds = exchange->n_fds, .credentials = &self};

    message.data[0] =
        (struct iovec){.iov_base = &exchange->request, .iov_len = sizeof(exchange->request)};
    if (exchange->body && !(request->flags & FORKSERVER_WITH_MEMFD))
        message.data[1] = (struct iovec){.iov_base = exchange->body, .iov_len = request->body_size};
    ssize_t n = message_send(server->fd, &message, flags);
    return n < 0 ? (int)n : 0;
}

static int put_body_in_memfd(struct exchange *exchange)
{
    int fd = forkserver_body_to_memfd(exchange->body, exchange->request.body_size);

    if (fd < 0)
        return fd;
    exchange->request.flags |= FORKSERVER_WITH_MEMFD;
    add_far(exchange, fd);
    return 0;
}

/* The channel ended without a reply: the server is gone, or had no descriptor left to receive it.
 */
static int explain_silence(const struct hark_forkserver *server)
{
    struct pollfd connection = {.fd = server->fd};

    /* One that is on its way out may close the channel before the connection; on a busy machine a
     * good while before it. Outside of its pid namespace it has no pid. */
    if (poll(&connection, 1, 20) != 0)
        return -EPIPE;
    return server->pid > 0 && spawn_is_ending(server->pid) ? -EPIPE : -EMFILE;
}

static int receive_reply(int fd, struct forkserver_reply *ret_reply)
{
    struct forkserver_reply reply = {0};
    ssize_t n;

    do
        n = recv(fd, &reply, sizeof(reply), 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (n != (ssize_t)sizeof(reply))
        return -EPIPE;
    *ret_reply = reply;
    return 0;
}

/* With a timeout, a full queue of a server that is stuck must not hold the caller either. */
static int exchange_send_within(struct exchange *exchange, const struct hark_forkserver *server,
                                int timeout_ms)
{
    if (timeout_ms < 0)
        return exchange_send(exchange, server, 0);
    int r = exchange_send(exchange, server, MSG_DONTWAIT);
    if (r != -EAGAIN)
        return r;
    r = wait_ready(server->fd, POLLOUT, timeout_ms);
    if (r >= 0)
        r = exchange_send(exchange, server, MSG_DONTWAIT);
    return r == -EAGAIN ? -ETIMEDOUT : r;
}

/* Sends the request, waits for the reply. What the server says, or why it says nothing. */
static int exchange_run(struct exchange *exchange, const struct hark_forkserver *server,
                        int timeout_ms, struct forkserver_reply *ret_reply)
{
    int r = 0;

    if (exchange->request.body_size > FORKSERVER_INLINE_MAX)
        r = put_body_in_memfd(exchange);
    if (r >= 0)
        r = exchange_send_within(exchange, server, timeout_ms);
    /* A system with small send buffers. */
    if (r == -EMSGSIZE && exchange->body && !(exchange->request.flags & FORKSERVER_WITH_MEMFD)) {
        r = put_body_in_memfd(exchange);
        if (r >= 0)
            r = exchange_send_within(exchange, server, timeout_ms);
    }
    if (r < 0)
        return r == -ECONNRESET ? -EPIPE : r;
    exchange_close_far(exchange); /* or the end of the channel would never be seen */
    r = wait_ready(exchange->near_reply, POLLIN, timeout_ms);
    if (r >= 0)
        r = receive_reply(exchange->near_reply, ret_reply);
    if (r == -EPIPE || r == -ECONNRESET)
        return explain_silence(server);
    return r < 0 ? r : ret_reply->result;
}

/* One that needs neither body nor channels. */
static int run_command(const struct hark_forkserver *server, enum forkserver_request_type type,
                       int number, int timeout_ms)
{
    cleanup(exchange_done) struct exchange exchange;
    struct forkserver_reply reply = {0};

    exchange_init(&exchange, server, type);
    exchange.request.number = number;
    int r = add_channels(&exchange, 0);
    return r < 0 ? r : exchange_run(&exchange, server, timeout_ms, &reply);
}

static int run_child_request(struct exchange *exchange, const struct hark_forkserver *server,
                             struct hark_child *ret_child)
{
    struct forkserver_reply reply = {0};
    int r = exchange_run(exchange, server, -1, &reply);

    if (r < 0)
        return r;
    ret_child->pid = reply.value;
    ret_child->socket_fd = take_fd(&exchange->near_socket);
    ret_child->exit_fd = take_fd(&exchange->near_exit);
    return 0;
}

int hark_forkserver_spawn(struct hark_forkserver *server, const struct hark_spawn *spawn,
                          unsigned flags, struct hark_child *ret_child)
{
    cleanup(exchange_done) struct exchange exchange;

    exchange_init(&exchange, server, FORKSERVER_SPAWN);
    if (flags & ~CHILD_FLAGS || !ret_child)
        return -EINVAL;
    int r = forkserver_spawn_encode(spawn, &exchange.request, &exchange.body);
    if (r >= 0)
        r = add_channels(&exchange, flags);
    if (r >= 0 && exchange.request.flags & FORKSERVER_WITH_IDENTITY)
        r = forkserver_rights_claim(exchange.near_reply, exchange.fds[0], &exchange.request);
    if (r < 0)
        return r;
    for (size_t i = 0; i < spawn->n_fds; i++)
        if (spawn->fds[i] >= 0)
            exchange.fds[exchange.n_fds++] = spawn->fds[i];
    return run_child_request(&exchange, server, ret_child);
}

int hark_forkserver_fork(struct hark_forkserver *server,
                         int (*entry)(struct hark_forkserver *connection, int socket_fd),
                         unsigned flags, struct hark_child *ret_child)
{
    cleanup(exchange_done) struct exchange exchange;

    exchange_init(&exchange, server, FORKSERVER_FORK);
    if (flags & ~CHILD_FLAGS || !entry || !ret_child)
        return -EINVAL;
    exchange.request.entry = (int64_t)((intptr_t)entry - (intptr_t)forkserver_anchor);
    int r = add_channels(&exchange, flags);
    return r < 0 ? r : run_child_request(&exchange, server, ret_child);
}

int hark_forkserver_kill(struct hark_forkserver *server, const struct hark_child *child,
                         int signal_number)
{
    cleanup(exchange_done) struct exchange exchange;
    struct forkserver_reply reply = {0};

    exchange_init(&exchange, server, FORKSERVER_KILL);
    if (!child || child->pid <= 0 || signal_number < 0 || signal_number >= NSIG)
        return -EINVAL;
    int r = child->exit_fd == -1 ? 0 : socket_cookie(child->exit_fd, &exchange.request.exit_cookie);
    exchange.request.number = signal_number;
    exchange.request.entry = child->pid;
    if (r >= 0)
        r = add_channels(&exchange, 0);
    return r < 0 ? r : exchange_run(&exchange, server, -1, &reply);
}

int hark_forkserver_kill_all(struct hark_forkserver *server, int signal_number)
{
    if (signal_number < 0 || signal_number >= NSIG)
        return -EINVAL;
    return run_command(server, FORKSERVER_KILL_ALL, signal_number, -1);
}

int hark_forkserver_call(struct hark_forkserver *server,
                         int (*function)(const void *data, size_t size), const void *data,
                         size_t size, int *ret_result)
{
    cleanup(exchange_done) struct exchange exchange;
    struct forkserver_reply reply = {0};

    exchange_init(&exchange, server, FORKSERVER_CALL);
    if (!function || (!data && size > 0) || !ret_result)
        return -EINVAL;
    if (size > FORKSERVER_BODY_MAX)
        return -E2BIG;
    if (server->owner != getpid())
        return -EPERM;
    exchange.request.entry = (int64_t)((intptr_t)function - (intptr_t)forkserver_anchor);
    exchange.request.body_size = (uint32_t)size;
    if (size > 0) {
        exchange.body = malloc(size);
        if (!exchange.body)
            return -ENOMEM;
        memcpy(exchange.body, data, size);
    }
    int r = add_channels(&exchange, 0);
    if (r >= 0)
        r = exchange_run(&exchange, server, -1, &reply);
    if (r < 0)
        return r;
    *ret_result = reply.value;
    return 0;
}

/* ---- Start ----------------------------------------------------------------------------------- */

/* Another thread may hold a lock of the allocator, or of anything, that would stay locked in the
 * server for ever. One that was joined may still be on its way out of the kernel, or be kept as a
 * zombie by its tracer. /proc/self/task has two links and one per thread. */
static bool has_other_threads(void)
{
#ifdef WITH_THREAD_SANITIZER
    return false; /* it has a thread of its own that minds no forks */
#else
    bool found = false;
    struct stat st;

    if (stat("/proc/self/task", &st) < 0 || st.st_nlink <= 3)
        return false;
    DIR *directory = opendir("/proc/self/task");
    if (!directory)
        return true;
    for (const struct dirent *entry; !found && (entry = readdir(directory));) {
        pid_t thread = atoi(entry->d_name);

        found = thread > 0 && thread != gettid() && !spawn_is_ending(thread);
    }
    closedir(directory);
    return found;
#endif
}

static int make_cookie(uint8_t *cookie)
{
    ssize_t n = getrandom(cookie, FORKSERVER_COOKIE_SIZE, GRND_NONBLOCK);

    if (n < 0 && errno == EAGAIN) /* early at boot; nobody needs to wait for a better one */
        n = getrandom(cookie, FORKSERVER_COOKIE_SIZE, GRND_INSECURE);
    return n < 0 ? -errno : 0; /* so few bytes never come in part (getrandom(2)) */
}

/* A fork whose end is no SIGCHLD and no business of the host's wait(-1). libc keeps the thread's id
 * at an address that the kernel knows: it must be right in the new process too, as after libc's
 * fork(). */
static pid_t clone_quietly(int *ret_pidfd)
{
    struct clone_args arguments = {
        .flags = CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .exit_signal = 0,
    };
#ifdef __GLIBC__
    int *thread_id = NULL;

    if (prctl(PR_GET_TID_ADDRESS, &thread_id, 0, 0, 0) == 0 && thread_id) {
        arguments.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
        arguments.child_tid = (uint64_t)(uintptr_t)thread_id;
    }
#endif
    long pid = syscall(SYS_clone3, &arguments, sizeof(arguments));
    return pid < 0 ? -errno : (pid_t)pid;
}

/* Ends a server that does not end by itself within the grace, and reaps it. The caller's
 * descriptors are no part of it. */
static void await_server(struct hark_forkserver *server, int grace_ms)
{
    if (wait_ready(server->pidfd, POLLIN, grace_ms) < 0)
        (void)pidfd_send_signal(server->pidfd, SIGKILL, NULL, 0);
    while (waitid(P_PIDFD, (id_t)server->pidfd, NULL, WEXITED | __WALL) < 0 && errno == EINTR)
        continue;
    server->pidfd = fd_close(server->pidfd);
}

/* With all signals blocked, so that the server never runs one of the host's handlers. */
static pid_t create_process(int connection, const uint8_t *cookie, int *ret_pidfd)
{
    sigset_t all, before;

    sigfillset(&all);
    int r = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (r != 0)
        return -r;
    pid_t pid = clone_quietly(ret_pidfd);
    if (pid == 0)
        forkserver_process_run(connection, cookie);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pid;
}

int hark_forkserver_start(struct hark_forkserver **ret_server)
{
    cleanup_close int near = -1, far = -1;
    uint8_t cookie[FORKSERVER_COOKIE_SIZE];
    struct forkserver_reply reply = {0};
    struct hark_forkserver *handle;

    if (!ret_server)
        return -EINVAL;
    if (has_other_threads())
        return -EBUSY;
    int r = make_cookie(cookie);
    if (r >= 0)
        r = forkserver_connection_pair(&near, &far);
    if (r >= 0)
        r = forkserver_handle_new(near, 0, cookie, &handle);
    if (r < 0)
        return r;
    (void)take_fd(&near);
    handle->pid = create_process(far, cookie, &handle->pidfd);
    if (handle->pid < 0) {
        r = handle->pid;
        handle->pidfd = -1;
        hark_forkserver_free(handle);
        return r;
    }
    far = fd_close(far);
    r = receive_reply(handle->fd, &reply);
    if (r >= 0)
        r = reply.result;
    if (r < 0) {
        hark_forkserver_free(handle);
        return r;
    }
    *ret_server = handle;
    return 0;
}

/* ---- Stop ------------------------------------------------------------------------------------ */

int hark_forkserver_stop(struct hark_forkserver *server, int timeout_ms)
{
    int limit =
        timeout_ms < 0 || timeout_ms > INT_MAX - STOP_GRACE_MS ? -1 : timeout_ms + STOP_GRACE_MS;

    if (timeout_ms < -1)
        return -EINVAL;
    if (server->owner != getpid())
        return -EPERM;
    int r = run_command(server, FORKSERVER_STOP, timeout_ms, limit);
    if (server->pidfd >= 0 && (r >= 0 || r == -EPIPE || r == -ETIMEDOUT))
        await_server(server, r == -ETIMEDOUT ? 0 : RELEASE_GRACE_MS);
    return r;
}

int hark_forkserver_stop_server(struct hark_forkserver *server)
{
    if (server->owner != getpid())
        return -EPERM;
    int r = run_command(server, FORKSERVER_STOP_SERVER, 0, RELEASE_GRACE_MS);
    if (server->pidfd >= 0 && (r >= 0 || r == -EPIPE || r == -ETIMEDOUT))
        await_server(server, r == -ETIMEDOUT ? 0 : RELEASE_GRACE_MS);
    return r == -ETIMEDOUT ? 0 : r;
}

struct hark_forkserver *hark_forkserver_free(struct hark_forkserver *server)
{
    if (!server)
        return NULL;
    if (server->pidfd >= 0 && server->owner == getpid()) {
        (void)hark_forkserver_stop_server(server);
        if (server->pidfd >= 0) /* it could not even be asked */
            await_server(server, 0);
    }
    forkserver_handle_free(server);
    return NULL;
}
