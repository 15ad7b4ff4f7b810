/* SPDX-License-Identifier: MIT */
/* Readers of StandardInput=, StandardOutput=, StandardError= and of the data for stdin. Part of
 * exec-context. */
#pragma once

#include "unit/unit-values.h"

int read_input_stream(const struct value_source *source, void *field);  /* struct exec_stream */
int read_output_stream(const struct value_source *source, void *field); /* struct exec_stream */
int read_input_text(const struct value_source *source, void *field);    /* struct exec_context */
int read_input_data(const struct value_source *source, void *field);    /* struct exec_context */
