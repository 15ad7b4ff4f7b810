/* SPDX-License-Identifier: MIT */
#include "unit/unit-syntax.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "unit/utf8.h"

#define BLANK           " \t\n\r"
#define BYTE_ORDER_MARK "\xef\xbb\xbf"

/* A file is parsed where it was read to: joining lines and stripping only ever make text shorter,
 * so the assignments point into the buffer. */
struct parser {
    struct unit_text *text;
    struct problems *problems;
    const char *const *sections;
    const char *file;
    char *next, *end; /* what is not read yet; *end is writable */
    const char *section;
    bool section_is_unknown;
    bool mark_was_seen;
    unsigned line;       /* the number of the physical line */
    unsigned first_line; /* of those joined to it */
    size_t room;         /* for assignments */
};

static char *strip(char *text)
{
    text += strspn(text, BLANK);
    size_t length = strlen(text);
    while (length > 0 && strchr(BLANK, text[length - 1]))
        length--;
    text[length] = '\0';
    return text;
}

static bool is_extension(const char *name)
{
    return strncmp(name, "X-", 2) == 0;
}

static int fail(struct parser *parser, int error, const char *text)
{
    problems_add(parser->problems, PROBLEM_ERROR, parser->file, parser->first_line, "%s", text);
    return error;
}

static void complain(struct parser *parser, const char *text)
{
    problems_add(parser->problems, PROBLEM_ERROR, parser->file, parser->first_line, "%s", text);
}

/* The next physical line, terminated in place. An end of line is any of CR and LF, or one of each.
 */
static char *next_line(struct parser *parser, size_t *ret_length)
{
    char *line = parser->next, *eol = line;

    if (line == parser->end)
        return NULL;
    while (eol < parser->end && *eol != '\n' && *eol != '\r')
        eol++;
    parser->next = eol;
    if (eol < parser->end) {
        parser->next = eol + 1;
        if (parser->next < parser->end && (*parser->next == '\n' || *parser->next == '\r') &&
            *parser->next != *eol)
            parser->next++;
    }
    *eol = '\0';
    parser->line++;
    *ret_length = (size_t)(eol - line);
    return line;
}

static bool ends_with_escape(const char *text, size_t length)
{
    size_t n = 0;

    while (n < length && text[length - 1 - n] == '\\')
        n++;
    return n % 2 == 1;
}

static int parse_section(struct parser *parser, char *line)
{
    size_t length = strlen(line);

    if (length < 2 || line[length - 1] != ']')
        return fail(parser, -EBADMSG, "a section header must end with \"]\"");
    line[length - 1] = '\0';
    line++;
    for (const char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || strchr("\"'\\\x7f", *c))
            return fail(parser, -EBADMSG, "bad character in a section header");
    parser->section = line;
    parser->section_is_unknown = false;
    if (is_extension(line))
        return 0;
    for (const char *const *known = parser->sections; *known; known++)
        if (strcmp(*known, line) == 0)
            return 0;
    parser->section_is_unknown = true;
    problems_add(parser->problems, PROBLEM_ERROR, parser->file, parser->first_line,
                 "unknown section \"[%s]\"", line);
    return 0;
}

static int add_assignment(struct parser *parser, const char *key, const char *value)
{
    struct unit_text *text = parser->text;

    if (text->n == parser->room) {
        size_t room = parser->room < 32 ? 32 : parser->room + parser->room / 2;
        struct unit_assignment *assignments =
            reallocarray(text->assignments, room, sizeof(*assignments));

        if (!assignments)
            return fail(parser, -ENOMEM, "out of memory");
        text->assignments = assignments;
        parser->room = room;
    }
    text->assignments[text->n++] = (struct unit_assignment){
        .section = parser->section,
        .key = key,
        .value = value,
        .file = parser->file,
        .line = parser->first_line,
        .extension = is_extension(parser->section) || is_extension(key),
    };
    return 0;
}

static int parse_line(struct parser *parser, char *line)
{
    line = strip(line);
    if (*line == '\0')
        return 0;
    if (!utf8_is_valid(line))
        return fail(parser, -EILSEQ, "not UTF-8");
    if (*line == '[')
        return parse_section(parser, line);
    if (!parser->section) {
        complain(parser, "an assignment before the first section");
        return 0;
    }
    if (parser->section_is_unknown)
        return 0;
    char *value = strchr(line, '=');
    if (!value || value == line) {
        if (!is_extension(parser->section))
            complain(parser, value ? "missing key before \"=\"" : "missing \"=\"");
        return 0;
    }
    *value++ = '\0';
    return add_assignment(parser, strip(line), strip(value));
}

/* Reads what makes one logical line. */
static int parse_lines(struct parser *parser)
{
    char *joined = NULL, *line;
    size_t joined_length = 0, length;

    while ((line = next_line(parser, &length))) {
        const char *first = line + strspn(line, BLANK);
        if (*first == '#' || *first == ';')
            continue;
        if (!parser->mark_was_seen && strncmp(line, BYTE_ORDER_MARK, 3) == 0) {
            parser->mark_was_seen = true;
            line += 3;
            length -= 3;
        }
        if (!joined) {
            joined = line;
            joined_length = 0;
            parser->first_line = parser->line;
        }
        if (length > UNIT_LINE_MAX || joined_length + length > UNIT_LINE_MAX)
            return fail(parser, -ENOBUFS, "the line is longer than 1 MiB");
        memmove(joined + joined_length, line, length + 1);
        joined_length += length;
        if (ends_with_escape(joined, joined_length)) {
            joined[joined_length - 1] = ' ';
            continue;
        }
        int r = parse_line(parser, joined);
        if (r < 0)
            return r;
        joined = NULL;
    }
    return joined ? parse_line(parser, joined) : 0;
}

static unsigned line_at(const char *data, const char *position)
{
    unsigned line = 1;

    for (; data < position; data++)
        line += *data == '\n';
    return line;
}

/* Takes the buffer, of size bytes and one more, and a copy of the name. */
static int parse_buffer(struct parser *parser, char *buffer, size_t size)
{
    const char *nul = memchr(buffer, '\0', size);
    int r = string_list_take(&parser->text->storage, buffer);

    if (r < 0)
        return fail(parser, r, "out of memory");
    if (nul) {
        parser->first_line = line_at(buffer, nul);
        return fail(parser, -EILSEQ, "a NUL byte: not a text file");
    }
    r = string_list_add(&parser->text->storage, parser->file);
    if (r < 0)
        return fail(parser, r, "out of memory");
    parser->file = parser->text->storage.items[parser->text->storage.n - 1];
    parser->next = buffer;
    parser->end = buffer + size;
    *parser->end = '\0';
    parser->room = parser->text->n;
    return parse_lines(parser);
}

static int open_unit_file(const char *file)
{
    struct stat status;
    cleanup_close int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (S_ISDIR(status.st_mode))
        return -EISDIR;
    if (!S_ISREG(status.st_mode))
        return -ENXIO;
    if (status.st_size > (off_t)UNIT_FILE_SIZE_MAX)
        return -EFBIG;
    return take_fd(&fd);
}

/* st_size is a hint only: files in /proc have none, and a file may grow. */
static ssize_t read_all(int fd, char **ret_buffer)
{
    cleanup_free char *buffer = NULL;
    size_t size = 0, room = 16384;

    for (;;) {
        char *larger = realloc(buffer, room + 1);
        if (!larger)
            return -ENOMEM;
        buffer = larger;
        ssize_t n = read_up_to(fd, buffer + size, room - size);
        if (n < 0)
            return n;
        size += (size_t)n;
        if (size < room)
            break;
        if (size > UNIT_FILE_SIZE_MAX)
            return -EFBIG;
        room *= 2;
    }
    if (size > UNIT_FILE_SIZE_MAX)
        return -EFBIG;
    *ret_buffer = take_pointer(&buffer);
    return (ssize_t)size;
}

int unit_text_read(struct unit_text *text, const char *file, const char *const *sections,
                   struct problems *problems)
{
    struct parser parser = {.text = text, .problems = problems, .sections = sections, .file = file};
    char *buffer = NULL;
    cleanup_close int fd = open_unit_file(file);
    ssize_t size = fd < 0 ? fd : read_all(fd, &buffer);

    if (size == -ENXIO)
        return fail(&parser, -ENXIO, "cannot read the unit: not a regular file");
    if (size == -EFBIG)
        return fail(&parser, -EFBIG, "cannot read the unit: larger than 2 MiB");
    if (size < 0) {
        problems_add(problems, PROBLEM_ERROR, file, 0, "cannot read the unit: %s",
                     strerror((int)-size));
        return (int)size;
    }
    return parse_buffer(&parser, buffer, (size_t)size);
}

int unit_text_parse(struct unit_text *text, const struct unit_source *source,
                    const char *const *sections, struct problems *problems)
{
    struct parser parser = {
        .text = text, .problems = problems, .sections = sections, .file = source->file};
    char *buffer = malloc(source->size + 1);

    if (!buffer)
        return fail(&parser, -ENOMEM, "out of memory");
    memcpy(buffer, source->data, source->size);
    return parse_buffer(&parser, buffer, source->size);
}

void unit_text_done(struct unit_text *text)
{
    free(text->assignments);
    string_list_done(&text->storage);
    *text = (struct unit_text){0};
}
