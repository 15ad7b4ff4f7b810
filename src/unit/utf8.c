/* SPDX-License-Identifier: MIT */
#include "unit/utf8.h"

#include <stddef.h>
#include <stdint.h>

static bool is_character(uint32_t c)
{
    return c <= 0x10ffff && (c & 0xfffff800) != 0xd800 && (c < 0xfdd0 || c > 0xfdef) &&
           (c & 0xfffe) != 0xfffe;
}

/* The length of the first character, 0 when there is none. The terminating NUL is no continuation,
 * so nothing behind it is read. */
static size_t character_length(const unsigned char *text)
{
    static const uint32_t minimum[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length;
    uint32_t c;

    if (text[0] < 0x80)
        return 1;
    if (text[0] < 0xc0 || text[0] >= 0xf8)
        return 0;
    length = text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
    c = text[0] & (0x7fU >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (text[i] & 0x3f);
    }
    return c >= minimum[length] && is_character(c) ? length : 0;
}

bool utf8_is_valid(const char *text)
{
    const unsigned char *next = (const unsigned char *)text;

    while (*next) {
        size_t length = character_length(next);

        if (length == 0)
            return false;
        next += length;
    }
    return true;
}
