/* SPDX-License-Identifier: MIT */
#include "libhark/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"

/* The child needs about 1 KiB; the page below it faults instead of running over. */
#define STACK_SIZE      ((size_t)32 * 1024)
#define GUARD_SIZE      ((size_t)4 * 1024)
#define CHILD_VARIABLES 3 /* LISTEN_PID, REMOTE_ADDR, REMOTE_PORT */

/* The sanitizers' stack bookkeeping does not know the child's stack. */
#define CHILD_CODE __attribute__((no_sanitize("address", "undefined", "thread")))

struct spawner {
    char *stack;
    pid_t parent; /* the parent of every SPAWN_SIBLING */
};

struct prepared_plan {
    struct spawn_plan plan; /* pointers lead to copies owned here */
    char **arguments;
    char **environment; /* with room for CHILD_VARIABLES at n_environment, and the end */
    size_t n_environment;
    char *program, *directory;
    int *fds;
    cpu_set_t affinity;
    char listen_pid[sizeof("LISTEN_PID=") + 20];
    char remote_address[sizeof("REMOTE_ADDR=") + PEER_TEXT_MAX];
    char remote_port[sizeof("REMOTE_PORT=") + PEER_TEXT_MAX];
};

static const struct {
    const char *name;
    int exit_status;
} steps[] = {
    [SPAWN_CREATED] = {"creation", 1},
    [SPAWN_ACCEPT] = {"accept", 0}, /* nothing was taken, so nothing failed */
    [SPAWN_SESSION] = {"new session", 220},
    [SPAWN_DEATH_SIGNAL] = {"parent-death signal", 1},
    [SPAWN_DESCRIPTORS] = {"descriptors", 202},
    [SPAWN_DIRECTORY] = {"working directory", 200},
    [SPAWN_AFFINITY] = {"cpu affinity", 215},
    [SPAWN_ENVIRONMENT] = {"environment", 204},
    [SPAWN_SIGNALS] = {"signal mask", 207},
    [SPAWN_EXEC] = {"exec", 203},
};

const char *spawn_step_name(enum spawn_step step)
{
    return (size_t)step < sizeof(steps) / sizeof(steps[0]) ? steps[step].name : "unknown step";
}

int spawn_step_exit_status(enum spawn_step step)
{
    return (size_t)step < sizeof(steps) / sizeof(steps[0]) ? steps[step].exit_status : 1;
}

int spawner_new(struct spawner **ret_spawner)
{
    cleanup_free struct spawner *spawner = calloc(1, sizeof(*spawner));

    if (spawner == NULL)
        return -ENOMEM;
    spawner->stack = mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (spawner->stack == MAP_FAILED)
        return -ENOMEM;
    (void)mprotect(spawner->stack, GUARD_SIZE, PROT_NONE);
    spawner->parent = getppid();
    *ret_spawner = take_pointer(&spawner);
    return 0;
}

struct spawner *spawner_free(struct spawner *spawner)
{
    if (spawner != NULL) {
        (void)munmap(spawner->stack, GUARD_SIZE + STACK_SIZE);
        free(spawner);
    }
    return NULL;
}

static void interrupt_handler(int signal_number)
{
    (void)signal_number;
}

int spawn_install_interrupt(void)
{
    const struct sigaction action = {.sa_handler = interrupt_handler};

    return sigaction(SIGURG, &action, NULL) < 0 ? -errno : 0;
}

/* ---- Preparation ----------------------------------------------------------------------------- */

static void string_list_free(char **list)
{
    if (list == NULL)
        return;
    for (char **item = list; *item != NULL; item++)
        free(*item);
    free(list);
}

/* A copy with room for spare more items, all NULL. */
static char **string_list_copy(const char *const *list, size_t spare, size_t *ret_n)
{
    size_t n = 0;

    while (list[n] != NULL)
        n++;
    char **copy = calloc(n + spare + 1, sizeof(*copy));
    if (copy == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        copy[i] = strdup(list[i]);
        if (copy[i] == NULL) {
            string_list_free(copy);
            return NULL;
        }
    }
    *ret_n = n;
    return copy;
}

/* A variable that the child sets is nobody else's: getenv(3) would find the first of two. */
static void drop_variable(char **environment, size_t *n, const char *name)
{
    size_t length = strlen(name), kept = 0;

    for (size_t i = 0; i < *n; i++)
        if (strncmp(environment[i], name, length) == 0 && environment[i][length] == '=')
            free(environment[i]);
        else
            environment[kept++] = environment[i];
    for (size_t i = kept; i < *n; i++)
        environment[i] = NULL;
    *n = kept;
}

struct prepared_plan *spawn_plan_free(struct prepared_plan *prepared)
{
    if (prepared == NULL)
        return NULL;
    string_list_free(prepared->arguments);
    if (prepared->environment != NULL) /* what the last child put behind it is not allocated */
        prepared->environment[prepared->n_environment] = NULL;
    string_list_free(prepared->environment);
    free(prepared->program);
    free(prepared->directory);
    free(prepared->fds);
    free(prepared);
    return NULL;
}

static void prepared_plan_cleanup(struct prepared_plan **prepared)
{
    spawn_plan_free(*prepared);
}

static int check_descriptors(const struct spawn_plan *plan)
{
    for (size_t i = 0; i < plan->n_fds; i++)
        if (plan->fds[i] < plan->first_fd + (int)plan->n_fds)
            return -EINVAL;
    return 0;
}

int spawn_plan_prepare(const struct spawn_plan *plan, struct prepared_plan **ret_prepared)
{
    cleanup(prepared_plan_cleanup) struct prepared_plan *p = calloc(1, sizeof(*p));
    size_t n;
    int r = check_descriptors(plan);

    if (r < 0)
        return r;
    if (p == NULL)
        return -ENOMEM;
    p->plan = *plan;
    p->program = strdup(plan->program);
    p->directory = plan->directory != NULL ? strdup(plan->directory) : NULL;
    p->arguments = string_list_copy(plan->arguments, 0, &n);
    p->environment = string_list_copy(plan->environment, CHILD_VARIABLES, &p->n_environment);
    p->fds = calloc(plan->n_fds + 1, sizeof(*p->fds));
    if (p->program == NULL || p->arguments == NULL || p->environment == NULL || p->fds == NULL ||
        (plan->directory != NULL && p->directory == NULL))
        return -ENOMEM;
    if (plan->flags & SPAWN_LISTEN_VARIABLES)
        drop_variable(p->environment, &p->n_environment, "LISTEN_PID");
    if (plan->flags & SPAWN_REMOTE_VARIABLES) {
        drop_variable(p->environment, &p->n_environment, "REMOTE_ADDR");
        drop_variable(p->environment, &p->n_environment, "REMOTE_PORT");
    }
    for (size_t i = 0; i < plan->n_fds; i++)
        p->fds[i] = plan->fds[i];
    p->plan.program = p->program;
    p->plan.directory = p->directory;
    p->plan.fds = p->fds;
    if (plan->affinity != NULL) {
        p->affinity = *plan->affinity;
        p->plan.affinity = &p->affinity;
    }
    memcpy(p->listen_pid, "LISTEN_PID=", sizeof("LISTEN_PID="));
    memcpy(p->remote_address, "REMOTE_ADDR=", sizeof("REMOTE_ADDR="));
    memcpy(p->remote_port, "REMOTE_PORT=", sizeof("REMOTE_PORT="));
    *ret_prepared = take_pointer(&p);
    return 0;
}

/* ---- The child ------------------------------------------------------------------------------- */

struct spawn_run {
    struct prepared_plan *prepared;
    struct spawn_record *record;
    pid_t parent;
    int connection;
    /* Read by the creator afterwards: the record may have been given to another child by then. */
    enum spawn_step failed_step;
    int error; /* 0: no step failed */
};

CHILD_CODE static void begin_step(struct spawn_run *run, enum spawn_step step)
{
    atomic_store_explicit(&run->record->step, step, memory_order_relaxed);
}

CHILD_CODE __attribute__((noreturn)) static void fail(struct spawn_run *run, enum spawn_step step,
                                                      int error)
{
    run->failed_step = step;
    run->error = error;
    atomic_store_explicit(&run->record->error, error, memory_order_release);
    _exit(spawn_step_exit_status(step));
}

/* accept(2) passes on errors of the connection itself: it is gone, the listener is well. */
CHILD_CODE static int accept_error(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
        return error;
    default:
        return EAGAIN;
    }
}

CHILD_CODE static int accept_connection(const struct spawn_plan *plan,
                                        struct sockaddr_storage *ret_address)
{
    socklen_t size = sizeof(*ret_address);

    ret_address->ss_family = AF_UNSPEC;
    if (plan->flags & SPAWN_MAY_BLOCK) {
        struct pollfd ready = {.fd = plan->listener, .events = POLLIN};
        sigset_t interrupt;

        if (poll(&ready, 1, 0) <= 0)
            return -EAGAIN;
        sigemptyset(&interrupt);
        sigaddset(&interrupt, SIGURG);
        (void)sigprocmask(SIG_UNBLOCK, &interrupt, NULL);
    }
    int fd = accept4(plan->listener, (struct sockaddr *)ret_address, &size, SOCK_CLOEXEC);
    return fd < 0 ? -accept_error(errno) : fd;
}

CHILD_CODE static void take_connection(struct spawn_run *run)
{
    const struct spawn_plan *plan = &run->prepared->plan;
    struct sockaddr_storage address;

    begin_step(run, SPAWN_ACCEPT);
    run->connection = accept_connection(plan, &address);
    if (run->connection < 0)
        fail(run, SPAWN_ACCEPT, -run->connection);
    peer_from_socket(run->connection, &address, &run->record->peer);
}

/* dup2() onto the same number would leave close-on-exec set. */
CHILD_CODE static void place(struct spawn_run *run, int fd, int number)
{
    int r = fd == number ? fcntl(fd, F_SETFD, 0) : dup2(fd, number);

    if (r < 0)
        fail(run, SPAWN_DESCRIPTORS, errno);
}

CHILD_CODE static void place_descriptors(struct spawn_run *run)
{
    const struct spawn_plan *plan = &run->prepared->plan;

    begin_step(run, SPAWN_DESCRIPTORS);
    if (plan->flags & SPAWN_CONNECTION_STDIO) {
        int fd = plan->flags & SPAWN_WITH_ACCEPT ? run->connection : plan->fds[0];

        place(run, fd, STDIN_FILENO);
        place(run, fd, STDOUT_FILENO);
    } else if (plan->flags & SPAWN_WITH_ACCEPT) {
        place(run, run->connection, plan->first_fd);
    } else {
        for (size_t i = 0; i < plan->n_fds; i++)
            place(run, plan->fds[i], plan->first_fd + (int)i);
    }
}

CHILD_CODE static void add_remote_variables(struct spawn_run *run, size_t *n)
{
    struct prepared_plan *prepared = run->prepared;
    const struct peer *peer = &run->record->peer;
    struct ifreq interface = {.ifr_ifindex = (int)peer->scope};
    const char *name = NULL;

    if (peer->family != AF_INET && peer->family != AF_INET6 && peer->family != AF_VSOCK)
        return;
    if (peer->family == AF_INET6 && peer->scope != 0 &&
        ioctl(run->connection, SIOCGIFNAME, &interface) >= 0)
        name = interface.ifr_name;
    peer_format_address(peer, name, prepared->remote_address + strlen("REMOTE_ADDR="));
    peer_format_port(peer, prepared->remote_port + strlen("REMOTE_PORT="));
    prepared->environment[(*n)++] = prepared->remote_address;
    prepared->environment[(*n)++] = prepared->remote_port;
}

CHILD_CODE static void complete_environment(struct spawn_run *run)
{
    struct prepared_plan *prepared = run->prepared;
    size_t n = prepared->n_environment;

    begin_step(run, SPAWN_ENVIRONMENT);
    if (prepared->plan.flags & SPAWN_LISTEN_VARIABLES) {
        char *digits = prepared->listen_pid + strlen("LISTEN_PID=");

        digits[format_decimal((uint64_t)getpid(), digits)] = '\0';
        prepared->environment[n++] = prepared->listen_pid;
    }
    if (prepared->plan.flags & SPAWN_REMOTE_VARIABLES)
        add_remote_variables(run, &n);
    prepared->environment[n] = NULL;
}

CHILD_CODE static void become_independent(struct spawn_run *run)
{
    const struct spawn_plan *plan = &run->prepared->plan;

    if (plan->flags & SPAWN_NEW_SESSION) {
        begin_step(run, SPAWN_SESSION);
        if (setsid() < 0)
            fail(run, SPAWN_SESSION, errno);
    }
    if (plan->flags & SPAWN_DEATH_SIGNAL_TERM) {
        begin_step(run, SPAWN_DEATH_SIGNAL);
        if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
            fail(run, SPAWN_DEATH_SIGNAL, errno);
        if (getppid() != run->parent) /* it died before, so there will be no signal */
            fail(run, SPAWN_DEATH_SIGNAL, ESRCH);
    }
}

CHILD_CODE static int child_main(void *argument)
{
    struct spawn_run *run = argument;
    struct prepared_plan *prepared = run->prepared;
    const struct spawn_plan *plan = &prepared->plan;
    sigset_t none;

    if (plan->flags & SPAWN_WITH_ACCEPT)
        take_connection(run);
    if (plan->counter != NULL)
        run->record->number = atomic_fetch_add_explicit(plan->counter, 1, memory_order_relaxed);
    become_independent(run);
    place_descriptors(run);
    if (plan->directory != NULL) {
        begin_step(run, SPAWN_DIRECTORY);
        if (chdir(plan->directory) < 0)
            fail(run, SPAWN_DIRECTORY, errno);
    }
    if (plan->affinity != NULL) {
        begin_step(run, SPAWN_AFFINITY);
        if (sched_setaffinity(0, sizeof(*plan->affinity), plan->affinity) < 0)
            fail(run, SPAWN_AFFINITY, errno);
    }
    complete_environment(run);
    begin_step(run, SPAWN_SIGNALS);
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        fail(run, SPAWN_SIGNALS, errno);
    begin_step(run, SPAWN_EXEC);
    execve(plan->program, prepared->arguments, prepared->environment);
    fail(run, SPAWN_EXEC, errno);
}

pid_t spawn_run(struct spawner *spawner, struct prepared_plan *prepared,
                struct spawn_record *record)
{
    struct spawn_run run = {
        .prepared = prepared,
        .record = record,
        .parent = prepared->plan.flags & SPAWN_SIBLING ? spawner->parent : getpid(),
        .connection = -1,
    };
    int flags = CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | SIGCHLD |
                (prepared->plan.flags & SPAWN_SIBLING ? CLONE_PARENT : 0);

    record->start_usec = monotonic_usec();
    pid_t pid = clone(child_main, spawner->stack + GUARD_SIZE + STACK_SIZE, flags, &run,
                      (pid_t *)&record->pid);
    if (pid < 0)
        return -errno;
    if (run.error == 0)
        return pid;
    if (run.failed_step != SPAWN_ACCEPT)
        return -ECANCELED;
    return run.error == EAGAIN ? -EAGAIN : -ENOBUFS;
}
