/* SPDX-License-Identifier: MIT */
#include "cli/run-options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve-options.h"

#define VERB    "run"
#define LETTERS "h"

enum option_code {
    OPTION_HELP = 'h',
    OPTION_VERSION = 256,
    OPTION_NAME,
    OPTION_CONTROL,
};

static const struct option long_options[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"name", required_argument, NULL, OPTION_NAME},
    {"control", required_argument, NULL, OPTION_CONTROL},
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
           "Serving:\n" SERVE_OPTIONS_HELP
           "      --name=NAME           of this hark, for its control socket (of the first\n"
           "                            unit)\n"
           "      --control=PATH        of the control socket, or \"none\"\n\n"
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
    case OPTION_NAME:
        if (*value == '\0' || *value == '.' || strchr(value, '/') != NULL)
            return usage_error(VERB, "--name takes a file name, not \"%s\"", value);
        free(options->name);
        options->name = strdup(value);
        return options->name != NULL ? 1 : -ENOMEM;
    case OPTION_CONTROL:
        options->no_control = strcmp(value, "none") == 0;
        if (!options->no_control && *value != '/')
            return usage_error(VERB, "--control takes a path from \"/\" on, or none, not \"%s\"",
                               value);
        options->supervisor.control = value;
        return 1;
    default:
        r = unit_options_take(&options->units, option, value);
        return r != 0 ? r : serve_options_take(&options->supervisor, VERB, option, value);
    }
}

/* That of the first unit, without its directory and type. */
static int choose_name(struct run_options *options)
{
    const char *first = options->names[0], *slash = strrchr(first, '/');

    if (options->name == NULL) {
        if (slash != NULL)
            first = slash + 1;
        const char *dot = strrchr(first, '.');
        options->name =
            dot != NULL && dot != first ? strndup(first, (size_t)(dot - first)) : strdup(first);
    }
    if (options->name == NULL)
        return -ENOMEM;
    options->supervisor.name = options->name;
    return 1;
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
    return options->no_control ? 1 : choose_name(options);
}

static char *from(const char *directory, const char *path)
{
    char *result = NULL;

    return asprintf(&result, "%s/%s", directory, path) < 0 ? NULL : result;
}

int run_options_make_absolute(struct run_options *options, const char *directory)
{
    struct string_list *paths = &options->units.directories;

    for (size_t i = 0; i < options->n_names; i++) {
        const char *name = options->names[i];
        bool is_relative = name[0] != '/' && strchr(name, '/') != NULL;
        char *copy = is_relative ? from(directory, name) : strdup(name);
        if (copy == NULL || string_list_take(&options->own_names, copy) < 0)
            return -ENOMEM;
    }
    options->names = (const char *const *)options->own_names.items;
    for (size_t i = 0; i < paths->n; i++) {
        char *path = paths->items[i][0] != '/' ? from(directory, paths->items[i]) : NULL;
        if (path == NULL && paths->items[i][0] != '/')
            return -ENOMEM;
        if (path != NULL) {
            free(paths->items[i]);
            paths->items[i] = path;
        }
    }
    return 0;
}

void run_options_done(struct run_options *options)
{
    unit_options_done(&options->units);
    string_list_done(&options->own_names);
    free(options->name);
}
