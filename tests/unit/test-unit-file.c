/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "unit-text.h"

/* "KEY=VALUE verdict\n" for each use. */
static const char *list_uses(const struct unit_file *unit)
{
    static char text[8192];
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < unit->n_uses; i++) {
        const struct directive_use *use = &unit->uses[i];
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s=%s %s\n", use->key,
                                 use->expanded ? use->expanded : "?", verdict_name(use->verdict));
        ASSERT(used < sizeof(text));
    }
    return text;
}

/* The verdicts on a service's text; the problems go to *problems. */
static const char *judge(const char *text, struct problems *problems)
{
    struct unit_file *unit = parse_unit("a@b.service", text, problems);
    const char *uses = list_uses(unit);

    unit_file_free(unit);
    return uses;
}

TEST(verdicts)
{
    struct problems problems = {0};

    ASSERT_STRING(judge("[Unit]\n"
                        "Description=of %i\n"
                        "[Service]\n"
                        "ExecStart=/bin/true\n"
                        "PrivateTmp=no\n"
                        "PrivateTmp=yes\n"
                        "X-Mine=1\n"
                        "Frobnicate=1\n"
                        "[X-Other]\n"
                        "PrivateTmp=yes\n",
                        &problems),
                  "Description=of b harmless\n"
                  "ExecStart=/bin/true honoured\n"
                  "PrivateTmp=no neutral\n"
                  "PrivateTmp=yes refused\n"
                  "Frobnicate=1 unknown\n");
    ASSERT_INT(problems.n_errors, 2);
    ASSERT_STRING(
        list_problems(&problems),
        "u:6: cannot honour \"PrivateTmp=yes\": run hark in a container or unit that "
        "confines it, and say so with --ignore=sandbox\n"
        "u:8: unknown key \"Frobnicate\" in [Service]: remove it, or ignore it by name\n");
}

TEST(unknown_keys_are_explained)
{
    struct problems problems = {0};

    judge("[Service]\nexecstart=/bin/true\nListenStream=1\n[Unit]\nUser=x\n", &problems);
    ASSERT_STRING(list_problems(&problems),
                  "u:2: unknown key \"execstart\" in [Service]: did you mean \"ExecStart\"\n"
                  "u:3: unknown key \"ListenStream\" in [Service]: it belongs in [Socket]\n"
                  "u:5: unknown key \"User\" in [Unit]: it belongs in [Socket] or [Service]\n");
}

TEST(the_last_scalar_counts)
{
    struct problems problems = {0};

    ASSERT_STRING(judge("[Service]\nRestart=always\nRestart=no\nCPUSchedulingPriority="
                        "5\nCPUSchedulingPriority=6\n",
                        &problems),
                  "Restart=always neutral\nRestart=no neutral\n"
                  "CPUSchedulingPriority=5 neutral\nCPUSchedulingPriority=6 refused\n");
    ASSERT_INT(problems.n_errors, 1);
    problems_done(&problems);
}

TEST(empty_values_reset_lists)
{
    struct problems problems = {0};

    ASSERT_STRING(judge("[Service]\n"
                        "ReadWritePaths=/a\nReadWritePaths=\n"
                        "InaccessiblePaths=\nInaccessiblePaths=/b\nInaccessiblePaths=/c\n",
                        &problems),
                  "ReadWritePaths=/a neutral\nReadWritePaths= neutral\n"
                  "InaccessiblePaths= neutral\nInaccessiblePaths=/b refused\n"
                  "InaccessiblePaths=/c refused\n");
    ASSERT_INT(problems.n_errors, 2);
    problems_done(&problems);
}

TEST(one_empty_condition_resets_all)
{
    struct problems problems = {0};

    ASSERT_STRING(judge("[Unit]\n"
                        "ConditionSecurity=a\nAssertSecurity=b\nConditionHost=\n"
                        "ConditionACPower=yes\nConditionUser=root\n",
                        &problems),
                  "ConditionSecurity=a neutral\nAssertSecurity=b refused\n"
                  "ConditionHost= honoured\nConditionACPower=yes refused\n"
                  "ConditionUser=root honoured\n");
    problems_done(&problems);
}

TEST(specifiers_that_cannot_be_resolved_are_no_fault_here)
{
    struct problems problems = {0};

    ASSERT_STRING(judge("[Unit]\nDescription=100%X\n", &problems), "Description=? harmless\n");
    ASSERT_INT(problems.n, 0);
}

TEST(ignored_in_the_unit)
{
    struct problems problems = {0};

    ASSERT_STRING(
        judge("[Service]\n"
              "PrivateTmp=yes\nProtectSystem=strict\nRestart=always\nNewKey="
              "1\nCPUSchedulingPriority=3\n"
              "[X-Hark]\n"
              "Ignore=CPUSchedulingPriority\nIgnore=\nIgnore=sandbox, Restart NewKey\n",
              &problems),
        "PrivateTmp=yes run without\nProtectSystem=strict run without\n"
        "Restart=always run without\nNewKey=1 run without\nCPUSchedulingPriority=3 refused\n"
        "Ignore=CPUSchedulingPriority honoured\nIgnore= honoured\n"
        "Ignore=sandbox, Restart NewKey honoured\n");
    ASSERT_INT(problems.n, 1);
    problems_done(&problems);
}

TEST(what_cannot_be_ignored)
{
    struct problems problems = {0};

    judge("[Service]\nUser=x\n[X-Hark]\nIgnore=User\n", &problems);
    ASSERT_STRING(list_problems(&problems),
                  "u:4: cannot ignore \"User\": only what hark refuses can be ignored\n");
    judge("[X-Hark]\nWorkers=3\nExitIdleTimeSec=9\nbogus=1\n", &problems);
    ASSERT_STRING(
        list_problems(&problems),
        "u:2: cannot honour \"Workers=3\": not in this version of hark: remove it, or "
        "keep this unit with systemd\n"
        "u:3: cannot honour \"ExitIdleTimeSec=9\": not in this version of hark: remove it, or "
        "keep this unit with systemd\n"
        "u:4: unknown key \"bogus\" in [X-Hark]: remove it, or ignore it by name\n");
    ASSERT(unit_file_may_ignore("ExecStartPre")); /* of [Service] */
    ASSERT(unit_file_may_ignore("sandbox"));
    ASSERT(!unit_file_may_ignore("ListenStream"));
    ASSERT(!unit_file_may_ignore("Description"));
}

TEST(ignored_by_the_operator)
{
    struct problems problems = {0};
    struct string_list ignore = {0};
    const char *text = "[Service]\nPrivateTmp=yes\nCPUSchedulingPriority=5\n";
    struct unit_source source = {.file = "u", .data = text, .size = strlen(text)};
    struct unit_file_options options = {.ignore = &ignore};
    struct unit_file *unit;

    ASSERT_OK(string_list_add(&ignore, "sandbox"));
    ASSERT_OK(string_list_add(&ignore, "CPUSchedulingPriority"));
    ASSERT_OK(unit_file_from_text(&options, "a.service", &source, &problems, &unit));
    ASSERT_STRING(list_uses(unit),
                  "PrivateTmp=yes run without\nCPUSchedulingPriority=5 run without\n");
    ASSERT_INT(problems.n, 0);
    unit_file_free(unit);
    string_list_done(&ignore);
}

TEST(a_refused_listener_can_be_reset)
{
    struct problems problems = {0};
    struct unit_file *unit = parse_unit(
        "a.socket",
        "[Socket]\nListenUSBFunction=/x\nListenStream=1\nListenUSBFunction=\nListenStream=2\n",
        &problems);

    ASSERT_STRING(list_uses(unit), "ListenUSBFunction=/x neutral\nListenStream=1 honoured\n"
                                   "ListenUSBFunction= honoured\nListenStream=2 honoured\n");
    ASSERT_INT(problems.n, 0);
    unit_file_free(unit);
}

static void make(const char *name, const char *text)
{
    char *path = strdup(in(name)), *slash = strrchr(path, '/');

    *slash = '\0';
    (void)mkdir(path, 0755);
    *slash = '/';
    write_file(path, text);
    free(path);
}

/* Loads from the temporary directory: the uses with their places, or the error. */
static const char *load(const char *name, struct problems *problems)
{
    static char text[8192];
    const char *directories[] = {directory_path, NULL};
    struct load_path_options path_options = {.unit_path = "", .directories = directories};
    struct unit_file_options options = {0};
    struct unit_file *unit;
    size_t used = 0;

    ASSERT_OK(load_path_new(&path_options, &options.path));
    int r = unit_file_load(&options, name, NULL, problems, &unit);
    load_path_free(options.path);
    if (r < 0)
        return strerrorname_np(-r);
    text[0] = '\0';
    for (size_t i = 0; i < unit->n_uses; i++) {
        const struct directive_use *use = &unit->uses[i];
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s:%u %s=%s\n",
                                 use->file + strlen(directory_path) + 1, use->line, use->key,
                                 use->expanded);
        ASSERT(used < sizeof(text));
    }
    unit_file_free(unit);
    return text;
}

TEST(drop_ins_come_last)
{
    struct problems problems = {0};

    directory_make();
    make("a@.service", "[Service]\nExecStart=/bin/%p %i\n");
    make("a@.service.d/20-more.conf", "[Service]\n\nRestart=no\n");
    make("service.d/10-all.conf", "[Service]\nRestart=always\n");
    make("a@x.service.d/30-own.conf", "[Service]\nUser=u-%i\n");
    ASSERT_STRING(load("a@x.service", &problems), "a@.service:2 ExecStart=/bin/a x\n"
                                                  "service.d/10-all.conf:2 Restart=always\n"
                                                  "a@.service.d/20-more.conf:3 Restart=no\n"
                                                  "a@x.service.d/30-own.conf:2 User=u-x\n");
    ASSERT_STRING(list_problems(&problems), "");
    make("a@.service.d/20-more.conf", "[Service]\nCPUSchedulingPriority=1\nbroken\n");
    load("a@x.service", &problems);
    ASSERT(strstr(list_problems(&problems), "service.d/10-all.conf:2: cannot honour"));
    load("a@x.service", &problems);
    ASSERT(strstr(list_problems(&problems), "a@.service.d/20-more.conf:3: "));
    directory_remove();
}

TEST(the_main_file_has_the_name_asked_for)
{
    struct problems problems = {0};

    directory_make();
    make("real.service", "[Service]\nExecStart=/bin/%N\n");
    make("real.service.d/x.conf", "[Service]\nUser=%N\n");
    ASSERT_CALL(symlink("real.service", in("other.service")));
    ASSERT_STRING(load("other.service", &problems),
                  "real.service:2 ExecStart=/bin/other\nreal.service.d/x.conf:2 User=real\n");
    directory_remove();
}

TEST(what_is_no_unit)
{
    struct problems problems = {0};

    directory_make();
    make("masked.socket", "");
    make("x.mount", "[Mount]\n");
    ASSERT_STRING(load("none.socket", &problems), "ENOENT");
    ASSERT_STRING(load("masked.socket", &problems), "ERFKILL");
    ASSERT_STRING(load("a@.socket", &problems), "EINVAL");
    ASSERT_STRING(load("a/b", &problems), "EINVAL");
    ASSERT_STRING(load("x.mount", &problems), "EOPNOTSUPP");
    ASSERT_INT(problems.n_errors, 5);
    ASSERT_STRING(list_problems(&problems),
                  "-:0: cannot load \"none.socket\": no such unit in the search path\n"
                  "-:0: cannot load \"masked.socket\": it is masked\n"
                  "-:0: cannot load \"a@.socket\": it is a template: name an instance of it\n"
                  "-:0: cannot load \"a/b\": not the name of a unit\n"
                  "-:0: cannot load \"x.mount\": not a .socket or .service\n");
    ASSERT_CALL(mkdir(in("d.socket"), 0755));
    ASSERT_STRING(load("d.socket", &problems), "ENOENT");
    problems_done(&problems);
    directory_remove();
}

TEST(quoting_for_messages)
{
    char buffer[UNIT_QUOTE_MAX], text[200];

    ASSERT_STRING(unit_quote("a\tb\033c\177", buffer), "a?b?c?");
    (void)snprintf(text, sizeof(text), "%099d", 0);
    ASSERT_STRING(unit_quote(text, buffer), text);
    (void)snprintf(text, sizeof(text), "%096däö", 0);
    ASSERT_INT(strlen(unit_quote(text, buffer)), 96 + strlen("…"));
    (void)snprintf(text, sizeof(text), "%095däöx", 0); /* not cut within ä */
    ASSERT_INT(strlen(unit_quote(text, buffer)), 95 + strlen("…"));
}

/* A unit of so many lines with so many specifiers each is too much. */
static const char *check_too_big(size_t n_lines, size_t n_each, const char *name)
{
    struct problems problems = {0};
    struct unit_file_options options = {0};
    struct unit_source source = {.file = "u"};
    struct unit_file *unit;
    char *data = NULL;
    FILE *text = open_memstream(&data, &source.size);

    ASSERT(text);
    fputs("[Unit]\n", text);
    for (size_t i = 0; i < n_lines; i++) {
        fputs("Description=", text);
        for (size_t k = 0; k < n_each; k++)
            fputs("%n", text);
        fputc('\n', text);
    }
    ASSERT_INT(fclose(text), 0);
    source.data = data;
    ASSERT_ERROR(unit_file_from_text(&options, name, &source, &problems, &unit), -EFBIG);
    free(data);
    return list_problems(&problems);
}

TEST(specifiers_cannot_make_it_huge)
{
    char name[256];

    (void)snprintf(name, sizeof(name), "%0247d.service", 0);
    ASSERT(strstr(check_too_big(70, 1000, "a.service"), "more than 65536 specifiers"));
    ASSERT(strstr(check_too_big(17, 3855, name), "more than 8 MiB"));
}

TEST(a_file_that_cannot_be_read_is_incomplete)
{
    struct problems problems = {0};
    struct unit_file *unit = parse_unit("a.socket", "[Socket]\nBacklog=1\n[broken\n", &problems);

    ASSERT(unit->incomplete);
    ASSERT_INT(unit->n_uses, 1);
    ASSERT_INT(problems.n_errors, 1);
    problems_done(&problems);
    unit_file_free(unit);
}
