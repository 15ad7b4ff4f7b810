/* SPDX-License-Identifier: MIT */
/* What only the child knows, as text: for its variables, and for the plan's placeholders. */
#pragma once

#include "libhark/spawn-child.h"

/* The step SPAWN_TEXTS: makes the texts that the plan's templates use, and their strings. 0 or
 * -errno. */
int spawn_make_texts(struct spawn_run *run);

/* The step SPAWN_ENVIRONMENT: the variables that the plan's flags ask for. 0 or -errno. */
int spawn_complete_environment(struct spawn_run *run);
