/* SPDX-License-Identifier: MIT */
#include "exec/exec-environment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "exec/exec-program.h"
#include "unit/text.h"
#include "unit/utf8.h"

#define DEFAULT_LANGUAGE "LANG=C.UTF-8"
#define DEFAULT_TERMINAL "vt220" /* as systemd, of a console that it knows nothing about */

/* What a manager tells a service about itself, and a user's manager does not pass on. */
static const char *const own_variables[] = {
    "CACHE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "EXIT_CODE",
    "EXIT_STATUS",
    "FDSTORE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LOGS_DIRECTORY",
    "LOG_NAMESPACE",
    "MAINPID",
    "MANAGERPID",
    "MONITOR_EXIT_CODE",
    "MONITOR_EXIT_STATUS",
    "MONITOR_INVOCATION_ID",
    "MONITOR_SERVICE_RESULT",
    "MONITOR_UNIT",
    "NOTIFY_SOCKET",
    "PIDFILE",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "RUNTIME_DIRECTORY",
    "SERVICE_RESULT",
    "STATE_DIRECTORY",
    "SYSTEMD_EXEC_PID",
    "TRIGGER_PATH",
    "TRIGGER_TIMER_MONOTONIC_USEC",
    "TRIGGER_TIMER_REALTIME_USEC",
    "TRIGGER_UNIT",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    NULL,
};

static bool is_named(const char *assignment, const char *name)
{
    size_t length = strlen(name);

    return strncmp(assignment, name, length) == 0 && assignment[length] == '=';
}

/* What systemd passes on: no control characters but tab and newline. */
static bool is_possible(const char *assignment)
{
    const char *equals = strchr(assignment, '=');

    if (!equals || !text_is_variable_name(assignment, (size_t)(equals - assignment)) ||
        !utf8_is_valid(equals))
        return false;
    for (const char *c = equals + 1; *c; c++)
        if (((unsigned char)*c < ' ' && *c != '\t' && *c != '\n') || *c == 127)
            return false;
    return true;
}

static int add(struct string_list *list, const char *name, const char *value)
{
    return value ? string_list_add_format(list, "%s=%s", name, value) : 0;
}

static int add_all(struct string_list *list, char *const *items, size_t n)
{
    int r = 0;

    for (size_t i = 0; i < n && r >= 0; i++)
        r = string_list_add(list, items[i]);
    return r;
}

/* ---- The sources ----------------------------------------------------------------------------- */

static int add_language(struct string_list *list)
{
    size_t before = list->n;
    int r = 0;

    for (char **item = environ; item && *item && r >= 0; item++)
        if ((is_named(*item, "LANG") || is_named(*item, "LANGUAGE") ||
             strncmp(*item, "LC_", 3) == 0) &&
            is_possible(*item) && strchr(*item, '=')[1] != '\0')
            r = string_list_add(list, *item);
    return r < 0 || list->n > before ? r : string_list_add(list, DEFAULT_LANGUAGE);
}

static bool is_own_variable(const char *assignment)
{
    for (size_t i = 0; own_variables[i]; i++)
        if (is_named(assignment, own_variables[i]))
            return true;
    return false;
}

static int add_manager(const struct exec_request *request, struct string_list *list)
{
    int r = add(list, "PATH", EXEC_DEFAULT_PATH);

    if (r < 0 || !request->unit->user)
        return r < 0 ? r : add_language(list);
    for (char **item = environ; item && *item && r >= 0; item++)
        if (!is_own_variable(*item))
            r = string_list_add(list, *item);
    return r;
}

static bool has_extra(const struct exec_request *request, const char *name)
{
    for (const char *const *item = request->extra_environment; item && *item; item++)
        if (is_named(*item, name))
            return true;
    return false;
}

static int add_extra(const struct exec_request *request, struct string_list *list)
{
    int r = 0;

    for (const char *const *item = request->extra_environment; item && *item && r >= 0; item++)
        r = string_list_add(list, *item);
    return r;
}

static int add_remote(const struct exec_environment_sources *sources, struct string_list *list)
{
    if (sources->request->sockets != EXEC_SOCKETS_CONNECTION)
        return 0;
    int r = child_variable_add(sources->placeholders, CHILD_REMOTE_ADDRESS, list);
    return r < 0 ? r : child_variable_add(sources->placeholders, CHILD_REMOTE_PORT, list);
}

static int add_listeners(const struct exec_environment_sources *sources, struct string_list *list)
{
    const struct exec_request *request = sources->request;
    cleanup(text_done) struct text names = {0};
    size_t n = request->sockets == EXEC_SOCKETS_CONNECTION ? 1 : request->n_fds;
    int r = 0;

    if (n == 0 || request->sockets == EXEC_SOCKETS_NONE || exec_uses_socket(request))
        return 0;
    for (size_t i = 0; i < n && r >= 0; i++) {
        const char *name =
            request->sockets == EXEC_SOCKETS_CONNECTION ? "connection" : request->fd_names[i];
        r = i > 0 ? text_add_char(&names, ':') : 0;
        if (r >= 0)
            r = text_add(&names, name, strlen(name));
    }
    if (r < 0)
        return r;
    cleanup_free char *joined = text_take(&names);
    if (!joined || string_list_add_format(list, "LISTEN_FDS=%zu", n) < 0 ||
        add(list, "LISTEN_FDNAMES", joined) < 0)
        return -ENOMEM;
    return child_variable_add(sources->placeholders, CHILD_LISTEN_PID, list);
}

static int add_user(const struct exec_identity *identity, struct string_list *list)
{
    int r = add(list, "HOME", identity->home);

    if (r >= 0)
        r = add(list, "LOGNAME", identity->user);
    if (r >= 0)
        r = add(list, "USER", identity->user);
    return r < 0 ? r : add(list, "SHELL", identity->shell);
}

/* systemd takes "and console" for a terminal. */
static int add_terminal(const struct exec_context *context, struct string_list *list)
{
    const char *own = getenv("TERM");

    for (size_t i = 1; i < 3; i++)
        if (context->std[i].kind == EXEC_STREAM_JOURNAL_CONSOLE ||
            context->std[i].kind == EXEC_STREAM_KMSG_CONSOLE)
            return add(list, "TERM", own ? own : DEFAULT_TERMINAL);
    return 0;
}

static int add_process(const struct exec_environment_sources *sources, struct string_list *list)
{
    int r = add_listeners(sources, list);

    if (r >= 0)
        r = add_user(sources->identity, list);
    if (r >= 0 && !has_extra(sources->request, child_variable_name(CHILD_INVOCATION_ID)))
        r = child_variable_add(sources->placeholders, CHILD_INVOCATION_ID, list);
    if (r >= 0)
        r = add_terminal(sources->request->context, list);
    if (r >= 0 && *sources->journal_variable)
        r = string_list_add(list, sources->journal_variable);
    return r < 0 ? r : child_variable_add(sources->placeholders, CHILD_EXEC_PID, list);
}

static int add_unit(const struct exec_environment_sources *sources, struct string_list *list)
{
    const struct exec_context *context = sources->request->context;
    int r = 0;

    for (size_t i = 0; i < context->pass_environment.n && r >= 0; i++)
        r = add(list, context->pass_environment.items[i],
                getenv(context->pass_environment.items[i]));
    if (r >= 0)
        r = add_all(list, context->environment.items, context->environment.n);
    return r < 0 ? r : add_all(list, sources->files->items, sources->files->n);
}

/* ---- One of each name ------------------------------------------------------------------------ */

struct entry {
    char *text;
    size_t order;
};

static size_t name_length(const char *assignment)
{
    return strcspn(assignment, "=");
}

static int compare_entries(const void *one, const void *other)
{
    const struct entry *a = one, *b = other;
    size_t length = name_length(a->text), other_length = name_length(b->text);
    int r = memcmp(a->text, b->text, length < other_length ? length : other_length);

    if (r != 0)
        return r;
    if (length != other_length)
        return length < other_length ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

static bool is_same_name(const char *one, const char *other)
{
    size_t length = name_length(one);

    return length == name_length(other) && memcmp(one, other, length) == 0;
}

static bool is_to_unset(const struct exec_context *context, const char *assignment)
{
    for (size_t i = 0; i < context->unset_environment.n; i++) {
        const char *unset = context->unset_environment.items[i];
        if (strchr(unset, '=') ? strcmp(unset, assignment) == 0 : is_named(assignment, unset))
            return true;
    }
    return false;
}

/* Of each name the last, if it is to stay. By sorting: a file may have very many. */
static int keep_last(const struct exec_context *context, struct string_list *list)
{
    cleanup_free struct entry *entries = calloc(list->n + 1, sizeof(*entries));
    size_t n = list->n, kept = 0;

    if (!entries)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        entries[i] = (struct entry){.text = list->items[i], .order = i};
    qsort(entries, n, sizeof(*entries), compare_entries);
    for (size_t i = 0; i < n; i++) {
        bool is_last = i + 1 == n || !is_same_name(entries[i].text, entries[i + 1].text);
        bool stays =
            is_last && is_possible(entries[i].text) && !is_to_unset(context, entries[i].text);
        if (stays)
            list->items[kept++] = entries[i].text;
        else
            free(entries[i].text);
    }
    list->n = kept;
    if (list->items)
        list->items[kept] = NULL;
    return 0;
}

int exec_environment_build(const struct exec_environment_sources *sources,
                           struct string_list *ret_environment)
{
    cleanup(string_list_done) struct string_list list = {0};
    int r = add_manager(sources->request, &list);

    if (r >= 0)
        r = add_extra(sources->request, &list);
    if (r >= 0)
        r = add_remote(sources, &list);
    if (r >= 0)
        r = add_process(sources, &list);
    if (r >= 0)
        r = add_unit(sources, &list);
    if (r >= 0)
        r = keep_last(sources->request->context, &list);
    if (r < 0)
        return r;
    *ret_environment = list;
    list = (struct string_list){0};
    return 0;
}

void exec_environment_check(const struct exec_request *request, struct problems *problems)
{
    const struct string_list *unset = &request->context->unset_environment;

    for (size_t i = 0; i < unset->n; i++)
        for (enum child_variable k = 0; k < N_CHILD_VARIABLES; k++)
            if (is_named(unset->items[i], child_variable_name(k)))
                exec_problem(request, problems, PROBLEM_WARNING, "UnsetEnvironment",
                             "each process has its own %s, which this does not unset; name it "
                             "without a value",
                             child_variable_name(k));
}
