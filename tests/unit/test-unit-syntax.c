/* SPDX-License-Identifier: MIT */
#include "unit/unit-syntax.h"

#include <sys/stat.h>

#include "directory.h"
#include "test.h"

static const char *const sections[] = {"Unit", "Service", NULL};

/* What was read, one "LINE SECTION.KEY=VALUE;" each, then "LINE! TEXT;" for the problems. */
static const char *parse_bytes(const char *data, size_t size)
{
    static char output[4096];
    struct unit_source source = {.file = "x", .data = data, .size = size};
    struct unit_text text = {0};
    struct problems problems = {0};
    size_t used = 0;

    output[0] = '\0';
    int r = unit_text_parse(&text, &source, sections, &problems);
    ASSERT(r == 0 || problems.n_errors > 0);
    for (size_t i = 0; i < text.n; i++) {
        const struct unit_assignment *one = &text.assignments[i];

        ASSERT_STRING(one->file, "x");
        used += (size_t)snprintf(output + used, sizeof(output) - used, "%u%s %s.%s=%s;", one->line,
                                 one->extension ? "X" : "", one->section, one->key, one->value);
    }
    for (size_t i = 0; i < problems.n; i++)
        used += (size_t)snprintf(output + used, sizeof(output) - used, "%u! %s;",
                                 problems.list[i].line, problems.list[i].text);
    problems_done(&problems);
    unit_text_done(&text);
    return output;
}

static const char *parse(const char *data)
{
    return parse_bytes(data, strlen(data));
}

TEST(assignments)
{
    ASSERT_STRING(parse(""), "");
    ASSERT_STRING(parse("[Unit]\nA=b"), "2 Unit.A=b;");
    ASSERT_STRING(parse(" [Unit] \n\t A \t=\t b=c \t\n[Service]\r\nA=\n[Unit]\nA=2\n"),
                  "2 Unit.A=b=c;4 Service.A=;6 Unit.A=2;");
    ASSERT_STRING(parse("[Unit]\rA=1\n\rB=2\r\n\r\nC=3"), "2 Unit.A=1;3 Unit.B=2;5 Unit.C=3;");
}

TEST(comments)
{
    ASSERT_STRING(parse("#[x\n  ; y\n[Unit]\nA=b # c\n"), "4 Unit.A=b # c;");
}

TEST(continuation)
{
    ASSERT_STRING(parse("[Unit]\nA=a\\\n# c\\\n  b\nB=1\n"), "2 Unit.A=a   b;5 Unit.B=1;");
    ASSERT_STRING(parse("[Unit]\nA=a\\\n\nB=1\n"), "2 Unit.A=a;4 Unit.B=1;");
    ASSERT_STRING(parse("[Unit]\nA=a\\\\\nB=1"), "2 Unit.A=a\\\\;3 Unit.B=1;");
    ASSERT_STRING(parse("[Unit]\nA=a\\\\\\\nB=1"), "2 Unit.A=a\\\\ B=1;");
    ASSERT_STRING(parse("[Unit]\nA=a\\ \nB=1"), "2 Unit.A=a\\;3 Unit.B=1;");
    ASSERT_STRING(parse("[Unit]\nA=a\\"), "2 Unit.A=a;");
    ASSERT_STRING(parse("[Un\\\nit]\n"), "1! unknown section \"[Un it]\";");
}

TEST(byte_order_mark)
{
    ASSERT_STRING(parse("\xef\xbb\xbf[Unit]\nA=1"), "2 Unit.A=1;");
    ASSERT_STRING(parse("[Unit]\n\xef\xbb\xbf"
                        "A=1"),
                  "2 Unit.A=1;");
    ASSERT_STRING(parse("\xef\xbb\xbf[Unit]\n\xef\xbb\xbf"
                        "A=1"),
                  "2 Unit.\xef\xbb\xbf"
                  "A=1;");
}

TEST(extensions)
{
    ASSERT_STRING(parse("[X-Hark]\nA=1\njunk\n=\n[Unit]\nX-B=2\n"), "2X X-Hark.A=1;6X Unit.X-B=2;");
}

TEST(every_line_problem_is_listed)
{
    ASSERT_STRING(parse("A=1\n[Foo]\njunk\nB=1\n[Unit]\n=1\njunk\nC=1\n"),
                  "8 Unit.C=1;1! an assignment before the first section;2! unknown section "
                  "\"[Foo]\";6! missing key before \"=\";7! missing \"=\";");
}

TEST(fatal_problems)
{
    ASSERT_STRING(parse("[Unit]\nA=1\n[Unit\nB=2"),
                  "2 Unit.A=1;3! a section header must end with \"]\";");
    ASSERT_STRING(parse("["), "1! a section header must end with \"]\";");
    ASSERT_STRING(parse("[U\"]\nA=1"), "1! bad character in a section header;");
    ASSERT_STRING(parse("[Foo]\nA=\xff\n[Unit]\nA=1"),
                  "1! unknown section \"[Foo]\";2! not UTF-8;");
    ASSERT_STRING(parse_bytes("[Unit]\nA=\0\n", 11), "2! a NUL byte: not a text file;");
    static const char *const bad[] = {
        "\x80",         "\xc0\x80", "\xed\xa0\x80",     "\xef\xb7\x90",
        "\xef\xbf\xbf", "\xe2\x82", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ASSERT_STRING(parse(bad[i]), "1! not UTF-8;");
    ASSERT_STRING(parse("[Unit]\nA=\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
                  "2 Unit.A=\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80;");
}

static int read_unit(const char *path)
{
    struct unit_text text = {0};
    struct problems problems = {0};
    int r = unit_text_read(&text, path, sections, &problems);

    ASSERT_INT(problems.n_errors, r < 0 ? 1 : 0);
    problems_done(&problems);
    unit_text_done(&text);
    return r;
}

TEST(only_regular_files_are_read)
{
    directory_make();
    ASSERT_ERROR(read_unit(in("absent")), -ENOENT);
    ASSERT_ERROR(read_unit(directory_path), -EISDIR);
    ASSERT_ERROR(read_unit("/dev/zero"), -ENXIO);
    ASSERT_CALL(mkfifo(in("fifo"), 0600));
    ASSERT_ERROR(read_unit(in("fifo")), -ENXIO);
    write_file(in("good"), "[Unit]\nA=1\n");
    ASSERT_OK(read_unit(in("good")));
    directory_remove();
}

TEST(sizes_are_limited)
{
    directory_make();
    write_file(in("large"), "[Unit]\n");
    ASSERT_CALL(truncate(in("large"), (off_t)1 << 40));
    ASSERT_ERROR(read_unit(in("large")), -EFBIG);
    size_t size = UNIT_LINE_MAX + 4096;
    char *line = malloc(size + 1);
    ASSERT(line);
    memset(line, 'a', size);
    memcpy(line, "[Unit]\nA=", 9);
    line[size] = '\0';
    write_file(in("long"), line);
    ASSERT_ERROR(read_unit(in("long")), -ENOBUFS);
    /* The same by joining. */
    for (size_t i = 1000; i < size; i += 1000)
        memcpy(line + i, "\\\n", 2);
    line[size - 1] = '\n';
    write_file(in("joined"), line);
    ASSERT_ERROR(read_unit(in("joined")), -ENOBUFS);
    line[UNIT_LINE_MAX] = '\0';
    write_file(in("fits"), line);
    ASSERT_OK(read_unit(in("fits")));
    free(line);
    directory_remove();
}

TEST(problems_are_bounded)
{
    struct problems problems = {0};

    for (int i = 0; i < PROBLEMS_MAX + 5; i++)
        problems_add(&problems, i % 2 ? PROBLEM_ERROR : PROBLEM_WARNING, NULL, 0, "%d", i);
    ASSERT_INT(problems.n, PROBLEMS_MAX);
    ASSERT_INT(problems.n_dropped, 5);
    ASSERT_INT(problems.n_errors, PROBLEMS_MAX / 2 + 2);
    ASSERT_STRING(problems.list[PROBLEMS_MAX - 1].text, "999");
    problems_done(&problems);
}
