/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>

/* True for text that systemd takes as UTF-8: no overlong forms, no surrogates, nothing above
 * U+10FFFF, none of the code points that are never characters (U+FDD0 to U+FDEF, U+xxFFFE,
 * U+xxFFFF). */
bool utf8_is_valid(const char *text);
