/* SPDX-License-Identifier: MIT */
#include "unit/unit-file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "basic/cleanup.h"
#include "unit/text.h"
#include "unit/unit-name.h"
#include "unit/words.h"

const char *verdict_name(enum verdict verdict)
{
    static const char *const names[] = {
        [VERDICT_HONOURED] = "honoured",   [VERDICT_HARMLESS] = "harmless",
        [VERDICT_NEUTRAL] = "neutral",     [VERDICT_REFUSED] = "refused",
        [VERDICT_IGNORED] = "run without", [VERDICT_UNKNOWN] = "unknown",
    };

    return names[verdict];
}

const char *unit_quote(const char *text, char buffer[UNIT_QUOTE_MAX])
{
    static const char more[] = "…";
    size_t length = strlen(text);
    bool cut = length >= UNIT_QUOTE_MAX;

    if (cut) {
        length = UNIT_QUOTE_MAX - sizeof(more);
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) /* within a character */
            length--;
    }
    for (size_t i = 0; i < length; i++)
        buffer[i] = (unsigned char)text[i] < ' ' || text[i] == 127 ? '?' : text[i];
    memcpy(buffer + length, cut ? more : "", cut ? sizeof(more) : 1);
    return buffer;
}

struct unit_file *unit_file_free(struct unit_file *unit)
{
    if (!unit)
        return NULL;
    for (size_t i = 0; i < unit->n_uses; i++)
        free(unit->uses[i].expanded);
    free(unit->uses);
    free(unit->name);
    free(unit->main);
    free(unit->asked);
    free(unit->fragment);
    free(unit->root);
    string_list_done(&unit->ignored);
    unit_text_done(&unit->text);
    free(unit);
    return NULL;
}

static void free_helper(struct unit_file **unit)
{
    unit_file_free(*unit);
}
#define cleanup_unit_file cleanup(free_helper)

static void free_files_helper(struct unit_files **files)
{
    unit_files_free(*files);
}

struct specifier_context unit_file_specifiers(const struct unit_file *unit,
                                              const struct directive_use *use, size_t max_length)
{
    return (struct specifier_context){
        .unit = use->unit_name,
        .fragment = unit->fragment,
        .root = unit->root,
        .user = unit->user,
        .max_length = max_length,
    };
}

const struct directive_use *unit_file_last_use(const struct unit_file *unit,
                                               enum directive_section section, const char *key)
{
    for (size_t i = unit->n_uses; i-- > 0;)
        if (unit->uses[i].section == section && strcmp(unit->uses[i].key, key) == 0)
            return &unit->uses[i];
    return NULL;
}

/* The sections of this type of unit; NULL for one that hark does not read. */
static const char *const *find_sections(const char *name)
{
    static const char *const socket[] = {"Unit", "Socket", "Install", NULL};
    static const char *const service[] = {"Unit", "Service", "Install", NULL};
    const char *type = unit_name_type(name);

    if (type && strcmp(type, "socket") == 0)
        return socket;
    return type && strcmp(type, "service") == 0 ? service : NULL;
}

static size_t count_percent_signs(const char *text)
{
    size_t n = 0;

    while ((text = strchr(text, '%'))) {
        text++;
        n++;
    }
    return n;
}

/* Sets what the value is after specifiers, if that is possible. *total is of all uses. */
static int expand_use(const struct unit_file *unit, struct directive_use *use, size_t *total,
                      struct problems *problems)
{
    struct specifier_context context = unit_file_specifiers(unit, use, UNIT_LINE_MAX);

    if (specifiers_expand(use->value, SPECIFIERS_FULL, &context, &use->expanded) == -ENOMEM)
        return -ENOMEM;
    *total += use->expanded ? strlen(use->expanded) : 0;
    if (*total <= UNIT_EXPANDED_MAX)
        return 0;
    problems_add(problems, PROBLEM_ERROR, use->file, use->line,
                 "cannot read \"%s\": more than %zu MiB with its specifiers resolved", unit->name,
                 UNIT_EXPANDED_MAX >> 20);
    return -EFBIG;
}

/* The assignments as uses, without any verdict. Those from n_main on are of drop-ins. */
static int list_uses(struct unit_file *unit, size_t n_main, struct problems *problems)
{
    size_t total = 0, n_specifiers = 0;

    unit->uses = calloc(unit->text.n + 1, sizeof(*unit->uses));
    if (!unit->uses)
        return -ENOMEM;
    for (size_t i = 0; i < unit->text.n; i++) {
        const struct unit_assignment *one = &unit->text.assignments[i];
        unsigned section = directive_section_from_name(one->section);
        if (section == 0 || strncmp(one->key, "X-", 2) == 0)
            continue;
        struct directive_use *use = &unit->uses[unit->n_uses++];
        *use = (struct directive_use){
            .directive = directive_find(section, one->key),
            .section = section,
            .key = one->key,
            .value = one->value,
            .file = one->file,
            .line = one->line,
            .unit_name = i < n_main ? unit->asked : unit->name,
        };
        n_specifiers += count_percent_signs(one->value);
        if (n_specifiers > UNIT_SPECIFIERS_MAX) {
            problems_add(problems, PROBLEM_ERROR, one->file, one->line,
                         "cannot read \"%s\": more than %zu specifiers", unit->name,
                         UNIT_SPECIFIERS_MAX);
            return -EFBIG;
        }
        int r = expand_use(unit, use, &total, problems);
        if (r < 0)
            return r;
    }
    return 0;
}

bool unit_file_may_ignore(const char *name)
{
    size_t n;
    const struct directive *table = directive_table(&n);
    bool is_known = false;

    for (size_t i = 0; i < n; i++) {
        /* Own keys are never ignored, and some have the name of one that is honoured. */
        if (strcmp(table[i].name, name) != 0 || table[i].sections == SECTION_X_HARK)
            continue;
        is_known = true;
        if (table[i].class == CLASS_REFUSED || table[i].class == CLASS_REFUSED_UNLESS_NEUTRAL)
            return true;
    }
    return !is_known;
}

/* The names in one Ignore=, which are added to the list. */
static int read_ignore(const struct directive_use *use, struct string_list *list,
                       struct problems *problems)
{
    const char *text = use->value;

    if (*text == '\0')
        string_list_done(list);
    for (;;) {
        char *name;
        char buffer[UNIT_QUOTE_MAX];
        int r = word_next(&text, BLANKS ",", WORDS_PLAIN, &name);
        if (r == -ENOMEM || r == 0)
            return r;
        if (r < 0) {
            problems_add(problems, PROBLEM_ERROR, use->file, use->line,
                         "cannot parse \"Ignore=%s\": a backslash at the end",
                         unit_quote(use->value, buffer));
            return 0;
        }
        if (!unit_file_may_ignore(name))
            problems_add(problems, PROBLEM_ERROR, use->file, use->line,
                         "cannot ignore \"%s\": only what hark refuses can be ignored",
                         unit_quote(name, buffer));
        r = string_list_take(list, name);
        if (r < 0)
            return r;
    }
}

static int read_ignores(struct unit_file *unit, const struct string_list *ignore,
                        struct problems *problems)
{
    cleanup(string_list_done) struct string_list own = {0};
    int r = 0;

    for (size_t i = 0; i < unit->n_uses && r == 0; i++)
        if (unit->uses[i].section == SECTION_X_HARK && strcmp(unit->uses[i].key, "Ignore") == 0)
            r = read_ignore(&unit->uses[i], &own, problems);
    for (size_t i = 0; ignore && i < ignore->n && r == 0; i++)
        r = string_list_add(&unit->ignored, ignore->items[i]);
    for (size_t i = 0; i < own.n && r == 0; i++)
        r = string_list_take(&unit->ignored, take_pointer(&own.items[i]));
    string_list_sort(&unit->ignored);
    return r;
}

static int compare_text(const void *key, const void *item)
{
    return strcmp(key, *(char *const *)item);
}

static bool is_in(const struct string_list *sorted, const char *text)
{
    return sorted->n > 0 &&
           bsearch(text, sorted->items, sorted->n, sizeof(*sorted->items), compare_text);
}

static bool is_ignored(const struct unit_file *unit, const struct directive_use *use)
{
    return is_in(&unit->ignored, use->key) ||
           (use->directive && use->directive->is_sandbox && is_in(&unit->ignored, "sandbox"));
}

static bool is_neutral(const struct directive_use *use)
{
    return directive_is_neutral(use->directive, use->value) ||
           (use->expanded && *use->expanded != '\0' &&
            directive_is_neutral(use->directive, use->expanded));
}

/* Whether uses add up: so it is with the keys that the empty value alone resets, and for those that
 * are no lists after all it only means that each use is refused by itself. */
static bool is_list(const struct directive *directive)
{
    return directive->class == CLASS_REFUSED ||
           (directive->neutral_kind == NEUTRAL_TEXT &&
            (strcmp(directive->neutral, "") == 0 || strcmp(directive->neutral, "~") == 0));
}

/* The keys that one empty assignment resets together. */
enum reset_group {
    RESET_ALONE,
    RESET_CONDITIONS,
    RESET_ASSERTIONS,
    RESET_LISTENERS,
    N_RESET_GROUPS,
};

static enum reset_group find_reset_group(const char *key)
{
    static const char *const prefixes[N_RESET_GROUPS] = {
        [RESET_CONDITIONS] = "Condition",
        [RESET_ASSERTIONS] = "Assert",
        [RESET_LISTENERS] = "Listen",
    };

    for (unsigned group = RESET_CONDITIONS; group < N_RESET_GROUPS; group++)
        if (strncmp(key, prefixes[group], strlen(prefixes[group])) == 0)
            return group;
    return RESET_ALONE;
}

static enum verdict judge(const struct unit_file *unit, const struct directive_use *use,
                          bool overridden)
{
    if (!use->directive)
        return is_ignored(unit, use) ? VERDICT_IGNORED : VERDICT_UNKNOWN;
    if (use->directive->class == CLASS_HONOURED)
        return VERDICT_HONOURED;
    if (use->directive->class == CLASS_HARMLESS)
        return VERDICT_HARMLESS;
    /* Even ListenUSBFunction= does, when it is empty: it resets the other listeners. */
    if (*use->value == '\0' && find_reset_group(use->key) == RESET_LISTENERS)
        return VERDICT_HONOURED;
    if (overridden || is_neutral(use))
        return VERDICT_NEUTRAL;
    return is_ignored(unit, use) ? VERDICT_IGNORED : VERDICT_REFUSED;
}

/* From the last use to the first, to know what comes later. */
static int judge_all(struct unit_file *unit)
{
    size_t n;
    const struct directive *table = directive_table(&n);
    cleanup_free bool *settled = calloc(n, sizeof(*settled)); /* by a later use */
    bool reset[N_RESET_GROUPS] = {false};

    if (!settled)
        return -ENOMEM;
    for (size_t i = unit->n_uses; i-- > 0;) {
        struct directive_use *use = &unit->uses[i];
        if (!use->directive) {
            use->verdict = judge(unit, use, false);
            continue;
        }
        enum reset_group group = find_reset_group(use->key);
        bool *is_settled = &settled[use->directive - table];
        use->verdict = judge(unit, use, *is_settled || reset[group]);
        if (group != RESET_ALONE && *use->value == '\0')
            reset[group] = true;
        if (use->verdict == VERDICT_NEUTRAL || !is_list(use->directive))
            *is_settled = true;
    }
    return 0;
}

/* What an unknown key may have been meant to be. */
static const struct directive *find_similar(const char *key)
{
    size_t n;
    const struct directive *table = directive_table(&n);

    for (size_t i = 0; i < n; i++)
        if (strcasecmp(table[i].name, key) == 0)
            return &table[i];
    return NULL;
}

static void report_unknown(const struct directive_use *use, struct problems *problems)
{
    char key[UNIT_QUOTE_MAX];
    const char *section = directive_section_name(use->section);
    const struct directive *similar = NULL;

    unit_quote(use->key, key);
    if (problems->n < PROBLEMS_MAX)
        similar = find_similar(use->key);
    if (similar && strcmp(similar->name, use->key) != 0) {
        problems_add(problems, PROBLEM_ERROR, use->file, use->line,
                     "unknown key \"%s\" in [%s]: did you mean \"%s\"", key, section,
                     similar->name);
    } else if (similar) {
        unsigned first = similar->sections & -similar->sections;
        unsigned second = similar->sections & ~first; /* at most one: SECTION_SERVICE */
        problems_add(problems, PROBLEM_ERROR, use->file, use->line,
                     "unknown key \"%s\" in [%s]: it belongs in [%s]%s", key, section,
                     directive_section_name(first), second ? " or [Service]" : "");
    } else {
        problems_add(problems, PROBLEM_ERROR, use->file, use->line,
                     "unknown key \"%s\" in [%s]: remove it, or ignore it by name", key, section);
    }
}

static void report_all(const struct unit_file *unit, struct problems *problems)
{
    char text[UNIT_QUOTE_MAX];

    for (size_t i = 0; i < unit->n_uses; i++) {
        const struct directive_use *use = &unit->uses[i];
        if (use->verdict == VERDICT_UNKNOWN)
            report_unknown(use, problems);
        if (use->verdict == VERDICT_REFUSED)
            problems_add(problems, PROBLEM_ERROR, use->file, use->line,
                         "cannot honour \"%s=%s\": %s", use->key, unit_quote(use->value, text),
                         use->directive->instead);
    }
}

/* From the text of the unit, of which n_main assignments are in the main file, to verdicts. */
static int finish(struct unit_file *unit, size_t n_main, const struct unit_file_options *options,
                  struct problems *problems)
{
    int r = list_uses(unit, n_main, problems);

    if (r == 0)
        r = read_ignores(unit, options->ignore, problems);
    if (r == 0)
        r = judge_all(unit);
    if (r == 0)
        report_all(unit, problems);
    return r;
}

static int copy(const char *text, char **ret_copy)
{
    if (text && !(*ret_copy = strdup(text)))
        return -ENOMEM;
    return 0;
}

/* A unit without anything in it. */
static int new_unit(const struct unit_file_options *options, const char *asked, const char *name,
                    const char *main, struct unit_file **ret_unit)
{
    cleanup_unit_file struct unit_file *unit = calloc(1, sizeof(*unit));

    if (!unit || copy(name, &unit->name) < 0 || copy(asked, &unit->asked) < 0 ||
        copy(main, &unit->main) < 0 || copy(options->root, &unit->root) < 0)
        return -ENOMEM;
    unit->user = options->user;
    *ret_unit = take_pointer(&unit);
    return 0;
}

/* Says why there is no unit, and passes the error on. */
static int fail(struct problems *problems, const char *name, int error)
{
    char text[UNIT_QUOTE_MAX];
    const char *reason = strerror(-error);

    if (error == -EINVAL)
        reason = unit_name_classify(name) == UNIT_NAME_TEMPLATE
                     ? "it is a template: name an instance of it"
                     : "not the name of a unit";
    else if (error == -ENOENT)
        reason = "no such unit in the search path";
    else if (error == -ERFKILL)
        reason = "it is masked";
    else if (error == -EOPNOTSUPP)
        reason = "not a .socket or .service";
    problems_add(problems, PROBLEM_ERROR, NULL, 0, "cannot load \"%s\": %s", unit_quote(name, text),
                 reason);
    return error;
}

/* The kinds of names that make a unit: 0, -EINVAL, -EOPNOTSUPP. */
static int check_name(const char *name)
{
    enum unit_name_kind kind = unit_name_classify(name);

    if (kind != UNIT_NAME_PLAIN && kind != UNIT_NAME_INSTANCE)
        return -EINVAL;
    return find_sections(name) ? 0 : -EOPNOTSUPP;
}

/* A file that cannot be read is a problem, and the others are read. */
static int read_file(struct unit_file *unit, const char *file, struct problems *problems)
{
    int r = unit_text_read(&unit->text, file, find_sections(unit->name), problems);

    if (r < 0)
        unit->incomplete = true;
    return r == -ENOMEM ? r : 0;
}

static int load_files(const struct unit_file_options *options, const char *name,
                      const struct unit_files *files, struct problems *problems,
                      struct unit_file **ret_unit)
{
    cleanup_unit_file struct unit_file *unit = NULL;
    int r = new_unit(options, name, files->name, files->main, &unit);

    if (r == 0)
        r = copy(files->fragment, &unit->fragment);
    if (r == 0)
        r = read_file(unit, files->main, problems);
    if (r < 0)
        return r;
    size_t n_main = unit->text.n;
    for (size_t i = 0; i < files->drop_ins.n && r == 0; i++)
        r = read_file(unit, files->drop_ins.items[i], problems);
    if (r == 0)
        r = finish(unit, n_main, options, problems);
    if (r < 0)
        return r;
    *ret_unit = take_pointer(&unit);
    return 0;
}

int unit_file_load(const struct unit_file_options *options, const char *name,
                   const struct unit_files *files, struct problems *problems,
                   struct unit_file **ret_unit)
{
    cleanup(free_files_helper) struct unit_files *found = NULL;
    int r = check_name(name);

    if (r == 0 && !files) {
        r = load_path_find(options->path, name, problems, &found);
        files = found;
    }
    if (r == 0 && files->masked)
        r = -ERFKILL;
    if (r < 0)
        return fail(problems, name, r);
    r = load_files(options, name, files, problems, ret_unit);
    return r == -ENOMEM ? fail(problems, name, r) : r;
}

int unit_file_from_text(const struct unit_file_options *options, const char *name,
                        const struct unit_source *source, struct problems *problems,
                        struct unit_file **ret_unit)
{
    cleanup_unit_file struct unit_file *unit = NULL;
    int r = check_name(name);

    if (r < 0)
        return fail(problems, name, r);
    r = new_unit(options, name, name, source->file, &unit);
    if (r == 0) {
        r = unit_text_parse(&unit->text, source, find_sections(name), problems);
        if (r < 0 && r != -ENOMEM) {
            unit->incomplete = true;
            r = 0;
        }
    }
    if (r == 0)
        r = finish(unit, unit->text.n, options, problems);
    if (r < 0)
        return r == -ENOMEM ? fail(problems, name, r) : r;
    *ret_unit = take_pointer(&unit);
    return 0;
}
