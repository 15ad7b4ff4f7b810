/* SPDX-License-Identifier: MIT */
#include "unit/exec-stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unit/exec-context.h"
#include "unit/text.h"
#include "unit/values.h"
#include "unit/words.h"

/* The forms of a stream; those with a name end in ":". */
struct stream_form {
    const char *text;
    enum exec_stream_kind kind;
};

static const struct stream_form input_forms[] = {
    {"null", EXEC_STREAM_NULL},
    {"data", EXEC_STREAM_DATA},
    {"socket", EXEC_STREAM_SOCKET},
    {"fd", EXEC_STREAM_FD},
    {"fd:", EXEC_STREAM_FD},
    {"file:", EXEC_STREAM_FILE},
    {NULL, 0},
};

static const struct stream_form output_forms[] = {
    {"inherit", EXEC_STREAM_INHERIT},
    {"null", EXEC_STREAM_NULL},
    {"socket", EXEC_STREAM_SOCKET},
    {"journal", EXEC_STREAM_JOURNAL},
    {"kmsg", EXEC_STREAM_KMSG},
    {"journal+console", EXEC_STREAM_JOURNAL_CONSOLE},
    {"kmsg+console", EXEC_STREAM_KMSG_CONSOLE},
    {"syslog", EXEC_STREAM_JOURNAL}, /* as systemd since 246 */
    {"syslog+console", EXEC_STREAM_JOURNAL_CONSOLE},
    {"fd", EXEC_STREAM_FD},
    {"fd:", EXEC_STREAM_FD},
    {"file:", EXEC_STREAM_FILE},
    {"append:", EXEC_STREAM_APPEND},
    {"truncate:", EXEC_STREAM_TRUNCATE},
    {NULL, 0},
};

/* The form of a value, and what comes behind the colon, or NULL. */
static const struct stream_form *find_form(const struct stream_form *forms, const char *value,
                                           const char **ret_name)
{
    for (const struct stream_form *form = forms; form->text; form++) {
        size_t length = strlen(form->text);
        bool has_name = form->text[length - 1] == ':';
        if (has_name ? strncmp(value, form->text, length) == 0 : strcmp(value, form->text) == 0) {
            *ret_name = has_name ? value + length : NULL;
            return form;
        }
    }
    return NULL;
}

/* The name of a descriptor: an empty one is none. */
static int read_fd_name(const struct value_source *source, const char *text, char **ret_name)
{
    cleanup_free char *name = NULL;
    int r = value_expand(source, text, EXPAND_TEXT, &name);

    if (r == 0)
        r = value_check(source, value_fd_name(name), "the name of a descriptor");
    if (r == 0 && *name != '\0')
        *ret_name = take_pointer(&name);
    return r;
}

static int read_stream(const struct value_source *source, const struct stream_form *forms,
                       struct exec_stream *stream)
{
    const char *text = NULL;
    const struct stream_form *form = find_form(forms, source->use->value, &text);
    char *name = NULL;
    int r = 0;

    if (!form && strncmp(source->use->value, "tty", 3) == 0)
        return value_fault(source,
                           "hark gives services no terminal: use a file, a socket or the journal");
    if (!form)
        return value_fault(source, "not one of the forms of systemd.exec(5)");
    if (text && form->kind == EXEC_STREAM_FD)
        r = read_fd_name(source, text, &name);
    else if (text)
        r = value_expand_path(source, text, &name);
    if (r != 0)
        return r;
    stream->kind = form->kind;
    return value_replace(&stream->name, name);
}

int read_input_stream(const struct value_source *source, void *field)
{
    return read_stream(source, input_forms, field);
}

int read_output_stream(const struct value_source *source, void *field)
{
    return read_stream(source, output_forms, field);
}

static int add_input(const struct value_source *source, struct exec_context *context,
                     const char *data, size_t size)
{
    if (size > EXEC_INPUT_MAX - context->input_size)
        return value_fault(source, "more than %zu MiB of input", EXEC_INPUT_MAX >> 20);
    if (size == 0)
        return 0;
    char *larger = realloc(context->input, context->input_size + size);
    if (!larger)
        return -ENOMEM;
    memcpy(larger + context->input_size, data, size);
    context->input = larger;
    context->input_size += size;
    return 0;
}

static int reset_input(struct exec_context *context)
{
    context->input_size = 0;
    return value_replace(&context->input, NULL);
}

int read_input_text(const struct value_source *source, void *field)
{
    cleanup_free char *unescaped = NULL, *expanded = NULL;
    const char *text = source->use->value;

    if (*text == '\0')
        return reset_input(field);
    /* Without separators it is one word. */
    int r = word_next(&text, "", WORD_ESCAPES, &unescaped);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return value_fault(source, "an unknown escape, or a backslash at the end");
    r = value_expand(source, unescaped, EXPAND_TEXT, &expanded);
    if (r != 0)
        return r;
    size_t length = strlen(expanded);
    expanded[length] = '\n'; /* in place of its end */
    return add_input(source, field, expanded, length + 1);
}

/* The value of a base64 digit, or -1. */
static int find_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c ? strchr(digits, c) : NULL;

    return found ? (int)(found - digits) : -1;
}

/* Base64 (RFC 4648) with blanks anywhere, and all of its padding: 0, -EINVAL, -ENOMEM. */
static int decode_base64(const char *text, struct text *bytes)
{
    unsigned n = 0, bits = 0, padding = 0;

    for (; *text; text++) {
        int digit = find_digit(*text);
        if (strchr(BLANKS, *text))
            continue;
        if (*text == '=')
            padding++;
        if ((digit < 0 || padding > 0) && *text != '=')
            return -EINVAL;
        bits = bits << 6 | (digit < 0 ? 0 : (unsigned)digit);
        if (++n % 4 != 0)
            continue;
        const char group[] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
        if (padding > 2 || (padding > 0 && (bits & ((1U << (8 * padding)) - 1)) != 0))
            return -EINVAL;
        if (text_add(bytes, group, 3 - padding) < 0)
            return -ENOMEM;
    }
    return n % 4 == 0 && padding <= 2 ? 0 : -EINVAL;
}

int read_input_data(const struct value_source *source, void *field)
{
    cleanup(text_done) struct text bytes = {0};

    if (*source->use->value == '\0')
        return reset_input(field);
    int r = value_check(source, decode_base64(source->use->value, &bytes), "base64");
    return r != 0 ? r : add_input(source, field, bytes.data, bytes.length);
}
