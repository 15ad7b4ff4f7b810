/* SPDX-License-Identifier: MIT */
/* hark run: load the units, look up everything they need, take and make the sockets, serve. Nothing
 * is touched before everything that can be checked has been checked. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "cli/claim.h"
#include "cli/configuration.h"
#include "cli/exit-status.h"
#include "cli/inherit.h"
#include "cli/run-options.h"
#include "cli/verbs.h"
#include "supervisor/log.h"
#include "supervisor/supervisor.h"

struct run {
    struct run_options options;
    struct configuration *configuration; /* the supervisor's, once it serves */
    struct claimed_socket *claimed;
    struct stored_list stored; /* what the service manager keeps of our listeners */
    struct supervisor *supervisor;
    struct inheritance inheritance;
    char **arguments;
    char *program;   /* what to execute for an upgrade */
    char *directory; /* where we were started */
};

static void run_done(struct run *run)
{
    supervisor_free(run->supervisor);
    if (run->claimed != NULL)
        claimed_sockets_free(run->claimed, configuration_units(run->configuration));
    configuration_free(run->configuration);
    inheritance_done(&run->inheritance);
    stored_list_done(&run->stored);
    free(run->program);
    free(run->directory);
    run_options_done(&run->options);
}

/* Sockets that were passed for what is not served: they are their passer's alone. */
static void forget_skipped(struct run *run)
{
    const struct unit_set *set = configuration_units(run->configuration);

    for (size_t i = 0; i < set->n_sockets; i++)
        for (size_t j = 0;
             configuration_skips(run->configuration, i) && j < set->sockets[i].unit->listeners.n;
             j++)
            run->claimed[i].listeners[j] = listener_free(run->claimed[i].listeners[j]);
}

/* ---- Reloading ------------------------------------------------------------------------------- */

static bool is_served_now(const void *supervisor, const char *socket)
{
    return supervisor_serves(supervisor, socket);
}

static int reload(void *userdata, struct supervisor *supervisor, void **ret_configuration)
{
    struct run *run = userdata;
    struct configuration *configuration = NULL;

    if (configuration_load(&run->options.units, run->options.names, run->options.n_names,
                           &configuration) != EXIT_STATUS_OK)
        return -EINVAL;
    *ret_configuration = configuration;
    if (configuration_apply_conditions(configuration, is_served_now, supervisor) != EXIT_STATUS_OK)
        return -EINVAL;
    if (configuration_count_served(configuration) == 0) {
        log_error("there would be nothing left to serve");
        return -EINVAL;
    }
    return configuration_hand_over(configuration, NULL, supervisor);
}

static void release(void *userdata, void *configuration)
{
    (void)userdata;
    configuration_free(configuration);
}

/* ---- Serving --------------------------------------------------------------------------------- */

static int serve(struct run *run)
{
    struct supervisor_options options = run->options.supervisor;
    int r = chdir("/") < 0 ? -errno : 0; /* where programs without another directory are */

    if (r >= 0)
        r = supervisor_block_signals(&options.ignore_hangup);
    if (options.n_servers == 0)
        options.n_servers = configuration_fork_servers(run->configuration);
    options.reload = reload;
    options.release = release;
    options.userdata = run;
    options.program = run->program;
    options.arguments = run->arguments;
    options.directory = run->directory;
    options.succession = run->inheritance.succession;
    options.stored = &run->stored;
    if (r >= 0)
        r = supervisor_new(&options, &run->supervisor);
    if (r >= 0)
        r = configuration_hand_over(run->configuration, run->claimed, run->supervisor);
    if (r < 0) {
        log_error("cannot set up: %s", strerror(-r));
        return EXIT_STATUS_FAILURE;
    }
    run->claimed = claimed_sockets_free(run->claimed, configuration_units(run->configuration));
    supervisor_own(run->supervisor, take_pointer(&run->configuration));
    r = supervisor_run(run->supervisor);
    return r < 0 ? EXIT_STATUS_FAILURE : r;
}

/* By the image of hark before this one, or by one that was killed and left its sockets with the
 * service manager: for clients it has never stopped, so nothing of its start is done again. */
static bool was_served(const void *userdata, const char *socket)
{
    const struct run *run = userdata;
    const struct unit_set *set = configuration_units(run->configuration);

    if (run->inheritance.succession != NULL)
        return succession_has_socket(run->inheritance.succession, socket);
    for (size_t i = 0; run->claimed != NULL && i < set->n_sockets; i++)
        if (run->claimed[i].is_up && strcmp(set->sockets[i].file->name, socket) == 0)
            return true;
    return false;
}

static int run_steps(struct run *run)
{
    const struct run_options *options = &run->options;
    int status =
        configuration_load(&options->units, options->names, options->n_names, &run->configuration);

    if (status == EXIT_STATUS_OK && !run->inheritance.only_check)
        status = claim_passed_sockets(configuration_units(run->configuration), &run->stored,
                                      &run->claimed);
    if (status == EXIT_STATUS_OK)
        status = configuration_apply_conditions(run->configuration, was_served, run);
    if (status == EXIT_STATUS_UNITS)
        log_error("nothing was started; \"hark check\" tells more");
    if (status != EXIT_STATUS_OK)
        return status;
    if (run->inheritance.only_check)
        return EXIT_STATUS_OK;
    if (configuration_count_served(run->configuration) == 0) {
        log_notice("there is nothing to serve");
        return EXIT_STATUS_OK;
    }
    inheritance_claim(&run->inheritance, configuration_units(run->configuration), &run->stored,
                      run->claimed);
    forget_skipped(run);
    return serve(run);
}

/* ---- Where we are ---------------------------------------------------------------------------- */

static char *absolute(const char *directory, const char *path)
{
    char *result = NULL;

    if (path[0] == '/')
        return strdup(path);
    return asprintf(&result, "%s/%s", directory, path) < 0 ? NULL : result;
}

/* Not /proc/self/exe: that is this image for ever, also when another is installed in its place. */
static char *find_program(const char *directory, const char *name)
{
    const char *path = getenv("PATH");

    if (strchr(name, '/') != NULL)
        return absolute(directory, name);
    while (path != NULL && *path != '\0') {
        size_t length = strcspn(path, ":");
        cleanup_free char *file = NULL;

        if (asprintf(&file, "%.*s/%s", (int)length, path, name) < 0)
            return NULL;
        if (file[0] == '/' && access(file, X_OK) == 0)
            return take_pointer(&file);
        path += length + (path[length] == ':');
    }
    return strdup("/proc/self/exe");
}

/* The units are read again later, from another directory. */
static int find_places(struct run *run)
{
    run->directory = getcwd(NULL, 0);
    if (run->directory == NULL)
        run->directory = strdup("/");
    run->program = run->directory != NULL ? find_program(run->directory, run->arguments[0]) : NULL;
    return run->program != NULL && run_options_make_absolute(&run->options, run->directory) >= 0
               ? EXIT_STATUS_OK
               : EXIT_STATUS_FAILURE;
}

int verb_run(int argc, char *argv[])
{
    cleanup(run_done) struct run run = {0};
    int r = run_options_parse(&run.options, argc, argv);

    if (r < 0)
        return EXIT_STATUS_USAGE;
    if (r == 0)
        return EXIT_STATUS_OK;
    run.arguments = argv - 1; /* "hark" is before the verb */
    int status = inheritance_take(&run.inheritance);
    if (status == EXIT_STATUS_OK)
        status = find_places(&run);
    return status == EXIT_STATUS_OK ? run_steps(&run) : status;
}
