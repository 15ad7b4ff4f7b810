/* SPDX-License-Identifier: MIT */
/* Standard input, output and error of a unit's process. */
#include "test-exec.h"

#include "exec/journal-stream.h"

/* What is where: "INPUT OUTPUT ERROR", as /proc names them. */
static const char *standard(const char *text)
{
    static char joined[3 * 4200];
    char beginning[32];
    size_t used = 0;

    for (int fd = 0; fd < 3; fd++) {
        (void)snprintf(beginning, sizeof(beginning), "\nstandard %d ", fd);
        const char *line = strstr(text, beginning);
        ASSERT(line);
        line += strlen(beginning);
        used += (size_t)snprintf(joined + used, sizeof(joined) - used, "%s%.*s", fd > 0 ? " " : "",
                                 (int)strcspn(line, "\n"), line);
    }
    return joined;
}

static void assert_standard(const char *lines, const char *expected)
{
    ASSERT_STRING(standard(see(lines)), expected);
}

static const char *target_of(int fd)
{
    static char targets[4][4200];
    static unsigned next;
    char path[64], *target = targets[next++ % 4];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof(targets[0]) - 1);
    ASSERT(length > 0);
    target[length] = '\0';
    return target;
}

static const char *format(const char *pattern, const char *one, const char *two, const char *three)
{
    static char texts[4][3 * 4500];
    static unsigned next;
    char *text = texts[next++ % 4];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(text, sizeof(texts[0]), pattern, one, two, three);
#pragma GCC diagnostic pop
    return text;
}

/* ---- Without sockets ------------------------------------------------------------------------- */

TEST(null)
{
    begin();
    assert_standard("StandardOutput=null", "/dev/null /dev/null /dev/null");
    struct spawn_plan plan = plan_of("StandardOutput=null");
    ASSERT_INT(fcntl(plan.stdio[0].fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    ASSERT_INT(fcntl(plan.stdio[1].fd, F_GETFL) & O_ACCMODE, O_WRONLY);
    ASSERT(plan.stdio[0].fd >= 3 && plan.stdio[1].fd >= 3);
    ASSERT_INT(plan.stdio[2].kind, SPAWN_STDIO_OUTPUT);
    unload();
    end();
}

TEST(without_journald_it_is_our_own_stderr)
{
    begin();
    int log = open(in("log"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_CALL(log);
    IN_CHILD({
        ASSERT_CALL(dup2(log, STDERR_FILENO));
        const char *mine = target_of(STDERR_FILENO);
        assert_standard("", format("/dev/null %s %s", mine, mine, ""));
        assert_standard("StandardOutput=null\nStandardError=journal",
                        format("/dev/null /dev/null %s", mine, "", ""));
        assert_standard("StandardOutput=kmsg\nStandardError=null",
                        format("/dev/null %s /dev/null", mine, "", ""));
        assert_no_line(see(""), "env JOURNAL_STREAM");
    });
    ASSERT_CALL(close(log));
    end();
}

TEST(data_for_each_child)
{
    begin();
    load("StandardInputText=hello\nStandardOutput=null");
    make_plan();
    struct spawn_plan plan = build();
    for (int i = 0; i < 2; i++) { /* each reads it from the beginning */
        const char *arguments[] = {"sh", "-c", "read line; [ \"$line\" = hello ]", NULL};
        plan.program = "/bin/sh";
        plan.arguments = arguments;
        pid_t pid = run(&plan);
        ASSERT_OK(pid);
        ASSERT_INT(exit_status_of(pid), 0);
    }
    int fd = open(plan.stdio[0].path, O_RDWR | O_CLOEXEC);
    ASSERT_CALL(fd);
    ASSERT_INT(write(fd, "x", 1), -1); /* sealed */
    ASSERT_INT(errno, EPERM);
    ASSERT_CALL(close(fd));
    ASSERT(!(plan.flags & SPAWN_OWN_MEMORY));
    unload();
    assert_standard("StandardInput=data\nStandardOutput=null", "/dev/null /dev/null /dev/null");
    end();
}

TEST(files)
{
    static const struct {
        const char *form;
        int flags;
    } cases[] = {
        {"file", O_WRONLY | O_CREAT},
        {"append", O_WRONLY | O_CREAT | O_APPEND},
        {"truncate", O_WRONLY | O_CREAT | O_TRUNC},
    };

    begin();
    for (size_t i = 0; i < 3; i++) {
        const char *path = in(cases[i].form);
        const char *lines = format("StandardOutput=%s:%s\nUMask=0027", cases[i].form, path, "");
        struct spawn_plan plan = plan_of(lines);
        ASSERT_INT(plan.stdio[1].kind, SPAWN_STDIO_FILE);
        ASSERT_INT(plan.stdio[1].flags, cases[i].flags);
        ASSERT_STRING(standard(observed(&plan)), format("/dev/null %s %s", path, path, ""));
        struct stat status;
        ASSERT_CALL(stat(path, &status));
        ASSERT_INT(status.st_mode & 07777, 0640);
        ASSERT(!(plan.flags & SPAWN_OWN_MEMORY));
        unload();
    }
    end();
}

TEST(the_same_file_for_input_and_output)
{
    begin();
    const char *path = in("file");
    write_file(path, "x");
    const char *lines = format("StandardInput=file:%s\nStandardOutput=file:%s", path, path, "");
    assert_standard(lines, format("%s %s %s", path, path, path));
    struct spawn_plan plan = plan_of(lines);
    ASSERT_INT(plan.stdio[0].flags, O_RDWR | O_CREAT);
    ASSERT_INT(plan.stdio[1].kind, SPAWN_STDIO_INPUT);
    unload();
    plan = plan_of(format("StandardInput=file:%s\nStandardError=file:%s", path, path, ""));
    ASSERT_INT(plan.stdio[0].flags, O_RDWR | O_CREAT);
    ASSERT_INT(plan.stdio[2].kind, SPAWN_STDIO_INPUT);
    unload();
    plan = plan_of(format("StandardInput=file:%s\nStandardOutput=append:%s", path, path, ""));
    ASSERT_INT(plan.stdio[0].flags, O_RDONLY);
    ASSERT_INT(plan.stdio[1].kind, SPAWN_STDIO_FILE);
    unload();
    end();
}

TEST(errors_follow_output_where_both_are_the_same)
{
    static const struct {
        const char *lines;
        enum spawn_stdio_kind expected;
    } cases[] = {
        {"StandardOutput=append:/a\nStandardError=append:/a", SPAWN_STDIO_OUTPUT},
        {"StandardOutput=append:/a\nStandardError=append:/b", SPAWN_STDIO_FILE},
        {"StandardOutput=append:/a\nStandardError=file:/a", SPAWN_STDIO_FILE},
        {"StandardOutput=null\nStandardError=null", SPAWN_STDIO_OUTPUT},
        {"StandardOutput=file:/a\nStandardError=null", SPAWN_STDIO_DESCRIPTOR},
        {"StandardOutput=journal\nStandardError=journal", SPAWN_STDIO_OUTPUT},
    };

    begin();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ASSERT_INT(plan_of(cases[i].lines).stdio[2].kind, cases[i].expected);
        unload();
    }
    end();
}

TEST(what_may_block_does_not_stop_the_creator)
{
    begin();
    ASSERT_CALL(mkfifo(in("fifo"), 0600));
    ASSERT(plan_of(format("StandardInput=file:%s", in("fifo"), "", "")).flags & SPAWN_OWN_MEMORY);
    unload();
    ASSERT(!(plan_of("StandardInput=file:/dev/zero").flags & SPAWN_OWN_MEMORY));
    unload();
    ASSERT(!(plan_of("StandardOutput=file:/tmp/not-there-yet").flags & SPAWN_OWN_MEMORY));
    unload();
    end();
}

TEST(no_connecting_to_sockets)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    begin();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_CALL(fd);
    (void)stpcpy(address.sun_path, in("socket"));
    ASSERT_CALL(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    assert_bad(format("StandardOutput=file:%s", address.sun_path, "", ""), "this is a socket");
    ASSERT_CALL(close(fd));
    end();
}

TEST(in_a_users_manager_nothing_to_inherit_is_its_own)
{
    begin();
    load_as("foo.service", true, "", "", "");
    exec_service->exec.std[1].kind = EXEC_STREAM_INHERIT; /* as for commands of sockets */
    make_plan();
    struct spawn_plan plan = build();
    ASSERT_INT(plan.stdio[1].kind, SPAWN_STDIO_INHERIT);
    ASSERT_INT(plan.stdio[2].kind, SPAWN_STDIO_INHERIT);
    unload();
    load("");
    exec_service->exec.std[1].kind = EXEC_STREAM_INHERIT;
    make_plan();
    plan = build();
    ASSERT_INT(plan.stdio[1].kind, SPAWN_STDIO_DESCRIPTOR);
    ASSERT_STRING(target_of(plan.stdio[1].fd), "/dev/null");
    unload();
    end();
}

/* ---- Sockets --------------------------------------------------------------------------------- */

static const char *const foo_names[] = {"foo", "foo"};
static int passed[2];

/* With one or two listeners, whose name is foo, as standard descriptors or from 3 on. */
static struct spawn_plan plan_with_listeners(const char *lines, size_t n)
{
    load(lines);
    exec_request.sockets = EXEC_SOCKETS_LISTENERS;
    exec_request.fd_names = foo_names;
    exec_request.n_fds = n;
    make_plan();
    struct spawn_plan plan = build();
    for (size_t i = 0; i < n; i++)
        passed[i] = make_listener(AF_UNIX, NULL, 0, SOCK_NONBLOCK);
    plan.fds = passed;
    plan.n_fds = n;
    return plan;
}

static void unload_with_listeners(const struct spawn_plan *plan)
{
    for (size_t i = 0; i < plan->n_fds; i++)
        ASSERT_CALL(close(passed[i]));
    unload();
}

TEST(a_listener_as_standard_input)
{
    begin();
    struct spawn_plan plan = plan_with_listeners("StandardInput=socket\nNonBlocking=yes", 1);
    const char *text = observed(&plan), *name = target_of(passed[0]);
    ASSERT_STRING(standard(text), format("%s %s %s", name, name, name));
    assert_line(text, "fds 0 1 2");
    assert_line(text, "nonblocking");
    assert_no_line(text, "env LISTEN_");
    unload_with_listeners(&plan);
    plan = plan_with_listeners("StandardOutput=socket\nStandardError=null", 1);
    text = observed(&plan);
    ASSERT_STRING(standard(text), format("/dev/null %s /dev/null", target_of(passed[0]), "", ""));
    assert_line(text, "fds 0 1 2");
    unload_with_listeners(&plan);
    end();
}

TEST(a_listener_by_its_name)
{
    begin();
    struct spawn_plan plan = plan_with_listeners("StandardInput=fd:foo", 2);
    const char *text = observed(&plan), *name = target_of(passed[0]);
    ASSERT_STRING(standard(text), format("%s %s %s", name, name, name));
    assert_line(text, "fds 0 1 2 3 4");
    assert_line(text, "nonblocking");
    assert_line(text, "env LISTEN_FDNAMES=foo:foo");
    unload_with_listeners(&plan);
    /* Each stream takes one. */
    plan =
        plan_with_listeners("StandardInput=fd:foo\nStandardOutput=fd:foo\nStandardError=null", 2);
    ASSERT_STRING(standard(observed(&plan)),
                  format("%s %s /dev/null", target_of(passed[0]), target_of(passed[1]), ""));
    unload_with_listeners(&plan);
    end();
}

TEST(descriptors_from_three_on)
{
    begin();
    struct spawn_plan plan = plan_with_listeners("StandardOutput=null", 2);
    ASSERT_INT(plan.flags & (SPAWN_DESCRIPTORS_BLOCK | SPAWN_DESCRIPTORS_NONBLOCK),
               SPAWN_DESCRIPTORS_BLOCK);
    const char *text = observed(&plan);
    assert_line(text, "fds 0 1 2 3 4");
    assert_line(text, "nonblocking");
    unload_with_listeners(&plan);
    plan = plan_with_listeners("NonBlocking=yes\nStandardOutput=null", 2);
    assert_line(observed(&plan), "nonblocking 3 4");
    unload_with_listeners(&plan);
    end();
}

static void assert_bad_with(enum exec_sockets sockets, size_t n, const char *lines,
                            const char *problem)
{
    load(lines);
    exec_request.sockets = sockets;
    exec_request.fd_names = foo_names;
    exec_request.n_fds = n;
    make_plan_with_problems();
    assert_problem(problem);
    unload();
}

TEST(sockets_that_are_not_there)
{
    begin();
    assert_bad_with(EXEC_SOCKETS_NONE, 0, "StandardInput=socket",
                    "u:3: cannot use \"StandardInput=socket\": this command gets no socket");
    assert_bad_with(EXEC_SOCKETS_LISTENERS, 2, "StandardError=socket",
                    "u:3: cannot use \"StandardError=socket\": this takes exactly one socket, and "
                    "there are 2");
    assert_bad_with(EXEC_SOCKETS_LISTENERS, 1, "StandardInput=fd:bar",
                    "u:3: cannot use \"StandardInput=fd:bar\": no socket has this name");
    assert_bad_with(EXEC_SOCKETS_LISTENERS, 1, "StandardInput=fd:foo\nStandardOutput=fd:foo",
                    "u:4: cannot use \"StandardOutput=fd:foo\": no socket has this name, or "
                    "another stream has it already");
    assert_bad_with(EXEC_SOCKETS_CONNECTION, 0, "StandardInput=fd:foo",
                    "u:3: cannot use \"StandardInput=fd:foo\": no socket has this name");
    end();
}

TEST(a_connection_as_standard_input)
{
    begin();
    int listener = make_listener(AF_UNIX, NULL, 0, SOCK_NONBLOCK);
    int client = connect_to(listener, NULL);
    load("StandardInput=socket\nStandardError=null\nNonBlocking=yes");
    exec_request.sockets = EXEC_SOCKETS_CONNECTION;
    make_plan();
    struct spawn_plan plan = build();
    plan.flags |= SPAWN_WITH_ACCEPT;
    plan.listener = listener;
    const char *text = observed(&plan);
    ASSERT(strstr(text, "\nstandard 0 socket:["));
    ASSERT(strstr(text, "\nstandard 1 socket:["));
    assert_line(text, "standard 2 /dev/null");
    assert_line(text, "fds 0 1 2");
    assert_line(text, "nonblocking");
    assert_no_line(text, "env LISTEN_");
    unload();
    ASSERT_CALL(close(client));
    ASSERT_CALL(close(listener));
    end();
}

/* ---- The journal ----------------------------------------------------------------------------- */

/* A journald that only listens. */
static int listen_as_journal(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ASSERT_CALL(fd);
    (void)unlink(path);
    (void)stpcpy(address.sun_path, path);
    ASSERT_CALL(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    ASSERT_CALL(listen(fd, 4));
    ASSERT_OK(fd_move_above(&fd, 30));
    return fd;
}

static int accept_stream(int journal, const char *expected)
{
    char text[512];
    int stream = accept4(journal, NULL, NULL, SOCK_CLOEXEC);

    ASSERT_CALL(stream);
    ASSERT_OK(fd_move_above(&stream, 40));
    ssize_t length = read(stream, text, sizeof(text) - 1);
    ASSERT(length >= 0);
    text[length] = '\0';
    ASSERT_STRING(text, expected);
    return stream;
}

static struct spawn_plan plan_with_journal(const char *name, const char *lines)
{
    load_as(name, false, "", "", lines);
    exec_request.journal_socket = in("journal");
    make_plan();
    return build();
}

TEST(a_stream_of_the_journal)
{
    char line[128];
    struct stat status;

    begin();
    int journal = listen_as_journal(in("journal"));
    struct spawn_plan plan = plan_with_journal("foo.service", "");
    int stream = accept_stream(journal, "test-exec-stdio\nfoo.service\n30\n1\n0\n0\n0\n");
    ASSERT_INT(plan.stdio[2].kind, SPAWN_STDIO_OUTPUT);
    ASSERT_INT(fcntl(plan.stdio[1].fd, F_GETFL) & O_NONBLOCK, 0);
    ASSERT_CALL(fstat(plan.stdio[1].fd, &status));
    (void)snprintf(line, sizeof(line), "env JOURNAL_STREAM=%lu:%lu", status.st_dev, status.st_ino);
    assert_line(observed(&plan), line);
    ASSERT(exec_plan_is_fresh(exec_plan));
    int before = plan.stdio[1].fd;
    plan = build();
    ASSERT_INT(plan.stdio[1].fd, before); /* it is kept */

    ASSERT_CALL(close(stream));
    ASSERT(!exec_plan_is_fresh(exec_plan)); /* journald went */
    plan = build();
    stream = accept_stream(journal, "test-exec-stdio\nfoo.service\n30\n1\n0\n0\n0\n");
    ASSERT(exec_plan_is_fresh(exec_plan));
    ASSERT_CALL(close(stream));
    ASSERT_CALL(close(journal));
    unload();
    end();
}

TEST(streams_of_other_kinds)
{
    char line[128];
    struct stat status;

    begin();
    int journal = listen_as_journal(in("journal"));
    struct spawn_plan plan =
        plan_with_journal("foo.service", "StandardOutput=kmsg+console\nStandardError=journal");
    int output = accept_stream(journal, "test-exec-stdio\nfoo.service\n30\n1\n0\n1\n1\n");
    int error = accept_stream(journal, "test-exec-stdio\nfoo.service\n30\n1\n0\n0\n0\n");
    ASSERT_CALL(fstat(plan.stdio[2].fd, &status));
    (void)snprintf(line, sizeof(line), "env JOURNAL_STREAM=%lu:%lu", status.st_dev, status.st_ino);
    assert_line(observed(&plan), line);
    ASSERT_CALL(close(output));
    ASSERT_CALL(close(error));
    unload();
    ASSERT_CALL(close(journal));
    end();
}

TEST(a_stream_for_all_instances_names_none)
{
    begin();
    int journal = listen_as_journal(in("journal"));
    load_as("foo@17-93.service", false, "", "", "");
    exec_request.journal_socket = in("journal");
    exec_request.sockets = EXEC_SOCKETS_CONNECTION;
    exec_request.instance = (struct exec_instance){"17-93", "17/93"};
    make_plan();
    (void)build();
    ASSERT_CALL(close(accept_stream(journal, "test-exec-stdio\n\n30\n1\n0\n0\n0\n")));
    unload();
    ASSERT_CALL(close(journal));
    end();
}

TEST(a_journald_that_does_not_accept_does_not_stop_us)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = -1, client;

    begin();
    (void)stpcpy(address.sun_path, in("full"));
    int journal = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_CALL(bind(journal, (struct sockaddr *)&address, sizeof(address)));
    ASSERT_CALL(listen(journal, 0));
    client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_CALL(connect(client, (struct sockaddr *)&address, sizeof(address)));
    const struct journal_stream full = {.socket = in("full"), .identifier = "x", .unit = ""};
    ASSERT_ERROR(journal_stream_open(&full, &fd), -EAGAIN);
    ASSERT_INT(fd, -1);
    ASSERT_CALL(close(client));
    ASSERT_CALL(close(journal));
    ASSERT_ERROR(journal_stream_open(&full, &fd), -ECONNREFUSED);
    ASSERT_CALL(unlink(in("full")));
    ASSERT_ERROR(journal_stream_open(&full, &fd), -ENOENT);
    end();
}
