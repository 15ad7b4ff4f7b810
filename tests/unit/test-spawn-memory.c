/* SPDX-License-Identifier: MIT */
/* Children with a copy of the memory, for a creator that must not stand still. */
#include "test-spawn.h"

#include "basic/clock.h"

static struct spawn_plan memory_plan(void)
{
    struct spawn_plan plan = observe_plan();

    plan.flags = SPAWN_OWN_MEMORY;
    return plan;
}

static pid_t run_with(const struct spawn_plan *plan, struct spawn_record *shared)
{
    struct prepared_plan *prepared;

    memset(shared, 0, sizeof(*shared));
    ASSERT_OK(spawn_plan_prepare(plan, &prepared));
    pid_t pid = spawn_run(spawner, prepared, shared);
    spawn_plan_free(prepared); /* the child has its own */
    return pid;
}

TEST(the_creator_goes_on_at_once)
{
    begin();
    struct spawn_record *shared = shared_record();
    struct spawn_plan plan = memory_plan();
    ASSERT_CALL(mkfifo(in("fifo"), 0600));
    plan.stdio[0] = (struct spawn_stdio){
        .kind = SPAWN_STDIO_FILE, .path = in("fifo"), .flags = O_RDONLY}; /* blocks */
    pid_t pid = run_with(&plan, shared);
    ASSERT_OK(pid);
    ASSERT_INT(shared->pid, pid);
    uint64_t deadline = monotonic_usec() + 10 * USEC_PER_SEC;
    while (shared->step != SPAWN_STDIN)
        ASSERT(monotonic_usec() < deadline);
    ASSERT_INT(waitpid(pid, NULL, WNOHANG), 0);
    int fd = open(in("fifo"), O_WRONLY | O_CLOEXEC);
    ASSERT_CALL(fd);
    ASSERT_INT(exit_status_of(pid), 7);
    ASSERT_INT(shared->step, SPAWN_EXEC);
    ASSERT_INT(shared->error, 0);
    close(fd);
    munmap(shared, sizeof(*shared));
    end();
}

TEST(the_program_sees_the_same)
{
    static const struct spawn_substitution pid_text = {"<pid>", SPAWN_TEXT_PID, false};
    static const char *const environment[] = {"A=<pid>", NULL};
    char line[64];

    begin();
    struct spawn_record *shared = shared_record();
    struct spawn_plan plan = memory_plan();
    plan.environment = environment;
    plan.substitutions = &pid_text;
    plan.n_substitutions = 1;
    plan.directory = "/";
    plan.flags |= SPAWN_EXEC_PID | SPAWN_NEW_SESSION | SPAWN_DEATH_SIGNAL_TERM;
    pid_t pid = run_with(&plan, shared);
    ASSERT_INT(exit_status_of(pid), 7);
    const char *text = read_file(in("output"));
    (void)snprintf(line, sizeof(line), "pid %d ppid %d session %d\n", pid, getpid(), pid);
    ASSERT_INT(strncmp(text, line, strlen(line)), 0);
    assert_line(text, "fds 0 1 2");
    assert_line(text, "directory /");
    assert_line(text, "death signal 15");
    assert_line(text, "blocked 0000000000000000 ignored 0000000000000000");
    (void)snprintf(line, sizeof(line), "env A=%d", pid);
    assert_line(text, line);
    (void)snprintf(line, sizeof(line), "env SYSTEMD_EXEC_PID=%d", pid);
    assert_line(text, line);
    munmap(shared, sizeof(*shared));
    end();
}

TEST(a_failure_shows_in_status_and_shared_record)
{
    begin();
    struct spawn_record *shared = shared_record();
    struct spawn_plan plan = memory_plan();
    plan.program = "/does/not/exist";
    pid_t pid = run_with(&plan, shared);
    ASSERT_OK(pid);
    ASSERT_INT(exit_status_of(pid), spawn_step_exit_status(SPAWN_EXEC));
    ASSERT_INT(shared->step, SPAWN_EXEC);
    ASSERT_INT(shared->error, ENOENT);
    plan.directory = "/does/not/exist";
    pid = run(&plan); /* a record of our own */
    ASSERT_OK(pid);
    ASSERT_INT(record.pid, pid);
    ASSERT_INT(exit_status_of(pid), spawn_step_exit_status(SPAWN_DIRECTORY));
    ASSERT_INT(record.step, SPAWN_CREATED);
    ASSERT_INT(record.error, 0);
    munmap(shared, sizeof(*shared));
    end();
}

TEST(many_at_the_same_time)
{
    struct prepared_plan *prepared;
    pid_t pids[20];

    begin();
    struct spawn_plan plan = memory_plan();
    plan.directory = "/";
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    for (size_t i = 0; i < 20; i++) { /* with one stack */
        memset(&record, 0, sizeof(record));
        pids[i] = spawn_run(spawner, prepared, &record);
        ASSERT_OK(pids[i]);
    }
    for (size_t i = 0; i < 20; i++)
        ASSERT_INT(exit_status_of(pids[i]), 7);
    spawn_plan_free(prepared);
    end();
}

TEST(it_does_not_accept)
{
    struct spawn_plan plan = plan_to_accept(30);
    struct prepared_plan *prepared;

    plan.flags |= SPAWN_OWN_MEMORY;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
}
