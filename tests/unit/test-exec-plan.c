/* SPDX-License-Identifier: MIT */
/* What a unit's process is like: directory, umask, limits, signals, program, arguments. */
#include "test-exec.h"

#include <linux/capability.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

TEST(defaults)
{
    begin();
    const char *text = see("");
    assert_line(text, "directory /");
    assert_line(text, "umask 0022");
    assert_line(text, "no new privileges 0");
    ASSERT(strstr(text, " ignored 0000000000001000\n")); /* SIGPIPE */
    assert_line(text, "fds 0 1 2");
    int pid = 0, parent = 0, session = 0;
    ASSERT_INT(sscanf(text, "pid %d ppid %d session %d", &pid, &parent, &session), 3);
    ASSERT_INT(session, pid);
    end();
}

TEST(what_the_unit_says)
{
    begin();
    const char *text = see("WorkingDirectory=/tmp\nUMask=0077\nIgnoreSIGPIPE=no\n"
                           "NoNewPrivileges=yes\nLimitNOFILE=1000:2000\nLimitRSS=4096\n");
    assert_line(text, "directory /tmp");
    assert_line(text, "umask 0077");
    assert_line(text, "no new privileges 1");
    assert_line(text, "limit nofile 1000 2000");
    assert_line(text, "limit rss 4096 4096");
    ASSERT(strstr(text, " ignored 0000000000000000\n"));
    end();
}

TEST(full_privileges_leave_restrictions_out)
{
    begin();
    load_as("foo.service", false, "+", "", "UMask=0077\nNoNewPrivileges=yes\nLimitNOFILE=100");
    make_plan();
    struct spawn_plan plan = build();
    ASSERT_INT(plan.n_limits, 0);
    ASSERT(!(plan.flags & SPAWN_NO_PRIVILEGE_GAIN));
    ASSERT(plan.flags & SPAWN_SET_UMASK);
    ASSERT_INT(plan.umask, 0077);
    unload();
    load_as("foo.service", false, "!", "", "NoNewPrivileges=yes\nLimitNOFILE=100");
    make_plan();
    plan = build();
    ASSERT_INT(plan.n_limits, 1);
    ASSERT(plan.flags & SPAWN_NO_PRIVILEGE_GAIN);
    unload();
    end();
}

TEST(many_descriptors_only_where_the_unit_says_so)
{
    const struct rlimit many = {.rlim_cur = 3000, .rlim_max = 4000};
    const struct rlimit few = {.rlim_cur = 500, .rlim_max = 4000};

    begin();
    IN_CHILD({
        ASSERT_CALL(setrlimit(RLIMIT_NOFILE, &many));
        assert_line(see(""), "limit nofile 1024 4000");
        assert_line(see("LimitNOFILE=2000"), "limit nofile 2000 2000");
        ASSERT_CALL(setrlimit(RLIMIT_NOFILE, &few));
        ASSERT_INT(plan_of("").n_limits, 0);
        unload();
    });
    end();
}

TEST(limits_that_cannot_be)
{
    const struct rlimit few = {.rlim_cur = 500, .rlim_max = 4000};

    begin();
    IN_CHILD({
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
        ASSERT_CALL(setrlimit(RLIMIT_NOFILE, &few));
        ASSERT_CALL(syscall(SYS_capset, &header, none));
        assert_bad("LimitNOFILE=1\nLimitNOFILE=5000",
                   "u:4: warning: \"LimitNOFILE=5000\": hark may not raise its own limit, so it is "
                   "4000 at most");
        (void)plan_of("LimitNOFILE=4000");
        unload();
    });
    end();
}

TEST(home_and_optional_directories)
{
    begin();
    ASSERT_CALL(setenv("HOME", directory_path, 1));
    char line[4200];
    (void)snprintf(line, sizeof(line), "directory %s", directory_path);
    const char *text = see("WorkingDirectory=~");
    assert_line(text, line);
    (void)snprintf(line, sizeof(line), "env HOME=%s", directory_path);
    assert_line(text, line); /* as systemd: only here without User= */
    assert_no_line(see(""), "env HOME=");

    struct spawn_plan plan = plan_of("WorkingDirectory=/nonexistent");
    assert_failed(&plan, SPAWN_DIRECTORY, ENOENT);
    unload();
    (void)see("WorkingDirectory=-/nonexistent");
    end();
}

TEST(in_a_users_manager)
{
    begin();
    ASSERT_CALL(setenv("HOME", directory_path, 1));
    load_as("foo.service", true, "", "", "");
    make_plan();
    struct spawn_plan plan = build();
    ASSERT_STRING(plan.directory, directory_path);
    ASSERT(plan.flags & SPAWN_DIRECTORY_OPTIONAL);
    ASSERT(!(plan.flags & SPAWN_SET_UMASK));
    unload();
    end();
}

TEST(the_program_must_be_there)
{
    static const struct {
        const char *program, *problem;
    } cases[] = {
        {"/nonexistent/program",
         "u:2: cannot run \"/nonexistent/program\": No such file or directory"},
        {"-/nonexistent/program", "u:2: warning: cannot run \"/nonexistent/program\""},
        {"no-such-program-anywhere", "u:2: cannot run \"no-such-program-anywhere\""},
        {"/etc", "cannot run \"/etc\": Is a directory"},
        {"/etc/passwd", "cannot run \"/etc/passwd\": Permission denied"},
        {"/dev/null", "cannot run \"/dev/null\": Permission denied"},
    };

    begin();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct problems problems = {0};
        char text[256];
        (void)snprintf(text, sizeof(text), "[Service]\nExecStart=%s x\n", cases[i].program);
        exec_file = parse_unit("foo.service", text, &problems);
        ASSERT_OK(service_unit_new(exec_file, &problems, &exec_service));
        exec_request = (struct exec_request){.unit = exec_file,
                                             .context = &exec_service->exec,
                                             .command = &exec_service->exec_start.items[0]};
        ASSERT_STRING(list_problems(&problems), "");
        make_plan_with_problems();
        assert_problem(cases[i].problem);
        ASSERT_INT(exec_plan_ignores_failure(exec_plan), cases[i].program[0] == '-');
        struct spawn_plan plan = build();
        ASSERT_INT(plan.program[0], '/');
        unload();
    }
    end();
}

TEST(a_name_is_looked_up_where_systemd_does)
{
    struct problems problems = {0};

    begin();
    ASSERT_CALL(setenv("PATH", directory_path, 1));
    exec_file = parse_unit("foo.service", "[Service]\nExecStart=sh -c true\n", &problems);
    ASSERT_OK(service_unit_new(exec_file, &problems, &exec_service));
    exec_request = (struct exec_request){.unit = exec_file,
                                         .context = &exec_service->exec,
                                         .command = &exec_service->exec_start.items[0]};
    make_plan();
    struct spawn_plan plan = build();
    ASSERT(strcmp(plan.program, "/usr/bin/sh") == 0 || strcmp(plan.program, "/bin/sh") == 0);
    ASSERT_STRING(plan.arguments[0], "sh");
    ASSERT_CALL(setenv("PATH", DEFAULT_PATH, 1));
    unload();
    end();
}

TEST(two_names_of_the_program)
{
    begin();
    load_as("foo.service", false, "@", "", "");
    make_plan();
    struct spawn_plan plan = build();
    ASSERT_STRING(plan.program, self_path);
    ASSERT_STRING(plan.arguments[0], "--role-observe");
    unload();
    end();
}

TEST(arguments)
{
    static const struct {
        const char *prefix, *arguments, *expected;
    } cases[] = {
        {"", "a ${A}b $B x$A $$A", "a|1b|2|3|x$A|$A"},
        {"", "$NONE ${NONE}x \"\" $SYSTEMD_EXEC_PIDS", "x|"},
        {":", "${A} $B $$A", "${A}|$B|$$A"},
    };

    begin();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        load_as("foo.service", false, cases[i].prefix, cases[i].arguments,
                "Environment=A=1 \"B=2 3\"");
        make_plan();
        struct spawn_plan plan = build();
        ASSERT_INT(plan.n_substitutions, 0);
        ASSERT_STRING(arguments_of(observed(&plan)), cases[i].expected);
        unload();
    }
    end();
}

TEST(arguments_that_only_the_child_knows)
{
    char expected[256];

    begin();
    load_as("foo.service", false, "", "$SYSTEMD_EXEC_PID ${SYSTEMD_EXEC_PID} i=${INVOCATION_ID}",
            "");
    make_plan();
    struct spawn_plan plan = build();
    ASSERT_INT(plan.n_substitutions, 3);
    ASSERT_INT(plan.flags & (SPAWN_EXEC_PID | SPAWN_INVOCATION_ID),
               SPAWN_EXEC_PID | SPAWN_INVOCATION_ID);
    const char *text = observed(&plan);
    const char *id = strstr(text, "\nenv INVOCATION_ID=");
    ASSERT(id);
    id += strlen("\nenv INVOCATION_ID=");
    (void)snprintf(expected, sizeof(expected), "%d|%d|i=%.32s", record.pid, record.pid, id);
    ASSERT_STRING(arguments_of(text), expected);
    unload();
    end();
}

/* ---- Connections ----------------------------------------------------------------------------- */

static const struct exec_instance instance = {"17-93", "17/93"};

static struct spawn_plan accepting_plan(int listener)
{
    exec_request.sockets = EXEC_SOCKETS_CONNECTION;
    exec_request.instance = instance;
    make_plan();
    struct spawn_plan plan = build();
    plan.flags |= SPAWN_WITH_ACCEPT;
    plan.listener = listener;
    return plan;
}

TEST(a_connection)
{
    char line[300];
    union address own;

    begin();
    int listener = make_listener(AF_INET, "127.0.0.1", 0, SOCK_NONBLOCK);
    int client = connect_to(listener, &own);
    unsigned port = ntohs(own.in.sin_port);
    load_as("foo@17-93.service", false, "", "$REMOTE_ADDR x${REMOTE_PORT} %i %I $FOO",
            "Environment=FOO=%i\nWorkingDirectory=-/srv/%i");
    struct spawn_plan plan = accepting_plan(listener);
    ASSERT_STRING(plan.directory, "/srv/17-93");
    const char *text = observed(&plan);
    assert_line(text, "fds 0 1 2 3");
    assert_line(text, "nonblocking");
    assert_line(text, "env LISTEN_FDS=1");
    assert_line(text, "env LISTEN_FDNAMES=connection");
    assert_line(text, "env REMOTE_ADDR=127.0.0.1");
    (void)snprintf(line, sizeof(line), "env LISTEN_PID=%d", record.pid);
    assert_line(text, line);
    (void)snprintf(line, sizeof(line), "127.0.0.1|x%u|0-127.0.0.1:", port);
    ASSERT_INT(strncmp(arguments_of(text), line, strlen(line)), 0);
    (void)snprintf(line, sizeof(line), "/127.0.0.1:%u|0-", port);
    ASSERT(strstr(arguments_of(text), line));
    ASSERT(strstr(text, "\nenv FOO=0-127.0.0.1:"));
    unload();
    ASSERT_CALL(close(client));
    ASSERT_CALL(close(listener));
    end();
}

TEST(a_connection_without_an_address)
{
    begin();
    int listener = make_listener(AF_UNIX, NULL, 0, SOCK_NONBLOCK);
    int client = connect_to(listener, NULL);
    load_as("foo@17-93.service", false, "", "a $REMOTE_ADDR x${REMOTE_ADDR}y b", "NonBlocking=yes");
    struct spawn_plan plan = accepting_plan(listener);
    const char *text = observed(&plan);
    ASSERT_STRING(arguments_of(text), "a|xy|b");
    assert_no_line(text, "env REMOTE_ADDR");
    assert_line(text, "nonblocking 3");
    unload();
    ASSERT_CALL(close(client));
    ASSERT_CALL(close(listener));
    end();
}

TEST(nothing_to_put_in_costs_nothing)
{
    begin();
    load_as("foo@17-93.service", false, "", "a ${HOME}", "Environment=A=b");
    struct spawn_plan plan = accepting_plan(30);
    ASSERT_INT(plan.n_substitutions, 0);
    unload();
    end();
}

TEST(what_cannot_depend_on_the_connection)
{
    static const struct {
        const char *line, *problem;
    } cases[] = {
        {"User=%i", "u:3: cannot use \"User=%i\": hark looks it up once"},
        {"Group=%i", "u:3: cannot use \"Group=%i\""},
        {"SupplementaryGroups=%i", "u:3: cannot use \"SupplementaryGroups=%i\""},
        {"EnvironmentFile=/etc/%i", "u:3: cannot use \"EnvironmentFile=/etc/%i\""},
        {"StandardInputText=%i", "u:3: cannot use \"StandardInputText=%i\""},
        {"ExecStart=/bin/%i\nType=oneshot", "u:3: cannot run a program whose path depends"},
    };

    begin();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        load_as("foo@x17-93.service", false, "", "", cases[i].line);
        exec_request.command = &exec_service->exec_start.items[exec_service->exec_start.n - 1];
        exec_request.sockets = EXEC_SOCKETS_CONNECTION;
        exec_request.instance = (struct exec_instance){"x17-93", "x17/93"};
        make_plan_with_problems();
        assert_problem(cases[i].problem);
        unload();
    }
    end();
}
