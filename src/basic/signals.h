/* SPDX-License-Identifier: MIT */
#pragma once

#define SIGNAL_NAME_MAX 16

/* "SEGV", "RTMIN+3"; the number for what has no name. */
void signal_name(int number, char text[SIGNAL_NAME_MAX]);

/* Every disposition becomes the default. Of the signals that libc keeps to itself, and refuses to
 * touch, only ignored ones: posix_spawn(3) leaves them so in what it starts, and that is inherited
 * for ever, while a handler is libc's own and ends with the program. */
void signals_set_default(void);
