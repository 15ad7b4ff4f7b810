/* SPDX-License-Identifier: MIT */
/* The fork server with hosts and clients that are not as kind as those of test-forkserver.c. */
#include "test-forkserver.h"

#include <pthread.h>
#include <sched.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "libhark/forkserver-protocol.h"

#ifdef __SANITIZE_THREAD__
#define WITH_THREAD_SANITIZER 1
#else
#define WITH_THREAD_SANITIZER 0
#endif

/* ---- Hosts --------------------------------------------------------------------------------- */

static volatile sig_atomic_t n_child_signals;

static void count_child_signal(int signal_number)
{
    (void)signal_number;
    n_child_signals++;
}

static void never_meets(void)
{
    struct sigaction action = {.sa_handler = count_child_signal};

    ASSERT_CALL(sigaction(SIGCHLD, &action, NULL));
    struct hark_forkserver *server = start();
    struct hark_child child = run_with_exit(server, "exit 2");
    ASSERT_INT(waitpid(-1, NULL, WNOHANG), -1);
    ASSERT_INT(errno, ECHILD);
    assert_exit(&child, CLD_EXITED, 2);
    ASSERT_INT(hark_forkserver_stop(server, -1), 0);
    ASSERT_INT(waitpid(-1, NULL, __WALL), -1);
    ASSERT_INT(errno, ECHILD);
    hark_forkserver_free(server);
    ASSERT_INT(n_child_signals, 0);
}

TEST(the_host_meets_neither_server_nor_children)
{
    in_child(never_meets);
}

static void ignores_signals(void)
{
    static const int signals[] = {SIGCHLD, SIGPIPE, SIGTERM, SIGUSR1};
    sigset_t all;

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        ASSERT(signal(signals[i], SIG_IGN) != SIG_ERR);
    sigfillset(&all);
    ASSERT_CALL(sigprocmask(SIG_BLOCK, &all, NULL));
    struct hark_forkserver *server = start();
    struct hark_child child = run_with_exit(server, "kill -PIPE $$; exit 1");
    assert_exit(&child, CLD_KILLED, SIGPIPE);
    child = run_with_exit(server, "exec sleep 60");
    ASSERT_INT(hark_forkserver_stop(server, -1), 0);
    assert_exit(&child, CLD_KILLED, SIGTERM);
    hark_forkserver_free(server);
    ASSERT_INT(waitpid(-1, NULL, __WALL), -1);
    ASSERT_INT(errno, ECHILD);
    ASSERT_CALL(sigprocmask(SIG_BLOCK, NULL, &all));
    ASSERT_INT(sigismember(&all, SIGUSR2), 1);
}

TEST(a_host_that_ignores_and_blocks_signals)
{
    in_child(ignores_signals);
}

static void has_no_standard_descriptors(void)
{
    for (int i = 0; i < 3; i++)
        close(i);
    struct hark_forkserver *server = start();
    struct hark_child child;

    ASSERT_OK(run_script(server,
                         "test \"$(readlink /proc/self/fd/1 </dev/null 2>&1 | cat)\" && "
                         "cd /proc/$$/fd && test -e 0 && test -e 1 && test -e 2",
                         NULL, 0, HARK_CHILD_EXIT, &child));
    assert_exit(&child, CLD_EXITED, 0);
    hark_forkserver_free(server);
}

TEST(a_host_without_standard_descriptors)
{
    in_child(has_no_standard_descriptors);
}

static void *wait_on_pipe(void *argument)
{
    char byte;

    ASSERT_INT(read(*(int *)argument, &byte, 1), 0);
    return NULL;
}

TEST(a_host_with_threads_is_told_so)
{
    struct hark_forkserver *server = NULL;
    pthread_t thread;
    int ends[2];

    if (WITH_THREAD_SANITIZER)
        SKIP("the thread sanitizer has a thread of its own");
    ASSERT_CALL(pipe2(ends, O_CLOEXEC));
    ASSERT_INT(pthread_create(&thread, NULL, wait_on_pipe, &ends[0]), 0);
    ASSERT_ERROR(hark_forkserver_start(&server), -EBUSY);
    ASSERT(!server);
    ASSERT_CALL(close(ends[1]));
    ASSERT_INT(pthread_join(thread, NULL), 0);
    ASSERT_CALL(close(ends[0]));
    ASSERT_ERROR(hark_forkserver_start(NULL), -EINVAL);
}

/* One that is not the first; 0: there is none. */
static pid_t other_thread(pid_t process)
{
    char path[64];
    pid_t found = 0;

    snprintf(path, sizeof(path), "/proc/%d/task", process);
    DIR *directory = opendir(path);
    ASSERT(directory);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (atoi(entry->d_name) > 0 && atoi(entry->d_name) != process)
            found = atoi(entry->d_name);
    closedir(directory);
    return found;
}

/* Traces a thread until it is killed: the thread's end stays with it, unseen. */
static _Noreturn void keep_end_of(pid_t thread, int said)
{
    if (ptrace(PTRACE_SEIZE, thread, NULL, NULL) < 0 || write(said, "", 1) != 1)
        _exit(0);
    for (;;)
        pause();
}

/* What a debugger can make of a joined thread, and a machine that is busy. */
TEST(a_thread_that_has_ended_is_none)
{
    int ends[2], said[2];
    pthread_t thread;
    char byte;

    if (WITH_THREAD_SANITIZER)
        SKIP("the thread sanitizer has a thread of its own");
    ASSERT_CALL(pipe2(ends, O_CLOEXEC));
    ASSERT_CALL(pipe2(said, O_CLOEXEC));
    ASSERT_INT(pthread_create(&thread, NULL, wait_on_pipe, &ends[0]), 0);
    (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); /* unknown without Yama */
    pid_t tracer = fork();
    ASSERT_CALL(tracer);
    if (tracer == 0) {
        close(ends[1]);
        keep_end_of(other_thread(getppid()), said[1]);
    }
    ASSERT_CALL(close(said[1]));
    bool is_traced = read(said[0], &byte, 1) == 1;
    ASSERT_CALL(close(ends[1]));
    ASSERT_INT(pthread_join(thread, NULL), 0);
    int r = 0;
    if (is_traced) {
        struct hark_forkserver *server = NULL;
        ASSERT(other_thread(getpid()) > 0);
        r = hark_forkserver_start(&server);
        hark_forkserver_free(server);
    }
    ASSERT_CALL(kill(tracer, SIGKILL));
    ASSERT_INT(waitpid(tracer, NULL, 0), tracer);
    ASSERT_CALL(close(ends[0]));
    ASSERT_CALL(close(said[0]));
    ASSERT_OK(r);
    if (!is_traced)
        SKIP("may not trace");
}

TEST(a_forked_copy_of_a_handle_is_only_freed)
{
    struct hark_forkserver *server = start();
    int status;
    pid_t pid = fork();

    ASSERT_CALL(pid);
    if (pid == 0) {
        ASSERT_ERROR(hark_forkserver_stop(server, 0), -EPERM);
        ASSERT_ERROR(hark_forkserver_stop_server(server), -EPERM);
        hark_forkserver_free(server);
        _exit(0);
    }
    ASSERT_INT(waitpid(pid, &status, 0), pid);
    ASSERT_INT(status, 0);
    struct hark_child child = run_with_exit(server, "exit 0");
    assert_exit(&child, CLD_EXITED, 0);
    hark_forkserver_free(server);
}

TEST(small_send_buffers_are_no_limit)
{
    static char variable[40 * 1024];
    static const char *const arguments[] = {"sh", "-c", "exit $((${#V} / 1024))", NULL};
    const char *const environment[] = {variable, NULL};
    const struct hark_spawn spawn = {
        .size = sizeof(spawn),
        .program = "/bin/sh",
        .arguments = arguments,
        .environment = environment,
    };
    struct hark_forkserver *server = start();
    struct hark_child child;
    int n_set = 0, small = 1, type;

    for (int fd = 3; fd < 64; fd++) {
        socklen_t size = sizeof(type);

        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET)
            n_set += setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0;
    }
    ASSERT(n_set > 0);
    memset(variable, 'x', sizeof(variable) - 1);
    memcpy(variable, "V=", 2);
    ASSERT_OK(hark_forkserver_spawn(server, &spawn, HARK_CHILD_EXIT, &child));
    assert_exit(&child, CLD_EXITED, 39);
    hark_forkserver_free(server);
}

TEST(two_servers_side_by_side)
{
    struct hark_forkserver *one = start(), *two = start();
    struct hark_child child = run_with_exit(two, "exit 1");

    hark_forkserver_free(one);
    assert_exit(&child, CLD_EXITED, 1);
    hark_forkserver_free(two);
}

static void gives_up_its_rights(void)
{
    struct hark_forkserver *server = start();
    struct hark_child child = {.pid = -5};

    ASSERT_CALL(setresuid((uid_t)-1, 65534, (uid_t)-1));
    ASSERT_ERROR(run_script(server, "", NULL, 0, 0, &child), -EPERM);
    ASSERT_ERROR(hark_forkserver_kill_all(server, SIGTERM), -EPERM);
    ASSERT_CALL(setresuid((uid_t)-1, 0, (uid_t)-1));
    ASSERT_CALL(setresgid((gid_t)-1, 65534, (gid_t)-1));
    ASSERT_ERROR(run_script(server, "", NULL, 0, 0, &child), -EPERM);
    ASSERT_CALL(setresgid((gid_t)-1, 0, (gid_t)-1));
    child = run_with_exit(server, "exit 0");
    assert_exit(&child, CLD_EXITED, 0);
    hark_forkserver_free(server);
}

TEST(other_rights_are_refused)
{
    if (geteuid() != 0)
        SKIP("needs root");
    in_child(gives_up_its_rights);
}

static void is_pid_one(void)
{
    ASSERT_CALL(unshare(CLONE_NEWPID));
    struct hark_forkserver *server = start();
    struct hark_child child;

    for (int i = 0; i < 20; i++) {
        child = run_with_exit(server, "(sh -c 'sleep 0.01; exit 3' &); (exit 4 &); exit 0");
        ASSERT(child.pid < 1000);
        assert_exit(&child, CLD_EXITED, 0);
    }
    AWAIT(has_no_children(hark_forkserver_pid(server)));
    child = run_with_exit(server, "exec sleep 60");
    ASSERT_INT(hark_forkserver_kill_all(server, SIGTERM), 1);
    assert_exit(&child, CLD_KILLED, SIGTERM);
    ASSERT_INT(hark_forkserver_stop(server, -1), 0);
    hark_forkserver_free(server);
}

TEST(a_server_that_is_pid_one_reaps_orphans)
{
    if (geteuid() != 0)
        SKIP("needs root");
    in_child(is_pid_one);
}

/* ---- The starter dies ---------------------------------------------------------------------- */

/* On 'r' it runs a program and tells how it went; at the end it passes on the exit descriptor of a
 * last one, and leaves. */
static int survivor_entry(struct hark_forkserver *connection, int socket_fd)
{
    struct hark_child child;
    char byte;

    while (read(socket_fd, &byte, 1) == 1) {
        child = run_with_exit(connection, "exit 6");
        assert_exit(&child, CLD_EXITED, 6);
        ASSERT_INT(write(socket_fd, "d", 1), 1);
    }
    child = run_with_exit(connection, "sleep 0.3; exit 8");
    ASSERT_INT(hark_send_fds(socket_fd, &child, sizeof(child), &child.exit_fd, 1), sizeof(child));
    return 0;
}

static _Noreturn void be_starter(int report)
{
    struct hark_forkserver *server = start();
    struct hark_child child;
    pid_t pid = hark_forkserver_pid(server);

    ASSERT_OK(hark_forkserver_fork(server, survivor_entry,
                                   HARK_CHILD_CONNECTION | HARK_CHILD_SOCKET, &child));
    ASSERT_INT(hark_send_fds(report, &pid, sizeof(pid), &child.socket_fd, 1), sizeof(pid));
    for (;;)
        pause();
}

TEST(the_starter_is_killed_and_another_client_goes_on)
{
    struct hark_child last;
    int ends[2], survivor, status;
    size_t n = 1;
    pid_t server;
    char byte;

    ASSERT_CALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
    pid_t starter = fork();
    ASSERT_CALL(starter);
    if (starter == 0)
        be_starter(ends[1]);
    ASSERT_INT(hark_receive_fds(ends[0], &server, sizeof(server), &survivor, &n), sizeof(server));
    int server_fd = pidfd_open(server, 0);
    ASSERT_CALL(server_fd);
    ASSERT_CALL(kill(starter, SIGKILL));
    ASSERT_INT(waitpid(starter, &status, 0), starter);
    for (int i = 0; i < 5; i++) {
        ASSERT_INT(write(survivor, "r", 1), 1);
        await(survivor);
        ASSERT_INT(read(survivor, &byte, 1), 1);
    }
    ASSERT_CALL(shutdown(survivor, SHUT_WR));
    await(survivor);
    ASSERT_INT(hark_receive_fds(survivor, &last, sizeof(last), &last.exit_fd, &n), sizeof(last));
    AWAIT(read(survivor, &byte, 1) == 0); /* the last client is gone, but an exit is owed */
    ASSERT_INT(n, 1);
    int exit_fd = last.exit_fd;
    struct hark_exit end = await_exit(exit_fd);
    ASSERT_INT(end.status, 8);
    await(server_fd); /* and with it, the server */
    ASSERT_CALL(close(server_fd));
    ASSERT_CALL(close(survivor));
    ASSERT_CALL(close(ends[0]));
    ASSERT_CALL(close(ends[1]));
}

/* ---- Bad clients --------------------------------------------------------------------------- */

static int find_connection(void)
{
    int fd = 3;

    while (fd < 1024 && fcntl(fd, F_GETFD) < 0)
        fd++;
    return fd;
}

static int variant; /* read in the copy: set before the server starts */

/* Tells by its exit status that the server dropped it. */
static int misbehave(struct hark_forkserver *own, int socket_fd)
{
    static char garbage[sizeof(struct forkserver_request) + FORKSERVER_INLINE_MAX + 1];
    static int fds[HARK_FDS_MAX];
    struct forkserver_request request = {.version = FORKSERVER_VERSION, .type = FORKSERVER_FORK};
    int connection = find_connection(), channel[2];
    struct pollfd item = {.fd = connection, .events = POLLIN};
    const void *data = &request;
    size_t size = sizeof(request), n_fds = 1;

    ASSERT(own && socket_fd == -1);
    ASSERT_CALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel));
    for (size_t i = 0; i < HARK_FDS_MAX; i++)
        fds[i] = channel[1];
    memset(garbage, 0xa5, sizeof(garbage));
    if (variant == 1) { /* short */
        size = 1;
    } else if (variant == 2) { /* long */
        size = sizeof(request) + 1;
        data = memcpy(garbage, &request, sizeof(request));
    } else if (variant == 3) { /* longer than any room for it */
        size = sizeof(garbage);
        data = memcpy(garbage, &request, sizeof(request));
    } else if (variant == 4) { /* garbage */
        data = garbage;
    } else if (variant == 5) { /* too many descriptors */
        n_fds = HARK_FDS_MAX;
    } else if (variant == 6) { /* too few */
        n_fds = 0;
    } else if (variant == 7) { /* no channel */
        fds[0] = STDERR_FILENO;
    } /* 0: right in all but the cookie, which a stranger can only guess */
    ASSERT_INT(hark_send_fds(connection, data, size, fds, n_fds), size);
    ASSERT_INT(poll(&item, 1, DEADLINE_MS), 1);
    ASSERT(item.revents & POLLHUP);
    return 77;
}

TEST(a_bad_client_is_dropped_and_nobody_else)
{
    for (variant = 0; variant < 8; variant++) {
        struct hark_forkserver *server = start();
        struct hark_child other = run_with_exit(server, "exec sleep 60");
        struct hark_child child;

        for (int i = 0; i < 3; i++) {
            ASSERT_OK(hark_forkserver_fork(server, misbehave,
                                           HARK_CHILD_CONNECTION | HARK_CHILD_EXIT, &child));
            assert_exit(&child, CLD_EXITED, 77);
        }
        child = run_with_exit(server, "exit 0");
        assert_exit(&child, CLD_EXITED, 0);
        ASSERT_INT(hark_forkserver_stop(server, -1), 0);
        assert_exit(&other, CLD_KILLED, SIGTERM);
        hark_forkserver_free(server);
    }
}

/* ---- Many at once -------------------------------------------------------------------------- */

enum { N_THREADS = 20, N_SPAWNS = 200 };

static void *spawn_many(void *argument)
{
    struct hark_forkserver *server = argument;
    struct hark_child children[4];
    char script[32];
    int status[4];
    unsigned seed = (unsigned)(uintptr_t)pthread_self();

    for (int i = 0; i < N_SPAWNS; i++) {
        int slot = i % 4; /* several at once, each with a status that tells it from others */

        status[slot] = rand_r(&seed) % 256;
        snprintf(script, sizeof(script), "exit %d", status[slot]);
        children[slot] = run_with_exit(server, script);
        for (int k = 0; slot == 3 && k < 4; k++)
            assert_exit(&children[k], CLD_EXITED, status[k]);
    }
    return NULL;
}

TEST(twenty_threads_on_one_connection)
{
    struct hark_forkserver *server = start();
    pthread_t threads[N_THREADS];

    for (int i = 0; i < N_THREADS; i++)
        ASSERT_INT(pthread_create(&threads[i], NULL, spawn_many, server), 0);
    for (int i = 0; i < N_THREADS; i++)
        ASSERT_INT(pthread_join(threads[i], NULL), 0);
    ASSERT(has_no_children(hark_forkserver_pid(server)));
    ASSERT_INT(hark_forkserver_stop(server, 0), 0);
    hark_forkserver_free(server);
}

/* Until the server is stopped under its hands: every child's end is told all the same. */
static void *spawn_until_stopped(void *argument)
{
    struct hark_child child;
    int r;

    while ((r = run_script(argument, "exec sleep 60", NULL, 0, HARK_CHILD_EXIT, &child)) >= 0)
        assert_exit(&child, CLD_KILLED, SIGTERM);
    ASSERT(r == -ESHUTDOWN || r == -EPIPE || r == -EMFILE);
    return NULL;
}

TEST(stop_while_other_threads_spawn)
{
    for (int round = 0; round < 10; round++) {
        struct hark_forkserver *server = start();
        pthread_t threads[4];

        for (int i = 0; i < 4; i++)
            ASSERT_INT(pthread_create(&threads[i], NULL, spawn_until_stopped, server), 0);
        poll(NULL, 0, round);
        (void)hark_forkserver_kill_all(server, SIGTERM);
        ASSERT_INT(hark_forkserver_stop(server, -1), 0);
        for (int i = 0; i < 4; i++)
            ASSERT_INT(pthread_join(threads[i], NULL), 0);
        hark_forkserver_free(server);
    }
}

static void uses_few_descriptors(void)
{
    const struct rlimit low = {.rlim_cur = 48, .rlim_max = 48};
    static const int fds[] = {-1, 2, 2};
    static struct hark_child children[64];
    int n = 0, r = 0;

    ASSERT_CALL(setrlimit(RLIMIT_NOFILE, &low));
    struct hark_forkserver *server = start();
    for (int i = 0; i < 500; i++) {
        struct hark_child child;
        const char *script = i % 3 == 0 ? "exit 1" : "exit 0";

        if (i % 5 == 0) {
            static const char *const arguments[] = {"x", NULL};
            const struct hark_spawn spawn = {
                .size = sizeof(spawn), .program = "/nonexistent", .arguments = arguments};
            ASSERT_ERROR(
                hark_forkserver_spawn(server, &spawn, HARK_CHILD_EXIT | HARK_CHILD_SOCKET, &child),
                -ENOENT);
        }
        ASSERT_OK(run_script(server, script, fds, 3, HARK_CHILD_EXIT | HARK_CHILD_SOCKET, &child));
        ASSERT_CALL(close(child.socket_fd));
        assert_exit(&child, CLD_EXITED, i % 3 == 0);
    }
    /* Nothing was lost, so this is how far it goes; then an error, and all goes on. */
    while (n < 64 && r >= 0) {
        r = run_script(server, "exec sleep 60", NULL, 0, HARK_CHILD_EXIT, &children[n]);
        n += r >= 0;
    }
    ASSERT_INT(r, -EMFILE);
    ASSERT(n > 30);
    ASSERT_CALL(close(children[0].exit_fd));
    ASSERT_CALL(close(children[1].exit_fd));
    ASSERT_INT(hark_forkserver_kill_all(server, SIGTERM), n);
    for (int i = 2; i < n; i++)
        assert_exit(&children[i], CLD_KILLED, SIGTERM);
    hark_forkserver_free(server);
}

TEST(few_descriptors_are_an_error_and_none_leaks)
{
    in_child(uses_few_descriptors);
}

TEST(a_server_without_descriptors_says_so)
{
    const struct rlimit low = {.rlim_cur = 24, .rlim_max = 24};
    static struct hark_child children[64];
    struct hark_forkserver *server = start();
    int n = 0, r = 0;

    ASSERT_CALL(prlimit(hark_forkserver_pid(server), RLIMIT_NOFILE, &low, NULL));
    while (n < 64 && r >= 0) {
        r = run_script(server, "exec sleep 60", NULL, 0, HARK_CHILD_EXIT, &children[n]);
        n += r >= 0;
    }
    ASSERT_INT(r, -EMFILE);
    ASSERT(n > 10);
    ASSERT_INT(hark_forkserver_stop(server, -1), 0);
    for (int i = 0; i < n; i++)
        assert_exit(&children[i], CLD_KILLED, SIGTERM);
    hark_forkserver_free(server);
}
