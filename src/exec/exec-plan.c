/* SPDX-License-Identifier: MIT */
#include "exec/exec-plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "exec/child-variables.h"
#include "exec/environment-files.h"
#include "exec/exec-environment.h"
#include "exec/exec-identity.h"
#include "exec/exec-limits.h"
#include "exec/exec-program.h"
#include "exec/exec-request.h"
#include "exec/exec-stdio.h"
#include "unit/host-facts.h"

#define DEFAULT_UMASK   0022
#define N_SUBSTITUTIONS (2 * N_CHILD_VARIABLES + 2)

/* What a build makes. */
struct built {
    struct environment_files files;
    struct string_list environment, arguments;
    struct spawn_substitution substitutions[N_SUBSTITUTIONS];
    size_t n_substitutions;
    struct spawn_limit limits[EXEC_LIMITS_MAX];
    size_t n_limits;
    unsigned flags;
};

struct exec_plan {
    struct exec_request request;
    struct exec_identity identity;
    struct exec_stdio stdio;
    struct child_placeholders placeholders;
    char *program, *directory;
    bool directory_is_optional;
    bool is_built;
    struct built built;
    char *fault;
};

static void built_done(struct built *built)
{
    environment_files_done(&built->files);
    string_list_done(&built->environment);
    string_list_done(&built->arguments);
}

struct exec_plan *exec_plan_free(struct exec_plan *plan)
{
    if (!plan)
        return NULL;
    exec_identity_done(&plan->identity);
    exec_stdio_done(&plan->stdio);
    built_done(&plan->built);
    free(plan->program);
    free(plan->directory);
    free(plan->fault);
    free(plan);
    return NULL;
}

static void exec_plan_cleanup(struct exec_plan **plan)
{
    exec_plan_free(*plan);
}

bool exec_plan_ignores_failure(const struct exec_plan *plan)
{
    return exec_is_optional(&plan->request);
}

const char *exec_plan_fault(const struct exec_plan *plan)
{
    return plan->fault;
}

/* ---- New ------------------------------------------------------------------------------------- */

struct file_warnings {
    const struct exec_request *request;
    struct problems *problems;
};

static void warn_of_file(void *context, const char *path, unsigned line, const char *text)
{
    const struct file_warnings *warnings = context;
    char quoted[UNIT_QUOTE_MAX];

    if (line > 0)
        exec_problem(warnings->request, warnings->problems, PROBLEM_WARNING, "EnvironmentFile",
                     "line %u of \"%s\": %s", line, unit_quote(path, quoted), text);
    else
        exec_problem(warnings->request, warnings->problems, PROBLEM_WARNING, "EnvironmentFile",
                     "%s; nothing can be started before that is mended", text);
}

/* The files may be there in time, so this makes no errors. */
static int check_environment_files(const struct exec_request *request, struct problems *problems)
{
    struct file_warnings warnings = {.request = request, .problems = problems};
    const struct environment_files_listener listener = {.tell = warn_of_file, .context = &warnings};
    const struct string_list *names = &request->context->environment_files;
    struct environment_files files;

    for (size_t i = 0; i < names->n; i++)
        if (exec_text_has_instance(request, names->items[i])) {
            exec_problem(request, problems, PROBLEM_ERROR, "EnvironmentFile",
                         "hark reads it once for all, so it cannot depend on the connection");
            return 0;
        }
    int r = environment_files_load(names, &listener, &files);
    if (r >= 0)
        environment_files_done(&files);
    return r == -ENOMEM ? r : 0;
}

/* A user's manager starts its services at home, when there is one. */
static int choose_directory(struct exec_plan *plan)
{
    const struct exec_context *context = plan->request.context;
    const char *directory = "/";

    plan->directory_is_optional = context->working_directory_optional;
    if (context->working_directory_home && plan->identity.home)
        directory = plan->identity.home;
    else if (context->working_directory)
        directory = context->working_directory;
    else if (plan->request.unit->user) {
        plan->directory_is_optional = true;
        int r = host_user_home(&plan->directory);
        if (r >= 0 || r == -ENOMEM)
            return r;
    }
    plan->directory = strdup(directory);
    return plan->directory ? 0 : -ENOMEM;
}

int exec_plan_new(const struct exec_request *request, struct problems *problems,
                  struct exec_plan **ret_plan)
{
    cleanup(exec_plan_cleanup) struct exec_plan *plan = calloc(1, sizeof(*plan));

    if (!plan)
        return -ENOMEM;
    exec_stdio_init(&plan->stdio);
    plan->request = *request;
    int r = child_placeholders_init(&plan->placeholders);
    if (r >= 0)
        r = exec_program_find(request, problems, &plan->program);
    if (r >= 0)
        r = exec_identity_find(request, problems, &plan->identity);
    if (r >= 0)
        r = choose_directory(plan);
    if (r >= 0)
        r = check_environment_files(request, problems);
    if (r < 0)
        return r;
    exec_limits_check(request, problems);
    exec_environment_check(request, problems);
    exec_stdio_check(&plan->stdio, request, problems);
    *ret_plan = take_pointer(&plan);
    return 0;
}

/* ---- Build ----------------------------------------------------------------------------------- */

bool exec_plan_is_fresh(const struct exec_plan *plan)
{
    return plan->is_built && environment_files_are_fresh(&plan->built.files) &&
           exec_stdio_is_fresh(&plan->stdio);
}

static void set_fault(struct exec_plan *plan, const char *what, const char *path, unsigned line,
                      const char *why)
{
    char place[32] = "";

    free(plan->fault);
    if (line > 0)
        (void)snprintf(place, sizeof(place), ", line %u", line);
    if (asprintf(&plan->fault, "cannot %s \"%s\"%s: %s", what, path, place, why) < 0)
        plan->fault = NULL;
}

/* The last one told about is what it failed with. */
static void note_fault(void *context, const char *path, unsigned line, const char *text)
{
    set_fault(context, "read", path, line, text);
}

static int load_files(struct exec_plan *plan, struct environment_files *ret_files)
{
    const struct environment_files_listener listener = {.tell = note_fault, .context = plan};

    return environment_files_load(&plan->request.context->environment_files, &listener, ret_files);
}

static int build_environment(struct exec_plan *plan, struct built *built)
{
    char journal_variable[EXEC_JOURNAL_VARIABLE_MAX];
    const struct exec_environment_sources sources = {
        .request = &plan->request,
        .identity = &plan->identity,
        .journal_variable = journal_variable,
        .files = &built->files.variables,
        .placeholders = &plan->placeholders,
    };

    exec_stdio_journal_variable(&plan->stdio, journal_variable);
    return exec_environment_build(&sources, &built->environment);
}

static int build_arguments(struct exec_plan *plan, struct built *built)
{
    static char *const none[] = {NULL};
    int r = command_expand(plan->request.command,
                           built->environment.items ? built->environment.items : none,
                           &built->arguments);

    if (r < 0)
        return r;
    child_arguments_join(&plan->placeholders, &built->arguments);
    built->flags |= child_variables_take(&plan->placeholders, &built->environment);
    return 0;
}

static bool list_has(const struct string_list *list, const char *text)
{
    for (size_t i = 0; i < list->n; i++)
        if (strstr(list->items[i], text))
            return true;
    return false;
}

static bool is_used(const struct exec_plan *plan, const struct built *built,
                    const char *placeholder)
{
    for (size_t i = 0; i < 3; i++)
        if (plan->stdio.spawned[i].path && strstr(plan->stdio.spawned[i].path, placeholder))
            return true;
    return strstr(plan->directory, placeholder) || list_has(&built->arguments, placeholder) ||
           list_has(&built->environment, placeholder);
}

/* Only what is there: without any a child has nothing to do. */
static void add_substitution(const struct exec_plan *plan, struct built *built,
                             struct spawn_substitution substitution)
{
    if (substitution.placeholder && *substitution.placeholder &&
        is_used(plan, built, substitution.placeholder))
        built->substitutions[built->n_substitutions++] = substitution;
}

static void build_substitutions(const struct exec_plan *plan, struct built *built)
{
    for (enum child_variable i = 0; i < N_CHILD_VARIABLES; i++) {
        const struct child_placeholder *of = &plan->placeholders.of[i];
        enum spawn_text text = child_variable_text(i);
        add_substitution(plan, built, (struct spawn_substitution){of->value, text, false});
        add_substitution(plan, built, (struct spawn_substitution){of->argument, text, true});
    }
    add_substitution(
        plan, built,
        (struct spawn_substitution){plan->request.instance.escaped, SPAWN_TEXT_INSTANCE, false});
    add_substitution(plan, built,
                     (struct spawn_substitution){plan->request.instance.unescaped,
                                                 SPAWN_TEXT_INSTANCE_UNESCAPED, false});
}

static unsigned choose_flags(const struct exec_plan *plan)
{
    const struct exec_request *request = &plan->request;
    const struct exec_context *context = request->context;
    unsigned flags = plan->identity.flags;

    flags |= request->stay_in_session ? SPAWN_NEW_GROUP : SPAWN_NEW_SESSION;
    if (context->umask_is_set || !request->unit->user)
        flags |= SPAWN_SET_UMASK;
    if (context->nice.is_set)
        flags |= SPAWN_SET_NICE;
    if (context->oom_score.is_set)
        flags |= SPAWN_SET_OOM_SCORE;
    if (context->ignore_sigpipe)
        flags |= SPAWN_IGNORE_SIGPIPE;
    if (context->no_new_privileges && !exec_is_fully_privileged(request))
        flags |= SPAWN_NO_PRIVILEGE_GAIN;
    if (plan->directory_is_optional)
        flags |= SPAWN_DIRECTORY_OPTIONAL;
    /* Of one that accepts the creator must know what became of the connection. */
    if (plan->stdio.may_block && request->sockets != EXEC_SOCKETS_CONNECTION)
        flags |= SPAWN_OWN_MEMORY;
    /* A socket that is standard is blocking whatever NonBlocking= says; an accepted one is anyway.
     */
    if (request->non_blocking && !exec_uses_socket(request) &&
        request->sockets != EXEC_SOCKETS_NONE)
        flags |= SPAWN_DESCRIPTORS_NONBLOCK;
    else if (request->sockets == EXEC_SOCKETS_LISTENERS)
        flags |= SPAWN_DESCRIPTORS_BLOCK;
    return flags;
}

static int build(struct exec_plan *plan, struct built *built)
{
    int r = load_files(plan, &built->files);

    if (r < 0)
        return r;
    r = exec_stdio_build(&plan->stdio, &plan->request);
    if (r < 0) {
        set_fault(plan, "open the standard descriptors of", plan->program, 0, strerror(-r));
        return r;
    }
    built->flags = choose_flags(plan);
    r = build_environment(plan, built);
    if (r >= 0)
        r = build_arguments(plan, built);
    if (r < 0)
        return r;
    build_substitutions(plan, built);
    built->n_limits = exec_limits_build(&plan->request, built->limits);
    return 0;
}

static struct spawn_plan to_spawn_plan(const struct exec_plan *plan)
{
    static const char *const none[] = {NULL};
    const struct built *built = &plan->built;
    const struct exec_identity *identity = &plan->identity;
    const char *const *environment = (const char *const *)built->environment.items;
    struct spawn_plan spawned = {
        .program = plan->program,
        .arguments = (const char *const *)built->arguments.items,
        .environment = environment ? environment : none,
        .flags = built->flags,
        .listener = -1,
        .first_fd = 3,
        .directory = plan->directory,
        .limits = built->limits,
        .n_limits = built->n_limits,
        .umask = plan->request.context->umask_is_set ? plan->request.context->umask : DEFAULT_UMASK,
        .nice = plan->request.context->nice.value,
        .oom_score = plan->request.context->oom_score.value,
        .uid = identity->uid,
        .gid = identity->gid,
        .groups = identity->groups,
        .n_groups = identity->n_groups,
        .substitutions = built->substitutions,
        .n_substitutions = built->n_substitutions,
    };

    memcpy(spawned.stdio, plan->stdio.spawned, sizeof(spawned.stdio));
    return spawned;
}

int exec_plan_build(struct exec_plan *plan, struct spawn_plan *ret_plan)
{
    struct built built = {0};

    free(plan->fault);
    plan->fault = NULL;
    int r = build(plan, &built);
    if (r == -ENOMEM && !plan->fault)
        plan->fault = strdup(strerror(ENOMEM));
    if (r < 0) {
        built_done(&built);
        return r;
    }
    free(plan->fault); /* of an optional file */
    plan->fault = NULL;
    built_done(&plan->built);
    plan->built = built;
    plan->is_built = true;
    *ret_plan = to_spawn_plan(plan);
    return 0;
}
