/* SPDX-License-Identifier: MIT */
/* Connections of spawned programs, and signals for one child. The program is this one again, with
 * HARK_TEST_PROGRAM in its environment. */
#include "test-forkserver.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "libhark/forkserver-connection.h"

#define STATUS_GOOD 23

/* ---- Programs ------------------------------------------------------------------------------ */

static int run_program(struct hark_forkserver *server, const char *what, const int *fds,
                       size_t n_fds, unsigned flags, struct hark_child *ret_child)
{
    static const char *const arguments[] = {"test", NULL};
    char variable[64];
    const char *const environment[] = {variable, NULL};
    const struct hark_spawn spawn = {
        .size = sizeof(spawn),
        .program = "/proc/self/exe",
        .arguments = arguments,
        .environment = environment,
        .fds = fds,
        .n_fds = n_fds,
    };

    snprintf(variable, sizeof(variable), "HARK_TEST_PROGRAM=%s", what);
    return hark_forkserver_spawn(server, &spawn, flags, ret_child);
}

static int never_called(struct hark_forkserver *connection, int socket_fd)
{
    (void)connection;
    return socket_fd;
}

static int never_called_either(const void *data, size_t size)
{
    (void)data;
    return (int)size;
}

static struct hark_forkserver *connection_of(int fd)
{
    struct hark_forkserver *connection;

    ASSERT_OK(hark_forkserver_from_fd(fd, &connection));
    ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    ASSERT_INT(hark_forkserver_pid(connection), getppid());
    return connection;
}

static void be_a_client(struct hark_forkserver *connection)
{
    struct hark_child child = run_with_exit(connection, "exit 5");
    int result = 77;

    assert_exit(&child, CLD_EXITED, 5);
    child.pid = -7;
    ASSERT_ERROR(hark_forkserver_fork(connection, never_called, HARK_CHILD_EXIT, &child),
                 -EOPNOTSUPP);
    ASSERT_INT(child.pid, -7);
    ASSERT_ERROR(hark_forkserver_call(connection, never_called_either, NULL, 0, &result), -EPERM);
    ASSERT_INT(result, 77);
    ASSERT_ERROR(hark_forkserver_stop(connection, 0), -EPERM);
    ASSERT_ERROR(hark_forkserver_stop_server(connection), -EPERM);
}

/* Behind 0, 1, 2. */
static void is_a_client(void)
{
    struct hark_forkserver *connection = connection_of(3);
    struct hark_child child;

    be_a_client(connection);
    ASSERT_INT(hark_forkserver_kill_all(connection, SIGKILL), 0); /* not itself */
    /* And so is a program of its own. */
    ASSERT_OK(
        run_program(connection, "leaf", NULL, 0, HARK_CHILD_CONNECTION | HARK_CHILD_EXIT, &child));
    assert_exit(&child, CLD_EXITED, STATUS_GOOD);
    int copy = dup(connection->fd);
    ASSERT_CALL(copy);
    hark_forkserver_free(connection);
    ASSERT_INT(fcntl(3, F_GETFD), -1);
    connection = connection_of(copy); /* a copy is as good, and what it needs is still there */
    be_a_client(connection);
    hark_forkserver_free(connection);
}

static void is_a_leaf(void)
{
    struct hark_forkserver *connection = connection_of(3);

    be_a_client(connection);
    hark_forkserver_free(connection);
}

/* The socket is at 5, the connection behind it. */
static void has_a_socket_too(void)
{
    struct hark_forkserver *connection = (struct hark_forkserver *)&connection,
                           *before = connection;

    ASSERT_ERROR(hark_forkserver_from_fd(5, &connection), -EPROTOTYPE);
    ASSERT(connection == before);
    ASSERT(!(fcntl(5, F_GETFD) & FD_CLOEXEC));
    ASSERT_INT(fcntl(7, F_GETFD), -1);
    connection = connection_of(6);
    ASSERT_INT(write(5, "ready", 5), 5);
    be_a_client(connection);
    hark_forkserver_free(connection);
}

/* Told when the server is dead. */
static void outlives_the_server(void)
{
    struct hark_forkserver *connection = (struct hark_forkserver *)&connection;
    char byte;

    ASSERT_INT(write(3, "x", 1), 1);
    ASSERT_INT(read(3, &byte, 1), 1);
    int r = hark_forkserver_from_fd(4, &connection);
    if (r >= 0) {
        ASSERT_ERROR(hark_forkserver_kill_all(connection, 0), -EPIPE);
        hark_forkserver_free(connection);
    } else {
        ASSERT_INT(r, -EPIPE);
    }
    ASSERT_INT(write(3, "good", 4), 4);
}

__attribute__((constructor)) static void be_a_program(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } programs[] = {
        {"client", is_a_client},
        {"leaf", is_a_leaf},
        {"socket", has_a_socket_too},
        {"orphan", outlives_the_server},
    };
    const char *wanted = getenv("HARK_TEST_PROGRAM");

    for (size_t i = 0; wanted && i < sizeof(programs) / sizeof(programs[0]); i++)
        if (strcmp(wanted, programs[i].name) == 0) {
            programs[i].run();
            _exit(STATUS_GOOD);
        }
}

TEST(a_program_with_a_connection_is_a_client)
{
    struct hark_forkserver *server = start();
    struct hark_child child;

    ASSERT_OK(
        run_program(server, "client", NULL, 0, HARK_CHILD_CONNECTION | HARK_CHILD_EXIT, &child));
    ASSERT_INT(child.socket_fd, -1);
    assert_exit(&child, CLD_EXITED, STATUS_GOOD);
    child = run_with_exit(server, "exit 0"); /* the starter's goes on */
    assert_exit(&child, CLD_EXITED, 0);
    hark_forkserver_free(server);
}

TEST(a_connection_comes_after_descriptors_and_socket)
{
    static const int fds[] = {-1, STDOUT_FILENO, STDERR_FILENO, -1, -1};
    struct hark_forkserver *server = start();
    struct hark_child child;
    char text[8];

    ASSERT_OK(run_program(server, "socket", fds, 5,
                          HARK_CHILD_CONNECTION | HARK_CHILD_SOCKET | HARK_CHILD_EXIT, &child));
    read_text(child.socket_fd, text, sizeof(text));
    ASSERT_STRING(text, "ready");
    assert_exit(&child, CLD_EXITED, STATUS_GOOD);
    ASSERT_CALL(close(child.socket_fd));
    hark_forkserver_free(server);
}

TEST(as_many_descriptors_as_documented_and_a_connection)
{
    static int fds[HARK_SPAWN_FDS_MAX];
    struct hark_forkserver *server = start();
    struct hark_child child;

    for (size_t i = 0; i < HARK_SPAWN_FDS_MAX; i++)
        fds[i] = i % 2 ? STDERR_FILENO : -1;
    ASSERT_OK(run_script(server,
                         "cd /proc/self/fd && readlink 249 | grep -q socket && "
                         "readlink 250 | grep -q socket && ! test -e 251",
                         fds, HARK_SPAWN_FDS_MAX,
                         HARK_CHILD_SOCKET | HARK_CHILD_EXIT | HARK_CHILD_CONNECTION, &child));
    assert_exit(&child, CLD_EXITED, 0);
    ASSERT_CALL(close(child.socket_fd));
    hark_forkserver_free(server);
}

TEST(nothing_remains_of_a_program_that_could_not_be_started)
{
    static const char *const arguments[] = {"x", NULL};
    const struct hark_spawn spawn = {
        .size = sizeof(spawn), .program = "/nonexistent", .arguments = arguments};
    struct hark_forkserver *server = start();
    int before = count_descriptors(hark_forkserver_pid(server));
    struct hark_child child;

    for (int i = 0; i < 10; i++)
        ASSERT_ERROR(
            hark_forkserver_spawn(server, &spawn, HARK_CHILD_CONNECTION | HARK_CHILD_EXIT, &child),
            -ENOENT);
    AWAIT(count_descriptors(hark_forkserver_pid(server)) == before);
    for (int i = 0; i < 10; i++) {
        ASSERT_OK(
            run_script(server, "exit 1", NULL, 0, HARK_CHILD_CONNECTION | HARK_CHILD_EXIT, &child));
        assert_exit(&child, CLD_EXITED, 1);
    }
    AWAIT(count_descriptors(hark_forkserver_pid(server)) == before);
    hark_forkserver_free(server);
}

/* The server lives as long as the program's connection, and no longer. */
static void starter_that_dies(void)
{
    pid_t server_pid, ended;
    char text[16];
    int out[2];

    ASSERT_CALL(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    ASSERT_CALL(pipe2(out, O_CLOEXEC));
    pid_t starter = fork();
    ASSERT_CALL(starter);
    if (starter == 0) {
        const int fds[] = {-1, out[1], 2};
        struct hark_forkserver *server = start();
        struct hark_child child;
        ASSERT_OK(run_script(server, "read x <&3; echo done", fds, 3,
                             HARK_CHILD_CONNECTION | HARK_CHILD_SOCKET, &child));
        server_pid = hark_forkserver_pid(server);
        ASSERT_INT(write(out[1], &server_pid, sizeof(server_pid)), sizeof(server_pid));
        raise(SIGKILL);
    }
    ASSERT_CALL(close(out[1]));
    ASSERT_INT(read(out[0], &server_pid, sizeof(server_pid)), sizeof(server_pid));
    read_text(out[0], text, sizeof(text));
    ASSERT_STRING(text, "done\n"); /* its socket was closed with the starter */
    do {
        ended = waitpid(-1, NULL, __WALL);
        ASSERT_CALL(ended);
    } while (ended != server_pid);
    close(out[0]);
}

TEST(the_server_ends_with_its_last_program)
{
    in_child(starter_that_dies);
}

TEST(a_server_that_is_gone)
{
    struct hark_forkserver *server = start();
    struct hark_child child;
    char text[8];

    ASSERT_OK(
        run_program(server, "orphan", NULL, 0, HARK_CHILD_CONNECTION | HARK_CHILD_SOCKET, &child));
    await(child.socket_fd);
    ASSERT_INT(read(child.socket_fd, text, 1), 1);
    ASSERT_OK(hark_forkserver_stop_server(server));
    ASSERT_INT(write(child.socket_fd, "x", 1), 1);
    read_text(child.socket_fd, text, sizeof(text));
    ASSERT_STRING(text, "good");
    ASSERT_CALL(close(child.socket_fd));
    hark_forkserver_free(server);
}

static int from_fd(int fd)
{
    struct hark_forkserver *untouched = (struct hark_forkserver *)&untouched, *server = untouched;
    int r = hark_forkserver_from_fd(fd, &server);

    ASSERT(r < 0 && server == untouched);
    return r;
}

TEST(what_is_no_connection)
{
    struct forkserver_hello hello = {.version = FORKSERVER_VERSION};
    struct hark_forkserver *server = start();
    int ends[2];

    ASSERT_ERROR(hark_forkserver_from_fd(0, NULL), -EINVAL);
    ASSERT_ERROR(from_fd(-1), -EBADF);
    ASSERT_ERROR(from_fd(999), -EBADF);
    ASSERT_CALL(pipe2(ends, O_CLOEXEC));
    ASSERT_ERROR(from_fd(ends[0]), -ENOTSOCK);
    close(ends[0]);
    close(ends[1]);
    ASSERT_ERROR(from_fd(server->fd), -EPROTOTYPE); /* not one for a program */
    ASSERT_CALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
    ASSERT_ERROR(from_fd(ends[0]), -EPROTOTYPE);
    ASSERT_INT(send(ends[1], "hi", 2, 0), 2);
    ASSERT_ERROR(from_fd(ends[0]), -EPROTOTYPE);
    char rest[8];
    ASSERT_INT(read(ends[0], rest, sizeof(rest)), 2); /* it only looks */
    hello.version++;
    ASSERT_INT(send(ends[1], &hello, sizeof(hello), 0), sizeof(hello));
    ASSERT_ERROR(from_fd(ends[0]), -EPROTONOSUPPORT);
    close(ends[1]);
    ASSERT_INT(read(ends[0], &hello, sizeof(hello)), sizeof(hello));
    ASSERT_ERROR(from_fd(ends[0]), -EPIPE);
    close(ends[0]);
    hark_forkserver_free(server);
}

/* ---- A signal for one ---------------------------------------------------------------------- */

TEST(one_child_is_signalled_and_no_other)
{
    struct hark_forkserver *server = start();
    struct hark_child children[5], none;
    int copy;

    for (int i = 0; i < 5; i++)
        children[i] = run_with_exit(server, "exec sleep 60");
    ASSERT_INT(hark_forkserver_kill(server, &children[2], 0), 0);
    ASSERT_INT(hark_forkserver_kill(server, &children[2], SIGUSR1), 0);
    copy = dup(children[2].exit_fd);
    ASSERT_CALL(copy);
    assert_exit(&children[2], CLD_KILLED, SIGUSR1);
    ASSERT_INT(hark_forkserver_kill_all(server, 0), 4);
    children[2].exit_fd = copy;
    ASSERT_ERROR(hark_forkserver_kill(server, &children[2], SIGKILL), -ESRCH);
    children[2].exit_fd = -1;
    ASSERT_ERROR(hark_forkserver_kill(server, &children[2], SIGKILL), -ESRCH);
    /* Another's descriptor is not enough, nor is the pid. */
    none = (struct hark_child){.pid = children[0].pid, .exit_fd = children[1].exit_fd};
    ASSERT_ERROR(hark_forkserver_kill(server, &none, SIGKILL), -ESRCH);
    none = (struct hark_child){.pid = getpid(), .exit_fd = -1};
    ASSERT_ERROR(hark_forkserver_kill(server, &none, SIGKILL), -ESRCH); /* not the host */
    none.pid = hark_forkserver_pid(server);
    ASSERT_ERROR(hark_forkserver_kill(server, &none, SIGKILL), -ESRCH);
    none.pid = children[0].pid;
    ASSERT_INT(hark_forkserver_kill(server, &none, SIGTERM), 0); /* by its pid alone */
    assert_exit(&children[0], CLD_KILLED, SIGTERM);
    ASSERT_INT(hark_forkserver_kill_all(server, SIGKILL), 3);
    close(copy);
    for (int i = 1; i < 5; i++)
        if (i != 2)
            assert_exit(&children[i], CLD_KILLED, SIGKILL);
    hark_forkserver_free(server);
}

TEST(what_cannot_be_signalled)
{
    struct hark_forkserver *server = start();
    struct hark_child child = run_with_exit(server, "exec sleep 60"), wrong = child;
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    ASSERT_ERROR(hark_forkserver_kill(server, NULL, SIGTERM), -EINVAL);
    ASSERT_ERROR(hark_forkserver_kill(server, &child, -1), -EINVAL);
    ASSERT_ERROR(hark_forkserver_kill(server, &child, NSIG), -EINVAL);
    wrong.pid = 0;
    ASSERT_ERROR(hark_forkserver_kill(server, &wrong, SIGTERM), -EINVAL);
    wrong.pid = -child.pid; /* no group, nor everybody */
    ASSERT_ERROR(hark_forkserver_kill(server, &wrong, SIGTERM), -EINVAL);
    wrong.pid = child.pid;
    wrong.exit_fd = 999;
    ASSERT_ERROR(hark_forkserver_kill(server, &wrong, SIGTERM), -EBADF);
    wrong.exit_fd = null_fd;
    ASSERT_ERROR(hark_forkserver_kill(server, &wrong, SIGTERM), -ENOTSOCK);
    ASSERT_INT(hark_forkserver_stop(server, 1000), 0);
    ASSERT_ERROR(hark_forkserver_kill(server, &child, SIGTERM), -EPIPE);
    assert_exit(&child, CLD_KILLED, SIGTERM);
    close(null_fd);
    hark_forkserver_free(server);
}

static int killer_entry(struct hark_forkserver *connection, int socket_fd)
{
    struct hark_child child = run_with_exit(connection, "exec sleep 60"), other;
    char byte;
    size_t n = 1;

    ASSERT_INT(hark_forkserver_kill(connection, &child, SIGHUP), 0);
    assert_exit(&child, CLD_KILLED, SIGHUP);
    ASSERT_INT(read(socket_fd, &other.pid, sizeof(other.pid)), sizeof(other.pid));
    ASSERT_INT(hark_receive_fds(socket_fd, &byte, 1, &other.exit_fd, &n), 1);
    ASSERT_INT(n, 1);
    ASSERT_INT(hark_forkserver_kill(connection, &other, SIGINT), 0); /* another's */
    return 12;
}

TEST(any_client_may_signal)
{
    struct hark_forkserver *server = start();
    struct hark_child victim = run_with_exit(server, "exec sleep 60"), child;

    ASSERT_OK(hark_forkserver_fork(
        server, killer_entry, HARK_CHILD_CONNECTION | HARK_CHILD_SOCKET | HARK_CHILD_EXIT, &child));
    ASSERT_INT(write(child.socket_fd, &victim.pid, sizeof(victim.pid)), sizeof(victim.pid));
    ASSERT_INT(hark_send_fds(child.socket_fd, "x", 1, &victim.exit_fd, 1), 1);
    assert_exit(&victim, CLD_KILLED, SIGINT);
    assert_exit(&child, CLD_EXITED, 12);
    ASSERT_CALL(close(child.socket_fd));
    hark_forkserver_free(server);
}

/* The next pid is to be this one. */
static int set_next_pid(const void *data, size_t size)
{
    char text[16];
    pid_t pid;

    ASSERT_INT(size, sizeof(pid));
    memcpy(&pid, data, sizeof(pid));
    snprintf(text, sizeof(text), "%d", pid - 1);
    int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return r;
}

#define NO_WAY_TO_CHOOSE_PIDS 77

static void pids_come_again(void)
{
    ASSERT_CALL(unshare(CLONE_NEWPID));
    struct hark_forkserver *server = start();
    struct hark_child first = run_with_exit(server, "exit 1"), second;
    int copy = dup(first.exit_fd), result;

    ASSERT_CALL(copy);
    assert_exit(&first, CLD_EXITED, 1);
    first.exit_fd = copy;
    ASSERT_OK(hark_forkserver_call(server, set_next_pid, &first.pid, sizeof(first.pid), &result));
    if (result < 0)
        _exit(NO_WAY_TO_CHOOSE_PIDS);
    second = run_with_exit(server, "exec sleep 60");
    ASSERT_INT(second.pid, first.pid);
    ASSERT_ERROR(hark_forkserver_kill(server, &first, SIGKILL), -ESRCH);
    ASSERT_INT(hark_forkserver_kill(server, &second, SIGTERM), 0);
    assert_exit(&second, CLD_KILLED, SIGTERM);
    close(copy);
    hark_forkserver_free(server);
}

TEST(a_pid_that_came_again_is_another_child)
{
    int status;

    if (geteuid() != 0)
        SKIP("needs root");
    pid_t pid = fork();
    ASSERT_CALL(pid);
    if (pid == 0) {
        pids_come_again();
        _exit(0);
    }
    ASSERT_INT(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_WAY_TO_CHOOSE_PIDS)
        SKIP("needs ns_last_pid");
    ASSERT_INT(status, 0);
}
