/* SPDX-License-Identifier: MIT */
#pragma once

#define SIGNAL_NAME_MAX 16

/* "SEGV", "RTMIN+3"; the number for what has no name. */
void signal_name(int number, char text[SIGNAL_NAME_MAX]);
