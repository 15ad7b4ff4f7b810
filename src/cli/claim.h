/* SPDX-License-Identifier: MIT */
/* Which passed socket is which listener of which unit (sd_listen_fds(3)). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "listener/listener.h"
#include "supervisor/stored.h"
#include "unit/unit-set.h"

/* Of each socket of a set one of these: as many listeners as its unit has, NULL for those that
 * nobody passed. */
struct claimed_socket {
    struct listener **listeners;
    size_t n_claimed;
    bool is_up; /* some are those of a hark before this one, which this one takes over from */
};

/*
 * Takes what was passed: by name what an earlier hark left in the service manager's store, which is
 * added to *stored; what of that no unit asks for, or cannot be used any more, is closed, and said.
 * The rest by FileDescriptorName= (or the unit's name), then by address. Prints what
 * is wrong: something that no unit asks for, or that cannot be used. EXIT_STATUS_OK, or the status
 * to exit with. The variables are removed from the environment.
 */
int claim_passed_sockets(const struct unit_set *set, struct stored_list *stored,
                         struct claimed_socket **ret_claimed);
/* Frees the listeners that are left in it. */
struct claimed_socket *claimed_sockets_free(struct claimed_socket *claimed,
                                            const struct unit_set *set);
