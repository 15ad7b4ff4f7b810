/* SPDX-License-Identifier: MIT */
/* What a spawn request can set beside the program, and whom it is refused; calls in the server. */
#include "test-forkserver.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "libhark/forkserver-connection.h"

#define NOBODY 65534

/* Runs a script with these settings; what it prints, and its status. */
static int run_with(struct hark_forkserver *server, const char *script, struct hark_spawn spawn,
                    char *text, size_t size)
{
    const char *const arguments[] = {"sh", "-c", script, NULL};
    struct hark_child child;
    int out[2];

    ASSERT_CALL(pipe2(out, O_CLOEXEC));
    const int fds[] = {-1, out[1], 2};
    spawn.size = sizeof(spawn);
    spawn.program = "/bin/sh";
    spawn.arguments = arguments;
    spawn.fds = fds;
    spawn.n_fds = 3;
    int r = hark_forkserver_spawn(server, &spawn, HARK_CHILD_EXIT, &child);
    ASSERT_CALL(close(out[1]));
    if (r >= 0) {
        read_text(out[0], text, size);
        assert_exit(&child, CLD_EXITED, 0);
    }
    ASSERT_CALL(close(out[0]));
    return r;
}

static int run_as(struct hark_forkserver *server, uid_t uid, gid_t gid, const gid_t *groups,
                  size_t n_groups)
{
    const struct hark_identity identity = {
        .uid = uid, .gid = gid, .groups = groups, .n_groups = n_groups};
    const struct hark_spawn spawn = {.identity = &identity};
    char text[512], wanted[256];
    int r = run_with(server, "grep -E '^(Uid|Gid|Groups):' /proc/self/status", spawn, text,
                     sizeof(text));

    if (r < 0)
        return r;
    snprintf(wanted, sizeof(wanted), "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\nGroups:\t", uid,
             uid, uid, uid, gid, gid, gid, gid);
    ASSERT(strncmp(text, wanted, strlen(wanted)) == 0);
    char *rest = text + strlen(wanted);
    for (size_t i = 0; i < n_groups; i++)
        ASSERT_INT(strtoul(rest, &rest, 10), groups[i]);
    ASSERT_STRING(rest + strspn(rest, " "), "\n");
    return 0;
}

/* ---- Limits -------------------------------------------------------------------------------- */

TEST(limits_are_those_of_the_request)
{
    struct hark_limit limits[2] = {
        {.resource = RLIMIT_NOFILE, .soft = 17, .hard = 33},
        {.resource = RLIMIT_CORE, .soft = 0, .hard = 0},
    };
    struct hark_spawn spawn = {.limits = limits, .n_limits = 2};
    struct hark_forkserver *server = start();
    struct rlimit now;
    char text[64];

    ASSERT_OK(run_with(server, "ulimit -Sn; ulimit -Hn; ulimit -c", spawn, text, sizeof(text)));
    ASSERT_STRING(text, "17\n33\n0\n");
    ASSERT_CALL(getrlimit(RLIMIT_NOFILE, &now));
    limits[0].hard = now.rlim_max == RLIM_INFINITY ? UINT64_MAX : now.rlim_max;
    spawn.n_limits = 1;
    ASSERT_OK(run_with(server, "ulimit -Sn", spawn, text, sizeof(text)));
    ASSERT_STRING(text, "17\n");
    limits[0].hard = (uint64_t)now.rlim_max + 1;
    ASSERT_ERROR(run_with(server, "", spawn, text, sizeof(text)), -EPERM); /* root's, too */
    limits[0] = (struct hark_limit){.resource = RLIMIT_NOFILE, .soft = 2, .hard = 1};
    ASSERT_ERROR(run_with(server, "", spawn, text, sizeof(text)), -EINVAL);
    limits[0] = (struct hark_limit){.resource = 999};
    ASSERT_ERROR(run_with(server, "", spawn, text, sizeof(text)), -EINVAL);
    spawn.n_limits = HARK_SPAWN_LIMITS_MAX + 1;
    ASSERT_ERROR(run_with(server, "", spawn, text, sizeof(text)), -E2BIG);
    spawn.limits = NULL;
    ASSERT_ERROR(run_with(server, "", spawn, text, sizeof(text)), -EINVAL);
    hark_forkserver_free(server);
}

TEST(a_structure_of_another_version)
{
    static const char *const arguments[] = {"true", NULL};
    struct {
        struct hark_spawn spawn;
        uint64_t later;
    } longer = {.spawn = {.program = "/bin/true", .arguments = arguments}};
    struct hark_forkserver *server = start();
    struct hark_child child;

    longer.spawn.limits = (const struct hark_limit *)1; /* not part of the shorter one */
    longer.spawn.n_limits = 77;
    longer.spawn.size = offsetof(struct hark_spawn, limits);
    ASSERT_OK(hark_forkserver_spawn(server, &longer.spawn, HARK_CHILD_EXIT, &child));
    assert_exit(&child, CLD_EXITED, 0);
    longer.spawn.size++;
    ASSERT_ERROR(hark_forkserver_spawn(server, &longer.spawn, 0, &child), -EINVAL);
    longer.spawn.limits = NULL;
    longer.spawn.n_limits = 0;
    longer.spawn.size = sizeof(longer);
    ASSERT_OK(hark_forkserver_spawn(server, &longer.spawn, HARK_CHILD_EXIT, &child));
    assert_exit(&child, CLD_EXITED, 0);
    longer.later = 1;
    ASSERT_ERROR(hark_forkserver_spawn(server, &longer.spawn, 0, &child), -E2BIG);
    hark_forkserver_free(server);
}

TEST(an_exit_says_what_it_cost)
{
    struct hark_forkserver *server = start();
    struct hark_child child =
        run_with_exit(server, "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done");
    struct hark_exit end = await_exit(child.exit_fd);

    ASSERT(end.user_usec > 0 && end.user_usec < UINT64_C(60000000));
    ASSERT(end.system_usec < UINT64_C(60000000));
    ASSERT(end.max_rss_kib > 100);
    hark_forkserver_free(server);
}

/* ---- Identities ---------------------------------------------------------------------------- */

TEST(another_user_with_the_groups_of_the_request)
{
    static const gid_t groups[] = {1000, 1001};
    const struct hark_identity nobody = {.uid = NOBODY, .gid = NOBODY};
    struct hark_spawn spawn = {.identity = &nobody, .directory = "/proc/1/fd"};
    struct hark_identity wrong = nobody;
    char text[16];

    if (geteuid() != 0)
        SKIP("needs root");
    struct hark_forkserver *server = start();
    ASSERT_OK(run_as(server, NOBODY, NOBODY, NULL, 0));
    ASSERT_OK(run_as(server, NOBODY, NOBODY, groups, 2));
    ASSERT_OK(run_as(server, 0, 0, groups, 1));
    ASSERT_ERROR(run_with(server, "", spawn, text, sizeof(text)), -EACCES); /* with its rights */
    spawn.identity = &wrong;
    wrong.uid = (uid_t)-1;
    ASSERT_ERROR(run_with(server, "", spawn, text, sizeof(text)), -EINVAL);
    wrong.uid = 0;
    wrong.n_groups = 1;
    ASSERT_ERROR(run_with(server, "", spawn, text, sizeof(text)), -EINVAL);
    wrong.groups = groups;
    wrong.n_groups = HARK_SPAWN_GROUPS_MAX + 1;
    ASSERT_ERROR(run_with(server, "", spawn, text, sizeof(text)), -E2BIG);
    hark_forkserver_free(server);
}

static void drop_capabilities(unsigned keep)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.effective = keep, .permitted = keep}};

    ASSERT_CALL(syscall(SYS_capset, &header, data));
}

static void has_lost_capabilities(void)
{
    static const gid_t groups[] = {1000};
    gid_t own[HARK_SPAWN_GROUPS_MAX];
    struct hark_forkserver *server = start(); /* which has them */
    int n = getgroups(HARK_SPAWN_GROUPS_MAX, own);

    ASSERT_CALL(n);
    ASSERT_CALL(setresuid((uid_t)-1, (uid_t)-1, 1234)); /* could be taken again */
    drop_capabilities((1U << CAP_SETUID) | (1U << CAP_SETGID));
    ASSERT_OK(run_as(server, NOBODY, NOBODY, groups, 1));
    drop_capabilities(1U << CAP_SETUID);
    ASSERT_OK(run_as(server, NOBODY, 0, own, (size_t)n));
    ASSERT_ERROR(run_as(server, NOBODY, NOBODY, own, (size_t)n), -EPERM);
    ASSERT_ERROR(run_as(server, NOBODY, 0, groups, 1), -EPERM);
    drop_capabilities(0);
    ASSERT_ERROR(run_as(server, NOBODY, 0, own, (size_t)n), -EPERM);
    ASSERT_OK(run_as(server, 1234, 0, own, (size_t)n));
    ASSERT_OK(run_as(server, 0, 0, own, (size_t)n));
    hark_forkserver_free(server);
}

TEST(what_the_requester_could_not_take_is_refused)
{
    if (geteuid() != 0)
        SKIP("needs root");
    in_child(has_lost_capabilities);
}

static void is_no_root(void)
{
    static const gid_t groups[] = {NOBODY};

    ASSERT_CALL(syscall(SYS_setgroups, 1, groups));
    ASSERT_CALL(setresgid(NOBODY, NOBODY, NOBODY));
    ASSERT_CALL(setresuid(NOBODY, NOBODY, NOBODY));
    struct hark_forkserver *server = start();
    ASSERT_OK(run_as(server, NOBODY, NOBODY, groups, 1)); /* what it is already */
    ASSERT_ERROR(run_as(server, 0, NOBODY, groups, 1), -EPERM);
    ASSERT_ERROR(run_as(server, NOBODY, 0, groups, 1), -EPERM);
    ASSERT_ERROR(run_as(server, NOBODY, NOBODY, NULL, 0), -EPERM);
    hark_forkserver_free(server);
}

TEST(a_user_can_be_nobody_else)
{
    if (geteuid() != 0)
        SKIP("needs root");
    in_child(is_no_root);
}

/* A request by hand: with an identity, and claims that are another's or none. */
static int lie(struct hark_forkserver *own, int socket_fd)
{
    static const char body[] = "/bin/true\0true";
    struct forkserver_request request = {
        .version = FORKSERVER_VERSION,
        .type = FORKSERVER_SPAWN,
        .flags = FORKSERVER_WITH_IDENTITY,
        .n_arguments = 1,
        .uid = NOBODY,
        .gid = NOBODY,
        .body_size = sizeof(body),
    };
    char message[sizeof(request) + sizeof(body)];
    struct forkserver_reply reply;
    int channel[2], on = 1;

    memcpy(request.cookie, own->cookie, sizeof(request.cookie));
    memcpy(message, &request, sizeof(request));
    memcpy(message + sizeof(request), body, sizeof(body));
    for (int claims = 0; claims < 3; claims++) {
        ASSERT_CALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel));
        if (claims > 0)
            ASSERT_CALL(setsockopt(channel[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
        for (int i = 0; claims > 1 && i < 5; i++) /* root's own, which nobody asked for */
            ASSERT_INT(hark_send_fds(channel[0], own->cookie, sizeof(own->cookie), NULL, 0),
                       sizeof(own->cookie));
        ASSERT_INT(hark_send_fds(own->fd, message, sizeof(message), &channel[1], 1),
                   sizeof(message));
        await(channel[0]);
        ASSERT_INT(read(channel[0], &reply, sizeof(reply)), sizeof(reply));
        ASSERT_INT(reply.result, -EPERM);
        ASSERT_CALL(close(channel[0]));
        ASSERT_CALL(close(channel[1]));
    }
    ASSERT_INT(socket_fd, -1);
    return 5;
}

TEST(claims_are_needed)
{
    struct hark_forkserver *server = start();
    struct hark_child child;

    ASSERT_OK(hark_forkserver_fork(server, lie, HARK_CHILD_CONNECTION | HARK_CHILD_EXIT, &child));
    assert_exit(&child, CLD_EXITED, 5);
    hark_forkserver_free(server);
}

/* ---- Calls --------------------------------------------------------------------------------- */

static int sum_up(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    int sum = 0;

    for (size_t i = 0; i < size; i++)
        sum += bytes[i];
    return size == 0 && data ? -1000 : sum - 5;
}

static int set_up(const void *data, size_t size)
{
    const struct rlimit limit = {.rlim_cur = 19, .rlim_max = 19};

    ASSERT(size > 0);
    return setenv("HARK_TEST", data, 1) == 0 && setrlimit(RLIMIT_NOFILE, &limit) == 0 ? getpid()
                                                                                      : -1;
}

static int crash(const void *data, size_t size)
{
    (void)data;
    (void)size;
    return raise(SIGKILL);
}

TEST(a_call_runs_in_the_server)
{
    static unsigned char much[200000];
    struct hark_forkserver *server = start();
    struct hark_spawn spawn = {.size = 0};
    int result = 77;
    char text[64];

    ASSERT_OK(hark_forkserver_call(server, sum_up, "\1\2\3", 3, &result));
    ASSERT_INT(result, 1);
    ASSERT_OK(hark_forkserver_call(server, sum_up, NULL, 0, &result));
    ASSERT_INT(result, -5);
    memset(much, 1, sizeof(much));
    ASSERT_OK(hark_forkserver_call(server, sum_up, much, sizeof(much), &result));
    ASSERT_INT(result, sizeof(much) - 5);
    ASSERT_OK(hark_forkserver_call(server, set_up, "hello", 6, &result));
    ASSERT_INT(result, hark_forkserver_pid(server));
    ASSERT_OK(run_with(server, "echo $HARK_TEST; ulimit -n", spawn, text, sizeof(text)));
    ASSERT_STRING(text, "hello\n19\n");
    ASSERT(!getenv("HARK_TEST"));
    result = 77;
    ASSERT_ERROR(hark_forkserver_call(server, NULL, NULL, 0, &result), -EINVAL);
    ASSERT_ERROR(hark_forkserver_call(server, sum_up, NULL, 1, &result), -EINVAL);
    ASSERT_ERROR(hark_forkserver_call(server, sum_up, NULL, 0, NULL), -EINVAL);
    ASSERT_ERROR(hark_forkserver_call(server, sum_up, much, (size_t)9 << 20, &result), -E2BIG);
    ASSERT_ERROR(hark_forkserver_call(server, crash, NULL, 0, &result), -EPIPE);
    ASSERT_INT(result, 77);
    ASSERT_ERROR(hark_forkserver_call(server, sum_up, NULL, 0, &result), -EPIPE);
    hark_forkserver_free(server);
}

static int calls_entry(struct hark_forkserver *connection, int socket_fd)
{
    int result = 77;

    ASSERT_INT(socket_fd, -1);
    ASSERT_ERROR(hark_forkserver_call(connection, sum_up, NULL, 0, &result), -EPERM);
    ASSERT_INT(result, 77);
    return 6;
}

TEST(a_call_is_the_starters_alone)
{
    struct hark_forkserver *server = start();
    struct hark_child child;
    int result;

    ASSERT_OK(
        hark_forkserver_fork(server, calls_entry, HARK_CHILD_CONNECTION | HARK_CHILD_EXIT, &child));
    assert_exit(&child, CLD_EXITED, 6);
    IN_CHILD(ASSERT_ERROR(hark_forkserver_call(server, sum_up, NULL, 0, &result), -EPERM));
    hark_forkserver_free(server);
}

/* ---- Orphans and clients ------------------------------------------------------------------- */

static int become_subreaper(const void *data, size_t size)
{
    ASSERT(!data && size == 0);
    return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

TEST(a_server_that_is_subreaper_reaps_orphans)
{
    struct hark_forkserver *server = start();
    int result;

    ASSERT_OK(hark_forkserver_call(server, become_subreaper, NULL, 0, &result));
    ASSERT_INT(result, 0);
    for (int i = 0; i < 20; i++) {
        struct hark_child child =
            run_with_exit(server, "(sh -c 'sleep 0.01; exit 3' &); (exit 4 &); exit 1");
        assert_exit(&child, CLD_EXITED, 1);
    }
    AWAIT(has_no_children(hark_forkserver_pid(server)));
    ASSERT_INT(hark_forkserver_stop(server, -1), 0);
    hark_forkserver_free(server);
}

/* A host as an init has it: it waits for whatever there is, and gets only what is its own. */
static void is_an_init(void)
{
    ASSERT_CALL(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    struct hark_forkserver *server = start();
    struct hark_child child;
    siginfo_t info;

    for (int i = 0; i < 20; i++) {
        child = run_with_exit(server, "exit 9");
        assert_exit(&child, CLD_EXITED, 9);
        ASSERT_INT(waitid(P_ALL, 0, &info, WEXITED | WNOHANG), -1);
        ASSERT_INT(errno, ECHILD);
    }
    ASSERT_OK(run_script(server, "sleep 0.05; exit 3", NULL, 0, 0, &child));
    ASSERT_INT(hark_forkserver_stop_server(server), 0); /* now it is an orphan, and the host's */
    ASSERT_INT(waitid(P_ALL, 0, &info, WEXITED), 0);
    ASSERT_INT(info.si_pid, child.pid);
    ASSERT_INT(info.si_status, 3);
    hark_forkserver_free(server);
    ASSERT_INT(waitpid(-1, NULL, __WALL), -1);
    ASSERT_INT(errno, ECHILD);
}

TEST(a_host_that_is_subreaper)
{
    in_child(is_an_init);
}

static void starts_an_init(void)
{
    int status;

    ASSERT_CALL(unshare(CLONE_NEWPID));
    pid_t pid = fork();
    ASSERT_CALL(pid);
    if (pid == 0) {
        ASSERT_INT(getpid(), 1);
        is_an_init();
        _exit(0);
    }
    ASSERT_INT(waitpid(pid, &status, 0), pid);
    ASSERT_INT(status, 0);
}

TEST(a_host_that_is_pid_one)
{
    if (geteuid() != 0)
        SKIP("needs root");
    in_child(starts_an_init);
}

static int waiting_entry(struct hark_forkserver *connection, int socket_fd)
{
    char byte;

    if (read(socket_fd, &byte, 1) != 1)
        return 0;
    struct hark_child child = run_with_exit(connection, "exit 5");
    assert_exit(&child, CLD_EXITED, 5);
    return 1;
}

static void has_many_clients(void)
{
    enum { N = 1200 }; /* libforks ends at 1023 */
    static struct hark_child children[N];
    const struct rlimit limit = {.rlim_cur = 4 * N, .rlim_max = 4 * N};

    ASSERT_CALL(setrlimit(RLIMIT_NOFILE, &limit));
    struct hark_forkserver *server = start();
    for (int i = 0; i < N; i++)
        ASSERT_OK(hark_forkserver_fork(server, waiting_entry,
                                       HARK_CHILD_CONNECTION | HARK_CHILD_SOCKET | HARK_CHILD_EXIT,
                                       &children[i]));
    for (int i = 0; i < N; i++) {
        if (i % 100 == 99)
            ASSERT_INT(write(children[i].socket_fd, "x", 1), 1);
        ASSERT_CALL(shutdown(children[i].socket_fd, SHUT_WR));
    }
    for (int i = 0; i < N; i++) {
        assert_exit(&children[i], CLD_EXITED, i % 100 == 99);
        ASSERT_CALL(close(children[i].socket_fd));
    }
    hark_forkserver_free(server);
}

TEST(more_clients_than_libforks_has)
{
    struct rlimit now;

    ASSERT_CALL(getrlimit(RLIMIT_NOFILE, &now));
    if (now.rlim_max < 4800)
        SKIP("needs a hard limit of 4800 descriptors");
    in_child(has_many_clients);
}
