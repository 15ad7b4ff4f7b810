/* SPDX-License-Identifier: MIT */
/* Lines for people, on standard error: "hark: …", or with the level as "<N>" (sd-daemon(3)) when
 * that is the journal. What happens to handlers, listeners and fork servers is an event: in the
 * journal an entry with fields (hark(1), LOGS), elsewhere a line like all others. A reader that
 * does not read never stops hark: what does not fit is dropped and counted. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <syslog.h>

#include "supervisor/message-ids.h"

__attribute__((format(printf, 2, 3))) void log_line(int level, const char *format, ...);

#define log_error(...)   log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)

/* What a line is about. Zero and NULL are "none". */
struct log_event {
    int level;
    sd_id128_t id;            /* of message-ids.h */
    const char *unit;         /* as messages call it: "echo" */
    const uint64_t *instance; /* 17 of "echo@17" */
    pid_t handler;            /* its pid */
    const char *peer;         /* as peer_format() writes it */
    const char *exit_code;    /* "exited", "killed", "dumped"; then also … */
    const char *exit_status;  /* … a number, or a signal's name */
    const uint64_t *runtime_usec;
    const char *step;     /* of spawn_step_name() */
    const char *listener; /* its address */
    pid_t server;         /* pid of a fork server */
    int error;            /* an errno, positive */
};

__attribute__((format(printf, 2, 3))) void log_event(const struct log_event *event,
                                                     const char *format, ...);

/* Lines above this level (LOG_EMERG to LOG_DEBUG) are not written; LOG_INFO at first. */
void log_set_level(int level);
/* "warning" or "4", as systemd's tools take it: 0, or -EINVAL. */
int log_parse_level(const char *text, int *ret_level);
/* Takes the level of $SYSTEMD_LOG_LEVEL; warns of one that is none. */
void log_level_from_environment(void);

/* A copy of the warnings and worse that are written meanwhile, for whoever asked for what they are
 * about. Starts as all zero. */
#define LOG_TAP_MAX 64
struct log_tap {
    char *lines[LOG_TAP_MAX];
    size_t n;
};
/* Until log_tap_end(). One at a time. */
void log_tap_begin(struct log_tap *tap);
void log_tap_end(void);
/* Frees the lines. */
void log_tap_done(struct log_tap *tap);

/* At most `burst` lines of one cause in each interval; the first one after it says how many were
 * left out. Zero-initialise, then set the first two, or three. */
struct log_limit {
    uint64_t interval_usec;
    unsigned burst;
    int level; /* of the lines, and so of the one about those left out; 0: LOG_INFO */
    uint64_t begin_usec;
    unsigned n, suppressed;
};

/* True when the line may be written. */
bool log_limit_pass(struct log_limit *limit, const char *what);
/* Says now how many were left out, if any: for the end, when no more lines come. */
void log_limit_tell(struct log_limit *limit, const char *what);
