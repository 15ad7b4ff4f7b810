/* SPDX-License-Identifier: MIT */
/* hark check: read units as run would, and say what becomes of everything in them. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "basic/cleanup.h"
#include "cli/check-report.h"
#include "cli/exit-status.h"
#include "cli/preflight.h"
#include "cli/safe-text.h"
#include "cli/unit-options.h"
#include "cli/verbs.h"
#include "exec/unit-plans.h"
#include "supervisor/log.h"

enum option_code {
    OPTION_HELP = 'h',
    OPTION_VERSION = 256,
    OPTION_JSON,
};

static const struct option long_options[] = {
    UNIT_OPTIONS,
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"json", no_argument, NULL, OPTION_JSON},
    {NULL, 0, NULL, 0},
};

struct check_options {
    struct unit_options units;
    bool json;
    const char *const *names;
    size_t n_names;
};

static void print_help(void)
{
    printf("hark check [OPTION…] UNIT…\n\n"
           "Say what hark makes of socket units and their services: what it honours, what\n"
           "does no harm, what it refuses, and whether \"hark run\" would start. A UNIT is\n"
           "the name of a .socket, or the path of its file.\n\n"
           "      --json           the same for programs\n" UNIT_OPTIONS_HELP
           "  -h, --help           show this help and exit\n"
           "      --version        show the version and exit\n\n"
           "The status is 0 when it would run, 78 when not. hark(1) has the whole story.\n");
}

static int usage_error(const char *what, const char *argument, const char *rest)
{
    cleanup_free char *shown = safe_text(argument, 60);

    log_error("%s%s%s; \"hark check --help\" lists the options", what, shown ? shown : "", rest);
    return -EINVAL;
}

/* 1 to go on, 0 to end, negative for a wrong option. */
static int parse_option(struct check_options *options, int option, char *argv[])
{
    switch (option) {
    case OPTION_HELP:
        print_help();
        return 0;
    case OPTION_VERSION:
        printf("hark %s\n", HARK_VERSION);
        return 0;
    case OPTION_JSON:
        options->json = true;
        return 1;
    case ':':
        return usage_error("option \"", argv[optind - 1], "\" needs a value");
    case '?':
        return usage_error("unknown option \"", argv[optind - 1], "\", or it takes no value");
    default:
        return unit_options_take(&options->units, option, optarg);
    }
}

static int parse(struct check_options *options, int argc, char *argv[])
{
    int option;

    opterr = 0; /* the messages are our own */
    optind = 0;
    while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) >= 0) {
        int r = parse_option(options, option, argv);
        if (r <= 0)
            return r;
    }
    if (optind >= argc)
        return usage_error("the units to check are missing", "", "");
    options->names = (const char *const *)argv + optind;
    options->n_names = (size_t)(argc - optind);
    return 1;
}

static void options_done(struct check_options *options)
{
    unit_options_done(&options->units);
}

static void free_helper(struct unit_set **set)
{
    unit_set_free(*set);
}

static void free_plans_helper(struct unit_plans **plans)
{
    unit_plans_free(*plans);
}

/* 1 when it would run, 0 when not. */
static int check(const struct check_options *options, struct problems *problems)
{
    cleanup(free_helper) struct unit_set *set = NULL;
    cleanup(free_plans_helper) struct unit_plans *plans = NULL; /* made for the problems alone */
    int r = unit_options_load(&options->units, options->names, options->n_names, problems, &set);

    if (r == 0)
        r = preflight(set, problems, &plans);
    if (r < 0)
        return r;
    problems_sort(problems);
    const struct check_report report = {.set = set, .problems = problems};
    r = options->json ? check_print_json(&report) : check_print_text(&report);
    return r < 0 ? r : check_is_runnable(&report);
}

int verb_check(int argc, char *argv[])
{
    cleanup(options_done) struct check_options options = {0};
    cleanup(problems_done) struct problems problems = {0};
    int r = parse(&options, argc, argv);

    if (r == 0)
        return EXIT_STATUS_OK;
    if (r == -EINVAL)
        return EXIT_STATUS_USAGE;
    if (r > 0)
        r = check(&options, &problems);
    if (r < 0) {
        log_error("out of memory");
        return EXIT_STATUS_FAILURE;
    }
    return r > 0 ? EXIT_STATUS_OK : EXIT_STATUS_UNITS;
}
