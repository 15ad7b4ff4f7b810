/* SPDX-License-Identifier: MIT */
#include "unit/unit-values.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "unit/unit-name.h"
#include "unit/utf8.h"
#include "unit/values.h"

int value_fault(const struct value_source *source, const char *format, ...)
{
    cleanup_free char *reason = NULL;
    char value[UNIT_QUOTE_MAX];
    va_list arguments;

    va_start(arguments, format);
    int r = vasprintf(&reason, format, arguments);
    va_end(arguments);
    if (r < 0)
        reason = NULL;
    problems_add(source->problems, PROBLEM_ERROR, source->use->file, source->use->line,
                 "cannot parse \"%s=%s\": %s", source->use->key,
                 unit_quote(source->use->value, value), reason ? reason : strerror(ENOMEM));
    return UNIT_FAULT;
}

int value_check(const struct value_source *source, int result, const char *expected)
{
    if (result == 0 || result == -ENOMEM)
        return result;
    if (result == -ERANGE)
        return value_fault(source, "out of range, not %s", expected);
    return value_fault(source, "not %s", expected);
}

static int expansion_fault(const struct value_source *source, const char *text,
                           enum specifier_set set, int error)
{
    const char *unknown = specifiers_find_unknown(text, set);

    if (error == -ENOMEM)
        return error;
    if (error == -EBADSLT && unknown)
        return value_fault(source, "unknown specifier \"%%%c\"", *unknown);
    if (error == -EOPNOTSUPP)
        return value_fault(source, "the specifiers %%c, %%r and %%R are not supported");
    if (error == -ENAMETOOLONG)
        return value_fault(source, "too long with its specifiers resolved");
    return value_fault(source, "cannot resolve its specifiers: %s", strerror(-error));
}

int value_expand(const struct value_source *source, const char *text, enum expansion expansion,
                 char **ret_text)
{
    static const size_t limits[] = {
        [EXPAND_TEXT] = UNIT_LINE_MAX,
        [EXPAND_PATH] = PATH_MAX - 1,
        [EXPAND_UNIT_NAME] = UNIT_NAME_MAX,
    };
    enum specifier_set set = expansion == EXPAND_UNIT_NAME ? SPECIFIERS_UNIT_NAME : SPECIFIERS_FULL;
    struct specifier_context context =
        unit_file_specifiers(source->unit, source->use, limits[expansion]);
    int r = specifiers_expand(text, set, &context, ret_text);

    return r < 0 ? expansion_fault(source, text, set, r) : 0;
}

int value_expand_path(const struct value_source *source, const char *text, char **ret_path)
{
    cleanup_free char *expanded = NULL;
    int r = value_expand(source, text, EXPAND_PATH, &expanded);

    return r != 0 ? r : value_check(source, value_path(expanded, ret_path), "an absolute path");
}

int value_replace(char **field, char *text)
{
    free(*field);
    *field = text;
    return 0;
}

int value_choice(const char *text, const char *const *names)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], text) == 0)
            return i;
    return -EINVAL;
}

static bool is_number(const char *text)
{
    return *text != '\0' && text[strspn(text, "0123456789")] == '\0';
}

bool value_is_user(const char *text)
{
    size_t length = strlen(text);
    uint64_t id;

    /* The two numbers mean "leave it alone" to chown(2), in 16 and in 32 bits. */
    if (is_number(text))
        return parse_unsigned(text, UINT32_MAX - 1, &id) == 0 && id != UINT16_MAX;
    if (length == 0 || !utf8_is_valid(text) || (*text == '-' && is_number(text + 1)))
        return false;
    if (isspace((unsigned char)text[0]) || isspace((unsigned char)text[length - 1]))
        return false;
    if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
        return false;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127 || strchr(":/", text[i]))
            return false;
    return true;
}

int read_nothing(const struct value_source *source, void *field)
{
    (void)source;
    (void)field;
    return 0;
}

int read_boolean(const struct value_source *source, void *field)
{
    return value_check(source, value_boolean(source->use->value, field), "yes or no");
}

/* A number that fits a type. */
static int read_number(const struct value_source *source, int64_t minimum, int64_t maximum,
                       int64_t *ret_value)
{
    int r = value_integer(source->use->value, minimum, maximum, ret_value);

    if (r == -ERANGE)
        return value_fault(source, "not between %lld and %lld", (long long)minimum,
                           (long long)maximum);
    return value_check(source, r, "a number");
}

int read_unsigned(const struct value_source *source, void *field)
{
    int64_t value;
    int r = read_number(source, 0, UINT_MAX, &value);

    if (r == 0)
        *(unsigned *)field = (unsigned)value;
    return r;
}

int read_integer(const struct value_source *source, void *field)
{
    int64_t value;
    int r = read_number(source, INT_MIN, INT_MAX, &value);

    if (r == 0)
        *(int *)field = (int)value;
    return r;
}

int read_long(const struct value_source *source, void *field)
{
    int64_t value;
    int r = read_number(source, LONG_MIN, LONG_MAX, &value);

    if (r == 0)
        *(long *)field = (long)value;
    return r;
}

int read_time(const struct value_source *source, void *field)
{
    return value_check(source, value_time(source->use->value, field), "a time span");
}

int read_timeout(const struct value_source *source, void *field)
{
    return value_check(source, value_timeout(source->use->value, field), "a time span");
}

int read_size(const struct value_source *source, void *field)
{
    return value_check(source, value_size(source->use->value, field), "a size in bytes");
}

int read_mode(const struct value_source *source, void *field)
{
    return value_check(source, parse_mode(source->use->value, field),
                       "an octal file mode of at most 7777");
}

int read_text(const struct value_source *source, void *field)
{
    char *text = *source->use->value ? strdup(source->use->value) : NULL;

    if (!text && *source->use->value)
        return -ENOMEM;
    return value_replace(field, text);
}

int read_user(const struct value_source *source, void *field)
{
    char *text;

    if (*source->use->value == '\0')
        return value_replace(field, NULL);
    int r = value_expand(source, source->use->value, EXPAND_TEXT, &text);
    if (r != 0)
        return r;
    if (!value_is_user(text)) {
        free(text);
        return value_fault(source, "not a name or number that could be a user's or group's");
    }
    return value_replace(field, text);
}

/* For command_line_parse(): faults are said by the caller. */
static int expand_word(const void *source, const char *word, bool is_program, char **ret_text)
{
    const struct value_source *value = source;
    struct specifier_context context =
        unit_file_specifiers(value->unit, value->use, is_program ? PATH_MAX - 1 : UNIT_LINE_MAX);

    return specifiers_expand(word, SPECIFIERS_FULL, &context, ret_text);
}

int read_commands(const struct value_source *source, void *field)
{
    const struct directive_use *use = source->use;
    struct word_expander expander = {.expand = expand_word, .context = source};
    struct command_report report;
    char value[UNIT_QUOTE_MAX];

    if (*use->value == '\0') {
        command_list_done(field);
        return 0;
    }
    int r = command_line_parse(use->value, &expander, field, &report);
    if (r == -ENOMEM)
        return r;
    if (r < 0 && report.is_tolerated) {
        problems_add(source->problems, PROBLEM_WARNING, use->file, use->line,
                     "\"%s=%s\" is passed over, as its \"-\" wants it: %s", use->key,
                     unit_quote(use->value, value), report.fault ? report.fault : strerror(-r));
        return UNIT_FAULT;
    }
    if (r == -EBADSLT)
        return expansion_fault(source, use->value, SPECIFIERS_FULL, r);
    if (r < 0)
        return value_fault(source, "%s", report.fault ? report.fault : strerror(-r));
    if (report.unknown_escape)
        problems_add(source->problems, PROBLEM_WARNING, use->file, use->line,
                     "unknown escape in \"%s=%s\": it is kept as it is written", use->key,
                     unit_quote(use->value, value));
    return 0;
}

static const struct unit_key *find_key(const struct unit_keys *table, const char *name)
{
    for (size_t i = 0; i < table->n; i++)
        if (strcmp(table->keys[i].name, name) == 0)
            return &table->keys[i];
    return NULL;
}

static int read_use(const struct value_source *source, const struct unit_keys *tables,
                    size_t n_tables)
{
    for (size_t i = 0; i < n_tables; i++) {
        const struct unit_key *key = find_key(&tables[i], source->use->key);
        if (key)
            return key->read(source, (char *)tables[i].object + key->offset);
    }
    if (source->use->section == SECTION_X_HARK) /* known, but to the other one of the pair */
        return value_fault(source, "this is no key of a .%s", unit_name_type(source->unit->name));
    return value_fault(source, "this version of hark has no reader for it");
}

int unit_values_read(const struct unit_file *unit, enum directive_section section,
                     const struct unit_keys *tables, size_t n_tables, struct problems *problems)
{
    for (size_t i = 0; i < unit->n_uses; i++) {
        struct value_source source = {.unit = unit, .use = &unit->uses[i], .problems = problems};
        if (source.use->section != section || source.use->verdict != VERDICT_HONOURED)
            continue;
        int r = read_use(&source, tables, n_tables);
        if (r < 0)
            return r;
    }
    return 0;
}
