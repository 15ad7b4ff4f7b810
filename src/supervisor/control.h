/* SPDX-License-Identifier: MIT */
/*
 * The control socket: what hark(1) status, reload, drain, stop and kill talk to. Varlink, interface
 * org.hark.Supervisor (control-interface.h). Made by libhark's own lock, probe and bind, mode 0600;
 * for root and the user that hark runs as.
 *
 * A supervisor serves as well without one: what goes wrong is a warning.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "libhark/spawn.h"
#include "supervisor/waiting.h"

struct control;
struct supervisor;

/* As the supervisor's options have it: NULL without a name. Where no path is said:
 * $RUNTIME_DIRECTORY/control, else /run/hark/NAME/control, else $XDG_RUNTIME_DIR/hark/NAME/control,
 * the first that can be made. NULL, after it has said why, when there is none. */
struct control *control_new(struct supervisor *supervisor);
/* NULL is fine, here and below. Returns NULL. */
struct control *control_free(struct control *control);

/* A handler ended, and is told to those who follow. */
void control_tell_exit(struct control *control, const char *unit, const struct spawn_record *record,
                       const struct handler_exit *end, bool failed);
/* A reload is over, well or not, and those who asked for it are answered; with no_more also those
 * who wait for the next one, which there will not be. */
void control_tell_reload(struct control *control, bool done, bool no_more);
