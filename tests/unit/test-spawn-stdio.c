/* SPDX-License-Identifier: MIT */
/* Standard input, output and error of a child, and O_NONBLOCK on what it gets besides. */
#include "test-spawn.h"

#include <sys/socket.h>

enum { INPUT, OUTPUT, ERROR };

static int open_above(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);

    ASSERT_CALL(fd);
    ASSERT_OK(fd_move_above(&fd, 30));
    return fd;
}

static struct spawn_stdio from_fd(int fd)
{
    return (struct spawn_stdio){.kind = SPAWN_STDIO_DESCRIPTOR, .fd = fd};
}

static struct spawn_stdio from_path(const char *path, int flags)
{
    return (struct spawn_stdio){
        .kind = SPAWN_STDIO_FILE, .path = path, .flags = flags, .mode = 0666};
}

static void assert_standard(const char *text, int number, const char *target)
{
    char line[4600];

    (void)snprintf(line, sizeof(line), "standard %d %s", number, target);
    assert_line(text, line);
}

/* What the creator has there itself. */
static void assert_inherited(const char *text, int number)
{
    char path[64];
    char target[4096];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", number);
    ssize_t length = readlink(path, target, sizeof(target) - 1);
    ASSERT(length > 0);
    target[length] = '\0';
    assert_standard(text, number, target);
}

static const char *socket_name(int fd)
{
    static char name[64];
    struct stat status;

    ASSERT_CALL(fstat(fd, &status));
    (void)snprintf(name, sizeof(name), "socket:[%lu]", (unsigned long)status.st_ino);
    return name;
}

/* ---- Descriptors and copies ------------------------------------------------------------------ */

TEST(standard_descriptors_of_the_plan)
{
    begin();
    int null_fd = open_above("/dev/null", O_RDWR);
    int zero_fd = open_above("/dev/zero", O_RDWR);
    struct spawn_plan plan = observe_plan();
    plan.stdio[INPUT] = from_fd(null_fd);
    const char *text = observed(&plan);
    assert_standard(text, INPUT, "/dev/null");
    assert_inherited(text, OUTPUT);
    assert_inherited(text, ERROR);
    plan.stdio[OUTPUT] = from_fd(zero_fd);
    plan.stdio[ERROR] = from_fd(null_fd);
    plan.fds = &zero_fd;
    plan.n_fds = 1;
    text = observed(&plan);
    assert_standard(text, INPUT, "/dev/null");
    assert_standard(text, OUTPUT, "/dev/zero");
    assert_standard(text, ERROR, "/dev/null");
    assert_line(text, "fds 0 1 2 3");
    close(null_fd);
    close(zero_fd);
    end();
}

TEST(copies_of_other_standard_descriptors)
{
    begin();
    int null_fd = open_above("/dev/null", O_RDWR);
    int zero_fd = open_above("/dev/zero", O_RDWR);
    struct spawn_plan plan = observe_plan();
    plan.stdio[INPUT] = from_fd(null_fd);
    plan.stdio[OUTPUT].kind = SPAWN_STDIO_INPUT;
    plan.stdio[ERROR].kind = SPAWN_STDIO_OUTPUT;
    const char *text = observed(&plan);
    assert_standard(text, OUTPUT, "/dev/null");
    assert_standard(text, ERROR, "/dev/null");
    plan.stdio[OUTPUT] = from_fd(zero_fd);
    assert_standard(observed(&plan), ERROR, "/dev/zero");
    plan.stdio[ERROR].kind = SPAWN_STDIO_INPUT;
    assert_standard(observed(&plan), ERROR, "/dev/null");
    close(null_fd);
    close(zero_fd);
    end();
}

TEST(the_socket_where_the_plan_wants_it)
{
    int pair[2];

    begin();
    ASSERT_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    ASSERT_OK(fd_move_above(&pair[0], 30));
    ASSERT_OK(fd_move_above(&pair[1], 30));
    int null_fd = open_above("/dev/null", O_RDWR);
    struct spawn_plan plan = observe_plan();
    plan.fds = &pair[1];
    plan.n_fds = 1;
    /* StandardInput=socket and nothing else: the peer gets the errors too. */
    plan.flags = SPAWN_CONNECTION_STDIO;
    plan.stdio[ERROR].kind = SPAWN_STDIO_OUTPUT;
    const char *text = observed(&plan);
    for (int i = INPUT; i <= ERROR; i++)
        assert_standard(text, i, socket_name(pair[1]));
    assert_line(text, "fds 0 1 2");
    /* StandardOutput=socket. */
    plan.flags = 0;
    plan.stdio[INPUT] = from_fd(null_fd);
    plan.stdio[OUTPUT].kind = SPAWN_STDIO_CONNECTION;
    plan.stdio[ERROR].kind = SPAWN_STDIO_INHERIT;
    text = observed(&plan);
    assert_standard(text, INPUT, "/dev/null");
    assert_standard(text, OUTPUT, socket_name(pair[1]));
    assert_inherited(text, ERROR);
    assert_line(text, "fds 0 1 2");
    close(null_fd);
    close(pair[0]);
    close(pair[1]);
    end();
}

/* StandardInput=fd:NAME: any of the service's sockets, made blocking; it stays where it is too. */
TEST(a_passed_socket_is_standard_as_well)
{
    int fds[2];

    begin();
    ASSERT_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds));
    ASSERT_OK(fd_move_above(&fds[0], 30));
    ASSERT_OK(fd_move_above(&fds[1], 30));
    struct spawn_plan plan = observe_plan();
    plan.fds = fds;
    plan.n_fds = 2;
    plan.stdio[INPUT] = (struct spawn_stdio){.kind = SPAWN_STDIO_PASSED, .fd = 1};
    plan.stdio[ERROR] = (struct spawn_stdio){.kind = SPAWN_STDIO_PASSED, .fd = 0};
    const char *text = observed(&plan);
    assert_standard(text, INPUT, socket_name(fds[1]));
    assert_inherited(text, OUTPUT);
    assert_standard(text, ERROR, socket_name(fds[0]));
    assert_line(text, "fds 0 1 2 3 4");
    assert_line(text, "nonblocking");
    /* The order of systemd: NonBlocking= comes later, and it is one file. */
    plan.flags = SPAWN_DESCRIPTORS_NONBLOCK;
    plan.stdio[OUTPUT].kind = SPAWN_STDIO_INPUT;
    text = observed(&plan);
    assert_standard(text, OUTPUT, socket_name(fds[1]));
    assert_line(text, "nonblocking 0 1 2 3 4");
    close(fds[0]);
    close(fds[1]);
    end();
}

TEST(closed_standard_descriptors_fail_their_steps)
{
    begin();
    for (int i = INPUT; i <= ERROR; i++) {
        struct spawn_plan plan = observe_plan();

        plan.stdio[i] = from_fd(200);
        assert_failed(&plan, (enum spawn_step)((int)SPAWN_STDIN + i), EBADF);
    }
    end();
}

/* ---- Files ----------------------------------------------------------------------------------- */

TEST(files_as_standard_descriptors)
{
    struct stat status;
    char log[64];

    begin();
    struct spawn_plan plan = observe_plan();
    write_file(in("input"), "text\n");
    (void)snprintf(log, sizeof(log), "%s/log", directory_path);
    plan.stdio[INPUT] = from_path(in("input"), O_RDONLY);
    plan.stdio[OUTPUT] = from_path(log, O_WRONLY | O_CREAT | O_APPEND);
    plan.stdio[ERROR].kind = SPAWN_STDIO_OUTPUT;
    plan.flags = SPAWN_SET_UMASK;
    plan.umask = 0027;
    const char *text = observed(&plan);
    assert_standard(text, INPUT, in("input"));
    assert_standard(text, OUTPUT, log);
    assert_standard(text, ERROR, log);
    assert_line(text, "fds 0 1 2");
    ASSERT_CALL(stat(log, &status));
    ASSERT_INT(status.st_mode & 0777, 0640); /* the umask is the plan's already */
    write_file(log, "before\n");
    plan.stdio[ERROR] = from_path(log, O_WRONLY | O_CREAT | O_TRUNC);
    (void)observed(&plan);
    ASSERT_STRING(read_file(log), "");
    end();
}

TEST(files_that_cannot_be_opened)
{
    begin();
    for (int i = INPUT; i <= ERROR; i++) {
        struct spawn_plan plan = observe_plan();

        plan.stdio[i] = from_path("/does/not/exist", O_RDWR | O_CREAT);
        assert_failed(&plan, (enum spawn_step)((int)SPAWN_STDIN + i), ENOENT);
        plan.stdio[i] = from_path(directory_path, O_WRONLY);
        assert_failed(&plan, (enum spawn_step)((int)SPAWN_STDIN + i), EISDIR);
    }
    end();
}

static void check_file_of_root(void)
{
    struct spawn_plan plan = observe_plan();
    struct stat status;

    open_to_everyone(&plan);
    plan.stdio[OUTPUT] = from_path(in("log"), O_WRONLY | O_CREAT);
    plan.flags = SPAWN_SET_UID | SPAWN_SET_GID | SPAWN_SET_GROUPS;
    plan.uid = NOBODY;
    plan.gid = NOGROUP;
    assert_line(observed(&plan), "uid 65534\t65534\t65534\t65534");
    ASSERT_CALL(stat(in("log"), &status));
    ASSERT_INT(status.st_uid, 0);
}

TEST(files_are_opened_as_the_creator)
{
    if (getuid() != 0)
        SKIP("needs root, to become somebody else");
    begin();
    IN_CHILD(check_file_of_root());
    end();
}

TEST(stdio_is_copied)
{
    char path[] = "/dev/zero";
    struct prepared_plan *prepared;

    begin();
    struct spawn_plan plan = observe_plan();
    plan.stdio[INPUT] = from_path(path, O_RDONLY);
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    memset(path, 'x', sizeof(path) - 1);
    memset(&plan, 0x55, sizeof(plan));
    memset(&record, 0, sizeof(record));
    ASSERT_INT(exit_status_of(spawn_run(spawner, prepared, &record)), 7);
    assert_standard(read_file(in("output")), INPUT, "/dev/zero");
    spawn_plan_free(prepared);
    end();
}

/* ---- O_NONBLOCK ------------------------------------------------------------------------------ */

static const char *observed_with(struct spawn_plan *plan, unsigned flags)
{
    plan->flags = flags;
    return observed(plan);
}

TEST(what_is_handed_over_blocks_or_not)
{
    int fds[2];

    begin();
    fds[0] = open_above("/dev/null", O_RDWR | O_NONBLOCK);
    fds[1] = open_above("/dev/zero", O_RDWR);
    struct spawn_plan plan = observe_plan();
    plan.fds = fds;
    plan.n_fds = 2;
    assert_line(observed_with(&plan, 0), "nonblocking 3");
    assert_line(observed_with(&plan, SPAWN_DESCRIPTORS_NONBLOCK), "nonblocking 3 4");
    assert_line(observed_with(&plan, SPAWN_DESCRIPTORS_BLOCK), "nonblocking");
    /* Not what is standard. */
    int standard = open_above("/dev/zero", O_RDWR);
    plan.stdio[INPUT] = from_fd(standard);
    assert_line(observed_with(&plan, SPAWN_DESCRIPTORS_NONBLOCK), "nonblocking 3 4");
    close(standard);
    const int closed[] = {200};
    plan.fds = closed;
    plan.n_fds = 1;
    plan.stdio[INPUT].kind = SPAWN_STDIO_INHERIT;
    assert_failed(&plan, SPAWN_DESCRIPTORS, EBADF);
    close(fds[0]);
    close(fds[1]);
    end();
}

TEST(a_socket_that_is_standard_never_becomes_nonblocking)
{
    int pair[2];

    begin();
    ASSERT_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    ASSERT_OK(fd_move_above(&pair[1], 30));
    struct spawn_plan plan = observe_plan();
    plan.fds = &pair[1];
    plan.n_fds = 1;
    assert_line(observed_with(&plan, SPAWN_CONNECTION_STDIO | SPAWN_DESCRIPTORS_NONBLOCK),
                "nonblocking");
    ASSERT_CALL(fcntl(pair[1], F_SETFL, O_NONBLOCK));
    assert_line(observed_with(&plan, SPAWN_CONNECTION_STDIO | SPAWN_DESCRIPTORS_BLOCK),
                "nonblocking");
    close(pair[0]);
    close(pair[1]);
    end();
}

TEST(an_accepted_connection_blocks_or_not)
{
    static const struct {
        unsigned flags;
        const char *line;
    } cases[] = {
        {0, "nonblocking"},
        {SPAWN_DESCRIPTORS_NONBLOCK, "nonblocking 3"},
        {SPAWN_DESCRIPTORS_BLOCK, "nonblocking"},
        {SPAWN_DESCRIPTORS_NONBLOCK | SPAWN_CONNECTION_STDIO, "nonblocking"},
    };

    begin();
    struct spawn_plan plan = observe_plan();
    plan.listener = listen_unix();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int client = connect_unix(plan.listener);

        assert_line(observed_with(&plan, SPAWN_WITH_ACCEPT | cases[i].flags), cases[i].line);
        close(client);
    }
    close(plan.listener);
    end();
}

/* ---- What is no plan ------------------------------------------------------------------------- */

static void check_no_plan(int number, struct spawn_stdio standard)
{
    struct spawn_plan plan = observe_plan();
    struct prepared_plan *prepared;

    plan.stdio[number] = standard;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
}

TEST(contradictions_are_refused)
{
    struct spawn_plan plan = observe_plan();
    struct prepared_plan *prepared;

    check_no_plan(INPUT, (struct spawn_stdio){.kind = SPAWN_STDIO_INPUT});
    check_no_plan(INPUT, (struct spawn_stdio){.kind = SPAWN_STDIO_OUTPUT});
    check_no_plan(OUTPUT, (struct spawn_stdio){.kind = SPAWN_STDIO_OUTPUT});
    check_no_plan(INPUT, (struct spawn_stdio){.kind = SPAWN_STDIO_CONNECTION});
    check_no_plan(INPUT, (struct spawn_stdio){.kind = SPAWN_STDIO_FILE});
    check_no_plan(ERROR, from_fd(2));
    check_no_plan(INPUT, (struct spawn_stdio){.kind = SPAWN_STDIO_PASSED});
    plan.fds = (const int[]){30};
    plan.n_fds = 1;
    for (int i = -1; i < 2; i++) {
        plan.stdio[INPUT] = (struct spawn_stdio){.kind = SPAWN_STDIO_PASSED, .fd = i};
        ASSERT_INT(spawn_plan_prepare(&plan, &prepared), i == 0 ? 0 : -EINVAL);
        if (i == 0)
            spawn_plan_free(prepared);
    }
    plan.stdio[INPUT].fd = 0;
    plan.first_fd = 0;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    plan.first_fd = 3;
    plan.flags = SPAWN_WITH_ACCEPT; /* the connection is the only one then */
    plan.stdio[INPUT].fd = 1;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    plan = observe_plan();
    plan.flags = SPAWN_DESCRIPTORS_BLOCK | SPAWN_DESCRIPTORS_NONBLOCK;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    plan = observe_plan();
    plan.stdio[INPUT] = from_fd(30);
    plan.first_fd = 0;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    IN_CHILD({
        plan.first_fd = 3;
        close(STDIN_FILENO);
        ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EBADF);
    });
}
