/* SPDX-License-Identifier: MIT */
/* Parts of probe: strings as JSON, and everything a socket tells about itself. */
#pragma once

#include <stddef.h>
#include <stdio.h>

/* Bytes above ASCII are written as the code point of the same number, so any byte survives. */
void probe_write_bytes(FILE *out, const char *bytes, size_t n);
void probe_write_string(FILE *out, const char *text);

/* Members of the descriptor's object, each with a comma in front. */
void probe_write_socket(FILE *out, int fd);
