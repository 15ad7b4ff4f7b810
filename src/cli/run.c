/* SPDX-License-Identifier: MIT */
/* hark run: load the units, look up everything they need, take and make the sockets, serve. Nothing
 * is touched before everything that can be checked has been checked. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "cli/claim.h"
#include "cli/configuration.h"
#include "cli/exit-status.h"
#include "cli/run-options.h"
#include "cli/verbs.h"
#include "supervisor/log.h"
#include "supervisor/supervisor.h"

struct run {
    struct run_options options;
    struct configuration *configuration; /* the supervisor's, once it serves */
    struct claimed_socket *claimed;
    struct supervisor *supervisor;
};

static void run_done(struct run *run)
{
    supervisor_free(run->supervisor);
    if (run->claimed != NULL)
        claimed_sockets_free(run->claimed, configuration_units(run->configuration));
    configuration_free(run->configuration);
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

static int reload(void *userdata, struct supervisor *supervisor, void **ret_configuration)
{
    struct run *run = userdata;
    struct configuration *configuration = NULL;

    if (configuration_load(&run->options.units, run->options.names, run->options.n_names,
                           &configuration) != EXIT_STATUS_OK)
        return -EINVAL;
    *ret_configuration = configuration;
    if (configuration_apply_conditions(configuration, supervisor) != EXIT_STATUS_OK)
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

static int run_steps(struct run *run)
{
    const struct run_options *options = &run->options;
    int status =
        configuration_load(&options->units, options->names, options->n_names, &run->configuration);

    if (status == EXIT_STATUS_OK)
        status = configuration_apply_conditions(run->configuration, NULL);
    if (status == EXIT_STATUS_UNITS)
        log_error("nothing was started; \"hark check\" tells more");
    if (status != EXIT_STATUS_OK)
        return status;
    if (configuration_count_served(run->configuration) == 0) {
        log_notice("there is nothing to serve");
        return EXIT_STATUS_OK;
    }
    status = claim_passed_sockets(configuration_units(run->configuration), &run->claimed);
    if (status != EXIT_STATUS_OK)
        return status;
    forget_skipped(run);
    return serve(run);
}

int verb_run(int argc, char *argv[])
{
    cleanup(run_done) struct run run = {0};
    int r = run_options_parse(&run.options, argc, argv);

    if (r < 0)
        return EXIT_STATUS_USAGE;
    return r == 0 ? EXIT_STATUS_OK : run_steps(&run);
}
