/* SPDX-License-Identifier: MIT */
/* Creating a child, step by step; accepting is in test-spawn-accept.c. */
#include "test-spawn.h"

#include <sys/prctl.h>
#include <sys/socket.h>

static const char *const wait_arguments[] = {"program", "--role-wait", NULL};

/* ---- The plan -------------------------------------------------------------------------------- */

TEST(steps_have_systemd_s_exit_statuses)
{
    ASSERT_STRING(spawn_step_name(SPAWN_DIRECTORY), "working directory");
    ASSERT_STRING(spawn_step_name(SPAWN_EXEC), "exec");
    ASSERT_INT(spawn_step_exit_status(SPAWN_ACCEPT), 0);
    ASSERT_INT(spawn_step_exit_status(SPAWN_DIRECTORY), 200);
    ASSERT_INT(spawn_step_exit_status(SPAWN_DESCRIPTORS), 202);
    ASSERT_INT(spawn_step_exit_status(SPAWN_EXEC), 203);
    ASSERT_INT(spawn_step_exit_status(SPAWN_SIGNALS), 207);
    ASSERT_INT(spawn_step_exit_status(SPAWN_AFFINITY), 215);
    ASSERT_INT(spawn_step_exit_status(SPAWN_SESSION), 220);
    ASSERT_STRING(spawn_step_name((enum spawn_step)99), "unknown step");
    ASSERT_INT(spawn_step_exit_status((enum spawn_step)99), 1);
}

TEST(the_program_sees_its_arguments_and_environment)
{
    const char *const environment[] = {"A=1", "B=", NULL};
    struct spawn_plan plan = observe_plan();

    begin();
    plan.program = self_path;
    plan.environment = environment;
    const char *text = observed(&plan);
    ASSERT(strstr(text, "\nargument one\nargument \nenv A=1\nenv B=\ndone\n"));
    ASSERT(strncmp(text, "pid ", 4) == 0);
    ASSERT_INT(atoi(text + 4), record.pid);
    end();
}

TEST(a_plan_is_copied_and_can_be_used_again)
{
    char variable[] = "A=1", directory[] = "/";
    const char *environment[] = {variable, NULL};
    struct spawn_plan plan = observe_plan();
    struct prepared_plan *prepared;
    cpu_set_t cpus;

    begin();
    ASSERT_CALL(sched_getaffinity(0, sizeof(cpus), &cpus));
    plan.program = self_path;
    plan.environment = environment;
    plan.directory = directory;
    plan.affinity = &cpus;
    plan.flags = SPAWN_LISTEN_VARIABLES;
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    memset(variable, 'x', sizeof(variable) - 1);
    memset(directory, 'x', sizeof(directory) - 1);
    environment[0] = NULL;
    CPU_ZERO(&cpus);
    memset(&plan, 0x55, sizeof(plan));
    for (int i = 0; i < 3; i++) {
        char line[64];

        memset(&record, 0, sizeof(record));
        pid_t pid = spawn_run(spawner, prepared, &record);
        ASSERT_OK(pid);
        ASSERT_INT(exit_status_of(pid), 7);
        const char *text = read_file(in("output"));
        assert_line(text, "env A=1");
        assert_line(text, "directory /");
        (void)snprintf(line, sizeof(line), "env LISTEN_PID=%d", pid);
        assert_line(text, line);
    }
    spawn_plan_free(prepared);
    end();
}

TEST(a_variable_that_the_child_sets_is_set_once)
{
    const char *const environment[] = {"LISTEN_PID=1", "LISTEN_PIDS=2", "REMOTE_ADDR=x", NULL};
    struct spawn_plan plan = observe_plan();
    char expected[128];

    begin();
    plan.environment = environment;
    plan.flags = SPAWN_LISTEN_VARIABLES;
    const char *text = strstr(observed(&plan), "\nenv ");
    (void)snprintf(expected, sizeof(expected),
                   "\nenv LISTEN_PIDS=2\nenv REMOTE_ADDR=x\nenv LISTEN_PID=%d\ndone\n", record.pid);
    ASSERT_STRING(text, expected);
    end();
}

TEST(descriptors_in_each_other_s_way_are_refused)
{
    static const int low[] = {9, 4}, good[] = {9, 5}, none[] = {-1};
    struct spawn_plan plan = observe_plan();
    struct prepared_plan *prepared = NULL;

    plan.fds = low;
    plan.n_fds = 2;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    ASSERT(!prepared);
    plan.fds = good;
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    spawn_plan_free(prepared);
    plan.fds = none;
    plan.n_fds = 1;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    ASSERT(!spawn_plan_free(NULL));
    ASSERT(!spawner_free(NULL));
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

TEST(no_descriptor_but_the_standard_ones)
{
    begin();
    struct spawn_plan plan = observe_plan();
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_line(observed(&plan), "fds 0 1 2");
    close(fd);
    end();
}

TEST(descriptors_are_handed_over_in_their_order)
{
    uint64_t number = 40;
    int pair[2], fds[2];

    begin();
    ASSERT_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    fds[0] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 30);
    fds[1] = fcntl(pair[1], F_DUPFD_CLOEXEC, 20);
    struct spawn_plan plan = observe_plan();
    plan.fds = fds;
    plan.n_fds = 2;
    assert_line(observed(&plan), "fds 0 1 2 3 4");
    const char *const echo[] = {"program", "--role-echo", "4", NULL};
    plan.arguments = echo;
    ASSERT_INT(write(pair[0], &number, sizeof(number)), sizeof(number));
    ASSERT_INT(exit_status_of(run(&plan)), 7);
    assert_echo(pair[0], 40);
    close_range(20, 30, 0);
    close(pair[0]);
    close(pair[1]);
    end();
}

TEST(the_standard_descriptors_can_be_replaced)
{
    const char *const echo[] = {"program", "--role-echo", "0", NULL};
    uint64_t number = 50;
    int pair[2];

    begin();
    ASSERT_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    int fds[] = {pair[1], pair[1], pair[1]};
    struct spawn_plan plan = observe_plan();
    plan.arguments = echo;
    plan.fds = fds;
    plan.n_fds = 3;
    plan.first_fd = 0;
    ASSERT_INT(write(pair[0], &number, sizeof(number)), sizeof(number));
    ASSERT_INT(exit_status_of(run(&plan)), 7);
    assert_echo(pair[0], 50);
    plan.arguments = observe_arguments;
    assert_line(observed(&plan), "fds 0 1 2");
    close(pair[0]);
    close(pair[1]);
    end();
}

TEST(a_socket_as_standard_input_and_output)
{
    const char *const echo[] = {"program", "--role-echo", "0", NULL};
    uint64_t number = 60;
    int pair[2];

    begin();
    ASSERT_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    struct spawn_plan plan = observe_plan();
    plan.arguments = echo;
    plan.flags = SPAWN_CONNECTION_STDIO;
    plan.fds = &pair[1];
    plan.n_fds = 1;
    ASSERT_OK(fd_move_above(&pair[1], 10));
    ASSERT_INT(write(pair[0], &number, sizeof(number)), sizeof(number));
    ASSERT_INT(exit_status_of(run(&plan)), 7);
    assert_echo(pair[0], 60);
    plan.arguments = observe_arguments;
    assert_line(observed(&plan), "fds 0 1 2");
    close(pair[0]);
    close(pair[1]);
    end();
}

TEST(a_closed_descriptor_fails_its_step)
{
    begin();
    struct spawn_plan plan = observe_plan();
    const int fds[] = {200};
    plan.fds = fds;
    plan.n_fds = 1;
    assert_failed(&plan, SPAWN_DESCRIPTORS, EBADF);
    end();
}

/* ---- Steps ----------------------------------------------------------------------------------- */

TEST(a_session_of_its_own)
{
    char line[96];

    begin();
    struct spawn_plan plan = observe_plan();
    for (int wanted = 0; wanted < 2; wanted++) {
        plan.flags = wanted ? SPAWN_NEW_SESSION : 0;
        const char *text = observed(&plan);
        (void)snprintf(line, sizeof(line), "pid %d ppid %d session %d\n", record.pid, getpid(),
                       wanted ? record.pid : getsid(0));
        ASSERT_INT(strncmp(text, line, strlen(line)), 0);
    }
    end();
}

TEST(the_working_directory)
{
    char line[4200], expected[4096];

    begin();
    struct spawn_plan plan = observe_plan();
    plan.directory = directory_path;
    ASSERT(realpath(directory_path, expected));
    (void)snprintf(line, sizeof(line), "directory %s", expected);
    assert_line(observed(&plan), line);
    plan.directory = "/does/not/exist";
    assert_failed(&plan, SPAWN_DIRECTORY, ENOENT);
    ASSERT_INT(spawn_step_exit_status(SPAWN_DIRECTORY), 200);
    /* Who creates it stays where he is. */
    char now[4096];
    ASSERT(getcwd(now, sizeof(now)));
    ASSERT(strcmp(now, expected) != 0);
    end();
}

TEST(the_affinity)
{
    cpu_set_t ours, one, none;
    char line[32];
    size_t last = 0;

    begin();
    struct spawn_plan plan = observe_plan();
    ASSERT_CALL(sched_getaffinity(0, sizeof(ours), &ours));
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &ours))
            last = cpu;
    CPU_ZERO(&one);
    CPU_SET(last, &one);
    plan.affinity = &one;
    (void)snprintf(line, sizeof(line), "cpus %zu", last);
    assert_line(observed(&plan), line);
    CPU_ZERO(&none);
    plan.affinity = &none;
    assert_failed(&plan, SPAWN_AFFINITY, EINVAL);
    /* It was the child's, not ours. */
    ASSERT_CALL(sched_getaffinity(0, sizeof(one), &one));
    ASSERT(CPU_EQUAL(&one, &ours));
    end();
}

TEST(no_signal_is_blocked_or_ignored)
{
    begin();
    struct spawn_plan plan = observe_plan();
    assert_line(observed(&plan), "blocked 0000000000000000 ignored 0000000000000000");
    /* The handler of the interrupt does not get through either. */
    ASSERT_OK(spawn_install_interrupt());
    assert_line(observed(&plan), "blocked 0000000000000000 ignored 0000000000000000");
    (void)signal(SIGURG, SIG_DFL);
    end();
}

TEST(programs_that_cannot_be_run)
{
    begin();
    struct spawn_plan plan = observe_plan();
    plan.program = "/does/not/exist";
    assert_failed(&plan, SPAWN_EXEC, ENOENT);
    plan.program = "/";
    assert_failed(&plan, SPAWN_EXEC, EACCES);
    write_file(in("script"), "no program\n");
    ASSERT_CALL(chmod(in("script"), 0700));
    plan.program = in("script");
    assert_failed(&plan, SPAWN_EXEC, ENOEXEC);
    end();
}

static void first_process_comes_and_goes(void)
{
    IN_CHILD((void)0);
}

TEST(a_child_that_cannot_be_created)
{
    if (getuid() != 0)
        SKIP("needs root, for a pid namespace without a first process");
    begin();
    IN_CHILD({
        struct spawn_plan plan = observe_plan();

        ASSERT_CALL(unshare(CLONE_NEWPID));
        first_process_comes_and_goes();
        ASSERT_ERROR(run(&plan), -ENOMEM);
        ASSERT_INT(record.pid, 0);
    });
    end();
}

/* ---- Relations ------------------------------------------------------------------------------- */

/* A new process creates one child of the plan. */
static pid_t create_by_another(const struct spawn_plan *plan, struct spawn_record *shared,
                               bool then_wait)
{
    struct prepared_plan *prepared;

    fflush(NULL);
    pid_t creator = fork();
    ASSERT_CALL(creator);
    if (creator > 0)
        return creator;
    ASSERT_OK(spawner_new(&spawner));
    ASSERT_OK(spawn_plan_prepare(plan, &prepared));
    ASSERT_OK(spawn_run(spawner, prepared, shared));
    if (plan->flags & SPAWN_SIBLING)
        ASSERT(waitpid(-1, NULL, __WALL) < 0 && errno == ECHILD);
    if (!then_wait)
        _exit(0);
    while (true)
        (void)pause();
}

TEST(a_sibling_is_a_child_of_the_creator_s_parent)
{
    char line[96];

    begin();
    struct spawn_record *shared = shared_record();
    struct spawn_plan plan = observe_plan();
    plan.flags = SPAWN_SIBLING;
    pid_t creator = create_by_another(&plan, shared, false);
    ASSERT_INT(exit_status_of(creator), 0);
    ASSERT(shared->pid > 0 && shared->pid != creator);
    ASSERT_INT(exit_status_of(shared->pid), 7);
    (void)snprintf(line, sizeof(line), "pid %d ppid %d session %d\n", shared->pid, getpid(),
                   getsid(0));
    ASSERT_INT(strncmp(read_file(in("output")), line, strlen(line)), 0);
    munmap(shared, sizeof(*shared));
    end();
}

static void check_death_signal(unsigned flags, int expected)
{
    struct spawn_record *shared = shared_record();
    struct spawn_plan plan = observe_plan();
    int status;

    plan.arguments = wait_arguments;
    plan.flags = flags;
    ASSERT_CALL(prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t creator = create_by_another(&plan, shared, true);
    while (shared->step != SPAWN_EXEC)
        (void)sched_yield();
    ASSERT_CALL(kill(creator, SIGKILL));
    ASSERT_INT(waitpid(creator, &status, 0), creator);
    if (expected != SIGTERM)
        ASSERT_CALL(kill(shared->pid, expected));
    ASSERT_INT(waitpid(shared->pid, &status, 0), shared->pid);
    ASSERT(WIFSIGNALED(status));
    ASSERT_INT(WTERMSIG(status), expected);
}

TEST(sigterm_when_the_parent_dies)
{
    begin();
    IN_CHILD(check_death_signal(SPAWN_DEATH_SIGNAL_TERM, SIGTERM));
    IN_CHILD(check_death_signal(0, SIGUSR1));
    /* Not its creator's death, when that is not its parent. */
    IN_CHILD(check_death_signal(SPAWN_DEATH_SIGNAL_TERM | SPAWN_SIBLING, SIGUSR1));
    end();
}

/* The parent dies between spawner_new() and the child. */
static void run_without_parent(const struct spawn_plan *plan)
{
    pid_t parent = getppid();

    ASSERT_OK(spawner_new(&spawner));
    ASSERT_CALL(kill(parent, SIGKILL));
    while (getppid() == parent)
        (void)sched_yield();
    ASSERT_ERROR(run(plan), -ECANCELED);
    ASSERT_INT(record.step, SPAWN_DEATH_SIGNAL);
    ASSERT_INT(record.error, ESRCH);
}

static void check_dead_parent(void)
{
    struct spawn_plan plan = observe_plan();
    int status, n = 0, sum = 0;

    plan.flags = SPAWN_SIBLING | SPAWN_DEATH_SIGNAL_TERM;
    ASSERT_CALL(prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t parent = fork();
    ASSERT_CALL(parent);
    if (parent == 0) {
        pid_t creator = fork();
        ASSERT_CALL(creator);
        if (creator == 0) {
            run_without_parent(&plan);
            _exit(5);
        }
        while (true)
            (void)pause();
    }
    ASSERT_INT(waitpid(parent, &status, 0), parent);
    ASSERT(WIFSIGNALED(status));
    for (; waitpid(-1, &status, __WALL) > 0; n++)
        sum += WEXITSTATUS(status);
    ASSERT_INT(n, 2); /* the creator and its sibling, in some order */
    ASSERT_INT(sum, 5 + spawn_step_exit_status(SPAWN_DEATH_SIGNAL));
}

TEST(a_parent_that_is_dead_already)
{
    begin();
    IN_CHILD(check_dead_parent());
    end();
}
