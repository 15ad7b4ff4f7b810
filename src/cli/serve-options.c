/* SPDX-License-Identifier: MIT */
#include "cli/serve-options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/parse.h"
#include "supervisor/log.h"
#include "supervisor/slots.h"

#define DEFAULT_STOP_TIMEOUT (90 * USEC_PER_SEC) /* as systemd's DefaultTimeoutStopSec= */

int usage_error(const char *verb, const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    log_error("%s; \"hark %s --help\" lists the options", text, verb);
    return -EINVAL;
}

int take_count(const char *verb, const char *name, const char *text, uint32_t maximum,
               uint32_t *ret_count)
{
    uint64_t value;

    if (parse_unsigned(text, maximum, &value) < 0 || value == 0)
        return usage_error(verb, "--%s takes a number from 1 to %u, not \"%s\"", name, maximum,
                           text);
    *ret_count = (uint32_t)value;
    return 0;
}

int take_time(const char *verb, const char *name, const char *text, uint64_t *ret_usec)
{
    if (parse_time_span(text, ret_usec) < 0)
        return usage_error(verb, "--%s takes a time such as 5s, 500ms or infinity, not \"%s\"",
                           name, text);
    return 0;
}

static int take_report(struct supervisor_options *options, const char *verb, const char *text)
{
    if (strcmp(text, "exits") == 0)
        options->to_manager = options->to_log = REPORT_EXITS;
    else if (strcmp(text, "failures") == 0)
        options->to_manager = options->to_log = REPORT_FAILURES;
    else if (strcmp(text, "none") == 0)
        options->to_manager = options->to_log = REPORT_NONE;
    else
        return usage_error(verb, "--report takes exits, failures or none, not \"%s\"", text);
    return 0;
}

/* It is the process's own, and at once: what is wrong with later options is said by it. */
static int take_log_level(const char *verb, const char *text)
{
    int level;

    if (log_parse_level(text, &level) < 0)
        return usage_error(verb,
                           "--log-level takes emerg, alert, crit, err, warning, notice, info, "
                           "debug or 0 to 7, not \"%s\"",
                           text);
    log_set_level(level);
    return 0;
}

void serve_options_init(struct supervisor_options *options)
{
    log_level_from_environment();
    *options = (struct supervisor_options){
        .stop_timeout_usec = DEFAULT_STOP_TIMEOUT,
        .to_manager = REPORT_EXITS,
        .to_log = REPORT_FAILURES,
    };
}

int serve_options_take(struct supervisor_options *options, const char *verb, int option,
                       const char *value)
{
    int r;

    switch (option) {
    case SERVE_OPTION_FORK_SERVERS:
        r = take_count(verb, "fork-servers", value, SERVERS_MAX, &options->n_servers);
        break;
    case SERVE_OPTION_STOP_TIMEOUT:
        r = take_time(verb, "stop-timeout", value, &options->stop_timeout_usec);
        break;
    case SERVE_OPTION_REPORT:
        r = take_report(options, verb, value);
        break;
    case SERVE_OPTION_LOG_LEVEL:
        r = take_log_level(verb, value);
        break;
    default:
        return 0;
    }
    return r < 0 ? r : 1;
}

int option_error(const char *verb, int option, char *const argv[], const char *letters)
{
    if (option == ':')
        return usage_error(verb, "option \"%s\" needs a value", argv[optind - 1]);
    /* A known letter is its long name with a value. */
    if (optopt > 0 && optopt < 256 && strchr(letters, optopt) == NULL)
        return usage_error(verb, "unknown option \"-%c\"", optopt);
    return usage_error(verb, "unknown option \"%s\", or it takes no value", argv[optind - 1]);
}
