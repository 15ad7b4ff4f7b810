/* SPDX-License-Identifier: MIT */
#include "unit/exec-context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unit/exec-stream.h"
#include "unit/process-values.h"
#include "unit/text.h"
#include "unit/utf8.h"
#include "unit/values.h"
#include "unit/words.h"

void exec_context_init(struct exec_context *context)
{
    *context = (struct exec_context){
        .umask = 0022,
        .std = {{.kind = EXEC_STREAM_NULL},
                {.kind = EXEC_STREAM_INHERIT},
                {.kind = EXEC_STREAM_INHERIT}},
        .ignore_sigpipe = true,
    };
}

void exec_context_done(struct exec_context *context)
{
    free(context->user);
    free(context->group);
    string_list_done(&context->supplementary_groups);
    free(context->working_directory);
    string_list_done(&context->environment);
    string_list_done(&context->environment_files);
    string_list_done(&context->pass_environment);
    string_list_done(&context->unset_environment);
    for (size_t i = 0; i < 3; i++)
        free(context->std[i].name);
    free(context->input);
    *context = (struct exec_context){0};
}

void exec_context_settle(struct exec_context *context)
{
    struct exec_stream *std = context->std;

    if (std[0].kind == EXEC_STREAM_NULL && context->input_size > 0)
        std[0].kind = EXEC_STREAM_DATA;
    if (std[0].kind == EXEC_STREAM_SOCKET || std[0].kind == EXEC_STREAM_FD)
        return;
    if (std[1].kind == EXEC_STREAM_INHERIT)
        std[1].kind = EXEC_STREAM_JOURNAL;
}

/* Takes the words of the value one by one, to a list: how they are split, and what becomes of each
 * after its specifiers; add takes the word over. The empty value empties the list. */
struct word_rule {
    unsigned flags;
    const char *expected;
    bool (*is_valid)(const char *word);
    int (*add)(struct string_list *list, char *word);
};

static int read_words(const struct value_source *source, const struct word_rule *rule,
                      struct string_list *list)
{
    const char *text = source->use->value;
    int result = 0;

    if (*text == '\0')
        string_list_done(list);
    for (;;) {
        cleanup_free char *word = NULL, *expanded = NULL;
        char quoted[UNIT_QUOTE_MAX];
        int r = word_next(&text, NULL, rule->flags, &word);
        if (r == 0 || r == -ENOMEM)
            return r == 0 ? result : r;
        if (r < 0)
            return value_fault(source, "%s",
                               r == -EILSEQ ? "an unknown escape, or one that cannot be in a text"
                                            : "an open quote, or a backslash at the end");
        if (list->n >= EXEC_LIST_MAX)
            return value_fault(source, "more than %d words in all", EXEC_LIST_MAX);
        r = value_expand(source, word, EXPAND_TEXT, &expanded);
        if (r == 0 && !rule->is_valid(expanded))
            r = value_fault(source, "\"%s\" is not %s", unit_quote(expanded, quoted),
                            rule->expected);
        if (r == 0)
            r = rule->add(list, take_pointer(&expanded));
        if (r < 0)
            return r;
        if (r > 0)
            result = r;
    }
}

static int read_groups(const struct value_source *source, void *field)
{
    static const struct word_rule rule = {
        .flags = WORDS_PLAIN,
        .expected = "a name or number that could be a group's",
        .is_valid = value_is_user,
        .add = string_list_take,
    };

    return read_words(source, &rule, field);
}

static bool is_variable(const char *word)
{
    return text_is_variable_name(word, strlen(word));
}

static bool is_assignment(const char *word)
{
    const char *equals = strchr(word, '=');

    if (!equals || !text_is_variable_name(word, (size_t)(equals - word)) || !utf8_is_valid(equals))
        return false;
    for (const char *p = equals + 1; *p; p++)
        if (((unsigned char)*p < ' ' && *p != '\t' && *p != '\n') || *p == 127)
            return false;
    return true;
}

static bool is_variable_or_assignment(const char *word)
{
    return is_variable(word) || is_assignment(word);
}

/* A later value of a variable takes the place of the first. */
static int add_assignment(struct string_list *list, char *word)
{
    size_t length = strcspn(word, "=") + 1;

    for (size_t i = 0; i < list->n; i++)
        if (strncmp(list->items[i], word, length) == 0)
            return value_replace(&list->items[i], word);
    return string_list_take(list, word);
}

static int read_environment(const struct value_source *source, void *field)
{
    static const struct word_rule rule = {
        .flags = WORDS_ENVIRONMENT,
        .expected = "NAME=VALUE",
        .is_valid = is_assignment,
        .add = add_assignment,
    };

    return read_words(source, &rule, field);
}

static int read_pass_environment(const struct value_source *source, void *field)
{
    static const struct word_rule rule = {
        .flags = WORDS_NAMES,
        .expected = "the name of a variable",
        .is_valid = is_variable,
        .add = string_list_take,
    };

    return read_words(source, &rule, field);
}

static int read_unset_environment(const struct value_source *source, void *field)
{
    static const struct word_rule rule = {
        .flags = WORDS_ENVIRONMENT,
        .expected = "NAME or NAME=VALUE",
        .is_valid = is_variable_or_assignment,
        .add = string_list_take,
    };

    return read_words(source, &rule, field);
}

static int read_environment_file(const struct value_source *source, void *field)
{
    cleanup_free char *expanded = NULL, *path = NULL;

    if (*source->use->value == '\0') {
        string_list_done(field);
        return 0;
    }
    int r = value_expand(source, source->use->value, EXPAND_PATH, &expanded);
    if (r != 0)
        return r;
    bool optional = *expanded == '-';
    r = value_check(source, value_path(expanded + optional, &path), "an absolute path");
    if (r != 0)
        return r;
    return string_list_add_format(field, "%s%s", optional ? "-" : "", path);
}

static int read_working_directory(const struct value_source *source, void *field)
{
    struct exec_context *context = field;
    const char *value = source->use->value;
    bool optional = *value == '-';
    bool home = strcmp(value + optional, "~") == 0;
    char *path = NULL;
    int r = 0;

    if (*value != '\0' && !home)
        r = value_expand_path(source, value + optional, &path);
    if (r != 0)
        return r;
    context->working_directory_home = home;
    context->working_directory_optional = optional;
    return value_replace(&context->working_directory, path);
}

static int read_umask(const struct value_source *source, void *field)
{
    struct exec_context *context = field;
    int r = read_mode(source, &context->umask);

    if (r == 0)
        context->umask_is_set = true;
    return r;
}

static int read_limit(const struct value_source *source, void *field)
{
    struct exec_limit *limits = field;
    struct rlimit limit;
    int resource;
    int r = limit_from_key(source->use->key, &resource);

    if (r < 0)
        return value_fault(source, "no limit of this name");
    r = value_limit(resource, source->use->value, &limit);
    if (r == -EILSEQ)
        return value_fault(source, "the soft limit is above the hard one");
    if (r < 0)
        return value_check(source, r, "LIMIT or SOFT:HARD, as numbers or \"infinity\"");
    limits[resource] = (struct exec_limit){.is_set = true, .value = limit};
    return 0;
}

/* The empty value means that nothing was said. */
static int set_number(const struct value_source *source, int (*parse)(const char *text, int *ret),
                      const char *expected, struct exec_number *number)
{
    struct exec_number read = {.is_set = *source->use->value != '\0'};
    int r = read.is_set ? value_check(source, parse(source->use->value, &read.value), expected) : 0;

    if (r == 0)
        *number = read;
    return r;
}

static int read_nice(const struct value_source *source, void *field)
{
    return set_number(source, value_nice, "a number from -20 to 19", field);
}

static int read_oom_score(const struct value_source *source, void *field)
{
    return set_number(source, value_oom_score_adjust, "a number from -1000 to 1000", field);
}

#define FIELD(name_) offsetof(struct exec_context, name_)
#define LIMIT(name_)                                                                               \
    {                                                                                              \
        "Limit" name_, read_limit, FIELD(limits)                                                   \
    }

static const struct unit_key keys[] = {
    {"Environment", read_environment, FIELD(environment)},
    {"EnvironmentFile", read_environment_file, FIELD(environment_files)},
    {"Group", read_user, FIELD(group)},
    {"IgnoreSIGPIPE", read_boolean, FIELD(ignore_sigpipe)},
    LIMIT("AS"),
    LIMIT("CORE"),
    LIMIT("CPU"),
    LIMIT("DATA"),
    LIMIT("FSIZE"),
    LIMIT("LOCKS"),
    LIMIT("MEMLOCK"),
    LIMIT("MSGQUEUE"),
    LIMIT("NICE"),
    LIMIT("NOFILE"),
    LIMIT("NPROC"),
    LIMIT("RSS"),
    LIMIT("RTPRIO"),
    LIMIT("RTTIME"),
    LIMIT("SIGPENDING"),
    LIMIT("STACK"),
    {"Nice", read_nice, FIELD(nice)},
    {"NoNewPrivileges", read_boolean, FIELD(no_new_privileges)},
    {"OOMScoreAdjust", read_oom_score, FIELD(oom_score)},
    {"PassEnvironment", read_pass_environment, FIELD(pass_environment)},
    {"StandardError", read_output_stream, FIELD(std[2])},
    {"StandardInput", read_input_stream, FIELD(std[0])},
    {"StandardInputData", read_input_data, 0},
    {"StandardInputText", read_input_text, 0},
    {"StandardOutput", read_output_stream, FIELD(std[1])},
    {"SupplementaryGroups", read_groups, FIELD(supplementary_groups)},
    {"UMask", read_umask, 0},
    {"UnsetEnvironment", read_unset_environment, FIELD(unset_environment)},
    {"User", read_user, FIELD(user)},
    {"WorkingDirectory", read_working_directory, 0},
};

struct unit_keys exec_context_keys(struct exec_context *context)
{
    return (struct unit_keys){keys, sizeof(keys) / sizeof(keys[0]), context};
}
