/* SPDX-License-Identifier: MIT */
/* Text from files, as it can be shown: whatever somebody wrote into a unit, a terminal only ever
 * sees characters. */
#pragma once

#include <stddef.h>

/* A copy in which "?" stands for each control character (of C0 and C1), for what turns the
 * direction of text, and for each byte that is no UTF-8. With columns above 0 it has at most so
 * many characters, the last of them "…" when it was cut. NULL when there is no memory. */
char *safe_text(const char *text, size_t columns);

/* How many characters a text has. */
size_t safe_text_columns(const char *text);

/* A copy in which U+FFFD stands for each byte that is no UTF-8; nothing else is changed. NULL when
 * there is no memory. */
char *valid_text(const char *text);
