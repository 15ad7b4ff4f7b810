/* SPDX-License-Identifier: MIT */
/*
 * What hark makes of values in unit files, to be compared with what systemd makes of them.
 *
 *     parse-value span < LINES    microseconds, "infinity" or the error's name for each line
 *     parse-value exit-status < LINES
 *     parse-value command LINE    the arguments after expansion with the own environment
 *     parse-value environment FILE    the variables
 *
 * The last two end each text with a NUL byte.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unit/command-line.h"
#include "unit/environment-file.h"
#include "unit/process-values.h"
#include "unit/values.h"

static void print_result(int r, uint64_t value)
{
    if (r < 0)
        puts(strerrorname_np(-r));
    else if (value == TIME_INFINITY)
        puts("infinity");
    else
        printf("%" PRIu64 "\n", value);
}

static void print_lines(const char *kind)
{
    char line[4096];

    while (fgets(line, sizeof(line), stdin)) {
        struct exit_condition condition = {0};
        uint64_t usec = 0;

        line[strcspn(line, "\n")] = '\0';
        if (strcmp(kind, "span") == 0) {
            int r = value_time(line, &usec);
            print_result(r, usec);
        } else {
            int r = value_exit_condition(line, &condition);
            print_result(r, (uint64_t)condition.value);
        }
    }
}

static int print_texts(int r, const struct string_list *texts)
{
    if (r < 0) {
        fprintf(stderr, "%s\n", strerrorname_np(-r));
        return 1;
    }
    for (size_t i = 0; i < texts->n; i++)
        fwrite(texts->items[i], 1, strlen(texts->items[i]) + 1, stdout);
    return 0;
}

static int print_command(const char *line)
{
    struct command_list commands = {0};
    struct command_report report;
    struct string_list argv = {0};
    int r = command_line_parse(line, NULL, &commands, &report);

    if (r == 0 && commands.n == 1)
        r = command_expand(&commands.items[0], environ, &argv);
    int status = print_texts(r, &argv);
    string_list_done(&argv);
    command_list_done(&commands);
    return status;
}

static int print_environment(const char *path)
{
    struct environment_file file = {0};
    int r = environment_file_load(path, &file, NULL);
    int status = print_texts(r, &file.variables);

    environment_file_done(&file);
    return status;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "command") == 0)
        return print_command(argv[2]);
    if (argc == 3 && strcmp(argv[1], "environment") == 0)
        return print_environment(argv[2]);
    if (argc != 2)
        return 2;
    print_lines(argv[1]);
    return 0;
}
