/* SPDX-License-Identifier: MIT */
/*
 * The child: from clone(2) to execve(2) in the memory of its creator, who stands still meanwhile;
 * or, with SPAWN_OWN_MEMORY, in a copy: there all of this holds the more, and is needed as well,
 * because a lock of libc may have been copied while another thread held it.
 *
 * Why this is safe. Towards the creator's memory:
 *   - It has a stack of its own, and all signals are blocked, so no handler runs here but SIGURG's,
 *     which is empty: after an accept that may block, and between the reset of the mask and the
 *     exec.
 *   - It calls nothing but system calls and the pure functions of peer.c and <string.h>: no
 *     allocation, no lock, no stdio, no locale. Where libc does more than the call (setuid and
 *     its kin signal all threads, getrandom keeps a state per thread) the call is made raw. It
 *     leaves by _exit(2).
 *   - What it writes is its own (struct spawn_run, the record) or prepared for it (the texts, and
 *     the pointers to strings made of them): the next child finds it as good as new, because it
 *     writes all of that anew, and spawn_plan_free() puts back the strings of the plan. errno is
 *     the creator's, who expects no particular one after clone(2).
 *   - In shared memory it writes its own record alone, and the plan's counter.
 * Towards the creator's other state:
 *   - Descriptors, directory, umask, dispositions, limits, nice, ids, groups, the session and
 *     no_new_privs are per process, and were copied by clone(2). The out-of-memory score belongs to
 *     everyone with the same memory, but Linux leaves that out for a vfork (since 4.8).
 * Towards the new user, from SPAWN_USER on:
 *   - setresuid(2) makes the memory undumpable for both processes (unless fs.suid_dumpable is 1,
 *     which is for debugging): the user can neither trace the child nor read or write the
 *     creator's memory through /proc, and no signal makes a core dump. The exec ends that for the
 *     program; the creator stays undumpable.
 *   - He can stop and kill the child, and a directory of his can block it: little is left to do by
 *     then, and the supervisor ends children that take too long.
 */
#include "libhark/spawn-child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libhark/spawn-admission.h"
#include "libhark/spawn-text.h"

/* Where the first ones take 16 bit. */
#ifdef SYS_setgroups32
#define SETGROUPS SYS_setgroups32
#define SETRESGID SYS_setresgid32
#define SETRESUID SYS_setresuid32
#else
#define SETGROUPS SYS_setgroups
#define SETRESGID SYS_setresgid
#define SETRESUID SYS_setresuid
#endif

#define NICE_MIN (-20)
#define NICE_MAX 20 /* what RLIMIT_NICE counts down from; the highest value is one less */

/* ---- Each step: 0 or -errno ------------------------------------------------------------------ */

CHILD_CODE static int result_of(long call)
{
    return call < 0 ? -errno : 0;
}

CHILD_CODE bool spawn_connection_is_gone(int error)
{
    switch (error) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETRESET:
    case ENETUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case ENOTCONN:
    case EPIPE:
    case EPROTO:
    case ESHUTDOWN:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

CHILD_CODE static int take_connection(struct spawn_run *run)
{
    const struct spawn_plan *plan = &run->prepared->plan;
    struct sockaddr_storage *address = &run->prepared->peer_address;
    socklen_t *size = &run->prepared->peer_address_size;

    address->ss_family = AF_UNSPEC;
    *size = sizeof(*address);
    if (plan->flags & SPAWN_MAY_BLOCK) {
        struct pollfd ready = {.fd = plan->listener, .events = POLLIN};
        sigset_t interrupt;

        if (poll(&ready, 1, 0) <= 0)
            return -EAGAIN;
        sigemptyset(&interrupt);
        sigaddset(&interrupt, SIGURG);
        (void)sigprocmask(SIG_UNBLOCK, &interrupt, NULL);
    }
    run->connection =
        accept4(plan->listener, (struct sockaddr *)address, size, run->prepared->accept_flags);
    if (run->connection < 0)
        return spawn_connection_is_gone(errno) ? -EAGAIN : -errno;
    peer_from_socket(run->connection, address, &run->record->peer);
    return 0;
}

/* What does not work is left, as systemd does. */
CHILD_CODE static int set_connection_options(struct spawn_run *run)
{
    const struct spawn_plan *plan = &run->prepared->plan;

    for (size_t i = 0; i < plan->n_connection_options; i++) {
        const struct spawn_socket_option *option = &plan->connection_options[i];

        if (setsockopt(run->connection, option->level, option->name, option->value, option->size) <
                0 &&
            errno == EPERM && option->fallback_name != 0)
            (void)setsockopt(run->connection, option->level, option->fallback_name, option->value,
                             option->size);
    }
    return 0;
}

CHILD_CODE static int begin_session(struct spawn_run *run)
{
    if (run->prepared->plan.flags & SPAWN_NEW_SESSION)
        return result_of(setsid());
    return result_of(setpgid(0, 0));
}

CHILD_CODE static int set_umask(struct spawn_run *run)
{
    (void)umask(run->prepared->plan.umask);
    return 0;
}

/* dup2() onto the same number would leave close-on-exec set. */
CHILD_CODE static int place(int fd, int number)
{
    return result_of(fd == number ? fcntl(fd, F_SETFD, 0) : dup2(fd, number));
}

CHILD_CODE static int set_nonblock(int fd, bool nonblock)
{
    int before = fcntl(fd, F_GETFL);
    int after = nonblock ? before | O_NONBLOCK : before & ~O_NONBLOCK;

    if (before < 0)
        return -errno;
    return before == after ? 0 : result_of(fcntl(fd, F_SETFL, after));
}

/* accept4(2) made it as it has to be; a socket of the plan may be anything. */
CHILD_CODE static int place_connection(struct spawn_run *run, int number)
{
    const struct spawn_plan *plan = &run->prepared->plan;

    if (plan->flags & SPAWN_WITH_ACCEPT)
        return place(run->connection, number);
    int r = plan->flags & SPAWN_DESCRIPTORS_BLOCK ? set_nonblock(plan->fds[0], false) : 0;
    return r < 0 ? r : place(plan->fds[0], number);
}

CHILD_CODE static int place_standard(struct spawn_run *run, int number)
{
    const struct spawn_stdio *standard = &run->prepared->plan.stdio[number];
    int fd;

    switch (standard->kind) {
    case SPAWN_STDIO_INHERIT:
        return 0;
    case SPAWN_STDIO_DESCRIPTOR:
        return place(standard->fd, number);
    case SPAWN_STDIO_CONNECTION:
        return place_connection(run, number);
    case SPAWN_STDIO_INPUT:
        return place(STDIN_FILENO, number);
    case SPAWN_STDIO_OUTPUT:
        return place(STDOUT_FILENO, number);
    case SPAWN_STDIO_FILE:
        fd = open(run->prepared->paths[number], standard->flags | O_CLOEXEC | O_NOCTTY,
                  standard->mode);
        return fd < 0 ? -errno : place(fd, number);
    case SPAWN_STDIO_PASSED: /* as systemd: blocking if that can be */
        fd = run->prepared->plan.flags & SPAWN_WITH_ACCEPT ? run->connection
                                                           : run->prepared->plan.fds[standard->fd];
        (void)set_nonblock(fd, false);
        return place(fd, number);
    }
    return -EINVAL;
}

CHILD_CODE static int place_stdin(struct spawn_run *run)
{
    return place_standard(run, STDIN_FILENO);
}

CHILD_CODE static int place_stdout(struct spawn_run *run)
{
    return place_standard(run, STDOUT_FILENO);
}

CHILD_CODE static int place_stderr(struct spawn_run *run)
{
    return place_standard(run, STDERR_FILENO);
}

/* What this process may not do stays undone, as systemd has it. */
CHILD_CODE static int set_oom_score(struct spawn_run *run)
{
    const char *text = run->prepared->oom_score;
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    int r = result_of(fd < 0 ? -1 : write(fd, text, strlen(text)));

    if (fd >= 0)
        (void)close(fd);
    return r == -EPERM || r == -EACCES ? 0 : r;
}

/* As close as is permitted, as systemd's setpriority_closest(). */
CHILD_CODE static int set_nice(struct spawn_run *run)
{
    int wanted = run->prepared->plan.nice, r = result_of(setpriority(PRIO_PROCESS, 0, wanted));
    struct rlimit limit;

    if (r != -EPERM && r != -EACCES)
        return r;
    errno = 0;
    int now = getpriority(PRIO_PROCESS, 0);
    if (errno != 0)
        return -errno;
    if (wanted == now)
        return 0;
    if (wanted > now) /* always permitted: somebody forbids the call itself */
        return r;
    if (getrlimit(RLIMIT_NICE, &limit) < 0)
        return -errno;
    int lowest = NICE_MAX - 1;
    if (limit.rlim_cur >= (rlim_t)(NICE_MAX - NICE_MIN))
        lowest = NICE_MIN;
    else if (limit.rlim_cur > 1)
        lowest = NICE_MAX - (int)limit.rlim_cur;
    return now > lowest ? result_of(setpriority(PRIO_PROCESS, 0, lowest)) : 0;
}

CHILD_CODE static int set_affinity(struct spawn_run *run)
{
    const cpu_set_t *affinity = run->prepared->plan.affinity;
    int r = result_of(sched_setaffinity(0, sizeof(*affinity), affinity));
    cpu_set_t every;

    if (r != -EINVAL || CPU_COUNT(affinity) == 0)
        return r;
    memset(&every, 0xff, sizeof(every)); /* the cpuset has changed: whatever it has now */
    return result_of(sched_setaffinity(0, sizeof(every), &every));
}

CHILD_CODE static rlim_t lower_limit(rlim_t one, rlim_t other)
{
    return one < other ? one : other; /* RLIM_INFINITY is the greatest */
}

/* As systemd's setrlimit_closest(). */
CHILD_CODE static int set_limit(const struct spawn_limit *limit)
{
    int r = result_of(setrlimit((unsigned)limit->resource, &limit->value));
    struct rlimit now;

    if (r != -EPERM)
        return r;
    if (getrlimit((unsigned)limit->resource, &now) < 0)
        return -errno;
    if (now.rlim_max == RLIM_INFINITY) /* it was not about the hard limit */
        return r;
    const struct rlimit possible = {
        .rlim_cur = lower_limit(limit->value.rlim_cur, now.rlim_max),
        .rlim_max = lower_limit(limit->value.rlim_max, now.rlim_max),
    };
    return result_of(setrlimit((unsigned)limit->resource, &possible));
}

CHILD_CODE static int set_limits(struct spawn_run *run)
{
    const struct spawn_plan *plan = &run->prepared->plan;
    int r = 0;

    for (size_t i = 0; i < plan->n_limits && r >= 0; i++)
        r = set_limit(&plan->limits[i]);
    return r;
}

CHILD_CODE static int set_groups(struct spawn_run *run)
{
    const struct spawn_plan *plan = &run->prepared->plan;
    int r = 0;

    if (plan->flags & SPAWN_SET_GROUPS)
        r = result_of(syscall(SETGROUPS, plan->n_groups, plan->groups));
    if (r >= 0 && plan->flags & SPAWN_SET_GID)
        r = result_of(syscall(SETRESGID, plan->gid, plan->gid, plan->gid));
    return r;
}

CHILD_CODE static int hand_over(const struct spawn_plan *plan, int fd, int number)
{
    int r = 0;

    if (number > STDERR_FILENO &&
        plan->flags & (SPAWN_DESCRIPTORS_NONBLOCK | SPAWN_DESCRIPTORS_BLOCK))
        r = set_nonblock(fd, plan->flags & SPAWN_DESCRIPTORS_NONBLOCK);
    return r < 0 ? r : place(fd, number);
}

CHILD_CODE static int place_descriptors(struct spawn_run *run)
{
    const struct spawn_plan *plan = &run->prepared->plan;
    int r = 0;

    if (plan->flags & SPAWN_WITH_ACCEPT) /* which set O_NONBLOCK, or not */
        return place(run->connection, plan->first_fd);
    for (size_t i = 0; i < plan->n_fds && r >= 0; i++)
        r = hand_over(plan, plan->fds[i], plan->first_fd + (int)i);
    return r;
}

CHILD_CODE static int set_user(struct spawn_run *run)
{
    uid_t uid = run->prepared->plan.uid;

    return result_of(syscall(SETRESUID, uid, uid, uid));
}

CHILD_CODE static int set_death_signal(struct spawn_run *run)
{
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
        return -errno;
    return getppid() == run->parent ? 0 : -ESRCH; /* it died before, so there will be no signal */
}

CHILD_CODE static int change_directory(struct spawn_run *run)
{
    const struct spawn_plan *plan = &run->prepared->plan;
    int r = result_of(chdir(run->prepared->directory));

    return plan->flags & SPAWN_DIRECTORY_OPTIONAL ? 0 : r;
}

CHILD_CODE static int forbid_new_privileges(struct spawn_run *run)
{
    (void)run;
    return result_of(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

/* Ignored first: what came meanwhile is gone then. */
CHILD_CODE static int reset_signals(struct spawn_run *run)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t none;

    if (run->prepared->plan.flags & SPAWN_IGNORE_SIGPIPE && sigaction(SIGPIPE, &ignore, NULL) < 0)
        return -errno;
    sigemptyset(&none);
    return result_of(sigprocmask(SIG_SETMASK, &none, NULL));
}

CHILD_CODE static int execute(struct spawn_run *run)
{
    const struct prepared_plan *prepared = run->prepared;
    char **arguments =
        prepared->kept_arguments != NULL ? prepared->kept_arguments : prepared->arguments;

    execve(prepared->program, arguments, prepared->environment);
    return -errno;
}

/* ---- The steps in their order ---------------------------------------------------------------- */

/* It is that of systemd's exec_child(), but for what is marked with *. */
static const struct {
    const char *name;
    int exit_status;
    int (*apply)(struct spawn_run *run);
} steps[] = {
    [SPAWN_CREATED] = {"creation", 1, NULL},
    /* * First, so that a child who has lost the race is gone at once; it took nothing, so nothing
     * failed. */
    [SPAWN_ACCEPT] = {"accept", 0, take_connection},
    /* * Before anything is done for a connection that is refused; nothing failed then. */
    [SPAWN_ADMISSION] = {"admission", 0, spawn_admit},
    [SPAWN_CONNECTION_OPTIONS] = {"connection options", 1, set_connection_options},
    /* * Before the first step that uses a string of the plan. */
    [SPAWN_TEXTS] = {"texts", 204, spawn_make_texts},
    [SPAWN_SESSION] = {"new session", 220, begin_session},
    /* * systemd, whose own umask is 0, takes it from the mode of stdio's files itself. Never fails.
     */
    [SPAWN_UMASK] = {"umask", 1, set_umask},
    /* The creator opens the files: before limits and identity. Before the descriptors from 3 on,
     * so that these may lie anywhere above. */
    [SPAWN_STDIN] = {"standard input", 208, place_stdin},
    [SPAWN_STDOUT] = {"standard output", 209, place_stdout},
    [SPAWN_STDERR] = {"standard error", 222, place_stderr},
    /* What only the creator may raise: before the identity. */
    [SPAWN_OOM_SCORE] = {"oom score", 206, set_oom_score},
    [SPAWN_NICE] = {"nice", 201, set_nice},
    [SPAWN_AFFINITY] = {"cpu affinity", 215, set_affinity},
    [SPAWN_ENVIRONMENT] = {"environment", 204, spawn_complete_environment},
    [SPAWN_LIMITS] = {"resource limits", 205, set_limits},
    /* Groups before the user, who may not set them any more. */
    [SPAWN_GROUP] = {"group", 216, set_groups},
    [SPAWN_DESCRIPTORS] = {"descriptors", 202, place_descriptors},
    /* From here on the user can stop this process, and with it the creator. */
    [SPAWN_USER] = {"user", 217, set_user},
    /* * Linux forgets it with a change of identity. */
    [SPAWN_DEATH_SIGNAL] = {"parent-death signal", 1, set_death_signal},
    /* With the user's rights. */
    [SPAWN_DIRECTORY] = {"working directory", 200, change_directory},
    [SPAWN_NO_NEW_PRIVILEGES] = {"no new privileges", 227, forbid_new_privileges},
    /* * Last: until here no signal may interrupt. */
    [SPAWN_SIGNALS] = {"signal mask", 207, reset_signals},
    [SPAWN_EXEC] = {"exec", 203, execute},
};

_Static_assert(sizeof(steps) / sizeof(steps[0]) == SPAWN_N_STEPS, "each has its line");

const char *spawn_step_name(enum spawn_step step)
{
    return (size_t)step < SPAWN_N_STEPS ? steps[step].name : "unknown step";
}

int spawn_step_exit_status(enum spawn_step step)
{
    return (size_t)step < SPAWN_N_STEPS ? steps[step].exit_status : 1;
}

/* ---- The child ------------------------------------------------------------------------------- */

CHILD_CODE static void do_step(struct spawn_run *run, enum spawn_step step)
{
    atomic_store_explicit(&run->record->step, step, memory_order_relaxed);
    int r = steps[step].apply(run);
    if (r >= 0)
        return;
    run->failed_step = step;
    run->error = -r;
    atomic_store_explicit(&run->record->error, -r, memory_order_release);
    _exit(steps[step].exit_status);
}

/* With memory of its own there is nothing to keep signals from, and a file may take any time to
 * open: whoever wants the child to end meanwhile must be heard. */
CHILD_CODE static void hear_signals(const struct spawn_plan *plan)
{
    sigset_t none;

    sigemptyset(&none);
    if (plan->flags & SPAWN_DEATH_SIGNAL_TERM) /* again after the change of user */
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

CHILD_CODE int spawn_child(void *argument)
{
    struct spawn_run *run = argument;
    const struct prepared_plan *prepared = run->prepared;
    const struct spawn_plan *plan = &prepared->plan;

    if (plan->flags & SPAWN_OWN_MEMORY)
        hear_signals(plan);
    if (plan->flags & SPAWN_WITH_ACCEPT)
        do_step(run, SPAWN_ACCEPT);
    if (plan->records.list != NULL)
        spawn_admission_begin(run);
    else if (plan->counter != NULL)
        run->record->number = atomic_fetch_add_explicit(plan->counter, 1, memory_order_relaxed);
    for (const uint8_t *step = prepared->steps;; step++) /* the last one does not return */
        do_step(run, (enum spawn_step) * step);
}
