/* SPDX-License-Identifier: MIT */
/* hark status: what the harks that run are doing. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "basic/parse.h"
#include "cli/control-verb.h"
#include "cli/exit-status.h"
#include "cli/serve-options.h"
#include "cli/status-report.h"
#include "cli/verbs.h"

#define VERB    "status"
#define LETTERS "h"

#define DEFAULT_INTERVAL (1 * USEC_PER_SEC)
#define SHORTEST         (100 * USEC_PER_MSEC)

enum option_code {
    OPTION_HELP = 'h',
    OPTION_VERSION = 256,
    OPTION_HANDLERS,
    OPTION_TIMEOUT,
    /* at most one of these: what it prints */
    OPTION_CHECK,
    OPTION_JSON,
    OPTION_OPENMETRICS,
    /* at most one of these: more than once */
    OPTION_FOLLOW,
    OPTION_WATCH,
};

static const struct option long_options[] = {
    {"check", no_argument, NULL, OPTION_CHECK},
    {"follow", no_argument, NULL, OPTION_FOLLOW},
    {"handlers", no_argument, NULL, OPTION_HANDLERS},
    {"help", no_argument, NULL, OPTION_HELP},
    {"json", no_argument, NULL, OPTION_JSON},
    {"openmetrics", no_argument, NULL, OPTION_OPENMETRICS},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"watch", optional_argument, NULL, OPTION_WATCH},
    {NULL, 0, NULL, 0},
};

struct status_options {
    struct status_query query;
    int form, course; /* an option_code, or 0 */
    uint64_t interval_usec;
};

static void print_help(void)
{
    printf("hark status [OPTION…] [NAME|PATH]\n\n"
           "Show what hark is doing: its sockets, handlers, failures, and how long handlers\n"
           "take. NAME is that of one hark, PATH its control socket; without, all are shown.\n\n"
           "      --handlers        also each handler that runs\n"
           "      --watch[=TIME]    again and again, each TIME (1s), until Ctrl-C\n"
           "      --follow          each exit of a handler, as it happens\n"
           "      --json            for programs; with --follow, a line for each exit\n"
           "      --openmetrics     for Prometheus and what else reads OpenMetrics\n"
           "      --check           print nothing: the status is 0 when it serves, else 1\n"
           "      --timeout=TIME    how long to wait for an answer (5s)\n"
           "  -h, --help            show this help and exit\n"
           "      --version         show the version and exit\n\n"
           "hark(1) tells what the columns and the metrics mean.\n");
}

static int take_choice(int *choice, int option)
{
    if (*choice != 0 && *choice != option)
        return usage_error(VERB, "only one of --check, --json, --openmetrics, and of --follow, "
                                 "--watch, can be had at once");
    *choice = option;
    return 1;
}

static int take_interval(struct status_options *options, const char *text)
{
    int r = text ? take_time(VERB, "watch", text, &options->interval_usec) : 0;

    if (r < 0)
        return r;
    if (options->interval_usec < SHORTEST || options->interval_usec > 86400 * USEC_PER_SEC)
        return usage_error(VERB, "--watch takes a time from 100ms to 1d, not \"%s\"", text);
    return take_choice(&options->course, OPTION_WATCH);
}

/* 1 to go on, 0 to end, negative for a wrong option. */
static int take(struct status_options *options, int option, const char *value)
{
    int r;

    switch (option) {
    case OPTION_HELP:
        print_help();
        return 0;
    case OPTION_VERSION:
        printf("hark %s\n", HARK_VERSION);
        return 0;
    case OPTION_HANDLERS:
        options->query.handlers = true;
        return 1;
    case OPTION_TIMEOUT:
        r = take_time(VERB, "timeout", value, &options->query.timeout_usec);
        return r < 0 ? r : 1;
    case OPTION_WATCH:
        return take_interval(options, value);
    case OPTION_FOLLOW:
        return take_choice(&options->course, option);
    default:
        return take_choice(&options->form, option);
    }
}

static int check_combination(const struct status_options *options)
{
    if (options->course == OPTION_WATCH && options->form != 0)
        return usage_error(VERB, "--watch is for people: not with --check, --json, --openmetrics");
    if (options->course == OPTION_FOLLOW && options->form != 0 && options->form != OPTION_JSON)
        return usage_error(VERB, "--follow is not with --check, --openmetrics");
    if (options->query.handlers &&
        (options->course == OPTION_FOLLOW || options->form == OPTION_CHECK ||
         options->form == OPTION_OPENMETRICS))
        return usage_error(VERB, "--handlers is not with --follow, --check, --openmetrics");
    return 1;
}

static int parse(struct status_options *options, int argc, char *argv[])
{
    int option;

    opterr = 0; /* the messages are our own */
    optind = 0;
    while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) >= 0) {
        if (option == ':' || option == '?')
            return option_error(VERB, option, argv, LETTERS);
        int r = take(options, option, optarg);
        if (r <= 0)
            return r;
    }
    int r = control_take_argument(VERB, argc, argv, &options->query.argument);
    return r < 0 ? r : check_combination(options);
}

static uint64_t realtime_usec(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

/* Silent: the status is the answer. */
static int check(const struct hark_statuses *statuses, int result)
{
    bool is_serving = result == 0;

    for (size_t i = 0; i < statuses->n; i++)
        is_serving = is_serving && status_is_serving(&statuses->list[i]);
    return is_serving ? EXIT_STATUS_OK : EXIT_STATUS_FAILURE;
}

static int print(const struct status_options *options, const struct hark_statuses *statuses)
{
    struct screen screen;

    if (options->form == OPTION_JSON)
        return status_print_json(statuses, stdout);
    if (options->form == OPTION_OPENMETRICS)
        return status_print_metrics(statuses, realtime_usec(), stdout);
    status_screen(&screen, NULL);
    return status_print_table(statuses, &screen);
}

static int show_once(const struct status_options *options)
{
    cleanup(string_list_done) struct string_list problems = {0};
    cleanup(statuses_done) struct hark_statuses statuses = {0};
    int result = statuses_get(&options->query, &statuses, &problems);

    if (options->form == OPTION_CHECK)
        return check(&statuses, result);
    int r = result == -ENOMEM ? result : print(options, &statuses);
    return status_end(r < 0 ? r : result, &problems);
}

int verb_status(int argc, char *argv[])
{
    struct status_options options = {.query.timeout_usec = CONTROL_TIMEOUT,
                                     .interval_usec = DEFAULT_INTERVAL};
    int r = parse(&options, argc, argv);

    if (r <= 0)
        return r == 0 ? EXIT_STATUS_OK : EXIT_STATUS_USAGE;
    if (options.course == OPTION_WATCH)
        return status_watch(&options.query, options.interval_usec);
    if (options.course == OPTION_FOLLOW)
        return status_follow(&options.query, options.form == OPTION_JSON);
    return show_once(&options);
}
