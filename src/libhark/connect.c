/* SPDX-License-Identifier: MIT */
/*
 * The client's side of an address. A full backlog of a Unix socket is waited for in the kernel
 * (SO_SNDTIMEO, which connect(2) obeys), so that the first who waits is the first who is served; an
 * internet or vsock connection by poll(2). Only what is not there yet is asked for again and again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "libhark/address.h"
#include "libhark/hark.h"
#include "libhark/lockfile.h"
#include "libhark/probe.h"

#define CONNECT_FLAGS                                                                              \
    (HARK_CONNECT_NONBLOCK | HARK_CONNECT_AWAIT_NAME | HARK_CONNECT_AWAIT_LISTENER)

/* The longest pause between two tries, as a step of the back-off: 7² ms. */
#define STEP_MAX 7

/* What one connect(2) waits at most: SO_SNDTIMEO 0 would be for ever, and not end at a signal whose
 * handler has SA_RESTART. */
#define PIECE_USEC (3600 * USEC_PER_SEC)

struct attempt {
    struct address address;
    int type;
    unsigned flags;
    uint64_t deadline; /* CLOCK_MONOTONIC, microseconds; UINT64_MAX: none */
    bool was_refused;  /* and that is waited for */
};

static uint64_t time_left(const struct attempt *attempt)
{
    uint64_t now = monotonic_usec();

    return now < attempt->deadline ? attempt->deadline - now : 0;
}

/* ---- Unix sockets ---------------------------------------------------------------------------- */

static int set_send_timeout(int fd, uint64_t usec)
{
    const struct timeval time = {
        .tv_sec = (time_t)(usec / USEC_PER_SEC),
        .tv_usec = (suseconds_t)(usec % USEC_PER_SEC),
    };

    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time)) < 0 ? -errno : 0;
}

/* A path that does not fit goes through a descriptor of its node. */
static int path_address(const char *path, struct sockaddr_un *ret_address, int *ret_node_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);

    if (length < sizeof(address.sun_path)) {
        memcpy(address.sun_path, path, length);
    } else {
        int fd = open(path, O_PATH | O_CLOEXEC);
        if (fd < 0)
            return -errno;
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", fd);
        *ret_node_fd = fd;
    }
    *ret_address = address;
    return 0;
}

/* Nobody listens at the path. -ENOTSOCK: nobody ever will; -EAGAIN: somebody is bound to it, and
 * about to listen; else -ECONNREFUSED. */
static int examine_refusal(const char *path)
{
    cleanup_close int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat node;

    if (fd < 0 || fstat(fd, &node) < 0)
        return -ECONNREFUSED;
    if (!S_ISSOCK(node.st_mode))
        return -ENOTSOCK;
    int r = probe_connect(fd);
    return r == 0 || r == -EPROTOTYPE || r == -EPERM || r == -EAGAIN ? -EAGAIN : -ECONNREFUSED;
}

/* One connect(2), which waits as long as there is time. -ETIMEDOUT: the backlog remained full. */
static int connect_unix_waiting(const struct attempt *attempt, int fd,
                                const struct sockaddr *address, socklen_t length)
{
    for (;;) {
        uint64_t left = time_left(attempt);
        int r = left == 0 ? fd_set_nonblocking(fd, true)
                          : set_send_timeout(fd, left < PIECE_USEC ? left : PIECE_USEC);

        if (r < 0)
            return r;
        if (connect(fd, address, length) == 0)
            return 0;
        if (errno != EAGAIN)
            return -errno;
        if (left == 0)
            return -ETIMEDOUT;
    }
}

static int connect_unix(const struct attempt *attempt, int *ret_fd)
{
    const char *path = attempt->address.path;
    struct sockaddr_un address = attempt->address.socket.un;
    socklen_t length = attempt->address.length;
    cleanup_close int node_fd = -1;

    if (path) {
        int r = path_address(path, &address, &node_fd);
        if (r < 0)
            return r;
        length = sizeof(address);
    }
    cleanup_close int fd = socket(AF_UNIX, attempt->type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int r = connect_unix_waiting(attempt, fd, (struct sockaddr *)&address, length);
    if (r == -ENOENT && node_fd >= 0)
        return -ENOSYS; /* the node is there: what is missing is /proc */
    if (r == -ECONNREFUSED && path)
        return examine_refusal(path);
    if (r >= 0)
        r = set_send_timeout(fd, 0);
    if (r >= 0)
        r = fd_set_nonblocking(fd, attempt->flags & HARK_CONNECT_NONBLOCK);
    if (r < 0)
        return r;
    *ret_fd = take_fd(&fd);
    return 0;
}

/* ---- Internet and vsock ---------------------------------------------------------------------- */

static int await_connection(const struct attempt *attempt, int fd)
{
    struct pollfd item = {.fd = fd, .events = POLLOUT};
    int error;
    socklen_t size = sizeof(error);

    for (;;) {
        uint64_t left = time_left(attempt);
        uint64_t piece = left < PIECE_USEC ? left : PIECE_USEC;
        int n = poll(&item, 1, (int)((piece + USEC_PER_MSEC - 1) / USEC_PER_MSEC));

        if (n < 0)
            return -errno;
        if (n > 0)
            break;
        if (left == 0)
            return -ETIMEDOUT;
    }
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? -errno : -error;
}

/* TCP connects a socket to itself when nobody listens and the kernel happens to choose the port it
 * is to go to. */
static bool is_its_own_peer(int fd)
{
    struct sockaddr_storage near = {0}, far = {0};
    socklen_t near_size = sizeof(near), far_size = sizeof(far);

    return getsockname(fd, (struct sockaddr *)&near, &near_size) == 0 &&
           getpeername(fd, (struct sockaddr *)&far, &far_size) == 0 && near_size == far_size &&
           memcmp(&near, &far, near_size) == 0;
}

static int connect_to(const struct attempt *attempt, const struct sockaddr *address,
                      socklen_t length, int *ret_fd)
{
    cleanup_close int fd =
        socket(address->sa_family, attempt->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    int r = connect(fd, address, length) < 0 ? -errno : 0;
    if (r == -EINPROGRESS)
        r = await_connection(attempt, fd);
    if (r >= 0 && attempt->type == SOCK_STREAM && is_its_own_peer(fd))
        r = -ECONNREFUSED;
    if (r >= 0)
        r = fd_set_nonblocking(fd, attempt->flags & HARK_CONNECT_NONBLOCK);
    if (r < 0)
        return r;
    *ret_fd = take_fd(&fd);
    return 0;
}

/* A mere port, and an empty CID, are this machine's. */
static int connect_remote(const struct attempt *attempt, int *ret_fd)
{
    struct address address = attempt->address;
    struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = address.socket.in6.sin6_port};

    if (address.dual_stack)
        address.socket.in6.sin6_addr = in6addr_loopback;
    else if (address.family == AF_VSOCK && address.socket.vm.svm_cid == VMADDR_CID_ANY)
        address.socket.vm.svm_cid = VMADDR_CID_LOCAL;
    int r = connect_to(attempt, &address.socket.generic, address.length, ret_fd);
    if (!address.dual_stack ||
        (r != -ECONNREFUSED && r != -EADDRNOTAVAIL && r != -EAFNOSUPPORT && r != -ENETUNREACH))
        return r;
    ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect_to(attempt, (struct sockaddr *)&ipv4, sizeof(ipv4), ret_fd);
}

/* ---------------------------------------------------------------------------------------------- */

/* What was left by a dead server goes a moment before the next one comes. */
static bool may_come(struct attempt *attempt, int error)
{
    if (error == -ECONNREFUSED)
        attempt->was_refused = attempt->flags & HARK_CONNECT_AWAIT_LISTENER;
    return (error == -EAGAIN && attempt->address.path) ||
           (error == -ENOENT &&
            (attempt->was_refused || attempt->flags & HARK_CONNECT_AWAIT_NAME)) ||
           (error == -ECONNREFUSED && attempt->was_refused);
}

int hark_connect(const char *address, int type, int timeout_ms, unsigned flags, int *ret_fd)
{
    struct attempt attempt = {.type = type, .flags = flags};
    struct backoff backoff;

    if (!address || !ret_fd || timeout_ms < -1 || flags & ~(unsigned)CONNECT_FLAGS ||
        (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET))
        return -EINVAL;
    int r = address_parse(address, &attempt.address);
    if (r < 0)
        return r;
    backoff_init(&backoff, timeout_ms);
    attempt.deadline = backoff.deadline;
    for (;;) {
        r = attempt.address.family == AF_UNIX ? connect_unix(&attempt, ret_fd)
                                              : connect_remote(&attempt, ret_fd);
        if (r >= 0 || !may_come(&attempt, r))
            return r;
        int paused = backoff_wait(&backoff);
        if (paused == -ETIMEDOUT)
            return r == -EAGAIN ? -ECONNREFUSED : r;
        if (paused < 0)
            return paused;
        if (backoff.step > STEP_MAX)
            backoff.step = STEP_MAX;
    }
}
