/* SPDX-License-Identifier: MIT */
#include "unit/environment-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "unit/text.h"
#include "unit/utf8.h"

struct reader {
    const char *at, *end;
    unsigned line;       /* of at */
    unsigned first_line; /* of the assignment in hand */
    const char *name;    /* in the data */
    size_t name_length;
    struct text assignment; /* NAME=VALUE so far */
    struct string_list variables;
    struct environment_fault *faults;
    size_t n_faults;
};

static bool is_newline(char c)
{
    return c == '\n' || c == '\r';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || is_newline(c);
}

static char take(struct reader *reader)
{
    char c = *reader->at++;

    reader->line += c == '\n';
    return c;
}

static void skip_comment(struct reader *reader)
{
    while (reader->at < reader->end) {
        char c = take(reader);
        if (c == '\\' && reader->at < reader->end)
            take(reader);
        else if (is_newline(c))
            return;
    }
}

/* Takes everything up to the "=", which becomes the name. False: this line has none. */
static bool take_name(struct reader *reader)
{
    reader->name = reader->at;
    reader->first_line = reader->line;
    take(reader); /* a name has a character, be it "=" */
    while (reader->at < reader->end) {
        char c = take(reader);
        if (is_newline(c))
            return false;
        if (c == '=') {
            reader->name_length = (size_t)(reader->at - 1 - reader->name);
            while (reader->name_length > 0 && is_blank(reader->name[reader->name_length - 1]))
                reader->name_length--;
            return true;
        }
    }
    return false;
}

/* What a backslash in double quotes stands for: only few characters lose it. */
static int take_quoted_escape(struct reader *reader)
{
    char c;

    if (reader->at == reader->end)
        return 0;
    c = take(reader);
    if (c == '\n')
        return 0;
    if (strchr("\"\\`$", c))
        return text_add_char(&reader->assignment, c);
    return text_add(&reader->assignment, reader->at - 2, 2);
}

/* Everything up to the closing quote, or the end of the file. */
static int take_quoted(struct reader *reader, char quote)
{
    while (reader->at < reader->end) {
        char c = take(reader);
        int r = 0;

        if (c == quote)
            return 0;
        if (c == '\\' && quote == '"')
            r = take_quoted_escape(reader);
        else
            r = text_add_char(&reader->assignment, c);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The unquoted rest of the value, to the end of the line. Blanks at its end are dropped, unless
 * behind a backslash. */
static int take_plain(struct reader *reader)
{
    size_t keep = reader->assignment.length;

    while (reader->at < reader->end) {
        char c = take(reader);
        bool escaped = c == '\\';

        if (is_newline(c))
            break;
        if (escaped) {
            keep = reader->assignment.length;
            if (reader->at == reader->end)
                break;
            c = take(reader);
            if (is_newline(c))
                continue;
        }
        if (text_add_char(&reader->assignment, c) < 0)
            return -ENOMEM;
        if (escaped || !is_blank(c))
            keep = reader->assignment.length;
    }
    reader->assignment.length = keep;
    return 0;
}

/* Quoted pieces, then perhaps an unquoted one: in that a quote is a character. */
static int take_value(struct reader *reader)
{
    while (reader->at < reader->end) {
        char c = *reader->at;
        int r = 0;

        if (!is_blank(c) && c != '\'' && c != '"')
            return take_plain(reader);
        take(reader);
        if (is_newline(c))
            return 0;
        if (!is_blank(c))
            r = take_quoted(reader, c);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_fault(struct reader *reader)
{
    struct environment_fault *larger;
    char *name;

    if (reader->n_faults == ENVIRONMENT_FILE_FAULT_MAX)
        return 0;
    larger = reallocarray(reader->faults, reader->n_faults + 1, sizeof(*larger));
    if (!larger)
        return -ENOMEM;
    reader->faults = larger;
    name = strndup(reader->name, reader->name_length);
    if (!name)
        return -ENOMEM;
    reader->faults[reader->n_faults++] =
        (struct environment_fault){.line = reader->first_line, .name = name};
    return 0;
}

static int take_assignment(struct reader *reader)
{
    cleanup_free char *variable = NULL;
    int r;

    if (!take_name(reader))
        return 0;
    r = text_add(&reader->assignment, reader->name, reader->name_length);
    if (r == 0)
        r = text_add_char(&reader->assignment, '=');
    if (r == 0)
        r = take_value(reader);
    if (r < 0)
        return r;
    variable = text_take(&reader->assignment);
    if (!variable)
        return -ENOMEM;
    if (!utf8_is_valid(variable))
        return -EILSEQ;
    if (!text_is_variable_name(reader->name, reader->name_length))
        return add_fault(reader);
    return string_list_take(&reader->variables, take_pointer(&variable));
}

static size_t name_length(const char *variable)
{
    return (size_t)(strchrnul(variable, '=') - variable);
}

/* By name, and equal names as they came. */
static int compare_variables(const void *a, const void *b)
{
    char **const *first = a, **const *second = b;
    size_t n = name_length(**first), m = name_length(**second);
    int order = memcmp(**first, **second, n < m ? n : m);

    if (order == 0 && n != m)
        order = n < m ? -1 : 1;
    return order != 0 ? order : *first < *second ? -1 : *first > *second;
}

static bool is_same_name(const char *a, const char *b)
{
    size_t n = name_length(a);

    return n == name_length(b) && memcmp(a, b, n) == 0;
}

/* Leaves each name once: in the place of its first assignment, with the value of the last. */
static int drop_repeated(struct string_list *variables)
{
    cleanup_free char ***sorted = reallocarray(NULL, variables->n + 1, sizeof(*sorted));
    size_t n = 0;

    if (!sorted)
        return -ENOMEM;
    for (size_t i = 0; i < variables->n; i++)
        sorted[i] = &variables->items[i];
    qsort(sorted, variables->n, sizeof(*sorted), compare_variables);
    for (size_t i = 0, first; i < variables->n; i++) {
        first = i;
        while (i + 1 < variables->n && is_same_name(*sorted[first], *sorted[i + 1])) {
            free(*sorted[first]);
            *sorted[first] = take_pointer(sorted[i + 1]);
            i++;
        }
    }
    for (size_t i = 0; i < variables->n; i++)
        if (variables->items[i])
            variables->items[n++] = variables->items[i];
    variables->n = n;
    if (variables->items)
        variables->items[n] = NULL;
    return 0;
}

static int read_assignments(struct reader *reader)
{
    while (reader->at < reader->end) {
        int r = 0;

        if (*reader->at == '#' || *reader->at == ';')
            skip_comment(reader);
        else if (is_blank(*reader->at))
            take(reader);
        else
            r = take_assignment(reader);
        if (r < 0)
            return r;
    }
    return drop_repeated(&reader->variables);
}

static unsigned count_lines(const char *data, size_t length)
{
    unsigned n = 1;

    for (size_t i = 0; i < length; i++)
        n += data[i] == '\n';
    return n;
}

int environment_file_parse(const char *data, size_t length, struct environment_file *ret_file,
                           unsigned *ret_line)
{
    struct reader reader = {.at = data, .end = data + length, .line = 1};
    struct environment_file file;
    const char *nul = length > 0 ? memchr(data, '\0', length) : NULL;
    int r;

    if (nul) {
        if (ret_line)
            *ret_line = count_lines(data, (size_t)(nul - data));
        return -EBADMSG;
    }
    r = read_assignments(&reader);
    text_done(&reader.assignment);
    file = (struct environment_file){
        .variables = reader.variables, .faults = reader.faults, .n_faults = reader.n_faults};
    if (r < 0) {
        environment_file_done(&file);
        if (r == -EILSEQ && ret_line)
            *ret_line = reader.first_line;
        return r;
    }
    *ret_file = file;
    return 0;
}

/* Opens it, if it is of a kind that ends. */
static int open_file(const char *path, int *ret_fd)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0)
        return -errno;
    if (S_ISDIR(status.st_mode))
        return -EISDIR;
    if (!S_ISREG(status.st_mode) &&
        !(S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3))) /* /dev/null */
        return -EINVAL;
    if (status.st_size > ENVIRONMENT_FILE_MAX)
        return -EFBIG;
    *ret_fd = take_fd(&fd);
    return 0;
}

int environment_file_load(const char *path, struct environment_file *ret_file, unsigned *ret_line)
{
    cleanup_close int fd = -1;
    cleanup_free char *data = NULL;
    ssize_t length;
    int r = open_file(path, &fd);

    if (r < 0)
        return r;
    data = malloc(ENVIRONMENT_FILE_MAX + 1); /* a file in /proc does not tell its size */
    if (!data)
        return -ENOMEM;
    length = read_up_to(fd, data, ENVIRONMENT_FILE_MAX + 1);
    if (length < 0)
        return (int)length;
    if (length > ENVIRONMENT_FILE_MAX)
        return -EFBIG;
    return environment_file_parse(data, (size_t)length, ret_file, ret_line);
}

void environment_file_done(struct environment_file *file)
{
    for (size_t i = 0; i < file->n_faults; i++)
        free(file->faults[i].name);
    free(file->faults);
    string_list_done(&file->variables);
    *file = (struct environment_file){0};
}
