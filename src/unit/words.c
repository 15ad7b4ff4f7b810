/* SPDX-License-Identifier: MIT */
#include "unit/words.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unit/text.h"

struct splitter {
    const char *at;
    const char *separators;
    unsigned flags;
    char quote; /* the one that is open, or 0 */
    bool kept_unknown;
    struct text word;
};

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 16;
}

/* Exactly n digits of that base. */
static int take_digits(const char *text, int n, int base, uint32_t *ret_value)
{
    uint32_t value = 0;

    for (int i = 0; i < n; i++) {
        int digit = digit_value(text[i]);
        if (digit >= base)
            return -EILSEQ;
        value = value * (uint32_t)base + (uint32_t)digit;
    }
    *ret_value = value;
    return 0;
}

static int add_utf8(struct text *text, uint32_t character)
{
    char encoded[4];
    size_t n = 0;

    if (character < 0x80)
        encoded[n++] = (char)character;
    else if (character < 0x800)
        encoded[n++] = (char)(0xc0 | character >> 6);
    else if (character < 0x10000) {
        encoded[n++] = (char)(0xe0 | character >> 12);
        encoded[n++] = (char)(0x80 | (character >> 6 & 0x3f));
    } else {
        encoded[n++] = (char)(0xf0 | character >> 18);
        encoded[n++] = (char)(0x80 | (character >> 12 & 0x3f));
        encoded[n++] = (char)(0x80 | (character >> 6 & 0x3f));
    }
    if (character >= 0x80)
        encoded[n++] = (char)(0x80 | (character & 0x3f));
    return text_add(text, encoded, n);
}

static bool is_character(uint32_t value)
{
    return value <= 0x10ffff && (value & 0xfffff800) != 0xd800 && (value & 0xfffe) != 0xfffe &&
           !(value >= 0xfdd0 && value <= 0xfdef);
}

/* An escape by number, behind its backslash: how long it is, or -EILSEQ, -ENOMEM. */
static int add_numeric_escape(struct text *word, const char *escape)
{
    uint32_t value;
    bool is_byte = true;
    int length, r;

    if (*escape == 'x') {
        r = take_digits(escape + 1, 2, 16, &value);
        length = 3;
    } else if (*escape == 'u' || *escape == 'U') {
        length = *escape == 'u' ? 5 : 9;
        r = take_digits(escape + 1, length - 1, 16, &value);
        is_byte = false;
    } else {
        r = take_digits(escape, 3, 8, &value);
        length = 3;
    }
    if (r < 0)
        return r;
    if (value == 0 || (is_byte && value > 255) || (*escape == 'U' && !is_character(value)))
        return -EILSEQ;
    r = is_byte ? text_add_char(word, (char)value) : add_utf8(word, value);
    return r < 0 ? r : length;
}

static int add_escape(struct text *word, const char *escape)
{
    static const char letters[] = "abfnrtvs\\\"'", meanings[] = "\a\b\f\n\r\t\v \\\"'";
    const char *letter = strchr(letters, *escape);
    int r;

    if (!letter)
        return add_numeric_escape(word, escape);
    r = text_add_char(word, meanings[letter - letters]);
    return r < 0 ? r : 1;
}

/* What is behind a backslash. 1: go on; 0: that was the end of the text. */
static int take_escaped(struct splitter *s)
{
    int r;

    if (*s->at == '\0') {
        if ((s->flags & WORD_KEEP_UNKNOWN) && (!s->quote || (s->flags & WORD_RELAX))) {
            s->kept_unknown = true;
            return text_add_char(&s->word, '\\');
        }
        return s->flags & WORD_RELAX ? 0 : -EINVAL;
    }
    r = 1;
    if (s->flags & WORD_ESCAPES) {
        r = add_escape(&s->word, s->at);
        if (r == -EILSEQ && (s->flags & WORD_KEEP_UNKNOWN)) {
            s->kept_unknown = true;
            r = text_add(&s->word, s->at - 1, 2);
            r = r < 0 ? r : 1;
        }
    } else if (text_add_char(&s->word, *s->at) < 0)
        r = -ENOMEM;
    if (r < 0)
        return r;
    s->at += r;
    return 1;
}

/* One step through a word. 1: go on; 0: the word is at its end, s->at on what ended it. */
static int take_char(struct splitter *s)
{
    char c = *s->at;
    int r;

    if (c == '\0')
        return s->quote && !(s->flags & WORD_RELAX) ? -EINVAL : 0;
    if (s->quote ? c == s->quote : (c == '"' || c == '\'') && (s->flags & WORD_QUOTES)) {
        s->quote = s->quote ? '\0' : c;
        s->at++;
        return 1;
    }
    if (c == '\\' && !(s->flags & WORD_KEEP_BACKSLASHES)) {
        s->at++;
        return take_escaped(s);
    }
    if (!s->quote && strchr(s->separators, c))
        return 0;
    s->at++;
    r = text_add_char(&s->word, c);
    return r < 0 ? r : 1;
}

int word_next(const char **text, const char *separators, unsigned flags, char **ret_word)
{
    struct splitter s = {
        .at = *text, .separators = separators ? separators : BLANKS, .flags = flags};
    bool keep_empty = flags & WORD_KEEP_EMPTY;
    char *word;
    int r;

    if (!s.at)
        goto none;
    if (!keep_empty) {
        s.at += strspn(s.at, s.separators);
        if (*s.at == '\0')
            goto none;
    }
    do
        r = take_char(&s);
    while (r > 0);
    word = r < 0 ? NULL : text_take(&s.word);
    if (!word) {
        text_done(&s.word);
        return r < 0 ? r : -ENOMEM;
    }
    if (*s.at == '\0')
        *text = keep_empty ? NULL : s.at;
    else
        *text = keep_empty ? s.at + 1 : s.at + strspn(s.at, s.separators);
    *ret_word = word;
    return s.kept_unknown ? WORD_UNKNOWN_ESCAPE : 1;

none:
    *ret_word = NULL;
    if (s.at)
        *text = s.at;
    return 0;
}

int words_split(const char *text, unsigned flags, struct string_list *ret_words)
{
    struct string_list words = {0};
    char *word;
    int r;

    while ((r = word_next(&text, NULL, flags, &word)) > 0) {
        r = string_list_take(&words, word);
        if (r < 0)
            break;
    }
    if (r < 0) {
        string_list_done(&words);
        return r;
    }
    *ret_words = words;
    return 0;
}
