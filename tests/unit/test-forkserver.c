/* SPDX-License-Identifier: MIT */
/* Each function of the fork server. Strange hosts and clients are in test-forkserver-hosts.c. */
#include "test-forkserver.h"

#include <sys/socket.h>

/* ---- Programs ------------------------------------------------------------------------------ */

TEST(a_program_runs_and_its_exit_is_told)
{
    struct hark_forkserver *server = start();
    struct hark_child child = run_with_exit(server, "exit 7");
    char byte;

    ASSERT(hark_forkserver_pid(server) > 0 && hark_forkserver_pid(server) != child.pid);
    await(child.exit_fd);
    int copy = fcntl(child.exit_fd, F_DUPFD_CLOEXEC, 0);
    assert_exit(&child, CLD_EXITED, 7);
    ASSERT_INT(read(copy, &byte, 1), 0); /* once only */
    ASSERT_CALL(close(copy));
    child = run_with_exit(server, "kill -KILL $$");
    assert_exit(&child, CLD_KILLED, SIGKILL);
    hark_forkserver_free(server);
}

TEST(arguments_environment_directory_and_descriptors)
{
    static const char *const arguments[] = {"sh",
                                            "-c",
                                            "echo \"$0|$1|$2|$A|$(pwd)\" && cat && "
                                            "readlink /proc/self/fd/2",
                                            "zero",
                                            "",
                                            "two words",
                                            NULL};
    static const char *const environment[] = {"A=b c", "PATH=/bin:/usr/bin", NULL};
    struct hark_forkserver *server = start();
    struct hark_child child;
    char text[256];
    int out[2];

    ASSERT_CALL(pipe2(out, O_CLOEXEC));
    const int fds[] = {-1, out[1], -1};
    const struct hark_spawn spawn = {
        .size = sizeof(spawn),
        .program = "/bin/sh",
        .arguments = arguments,
        .environment = environment,
        .directory = "/usr",
        .fds = fds,
        .n_fds = 3,
    };
    ASSERT_OK(hark_forkserver_spawn(server, &spawn, 0, &child));
    ASSERT_INT(child.socket_fd, -1);
    ASSERT_INT(child.exit_fd, -1);
    ASSERT_CALL(close(out[1]));
    read_text(out[0], text, sizeof(text));
    ASSERT_STRING(text, "zero||two words|b c|/usr\n/dev/null\n");
    ASSERT_CALL(close(out[0]));
    hark_forkserver_free(server);
}

TEST(a_program_inherits_nothing_else)
{
    struct hark_forkserver *server;
    struct hark_child child;
    char text[1024];
    int out[2], leak[2];

    ASSERT_CALL(pipe(leak)); /* not close-on-exec */
    server = start();
    struct hark_child other = run_with_exit(server, "exec sleep 60");
    ASSERT_CALL(pipe2(out, O_CLOEXEC));
    const int fds[] = {-1, out[1], -1};
    ASSERT_OK(run_script(server,
                         "cd /proc/self/fd; echo *; grep -E 'Sig(Blk|Ign)' /proc/self/status", fds,
                         3, HARK_CHILD_EXIT, &child));
    ASSERT_CALL(close(out[1]));
    read_text(out[0], text, sizeof(text));
    ASSERT(strncmp(text, "0 1 2 ", 6) == 0);
    ASSERT(strchr(text, '\n') <= text + 8); /* the shell's own for the directory, at most */
    ASSERT(strstr(text, "SigBlk:\t0000000000000000"));
    ASSERT(strstr(text, "SigIgn:\t0000000000000000"));
    assert_exit(&child, CLD_EXITED, 0);
    ASSERT_INT(hark_forkserver_kill_all(server, SIGKILL), 1);
    assert_exit(&other, CLD_KILLED, SIGKILL);
    ASSERT_CALL(close(out[0]));
    ASSERT_CALL(close(leak[0]));
    ASSERT_CALL(close(leak[1]));
    hark_forkserver_free(server);
}

static void converse(int socket_fd)
{
    char text[8];

    ASSERT_INT(write(socket_fd, "hello", 5), 5);
    ASSERT_CALL(shutdown(socket_fd, SHUT_WR));
    read_text(socket_fd, text, sizeof(text));
    ASSERT_STRING(text, "hello");
    ASSERT_CALL(close(socket_fd));
}

TEST(a_program_gets_its_socket_behind_its_descriptors)
{
    static const int fds[] = {-1, -1, -1, -1, -1};
    struct hark_forkserver *server = start();
    struct hark_child child;

    ASSERT_OK(run_script(server, "cat <&3 >&3", NULL, 0, HARK_CHILD_SOCKET, &child));
    converse(child.socket_fd);
    ASSERT_OK(run_script(server, "cat <&5 >&5", fds, 5, HARK_CHILD_SOCKET, &child));
    converse(child.socket_fd);
    ASSERT_OK(hark_forkserver_stop(server, -1));
    hark_forkserver_free(server);
}

TEST(as_many_descriptors_as_documented)
{
    static int fds[HARK_SPAWN_FDS_MAX + 1];
    struct hark_forkserver *server = start();
    struct hark_child child;

    for (size_t i = 0; i < HARK_SPAWN_FDS_MAX + 1; i++)
        fds[i] = i % 2 ? STDERR_FILENO : -1;
    ASSERT_OK(run_script(server,
                         "cd /proc/self/fd && test -e 248 && readlink 249 | grep -q socket && "
                         "! test -e 250",
                         fds, HARK_SPAWN_FDS_MAX, HARK_CHILD_SOCKET | HARK_CHILD_EXIT, &child));
    assert_exit(&child, CLD_EXITED, 0);
    ASSERT_CALL(close(child.socket_fd));
    ASSERT_ERROR(run_script(server, "", fds, HARK_SPAWN_FDS_MAX + 1, 0, &child), -E2BIG);
    hark_forkserver_free(server);
}

TEST(what_fails_in_the_child_is_the_callers_errno)
{
    static const char *const arguments[] = {"x", NULL};
    static const int closed[] = {999};
    struct hark_forkserver *server = start();
    struct hark_child child = {.pid = -5};
    struct hark_spawn spawn = {.size = sizeof(spawn), .arguments = arguments};
    const unsigned flags = HARK_CHILD_EXIT | HARK_CHILD_SOCKET;

    spawn.program = "/nonexistent/program";
    ASSERT_ERROR(hark_forkserver_spawn(server, &spawn, flags, &child), -ENOENT);
    spawn.program = "/etc/passwd";
    ASSERT_ERROR(hark_forkserver_spawn(server, &spawn, flags, &child), -EACCES);
    spawn.program = "/bin/sh";
    spawn.directory = "/etc/passwd";
    ASSERT_ERROR(hark_forkserver_spawn(server, &spawn, flags, &child), -ENOTDIR);
    spawn.directory = NULL;
    spawn.fds = closed;
    spawn.n_fds = 1;
    ASSERT_ERROR(hark_forkserver_spawn(server, &spawn, flags, &child), -EBADF);
    ASSERT_ERROR(hark_forkserver_spawn(server, &spawn, 1U << 20, &child), -EINVAL);
    spawn.size = 1;
    ASSERT_ERROR(hark_forkserver_spawn(server, &spawn, flags, &child), -EINVAL);
    ASSERT_INT(child.pid, -5);
    ASSERT(has_no_children(hark_forkserver_pid(server)));
    hark_forkserver_free(server);
}

TEST(arguments_as_large_as_execve_takes)
{
    enum { PIECE = 100 * 1024, N = 40 };
    static char pieces[N][PIECE];
    static const char *environment[N + 1];
    static const char *const arguments[] = {"sh", "-c", "exit $((${#V0} / 1024))", NULL};
    struct hark_forkserver *server = start();
    struct hark_child child;
    struct hark_spawn spawn = {
        .size = sizeof(spawn),
        .program = "/bin/sh",
        .arguments = arguments,
        .environment = environment,
    };

    for (int i = 0; i < N; i++) {
        memset(pieces[i], 'x', PIECE - 1);
        memcpy(pieces[i], i == 0 ? "V0=" : "W0=", 3);
        environment[i] = pieces[i];
    }
    ASSERT_ERROR(hark_forkserver_spawn(server, &spawn, HARK_CHILD_EXIT, &child), -E2BIG);
    environment[N / 4] = NULL; /* a megabyte */
    ASSERT_OK(hark_forkserver_spawn(server, &spawn, HARK_CHILD_EXIT, &child));
    assert_exit(&child, CLD_EXITED, 99);
    hark_forkserver_free(server);
}

/* ---- Functions ----------------------------------------------------------------------------- */

static int echo_entry(struct hark_forkserver *connection, int socket_fd)
{
    char text[16];
    sigset_t mask;
    int n_open = 0;

    if (connection || sigprocmask(SIG_BLOCK, NULL, &mask) < 0 || sigismember(&mask, SIGTERM))
        return 100;
    for (int i = 0; i < 1024; i++)
        n_open += fcntl(i, F_GETFD) >= 0;
    ssize_t n = read(socket_fd, text, sizeof(text));
    if (n_open != 4 || n < 0 || write(socket_fd, text, (size_t)n) != n)
        return 101;
    return 42;
}

static int plain_entry(struct hark_forkserver *connection, int socket_fd)
{
    return connection || socket_fd != -1 ? 100 : 3;
}

TEST(a_function_runs_with_what_it_was_promised)
{
    struct hark_forkserver *server = start();
    struct hark_child child;
    char text[16];

    ASSERT_OK(
        hark_forkserver_fork(server, echo_entry, HARK_CHILD_SOCKET | HARK_CHILD_EXIT, &child));
    ASSERT_INT(write(child.socket_fd, "hello", 5), 5);
    read_text(child.socket_fd, text, sizeof(text));
    ASSERT_STRING(text, "hello");
    ASSERT_CALL(close(child.socket_fd));
    assert_exit(&child, CLD_EXITED, 42);
    ASSERT_OK(hark_forkserver_fork(server, plain_entry, HARK_CHILD_EXIT, &child));
    assert_exit(&child, CLD_EXITED, 3);
    ASSERT_ERROR(hark_forkserver_fork(server, NULL, 0, &child), -EINVAL);
    ASSERT_ERROR(hark_forkserver_fork(server, plain_entry, 8, &child), -EINVAL);
    hark_forkserver_free(server);
}

static int client_entry(struct hark_forkserver *connection, int socket_fd)
{
    struct hark_child child = run_with_exit(connection, "exit 5");

    assert_exit(&child, CLD_EXITED, 5);
    ASSERT_INT(socket_fd, -1);
    ASSERT_ERROR(hark_forkserver_stop(connection, 0), -EPERM);
    ASSERT_ERROR(hark_forkserver_stop_server(connection), -EPERM);
    ASSERT_INT(hark_forkserver_kill_all(connection, SIGKILL), 0); /* not itself */
    ASSERT_INT(hark_forkserver_pid(connection), getppid());
    hark_forkserver_free(connection);
    return 9;
}

TEST(a_function_with_a_connection_is_a_client)
{
    struct hark_forkserver *server = start();
    struct hark_child child;

    ASSERT_OK(hark_forkserver_fork(server, client_entry, HARK_CHILD_CONNECTION | HARK_CHILD_EXIT,
                                   &child));
    assert_exit(&child, CLD_EXITED, 9);
    child = run_with_exit(server, "exit 0"); /* the starter's goes on */
    assert_exit(&child, CLD_EXITED, 0);
    hark_forkserver_free(server);
}

static int crash_entry(struct hark_forkserver *connection, int socket_fd)
{
    (void)connection;
    (void)socket_fd;
    raise(SIGKILL);
    return 0;
}

TEST(a_function_that_crashes_is_only_an_exit)
{
    struct hark_forkserver *server = start();
    struct hark_child child;

    for (int i = 0; i < 10; i++) {
        ASSERT_OK(hark_forkserver_fork(
            server, crash_entry, i % 2 ? HARK_CHILD_EXIT | HARK_CHILD_CONNECTION : HARK_CHILD_EXIT,
            &child));
        assert_exit(&child, CLD_KILLED, SIGKILL);
    }
    hark_forkserver_free(server);
}

/* ---- The end ------------------------------------------------------------------------------- */

TEST(kill_all_meets_every_child)
{
    struct hark_forkserver *server = start();
    struct hark_child children[5];

    ASSERT_INT(hark_forkserver_kill_all(server, SIGTERM), 0);
    for (int i = 0; i < 5; i++)
        children[i] = run_with_exit(server, "exec sleep 60");
    ASSERT_INT(hark_forkserver_kill_all(server, 0), 5);
    ASSERT_INT(hark_forkserver_kill_all(server, SIGUSR1), 5);
    for (int i = 0; i < 5; i++)
        assert_exit(&children[i], CLD_KILLED, SIGUSR1);
    ASSERT_ERROR(hark_forkserver_kill_all(server, -1), -EINVAL);
    ASSERT_ERROR(hark_forkserver_kill_all(server, NSIG), -EINVAL);
    hark_forkserver_free(server);
}

TEST(many_living_children)
{
    enum { N = 300 };
    static struct hark_child children[N];
    struct hark_forkserver *server = start();

    for (int i = 0; i < N; i++)
        children[i] = run_with_exit(server, "exec sleep 60");
    for (int i = 0; i < 20; i++) { /* one by one, among all these */
        struct hark_child child = run_with_exit(server, "exit 1");
        assert_exit(&child, CLD_EXITED, 1);
    }
    ASSERT_INT(hark_forkserver_kill_all(server, SIGTERM), N);
    for (int i = 0; i < N; i++)
        assert_exit(&children[i], CLD_KILLED, SIGTERM);
    ASSERT(has_no_children(hark_forkserver_pid(server)));
    hark_forkserver_free(server);
}

static struct hark_child run_stubborn(struct hark_forkserver *server)
{
    struct hark_child child;
    char byte;

    ASSERT_OK(run_script(server, "trap '' TERM; echo >&3; while :; do sleep 0.05; done", NULL, 0,
                         HARK_CHILD_EXIT | HARK_CHILD_SOCKET, &child));
    ASSERT_INT(read(child.socket_fd, &byte, 1), 1);
    ASSERT_CALL(close(child.socket_fd));
    return child;
}

TEST(stop_terminates_and_then_kills)
{
    struct hark_forkserver *server = start();
    struct hark_child mild = run_with_exit(server, "exec sleep 60");
    struct hark_child stopped = run_with_exit(server, "kill -STOP $$; exit 1");
    struct hark_child stubborn = run_stubborn(server);

    ASSERT_ERROR(hark_forkserver_stop(server, -2), -EINVAL);
    ASSERT_INT(hark_forkserver_stop(server, 300), 1);
    assert_exit(&mild, CLD_KILLED, SIGTERM);
    ASSERT_CALL(close(stopped.exit_fd));
    assert_exit(&stubborn, CLD_KILLED, SIGKILL);
    ASSERT_ERROR(run_script(server, "", NULL, 0, 0, &mild), -EPIPE);
    ASSERT_ERROR(hark_forkserver_kill_all(server, SIGTERM), -EPIPE);
    ASSERT_ERROR(hark_forkserver_stop(server, 0), -EPIPE);
    hark_forkserver_free(server);
}

TEST(stop_at_once_and_for_ever)
{
    struct hark_forkserver *server = start();
    struct hark_child child = run_stubborn(server);

    ASSERT_INT(hark_forkserver_stop(server, 0), 1);
    assert_exit(&child, CLD_KILLED, SIGKILL);
    hark_forkserver_free(server);
    server = start();
    child = run_with_exit(server, "exec sleep 60");
    ASSERT_INT(hark_forkserver_stop(server, -1), 0);
    assert_exit(&child, CLD_KILLED, SIGTERM);
    hark_forkserver_free(server);
}

TEST(stopping_the_server_lets_the_children_live)
{
    struct hark_forkserver *server = start();
    struct hark_child child;
    char byte;

    ASSERT_OK(
        run_script(server, "cat <&3 >&3", NULL, 0, HARK_CHILD_SOCKET | HARK_CHILD_EXIT, &child));
    ASSERT_INT(hark_forkserver_stop_server(server), 0);
    await(child.exit_fd);
    ASSERT_INT(read(child.exit_fd, &byte, 1), 0);
    ASSERT_CALL(close(child.exit_fd));
    converse(child.socket_fd);
    ASSERT_ERROR(hark_forkserver_stop_server(server), -EPIPE);
    hark_forkserver_free(server);
}

TEST(a_killed_server_is_an_error_not_a_hang)
{
    struct hark_forkserver *server = start();
    struct hark_child child;

    ASSERT_CALL(kill(hark_forkserver_pid(server), SIGTERM)); /* nothing but KILL */
    child = run_with_exit(server, "exit 0");
    assert_exit(&child, CLD_EXITED, 0);
    ASSERT_CALL(kill(hark_forkserver_pid(server), SIGKILL));
    ASSERT_ERROR(run_script(server, "", NULL, 0, 0, &child), -EPIPE);
    ASSERT_ERROR(hark_forkserver_stop(server, -1), -EPIPE);
    hark_forkserver_free(server);
    server = start();
    ASSERT_CALL(kill(hark_forkserver_pid(server), SIGKILL));
    hark_forkserver_free(server);
    ASSERT(!hark_forkserver_free(NULL));
}

TEST(a_server_that_hangs_does_not_hang_free)
{
    struct hark_forkserver *server = start();

    ASSERT_CALL(kill(hark_forkserver_pid(server), SIGSTOP));
    hark_forkserver_free(server);
}

TEST(a_closed_reader_hurts_nobody)
{
    struct hark_forkserver *server = start();
    struct hark_child child;

    for (int i = 0; i < 20; i++) {
        child = run_with_exit(server, "exit 0");
        ASSERT_CALL(close(child.exit_fd));
    }
    child = run_with_exit(server, "exit 0");
    assert_exit(&child, CLD_EXITED, 0);
    AWAIT(has_no_children(hark_forkserver_pid(server)));
    hark_forkserver_free(server);
}
