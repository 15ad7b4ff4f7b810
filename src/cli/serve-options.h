/* SPDX-License-Identifier: MIT */
/* The options that say how to serve: the same for every verb that does. */
#pragma once

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "supervisor/supervisor.h"

/* For the table of getopt_long(3), and for --help. */
enum serve_option {
    SERVE_OPTION_FORK_SERVERS = 768,
    SERVE_OPTION_STOP_TIMEOUT,
    SERVE_OPTION_REPORT,
    SERVE_OPTION_LOG_LEVEL,
};
/* clang-format off */
#define SERVE_OPTIONS                                                                              \
    {"fork-servers", required_argument, NULL, SERVE_OPTION_FORK_SERVERS},                          \
    {"stop-timeout", required_argument, NULL, SERVE_OPTION_STOP_TIMEOUT},                          \
    {"report", required_argument, NULL, SERVE_OPTION_REPORT},                                      \
    {"log-level", required_argument, NULL, SERVE_OPTION_LOG_LEVEL}
/* clang-format on */
#define SERVE_OPTIONS_HELP                                                                         \
    "      --stop-timeout=TIME   from SIGTERM to SIGKILL (90s)\n"                                  \
    "      --fork-servers=N      processes that create handlers (one per CPU)\n"                   \
    "      --report=WHICH        exits, failures or none (exits to the service\n"                  \
    "                            manager, failures on standard error)\n"                           \
    "      --log-level=LEVEL     emerg, alert, crit, err, warning, notice, info,\n"                \
    "                            debug or 0 to 7: what is written (info)\n"

/* What they are without any of these options. Takes the level of messages from the environment. */
void serve_options_init(struct supervisor_options *options);

/* 1 when it was one of these options, 0 when it is not, -EINVAL after it has said what is wrong.
 * verb is for messages. */
int serve_options_take(struct supervisor_options *options, const char *verb, int option,
                       const char *value);

/* For messages about any option: "…; "hark VERB --help" lists the options". -EINVAL. */
__attribute__((format(printf, 2, 3))) int usage_error(const char *verb, const char *format, ...);

/* A number from 1 to maximum, a time span: 0, or -EINVAL after it has said what is wrong. */
int take_count(const char *verb, const char *name, const char *text, uint32_t maximum,
               uint32_t *ret_count);
int take_time(const char *verb, const char *name, const char *text, uint64_t *ret_usec);

/* What getopt_long(3) stumbled over, with opterr 0: the option is ':' or '?'. -EINVAL. */
int option_error(const char *verb, int option, char *const argv[], const char *letters);
