/* SPDX-License-Identifier: MIT */
/* Questions about a request, and messages about it. Inside src/exec only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "exec/exec-plan.h"

/* Adds cannot use "KEY=VALUE": TEXT (a warning: "KEY=VALUE": TEXT), at the place of the last use of
 * the key in the request's section. */
void exec_problem(const struct exec_request *request, struct problems *problems,
                  enum problem_severity severity, const char *key, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* TEXT, at the place of the line that has the command. */
void exec_command_problem(const struct exec_request *request, struct problems *problems,
                          enum problem_severity severity, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Whether the text is another one for each connection. */
bool exec_text_has_instance(const struct exec_request *request, const char *text);
bool exec_data_has_instance(const struct exec_request *request, const char *data, size_t size);

/* "-" in front of the program. */
bool exec_is_optional(const struct exec_request *request);

/* "+" or "!" in front of the program; the first one also leaves limits and restrictions out. */
bool exec_keeps_user(const struct exec_request *request);
bool exec_is_fully_privileged(const struct exec_request *request);

/* Whether any standard descriptor is the socket: then no other descriptors are handed over. */
bool exec_uses_socket(const struct exec_request *request);

/* Whether hark has it, in effect: CAP_SETUID, … */
bool exec_has_capability(unsigned capability);
