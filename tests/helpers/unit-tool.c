/* SPDX-License-Identifier: MIT */
/*
 * What hark makes of unit files, for comparison with the real systemd:
 *
 *     unit-tool escape|unescape|path-escape|path-unescape TEXT...
 *     unit-tool expand UNIT FRAGMENT TEXT...
 *     unit-tool directories [user]
 *     unit-tool files UNIT
 *     unit-tool assignments UNIT
 *
 * The first two print a line for each text, "?" for an error. Assignments are "FILE SECTION
 * KEY=VALUE" of all files, problems "! TEXT".
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/load-path.h"
#include "unit/specifiers.h"
#include "unit/unit-name.h"
#include "unit/unit-syntax.h"

static int show(int r, char *text)
{
    printf("%s\n", r < 0 ? "?" : text);
    if (r == 0)
        free(text);
    return 0;
}

static int convert(const char *verb, char **texts)
{
    static const struct {
        const char *verb;
        int (*convert)(const char *text, char **ret_text);
    } verbs[] = {
        {"escape", unit_name_escape},
        {"unescape", unit_name_unescape},
        {"path-escape", unit_name_path_escape},
        {"path-unescape", unit_name_path_unescape},
    };

    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        for (char **text = texts; strcmp(verbs[i].verb, verb) == 0 && *text; text++) {
            char *result = NULL;
            int r = verbs[i].convert(*text, &result);
            show(r, result);
        }
    return 0;
}

static int expand(char **arguments)
{
    struct specifier_context context = {
        .unit = arguments[0], .fragment = arguments[1], .max_length = PATH_MAX - 1};

    for (char **text = arguments + 2; *text; text++) {
        char *result = NULL;
        int r = specifiers_expand(*text, SPECIFIERS_FULL, &context, &result);
        show(r, result);
    }
    return 0;
}

static int directories(const struct load_path *path)
{
    const struct string_list *list = load_path_directories(path);

    for (size_t i = 0; i < list->n; i++)
        puts(list->items[i]);
    return 0;
}

static void read_file(const char *file, struct unit_text *text, struct problems *problems)
{
    static const char *const sections[] = {"Unit", "Service", "Install", NULL};

    (void)unit_text_read(text, file, sections, problems);
}

static int show_unit(struct load_path *path, const char *name, bool assignments)
{
    struct problems problems = {0};
    struct unit_text text = {0};
    struct unit_files *files;
    int r = load_path_find(path, name, &problems, &files);

    if (r < 0) {
        printf("? %s\n", strerror(-r));
        problems_done(&problems);
        return 0;
    }
    if (assignments && files->main)
        read_file(files->main, &text, &problems);
    else
        puts(files->masked ? "masked" : files->main);
    for (size_t i = 0; i < files->drop_ins.n; i++)
        if (assignments)
            read_file(files->drop_ins.items[i], &text, &problems);
        else
            puts(files->drop_ins.items[i]);
    for (size_t i = 0; i < text.n; i++)
        printf("%s %s %s=%s\n", text.assignments[i].file, text.assignments[i].section,
               text.assignments[i].key, text.assignments[i].value);
    for (size_t i = 0; i < problems.n; i++)
        printf("! %s\n", problems.list[i].text);
    unit_text_done(&text);
    problems_done(&problems);
    unit_files_free(files);
    return 0;
}

int main(int argc, char **argv)
{
    struct load_path_options options = {.unit_path = getenv("SYSTEMD_UNIT_PATH"),
                                        .user = argc > 2 && strcmp(argv[2], "user") == 0};
    struct load_path *path;

    if (argc < 2)
        return 2;
    if (strcmp(argv[1], "expand") == 0 && argc > 4)
        return expand(argv + 2);
    if (strcmp(argv[1], "directories") != 0 && strcmp(argv[1], "files") != 0 &&
        strcmp(argv[1], "assignments") != 0)
        return convert(argv[1], argv + 2);
    if (load_path_new(&options, &path) < 0)
        return 1;
    if (strcmp(argv[1], "directories") == 0)
        directories(path);
    else if (argc > 2)
        show_unit(path, argv[2], strcmp(argv[1], "assignments") == 0);
    load_path_free(path);
    return 0;
}
