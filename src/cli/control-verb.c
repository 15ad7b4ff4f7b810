/* SPDX-License-Identifier: MIT */
#include "cli/control-verb.h"

#include <errno.h>
#include <stdio.h>

#include "basic/cleanup.h"
#include "cli/control-client.h"
#include "cli/exit-status.h"
#include "cli/safe-text.h"
#include "cli/serve-options.h"
#include "cli/status-report.h"
#include "supervisor/log.h"
#include "unit/text.h"

#define LETTERS "ah"

enum option_code {
    OPTION_ALL = 'a',
    OPTION_HELP = 'h',
    OPTION_VERSION = 256,
    OPTION_TIMEOUT,
};

static const struct option long_options[] = {
    {"all", no_argument, NULL, OPTION_ALL},
    {"help", no_argument, NULL, OPTION_HELP},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

struct verb_options {
    const char *argument;
    uint64_t timeout_usec;
    bool all;
};

static void print_help(const struct control_verb *verb)
{
    printf("hark %s [OPTION…] [NAME|PATH]\n\n%s\n"
           "NAME is that of one hark, PATH its control socket; neither is needed where\n"
           "only one runs.\n\n"
           "  -a, --all           every hark that runs\n"
           "      --timeout=TIME  how long to wait for an answer (%us)\n"
           "  -h, --help          show this help and exit\n"
           "      --version       show the version and exit\n\n"
           "\"hark status\" shows which run; hark(1) has the whole story.\n",
           verb->name, verb->help, (unsigned)(verb->timeout_usec / USEC_PER_SEC));
}

int control_take_argument(const char *verb, int argc, char *argv[], const char **ret_argument)
{
    if (argc - optind > 1)
        return usage_error(verb, "one hark can be named, not %d", argc - optind);
    if (optind < argc && *argv[optind] == '\0')
        return usage_error(verb, "the name of a hark is empty");
    *ret_argument = optind < argc ? argv[optind] : NULL;
    return 0;
}

/* 1 to go on, 0 to end, negative for a wrong option. */
static int take(const struct control_verb *verb, struct verb_options *options, int option)
{
    int r;

    switch (option) {
    case OPTION_HELP:
        print_help(verb);
        return 0;
    case OPTION_VERSION:
        printf("hark %s\n", HARK_VERSION);
        return 0;
    case OPTION_ALL:
        options->all = true;
        return 1;
    default:
        r = take_time(verb->name, "timeout", optarg, &options->timeout_usec);
        return r < 0 ? r : 1;
    }
}

static int parse(const struct control_verb *verb, struct verb_options *options, int argc,
                 char *argv[])
{
    int option;

    opterr = 0; /* the messages are our own */
    optind = 0;
    while ((option = getopt_long(argc, argv, ":ah", long_options, NULL)) >= 0) {
        if (option == ':' || option == '?')
            return option_error(verb->name, option, argv, LETTERS);
        int r = take(verb, options, option);
        if (r <= 0)
            return r;
    }
    int r = control_take_argument(verb->name, argc, argv, &options->argument);
    if (r == 0 && options->argument && options->all)
        return usage_error(verb->name, "--all does not go with the name of one");
    return r < 0 ? r : 1;
}

static int say_which(const struct control_verb *verb, const struct control_list *controls)
{
    cleanup_free char *names = NULL;
    cleanup(text_done) struct text text = {0};

    for (size_t i = 0; i < controls->n; i++) {
        cleanup_free char *name = safe_text(controls->list[i].name, 60), *item = NULL;
        if (!name)
            return -ENOMEM;
        int n = asprintf(&item, "%s\"%s\"", i > 0 ? ", " : "", name);
        if (n < 0) {
            item = NULL;
            return -ENOMEM;
        }
        if (text_add(&text, item, (size_t)n) < 0)
            return -ENOMEM;
    }
    names = text_take(&text);
    if (!names)
        return -ENOMEM;
    return usage_error(verb->name, "more than one hark runs: say which of %s, or --all", names);
}

static int ask_all(const struct control_verb *verb, const struct verb_options *options,
                   struct string_list *problems)
{
    cleanup(control_list_done) struct control_list controls = {0};
    int result = control_find(options->argument, options->timeout_usec, &controls);

    if (result < 0)
        return result;
    if (controls.n == 0) {
        result = string_list_add(problems, NO_HARK_TEXT);
        return result < 0 ? result : -ENOENT;
    }
    if (controls.n > 1 && !options->all)
        return say_which(verb, &controls);
    for (size_t i = 0; i < controls.n; i++) {
        const struct control_request request = {.method = verb->method,
                                                .timeout_usec = options->timeout_usec};
        cleanup(varlink_json_unref) json_t *answer = NULL;
        int r = control_call(&controls.list[i], &request, &answer, problems);
        if (r < 0 && (result == 0 || r == -ENOMEM))
            result = r;
    }
    return result;
}

int control_verb_run(const struct control_verb *verb, int argc, char *argv[])
{
    cleanup(string_list_done) struct string_list problems = {0};
    struct verb_options options = {.timeout_usec = verb->timeout_usec};
    int r = parse(verb, &options, argc, argv);

    if (r == 0)
        return EXIT_STATUS_OK;
    if (r > 0)
        r = ask_all(verb, &options, &problems);
    return r == -EINVAL ? EXIT_STATUS_USAGE : status_end(r, &problems);
}
