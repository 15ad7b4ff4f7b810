/* SPDX-License-Identifier: MIT */
/*
 * The memory that handlers were moved from (slots_move()): a child that has not become its program
 * yet still writes there how far it comes, and why it fails. So that memory stays as long as it
 * has such children, and when one of them ends its record is taken from there.
 */
#pragma once

#include <stdint.h>

#include "supervisor/slots.h"

struct former_slots;
struct known_child;

/* The handlers in slot i of from have been moved to slot map[i] of other memory; those that *list
 * knows already were in from, too. Whose pidfd is known[i], not -1, has become its program,
 * unless it is of a unit that is unhurried: it costs a system call or three to find out. From is
 * the list's then. 0, or -ENOMEM with nothing changed. */
int former_slots_add(struct former_slots **list, struct slots *from, const uint32_t *map,
                     const struct known_child *known);
/* The child in that slot has ended: makes its record what the child has written. */
void former_slots_end(struct former_slots **list, struct slots *slots, uint32_t slot);
/* The whole list. Returns NULL. */
struct former_slots *former_slots_free(struct former_slots *list);
