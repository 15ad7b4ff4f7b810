/* SPDX-License-Identifier: MIT */
/* What the tests of spawn share: programs, which are the test itself in the roles below, and the
 * surroundings that spawn_run() wants. */
#pragma once

#include <arpa/inet.h>
#include <grp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "basic/fd.h"
#include "basic/signals.h"
#include "deny.h"
#include "directory.h"
#include "libhark/spawn.h"
#include "test.h"

#define SELF "/proc/self/exe"

/* ---- The programs ---------------------------------------------------------------------------- */

static inline const char *status_line(const char *name)
{
    static char line[4][256];
    static unsigned next;
    char *text = line[next++ % 4];
    FILE *file = fopen("/proc/self/status", "re");

    while (file && fgets(text, 256, file))
        if (strncmp(text, name, strlen(name)) == 0)
            break;
    if (file)
        (void)fclose(file);
    text[strcspn(text, "\n")] = '\0';
    return strchr(text, '\t') + 1;
}

static inline void print_descriptors(FILE *out)
{
    fprintf(out, "fds");
    for (int fd = 0; fd < 256; fd++)
        if (fcntl(fd, F_GETFD) >= 0 && fd != fileno(out))
            fprintf(out, " %d%s", fd, fcntl(fd, F_GETFD) & FD_CLOEXEC ? "c" : "");
    fprintf(out, "\n");
}

static inline void print_standard(FILE *out)
{
    char path[64], target[256];

    for (int fd = 0; fd < 3; fd++) {
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof(target));
        fprintf(out, "standard %d %.*s\n", fd, length > 0 ? (int)length : 0, target);
    }
    fprintf(out, "nonblocking");
    for (int fd = 0; fd < 10; fd++) {
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0 && flags & O_NONBLOCK)
            fprintf(out, " %d", fd);
    }
    fprintf(out, "\n");
}

static inline int own_oom_score(void)
{
    int score = 9999;
    FILE *file = fopen("/proc/self/oom_score_adj", "re");

    if (!file || fscanf(file, "%d", &score) != 1)
        score = 9999;
    if (file)
        (void)fclose(file);
    return score;
}

static inline void print_limit(FILE *out, const char *name, int resource)
{
    struct rlimit limit = {0};

    (void)getrlimit((unsigned)resource, &limit);
    fprintf(out, "limit %s %lld %lld\n", name, (long long)limit.rlim_cur,
            (long long)limit.rlim_max);
}

static inline void print_attributes(FILE *out)
{
    int death_signal = 0;

    (void)prctl(PR_GET_PDEATHSIG, &death_signal);
    fprintf(out, "uid %s\n", status_line("Uid"));
    fprintf(out, "gid %s\n", status_line("Gid"));
    fprintf(out, "groups %s\n", status_line("Groups"));
    fprintf(out, "umask %s\n", status_line("Umask"));
    fprintf(out, "nice %d\n", getpriority(PRIO_PROCESS, 0));
    fprintf(out, "oom score %d\n", own_oom_score());
    fprintf(out, "no new privileges %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    fprintf(out, "death signal %d\n", death_signal);
    print_limit(out, "rss", RLIMIT_RSS);
    print_limit(out, "nofile", RLIMIT_NOFILE);
}

/* Writes what it sees to the file, one line each, then "done". */
static inline void observe(const char *path, char **arguments, char **environment)
{
    char text[4096];
    cpu_set_t cpus;
    FILE *out;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    fd = fcntl(fd, F_DUPFD_CLOEXEC, 300); /* out of the way of what is observed */
    out = fdopen(fd, "w");
    (void)close_range(256, 299, 0);
    for (int low = 3; low < 256; low++)
        if (readlink((snprintf(text, sizeof(text), "/proc/self/fd/%d", low), text), text,
                     sizeof(text)) > 0 &&
            strncmp(text, path, strlen(path)) == 0)
            (void)close(low);
    fprintf(out, "pid %d ppid %d session %d\n", getpid(), getppid(), getsid(0));
    print_descriptors(out);
    fprintf(out, "blocked %s ignored %s\n", status_line("SigBlk"), status_line("SigIgn"));
    fprintf(out, "directory %s\n", getcwd(text, sizeof(text)));
    (void)sched_getaffinity(0, sizeof(cpus), &cpus);
    fprintf(out, "cpus");
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &cpus))
            fprintf(out, " %zu", cpu);
    fprintf(out, "\n");
    print_standard(out);
    print_attributes(out);
    for (; *arguments; arguments++)
        fprintf(out, "argument %s\n", *arguments);
    for (; *environment; environment++)
        fprintf(out, "env %s\n", *environment);
    fprintf(out, "done\n");
    (void)fclose(out);
}

static inline void echo_number(int fd)
{
    uint64_t number;

    if (read(fd, &number, sizeof(number)) != (ssize_t)sizeof(number))
        _exit(91);
    number++;
    if (write(fd == STDIN_FILENO ? STDOUT_FILENO : fd, &number, sizeof(number)) !=
        (ssize_t)sizeof(number))
        _exit(92);
}

__attribute__((constructor(101))) static void role(int argc, char **argv, char **environment)
{
    if (argc < 2 || strncmp(argv[1], "--role-", 7) != 0)
        return;
    if (strcmp(argv[1], "--role-observe") == 0)
        observe(argv[2], argv + 3, environment);
    else if (strcmp(argv[1], "--role-echo") == 0)
        echo_number(atoi(argv[2]));
    else if (strcmp(argv[1], "--role-wait") == 0)
        while (true)
            (void)pause();
    _exit(7);
}

/* ---- Around each test ------------------------------------------------------------------------ */

static const char *const no_environment[] = {NULL};
static const char *observe_arguments[] = {"program", "--role-observe", NULL, "one", "", NULL};
static struct spawner *spawner;
static struct spawn_record record;
static char self_path[4096];
static sigset_t mask_before;

/* As spawn_run() wants it. */
static inline void begin(void)
{
    static char output[64];
    sigset_t all;
    ssize_t length = readlink(SELF, self_path, sizeof(self_path) - 1);

    ASSERT(length > 0);
    self_path[length] = '\0';
    directory_make();
    (void)snprintf(output, sizeof(output), "%s/output", directory_path);
    observe_arguments[2] = output;
    ASSERT_CALL(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC));
    sigfillset(&all);
    ASSERT_CALL(sigprocmask(SIG_SETMASK, &all, &mask_before));
    signals_set_default(); /* make(1) starts us with some ignored */
    ASSERT_OK(spawner_new(&spawner));
    (void)alarm(0);
}

static inline void end(void)
{
    spawner = spawner_free(spawner);
    ASSERT_CALL(sigprocmask(SIG_SETMASK, &mask_before, NULL));
    directory_remove();
}

static inline struct spawn_plan observe_plan(void)
{
    return (struct spawn_plan){
        .program = self_path,
        .arguments = observe_arguments,
        .environment = no_environment,
        .listener = -1,
        .first_fd = 3,
    };
}

static inline pid_t run(const struct spawn_plan *plan)
{
    struct prepared_plan *prepared;

    memset(&record, 0, sizeof(record));
    ASSERT_OK(spawn_plan_prepare(plan, &prepared));
    pid_t pid = spawn_run(spawner, prepared, &record);
    spawn_plan_free(prepared);
    return pid;
}

static inline int exit_status_of(pid_t pid)
{
    int status;

    ASSERT_INT(waitpid(pid, &status, 0), pid);
    ASSERT(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* What the program of the plan saw. */
static inline const char *observed(const struct spawn_plan *plan)
{
    pid_t pid = run(plan);

    ASSERT_OK(pid);
    ASSERT_INT(record.pid, pid);
    ASSERT_INT(record.step, SPAWN_EXEC);
    ASSERT_INT(record.error, 0);
    ASSERT_INT(exit_status_of(pid), 7);
    const char *text = read_file(in("output"));
    ASSERT(strstr(text, "\ndone\n"));
    return text;
}

static inline void assert_line(const char *text, const char *line)
{
    char wanted[4800];

    (void)snprintf(wanted, sizeof(wanted), "\n%s\n", line);
    if (!strstr(text, wanted))
        TEST_FAIL("no line \"%s\" in:\n%s", line, text);
}

static inline void assert_failed(const struct spawn_plan *plan, enum spawn_step step, int error)
{
    ASSERT_ERROR(run(plan), -ECANCELED);
    ASSERT(record.pid > 0);
    ASSERT_INT(record.step, step);
    ASSERT_INT(record.error, error);
    ASSERT_INT(exit_status_of(record.pid), spawn_step_exit_status(step));
}

/* One that another process can write to. */
static inline struct spawn_record *shared_record(void)
{
    struct spawn_record *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ASSERT(shared != MAP_FAILED);
    return shared;
}

/* The echo gave the number back, and one more. */
static inline void assert_echo(int client, uint64_t number)
{
    uint64_t answer = 0;

    ASSERT_INT(read(client, &answer, sizeof(answer)), sizeof(answer));
    ASSERT_INT(answer, number + 1);
}

/* ---- Connections ----------------------------------------------------------------------------- */

/* With an abstract name of the kernel's choice; out of the way of the numbers handed over. */
static inline int listen_unix(void)
{
    const struct sockaddr_un unnamed = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    ASSERT_CALL(fd);
    ASSERT_CALL(bind(fd, (const struct sockaddr *)&unnamed, sizeof(sa_family_t)));
    ASSERT_CALL(listen(fd, 4));
    ASSERT_OK(fd_move_above(&fd, 30));
    return fd;
}

static inline int connect_unix(int listener)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof(address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ASSERT_CALL(fd);
    ASSERT_CALL(getsockname(listener, (struct sockaddr *)&address, &size));
    ASSERT_CALL(connect(fd, (struct sockaddr *)&address, size));
    ASSERT_OK(fd_move_above(&fd, 40));
    return fd;
}

union address {
    struct sockaddr generic;
    struct sockaddr_un un;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

/* On a free port, or a free abstract name; out of the way of the numbers that are handed over. */
static inline int make_listener(int family, const char *host, uint32_t scope, int flags)
{
    union address address = {.generic.sa_family = (sa_family_t)family};
    socklen_t size = family == AF_UNIX    ? sizeof(sa_family_t)
                     : family == AF_INET6 ? sizeof(address.in6)
                                          : sizeof(address.in);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    ASSERT_CALL(fd);
    if (family == AF_INET)
        ASSERT_INT(inet_pton(family, host, &address.in.sin_addr), 1);
    if (family == AF_INET6) {
        ASSERT_INT(inet_pton(family, host, &address.in6.sin6_addr), 1);
        address.in6.sin6_scope_id = scope;
    }
    ASSERT_CALL(bind(fd, &address.generic, size));
    ASSERT_CALL(listen(fd, 16));
    ASSERT_OK(fd_move_above(&fd, 30));
    return fd;
}

static inline int connect_to(int listener, union address *ret_own)
{
    union address address = {.generic.sa_family = AF_UNSPEC};
    socklen_t size = sizeof(address);

    ASSERT_CALL(getsockname(listener, &address.generic, &size));
    int fd = socket(address.generic.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_CALL(fd);
    ASSERT_CALL(connect(fd, &address.generic, size));
    if (ret_own) {
        size = sizeof(*ret_own);
        ASSERT_CALL(getsockname(fd, &ret_own->generic, &size));
    }
    ASSERT_OK(fd_move_above(&fd, 40));
    return fd;
}

static inline struct spawn_plan plan_to_accept(int listener)
{
    struct spawn_plan plan = observe_plan();

    plan.flags = SPAWN_WITH_ACCEPT;
    plan.listener = listener;
    return plan;
}

/* ---- Obstacles, for use IN_CHILD() ----------------------------------------------------------- */

#define NOBODY  65534
#define NOGROUP 65533

/* Whoever the program runs as can write what it observes, and run the test again. */
static inline void open_to_everyone(struct spawn_plan *plan)
{
    plan->program = SELF;
    ASSERT_CALL(chmod(directory_path, 0777));
    (void)unlink(in("output"));
}

/* Root is not stopped by limits and permissions. */
static inline void give_up_root(struct spawn_plan *plan)
{
    if (getuid() != 0)
        return;
    open_to_everyone(plan);
    ASSERT_CALL(setgroups(0, NULL));
    ASSERT_CALL(setresgid(NOGROUP, NOGROUP, NOGROUP));
    ASSERT_CALL(setresuid(NOBODY, NOBODY, NOBODY));
    ASSERT_CALL(prctl(PR_SET_DUMPABLE, 1)); /* or its files in /proc are still root's */
}
