/* SPDX-License-Identifier: MIT */
#include "supervisor/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/clock.h"
#include "supervisor/journal.h"

#define LINE_SIZE   2048 /* below PIPE_BUF, so that a line is written whole or not at all */
#define TEXT_SIZE   (LINE_SIZE - 8) /* of it, without what is put around it */
#define ENTRY_SIZE  8192            /* a line, an address with a path, and short fields */
#define NUMBER_SIZE 24

static int max_level = LOG_INFO;
static struct log_tap *current_tap;

static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM"); /* "device:inode", systemd.exec(5) */
    unsigned long long device, inode;
    struct stat info;

    return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &info) == 0 && info.st_dev == device && info.st_ino == inode;
}

/* Standard error is shared with the handlers, so it cannot be made non-blocking: look before
 * writing. */
static bool stderr_is_writable(void)
{
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};

    return poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT);
}

static void write_line(const char *line, size_t length)
{
    static unsigned long dropped;
    char note[80];

    if (!stderr_is_writable()) {
        dropped++;
        return;
    }
    if (dropped > 0) {
        int n =
            snprintf(note, sizeof(note), "hark: %lu lines left out: nobody reads them\n", dropped);

        dropped = 0;
        (void)!write(STDERR_FILENO, note, (size_t)n);
        if (!stderr_is_writable()) {
            dropped++;
            return;
        }
    }
    (void)!write(STDERR_FILENO, line, length);
}

/* Formats a line, cut off where it is too long. Names of files and users are other people's, so
 * control characters become "?". */
__attribute__((format(printf, 2, 0))) static void format_text(char text[TEXT_SIZE],
                                                              const char *format, va_list arguments)
{
    int n = vsnprintf(text, TEXT_SIZE, format, arguments);

    if (n < 0)
        text[0] = '\0';
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ')
            *c = '?';
}

static bool to_journal(void)
{
    static int journal = -1;

    if (journal < 0)
        journal = stderr_is_journal();
    return journal > 0;
}

static void write_text(int level, const char text[TEXT_SIZE])
{
    char line[LINE_SIZE];
    int n = to_journal() ? snprintf(line, sizeof(line), "<%d>%s\n", level, text)
                         : snprintf(line, sizeof(line), "hark: %s\n", text);

    write_line(line, (size_t)n);
}

static void tap(int level, const char *text)
{
    if (current_tap == NULL || level > LOG_WARNING || current_tap->n == LOG_TAP_MAX)
        return;
    char *copy = strdup(text);
    if (copy != NULL)
        current_tap->lines[current_tap->n++] = copy;
}

void log_line(int level, const char *format, ...)
{
    char text[TEXT_SIZE];
    va_list arguments;

    if (level > max_level && current_tap == NULL)
        return;
    va_start(arguments, format);
    format_text(text, format, arguments);
    va_end(arguments);
    tap(level, text);
    if (level <= max_level)
        write_text(level, text);
}

/* ---- Listening in ---------------------------------------------------------------------------- */

void log_tap_begin(struct log_tap *tap)
{
    current_tap = tap;
}

void log_tap_end(void)
{
    current_tap = NULL;
}

void log_tap_done(struct log_tap *tap)
{
    for (size_t i = 0; i < tap->n; i++)
        free(tap->lines[i]);
    tap->n = 0;
}

/* ---- Events ---------------------------------------------------------------------------------- */

/* A number as text; NULL for none. */
static const char *number_text(const uint64_t *value, char text[NUMBER_SIZE])
{
    if (value == NULL)
        return NULL;
    (void)snprintf(text, NUMBER_SIZE, "%" PRIu64, *value);
    return text;
}

static const char *int_text(int value, char text[NUMBER_SIZE])
{
    const uint64_t wide = (uint64_t)value;

    return number_text(value > 0 ? &wide : NULL, text);
}

/* The journal takes UNIT= seriously from PID 1 only (systemd.journal-fields(7)), and wants the full
 * name there: hence fields of our own. */
static int send_event(const struct log_event *event, const char *text)
{
    char entry[ENTRY_SIZE], id[SD_ID128_STRING_MAX], instance[NUMBER_SIZE], runtime[NUMBER_SIZE];
    char handler[NUMBER_SIZE], server[NUMBER_SIZE], error[NUMBER_SIZE];
    const char priority[] = {(char)('0' + event->level), '\0'};
    const struct journal_field fields[] = {
        {"MESSAGE", text},
        {"PRIORITY", priority},
        {"MESSAGE_ID", sd_id128_to_string(event->id, id)},
        {"SYSLOG_IDENTIFIER", "hark"},
        {"SYSLOG_FACILITY", "3"}, /* daemon: as what comes by standard error */
        {"HARK_UNIT", event->unit},
        {"HARK_INSTANCE", number_text(event->instance, instance)},
        {"HARK_HANDLER_PID", int_text(event->handler, handler)},
        {"HARK_PEER", event->peer},
        {"HARK_EXIT_CODE", event->exit_code},
        {"HARK_EXIT_STATUS", event->exit_status},
        {"HARK_RUNTIME_USEC", number_text(event->runtime_usec, runtime)},
        {"HARK_STEP", event->step},
        {"HARK_LISTENER", event->listener},
        {"HARK_FORK_SERVER_PID", int_text(event->server, server)},
        {"ERRNO", int_text(event->error, error)},
    };
    int n = journal_format(fields, sizeof(fields) / sizeof(fields[0]), entry, sizeof(entry));

    return n < 0 ? n : journal_send(NULL, entry, (size_t)n);
}

void log_event(const struct log_event *event, const char *format, ...)
{
    char text[TEXT_SIZE];
    va_list arguments;

    if (event->level > max_level)
        return;
    va_start(arguments, format);
    format_text(text, format, arguments);
    va_end(arguments);
    /* A journald that takes no entry now may still take a line, or leave it in the stream. */
    if (!to_journal() || send_event(event, text) < 0)
        write_text(event->level, text);
}

/* ---- Levels ---------------------------------------------------------------------------------- */

void log_set_level(int level)
{
    max_level = level;
}

int log_parse_level(const char *text, int *ret_level)
{
    static const char *const names[] = {"emerg",   "alert",  "crit", "err",
                                        "warning", "notice", "info", "debug"};

    for (int i = LOG_EMERG; i <= LOG_DEBUG; i++)
        if (strcmp(text, names[i]) == 0 || (text[0] == '0' + i && text[1] == '\0')) {
            *ret_level = i;
            return 0;
        }
    return -EINVAL;
}

void log_level_from_environment(void)
{
    const char *text = getenv("SYSTEMD_LOG_LEVEL");

    if (text != NULL && text[0] != '\0' && log_parse_level(text, &max_level) < 0)
        log_warning("cannot use SYSTEMD_LOG_LEVEL=\"%s\": it is no log level", text);
}

/* ---- Limits ---------------------------------------------------------------------------------- */

void log_limit_tell(struct log_limit *limit, const char *what)
{
    if (limit->suppressed > 0)
        log_line(limit->level > 0 ? limit->level : LOG_INFO, "%u more %s not shown",
                 limit->suppressed, what);
    limit->suppressed = 0;
}

bool log_limit_pass(struct log_limit *limit, const char *what)
{
    uint64_t now = monotonic_usec();

    if (limit->begin_usec == 0 || now - limit->begin_usec >= limit->interval_usec) {
        log_limit_tell(limit, what);
        limit->begin_usec = now;
        limit->n = 0;
    }
    if (limit->n < limit->burst) {
        limit->n++;
        return true;
    }
    limit->suppressed++;
    return false;
}
