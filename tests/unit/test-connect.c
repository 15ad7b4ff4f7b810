/* SPDX-License-Identifier: MIT */
/* The client's side: hark_connect(). */
#include "test-listen.h"

#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "basic/clock.h"

#define DEADLINE_MS 20000

static int try_connect(const char *address, int type, int timeout_ms, unsigned flags)
{
    int fd = -77;
    int r = hark_connect(address, type, timeout_ms, flags, &fd);

    if (r < 0) {
        ASSERT_INT(fd, -77);
        return r;
    }
    ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    ASSERT_INT(!!(fcntl(fd, F_GETFL) & O_NONBLOCK), !!(flags & HARK_CONNECT_NONBLOCK));
    close(fd);
    return r;
}

static int bound_socket(const char *path, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    ASSERT_CALL(fd);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    ASSERT_CALL(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    return fd;
}

/* Says something, and reads it at the other end. */
static void converse(const char *address, struct hark_listener *listener)
{
    int type = hark_listener_type(listener), fd;
    char text[8] = "";

    ASSERT_OK(hark_connect(address, type, DEADLINE_MS, 0, &fd));
    ASSERT_INT(write(fd, "hello", 6), 6);
    int near = hark_listener_fd(listener);
    if (type != SOCK_DGRAM) {
        near = accept4(near, NULL, NULL, SOCK_CLOEXEC);
        ASSERT_CALL(near);
    }
    ASSERT_INT(read(near, text, sizeof(text)), 6);
    ASSERT_STRING(text, "hello");
    if (type != SOCK_DGRAM)
        close(near);
    close(fd);
}

TEST(each_type_and_kind_of_address)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    char addresses[2][64], here[4096];

    directory_make();
    ASSERT(getcwd(here, sizeof(here)));
    snprintf(addresses[0], sizeof(addresses[0]), "%s", in("x"));
    snprintf(addresses[1], sizeof(addresses[1]), "@hark-test-%d", (int)getpid());
    for (size_t i = 0; i < 6; i++) {
        struct hark_listen_options options = quick(types[i / 2]);
        struct hark_listener *listener = listen_on(addresses[i % 2], &options);
        converse(addresses[i % 2], listener);
        if (i % 2 == 0) {
            ASSERT_CALL(chdir(directory_path));
            converse("./x", listener);
            ASSERT_CALL(symlink("x", "link"));
            converse("./link", listener);
            ASSERT_CALL(unlink("link"));
            ASSERT_CALL(chdir(here));
        }
        hark_listener_free(listener);
        ASSERT_ERROR(try_connect(addresses[i % 2], types[i / 2], 0, 0),
                     i % 2 ? -ECONNREFUSED : -ENOENT);
    }
    directory_remove();
}

TEST(a_path_longer_than_sun_path)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    char name[PATH_MAX + 10], here[4096], after[4096];

    directory_make();
    memset(name, 'd', 200);
    name[200] = '\0';
    ASSERT_CALL(mkdir(in(name), 0755));
    memcpy(name + 200, "/socket", 8);
    ASSERT(getcwd(here, sizeof(here)));
    ASSERT_ERROR(try_connect(in(name), SOCK_STREAM, 0, 0), -ENOENT);
    struct hark_listener *listener = listen_on(in(name), &options);
    converse(in(name), listener);
    ASSERT_CALL(rename(in(name), in("short")));
    memset(name + 201, 's', 150); /* also one whose last component would not fit */
    name[351] = '\0';
    ASSERT_CALL(rename(in("short"), in(name)));
    converse(in(name), listener);
    ASSERT(getcwd(after, sizeof(after)));
    ASSERT_STRING(after, here);
    int fd = dup(hark_listener_fd(listener));
    hark_listener_free(listener);
    close(fd);
    ASSERT_ERROR(try_connect(in(name), SOCK_STREAM, 0, 0), -ECONNREFUSED);
    memset(name, '/', sizeof(name));
    name[sizeof(name) - 2] = 'x';
    name[sizeof(name) - 1] = '\0';
    ASSERT_ERROR(try_connect(name, SOCK_STREAM, 0, 0), -ENAMETOOLONG);
    directory_remove();
}

static unsigned port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);

    ASSERT_CALL(getsockname(fd, (struct sockaddr *)&address, &length));
    return ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                              : ((struct sockaddr_in6 *)&address)->sin6_port);
}

TEST(internet_addresses)
{
    static const char *const hosts[] = {"127.0.0.1:", "", "[::1]:"};
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct hark_listener *listener;
    char address[64];

    for (int i = 0; i < 2; i++) { /* a mere port also finds who is on IPv4 alone */
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_CALL(bind(fd, (struct sockaddr *)&in4, sizeof(in4)));
        unsigned port = port_of(fd);
        snprintf(address, sizeof(address), "%s%u", hosts[i], port);
        ASSERT_ERROR(try_connect(address, SOCK_STREAM, 1000, 0), -ECONNREFUSED);
        ASSERT_CALL(listen(fd, 5));
        ASSERT_OK(hark_listener_from_fd(fd, SOCK_STREAM, NULL, &listener));
        converse(address, listener);
        ASSERT_OK(try_connect(address, SOCK_STREAM, -1, HARK_CONNECT_NONBLOCK));
        hark_listener_free(listener);
    }
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || listen(fd, 5) < 0)
        SKIP("needs IPv6");
    ASSERT_OK(hark_listener_from_fd(fd, SOCK_STREAM, NULL, &listener));
    for (int i = 0; i < 3; i++) {
        snprintf(address, sizeof(address), "%s%u", hosts[i], port_of(fd));
        converse(address, listener);
    }
    hark_listener_free(listener);
}

TEST(virtual_machines)
{
    struct sockaddr_vm vm = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = VMADDR_PORT_ANY};
    socklen_t length = sizeof(vm);
    struct hark_listener *listener;
    char address[64];
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        SKIP("needs AF_VSOCK");
    ASSERT_CALL(bind(fd, (struct sockaddr *)&vm, sizeof(vm)));
    ASSERT_CALL(listen(fd, 5));
    ASSERT_CALL(getsockname(fd, (struct sockaddr *)&vm, &length));
    ASSERT_OK(hark_listener_from_fd(fd, SOCK_STREAM, NULL, &listener));
    snprintf(address, sizeof(address), "vsock::%u", vm.svm_port);
    int client_fd, r = hark_connect(address, SOCK_STREAM, 2000, 0, &client_fd);
    if (r < 0) {
        hark_listener_free(listener);
        SKIP("needs the loopback of vsock");
    }
    close(client_fd);
    client_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    ASSERT_CALL(client_fd);
    close(client_fd);
    converse(address, listener);
    hark_listener_free(listener);
}

TEST(what_cannot_be_is_told_at_once)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    const unsigned all =
        HARK_CONNECT_AWAIT_LISTENER | HARK_CONNECT_AWAIT_NAME | HARK_CONNECT_NONBLOCK;
    int fd;

    directory_make();
    ASSERT_ERROR(hark_connect(NULL, SOCK_STREAM, 0, 0, &fd), -EINVAL);
    ASSERT_ERROR(hark_connect(in("x"), SOCK_STREAM, 0, 0, NULL), -EINVAL);
    ASSERT_ERROR(try_connect(in("x"), SOCK_RAW, 0, 0), -EINVAL);
    ASSERT_ERROR(try_connect(in("x"), SOCK_STREAM, -2, 0), -EINVAL);
    ASSERT_ERROR(try_connect(in("x"), SOCK_STREAM, 0, 8), -EINVAL);
    ASSERT_ERROR(try_connect("word", SOCK_STREAM, -1, all), -EINVAL);
    ASSERT_ERROR(try_connect("70000", SOCK_STREAM, -1, all), -ERANGE);
    ASSERT_ERROR(try_connect("[fe80::1%hark-no-such]:5", SOCK_STREAM, -1, all), -ENODEV);
    write_file(in("file"), "");
    ASSERT_ERROR(try_connect(in("file"), SOCK_STREAM, -1, all), -ENOTSOCK);
    ASSERT_ERROR(try_connect(in("file/x"), SOCK_STREAM, -1, all), -ENOTDIR);
    ASSERT_CALL(symlink("loop", in("loop")));
    ASSERT_ERROR(try_connect(in("loop"), SOCK_STREAM, -1, all), -ELOOP);
    for (int i = 0; i < 3; i++) {
        struct hark_listen_options options = quick(types[i]);
        struct hark_listener *listener = listen_on(in("x"), &options);
        ASSERT_ERROR(try_connect(in("x"), types[(i + 1) % 3], -1, all), -EPROTOTYPE);
        hark_listener_free(listener);
    }
    fd = bound_socket(in("dead"), SOCK_STREAM);
    close(fd);
    ASSERT_ERROR(try_connect(in("dead"), SOCK_STREAM, -1, HARK_CONNECT_AWAIT_NAME), -ECONNREFUSED);
    ASSERT_ERROR(try_connect(in("none"), SOCK_STREAM, -1, HARK_CONNECT_AWAIT_LISTENER), -ENOENT);
    directory_remove();
}

/* ---- Waiting ------------------------------------------------------------------------------- */

static uint64_t elapsed_ms(uint64_t since)
{
    return (monotonic_usec() - since) / USEC_PER_MSEC;
}

TEST(a_full_backlog_is_waited_for_as_long_as_asked)
{
    struct hark_listen_options options = quick(SOCK_STREAM);

    directory_make();
    options.backlog = 0; /* one fits */
    struct hark_listener *listener = listen_on(in("x"), &options);
    int first = client(in("x"), SOCK_STREAM);
    ASSERT_OK(first);
    ASSERT_ERROR(try_connect(in("x"), SOCK_STREAM, 0, 0), -ETIMEDOUT);
    uint64_t before = monotonic_usec();
    ASSERT_ERROR(try_connect(in("x"), SOCK_STREAM, 50, HARK_CONNECT_NONBLOCK), -ETIMEDOUT);
    ASSERT(elapsed_ms(before) >= 50);
    ASSERT_ERROR(try_connect(in("x"), SOCK_STREAM, 20,
                             HARK_CONNECT_AWAIT_LISTENER | HARK_CONNECT_AWAIT_NAME),
                 -ETIMEDOUT);
    hark_listener_free(listener);
    close(first);
    directory_remove();
}

struct waiter {
    const char *path;
    int timeout_ms, result;
    unsigned flags;
    pthread_t thread;
};

static void *wait_for_it(void *argument)
{
    struct waiter *waiter = argument;

    waiter->result = try_connect(waiter->path, SOCK_STREAM, waiter->timeout_ms, waiter->flags);
    return NULL;
}

static void begin_to_wait(struct waiter *waiter)
{
    ASSERT_INT(pthread_create(&waiter->thread, NULL, wait_for_it, waiter), 0);
    poll(NULL, 0, 30); /* most likely it waits by now; if not, nothing is different */
}

static int end_of(struct waiter *waiter)
{
    ASSERT_INT(pthread_join(waiter->thread, NULL), 0);
    return waiter->result;
}

TEST(room_in_the_backlog_ends_the_wait)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct waiter waiters[2] = {{.timeout_ms = -1},
                                {.timeout_ms = DEADLINE_MS, .flags = HARK_CONNECT_NONBLOCK}};

    directory_make();
    options.backlog = 0;
    for (int i = 0; i < 2; i++) {
        struct hark_listener *listener = listen_on(in("x"), &options);
        int first = client(in("x"), SOCK_STREAM);
        waiters[i].path = in("x");
        begin_to_wait(&waiters[i]);
        close(accept4(hark_listener_fd(listener), NULL, NULL, SOCK_CLOEXEC));
        ASSERT_OK(end_of(&waiters[i]));
        close(first);
        hark_listener_free(listener);
    }
    struct hark_listener *listener = listen_on(in("x"), &options);
    int first = client(in("x"), SOCK_STREAM);
    waiters[0].path = in("x");
    begin_to_wait(&waiters[0]);
    hark_listener_free(listener); /* so does its end */
    int r = end_of(&waiters[0]);
    ASSERT(r == -ECONNREFUSED || r == -ENOENT);
    close(first);
    directory_remove();
}

TEST(a_server_that_comes_later)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct waiter waiter = {.timeout_ms = DEADLINE_MS};

    directory_make();
    ASSERT_ERROR(try_connect(in("x"), SOCK_STREAM, 20, HARK_CONNECT_AWAIT_NAME), -ENOENT);
    waiter.path = in("x");
    waiter.flags = HARK_CONNECT_AWAIT_NAME;
    begin_to_wait(&waiter);
    struct hark_listener *listener = listen_on(in("x"), &options);
    ASSERT_OK(end_of(&waiter));
    hark_listener_free(listener);

    int fd = bound_socket(in("dead"), SOCK_STREAM);
    ASSERT_ERROR(try_connect(in("dead"), SOCK_STREAM, 20, 0), -ECONNREFUSED);
    waiter.path = in("dead");
    waiter.flags = 0; /* bound already: it is only about to listen */
    begin_to_wait(&waiter);
    ASSERT_CALL(listen(fd, 1));
    ASSERT_OK(end_of(&waiter));
    close(fd);
    ASSERT_ERROR(try_connect(in("dead"), SOCK_STREAM, 20, HARK_CONNECT_AWAIT_LISTENER),
                 -ECONNREFUSED);
    waiter.flags = HARK_CONNECT_AWAIT_LISTENER;
    begin_to_wait(&waiter);
    listener = listen_on(in("dead"), &options);
    ASSERT_OK(end_of(&waiter));
    hark_listener_free(listener);
    directory_remove();
}

static void on_alarm(int signal_number)
{
    (void)signal_number;
}

static void be_interrupted_soon(void)
{
    const struct itimerval soon = {.it_value.tv_usec = 20000, .it_interval.tv_usec = 20000};

    ASSERT_CALL(setitimer(ITIMER_REAL, &soon, NULL));
}

TEST(a_signal_handler_ends_the_wait)
{
    const struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    const struct itimerval never = {.it_value.tv_usec = 0};
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct sigaction old;

    directory_make();
    options.backlog = 0;
    ASSERT_CALL(sigaction(SIGALRM, &action, &old));
    struct hark_listener *listener = listen_on(in("x"), &options);
    int first = client(in("x"), SOCK_STREAM);
    be_interrupted_soon();
    ASSERT_ERROR(try_connect(in("x"), SOCK_STREAM, -1, 0), -EINTR);
    ASSERT_ERROR(try_connect(in("none"), SOCK_STREAM, -1, HARK_CONNECT_AWAIT_NAME), -EINTR);
    ASSERT_CALL(setitimer(ITIMER_REAL, &never, NULL));
    ASSERT_CALL(sigaction(SIGALRM, &old, NULL));
    hark_listener_free(listener);
    close(first);
    directory_remove();
}

TEST(a_connection_waits_no_longer_than_others_once_it_is_made)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct timeval limit;
    socklen_t size = sizeof(limit);
    int fd;

    directory_make();
    struct hark_listener *listener = listen_on(in("x"), &options);
    ASSERT_OK(hark_connect(in("x"), SOCK_STREAM, 10, 0, &fd));
    ASSERT_CALL(getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &size));
    ASSERT_INT(limit.tv_sec, 0);
    ASSERT_INT(limit.tv_usec, 0);
    close(fd);
    hark_listener_free(listener);
    directory_remove();
}

TEST(a_socket_that_may_not_be_written_to)
{
    struct hark_listen_options options = quick(SOCK_STREAM);

    if (geteuid() != 0)
        SKIP("needs root");
    directory_make();
    ASSERT_CALL(chmod(directory_path, 0755));
    struct hark_listener *listener = listen_on(in("x"), &options);
    IN_CHILD({
        ASSERT_CALL(setresuid(65534, 65534, 65534));
        ASSERT_ERROR(try_connect(in("x"), SOCK_STREAM, -1, 7), -EACCES);
    });
    hark_listener_free(listener);
    directory_remove();
}

/* Many at once, at a server that accepts slowly: each gets through, and none is refused. */
TEST(many_threads_wait_for_their_turn)
{
    enum { N = 20 };
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct waiter waiters[N];

    directory_make();
    options.backlog = 0;
    struct hark_listener *listener = listen_on(in("x"), &options);
    const char *path = in("x");
    for (int i = 0; i < N; i++) {
        waiters[i] = (struct waiter){.path = path, .timeout_ms = DEADLINE_MS};
        ASSERT_INT(pthread_create(&waiters[i].thread, NULL, wait_for_it, &waiters[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        int fd = accept4(hark_listener_fd(listener), NULL, NULL, SOCK_CLOEXEC);
        ASSERT_CALL(fd);
        close(fd);
    }
    for (int i = 0; i < N; i++)
        ASSERT_OK(end_of(&waiters[i]));
    hark_listener_free(listener);
    directory_remove();
}
