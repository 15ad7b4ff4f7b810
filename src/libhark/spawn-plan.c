/* SPDX-License-Identifier: MIT */
#include "libhark/spawn-plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"

#define N_STANDARD       3
#define OOM_SCORE_MAX    1000
#define PID_VARIABLES    (SPAWN_LISTEN_VARIABLES | SPAWN_EXEC_PID)
#define VARIABLES        (PID_VARIABLES | SPAWN_REMOTE_VARIABLES | SPAWN_INVOCATION_ID)
#define NONBLOCK_OR_NOT  (SPAWN_DESCRIPTORS_NONBLOCK | SPAWN_DESCRIPTORS_BLOCK)
#define GROUP_IDENTITIES (SPAWN_SET_GROUPS | SPAWN_SET_GID)

/* ---- Lists of strings ------------------------------------------------------------------------ */

static void string_list_free(char **list)
{
    if (list == NULL)
        return;
    for (char **item = list; *item != NULL; item++)
        free(*item);
    free(list);
}

/* A copy with room for spare more items, all NULL. */
static char **string_list_copy(const char *const *list, size_t spare, size_t *ret_n)
{
    size_t n = 0;

    while (list[n] != NULL)
        n++;
    char **copy = calloc(n + spare + 1, sizeof(*copy));
    if (copy == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        copy[i] = strdup(list[i]);
        if (copy[i] == NULL) {
            string_list_free(copy);
            return NULL;
        }
    }
    *ret_n = n;
    return copy;
}

/* A variable that the child sets is nobody else's: getenv(3) would find the first of two. */
static void drop_variable(struct prepared_plan *p, const char *name)
{
    size_t length = strlen(name), kept = 0;

    for (size_t i = 0; i < p->n_environment; i++)
        if (strncmp(p->environment[i], name, length) == 0 && p->environment[i][length] == '=')
            free(p->environment[i]);
        else
            p->environment[kept++] = p->environment[i];
    for (size_t i = kept; i < p->n_environment; i++)
        p->environment[i] = NULL;
    p->n_environment = kept;
}

/* ---- What is no plan ------------------------------------------------------------------------- */

static bool stdio_has(const struct spawn_plan *plan, enum spawn_stdio_kind kind)
{
    for (size_t i = 0; i < N_STANDARD; i++)
        if (plan->stdio[i].kind == kind)
            return true;
    return false;
}

static bool stdio_is_possible(const struct spawn_plan *plan, size_t number)
{
    const struct spawn_stdio *standard = &plan->stdio[number];

    switch (standard->kind) {
    case SPAWN_STDIO_INHERIT:
        return true;
    case SPAWN_STDIO_DESCRIPTOR:
        return standard->fd >= N_STANDARD;
    case SPAWN_STDIO_CONNECTION:
        return plan->flags & SPAWN_WITH_ACCEPT || plan->n_fds > 0;
    case SPAWN_STDIO_INPUT:
        return number > STDIN_FILENO;
    case SPAWN_STDIO_OUTPUT:
        return number > STDOUT_FILENO;
    case SPAWN_STDIO_FILE:
        return standard->path != NULL;
    case SPAWN_STDIO_PASSED:
        return plan->first_fd >= N_STANDARD && standard->fd >= 0 &&
               (size_t)standard->fd < (plan->flags & SPAWN_WITH_ACCEPT ? 1 : plan->n_fds);
    }
    return false;
}

static int check_stdio(const struct spawn_plan *plan)
{
    for (size_t i = 0; i < N_STANDARD; i++)
        if (!stdio_is_possible(plan, i))
            return -EINVAL;
    if (!stdio_has(plan, SPAWN_STDIO_DESCRIPTOR) && !stdio_has(plan, SPAWN_STDIO_FILE))
        return 0; /* only copies of one thing: wherever that came to lie, nothing overwrites it */
    if (plan->first_fd < N_STANDARD)
        return -EINVAL;
    for (int fd = 0; fd < N_STANDARD; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            return -EBADF;
    return 0;
}

static int check_accept(const struct spawn_plan *plan)
{
    bool has_records = plan->records.list != NULL;

    if (plan->flags & SPAWN_WITH_ACCEPT) {
        if (plan->flags & SPAWN_OWN_MEMORY)
            return -EINVAL;
    } else if (plan->n_connection_options > 0 || has_records) {
        return -EINVAL;
    }
    for (size_t i = 0; i < plan->n_connection_options; i++)
        if (plan->connection_options[i].value == NULL && plan->connection_options[i].size > 0)
            return -EINVAL;
    if (has_records &&
        (plan->counter == NULL || plan->records.sources == NULL || plan->records.n == 0))
        return -EINVAL;
    return plan->max_per_source > 0 && !has_records ? -EINVAL : 0;
}

static int check_plan(const struct spawn_plan *plan)
{
    unsigned flags = plan->flags;

    for (size_t i = 0; i < plan->n_fds; i++)
        if (plan->fds[i] < plan->first_fd + (int)plan->n_fds)
            return -EINVAL;
    if ((flags & NONBLOCK_OR_NOT) == NONBLOCK_OR_NOT)
        return -EINVAL;
    /* To setresuid(2) and setresgid(2), -1 is "leave it": a plan that says so is mistaken. */
    if (flags & SPAWN_SET_GID && plan->gid == (gid_t)-1)
        return -EINVAL;
    if (flags & SPAWN_SET_UID &&
        (plan->uid == (uid_t)-1 || (flags & GROUP_IDENTITIES) != GROUP_IDENTITIES))
        return -EINVAL;
    if (flags & SPAWN_SET_OOM_SCORE &&
        (plan->oom_score < -OOM_SCORE_MAX || plan->oom_score > OOM_SCORE_MAX))
        return -EINVAL;
    int r = check_accept(plan);
    if (r >= 0)
        r = spawn_substitutions_check(plan->substitutions, plan->n_substitutions);
    return r < 0 ? r : check_stdio(plan);
}

/* ---- Copies ---------------------------------------------------------------------------------- */

static int copy_text(const char *text, char **ret_copy)
{
    char *copy = text != NULL ? strdup(text) : NULL;

    if (text != NULL && copy == NULL)
        return -ENOMEM;
    *ret_copy = copy;
    return 0;
}

static int copy_strings(const struct spawn_plan *plan, struct prepared_plan *p)
{
    p->arguments = string_list_copy(plan->arguments, 0, &p->n_arguments);
    p->environment = string_list_copy(plan->environment, SPAWN_CHILD_VARIABLES, &p->n_environment);
    if (p->arguments == NULL || p->environment == NULL ||
        copy_text(plan->program, &p->program) < 0 || copy_text(plan->directory, &p->directory) < 0)
        return -ENOMEM;
    p->plan.program = p->plan.directory = NULL;
    for (size_t i = 0; i < N_STANDARD; i++)
        if (plan->stdio[i].kind == SPAWN_STDIO_FILE &&
            copy_text(plan->stdio[i].path, &p->paths[i]) < 0)
            return -ENOMEM;
    for (size_t i = 0; i < N_STANDARD; i++)
        p->plan.stdio[i].path = NULL;
    return 0;
}

static int copy_lists(const struct spawn_plan *plan, struct prepared_plan *p)
{
    p->fds = calloc(plan->n_fds + 1, sizeof(*p->fds));
    p->limits = calloc(plan->n_limits + 1, sizeof(*p->limits));
    p->groups = calloc(plan->n_groups + 1, sizeof(*p->groups));
    if (p->fds == NULL || p->limits == NULL || p->groups == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < plan->n_fds; i++)
        p->fds[i] = plan->fds[i];
    for (size_t i = 0; i < plan->n_limits; i++)
        p->limits[i] = plan->limits[i];
    for (size_t i = 0; i < plan->n_groups; i++)
        p->groups[i] = plan->groups[i];
    p->plan.fds = p->fds;
    p->plan.limits = p->limits;
    p->plan.groups = p->groups;
    if (plan->affinity != NULL) {
        p->affinity = *plan->affinity;
        p->plan.affinity = &p->affinity;
    }
    return 0;
}

static int copy_options(const struct spawn_plan *plan, struct prepared_plan *p)
{
    size_t size = 1;

    for (size_t i = 0; i < plan->n_connection_options; i++)
        size += plan->connection_options[i].size;
    p->options = calloc(plan->n_connection_options + 1, sizeof(*p->options));
    p->option_values = malloc(size);
    if (p->options == NULL || p->option_values == NULL)
        return -ENOMEM;
    char *value = p->option_values;
    for (size_t i = 0; i < plan->n_connection_options; i++) {
        p->options[i] = plan->connection_options[i];
        p->options[i].value = value;
        if (p->options[i].size > 0)
            value = mempcpy(value, plan->connection_options[i].value, p->options[i].size);
    }
    p->plan.connection_options = p->options;
    return 0;
}

static void prepare_variables(struct prepared_plan *p)
{
    const struct {
        unsigned flag;
        const char *name;
        char *text;
    } variables[] = {
        {SPAWN_LISTEN_VARIABLES, "LISTEN_PID", p->listen_pid},
        {SPAWN_REMOTE_VARIABLES, "REMOTE_ADDR", p->remote_address},
        {SPAWN_REMOTE_VARIABLES, "REMOTE_PORT", p->remote_port},
        {SPAWN_INVOCATION_ID, "INVOCATION_ID", p->invocation_id},
        {SPAWN_EXEC_PID, "SYSTEMD_EXEC_PID", p->exec_pid},
    };

    _Static_assert(sizeof(variables) / sizeof(variables[0]) == SPAWN_CHILD_VARIABLES,
                   "each has its room");
    for (size_t i = 0; i < SPAWN_CHILD_VARIABLES; i++) {
        if (!(p->plan.flags & variables[i].flag))
            continue;
        drop_variable(p, variables[i].name);
        char *end = stpcpy(variables[i].text, variables[i].name);
        end[0] = '=';
        end[1] = '\0';
    }
}

/* ---- Placeholders ---------------------------------------------------------------------------- */

static int prepare_templates(struct prepared_plan *p)
{
    struct spawn_templates *templates = &p->templates;
    int r = 0;

    if (p->plan.n_substitutions == 0)
        return 0;
    for (size_t i = 0; r >= 0 && i < p->n_arguments; i++)
        r = spawn_templates_add(templates, &p->plan, &p->arguments[i], true);
    for (size_t i = 0; r >= 0 && i < p->n_environment; i++)
        r = spawn_templates_add(templates, &p->plan, &p->environment[i], false);
    for (size_t i = 0; r >= 0 && i < N_STANDARD; i++)
        r = spawn_templates_add(templates, &p->plan, &p->paths[i], false);
    if (r >= 0)
        r = spawn_templates_add(templates, &p->plan, &p->directory, false);
    if (r >= 0)
        r = spawn_templates_end(templates);
    if (r >= 0 && templates->n_can_drop > 0) {
        p->kept_arguments = calloc(p->n_arguments + 1, sizeof(*p->kept_arguments));
        r = p->kept_arguments == NULL ? -ENOMEM : 0;
    }
    p->plan.substitutions = NULL;
    return r;
}

/* ---- Steps ----------------------------------------------------------------------------------- */

static bool hands_over(const struct prepared_plan *p)
{
    return !p->connection_is_standard && (p->plan.flags & SPAWN_WITH_ACCEPT || p->plan.n_fds > 0);
}

static bool wants(const struct prepared_plan *p, enum spawn_step step)
{
    const struct spawn_plan *plan = &p->plan;

    switch (step) {
    case SPAWN_CREATED:
    case SPAWN_ACCEPT: /* comes first, but by itself: see spawn_child() */
        return false;
    case SPAWN_ADMISSION:
        return plan->max_per_source > 0;
    case SPAWN_CONNECTION_OPTIONS:
        return plan->n_connection_options > 0;
    case SPAWN_TEXTS:
        return p->templates.n > 0;
    case SPAWN_SESSION:
        return plan->flags & (SPAWN_NEW_SESSION | SPAWN_NEW_GROUP);
    case SPAWN_UMASK:
        return plan->flags & SPAWN_SET_UMASK;
    case SPAWN_STDIN:
    case SPAWN_STDOUT:
    case SPAWN_STDERR:
        return plan->stdio[step - SPAWN_STDIN].kind != SPAWN_STDIO_INHERIT;
    case SPAWN_OOM_SCORE:
        return plan->flags & SPAWN_SET_OOM_SCORE;
    case SPAWN_NICE:
        return plan->flags & SPAWN_SET_NICE;
    case SPAWN_AFFINITY:
        return plan->affinity != NULL;
    case SPAWN_ENVIRONMENT:
        return plan->flags & VARIABLES;
    case SPAWN_LIMITS:
        return plan->n_limits > 0;
    case SPAWN_GROUP:
        return plan->flags & GROUP_IDENTITIES;
    case SPAWN_DESCRIPTORS:
        return hands_over(p);
    case SPAWN_USER:
        return plan->flags & SPAWN_SET_UID;
    case SPAWN_DEATH_SIGNAL:
        return plan->flags & SPAWN_DEATH_SIGNAL_TERM;
    case SPAWN_DIRECTORY:
        return p->directory != NULL;
    case SPAWN_NO_NEW_PRIVILEGES:
        return plan->flags & SPAWN_NO_PRIVILEGE_GAIN;
    case SPAWN_SIGNALS:
    case SPAWN_EXEC:
        return true;
    }
    return false;
}

static void choose_steps(struct prepared_plan *p)
{
    size_t n = 0;

    for (enum spawn_step step = SPAWN_CREATED; step <= SPAWN_EXEC; step++)
        if (wants(p, step))
            p->steps[n++] = (uint8_t)step;
}

/* ---- The whole ------------------------------------------------------------------------------- */

struct prepared_plan *spawn_plan_free(struct prepared_plan *prepared)
{
    if (prepared == NULL)
        return NULL;
    spawn_templates_done(&prepared->templates); /* first: it gives back the lists' strings */
    free(prepared->kept_arguments);
    string_list_free(prepared->arguments);
    if (prepared->environment != NULL) /* what the last child put behind it is not allocated */
        prepared->environment[prepared->n_environment] = NULL;
    string_list_free(prepared->environment);
    free(prepared->program);
    free(prepared->directory);
    for (size_t i = 0; i < N_STANDARD; i++)
        free(prepared->paths[i]);
    free(prepared->fds);
    free(prepared->limits);
    free(prepared->groups);
    free(prepared->options);
    free(prepared->option_values);
    free(prepared);
    return NULL;
}

static void prepared_plan_cleanup(struct prepared_plan **prepared)
{
    spawn_plan_free(*prepared);
}

static void expand_connection_stdio(struct spawn_plan *plan)
{
    if (plan->flags & SPAWN_CONNECTION_STDIO) {
        plan->stdio[STDIN_FILENO].kind = SPAWN_STDIO_CONNECTION;
        plan->stdio[STDOUT_FILENO].kind = SPAWN_STDIO_CONNECTION;
    }
}

int spawn_plan_prepare(const struct spawn_plan *plan, struct prepared_plan **ret_prepared)
{
    cleanup(prepared_plan_cleanup) struct prepared_plan *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return -ENOMEM;
    p->plan = *plan;
    expand_connection_stdio(&p->plan);
    int r = check_plan(&p->plan);
    if (r >= 0)
        r = copy_strings(plan, p);
    if (r >= 0)
        r = copy_lists(plan, p);
    if (r >= 0)
        r = copy_options(plan, p);
    if (r < 0)
        return r;
    p->connection_is_standard = stdio_has(&p->plan, SPAWN_STDIO_CONNECTION);
    p->accept_flags = SOCK_CLOEXEC;
    if (plan->flags & SPAWN_DESCRIPTORS_NONBLOCK && !p->connection_is_standard)
        p->accept_flags |= SOCK_NONBLOCK;
    if (plan->flags & SPAWN_SET_OOM_SCORE)
        (void)snprintf(p->oom_score, sizeof(p->oom_score), "%d", plan->oom_score);
    prepare_variables(p);
    r = prepare_templates(p);
    if (r < 0)
        return r;
    choose_steps(p);
    *ret_prepared = take_pointer(&p);
    return 0;
}
