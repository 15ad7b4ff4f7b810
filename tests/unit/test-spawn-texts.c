/* SPDX-License-Identifier: MIT */
/* Placeholders in the strings of a plan. */
#include "test-spawn.h"

/* Placeholders as the caller chooses them. */
#define INSTANCE   "<4f2a:instance>"
#define UNESCAPED  "<4f2a:unescaped>"
#define ADDRESS    "<4f2a:address>"
#define PORT       "<4f2a:port>"
#define PID        "<4f2a:pid>"
#define INVOCATION "<4f2a:invocation>"
#define DROPPED    "<4f2a:dropped>"

static const struct spawn_substitution substitutions[] = {
    {INSTANCE, SPAWN_TEXT_INSTANCE, false},
    {UNESCAPED, SPAWN_TEXT_INSTANCE_UNESCAPED, false},
    {ADDRESS, SPAWN_TEXT_REMOTE_ADDRESS, false},
    {PORT, SPAWN_TEXT_REMOTE_PORT, false},
    {PID, SPAWN_TEXT_PID, false},
    {INVOCATION, SPAWN_TEXT_INVOCATION_ID, false},
    {DROPPED, SPAWN_TEXT_REMOTE_ADDRESS, true},
};

static void substitute(struct spawn_plan *plan)
{
    plan->substitutions = substitutions;
    plan->n_substitutions = sizeof(substitutions) / sizeof(substitutions[0]);
}

/* What follows prefix, up to the end of the line. */
static const char *rest_of_line(const char *text, const char *prefix)
{
    static char rest[2][512];
    static unsigned next;
    const char *found = strstr(text, prefix);

    if (!found)
        TEST_FAIL("no \"%s\" in:\n%s", prefix, text);
    found += strlen(prefix);
    next++;
    (void)snprintf(rest[next % 2], sizeof(rest[0]), "%.*s", (int)strcspn(found, "\n"), found);
    return rest[next % 2];
}

static void assert_formatted(const char *text, const char *format, const char *what)
{
    char line[1024];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(line, sizeof(line), format, what);
#pragma GCC diagnostic pop
    assert_line(text, line);
}

/* ---- A connection ---------------------------------------------------------------------------- */

static int port_of(const union address *address)
{
    return ntohs(address->generic.sa_family == AF_INET6 ? address->in6.sin6_port
                                                        : address->in.sin_port);
}

/* host as a client says it, shown as systemd writes it. */
static void check_instance(int listener, const char *shown)
{
    const char *arguments[] = {"program", "--role-observe", NULL,       "i " INSTANCE,
                               UNESCAPED, ADDRESS " " PORT, DROPPED "", NULL};
    struct spawn_plan plan = plan_to_accept(listener);
    _Atomic uint64_t counter = 41;
    union address own = {0}, server = {0};
    socklen_t size = sizeof(server);
    char line[256];

    arguments[2] = observe_arguments[2];
    plan.arguments = arguments;
    plan.counter = &counter;
    plan.flags |= SPAWN_REMOTE_VARIABLES;
    substitute(&plan);
    ASSERT_CALL(getsockname(listener, &server.generic, &size));
    int client = connect_to(listener, &own);
    const char *text = observed(&plan);
    (void)snprintf(line, sizeof(line), "argument i 41-%s:%d-%s:%d", shown, port_of(&server), shown,
                   port_of(&own));
    assert_line(text, line);
    (void)snprintf(line, sizeof(line), "argument 41/%s:%d/%s:%d", shown, port_of(&server), shown,
                   port_of(&own));
    assert_line(text, line);
    (void)snprintf(line, sizeof(line), "argument %s %d", shown, port_of(&own));
    assert_line(text, line);
    assert_formatted(text, "argument %s", shown);
    assert_formatted(text, "env REMOTE_ADDR=%s", shown);
    close(client);
    close(listener);
}

TEST(the_instance_is_systemd_s)
{
    begin();
    check_instance(make_listener(AF_INET, "127.0.0.1", 0, SOCK_NONBLOCK), "127.0.0.1");
    int ipv6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (ipv6 >= 0) {
        close(ipv6);
        check_instance(make_listener(AF_INET6, "::1", 0, SOCK_NONBLOCK), "::1");
        check_instance(make_listener(AF_INET6, "::ffff:127.0.0.1", 0, SOCK_NONBLOCK), "127.0.0.1");
    }
    end();
}

TEST(the_instance_of_a_unix_peer)
{
    const char *arguments[] = {"program", "--role-observe", NULL,       INSTANCE, UNESCAPED,
                               ADDRESS,   DROPPED,          ("a" PORT), NULL};
    _Atomic uint64_t counter = 7;
    char expected[256];

    begin();
    arguments[2] = observe_arguments[2];
    int listener = listen_unix();
    struct spawn_plan plan = plan_to_accept(listener);
    plan.arguments = arguments;
    plan.counter = &counter;
    substitute(&plan);
    for (int i = 7; i < 10; i++) { /* each child anew */
        int client = connect_unix(listener);
        const char *text = observed(&plan);
        (void)snprintf(expected, sizeof(expected),
                       "\nargument %d-%d-%u\nargument %d/%d/%u\nargument \nargument a\ndone\n", i,
                       getpid(), getuid(), i, getpid(), getuid());
        if (!strstr(text, expected))
            TEST_FAIL("no \"%s\" in:\n%s", expected, text);
        close(client);
    }
    close(listener);
    end();
}

/* The same plan, prepared once: what one child wrote must not reach the next. */
TEST(each_child_has_texts_of_its_own)
{
    const char *arguments[] = {"program", "--role-observe", NULL, DROPPED, PID, INSTANCE, NULL};
    struct prepared_plan *prepared;
    char line[128];
    size_t n_dropped = 0;

    begin();
    arguments[2] = observe_arguments[2];
    int listener = listen_unix();
    struct spawn_plan plan = plan_to_accept(listener);
    _Atomic uint64_t counter = 0;
    plan.arguments = arguments;
    plan.counter = &counter;
    substitute(&plan);
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    for (int i = 0; i < 4; i++) {
        union address own = {.un = {.sun_family = AF_UNIX, .sun_path = "\0hark-test"}};
        socklen_t size = sizeof(own.un);
        int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ASSERT_OK(fd_move_above(&client, 40));
        if (i % 2 == 0) /* every other one has an address */
            ASSERT_CALL(bind(client, &own.generic, sizeof(sa_family_t)));
        ASSERT_CALL(getsockname(listener, &own.generic, &size));
        ASSERT_CALL(connect(client, &own.generic, size));
        memset(&record, 0, sizeof(record));
        ASSERT_OK(spawn_run(spawner, prepared, &record));
        ASSERT_INT(exit_status_of(record.pid), 7);
        const char *text = read_file(in("output"));
        n_dropped += !strstr(text, "\nargument @");
        (void)snprintf(line, sizeof(line), "\nargument %d\nargument %d-%d-%u\ndone\n", record.pid,
                       i, getpid(), getuid());
        ASSERT(strstr(text, line));
        close(client);
    }
    ASSERT_INT(n_dropped, 2);
    spawn_plan_free(prepared);
    close(listener);
    end();
}

/* ---- Everywhere ------------------------------------------------------------------------------ */

TEST(in_every_string_of_a_plan)
{
    static const char *const environment[] = {"A=" PID,        "B=<" PID PID ">", "INVOCATION_ID=x",
                                              "C=" INVOCATION, "D=plain",         NULL};
    const char *arguments[] = {"program", "--role-observe", NULL, INVOCATION, NULL};
    char directory[128];
    char path[128];
    char line[256];

    begin();
    arguments[2] = observe_arguments[2];
    (void)snprintf(directory, sizeof(directory), "/proc/" PID "/root/");
    (void)snprintf(path, sizeof(path), "%s/log-" PID, directory_path);
    struct spawn_plan plan = observe_plan();
    plan.arguments = arguments;
    plan.environment = environment;
    plan.directory = directory;
    plan.flags = SPAWN_INVOCATION_ID | SPAWN_EXEC_PID | SPAWN_LISTEN_VARIABLES;
    plan.stdio[1] = (struct spawn_stdio){
        .kind = SPAWN_STDIO_FILE, .path = path, .flags = O_WRONLY | O_CREAT, .mode = 0600};
    substitute(&plan);
    const char *text = observed(&plan);
    int pid = record.pid;
    assert_line(text, "directory /");
    assert_line(text, "env D=plain");
    (void)snprintf(line, sizeof(line), "standard 1 %s/log-%d", directory_path, pid);
    assert_line(text, line);
    (void)snprintf(line, sizeof(line), "\nenv A=%d\nenv B=<%d%d>\n", pid, pid, pid);
    ASSERT(strstr(text, line));
    (void)snprintf(line, sizeof(line), "env LISTEN_PID=%d", pid);
    assert_line(text, line);
    const char *id = rest_of_line(text, "\nenv INVOCATION_ID=");
    ASSERT_INT(strlen(id), 32);
    ASSERT_STRING(rest_of_line(text, "\nenv C="), id);
    assert_formatted(text, "argument %s", id);
    end();
}

TEST(a_service_has_no_connection)
{
    const char *arguments[] = {"program",   "--role-observe", NULL,     "x" INSTANCE, UNESCAPED,
                               DROPPED " ", DROPPED,          PORT "y", NULL};
    _Atomic uint64_t counter = 3;

    begin();
    arguments[2] = observe_arguments[2];
    struct spawn_plan plan = observe_plan();
    plan.arguments = arguments;
    plan.counter = &counter;
    substitute(&plan);
    ASSERT(strstr(observed(&plan), "\nargument x\nargument \nargument  \nargument y\ndone\n"));
    end();
}

#define N_LONGEST 7 /* what read_file() takes */

TEST(the_longest_texts_fit)
{
    static char many[N_LONGEST * sizeof(ADDRESS)];
    const char *arguments[] = {"program", "--role-observe", NULL, many, NULL};
    struct sockaddr_un own = {.sun_family = AF_UNIX};
    char expected[1024];

    begin();
    arguments[2] = observe_arguments[2];
    for (int i = 0; i < N_LONGEST; i++)
        memcpy(many + (size_t)i * strlen(ADDRESS), ADDRESS, sizeof(ADDRESS));
    int listener = listen_unix();
    struct spawn_plan plan = plan_to_accept(listener);
    plan.arguments = arguments;
    substitute(&plan);
    memset(own.sun_path + 1, 0xff, sizeof(own.sun_path) - 1);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_OK(fd_move_above(&client, 40));
    ASSERT_CALL(bind(client, (const struct sockaddr *)&own, sizeof(own)));
    struct sockaddr_un server;
    socklen_t size = sizeof(server);
    ASSERT_CALL(getsockname(listener, (struct sockaddr *)&server, &size));
    ASSERT_CALL(connect(client, (const struct sockaddr *)&server, size));
    const char *text = observed(&plan);
    const char *argument = strstr(text, "\nargument @\\xff");
    ASSERT(argument);
    expected[0] = '@';
    for (size_t i = 0; i < sizeof(own.sun_path) - 1; i++)
        memcpy(expected + 1 + 4 * i, "\\xff", 5);
    argument += strlen("\nargument ");
    for (int i = 0; i < N_LONGEST; i++, argument += strlen(expected))
        ASSERT_INT(strncmp(argument, expected, strlen(expected)), 0);
    ASSERT_INT(*argument, '\n');
    close(client);
    close(listener);
    end();
}

/* ---- The plan -------------------------------------------------------------------------------- */

TEST(what_is_no_substitution_is_refused)
{
    struct spawn_substitution none = {"", SPAWN_TEXT_PID, false};
    struct spawn_plan plan = observe_plan();
    struct prepared_plan *prepared;

    plan.substitutions = &none;
    plan.n_substitutions = 1;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    none.placeholder = NULL;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    none.placeholder = PID;
    none.text = (enum spawn_text)99;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    none.text = SPAWN_TEXT_PID;
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    spawn_plan_free(prepared);
}

TEST(a_failure_is_that_step_s)
{
    const char *arguments[] = {"program", INVOCATION, NULL};

    begin();
    IN_CHILD({
        struct spawn_plan plan = observe_plan();
        plan.arguments = arguments;
        substitute(&plan);
        deny(SYS_getrandom, ENOSYS);
        assert_failed(&plan, SPAWN_TEXTS, ENOSYS);
    });
    ASSERT_STRING(spawn_step_name(SPAWN_TEXTS), "texts");
    ASSERT_INT(spawn_step_exit_status(SPAWN_TEXTS), 204);
    end();
}
