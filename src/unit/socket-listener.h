/* SPDX-License-Identifier: MIT */
/* The reader of the Listen…= keys. Part of socket-unit. */
#pragma once

#include "unit/socket-unit.h"
#include "unit/unit-values.h"

/* Adds to the list; an empty value of any of the keys empties it. */
int read_listener(const struct value_source *source, void *field); /* struct listener_list */

void listener_list_done(struct listener_list *list);
