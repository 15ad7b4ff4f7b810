/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "basic/cleanup.h"
#include "unit/words.h"

/* The words joined by "|", or the name of the error. */
static const char *joined(const char *text, unsigned flags)
{
    static char result[1024];
    struct string_list words;
    int r = words_split(text, flags, &words);

    if (r < 0)
        return strerrorname_np(-r);
    result[0] = '\0';
    for (size_t i = 0; i < words.n; i++) {
        if (i > 0)
            strcat(result, "|");
        strcat(result, words.items[i]);
    }
    string_list_done(&words);
    return result;
}

TEST(blanks_separate)
{
    ASSERT_STRING(joined("", WORDS_COMMAND_LINE), "");
    ASSERT_STRING(joined(" \t ", WORDS_COMMAND_LINE), "");
    ASSERT_STRING(joined(" a  b\tc\r\nd ", WORDS_COMMAND_LINE), "a|b|c|d");
    ASSERT_STRING(joined("'' a", WORDS_COMMAND_LINE), "|a");
}

TEST(quotes)
{
    ASSERT_STRING(joined("\"a b\" 'c d'", WORDS_COMMAND_LINE), "a b|c d");
    ASSERT_STRING(joined("x\"a b\"y'c'", WORDS_COMMAND_LINE), "xa byc");
    ASSERT_STRING(joined("\"it's\" 'say \"x\"'", WORDS_COMMAND_LINE), "it's|say \"x\"");
    ASSERT_STRING(joined("\"a\\\"b\"", WORDS_COMMAND_LINE), "a\"b");
    ASSERT_STRING(joined("\"a", WORDS_COMMAND_LINE), "EINVAL");
    ASSERT_STRING(joined("a 'b", WORDS_ENVIRONMENT), "EINVAL");
    ASSERT_STRING(joined("\"a b", WORDS_VARIABLE), "a b");
    ASSERT_STRING(joined("\"a 'b", WORDS_PLAIN), "\"a|'b");
}

TEST(escapes)
{
    ASSERT_STRING(joined("a\\sb\\x41\\101\\u00e9\\U0001F600\\t", WORDS_ENVIRONMENT),
                  "a bAA\xc3\xa9\xf0\x9f\x98\x80\t");
    ASSERT_STRING(joined("\\a\\b\\f\\v\\\\\\'\\\"", WORDS_ENVIRONMENT), "\a\b\f\v\\'\"");
    ASSERT_STRING(joined("'\\n'", WORDS_ENVIRONMENT), "\n");
    static const char *const wrong[] = {"\\q",     "\\x0",    "\\x00",       "\\000", "\\400",
                                        "\\u0000", "\\u00g0", "\\U00110000", "\\09",  "\\ "};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ASSERT_STRING(joined(wrong[i], WORDS_ENVIRONMENT), "EILSEQ");
        if (i != 9)
            ASSERT_STRING(joined(wrong[i], WORDS_COMMAND_LINE), wrong[i]);
    }
    ASSERT_STRING(joined("a\\ b", WORDS_COMMAND_LINE), "a\\ b");
    ASSERT_STRING(joined("a\\", WORDS_ENVIRONMENT), "EINVAL");
    ASSERT_STRING(joined("a\\", WORDS_COMMAND_LINE), "a\\");
    ASSERT_STRING(joined("'a\\", WORDS_COMMAND_LINE), "EINVAL");
}

TEST(backslashes_of_others)
{
    ASSERT_STRING(joined("a\\ b\\n \\\"", WORDS_NAMES), "a bn|\"");
    ASSERT_STRING(joined("a\\x2db \\\"c d\"", WORDS_UNITS), "a\\x2db|\\c d");
    ASSERT_STRING(joined("a\\", WORDS_VARIABLE), "a");
}

TEST(kept_escapes_are_reported)
{
    const char *text = "a \\q b";
    char *word;

    ASSERT_INT(word_next(&text, NULL, WORDS_COMMAND_LINE, &word), 1);
    free(word);
    ASSERT_INT(word_next(&text, NULL, WORDS_COMMAND_LINE, &word), WORD_UNKNOWN_ESCAPE);
    ASSERT_STRING(word, "\\q");
    free(word);
    ASSERT_STRING(text, "b");
    ASSERT_INT(word_next(&text, NULL, WORDS_COMMAND_LINE, &word), 1);
    free(word);
    ASSERT_INT(word_next(&text, NULL, WORDS_COMMAND_LINE, &word), 0);
    ASSERT(word == NULL);
}

TEST(empty_words_between_separators)
{
    static const char *const expected[] = {"a", "", "b", ""};
    const char *text = "a::b:";
    char *word;

    for (size_t i = 0; i < 4; i++) {
        ASSERT_INT(word_next(&text, ":", WORD_KEEP_EMPTY, &word), 1);
        ASSERT_STRING(word, expected[i]);
        free(word);
    }
    ASSERT_INT(word_next(&text, ":", WORD_KEEP_EMPTY, &word), 0);
}

TEST(an_error_moves_nothing)
{
    const char *text = "a \"b", *behind;
    char *word;

    ASSERT_INT(word_next(&text, NULL, WORDS_COMMAND_LINE, &word), 1);
    free(word);
    behind = text;
    ASSERT_ERROR(word_next(&text, NULL, WORDS_COMMAND_LINE, &word), -EINVAL);
    ASSERT(text == behind);
}

TEST(a_long_line_takes_linear_time)
{
    const size_t size = 1 << 20;
    cleanup_free char *line = malloc(size + 1);
    struct string_list words;

    ASSERT(line);
    for (size_t i = 0; i < size; i++)
        line[i] = i % 2 ? ' ' : 'x';
    line[size] = '\0';
    ASSERT_OK(words_split(line, WORDS_COMMAND_LINE, &words));
    ASSERT_INT(words.n, size / 2);
    string_list_done(&words);
}
