/* SPDX-License-Identifier: MIT */
/* Children that accept a connection. */
#include "deny.h"
#include "test-spawn.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "basic/clock.h"

/* ---- Accepting ------------------------------------------------------------------------------- */

static void check_connection_at_3(int listener, unsigned flags, const char *fd)
{
    const char *const echo[] = {"program", "--role-echo", fd, NULL};
    struct spawn_plan plan = plan_to_accept(listener);
    uint64_t number = 70;

    plan.flags |= flags;
    plan.arguments = echo;
    int client = connect_to(listener, NULL);
    ASSERT_INT(write(client, &number, sizeof(number)), sizeof(number));
    ASSERT_INT(exit_status_of(run(&plan)), 7);
    assert_echo(client, 70);
    close(client);
    plan.arguments = observe_arguments;
    client = connect_to(listener, NULL);
    assert_line(observed(&plan), flags & SPAWN_CONNECTION_STDIO ? "fds 0 1 2" : "fds 0 1 2 3");
    close(client);
}

TEST(the_connection_is_handed_over)
{
    begin();
    int listener = make_listener(AF_UNIX, NULL, 0, SOCK_NONBLOCK);
    /* Once 3 is free, so that accept(2) itself gives it; once it is another descriptor. */
    IN_CHILD({
        ASSERT_CALL(close_range(3, 29, 0));
        check_connection_at_3(listener, 0, "3");
    });
    IN_CHILD({
        ASSERT_CALL(close_range(3, 29, 0));
        ASSERT_INT(open("/dev/null", O_RDONLY | O_CLOEXEC), 3);
        check_connection_at_3(listener, 0, "3");
    });
    check_connection_at_3(listener, SPAWN_CONNECTION_STDIO, "0");
    close(listener);
    end();
}

TEST(a_lost_race_is_nothing_to_do)
{
    _Atomic uint64_t counter = 5;

    begin();
    int listener = make_listener(AF_UNIX, NULL, 0, SOCK_NONBLOCK);
    struct spawn_plan plan = plan_to_accept(listener);
    plan.counter = &counter;
    ASSERT_ERROR(run(&plan), -EAGAIN);
    ASSERT(record.pid > 0);
    ASSERT_INT(record.step, SPAWN_ACCEPT);
    ASSERT_INT(exit_status_of(record.pid), 0);
    ASSERT_INT(counter, 5);
    close(listener);
    end();
}

TEST(children_are_counted)
{
    _Atomic uint64_t counter = 5;

    begin();
    int listener = make_listener(AF_UNIX, NULL, 0, SOCK_NONBLOCK);
    struct spawn_plan plan = plan_to_accept(listener);
    plan.counter = &counter;
    for (uint64_t i = 5; i < 8; i++) {
        int client = connect_to(listener, NULL);
        uint64_t before = monotonic_usec();

        (void)observed(&plan);
        ASSERT_INT(record.number, i);
        ASSERT(record.start_usec >= before && record.start_usec <= monotonic_usec());
        close(client);
    }
    ASSERT_INT(counter, 8);
    close(listener);
    end();
}

TEST(without_descriptors_the_connection_waits)
{
    begin();
    int listener = make_listener(AF_UNIX, NULL, 0, SOCK_NONBLOCK);
    IN_CHILD({
        struct spawn_plan plan = plan_to_accept(listener);
        struct rlimit before;
        struct rlimit none = {.rlim_cur = 3, .rlim_max = 0};

        ASSERT_CALL(close_range(3, 29, 0));
        int client = connect_to(listener, NULL);
        ASSERT_CALL(getrlimit(RLIMIT_NOFILE, &before));
        none.rlim_max = before.rlim_max;
        ASSERT_CALL(setrlimit(RLIMIT_NOFILE, &none));
        ASSERT_ERROR(run(&plan), -ENOBUFS);
        ASSERT_INT(record.error, EMFILE);
        ASSERT_INT(record.step, SPAWN_ACCEPT);
        ASSERT_INT(exit_status_of(record.pid), 0);
        ASSERT_CALL(setrlimit(RLIMIT_NOFILE, &before));
        assert_line(observed(&plan), "fds 0 1 2 3");
        close(client);
    });
    close(listener);
    end();
}

TEST(what_is_no_listener_is_an_error)
{
    begin();
    int pair[2];
    ASSERT_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    struct spawn_plan plan = plan_to_accept(pair[0]);
    ASSERT_ERROR(run(&plan), -ENOBUFS);
    ASSERT_INT(record.error, EINVAL);
    ASSERT_INT(exit_status_of(record.pid), 0);
    close(pair[0]);
    close(pair[1]);
    end();
}

TEST(only_a_connection_that_is_gone_is_nothing_to_do)
{
    static const int gone[] = {ECONNABORTED, EINTR, EPROTO, ENETDOWN, EHOSTUNREACH, ECONNRESET};
    static const int stays[] = {EPERM, EACCES, ENOSYS, EFAULT};

    begin();
    int listener = make_listener(AF_UNIX, NULL, 0, SOCK_NONBLOCK);
    for (size_t i = 0; i < sizeof(gone) / sizeof(*gone); i++)
        IN_CHILD({
            struct spawn_plan plan = plan_to_accept(listener);

            deny(SYS_accept4, gone[i]);
            ASSERT_ERROR(run(&plan), -EAGAIN);
            ASSERT_INT(exit_status_of(record.pid), 0);
        });
    for (size_t i = 0; i < sizeof(stays) / sizeof(*stays); i++)
        IN_CHILD({
            struct spawn_plan plan = plan_to_accept(listener);

            deny(SYS_accept4, stays[i]);
            ASSERT_ERROR(run(&plan), -ENOBUFS);
            ASSERT_INT(record.error, stays[i]);
            ASSERT_INT(spawner_accept_error(spawner), stays[i]);
            ASSERT_INT(exit_status_of(record.pid), 0);
        });
    close(listener);
    end();
}

/* ---- Variables ------------------------------------------------------------------------------- */

static void check_remote(int listener, const char *address)
{
    struct spawn_plan plan = plan_to_accept(listener);
    union address own = {.generic.sa_family = AF_UNSPEC};
    char line[128];

    plan.flags |= SPAWN_REMOTE_VARIABLES | SPAWN_LISTEN_VARIABLES;
    int client = connect_to(listener, &own);
    const char *text = observed(&plan);
    (void)snprintf(line, sizeof(line), "env LISTEN_PID=%d", record.pid);
    assert_line(text, line);
    if (address) {
        (void)snprintf(line, sizeof(line), "env REMOTE_ADDR=%s", address);
        assert_line(text, line);
        (void)snprintf(
            line, sizeof(line), "env REMOTE_PORT=%d",
            ntohs(own.generic.sa_family == AF_INET6 ? own.in6.sin6_port : own.in.sin_port));
        assert_line(text, line);
    } else {
        ASSERT(!strstr(text, "REMOTE_"));
    }
    close(client);
    close(listener);
}

TEST(the_peer_in_variables_and_record)
{
    begin();
    check_remote(make_listener(AF_INET, "127.0.0.1", 0, SOCK_NONBLOCK), "127.0.0.1");
    ASSERT_INT(record.peer.family, AF_INET);
    check_remote(make_listener(AF_UNIX, NULL, 0, SOCK_NONBLOCK), NULL);
    ASSERT_INT(record.peer.family, AF_UNIX);
    ASSERT_INT(record.peer.unix_credentials.pid, getpid());
    int ipv6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (ipv6 >= 0) {
        close(ipv6);
        check_remote(make_listener(AF_INET6, "::1", 0, SOCK_NONBLOCK), "::1");
        ASSERT_INT(record.peer.family, AF_INET6);
    }
    end();
}

/* What systemd sets since 257. */
static void check_unix_name(const struct sockaddr_un *own, socklen_t own_size, const char *expected)
{
    int listener = listen_unix();
    struct spawn_plan plan = plan_to_accept(listener);
    struct sockaddr_un server;
    socklen_t size = sizeof(server);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    plan.flags |= SPAWN_REMOTE_VARIABLES;
    ASSERT_OK(fd_move_above(&client, 40));
    ASSERT_CALL(bind(client, (const struct sockaddr *)own, own_size));
    ASSERT_CALL(getsockname(listener, (struct sockaddr *)&server, &size));
    ASSERT_CALL(connect(client, (const struct sockaddr *)&server, size));
    const char *text = observed(&plan);
    assert_line(text, expected);
    ASSERT(!strstr(text, "REMOTE_PORT"));
    close(client);
    close(listener);
}

TEST(a_unix_peer_with_a_name)
{
    struct sockaddr_un own = {.sun_family = AF_UNIX};
    char line[256];

    begin();
    int length = snprintf(own.sun_path, sizeof(own.sun_path), "%s/a b\\c", directory_path);
    (void)snprintf(line, sizeof(line), "env REMOTE_ADDR=%s", own.sun_path);
    check_unix_name(&own, (socklen_t)offsetof(struct sockaddr_un, sun_path) + (socklen_t)length,
                    line);
    memcpy(own.sun_path, "\0hark\\test \n\0\377", 14);
    check_unix_name(&own, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 14),
                    "env REMOTE_ADDR=@hark\\x5ctest \\x0a\\x00\\xff");
    end();
}

/* ---- Options --------------------------------------------------------------------------------- */

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);

    ASSERT_CALL(getsockopt(fd, level, name, &value, &size));
    return value;
}

/* The program of the child has fd 3 as we have client: options are seen through a copy of it. */
TEST(options_of_the_connection)
{
    static int value = 1;
    static const int priority = 3;
    const struct spawn_socket_option options[] = {
        {.level = SOL_SOCKET, .name = 9999, .value = &value, .size = sizeof(value)}, /* none */
        {.level = SOL_SOCKET, .name = SO_KEEPALIVE, .value = &value, .size = sizeof(value)},
        {.level = SOL_SOCKET, .name = SO_PRIORITY, .value = &priority, .size = sizeof(priority)},
    };
    static const char *const wait_arguments[] = {"program", "--role-wait", NULL};
    struct prepared_plan *prepared;
    int status;

    begin();
    int listener = make_listener(AF_INET, "127.0.0.1", 0, SOCK_NONBLOCK);
    struct spawn_plan plan = plan_to_accept(listener);
    plan.arguments = wait_arguments;
    plan.connection_options = options;
    plan.n_connection_options = 3;
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    value = 0; /* it was copied */
    int client = connect_to(listener, NULL);
    memset(&record, 0, sizeof(record));
    ASSERT_OK(spawn_run(spawner, prepared, &record));
    int pidfd = (int)syscall(SYS_pidfd_open, record.pid, 0);
    ASSERT_CALL(pidfd);
    int connection = (int)syscall(SYS_pidfd_getfd, pidfd, 3, 0);
    ASSERT_CALL(connection);
    ASSERT_INT(option_of(connection, SOL_SOCKET, SO_KEEPALIVE), 1);
    ASSERT_INT(option_of(connection, SOL_SOCKET, SO_PRIORITY), 3);
    ASSERT_CALL(kill(record.pid, SIGKILL));
    ASSERT_INT(waitpid(record.pid, &status, 0), record.pid);
    close(connection);
    close(pidfd);
    close(client);
    spawn_plan_free(prepared);
    close(listener);
    end();
}

TEST(options_without_a_connection_are_refused)
{
    const int value = 1;
    struct spawn_socket_option option = {
        .level = SOL_SOCKET, .name = SO_KEEPALIVE, .value = &value, .size = sizeof(value)};
    struct spawn_plan plan = observe_plan();
    struct prepared_plan *prepared;

    plan.connection_options = &option;
    plan.n_connection_options = 1;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    plan.flags = SPAWN_WITH_ACCEPT;
    option.value = NULL;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
}

TEST(no_variables_unless_wanted)
{
    begin();
    int listener = make_listener(AF_INET, "127.0.0.1", 0, SOCK_NONBLOCK);
    int client = connect_to(listener, NULL);
    struct spawn_plan plan = plan_to_accept(listener);
    ASSERT(!strstr(observed(&plan), "\nenv "));
    close(client);
    close(listener);
    end();
}

struct ipv6_request { /* in6_ifreq of <linux/ipv6.h>, which quarrels with <netinet/in.h> */
    struct in6_addr address;
    uint32_t prefix_length;
    int interface;
};

/* The kernel puts a new address to use a moment later. */
static void await_address(const struct ipv6_request *request)
{
    const struct sockaddr_in6 address = {.sin6_family = AF_INET6,
                                         .sin6_addr = request->address,
                                         .sin6_scope_id = (uint32_t)request->interface};
    uint64_t deadline = monotonic_usec() + 10 * USEC_PER_SEC;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ASSERT_CALL(fd);
    while (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        ASSERT_INT(errno, EADDRNOTAVAIL);
        ASSERT(monotonic_usec() < deadline);
        (void)sched_yield();
    }
    close(fd);
}

static void check_link_local(void)
{
    struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    struct ipv6_request request = {.prefix_length = 64, .interface = (int)if_nametoindex("lo")};
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    ASSERT_CALL(fd);
    ASSERT_CALL(ioctl(fd, SIOCSIFFLAGS, &up));
    ASSERT_INT(inet_pton(AF_INET6, "fe80::17", &request.address), 1);
    ASSERT_CALL(ioctl(fd, SIOCSIFADDR, &request));
    close(fd);
    await_address(&request);
    check_remote(make_listener(AF_INET6, "fe80::17", (uint32_t)request.interface, SOCK_NONBLOCK),
                 "fe80::17%lo");
}

TEST(a_link_local_peer_has_an_interface)
{
    if (getuid() != 0)
        SKIP("needs root, for a network namespace with such an address");
    begin();
    IN_CHILD({
        ASSERT_CALL(unshare(CLONE_NEWNET));
        check_link_local();
    });
    end();
}

/* ---- Listeners that block -------------------------------------------------------------------- */

TEST(a_blocking_listener_without_traffic_does_not_block)
{
    begin();
    int listener = make_listener(AF_UNIX, NULL, 0, 0);
    struct spawn_plan plan = plan_to_accept(listener);
    plan.flags |= SPAWN_MAY_BLOCK;
    ASSERT_ERROR(run(&plan), -EAGAIN);
    ASSERT_INT(exit_status_of(record.pid), 0);
    int client = connect_to(listener, NULL);
    assert_line(observed(&plan), "fds 0 1 2 3");
    close(client);
    close(listener);
    end();
}

/* Every accept4(2) of this process stops until somebody who has the returned descriptor agrees. */
static int stop_at_accept(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_accept4, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = code};

    ASSERT_CALL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                          &program);
    ASSERT_CALL(fd);
    return fd;
}

static bool waits_in_accept(pid_t pid)
{
    char path[64];
    char text[64] = "";

    (void)snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)!read(fd, text, sizeof(text) - 1);
    close(fd);
    return strncmp(text, "running", 7) != 0 && atoi(text) == SYS_accept4;
}

/* The faster one: takes the connection while the child is between poll(2) and accept(2), lets it
 * go on, and interrupts it, as the supervisor does, when it waits. */
static void steal(int notify, int listener, const struct spawn_record *shared)
{
    struct seccomp_notif request = {0};
    uint64_t deadline = monotonic_usec() + 10 * USEC_PER_SEC;

    ASSERT_CALL(ioctl(notify, SECCOMP_IOCTL_NOTIF_RECV, &request));
    struct seccomp_notif_resp answer = {.id = request.id,
                                        .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    ASSERT_CALL(accept(listener, NULL, NULL));
    ASSERT_CALL(ioctl(notify, SECCOMP_IOCTL_NOTIF_SEND, &answer));
    while (!waits_in_accept(shared->pid))
        ASSERT(monotonic_usec() < deadline);
    ASSERT_INT(shared->step, SPAWN_ACCEPT);
    ASSERT_CALL(kill(shared->pid, SIGURG));
    while (kill(shared->pid, 0) == 0 && waits_in_accept(shared->pid))
        if (monotonic_usec() > deadline) {
            (void)kill(shared->pid, SIGKILL); /* or its creator would wait for ever */
            TEST_FAIL("SIGURG did not end the accept");
        }
}

static void check_stolen_connection(int listener)
{
    struct spawn_record *shared = shared_record();
    struct spawn_plan plan = plan_to_accept(listener);
    struct prepared_plan *prepared;
    int client = connect_to(listener, NULL);

    plan.flags |= SPAWN_MAY_BLOCK;
    ASSERT_OK(spawn_install_interrupt());
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    int notify = stop_at_accept();
    fflush(NULL);
    pid_t thief = fork();
    ASSERT_CALL(thief);
    if (thief == 0) {
        steal(notify, listener, shared);
        _exit(0);
    }
    ASSERT_ERROR(spawn_run(spawner, prepared, shared), -EAGAIN);
    ASSERT_INT(shared->error, EAGAIN);
    ASSERT_INT(exit_status_of(shared->pid), 0);
    ASSERT_INT(exit_status_of(thief), 0);
    close(client);
    spawn_plan_free(prepared);
    munmap(shared, sizeof(*shared));
}

TEST(sigurg_ends_a_wait_for_a_stolen_connection)
{
    begin();
    int listener = make_listener(AF_UNIX, NULL, 0, 0);
    IN_CHILD(check_stolen_connection(listener));
    /* The next one is served. */
    struct spawn_plan plan = plan_to_accept(listener);
    plan.flags |= SPAWN_MAY_BLOCK;
    int client = connect_to(listener, NULL);
    assert_line(observed(&plan), "fds 0 1 2 3");
    close(client);
    close(listener);
    end();
}
