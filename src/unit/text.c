/* SPDX-License-Identifier: MIT */
#include "unit/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int text_add(struct text *text, const char *data, size_t length)
{
    if (length >= text->capacity - text->length) {
        size_t capacity = text->capacity < 32 ? 32 : text->capacity;
        while (length >= capacity - text->length)
            if (__builtin_mul_overflow(capacity, (size_t)2, &capacity))
                return -ENOMEM;
        char *larger = realloc(text->data, capacity);
        if (!larger)
            return -ENOMEM;
        text->data = larger;
        text->capacity = capacity;
    }
    if (length > 0)
        memcpy(text->data + text->length, data, length);
    text->length += length;
    return 0;
}

int text_add_char(struct text *text, char c)
{
    return text_add(text, &c, 1);
}

char *text_take(struct text *text)
{
    char *data;

    if (text_add(text, "", 0) < 0)
        return NULL;
    text->data[text->length] = '\0';
    data = text->data;
    *text = (struct text){0};
    return data;
}

void text_done(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool text_is_variable_name(const char *text, size_t length)
{
    if (length == 0 || (text[0] >= '0' && text[0] <= '9'))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!is_name_char(text[i]))
            return false;
    return true;
}
