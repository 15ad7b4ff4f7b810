/* SPDX-License-Identifier: MIT */
/* The state of a supervisor as JSON, as control-interface.h has it. All return NULL when there is
 * no memory. */
#pragma once

#include <jansson.h>

#include "supervisor/waiting.h"

struct supervisor;

/* "serving" */
const char *control_state(const struct supervisor *supervisor);
/* The answer to GetStatus. */
json_t *control_status(const struct supervisor *supervisor, const char *name);
/* The answer to ListHandlers; unit may be NULL: of all. */
json_t *control_handlers(const struct supervisor *supervisor, const char *unit);
/* An Exit. */
json_t *control_exit(const char *unit, const struct spawn_record *record,
                     const struct handler_exit *end, bool failed);
