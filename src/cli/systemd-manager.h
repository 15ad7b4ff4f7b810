/* SPDX-License-Identifier: MIT */
/*
 * What hark asks of a running systemd, over D-Bus: of the system's, or of the user's manager.
 *
 *     r = systemd_manager_new(user, &manager);
 *     r = systemd_manager_text(manager, "foo.socket", "Unit", "SubState", &text);
 *     systemd_manager_free(manager);
 *
 * Root talks to the system's manager over its own socket, as systemctl(1) does, so that no message
 * bus is needed. Calls return 0 or a negative errno, that of the manager's error where it named
 * one; systemd_manager_fault() is its text then. A unit that is asked about is loaded first; one
 * that has no file is no error: its LoadState says so.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "unit/string-list.h"

struct systemd_manager;

/* -EHOSTDOWN: systemd does not run here, or the user has no manager. */
int systemd_manager_new(bool user, struct systemd_manager **ret_manager);
struct systemd_manager *systemd_manager_free(struct systemd_manager *manager);

/* Of the last call that failed, as a person can read it; good until the next call. */
const char *systemd_manager_fault(const struct systemd_manager *manager);

/* Properties; kind is "Unit", "Socket" or "Service". The string is a new one. */
int systemd_manager_text(struct systemd_manager *manager, const char *unit, const char *kind,
                         const char *property, char **ret_text);
int systemd_manager_flag(struct systemd_manager *manager, const char *unit, const char *kind,
                         const char *property, bool *ret_flag);
int systemd_manager_list(struct systemd_manager *manager, const char *unit, const char *kind,
                         const char *property, struct string_list *ret_list);

/* Reads all units again. Returns when that is done. */
int systemd_manager_reload(struct systemd_manager *manager);

/* Begins to do it; job is "StartUnit", "StopUnit" or "RestartUnit". */
int systemd_manager_job(struct systemd_manager *manager, const char *job, const char *unit);

/* Whether the property is one of these words, "|" between them, within this time: 1 or 0. */
int systemd_manager_wait(struct systemd_manager *manager, const char *unit, const char *property,
                         const char *words, uint64_t timeout_usec);
