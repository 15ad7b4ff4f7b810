/* SPDX-License-Identifier: MIT */
/* Drop-ins that hark writes for systemd to read. */
#pragma once

#include <stdbool.h>

/* Puts the text in the place of the file, at once and whole, with mode 0644; directories that are
 * missing are made. 0, or a negative errno: -EBUSY when somebody else is writing it. */
int drop_in_write(const char *path, const char *text);

/* Removes the file, and its directory when nothing else is in it. 0 also when there is none. */
int drop_in_remove(const char *path);

/* What the file holds, as a new string; -ENOENT when there is none, -EFBIG when it is too large to
 * be one of hark's. */
int drop_in_read(const char *path, char **ret_text);
