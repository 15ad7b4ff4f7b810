/* SPDX-License-Identifier: MIT */
#include "cli/run-options.h"

#include <errno.h>
#include <stdio.h>

#include "cli/serve-options.h"

#define VERB    "run"
#define LETTERS "h"

enum option_code {
    OPTION_HELP = 'h',
    OPTION_VERSION = 256,
};

static const struct option long_options[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    UNIT_OPTIONS,
    SERVE_OPTIONS,
    {NULL, 0, NULL, 0},
};

static void print_help(void)
{
    printf("hark run [OPTION…] UNIT…\n\n"
           "Serve socket units as systemd would: UNIT is a name (foo.socket) or the path\n"
           "of a unit file. Sockets passed by LISTEN_FDS are taken, others are made.\n\n"
           "Units:\n" UNIT_OPTIONS_HELP "\n"
           "Serving:\n" SERVE_OPTIONS_HELP "\n"
           "  -h, --help                show this help and exit\n"
           "      --version             show the version and exit\n\n"
           "\"hark check UNIT\" tells beforehand; hark-units(5) has the whole story.\n");
}

static int take(struct run_options *options, int option, const char *value)
{
    int r;

    switch (option) {
    case OPTION_HELP:
        print_help();
        return 0;
    case OPTION_VERSION:
        printf("hark %s\n", HARK_VERSION);
        return 0;
    default:
        r = unit_options_take(&options->units, option, value);
        return r != 0 ? r : serve_options_take(&options->supervisor, VERB, option, value);
    }
}

int run_options_parse(struct run_options *options, int argc, char *argv[])
{
    int option;

    serve_options_init(&options->supervisor);
    opterr = 0; /* the messages are our own */
    optind = 0;
    while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) >= 0) {
        if (option == ':' || option == '?')
            return option_error(VERB, option, argv, LETTERS);
        int r = take(options, option, optarg);
        if (r <= 0)
            return r;
    }
    if (optind == argc)
        return usage_error(VERB, "the units to serve are missing");
    options->names = (const char *const *)argv + optind;
    options->n_names = (size_t)(argc - optind);
    return 1;
}

void run_options_done(struct run_options *options)
{
    unit_options_done(&options->units);
}
