/* SPDX-License-Identifier: MIT */
#include "unit/command-line.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unit/text.h"
#include "unit/values.h"
#include "unit/words.h"

static void command_done(struct command *command)
{
    free(command->program);
    string_list_done(&command->argv);
    *command = (struct command){0};
}

void command_list_done(struct command_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        command_done(&list->items[i]);
    free(list->items);
    *list = (struct command_list){0};
}

static int fail(struct command_report *report, int error, const char *fault)
{
    report->fault = fault;
    return error;
}

/* The next word, as it is written but for quotes and escapes. 1, 0 for none. */
static int next_raw_word(const char **line, struct command_report *report, char **ret_word)
{
    int r = word_next(line, NULL, WORDS_COMMAND_LINE, ret_word);

    if (r == -EINVAL)
        return fail(report, r, "a quote is not closed");
    if (r == WORD_UNKNOWN_ESCAPE)
        report->unknown_escape = true;
    return r > 0 ? 1 : r;
}

static int resolve(const struct word_expander *expander, const char *word, bool is_program,
                   struct command_report *report, char **ret_text)
{
    int r;

    if (expander) {
        r = expander->expand(expander->context, word, is_program, ret_text);
        return r < 0 && r != -ENOMEM ? fail(report, r, "a specifier cannot be resolved") : r;
    }
    *ret_text = strdup(word);
    return *ret_text ? 0 : -ENOMEM;
}

/* Takes the prefixes off a word. */
static const char *take_prefixes(const char *word, unsigned *flags, bool *own_argv0)
{
    const unsigned privileges =
        COMMAND_FULL_PRIVILEGES | COMMAND_KEEP_USER | COMMAND_AMBIENT_FALLBACK;

    for (;; word++)
        if (*word == '-' && !(*flags & COMMAND_IGNORE_FAILURE))
            *flags |= COMMAND_IGNORE_FAILURE;
        else if (*word == '@' && !*own_argv0)
            *own_argv0 = true;
        else if (*word == ':' && !(*flags & COMMAND_NO_EXPANSION))
            *flags |= COMMAND_NO_EXPANSION;
        else if (*word == '+' && !(*flags & privileges))
            *flags |= COMMAND_FULL_PRIVILEGES;
        else if (*word == '!' && !(*flags & privileges))
            *flags |= COMMAND_KEEP_USER;
        else if (*word == '!' && (*flags & privileges) == COMMAND_KEEP_USER)
            *flags ^= COMMAND_KEEP_USER | COMMAND_AMBIENT_FALLBACK;
        else
            return word;
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t length = strlen(text), n = strlen(suffix);

    return length >= n && strcmp(text + length - n, suffix) == 0;
}

/* What is wrong with it as a program, or NULL. */
static const char *find_program_fault(const char *program)
{
    if (*program == '\0')
        return "there is no program";
    if (*program == '|')
        return "the prefix \"|\" (run by a shell) is not supported: write /bin/sh -c '…'";
    for (const char *p = program; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 127 || strchr("\"'\\", *p))
            return "the program has a quote, a backslash or a control character in its name";
    if (has_suffix(program, "/") || has_suffix(program, "/.") || has_suffix(program, "/..") ||
        strcmp(program, ".") == 0 || strcmp(program, "..") == 0)
        return "the program is a directory";
    if (*program != '/' && strchr(program, '/'))
        return "the program is neither an absolute path nor a mere file name";
    if (!path_is_possible(program))
        return "the name of the program is too long";
    return NULL;
}

/* One word behind the program. *ret_more: it was a lone ";", which ended the command. */
static int take_argument(const char **line, const struct word_expander *expander,
                         struct string_list *argv, struct command_report *report, bool *ret_more)
{
    cleanup_free char *word = NULL;
    const char *p = *line;
    bool escaped = p[0] == '\\' && p[1] == ';';
    char *argument;
    int r;

    if ((*p == ';' || escaped) && (p[1 + escaped] == '\0' || strchr(BLANKS, p[1 + escaped]))) {
        p += 1 + escaped;
        *line = p + strspn(p, BLANKS);
        *ret_more = !escaped;
        return escaped ? string_list_add(argv, ";") : 0;
    }
    r = next_raw_word(line, report, &word);
    if (r <= 0)
        return r;
    r = resolve(expander, word, false, report, &argument);
    return r < 0 ? r : string_list_take(argv, argument);
}

/* Everything behind the program. */
static int take_arguments(const char **line, const struct word_expander *expander,
                          struct string_list *argv, struct command_report *report, bool *ret_more)
{
    bool more = false;

    while (**line != '\0' && !more) {
        int r = take_argument(line, expander, argv, report, &more);
        if (r < 0)
            return r;
    }
    *ret_more = more;
    return 0;
}

/* One command off the line. *ret_more is whether another one may follow. */
static int take_command(const char **line, const struct word_expander *expander,
                        struct command *command, struct command_report *report, bool *ret_more)
{
    cleanup_free char *word = NULL;
    bool own_argv0 = false;
    int r = next_raw_word(line, report, &word);

    *ret_more = false;
    if (r <= 0)
        return r;
    if (strcmp(word, ";") == 0) {
        *ret_more = true;
        return 0;
    }
    r = resolve(expander, take_prefixes(word, &command->flags, &own_argv0), true, report,
                &command->program);
    if (r < 0)
        return r;
    report->fault = find_program_fault(command->program);
    if (report->fault)
        return -EINVAL;
    if (!own_argv0 && string_list_add(&command->argv, command->program) < 0)
        return -ENOMEM;
    path_tidy(command->program);
    r = take_arguments(line, expander, &command->argv, report, ret_more);
    if (r < 0)
        return r;
    if (command->argv.n == 0 || command->argv.items[0][0] == '\0')
        return fail(report, -EINVAL, "argv[0] is missing or empty");
    return 0;
}

static int append(struct command_list *list, struct command *items, size_t n)
{
    struct command *larger = reallocarray(list->items, list->n + n, sizeof(*larger));

    if (!larger)
        return -ENOMEM;
    memcpy(larger + list->n, items, n * sizeof(*items));
    list->items = larger;
    list->n += n;
    return 0;
}

int command_line_parse(const char *line, const struct word_expander *expander,
                       struct command_list *list, struct command_report *ret_report)
{
    cleanup(command_list_done) struct command_list parsed = {0};
    bool more;
    int r;

    *ret_report = (struct command_report){0};
    do {
        struct command command = {0};
        r = take_command(&line, expander, &command, ret_report, &more);
        if (r == 0 && command.argv.n > 0)
            r = append(&parsed, &command, 1);
        if (r < 0) {
            ret_report->is_tolerated = command.flags & COMMAND_IGNORE_FAILURE;
            command_done(&command);
            return r;
        }
    } while (more);
    if (parsed.n > 0)
        r = append(list, parsed.items, parsed.n);
    if (r < 0)
        return r;
    parsed.n = 0; /* what they hold is the list's now */
    return 0;
}

/* The value of a variable, or NULL. */
static const char *find_variable(char *const *environment, const char *name, size_t length)
{
    const char *value = NULL;

    for (; length > 0 && *environment; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            value = *environment + length + 1;
    return value;
}

/* Adds the word with every ${NAME} and $$ in it replaced. */
static int expand_inside(const char *word, char *const *environment, struct string_list *argv)
{
    cleanup(text_done) struct text text = {0};
    int r = 0;

    while (*word != '\0' && r >= 0) {
        bool is_reference = word[0] == '$' && word[1] == '{';
        size_t name = is_reference ? strcspn(word + 2, "}:") : 0;
        if (word[0] == '$' && word[1] == '$') {
            r = text_add_char(&text, '$');
            word += 2;
        } else if (is_reference && word[2 + name] == '}') {
            const char *value = find_variable(environment, word + 2, name);
            if (value)
                r = text_add(&text, value, strlen(value));
            word += 2 + name + 1;
        } else if (is_reference && word[2 + name] == '\0') {
            r = text_add(&text, word, strlen(word)); /* not closed: nothing more is replaced */
            word += strlen(word);
        } else
            r = text_add_char(&text, *word++);
    }
    return r < 0 ? r : string_list_take(argv, text_take(&text));
}

/* Adds the words in the variable, for a word that is nothing but $NAME. */
static int expand_to_words(const char *name, char *const *environment, struct string_list *argv)
{
    const char *value = find_variable(environment, name, strlen(name));
    struct string_list words;
    int r;

    if (!value)
        return 0;
    r = words_split(value, WORDS_VARIABLE, &words);
    if (r < 0)
        return r;
    for (size_t i = 0; i < words.n && r == 0; i++)
        r = string_list_take(argv, take_pointer(&words.items[i]));
    string_list_done(&words);
    return r;
}

int command_expand(const struct command *command, char *const *environment,
                   struct string_list *ret_argv)
{
    struct string_list argv = {0};
    int r = 0;

    for (size_t i = 0; i < command->argv.n && r == 0; i++) {
        const char *word = command->argv.items[i];
        if (command->flags & COMMAND_NO_EXPANSION)
            r = string_list_add(&argv, word);
        else if (word[0] == '$' && word[1] != '{' && word[1] != '$')
            r = expand_to_words(word + 1, environment, &argv);
        else
            r = expand_inside(word, environment, &argv);
    }
    if (r == 0 && argv.n == 0)
        r = string_list_add(&argv, "");
    if (r < 0) {
        string_list_done(&argv);
        return r;
    }
    *ret_argv = argv;
    return 0;
}
