/* SPDX-License-Identifier: MIT */
/*
 * Splitting a value of a unit file into words, as systemd does (systemd.syntax(7), "Quoting"; the
 * exact rules are those of systemd 252). Blanks separate. A quote, double or single, opens anywhere
 * in a word, the other kind is literal inside. A backslash makes the next character literal, unless
 * the flags say more. Each directive has its own combination: WORDS_…
 */
#pragma once

#include "unit/string-list.h"

enum word_flags {
    WORD_QUOTES = 1 << 0,           /* quotes quote; else they are characters */
    WORD_ESCAPES = 1 << 1,          /* C escapes: \n, \x41, \101, \u00e9, \s, … */
    WORD_KEEP_UNKNOWN = 1 << 2,     /* an unknown escape stays as it is written, see word_next() */
    WORD_KEEP_BACKSLASHES = 1 << 3, /* a backslash is a character like any other */
    WORD_RELAX = 1 << 4,            /* an open quote ends with the text */
    WORD_KEEP_EMPTY = 1 << 5,       /* every single separator separates: "a::b" is three words */
};

#define WORDS_COMMAND_LINE (WORD_QUOTES | WORD_ESCAPES | WORD_KEEP_UNKNOWN)
#define WORDS_ENVIRONMENT  (WORD_QUOTES | WORD_ESCAPES) /* UnsetEnvironment= too */
#define WORDS_NAMES        WORD_QUOTES                  /* PassEnvironment=, Symlinks= */
#define WORDS_PLAIN        0                            /* groups, Sockets=, exit statuses */
#define WORDS_UNITS        (WORD_QUOTES | WORD_KEEP_BACKSLASHES) /* dependencies, paths */
#define WORDS_VARIABLE     (WORD_QUOTES | WORD_RELAX) /* the value of $NAME on a command line */

#define WORD_UNKNOWN_ESCAPE 2

/*
 * Takes the next word off *text, with the blanks behind it; the result is the caller's. separators
 * is NULL for blanks. 1; WORD_UNKNOWN_ESCAPE for a word in which an unknown escape was kept; 0 with
 * *ret_word NULL when there is none left. -EINVAL for an open quote or a backslash at the end,
 * -EILSEQ for an unknown escape, -ENOMEM; *text is where it was then. With WORD_KEEP_EMPTY *text is
 * NULL behind the last word.
 */
int word_next(const char **text, const char *separators, unsigned flags, char **ret_word);

/* All of them, at blanks. 0, or as above. */
int words_split(const char *text, unsigned flags, struct string_list *ret_words);
