/* SPDX-License-Identifier: MIT */
/*
 * What hark makes of conditions, to be compared with what systemd makes of them. Each line of the
 * input is a unit: assignments of [Unit] with tabs between them. Each line of the output is the
 * result: "succeeded", "failed KEY=VALUE", "unknown KEY=VALUE: ERROR", "refused MESSAGE".
 *
 *     evaluate-conditions < LINES
 *     evaluate-conditions ROOT    what virtualization_detect_container() and _vm() find there
 *     evaluate-conditions versions < LINES    -1, 0 or 1 for the two in each line
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/conditions.h"
#include "unit/version.h"
#include "unit/virtualization.h"

static void print_result(const struct condition_list *list)
{
    struct condition_failure failure;
    int r = 1;

    for (unsigned group = 0; group < N_CONDITION_GROUPS && r > 0; group++)
        r = conditions_evaluate(list, group, &failure);
    if (r < 0)
        exit(1);
    if (r > 0)
        puts("succeeded");
    else if (failure.error < 0)
        printf("unknown %s=%s: %s\n", failure.condition->key, failure.condition->value,
               strerror(-failure.error));
    else
        printf("failed %s=%s\n", failure.condition->key, failure.condition->value);
}

static void evaluate(const char *line)
{
    char text[8192];
    struct unit_file_options options = {0};
    struct unit_source source = {.file = "input", .data = text};
    struct problems problems = {0};
    struct condition_list list = {0};
    struct unit_file *unit;

    source.size = (size_t)snprintf(text, sizeof(text), "[Unit]\n%s\n", line);
    for (char *tab = text; (tab = strchr(tab, '\t'));)
        *tab = '\n';
    if (unit_file_from_text(&options, "test.service", &source, &problems, &unit) < 0 ||
        conditions_read(unit, &problems, &list) < 0)
        exit(1);
    if (problems.n > 0)
        printf("refused %s\n", problems.list[0].text);
    else
        print_result(&list);
    conditions_done(&list);
    problems_done(&problems);
    unit_file_free(unit);
}

static void print_virtualization(int r, const struct virtualization *found)
{
    if (r < 0)
        puts(strerror(-r));
    else
        puts(found->name ? found->name : found->kind == VIRTUALIZATION_NONE ? "none" : "?");
}

static void compare_versions(char *line)
{
    char *second = strchr(line, ' ');

    if (!second)
        exit(2);
    *second++ = '\0';
    int order = version_compare(line, second);
    printf("%d\n", (order > 0) - (order < 0));
}

int main(int argc, char **argv)
{
    char line[4096];
    struct virtualization found = {0};

    bool of_versions = argc == 2 && strcmp(argv[1], "versions") == 0;

    if (argc == 2 && !of_versions) {
        int r = virtualization_detect_container(argv[1], &found);
        print_virtualization(r, &found);
        r = virtualization_detect_vm(argv[1], &found);
        print_virtualization(r, &found);
        return 0;
    }
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (of_versions)
            compare_versions(line);
        else
            evaluate(line);
    }
    return 0;
}
