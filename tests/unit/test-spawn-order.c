/* SPDX-License-Identifier: MIT */
/* Which system calls a child makes before its program runs, and in what order: each costs every
 * connection. */
#include "test-spawn.h"

#include <sys/ptrace.h>
#include <sys/socket.h>

static const struct {
    unsigned long number;
    const char *name;
} calls[] = {
#ifdef SYS_dup2
    {SYS_dup2, "dup"},
#endif
#ifdef SYS_open
    {SYS_open, "open"},
#endif
    {SYS_dup3, "dup"},
    {SYS_openat, "open"},
    {SYS_accept4, "accept"},
    {SYS_getsockopt, "getsockopt"},
    {SYS_setsockopt, "setsockopt"},
    {SYS_getsockname, "getsockname"},
    {SYS_setsid, "setsid"},
    {SYS_setpgid, "setpgid"},
    {SYS_umask, "umask"},
    {SYS_write, "write"},
    {SYS_close, "close"},
    {SYS_setpriority, "setpriority"},
    {SYS_sched_setaffinity, "affinity"},
    {SYS_getpid, "getpid"},
    {SYS_getrandom, "getrandom"},
    {SYS_prlimit64, "limit"},
    {SYS_setgroups, "setgroups"},
    {SYS_setresgid, "setresgid"},
    {SYS_fcntl, "fcntl"},
    {SYS_setresuid, "setresuid"},
    {SYS_prctl, "prctl"},
    {SYS_getppid, "getppid"},
    {SYS_chdir, "chdir"},
    {SYS_rt_sigaction, "sigaction"},
    {SYS_rt_sigprocmask, "sigmask"},
    {SYS_execve, "exec"},
};

static const char *call_name(uint64_t number)
{
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (calls[i].number == number)
            return calls[i].name;
    return "another";
}

/* ---- Tracing --------------------------------------------------------------------------------- */

/* Creates one child of the plan; somebody watches. */
static _Noreturn void create_traced(const struct spawn_plan *plan)
{
    ASSERT_CALL(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    ASSERT_CALL(raise(SIGSTOP));
    pid_t pid = run(plan);
    ASSERT_OK(pid);
    ASSERT_INT(exit_status_of(pid), 7);
    _exit(0);
}

/* How a stopped process goes on: the child from call to call until its program runs. */
static void go_on(pid_t pid, int status, bool is_creator, char text[512])
{
    struct __ptrace_syscall_info info = {0};

    if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8)) {
        ASSERT_CALL(ptrace(PTRACE_DETACH, pid, NULL, NULL));
        return;
    }
    if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
        ASSERT_CALL(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info));
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
            size_t length = strlen(text);
            (void)snprintf(text + length, 512 - length, "%s%s", length > 0 ? " " : "",
                           call_name(info.entry.nr));
        }
    }
    ASSERT_CALL(ptrace(is_creator ? PTRACE_CONT : PTRACE_SYSCALL, pid, NULL, NULL));
}

/* The names of the system calls from the child's first instruction to its program. */
static const char *trace(const struct spawn_plan *plan)
{
    static char text[512];
    int status;

    text[0] = '\0';
    fflush(NULL);
    pid_t creator = fork();
    ASSERT_CALL(creator);
    if (creator == 0)
        create_traced(plan);
    ASSERT_INT(waitpid(creator, &status, 0), creator);
    ASSERT(WIFSTOPPED(status));
    ASSERT_CALL(ptrace(PTRACE_SETOPTIONS, creator, NULL,
                       PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
                           PTRACE_O_EXITKILL));
    ASSERT_CALL(ptrace(PTRACE_CONT, creator, NULL, NULL));
    while (true) {
        pid_t pid = waitpid(-1, &status, __WALL);

        ASSERT_CALL(pid);
        if (WIFSTOPPED(status))
            go_on(pid, status, pid == creator, text);
        else if (pid == creator)
            break;
    }
    ASSERT_INT(status, 0);
    return text;
}

static bool may_trace(void)
{
    int status;
    pid_t pid = fork();

    ASSERT_CALL(pid);
    if (pid == 0)
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0);
    ASSERT_INT(waitpid(pid, &status, 0), pid);
    return status == 0;
}

#define TRACE_ONLY                                                                                 \
    do {                                                                                           \
        if (!may_trace())                                                                          \
            SKIP("needs ptrace");                                                                  \
    } while (0)

/* ---- What is there to accept ----------------------------------------------------------------- */

/* 3 is taken, so that the connection has to be moved there. */
static struct spawn_plan accept_plan(int *ret_taken, int *ret_client)
{
    struct spawn_plan plan = observe_plan();

    *ret_taken = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ASSERT_CALL(*ret_taken);
    plan.flags = SPAWN_WITH_ACCEPT;
    plan.listener = listen_unix();
    *ret_client = connect_unix(plan.listener);
    return plan;
}

static void accept_done(const struct spawn_plan *plan, int taken, int client)
{
    close(plan->listener);
    close(taken);
    close(client);
}

/* ---- The orders ------------------------------------------------------------------------------ */

TEST(a_plain_plan_makes_no_more_calls_than_it_needs)
{
    TRACE_ONLY;
    begin();
    struct spawn_plan plan = observe_plan();
    ASSERT_STRING(trace(&plan), "sigmask exec");
    end();
}

/* hark activate --accept, and with --inetd: nothing may ever come to this by itself. */
TEST(the_fast_path)
{
    int taken, client;
    cpu_set_t cpus;

    TRACE_ONLY;
    begin();
    struct spawn_plan plan = accept_plan(&taken, &client);
    plan.flags |= SPAWN_NEW_SESSION | SPAWN_LISTEN_VARIABLES | SPAWN_REMOTE_VARIABLES;
    ASSERT_STRING(trace(&plan), "accept getsockopt setsid getpid dup sigmask exec");
    close(client);
    client = connect_unix(plan.listener);
    ASSERT_CALL(sched_getaffinity(0, sizeof(cpus), &cpus));
    plan.affinity = &cpus;
    plan.flags =
        SPAWN_WITH_ACCEPT | SPAWN_NEW_SESSION | SPAWN_CONNECTION_STDIO | SPAWN_REMOTE_VARIABLES;
    ASSERT_STRING(trace(&plan), "accept getsockopt setsid dup dup affinity sigmask exec");
    close(client);
    client = connect_unix(plan.listener);
    plan.affinity = NULL;
    plan.flags = SPAWN_WITH_ACCEPT | SPAWN_NEW_GROUP | SPAWN_CONNECTION_STDIO;
    ASSERT_STRING(trace(&plan), "accept getsockopt setpgid dup dup sigmask exec");
    accept_done(&plan, taken, client);
    end();
}

TEST(o_nonblock_of_a_connection_costs_nothing)
{
    int taken, client;

    TRACE_ONLY;
    begin();
    struct spawn_plan plan = accept_plan(&taken, &client);
    plan.flags |= SPAWN_DESCRIPTORS_NONBLOCK;
    ASSERT_STRING(trace(&plan), "accept getsockopt dup sigmask exec");
    accept_done(&plan, taken, client);
    end();
}

/* Each text is asked for once, and only the limit costs no call. */
TEST(texts_options_and_limit)
{
    static const struct spawn_substitution substitutions[] = {
        {"%instance", SPAWN_TEXT_INSTANCE, false},
        {"%address", SPAWN_TEXT_REMOTE_ADDRESS, false},
        {"%id", SPAWN_TEXT_INVOCATION_ID, false},
    };
    static const int size = 65536, yes = 1;
    static const struct spawn_socket_option options[] = {
        {SOL_SOCKET, SO_RCVBUFFORCE, SO_RCVBUF, &size, sizeof(int)},
        {SOL_SOCKET, SO_KEEPALIVE, 0, &yes, sizeof(int)},
    };
    const char *arguments[] = {"program",   "--role-observe", observe_arguments[2],
                               "%instance", "%address%id",    NULL};
    _Atomic uint32_t source = 0;
    _Atomic uint64_t counter = 0;
    int taken, client;

    TRACE_ONLY;
    begin();
    struct spawn_plan plan = accept_plan(&taken, &client);
    arguments[2] = observe_arguments[2];
    plan.arguments = arguments;
    plan.substitutions = substitutions;
    plan.n_substitutions = 3;
    plan.connection_options = options;
    plan.n_connection_options = 2;
    plan.max_per_source = 1;
    plan.counter = &counter;
    plan.records = (struct spawn_records){&record, &source, 1};
    plan.flags |= SPAWN_INVOCATION_ID | SPAWN_REMOTE_VARIABLES;
    ASSERT_STRING(trace(&plan), "accept getsockopt setsockopt setsockopt getrandom dup sigmask "
                                "exec");
    close(client);
    client = connect_unix(plan.listener);
    if (getuid() == 0)
        IN_CHILD({
            give_up_root(&plan);
            ASSERT_STRING(trace(&plan), "accept getsockopt setsockopt setsockopt setsockopt "
                                        "getrandom dup sigmask exec");
        });
    accept_done(&plan, taken, client);
    plan.listener = make_listener(AF_INET, "127.0.0.1", 0, SOCK_NONBLOCK);
    client = connect_to(plan.listener, NULL);
    taken = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ASSERT_STRING(trace(&plan), "accept setsockopt setsockopt getsockname getrandom dup sigmask "
                                "exec");
    accept_done(&plan, taken, client);
    end();
}

static void ask_for_everything(struct spawn_plan *plan)
{
    static const struct spawn_limit limits[] = {{.resource = RLIMIT_CORE, .value = {0, 0}}};
    static cpu_set_t cpus;

    ASSERT_CALL(sched_getaffinity(0, sizeof(cpus), &cpus));
    plan->flags |= SPAWN_NEW_SESSION | SPAWN_SET_UMASK | SPAWN_SET_OOM_SCORE | SPAWN_SET_NICE |
                   SPAWN_LISTEN_VARIABLES | SPAWN_EXEC_PID | SPAWN_INVOCATION_ID |
                   SPAWN_SET_GROUPS | SPAWN_SET_GID | SPAWN_SET_UID | SPAWN_DEATH_SIGNAL_TERM |
                   SPAWN_NO_PRIVILEGE_GAIN | SPAWN_IGNORE_SIGPIPE;
    plan->stdio[0] =
        (struct spawn_stdio){.kind = SPAWN_STDIO_FILE, .path = "/dev/null", .flags = O_RDWR};
    plan->stdio[1].kind = SPAWN_STDIO_INPUT;
    plan->stdio[2].kind = SPAWN_STDIO_OUTPUT;
    plan->oom_score = 900;
    plan->nice = 10;
    plan->affinity = &cpus;
    plan->limits = limits;
    plan->n_limits = 1;
    plan->uid = NOBODY;
    plan->gid = NOGROUP;
    plan->directory = "/";
}

TEST(everything_in_systemd_s_order)
{
    int taken, client;

    if (getuid() != 0)
        SKIP("needs root, to become somebody else");
    TRACE_ONLY;
    begin();
    struct spawn_plan plan = accept_plan(&taken, &client);
    ask_for_everything(&plan);
    open_to_everyone(&plan);
    ASSERT_STRING(trace(&plan), "accept getsockopt setsid umask open dup dup dup "
                                "open write close setpriority affinity getpid getrandom limit "
                                "setgroups setresgid dup setresuid prctl getppid chdir prctl "
                                "sigaction sigmask exec");
    accept_done(&plan, taken, client);
    end();
}
