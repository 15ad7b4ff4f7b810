/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/clock.h"
#include "basic/fd.h"
#include "supervisor/report.h"

static sd_event *event;
static struct notify *notify;
static struct report report;
static int manager;
static int old_stderr, log_reader;
static char log_text[1 << 16];

/* A manager, and standard error is a pipe. */
static void begin(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[64];
    int pair[2];
    size_t length = (size_t)snprintf(name, sizeof(name), "@hark-test-report-%d", getpid());

    (void)alarm(20);
    memcpy(address.sun_path + 1, name + 1, length - 1);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ASSERT_CALL(manager);
    ASSERT_CALL(bind(manager, (struct sockaddr *)&address,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)));
    ASSERT_CALL(setenv("NOTIFY_SOCKET", name, 1));
    ASSERT_OK(sd_event_new(&event));
    ASSERT_OK(notify_new(event, &notify));
    report_init(&report, notify);
    ASSERT_CALL(pipe2(pair, O_CLOEXEC | O_NONBLOCK));
    log_reader = pair[0];
    old_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    ASSERT_CALL(dup2(pair[1], STDERR_FILENO));
    close(pair[1]);
}

/* What was logged; standard error is itself again, so that assertions are seen. */
static const char *end(void)
{
    ASSERT_CALL(dup2(old_stderr, STDERR_FILENO));
    ssize_t length = read(log_reader, log_text, sizeof(log_text) - 1);
    log_text[length > 0 ? length : 0] = '\0';
    close(old_stderr);
    close(log_reader);
    notify_free(notify);
    sd_event_unref(event);
    close(manager);
    (void)alarm(0);
    return log_text;
}

/* All that the manager gets, in one text. */
static const char *told(void)
{
    static char text[1 << 16];
    size_t length = 0;

    while (!notify_is_idle(notify)) {
        if (sd_event_run(event, USEC_PER_SEC) < 0)
            break;
        ssize_t n = recv(manager, text + length, sizeof(text) - 1 - length, 0);
        length += n > 0 ? (size_t)n : 0;
    }
    for (ssize_t n; (n = recv(manager, text + length, sizeof(text) - 1 - length, 0)) > 0;)
        length += (size_t)n;
    text[length] = '\0';
    return text;
}

static struct spawn_record ran(uint64_t number)
{
    struct spawn_record record = {.number = number, .start_usec = 1000000};

    record.step = SPAWN_EXEC;
    record.peer.family = AF_UNIX;
    record.peer.unix_credentials.pid = 7;
    return record;
}

static struct handler_exit ended(int code, int status)
{
    return (struct handler_exit){.pid = 42, .code = code, .status = status, .end_usec = 1002500};
}

static bool exits(const struct spawn_record *record, int code, int status)
{
    const struct handler_exit end = ended(code, status);

    return report_exit(&report, "echo", record, &end, false);
}

static bool fails(int code, int status)
{
    const struct handler_exit end = ended(code, status);

    return report_is_failure(&end);
}

TEST(what_systemd_calls_a_failure)
{
    ASSERT(!fails(CLD_EXITED, 0));
    for (int status = 1; status < 256; status++)
        ASSERT(fails(CLD_EXITED, status));
    for (int number = 1; number < 65; number++)
        ASSERT_INT(fails(CLD_KILLED, number),
                   number != SIGHUP && number != SIGINT && number != SIGTERM && number != SIGPIPE);
    ASSERT(fails(CLD_DUMPED, SIGSEGV));
}

static const char *described(int code, int status)
{
    static char text[64];
    const struct handler_exit end = ended(code, status);

    report_describe_end(&end, text, sizeof(text));
    return text;
}

TEST(words_for_an_end)
{
    ASSERT_STRING(described(CLD_EXITED, 0), "exited with status 0");
    ASSERT_STRING(described(CLD_EXITED, 203), "exited with status 203");
    ASSERT_STRING(described(CLD_KILLED, SIGSEGV), "was killed by SEGV");
    ASSERT_STRING(described(CLD_DUMPED, SIGABRT), "was killed by ABRT (core dumped)");
    ASSERT_STRING(described(CLD_KILLED, SIGRTMIN + 6), "was killed by RTMIN+6");
}

TEST(the_line_for_the_manager)
{
    struct spawn_record record = ran(17);
    char text[1024];

    begin();
    bool first = exits(&record, CLD_EXITED, 0);
    record.peer = (struct peer){.family = AF_INET, .port = 4711, .inet = {192, 0, 2, 1}};
    bool second = exits(&record, CLD_EXITED, 1);
    record.peer = (struct peer){.family = AF_INET6, .port = 80, .inet = {[15] = 1}};
    exits(&record, CLD_KILLED, SIGTERM);
    record.peer = (struct peer){0};
    exits(&record, CLD_DUMPED, SIGSEGV);
    exits(&record, CLD_KILLED, 40);
    record.start_usec = 1002501; /* the clock of another CPU */
    exits(&record, CLD_EXITED, 0);
    (void)snprintf(text, sizeof(text), "%s", told());
    (void)end();
    ASSERT(first && second);
    ASSERT_STRING(
        text,
        "X_HARK_EXIT=echo@17 pid=42 code=exited status=0 runtime=2500us peer=unix:pid=7,uid=0\n"
        "X_HARK_EXIT=echo@17 pid=42 code=exited status=1 runtime=2500us peer=192.0.2.1:4711\n"
        "X_HARK_EXIT=echo@17 pid=42 code=killed status=TERM runtime=2500us peer=[::1]:80\n"
        "X_HARK_EXIT=echo@17 pid=42 code=dumped status=SEGV runtime=2500us peer=-\n"
        "X_HARK_EXIT=echo@17 pid=42 code=killed status=RTMIN+6 runtime=2500us peer=-\n"
        "X_HARK_EXIT=echo@17 pid=42 code=exited status=0 runtime=0us peer=-\n");
    ASSERT_INT(report.done, 6);
    ASSERT_INT(report.failed, 3);
}

TEST(a_step_that_failed_is_named)
{
    struct spawn_record record = ran(3);
    char text[1024];

    begin();
    record.step = SPAWN_DIRECTORY;
    record.error = ENOENT;
    exits(&record, CLD_EXITED, 200);
    (void)snprintf(text, sizeof(text), "%s", told());
    const char *log = end();
    ASSERT_STRING(log, "hark: \"echo@3\" (pid 42) exited with status 200: working directory "
                       "failed: No such file or directory\n");
    ASSERT_STRING(text, "X_HARK_EXIT=echo@3 pid=42 code=exited status=200 runtime=2500us "
                        "peer=unix:pid=7,uid=0 step=working-directory error=ENOENT\n");
}

TEST(a_child_that_was_killed_in_its_set_up)
{
    struct spawn_record record = ran(3);

    begin();
    record.step = SPAWN_DIRECTORY;
    exits(&record, CLD_KILLED, SIGKILL);
    ASSERT_STRING(end(), "hark: \"echo@3\" (pid 42) was killed by KILL in its set-up: "
                         "working directory\n");
}

TEST(a_lost_race_is_nothing_to_report)
{
    struct spawn_record record = ran(0);

    begin();
    record.step = SPAWN_ACCEPT;
    record.error = EAGAIN;
    bool reported = exits(&record, CLD_EXITED, 0);
    bool idle = notify_is_idle(notify);
    /* One that somebody killed may have taken a connection with it. */
    record.error = 0;
    bool killed = exits(&record, CLD_KILLED, SIGKILL);
    const char *log = end();
    ASSERT(!reported && idle && killed);
    ASSERT_INT(report.done, 1);
    ASSERT(strstr(log, "was killed by KILL"));
}

/* What the manager and the log get of one success and one failure, at a level each. */
static void check_levels(enum report_level to_manager, enum report_level to_log)
{
    struct spawn_record record = ran(1);
    char manager_text[1024];

    begin();
    report.to_manager = to_manager;
    report.to_log = to_log;
    exits(&record, CLD_EXITED, 0);
    exits(&record, CLD_EXITED, 9);
    (void)snprintf(manager_text, sizeof(manager_text), "%s", told());
    const char *log = end();
    ASSERT_INT(!!strstr(manager_text, "status=0 "), to_manager == REPORT_EXITS);
    ASSERT_INT(!!strstr(manager_text, "status=9 "), to_manager >= REPORT_FAILURES);
    ASSERT_INT(!!strstr(log, "with status 0\n"), to_log == REPORT_EXITS);
    ASSERT_INT(!!strstr(log, "with status 9\n"), to_log >= REPORT_FAILURES);
    ASSERT_INT(report.done, 2);
    ASSERT_INT(report.failed, 1);
}

TEST(levels_are_independent)
{
    for (int to_manager = REPORT_NONE; to_manager <= (int)REPORT_EXITS; to_manager++)
        for (int to_log = REPORT_NONE; to_log <= (int)REPORT_EXITS; to_log++)
            check_levels((enum report_level)to_manager, (enum report_level)to_log);
}

TEST(failures_in_the_log_are_limited)
{
    struct spawn_record record = ran(1);
    int n = 0;

    begin();
    for (int i = 0; i < 100; i++)
        exits(&record, CLD_EXITED, 1);
    const char *log = end();
    for (const char *p = log; (p = strchr(p, '\n')); p++)
        n++;
    ASSERT_INT(n, 20);
    ASSERT_INT(report.failures.suppressed, 80);
    ASSERT_INT(report.failed, 100);
}

TEST(the_status_line)
{
    struct spawn_record record = ran(17);
    char none[256], one[256];

    begin();
    report_status(&report, "", 1, 0);
    (void)snprintf(none, sizeof(none), "%s", told());
    exits(&record, CLD_EXITED, 0);
    exits(&record, CLD_KILLED, SIGSEGV);
    exits(&record, CLD_KILLED, SIGTERM); /* no failure: the last one stays */
    (void)told();
    report_status(&report, "draining: ", 2, 14);
    (void)snprintf(one, sizeof(one), "%s", told());
    (void)end();
    ASSERT_STRING(none, "STATUS=1 socket, 0 running, 0 done, 0 failed");
    ASSERT_STRING(one, "STATUS=draining: 2 sockets, 14 running, 3 done, 1 failed; "
                       "last failure: echo@17 (pid 42) was killed by SEGV");
}

TEST(the_longest_of_everything_fits)
{
    struct spawn_record record = ran(UINT64_MAX);
    struct handler_exit last = ended(CLD_EXITED, INT32_MIN);
    char name[1000], text[2048];

    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    begin();
    last.pid = INT32_MIN;
    last.end_usec = UINT64_MAX;
    record.step = SPAWN_EXEC;
    record.error = INT32_MAX;
    record.peer = (struct peer){.family = AF_INET6, .port = 65535, .scope = UINT32_MAX};
    memset(record.peer.inet, 0xff, 16);
    (void)report_exit(&report, name, &record, &last, false);
    (void)snprintf(text, sizeof(text), "%s", told());
    (void)end();
    ASSERT_STRING(strrchr(text, ' '), " error=unknown\n");
}
