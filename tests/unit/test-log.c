/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include "basic/clock.h"
#include "basic/fd.h"
#include "supervisor/log.h"

/* log.c remembers whether standard error is the journal, and what was dropped: a process each. */
#define IN_CHILD_WITH_PIPE(...) IN_CHILD(replace_stderr(); __VA_ARGS__)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)dup2(old_stderr, STDERR_FILENO);                                                 \
            TEST_FAIL("not true: %s; output: %s", #condition, output);                             \
        }                                                                                          \
    } while (0)

static int old_stderr, reader;
static char output[1 << 20];

static void replace_stderr(void)
{
    int pair[2];

    ASSERT_CALL(pipe2(pair, O_CLOEXEC));
    old_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    ASSERT_CALL(dup2(pair[1], STDERR_FILENO));
    close(pair[1]);
    reader = pair[0];
    ASSERT_OK(fd_set_nonblocking(reader, true));
    (void)alarm(20);
}

/* All that is in the pipe. */
static const char *read_output(void)
{
    size_t length = 0;
    ssize_t n;

    while ((n = read(reader, output + length, sizeof(output) - 1 - length)) > 0)
        length += (size_t)n;
    output[length] = '\0';
    return output;
}

TEST(lines_for_people)
{
    IN_CHILD_WITH_PIPE({
        log_error("cannot bind \"%s\": %d", "x", 7);
        CHECK(strcmp(read_output(), "hark: cannot bind \"x\": 7\n") == 0);
        log_info("%s", "");
        CHECK(strcmp(read_output(), "hark: \n") == 0);
    });
}

static void pretend_journal(bool right)
{
    char text[64];
    struct stat status;

    ASSERT_CALL(fstat(STDERR_FILENO, &status));
    (void)snprintf(text, sizeof(text), "%ju:%ju", (uintmax_t)status.st_dev,
                   (uintmax_t)status.st_ino + !right);
    ASSERT_CALL(setenv("JOURNAL_STREAM", text, 1));
}

TEST(lines_for_the_journal_carry_their_level)
{
    IN_CHILD_WITH_PIPE({
        pretend_journal(true);
        log_error("a");
        log_warning("b");
        log_notice("c");
        log_info("d");
        CHECK(strcmp(read_output(), "<3>a\n<4>b\n<5>c\n<6>d\n") == 0);
    });
    IN_CHILD_WITH_PIPE({
        pretend_journal(false); /* the variable was inherited, standard error is another one */
        log_error("a");
        CHECK(strcmp(read_output(), "hark: a\n") == 0);
    });
}

TEST(a_long_line_is_cut_off)
{
    IN_CHILD_WITH_PIPE({
        char text[5000];

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        log_error("%s", text);
        size_t length = strlen(read_output());
        CHECK(length > 1000 && length <= 2048);
        CHECK(output[length - 1] == '\n' && strchr(output, '\n') == output + length - 1);
    });
}

TEST(a_full_pipe_blocks_nobody_and_is_told_of)
{
    IN_CHILD_WITH_PIPE({
        unsigned n = 0;
        unsigned told = 0;

        for (unsigned i = 0; i < 10000; i++)
            log_error("line %u: some text to fill the pipe with", i);
        (void)read_output();
        for (const char *p = output; (p = strstr(p, "hark: line ")); p++)
            CHECK((unsigned)atoi(p + strlen("hark: line ")) == n++); /* the first, all whole */
        CHECK(n > 100 && n < 10000);
        CHECK(output[strlen(output) - 1] == '\n');
        log_error("back");
        (void)read_output();
        CHECK(sscanf(output, "hark: %u lines left out", &told) == 1);
        CHECK(told == 10000 - n);
        CHECK(strstr(output, "\nhark: back\n"));
        log_error("once");
        CHECK(strcmp(read_output(), "hark: once\n") == 0);
    });
}

TEST(a_closed_pipe_hurts_nobody)
{
    IN_CHILD_WITH_PIPE({
        (void)signal(SIGPIPE, SIG_IGN);
        close(reader);
        for (int i = 0; i < 100; i++)
            log_error("nobody reads");
        (void)close(STDERR_FILENO);
        log_error("nobody at all");
    });
}

TEST(a_limit_lets_a_burst_through)
{
    IN_CHILD_WITH_PIPE({
        struct log_limit limit = {.interval_usec = 3600 * USEC_PER_SEC, .burst = 3};

        for (int i = 0; i < 10; i++)
            CHECK(log_limit_pass(&limit, "things") == (i < 3));
        CHECK(limit.suppressed == 7);
        CHECK(strcmp(read_output(), "") == 0);
        limit.begin_usec -= 3600 * USEC_PER_SEC; /* an hour later */
        CHECK(log_limit_pass(&limit, "things"));
        CHECK(strcmp(read_output(), "hark: 7 more things not shown\n") == 0);
        limit.begin_usec -= 3600 * USEC_PER_SEC;
        CHECK(log_limit_pass(&limit, "things"));
        CHECK(strcmp(read_output(), "") == 0); /* none were left out this time */
    });
}

TEST(what_was_left_out_has_the_level_of_its_lines)
{
    IN_CHILD_WITH_PIPE({
        struct log_limit limit = {
            .interval_usec = 3600 * USEC_PER_SEC, .burst = 1, .level = LOG_ERR};

        log_set_level(LOG_ERR);
        for (int i = 0; i < 3; i++)
            (void)log_limit_pass(&limit, "things");
        log_limit_tell(&limit, "things"); /* the end: no line comes any more */
        CHECK(strcmp(read_output(), "hark: 2 more things not shown\n") == 0);
        log_limit_tell(&limit, "things");
        CHECK(strcmp(read_output(), "") == 0);
    });
}

TEST(limits_are_independent)
{
    struct log_limit a = {.interval_usec = 3600 * USEC_PER_SEC, .burst = 1}, b = a;

    ASSERT(log_limit_pass(&a, "x"));
    ASSERT(!log_limit_pass(&a, "x"));
    ASSERT(log_limit_pass(&b, "x"));
}

/* One line of each level, as the digits of those that were written. */
static const char *levels_written(void)
{
    static char digits[16];
    size_t n = 0;

    for (int level = LOG_EMERG; level <= LOG_DEBUG; level++)
        log_line(level, "%d", level);
    (void)read_output();
    for (const char *p = output; (p = strstr(p, "hark: ")); n++)
        digits[n] = *(p += strlen("hark: "));
    digits[n] = '\0';
    return digits;
}

TEST(levels)
{
    IN_CHILD_WITH_PIPE({
        const char *all = "01234567";

        CHECK(strcmp(levels_written(), "0123456") == 0); /* not those of debugging */
        for (int level = LOG_EMERG; level <= LOG_DEBUG; level++) {
            log_set_level(level);
            CHECK(strncmp(levels_written(), all, (size_t)level + 1) == 0);
            CHECK(strlen(levels_written()) == (size_t)level + 1);
        }
    });
}

TEST(names_of_levels)
{
    static const char *const names[] = {"emerg",   "alert",  "crit", "err",
                                        "warning", "notice", "info", "debug"};
    static const char *const wrong[] = {"",  "8",     "-1",    "07",    "3 ",    "/",
                                        ":", "error", "Debug", "infos", "debug "};
    int level = 42;

    for (int i = 0; i < 8; i++) {
        const char number[] = {(char)('0' + i), '\0'};

        ASSERT_OK(log_parse_level(names[i], &level));
        ASSERT_INT(level, i);
        level = 42;
        ASSERT_OK(log_parse_level(number, &level));
        ASSERT_INT(level, i);
    }
    level = 42;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ASSERT_ERROR(log_parse_level(wrong[i], &level), -EINVAL);
    ASSERT_INT(level, 42);
}

TEST(the_level_of_the_environment)
{
    IN_CHILD_WITH_PIPE({
        (void)unsetenv("SYSTEMD_LOG_LEVEL");
        log_level_from_environment();
        CHECK(strcmp(levels_written(), "0123456") == 0);
        (void)setenv("SYSTEMD_LOG_LEVEL", "", 1);
        log_level_from_environment();
        CHECK(strcmp(levels_written(), "0123456") == 0);
        (void)setenv("SYSTEMD_LOG_LEVEL", "loud", 1);
        log_level_from_environment();
        CHECK(strcmp(read_output(),
                     "hark: cannot use SYSTEMD_LOG_LEVEL=\"loud\": it is no log level\n") == 0);
        (void)setenv("SYSTEMD_LOG_LEVEL", "err", 1);
        log_level_from_environment();
        CHECK(strcmp(levels_written(), "0123") == 0);
        (void)setenv("SYSTEMD_LOG_LEVEL", "7", 1);
        log_level_from_environment();
        CHECK(strcmp(levels_written(), "01234567") == 0);
    });
}

TEST(an_event_is_a_line_where_there_is_no_journal)
{
    IN_CHILD_WITH_PIPE({
        const uint64_t instance = 17;
        const struct log_event event = {.level = LOG_WARNING,
                                        .id = MESSAGE_HANDLER_FAILED,
                                        .unit = "echo",
                                        .instance = &instance,
                                        .error = ENOENT};

        log_event(&event, "\"%s\" has\n%s", "echo", "failed");
        CHECK(strcmp(read_output(), "hark: \"echo\" has?failed\n") == 0);
        log_set_level(LOG_ERR);
        log_event(&event, "not shown");
        CHECK(strcmp(read_output(), "") == 0);
    });
}
