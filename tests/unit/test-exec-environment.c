/* SPDX-License-Identifier: MIT */
/* The environment of a unit's process, and the files it is read from. */
#include "test-exec.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* All variables but those that are another one each time, with "|" between them. */
static const char *variables(const struct spawn_plan *plan)
{
    static char joined[8192];
    size_t used = 0;

    joined[0] = '\0';
    for (const char *const *item = plan->environment; *item; item++)
        used +=
            (size_t)snprintf(joined + used, sizeof(joined) - used, "%s%s", used ? "|" : "", *item);
    ASSERT(used < sizeof(joined));
    return joined;
}

static const char *variables_of(const char *lines)
{
    struct spawn_plan plan = plan_of(lines);
    const char *text = variables(&plan);

    unload();
    return text;
}

static void clear_own(void)
{
    ASSERT_INT(clearenv(), 0);
}

TEST(of_a_plain_service)
{
    begin();
    clear_own();
    struct spawn_plan plan = plan_of("");
    ASSERT_STRING(variables(&plan), "LANG=C.UTF-8|PATH=" DEFAULT_PATH);
    ASSERT_INT(plan.flags & (SPAWN_EXEC_PID | SPAWN_INVOCATION_ID | SPAWN_LISTEN_VARIABLES |
                             SPAWN_REMOTE_VARIABLES),
               SPAWN_EXEC_PID | SPAWN_INVOCATION_ID);
    ASSERT_INT(plan.n_substitutions, 0);
    unload();
    end();
}

TEST(of_hark_only_the_language)
{
    begin();
    clear_own();
    ASSERT_CALL(setenv("LANG", "", 1));
    ASSERT_CALL(setenv("LC_TIME", "de_DE", 1));
    ASSERT_CALL(setenv("FOO", "bar", 1));
    ASSERT_CALL(setenv("HOME", "/h", 1));
    ASSERT_STRING(variables_of(""), "LC_TIME=de_DE|PATH=" DEFAULT_PATH);
    clear_own();
    end();
}

TEST(later_sources_win)
{
    static const char *const extra[] = {"A=extra", "B=extra", "C=extra", "D=extra", NULL};

    begin();
    clear_own();
    ASSERT_CALL(setenv("B", "passed", 1));
    ASSERT_CALL(setenv("C", "passed", 1));
    ASSERT_CALL(setenv("D", "passed", 1));
    ASSERT_CALL(setenv("E", "\033", 1)); /* is not passed on */
    write_file(in("file"), "D=file\nPATH=/x\n");
    char lines[512];
    (void)snprintf(lines, sizeof(lines),
                   "PassEnvironment=B C D E NOT_THERE\nEnvironment=C=unit D=unit LANG=en\n"
                   "EnvironmentFile=%s\n",
                   in("file"));
    load(lines);
    exec_request.extra_environment = extra;
    make_plan();
    struct spawn_plan plan = build();
    ASSERT_STRING(variables(&plan), "A=extra|B=passed|C=unit|D=file|LANG=en|PATH=/x");
    unload();
    clear_own();
    end();
}

TEST(unset_comes_last)
{
    begin();
    clear_own();
    ASSERT_STRING(variables_of("Environment=A=1 B=1 C=1 D=\nUnsetEnvironment=A B=2 C=1 PATH LANG"),
                  "B=1|D=");
    end();
}

TEST(variables_of_the_process_can_be_taken_over)
{
    begin();
    clear_own();
    struct spawn_plan plan = plan_of("Environment=INVOCATION_ID=me\n"
                                     "UnsetEnvironment=SYSTEMD_EXEC_PID PATH LANG");
    ASSERT_STRING(variables(&plan), "INVOCATION_ID=me");
    ASSERT(!(plan.flags & (SPAWN_INVOCATION_ID | SPAWN_EXEC_PID)));
    unload();
    const char *const extra[] = {"INVOCATION_ID=extra", NULL};
    load("UnsetEnvironment=PATH LANG");
    exec_request.extra_environment = extra;
    make_plan();
    plan = build();
    ASSERT_STRING(variables(&plan), "INVOCATION_ID=extra");
    ASSERT_INT(plan.flags & (SPAWN_INVOCATION_ID | SPAWN_EXEC_PID), SPAWN_EXEC_PID);
    unload();
    assert_bad("UnsetEnvironment=SYSTEMD_EXEC_PID=7",
               "u:3: warning: \"UnsetEnvironment=SYSTEMD_EXEC_PID=7\": each process has its own");
    end();
}

TEST(variables_of_the_connection_can_be_taken_over)
{
    char line[64];
    union address own;

    begin();
    clear_own();
    int listener = make_listener(AF_INET, "127.0.0.1", 0, SOCK_NONBLOCK);
    int client = connect_to(listener, &own);
    load_as("foo@17-93.service", false, "", "$REMOTE_ADDR $REMOTE_PORT ${LISTEN_PID}",
            "Environment=REMOTE_ADDR=me LISTEN_PID=5\nUnsetEnvironment=LISTEN_FDS");
    exec_request.sockets = EXEC_SOCKETS_CONNECTION;
    make_plan();
    struct spawn_plan plan = build();
    ASSERT(!(plan.flags & (SPAWN_LISTEN_VARIABLES | SPAWN_REMOTE_VARIABLES)));
    plan.flags |= SPAWN_WITH_ACCEPT;
    plan.listener = listener;
    const char *text = observed(&plan);
    assert_line(text, "env REMOTE_ADDR=me");
    assert_line(text, "env LISTEN_PID=5");
    assert_line(text, "env LISTEN_FDNAMES=connection");
    assert_no_line(text, "env LISTEN_FDS=");
    (void)snprintf(line, sizeof(line), "env REMOTE_PORT=%u", ntohs(own.in.sin_port));
    assert_line(text, line);
    (void)snprintf(line, sizeof(line), "me|%u|5", ntohs(own.in.sin_port));
    ASSERT_STRING(arguments_of(text), line);
    unload();
    ASSERT_CALL(close(client));
    ASSERT_CALL(close(listener));
    end();
}

TEST(listeners_have_names)
{
    const char *const names[] = {"a.socket", "b", "a.socket"};

    begin();
    clear_own();
    load("UnsetEnvironment=PATH LANG");
    exec_request.sockets = EXEC_SOCKETS_LISTENERS;
    exec_request.fd_names = names;
    exec_request.n_fds = 3;
    make_plan();
    struct spawn_plan plan = build();
    ASSERT_STRING(variables(&plan), "LISTEN_FDNAMES=a.socket:b:a.socket|LISTEN_FDS=3");
    ASSERT(plan.flags & SPAWN_LISTEN_VARIABLES);
    unload();
    end();
}

TEST(of_a_users_manager_all_but_its_own)
{
    begin();
    clear_own();
    ASSERT_CALL(setenv("FOO", "bar", 1));
    ASSERT_CALL(setenv("PATH", "/p", 1));
    ASSERT_CALL(setenv("NOTIFY_SOCKET", "/n", 1));
    ASSERT_CALL(setenv("LISTEN_FDS", "1", 1));
    load_as("foo.service", true, "", "", "");
    make_plan();
    struct spawn_plan plan = build();
    ASSERT_STRING(variables(&plan), "FOO=bar|PATH=/p");
    unload();
    clear_own();
    end();
}

TEST(a_console_has_a_terminal)
{
    begin();
    clear_own();
    ASSERT(strstr(variables_of("StandardError=journal+console"), "|TERM=vt220"));
    ASSERT_CALL(setenv("TERM", "linux", 1));
    ASSERT(strstr(variables_of("StandardOutput=kmsg+console"), "|TERM=linux"));
    ASSERT(!strstr(variables_of("StandardOutput=kmsg"), "TERM"));
    clear_own();
    end();
}

/* ---- Files ----------------------------------------------------------------------------------- */

/* With nothing else in the environment. */
static void load_with_file(const char *prefix, const char *path)
{
    char lines[512];

    (void)snprintf(lines, sizeof(lines), "UnsetEnvironment=PATH LANG\nEnvironmentFile=%s%s", prefix,
                   path);
    load(lines);
}

TEST(a_changed_file_is_read_again)
{
    begin();
    clear_own();
    write_file(in("file"), "A=1\n");
    load_with_file("", in("file"));
    make_plan();
    ASSERT(!exec_plan_is_fresh(exec_plan));
    struct spawn_plan plan = build();
    ASSERT_STRING(variables(&plan), "A=1");
    ASSERT(exec_plan_is_fresh(exec_plan));
    write_file(in("other"), "A=22\n");
    ASSERT_CALL(rename(in("other"), in("file")));
    ASSERT(!exec_plan_is_fresh(exec_plan));
    plan = build();
    ASSERT_STRING(variables(&plan), "A=22");
    ASSERT(exec_plan_is_fresh(exec_plan));
    unload();
    end();
}

TEST(a_missing_file)
{
    char expected[512];

    begin();
    clear_own();
    load_with_file("", in("file"));
    make_plan_with_problems();
    ASSERT(strstr(exec_problems, "warning: \"EnvironmentFile="));
    ASSERT(strstr(exec_problems, "No such file or directory"));
    struct spawn_plan plan = {.first_fd = 77};
    ASSERT_ERROR(exec_plan_build(exec_plan, &plan), -ENOENT);
    ASSERT_INT(plan.first_fd, 77);
    (void)snprintf(expected, sizeof(expected), "cannot read \"%s\": No such file or directory",
                   in("file"));
    ASSERT_STRING(exec_plan_fault(exec_plan), expected);
    write_file(in("file"), "A=1\n");
    plan = build();
    ASSERT_STRING(variables(&plan), "A=1");
    ASSERT_CALL(unlink(in("file")));
    ASSERT(!exec_plan_is_fresh(exec_plan));
    ASSERT_ERROR(exec_plan_build(exec_plan, &plan), -ENOENT);
    ASSERT_STRING(variables(&plan), "A=1"); /* what was built before is still good */
    unload();
    end();
}

TEST(an_optional_file)
{
    begin();
    clear_own();
    load_with_file("-", in("file"));
    make_plan();
    struct spawn_plan plan = build();
    ASSERT_STRING(variables(&plan), "");
    ASSERT(exec_plan_is_fresh(exec_plan));
    write_file(in("file"), "A=1\n");
    ASSERT(!exec_plan_is_fresh(exec_plan));
    plan = build();
    ASSERT_STRING(variables(&plan), "A=1");
    write_file(in("file"), "A=\xff\n"); /* also when it cannot be read */
    plan = build();
    ASSERT_STRING(variables(&plan), "");
    unload();
    end();
}

TEST(a_pattern)
{
    begin();
    clear_own();
    load_with_file("", in("*.env"));
    make_plan_with_problems();
    ASSERT(strstr(exec_problems, ": no file matches it; nothing can be started"));
    struct spawn_plan plan;
    ASSERT_ERROR(exec_plan_build(exec_plan, &plan), -ENOENT);
    write_file(in("b.env"), "A=b\n");
    plan = build();
    ASSERT_STRING(variables(&plan), "A=b");
    write_file(in("c.env"), "A=c\n");
    write_file(in("a.env"), "A=a\nB=a\n");
    ASSERT(!exec_plan_is_fresh(exec_plan));
    plan = build();
    ASSERT_STRING(variables(&plan), "A=c|B=a");
    ASSERT(exec_plan_is_fresh(exec_plan));
    unload();
    end();
}

TEST(names_that_cannot_be)
{
    begin();
    clear_own();
    write_file(in("file"), "A=1\n2B=2\n");
    load_with_file("", in("file"));
    make_plan_with_problems();
    ASSERT(strstr(exec_problems, "warning: ") && strstr(exec_problems, ": line 2 of \""));
    struct spawn_plan plan = build();
    ASSERT_STRING(variables(&plan), "A=1");
    unload();
    end();
}
