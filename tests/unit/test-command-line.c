/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "basic/cleanup.h"
#include "unit/command-line.h"

/* "program[argv0|argv1|…]" for each command, or the fault. */
static const char *parsed(const char *line)
{
    static char result[2048];
    cleanup(command_list_done) struct command_list list = {0};
    struct command_report report;
    int r = command_line_parse(line, NULL, &list, &report);

    if (r < 0) {
        ASSERT(report.fault && list.n == 0);
        return report.fault;
    }
    result[0] = '\0';
    for (size_t i = 0; i < list.n; i++) {
        strcat(strcat(result, list.items[i].program), "[");
        for (size_t k = 0; k < list.items[i].argv.n; k++)
            strcat(strcat(result, k > 0 ? "|" : ""), list.items[i].argv.items[k]);
        strcat(result, "]");
    }
    return result;
}

TEST(words_and_program)
{
    ASSERT_STRING(parsed("/bin/echo a 'b c' \"d\"e"), "/bin/echo[/bin/echo|a|b c|de]");
    ASSERT_STRING(parsed("  echo  "), "echo[echo]");
    ASSERT_STRING(parsed("//bin/./echo x"), "/bin/echo[//bin/./echo|x]");
    ASSERT_STRING(parsed("@/bin/sh -sh -c 'exit 3'"), "/bin/sh[-sh|-c|exit 3]");
    ASSERT_STRING(parsed(""), "");
    ASSERT_STRING(parsed(" "), "");
    ASSERT_STRING(parsed("/bin/a '' b"), "/bin/a[/bin/a||b]");
    ASSERT_STRING(parsed("/bin/a # no comment"), "/bin/a[/bin/a|#|no|comment]");
}

TEST(several_commands)
{
    ASSERT_STRING(parsed("/a x ; /b y"), "/a[/a|x]/b[/b|y]");
    ASSERT_STRING(parsed("/a x \\; y"), "/a[/a|x|;|y]");
    ASSERT_STRING(parsed("/a x; y"), "/a[/a|x;|y]");
    ASSERT_STRING(parsed("/a ';' \\;x"), "/a[/a|;|\\;x]");
    ASSERT_STRING(parsed("/a ;"), "/a[/a]");
    ASSERT_STRING(parsed("; ; /a"), "/a[/a]");
    ASSERT_STRING(parsed("/a ; /b/"), "the program is a directory");
}

static unsigned flags(const char *line)
{
    cleanup(command_list_done) struct command_list list = {0};
    struct command_report report;

    ASSERT_OK(command_line_parse(line, NULL, &list, &report));
    ASSERT_INT(list.n, 1);
    return list.items[0].flags;
}

TEST(prefixes)
{
    ASSERT_INT(flags("/a"), 0);
    ASSERT_INT(flags("-/a"), COMMAND_IGNORE_FAILURE);
    ASSERT_INT(flags(":-/a"), COMMAND_IGNORE_FAILURE | COMMAND_NO_EXPANSION);
    ASSERT_INT(flags("-+:@/a b"),
               COMMAND_IGNORE_FAILURE | COMMAND_FULL_PRIVILEGES | COMMAND_NO_EXPANSION);
    ASSERT_INT(flags("!/a"), COMMAND_KEEP_USER);
    ASSERT_INT(flags("!!/a"), COMMAND_AMBIENT_FALLBACK);
    ASSERT_INT(flags("!-!/a"), COMMAND_AMBIENT_FALLBACK | COMMAND_IGNORE_FAILURE);
    ASSERT_STRING(parsed("--/a"), "the program is neither an absolute path nor a mere file name");
    ASSERT_STRING(parsed("--a"), "-a[-a]");
    ASSERT_STRING(parsed("!!!a"), "!a[!a]");
    ASSERT_STRING(parsed("+!a"), "!a[!a]");
    ASSERT_STRING(parsed("'-/a' b"), "/a[/a|b]");
}

TEST(faults)
{
    static const char *const names[] = {"a/b", "./a", "../a"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        ASSERT_STRING(parsed(names[i]),
                      "the program is neither an absolute path nor a mere file name");
    ASSERT_STRING(parsed("-"), "there is no program");
    ASSERT_STRING(parsed("@ /a"), "there is no program");
    ASSERT_STRING(parsed("''"), "there is no program");
    ASSERT_STRING(parsed("/"), "the program is a directory");
    ASSERT_STRING(parsed("/a/.."), "the program is a directory");
    ASSERT_STRING(parsed(".."), "the program is a directory");
    ASSERT_STRING(parsed("@/a"), "argv[0] is missing or empty");
    ASSERT_STRING(parsed("@/a ''"), "argv[0] is missing or empty");
    ASSERT_STRING(parsed("/a 'b"), "a quote is not closed");
    ASSERT_STRING(parsed("'/a"), "a quote is not closed");
    ASSERT(strstr(parsed("/a\\x01"), "control character"));
    ASSERT(strstr(parsed("/a\\qb"), "backslash"));
    ASSERT(strstr(parsed("|a b"), "/bin/sh -c"));
}

TEST(reports)
{
    cleanup(command_list_done) struct command_list list = {0};
    struct command_report report;

    ASSERT_OK(command_line_parse("/a \\q", NULL, &list, &report));
    ASSERT(report.unknown_escape && !report.fault);
    ASSERT_STRING(list.items[0].argv.items[1], "\\q");
    ASSERT_OK(command_line_parse("/b", NULL, &list, &report));
    ASSERT(!report.unknown_escape);
    ASSERT_INT(list.n, 2);
    ASSERT_ERROR(command_line_parse("-/c 'd", NULL, &list, &report), -EINVAL);
    ASSERT(report.is_tolerated);
    ASSERT_ERROR(command_line_parse("/c 'd", NULL, &list, &report), -EINVAL);
    ASSERT(!report.is_tolerated);
    ASSERT_INT(list.n, 2);
}

/* Every "%" becomes "/x y", "%%" is an error. */
static int expand_percent(const void *context, const char *word, bool is_program, char **ret_text)
{
    ASSERT_STRING(context, "context");
    ASSERT_INT(is_program, strcmp(word, "%") == 0);
    if (strcmp(word, "%%") == 0)
        return -EBADSLT;
    *ret_text = strdup(strchr(word, '%') ? "/x y" : word);
    return *ret_text ? 0 : -ENOMEM;
}

TEST(specifiers)
{
    cleanup(command_list_done) struct command_list list = {0};
    struct word_expander expander = {.expand = expand_percent, .context = "context"};
    struct command_report report;

    ASSERT_OK(command_line_parse("-% a%b c", &expander, &list, &report));
    ASSERT_STRING(list.items[0].program, "/x y");
    ASSERT_STRING(list.items[0].argv.items[1], "/x y");
    ASSERT_STRING(list.items[0].argv.items[2], "c");
    ASSERT_ERROR(command_line_parse("% %%", &expander, &list, &report), -EBADSLT);
    ASSERT_STRING(report.fault, "a specifier cannot be resolved");
}

/* The arguments behind the program after expansion, joined by "|". */
static const char *expanded(const char *line)
{
    static const char *const environment[] = {"ONE=1",     "EMPTY=",       "WORDS=a 'b c'  d",
                                              "OPEN=a 'b", "ESC=a\\ b\\n", "TWICE=old",
                                              "TWICE=new", "D=$ONE",       NULL};
    static char result[2048];
    cleanup(command_list_done) struct command_list list = {0};
    cleanup(string_list_done) struct string_list argv = {0};
    struct command_report report;

    ASSERT_OK(command_line_parse(line, NULL, &list, &report));
    ASSERT_OK(command_expand(&list.items[0], (char *const *)environment, &argv));
    result[0] = '\0';
    for (size_t i = 1; i < argv.n; i++)
        strcat(strcat(result, i > 1 ? "|" : ""), argv.items[i]);
    return result;
}

TEST(variables)
{
    ASSERT_STRING(expanded("/a $ONE ${ONE} x${ONE}y"), "1|1|x1y");
    ASSERT_STRING(expanded("/a $WORDS b"), "a|b c|d|b");
    ASSERT_STRING(expanded("/a ${WORDS}"), "a 'b c'  d");
    ASSERT_STRING(expanded("/a $EMPTY b $UNSET c"), "b|c");
    ASSERT_STRING(expanded("/a x${EMPTY}${UNSET} ${UNSET} b"), "x||b");
    ASSERT_STRING(expanded("/a a$ONE $ONE-x $"), "a$ONE");
    ASSERT_STRING(expanded("/a $$ONE $$ $$$$ a$$b x$"), "$ONE|$|$$|a$b|x$");
    ASSERT_STRING(expanded("/a ${ONE:-x} ${ONE ${ONE$$ x$${ONE}"),
                  "${ONE:-x}|${ONE|${ONE$$|x${ONE}");
    ASSERT_STRING(expanded("/a '$ONE' \"${ONE}\""), "1|1");
    ASSERT_STRING(expanded("/a $OPEN $ESC $TWICE $D ${D}"), "a|b|a bn|new|$ONE|$ONE");
    ASSERT_STRING(expanded(":/a $ONE ${ONE} $$"), "$ONE|${ONE}|$$");
}

TEST(nothing_left)
{
    static char *const environment[] = {NULL};
    cleanup(command_list_done) struct command_list list = {0};
    cleanup(string_list_done) struct string_list argv = {0};
    struct command_report report;

    ASSERT_OK(command_line_parse("@/a $UNSET", NULL, &list, &report));
    ASSERT_OK(command_expand(&list.items[0], environment, &argv));
    ASSERT_INT(argv.n, 1);
    ASSERT_STRING(argv.items[0], "");
}
