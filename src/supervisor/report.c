/* SPDX-License-Identifier: MIT */
#include "supervisor/report.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "basic/clock.h"
#include "basic/signals.h"

void report_init(struct report *report, struct notify *notify)
{
    *report = (struct report){
        .notify = notify,
        .to_manager = REPORT_EXITS,
        .to_log = REPORT_FAILURES,
        .failures = {.interval_usec = 5 * USEC_PER_SEC, .burst = 20, .level = LOG_WARNING},
        .exits = {.interval_usec = 1 * USEC_PER_SEC, .burst = 1000},
    };
}

bool report_is_failure(const struct handler_exit *end)
{
    if (end->code == CLD_EXITED)
        return end->status != 0;
    return end->status != SIGHUP && end->status != SIGINT && end->status != SIGTERM &&
           end->status != SIGPIPE;
}

void report_describe_end(const struct handler_exit *end, char *text, size_t size)
{
    char name[SIGNAL_NAME_MAX];

    if (end->code == CLD_EXITED) {
        (void)snprintf(text, size, "exited with status %d", end->status);
        return;
    }
    signal_name(end->status, name);
    (void)snprintf(text, size, "was killed by %s%s", name,
                   end->code == CLD_DUMPED ? " (core dumped)" : "");
}

/* "exec failed: No such file or directory", when the program never ran; else "". */
static void describe_step(const struct spawn_record *record, const struct handler_exit *end,
                          char *text, size_t size)
{
    enum spawn_step step = (enum spawn_step)record->step;

    text[0] = '\0';
    if (record->error != 0)
        (void)snprintf(text, size, ": %s failed: %s", spawn_step_name(step),
                       strerror(record->error));
    else if (step < SPAWN_EXEC && end->code != CLD_EXITED)
        (void)snprintf(text, size, " in its set-up: %s", spawn_step_name(step));
}

/* " step=working-directory error=ENOENT" */
static void append_error(const struct spawn_record *record, char *text, size_t size)
{
    const char *error = strerrorname_np(record->error);
    int n = snprintf(text, size, " step=%s", spawn_step_name((enum spawn_step)record->step));

    for (char *space = text + 1; (space = strchr(space, ' ')) != NULL;)
        *space = '-';
    (void)snprintf(text + n, size - (size_t)n, " error=%s", error != NULL ? error : "unknown");
}

const char *report_describe_code(const struct handler_exit *end, char status[SIGNAL_NAME_MAX])
{
    if (end->code == CLD_EXITED) {
        (void)snprintf(status, SIGNAL_NAME_MAX, "%d", end->status);
        return "exited";
    }
    signal_name(end->status, status);
    return end->code == CLD_DUMPED ? "dumped" : "killed";
}

uint64_t report_run_time(const struct spawn_record *record, const struct handler_exit *end)
{
    return end->end_usec > record->start_usec ? end->end_usec - record->start_usec : 0;
}

static void send_record(struct report *report, const char *unit, const struct spawn_record *record,
                        const struct handler_exit *end)
{
    char line[512], peer[PEER_TEXT_MAX], status[SIGNAL_NAME_MAX];
    const char *code = report_describe_code(end, status);

    peer_format(&record->peer, peer);
    int n = snprintf(
        line, sizeof(line),
        "X_HARK_EXIT=%.128s@%" PRIu64 " pid=%d code=%s status=%s runtime=%" PRIu64 "us peer=%s",
        unit, record->number, end->pid, code, status, report_run_time(record, end), peer);
    if (record->error != 0)
        append_error(record, line + n, sizeof(line) - (size_t)n);
    notify_exit(report->notify, line);
}

static void log_exit(const char *unit, const struct spawn_record *record,
                     const struct handler_exit *end, bool failure)
{
    enum spawn_step step = (enum spawn_step)record->step;
    char text[64], reason[128], peer[PEER_TEXT_MAX], status[SIGNAL_NAME_MAX];
    uint64_t runtime = report_run_time(record, end);

    report_describe_end(end, text, sizeof(text));
    describe_step(record, end, reason, sizeof(reason));
    peer_format(&record->peer, peer);
    const struct log_event event = {
        .level = failure ? LOG_WARNING : LOG_INFO,
        .id = failure ? MESSAGE_HANDLER_FAILED : MESSAGE_HANDLER_ENDED,
        .unit = unit,
        .instance = &record->number,
        .handler = end->pid,
        .peer = peer,
        .exit_code = report_describe_code(end, status),
        .exit_status = status,
        .runtime_usec = &runtime,
        .step = reason[0] != '\0' ? spawn_step_name(step) : NULL,
        .error = record->error,
    };
    log_event(&event, "\"%s@%" PRIu64 "\" (pid %d) %s%s", unit, record->number, end->pid, text,
              reason);
}

bool report_was_handler(const struct spawn_record *record, const struct handler_exit *end)
{
    if (record->step == SPAWN_ACCEPT)
        return end->code != CLD_EXITED;
    return record->step > SPAWN_ACCEPT;
}

bool report_exit(struct report *report, const char *unit, const struct spawn_record *record,
                 const struct handler_exit *end, bool ignore_failure)
{
    bool failure = !ignore_failure && report_is_failure(end);
    char description[64];

    if (!report_was_handler(record, end))
        return false;
    report->done++;
    report->failed += failure;
    report_describe_end(end, description, sizeof(description));
    if (failure)
        (void)snprintf(report->last_failure, sizeof(report->last_failure),
                       "%.64s@%" PRIu64 " (pid %d) %s", unit, record->number, end->pid,
                       description);
    if (report->to_manager == REPORT_EXITS || (report->to_manager == REPORT_FAILURES && failure))
        send_record(report, unit, record, end);
    if (failure && report->to_log >= REPORT_FAILURES) {
        if (log_limit_pass(&report->failures, "failures"))
            log_exit(unit, record, end, true);
    } else if (report->to_log == REPORT_EXITS && log_limit_pass(&report->exits, "exits")) {
        log_exit(unit, record, end, false);
    }
    return true;
}

void report_status(struct report *report, const char *prefix, unsigned n_listeners,
                   unsigned n_running)
{
    char text[400];

    if (!notify_is_wanted(report->notify))
        return;
    (void)snprintf(
        text, sizeof(text), "%s%u socket%s, %u running, %" PRIu64 " done, %" PRIu64 " failed%s%s",
        prefix, n_listeners, n_listeners == 1 ? "" : "s", n_running, report->done, report->failed,
        report->last_failure[0] != '\0' ? "; last failure: " : "", report->last_failure);
    notify_status(report->notify, text);
}
