/* SPDX-License-Identifier: MIT */
/* What the tests of spawn share: programs, which are the test itself in the roles below, and the
 * surroundings that spawn_run() wants. */
#pragma once

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include "basic/fd.h"
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

/* Writes what it sees to the file, one line each, then "done". */
static inline void observe(const char *path, char **arguments, char **environment)
{
    char text[4096];
    cpu_set_t cpus;
    FILE *out;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

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
    for (int i = 1; i < 32; i++)
        (void)signal(i, SIG_DFL);
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
    char wanted[4400];

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
