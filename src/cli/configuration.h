/* SPDX-License-Identifier: MIT */
/*
 * One reading of the units that are served: what they are, whether they may start here and now, and
 * the plans of their programs. hark run makes one at its start, and one at each reload.
 *
 *     status = configuration_load(&units, names, n_names, &configuration);
 *     ... take the sockets that were passed, if any ...
 *     r = configuration_hand_over(configuration, claimed, supervisor);
 *     configuration_free(configuration);     when nothing of it is served any more
 *
 * Everything that is wrong is written to the log, line by line.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cli/claim.h"
#include "cli/unit-options.h"
#include "supervisor/supervisor.h"
#include "unit/unit-set.h"

struct configuration;

/* Reads, and touches nothing. names are those of units, and stay the caller's; so do the options.
 * An exit status: EXIT_STATUS_OK, EXIT_STATUS_UNITS for units that cannot be served, _FAILURE. */
int configuration_load(const struct unit_options *options, const char *const *names, size_t n_names,
                       struct configuration **ret_configuration);
struct configuration *configuration_free(struct configuration *configuration);

const struct unit_set *configuration_units(const struct configuration *configuration);

/* Leaves out the sockets whose conditions are not met; not those that are served already (NULL:
 * none is), as with systemd. An exit status as above. */
int configuration_apply_conditions(struct configuration *configuration,
                                   bool (*is_served)(const void *userdata, const char *socket),
                                   const void *userdata);
/* The number of those that are left. */
size_t configuration_count_served(const struct configuration *configuration);
/* Whether a socket of the set is left out. */
bool configuration_skips(const struct configuration *configuration, size_t socket);
/* The greatest ForkServers=, or 0. */
uint32_t configuration_fork_servers(const struct configuration *configuration);

/* Adds all of it to the supervisor, which points into the configuration from then on. What was
 * claimed is the supervisor's then; NULL: nothing was. 0 or a negative errno. */
int configuration_hand_over(struct configuration *configuration, struct claimed_socket *claimed,
                            struct supervisor *supervisor);
