/* SPDX-License-Identifier: MIT */
#include "unit/conditions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unit/condition-kinds.h"
#include "unit/text.h"
#include "unit/unit-values.h"

static const struct kind {
    const char *name; /* behind "Condition" and "Assert" */
    int (*test)(const char *parameter);
    int (*check)(const char *parameter); /* NULL: any text will do; of paths it is another one */
    const char *expected;                /* by the check */
    bool is_path;
} kinds[] = {
    {"Architecture", test_architecture, check_architecture,
     "an architecture that hark can tell, as systemd names it (\"x86-64\", \"native\")", false},
    {"CPUs", test_cpus, check_cpus, "a number of CPUs, with an operator or not", false},
    {"Capability", test_capability, check_capability, "a capability (\"CAP_NET_ADMIN\")", false},
    {"DirectoryNotEmpty", test_directory_not_empty, NULL, NULL, true},
    {"Environment", test_environment, NULL, NULL, false},
    {"FileIsExecutable", test_file_is_executable, NULL, NULL, true},
    {"FileNotEmpty", test_file_not_empty, NULL, NULL, true},
    {"Group", test_group, check_group, "a group", false},
    {"Host", test_host, NULL, NULL, false},
    {"KernelCommandLine", test_kernel_command_line, NULL, NULL, false},
    {"KernelVersion", test_kernel_version, check_kernel_version,
     "versions with operators (\">=5.10 <7\"), or patterns", false},
    {"Memory", test_memory, check_memory, "a size of memory, with an operator or not", false},
    {"OSRelease", test_os_release, check_os_release,
     "fields of os-release(5) with operators (\"ID=debian VERSION_ID>=12\")", false},
    {"PathExists", test_path_exists, NULL, NULL, true},
    {"PathExistsGlob", test_path_exists_glob, NULL, NULL, true},
    {"PathIsDirectory", test_path_is_directory, NULL, NULL, true},
    {"PathIsMountPoint", test_path_is_mount_point, NULL, NULL, true},
    {"PathIsReadWrite", test_path_is_read_write, NULL, NULL, true},
    {"PathIsSymbolicLink", test_path_is_symbolic_link, NULL, NULL, true},
    {"User", test_user, check_user, "a user, or @system", false},
    {"Virtualization", test_virtualization, check_virtualization,
     "yes, no, vm, container, private-users, or what hark can tell of systemd-detect-virt(1)",
     false},
};

static const char *const prefixes[N_CONDITION_GROUPS] = {
    [CONDITIONS] = "Condition",
    [ASSERTIONS] = "Assert",
};

void conditions_done(struct condition_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].parameter);
    free(list->items);
    *list = (struct condition_list){0};
}

/* The group of a key, N_CONDITION_GROUPS for what is no condition. */
static enum condition_group find_group(const struct directive_use *use)
{
    enum condition_group group = CONDITIONS;

    if (use->section != SECTION_UNIT || !use->directive)
        return N_CONDITION_GROUPS;
    while (group < N_CONDITION_GROUPS &&
           strncmp(use->key, prefixes[group], strlen(prefixes[group])) != 0)
        group++;
    return group;
}

/* Of a key in this group; NULL for what is not evaluated. */
static const struct kind *find_kind(enum condition_group group, const char *key)
{
    const char *name = key + strlen(prefixes[group]);

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

/* The parameter, from the text behind the signs. 0, UNIT_FAULT, -ENOMEM. */
static int read_parameter(const struct value_source *source, const struct kind *kind,
                          const char *text, char **ret_parameter)
{
    cleanup_free char *parameter = NULL;
    int r;

    if (kind->is_path)
        return value_expand_path(source, text, ret_parameter);
    r = value_expand(source, text, EXPAND_TEXT, &parameter);
    if (r != 0)
        return r;
    if (*parameter == '\0')
        return value_fault(source, "there is nothing to check");
    r = kind->check ? value_check(source, kind->check(parameter), kind->expected) : 0;
    if (r == 0)
        *ret_parameter = take_pointer(&parameter);
    return r;
}

/* Only "|!", not "!|". Behind them blanks are possible, but not in front of a path. */
static int read_condition(const struct value_source *source, struct condition *condition)
{
    const struct kind *kind = find_kind(condition->group, source->use->key);
    const char *text = source->use->value;

    if (!kind)
        return value_fault(source, "this version of hark has no reader for it");
    condition->kind = (unsigned)(kind - kinds);
    condition->is_triggering = *text == '|';
    text += condition->is_triggering;
    text += kind->is_path ? 0 : strspn(text, BLANKS);
    condition->is_negated = *text == '!';
    text += condition->is_negated;
    text += kind->is_path ? 0 : strspn(text, BLANKS);
    return read_parameter(source, kind, text, &condition->parameter);
}

static int read_all(const struct unit_file *unit, struct problems *problems,
                    struct condition_list *list)
{
    size_t first[N_CONDITION_GROUPS + 1] = {0}; /* that no empty one comes behind */

    for (size_t i = 0; i < unit->n_uses; i++)
        if (*unit->uses[i].value == '\0')
            first[find_group(&unit->uses[i])] = i + 1;
    list->items = calloc(unit->n_uses + 1, sizeof(*list->items));
    if (!list->items)
        return -ENOMEM;
    for (size_t i = 0; i < unit->n_uses; i++) {
        const struct directive_use *use = &unit->uses[i];
        struct value_source source = {.unit = unit, .use = use, .problems = problems};
        struct condition *condition = &list->items[list->n];
        enum condition_group group = find_group(use);
        if (group == N_CONDITION_GROUPS || use->verdict != VERDICT_HONOURED || i < first[group])
            continue;
        *condition = (struct condition){
            .group = group,
            .key = use->key,
            .value = use->value,
            .file = use->file,
            .line = use->line,
        };
        int r = read_condition(&source, condition);
        if (r < 0)
            return r;
        list->n += r == 0;
    }
    return 0;
}

int conditions_read(const struct unit_file *unit, struct problems *problems,
                    struct condition_list *ret_list)
{
    struct condition_list list = {0};
    int r = read_all(unit, problems, &list);

    if (r < 0) {
        conditions_done(&list);
        return r;
    }
    *ret_list = list;
    return 0;
}

/* Whether it is met; why not is in *failure. -ENOMEM. */
static int evaluate(const struct condition *condition, struct condition_failure *failure)
{
    int r = kinds[condition->kind].test(condition->parameter);

    if (r == -ENOMEM)
        return r;
    *failure = (struct condition_failure){.condition = condition, .error = r < 0 ? r : 0};
    return r >= 0 && (r > 0) != condition->is_negated;
}

int conditions_evaluate(const struct condition_list *list, enum condition_group group,
                        struct condition_failure *ret_failure)
{
    struct condition_failure first_triggering = {0};
    bool is_triggered = false;

    for (size_t i = 0; i < list->n; i++) {
        const struct condition *condition = &list->items[i];
        struct condition_failure failure;
        if (condition->group != group || (condition->is_triggering && is_triggered))
            continue;
        int r = evaluate(condition, &failure);
        if (r < 0)
            return r;
        if (condition->is_triggering) {
            is_triggered = r > 0;
            if (!first_triggering.condition)
                first_triggering = failure;
        } else if (r == 0) {
            *ret_failure = failure;
            return 0;
        }
    }
    if (!first_triggering.condition || is_triggered)
        return 1;
    *ret_failure = first_triggering;
    return 0;
}
