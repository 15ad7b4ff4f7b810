/* SPDX-License-Identifier: MIT */
/* What the tests of exec share: a service from a few lines, its plan, and a real process of it,
 * which is the test itself in the roles of test-spawn.h. */
#pragma once

#include "test-spawn.h"

#include "exec/exec-plan.h"
#include "unit-text.h"
#include "unit/service-unit.h"

static struct unit_file *exec_file;
static struct service_unit *exec_service;
static struct exec_request exec_request;
static struct exec_plan *exec_plan;
static const char *exec_problems;

/* A service whose program observes itself: prefix and arguments are those of ExecStart=, which is
 * line 2; lines follow. exec_request is for the test to change before make_plan(). */
static inline void load_as(const char *name, bool user, const char *prefix, const char *arguments,
                           const char *lines)
{
    struct problems problems = {0};
    char *text = NULL;

    ASSERT_CALL(asprintf(&text, "[Service]\nExecStart=%s%s --role-observe %s %s\n%s\n", prefix,
                         self_path, in("output"), arguments, lines));
    exec_file = parse_unit(name, text, &problems);
    exec_file->user = user;
    free(text);
    ASSERT_OK(service_unit_new(exec_file, &problems, &exec_service));
    ASSERT_STRING(list_problems(&problems), "");
    exec_request = (struct exec_request){
        .unit = exec_file,
        .context = &exec_service->exec,
        .command = &exec_service->exec_start.items[0],
        .non_blocking = exec_service->non_blocking,
        .journal_socket = "/nonexistent/journal",
    };
}

static inline void load(const char *lines)
{
    load_as("foo.service", false, "", "", lines);
}

/* exec_problems says what was wrong. */
static inline void make_plan_with_problems(void)
{
    struct problems problems = {0};

    ASSERT_OK(exec_plan_new(&exec_request, &problems, &exec_plan));
    exec_problems = list_problems(&problems);
}

static inline void make_plan(void)
{
    make_plan_with_problems();
    ASSERT_STRING(exec_problems, "");
}

static inline void unload(void)
{
    exec_plan = exec_plan_free(exec_plan);
    exec_service = service_unit_free(exec_service);
    exec_file = unit_file_free(exec_file);
}

/* The one problem has all of this in it. */
static inline void assert_problem(const char *text)
{
    if (!strstr(exec_problems, text))
        TEST_FAIL("no \"%s\" in \"%s\"", text, exec_problems);
    ASSERT_INT(strchr(exec_problems, '\n')[1], '\0');
}

static inline void assert_bad(const char *lines, const char *problem)
{
    load(lines);
    make_plan_with_problems();
    assert_problem(problem);
    unload();
}

static inline struct spawn_plan build(void)
{
    struct spawn_plan plan;
    int r = exec_plan_build(exec_plan, &plan);

    if (r < 0)
        TEST_FAIL("build: %s (%s)", strerror(-r), exec_plan_fault(exec_plan));
    ASSERT(!exec_plan_fault(exec_plan));
    return plan;
}

/* The plan of the lines, from a good unit. */
static inline struct spawn_plan plan_of(const char *lines)
{
    load(lines);
    make_plan();
    return build();
}

/* What a process of the lines sees. */
static inline const char *see(const char *lines)
{
    struct spawn_plan plan = plan_of(lines);
    const char *text = observed(&plan);

    unload();
    return text;
}

static inline void assert_no_line(const char *text, const char *beginning)
{
    char unwanted[256];

    (void)snprintf(unwanted, sizeof(unwanted), "\n%s", beginning);
    if (strstr(text, unwanted))
        TEST_FAIL("a line \"%s\" in:\n%s", beginning, text);
}

/* The arguments behind the path, with "|" between them. */
static inline const char *arguments_of(const char *text)
{
    static char joined[4096];
    size_t used = 0;

    joined[0] = '\0';
    for (const char *line = strstr(text, "\nargument "); line;
         line = strstr(line + 1, "\nargument ")) {
        const char *value = line + strlen("\nargument ");
        used += (size_t)snprintf(joined + used, sizeof(joined) - used, "%s%.*s", used ? "|" : "",
                                 (int)strcspn(value, "\n"), value);
        ASSERT(used < sizeof(joined));
    }
    return joined;
}
