/* SPDX-License-Identifier: MIT */
#include "cli/safe-text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unit/text.h"

/* The length of the character at text, which has bytes to the end; 0 for what is no UTF-8. */
static size_t decode(const char *text, uint32_t *ret_character)
{
    static const struct {
        unsigned char mask, value;
        uint32_t minimum;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    const unsigned char *bytes = (const unsigned char *)text;

    for (size_t length = 1; length <= sizeof(forms) / sizeof(forms[0]); length++) {
        if ((bytes[0] & forms[length - 1].mask) != forms[length - 1].value)
            continue;
        uint32_t character = bytes[0] & (unsigned char)~forms[length - 1].mask;
        for (size_t i = 1; i < length; i++) {
            if ((bytes[i] & 0xc0) != 0x80) /* the end of the text, too */
                return 0;
            character = character << 6 | (bytes[i] & 0x3f);
        }
        if (character < forms[length - 1].minimum || character > 0x10ffff ||
            (character >= 0xd800 && character <= 0xdfff))
            return 0;
        *ret_character = character;
        return length;
    }
    return 0;
}

static bool is_safe(uint32_t character)
{
    if (character < ' ' || (character >= 0x7f && character < 0xa0))
        return false;
    return character != 0x061c && character != 0x200e && character != 0x200f &&
           !(character >= 0x2028 && character <= 0x202e) &&
           !(character >= 0x2066 && character <= 0x2069);
}

char *safe_text(const char *text, size_t columns)
{
    cleanup(text_done) struct text result = {0};
    size_t n = 0, before_last = 0; /* the length up to the last character that may have to go */

    for (; *text; n++) {
        uint32_t character;
        size_t length = decode(text, &character);
        bool is_shown = length > 0 && is_safe(character);
        if (columns > 0 && n == columns) {
            result.length = before_last;
            if (text_add(&result, "…", strlen("…")) < 0)
                return NULL;
            break;
        }
        before_last = result.length;
        if (text_add(&result, is_shown ? text : "?", is_shown ? length : 1) < 0)
            return NULL;
        text += length > 0 ? length : 1;
    }
    return text_take(&result);
}

size_t safe_text_columns(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

char *valid_text(const char *text)
{
    cleanup(text_done) struct text result = {0};

    while (*text) {
        uint32_t character;
        size_t length = decode(text, &character);
        int r = length > 0 ? text_add(&result, text, length)
                           : text_add(&result, "\xef\xbf\xbd", strlen("\xef\xbf\xbd"));
        if (r < 0)
            return NULL;
        text += length > 0 ? length : 1;
    }
    return text_take(&result);
}
