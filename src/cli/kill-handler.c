/* SPDX-License-Identifier: MIT */
/* hark kill: send a signal to a handler, and to nothing else that may have its pid by now. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/parse.h"
#include "basic/signals.h"
#include "cli/control-client.h"
#include "cli/control-verb.h"
#include "cli/exit-status.h"
#include "cli/serve-options.h"
#include "cli/status-report.h"
#include "cli/verbs.h"

#define VERB    "kill"
#define LETTERS "hs"

enum option_code {
    OPTION_HELP = 'h',
    OPTION_SIGNAL = 's',
    OPTION_VERSION = 256,
    OPTION_TIMEOUT,
};

static const struct option long_options[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {"signal", required_argument, NULL, OPTION_SIGNAL},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

struct kill_options {
    const char *argument;
    uint64_t pid, timeout_usec;
    int signal; /* 0: the usual one */
};

static void print_help(void)
{
    printf("hark kill [OPTION…] PID [NAME|PATH]\n\n"
           "Send a signal to a handler of hark. PID is that of \"hark status --handlers\".\n"
           "NAME is that of one hark, PATH its control socket; without, the one that has\n"
           "this handler is found.\n\n"
           "  -s, --signal=SIGNAL  a name (TERM, SIGTERM) or number (TERM)\n"
           "      --timeout=TIME   how long to wait for an answer (5s)\n"
           "  -h, --help           show this help and exit\n"
           "      --version        show the version and exit\n");
}

static int take_signal(const char *text, int *ret_signal)
{
    const char *wanted = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
    uint64_t number;

    if (parse_unsigned(text, (uint64_t)SIGRTMAX, &number) == 0 && number > 0) {
        *ret_signal = (int)number;
        return 0;
    }
    for (int i = 1; i <= SIGRTMAX; i++) {
        char name[SIGNAL_NAME_MAX];
        signal_name(i, name);
        if (strcasecmp(name, wanted) == 0) {
            *ret_signal = i;
            return 0;
        }
    }
    return usage_error(VERB, "--signal takes the name or number of a signal, not \"%s\"", text);
}

/* 1 to go on, 0 to end, negative for a wrong option. */
static int take(struct kill_options *options, int option)
{
    int r;

    switch (option) {
    case OPTION_HELP:
        print_help();
        return 0;
    case OPTION_VERSION:
        printf("hark %s\n", HARK_VERSION);
        return 0;
    case OPTION_SIGNAL:
        r = take_signal(optarg, &options->signal);
        return r < 0 ? r : 1;
    default:
        r = take_time(VERB, "timeout", optarg, &options->timeout_usec);
        return r < 0 ? r : 1;
    }
}

static int parse(struct kill_options *options, int argc, char *argv[])
{
    int option;

    opterr = 0; /* the messages are our own */
    optind = 0;
    while ((option = getopt_long(argc, argv, ":hs:", long_options, NULL)) >= 0) {
        if (option == ':' || option == '?')
            return option_error(VERB, option, argv, LETTERS);
        int r = take(options, option);
        if (r <= 0)
            return r;
    }
    if (optind == argc)
        return usage_error(VERB, "the pid of a handler is missing");
    const char *text = argv[optind++];
    if (parse_unsigned(text, INT_MAX, &options->pid) < 0 || options->pid == 0)
        return usage_error(VERB, "\"%s\" is no pid", text);
    int r = control_take_argument(VERB, argc, argv, &options->argument);
    return r < 0 ? r : 1;
}

static int ask(struct hark_control *control, const struct kill_options *options,
               struct string_list *problems)
{
    cleanup(varlink_json_unref) json_t *answer = NULL;
    struct control_request request = {.method = "KillHandler",
                                      .timeout_usec = options->timeout_usec};

    request.parameters = json_pack("{s:I}", "pid", (json_int_t)options->pid);
    if (!request.parameters)
        return -ENOMEM;
    if (options->signal != 0 &&
        json_object_set_new(request.parameters, "signal", json_integer(options->signal)) < 0) {
        json_decref(request.parameters);
        return -ENOMEM;
    }
    return control_call(control, &request, &answer, problems);
}

/* One of them has it, or none: only then are all answers of interest. */
static int ask_each(const struct kill_options *options, struct string_list *problems)
{
    cleanup(control_list_done) struct control_list controls = {0};
    int result = control_find(options->argument, options->timeout_usec, &controls);

    if (result < 0)
        return result;
    if (controls.n == 0) {
        result = string_list_add(problems, NO_HARK_TEXT);
        return result < 0 ? result : -ENOENT;
    }
    for (size_t i = 0; i < controls.n; i++) {
        int r = ask(&controls.list[i], options, problems);
        if (r == 0) {
            string_list_done(problems);
            return 0;
        }
        if (r == -ENOMEM || result == 0)
            result = r;
    }
    return result;
}

int verb_kill(int argc, char *argv[])
{
    cleanup(string_list_done) struct string_list problems = {0};
    struct kill_options options = {.timeout_usec = CONTROL_TIMEOUT};
    int r = parse(&options, argc, argv);

    if (r == 0)
        return EXIT_STATUS_OK;
    if (r < 0)
        return EXIT_STATUS_USAGE;
    return status_end(ask_each(&options, &problems), &problems);
}
