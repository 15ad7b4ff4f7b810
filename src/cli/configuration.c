/* SPDX-License-Identifier: MIT */
#include "cli/configuration.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "cli/check-report.h"
#include "cli/exit-status.h"
#include "cli/preflight.h"
#include "cli/problem-lines.h"
#include "exec/unit-plans.h"
#include "supervisor/log.h"
#include "unit/unit-name.h"

/* A program or command, as the one who spawns it asks for its plan. */
struct program {
    struct exec_plan *plan;
    const struct condition_list *conditions; /* NULL: of none */
};

struct configuration {
    struct problems problems;
    struct unit_set *set;
    bool *skip; /* of each socket: it is not to be started here and now */
    size_t n_served;
    struct unit_plans *plans;
    struct program *programs; /* of all units */
    struct plan_source *sources;
    size_t n_programs;
};

static void configuration_cleanup(struct configuration **configuration)
{
    configuration_free(*configuration);
}

struct configuration *configuration_free(struct configuration *configuration)
{
    if (configuration == NULL)
        return NULL;
    unit_plans_free(configuration->plans);
    unit_set_free(configuration->set);
    free(configuration->programs);
    free(configuration->sources);
    free(configuration->skip);
    problems_done(&configuration->problems);
    free(configuration);
    return NULL;
}

static int out_of_memory(void)
{
    log_error("out of memory");
    return EXIT_STATUS_FAILURE;
}

/* ---- Units ----------------------------------------------------------------------------------- */

/* "A, B, C" */
static char *join(const struct string_list *list)
{
    char *joined = NULL;
    size_t size;
    FILE *stream = open_memstream(&joined, &size);

    if (stream == NULL)
        return NULL;
    for (size_t i = 0; i < list->n; i++)
        fprintf(stream, "%s%s", i > 0 ? ", " : "", list->items[i]);
    return fclose(stream) == 0 ? joined : NULL;
}

static void write_problem(enum problem_severity severity, const char *line)
{
    log_line(severity == PROBLEM_ERROR ? LOG_ERR : LOG_WARNING, "%s", line);
}

/* What the operator wants to run without is said at every start. */
static int say_run_without(const struct configuration *configuration)
{
    const struct check_report report = {.set = configuration->set,
                                        .problems = &configuration->problems};

    for (size_t i = 0; i < check_unit_count(&report); i++) {
        const struct check_unit unit = check_unit_get(&report, i);
        cleanup(string_list_done) struct string_list keys = {0};
        cleanup_free char *text = NULL;

        if (check_run_without(&unit, &keys) < 0 || (keys.n > 0 && !(text = join(&keys))))
            return -ENOMEM;
        if (keys.n > 0)
            log_warning("\"%s\" runs without %s", unit.name, text);
    }
    return 0;
}

static int tell_problems(struct configuration *configuration)
{
    struct problem_counts counts;

    problems_sort(&configuration->problems);
    if (problem_lines(&configuration->problems, write_problem, &counts) < 0)
        return out_of_memory();
    if (configuration->problems.n_errors == 0)
        return EXIT_STATUS_OK;
    return EXIT_STATUS_UNITS;
}

static int load(const struct unit_options *options, const char *const *names, size_t n_names,
                struct configuration *configuration)
{
    int r =
        unit_options_load(options, names, n_names, &configuration->problems, &configuration->set);

    if (r >= 0)
        r = preflight(configuration->set, &configuration->problems, &configuration->plans);
    if (r < 0)
        return out_of_memory();
    int status = tell_problems(configuration);
    if (status != EXIT_STATUS_OK)
        return status;
    if (say_run_without(configuration) < 0)
        return out_of_memory();
    configuration->n_served = configuration->set->n_sockets;
    configuration->skip = calloc(configuration->n_served + 1, sizeof(*configuration->skip));
    return configuration->skip != NULL ? EXIT_STATUS_OK : out_of_memory();
}

int configuration_load(const struct unit_options *options, const char *const *names, size_t n_names,
                       struct configuration **ret_configuration)
{
    cleanup(configuration_cleanup) struct configuration *configuration =
        calloc(1, sizeof(*configuration));

    if (configuration == NULL)
        return out_of_memory();
    int status = load(options, names, n_names, configuration);
    if (status == EXIT_STATUS_OK)
        *ret_configuration = take_pointer(&configuration);
    (void)malloc_trim(0); /* all names of the load path were in memory, for fork servers to share */
    return status;
}

const struct unit_set *configuration_units(const struct configuration *configuration)
{
    return configuration->set;
}

/* 1: it may start; 0: it is to be skipped; -EPERM: an assertion failed; -ENOMEM. */
static int may_start(const struct unit_set_socket *socket)
{
    struct condition_failure failure;

    for (enum condition_group group = CONDITIONS; group < N_CONDITION_GROUPS; group++) {
        int r = conditions_evaluate(&socket->conditions, group, &failure);
        if (r < 0)
            return r;
        if (r > 0)
            continue;
        const struct condition *condition = failure.condition;
        log_line(group == CONDITIONS ? LOG_NOTICE : LOG_ERR,
                 "%s:%u: \"%s\" is not served: %s=%s %s", condition->file, condition->line,
                 socket->file->name, condition->key, condition->value,
                 failure.error < 0 ? "cannot be found out" : "is not met");
        return group == CONDITIONS ? 0 : -EPERM;
    }
    return 1;
}

int configuration_apply_conditions(struct configuration *configuration,
                                   bool (*is_served)(const void *userdata, const char *socket),
                                   const void *userdata)
{
    for (size_t i = 0; i < configuration->set->n_sockets; i++) {
        const struct unit_set_socket *socket = &configuration->set->sockets[i];
        bool is_up = is_served != NULL && is_served(userdata, socket->file->name);
        int r = is_up ? 1 : may_start(socket);
        if (r == -ENOMEM)
            return out_of_memory();
        if (r < 0)
            return EXIT_STATUS_UNITS;
        configuration->skip[i] = r == 0;
        configuration->n_served -= r == 0;
    }
    if (configuration->n_served == configuration->set->n_sockets)
        return EXIT_STATUS_OK;
    /* The plans of a service depend on all its sockets. */
    configuration->plans = unit_plans_free(configuration->plans);
    problems_done(&configuration->problems);
    if (unit_plans_new(configuration->set, configuration->skip, &configuration->problems,
                       &configuration->plans) < 0)
        return out_of_memory();
    return configuration->problems.n_errors == 0 ? EXIT_STATUS_OK : tell_problems(configuration);
}

size_t configuration_count_served(const struct configuration *configuration)
{
    return configuration->n_served;
}

bool configuration_skips(const struct configuration *configuration, size_t socket)
{
    return configuration->skip[socket];
}

uint32_t configuration_fork_servers(const struct configuration *configuration)
{
    uint32_t n = 0;

    for (size_t i = 0; i < configuration->set->n_sockets; i++)
        if (!configuration->skip[i] && configuration->set->sockets[i].unit->fork_servers > n)
            n = configuration->set->sockets[i].unit->fork_servers;
    return n;
}

/* ---- Programs -------------------------------------------------------------------------------- */

static int build_program(void *userdata, struct spawn_plan *ret_plan)
{
    const struct program *program = userdata;

    return exec_plan_build(program->plan, ret_plan);
}

static const char *program_fault(void *userdata)
{
    const struct program *program = userdata;

    return exec_plan_fault(program->plan);
}

static bool program_is_fresh(void *userdata)
{
    const struct program *program = userdata;

    return exec_plan_is_fresh(program->plan);
}

static bool program_may_start(void *userdata)
{
    const struct program *program = userdata;
    struct condition_failure failure;

    return conditions_evaluate(program->conditions, CONDITIONS, &failure) > 0 &&
           conditions_evaluate(program->conditions, ASSERTIONS, &failure) > 0;
}

static size_t count_programs(const struct unit_plans *plans)
{
    size_t n = 0;

    for (size_t i = 0; i < plans->n_sockets; i++)
        for (size_t j = 0; j < N_COMMAND_LISTS; j++)
            n += plans->sockets[i].commands[j].n;
    for (size_t i = 0; i < plans->n_services; i++)
        n += plans->services[i].programs.n;
    return n;
}

/* The sources of these plans, one behind the other. */
static const struct plan_source *add_programs(struct configuration *configuration,
                                              const struct exec_plan_list *plans,
                                              const struct condition_list *conditions)
{
    const struct plan_source *first = &configuration->sources[configuration->n_programs];

    for (size_t i = 0; i < plans->n; i++) {
        struct program *program = &configuration->programs[configuration->n_programs];

        *program = (struct program){.plan = plans->items[i], .conditions = conditions};
        configuration->sources[configuration->n_programs++] = (struct plan_source){
            .build = build_program,
            .fault = program_fault,
            .is_fresh = program_is_fresh,
            .may_start = conditions != NULL && conditions->n > 0 ? program_may_start : NULL,
            .userdata = program,
            .ignore_failure = exec_plan_ignores_failure(plans->items[i]),
        };
    }
    return first;
}

static int make_room(struct configuration *configuration)
{
    size_t n = count_programs(configuration->plans);

    configuration->programs = calloc(n + 1, sizeof(*configuration->programs));
    configuration->sources = calloc(n + 1, sizeof(*configuration->sources));
    return configuration->programs == NULL || configuration->sources == NULL ? -ENOMEM : 0;
}

/* ---- For the supervisor ---------------------------------------------------------------------- */

static int add_socket(struct configuration *configuration, size_t index,
                      struct claimed_socket *claimed, struct supervisor *supervisor)
{
    const struct unit_set_socket *socket = &configuration->set->sockets[index];
    const struct socket_plans *plans = &configuration->plans->sockets[index];
    struct supervisor_socket config = {
        .name = socket->file->name,
        .unit = socket->unit,
        .listeners = claimed != NULL ? claimed->listeners : NULL,
        .n_listeners = socket->unit->listeners.n,
    };
    struct socket_owner owner;
    const char *unknown;

    if (!socket_owner_find(socket->unit, &owner, &unknown)) /* it was there a moment ago */
        return -ESRCH;
    config.owner = owner.user;
    config.group = owner.group;
    /* Of one that is passed, who passed it has run them. */
    config.is_up = claimed != NULL && claimed->is_up;
    bool all_passed =
        claimed != NULL && !claimed->is_up && claimed->n_claimed == config.n_listeners;
    for (size_t i = 0; !all_passed && i < N_COMMAND_LISTS; i++) {
        config.commands[i] = add_programs(configuration, &plans->commands[i], NULL);
        config.n_commands[i] = plans->commands[i].n;
    }
    int r = supervisor_add_socket(supervisor, &config);
    for (size_t i = 0; r >= 0 && claimed != NULL && i < config.n_listeners; i++)
        claimed->listeners[i] = NULL; /* the supervisor's now */
    return r;
}

static bool is_written(const struct socket_unit *unit, const char *interval, const char *burst)
{
    return unit_file_last_use(unit->file, SECTION_SOCKET, interval) != NULL ||
           unit_file_last_use(unit->file, SECTION_SOCKET, burst) != NULL;
}

/* systemd's own limits keep PID 1 from starting units in a loop. Here a connection that is accepted
 * is gone from the queue, so there is no loop: only limits that the unit itself sets count. */
static void set_accept_limits(const struct socket_unit *unit, uint32_t most,
                              struct supervisor_unit *config)
{
    config->max_connections = unit->max_connections;
    if (unit->max_connections > most) {
        log_warning("\"%s\": MaxConnections=%u is more than hark can serve, taking %u",
                    unit->file->name, unit->max_connections, most);
        config->max_connections = most;
    }
    config->max_per_source = unit->max_connections_per_source;
    config->overflow = unit->overflow == SOCKET_OVERFLOW_WAIT ? OVERFLOW_WAIT : OVERFLOW_CLOSE;
    if (is_written(unit, "TriggerLimitIntervalSec", "TriggerLimitBurst"))
        config->trigger_limit = unit->trigger_limit;
    if (is_written(unit, "PollLimitIntervalSec", "PollLimitBurst"))
        config->poll_limit = unit->poll_limit;
}

/* Its number at the supervisor, who does not know of those that are skipped. */
static uint32_t served_index(const struct configuration *configuration, size_t index)
{
    uint32_t served = 0;

    for (size_t i = 0; i < index; i++)
        served += !configuration->skip[i];
    return served;
}

/* The sockets that a service gets descriptors from: how many; *ret_starts is false when traffic at
 * none of them starts it. */
static size_t list_sockets(const struct configuration *configuration, size_t index,
                           struct supervisor_unit_socket *list, bool *ret_starts)
{
    const struct unit_set_service *service = &configuration->set->services[index];
    size_t n = 0;

    *ret_starts = false;
    for (size_t i = 0; i < service->n_sockets; i++) {
        size_t socket = service->sockets[i];

        if (configuration->skip[socket])
            continue;
        list[n] = (struct supervisor_unit_socket){
            .index = served_index(configuration, socket),
            .starts = configuration->set->sockets[socket].service == index,
        };
        *ret_starts |= list[n++].starts;
    }
    return n;
}

static int add_service(struct configuration *configuration, size_t index,
                       struct supervisor *supervisor)
{
    const struct unit_set_service *service = &configuration->set->services[index];
    const struct service_plans *plans = &configuration->plans->services[index];
    cleanup_free struct supervisor_unit_socket *sockets =
        calloc(service->n_sockets + 1, sizeof(*sockets));
    cleanup_free char *name = NULL;
    bool starts;

    if (sockets == NULL)
        return -ENOMEM;
    struct supervisor_unit config = {
        .accept = service->is_template,
        .stay_on_cpu = service->unit->stay_on_cpu,
        .n_programs = plans->programs.n,
        .sockets = sockets,
        .n_sockets = list_sockets(configuration, index, sockets, &starts),
    };
    if (!starts)
        return 0;
    const struct unit_set_socket *first = &configuration->set->sockets[service->sockets[0]];
    if (unit_name_without_type(config.accept ? first->file->name : service->file->name, &name) < 0)
        return -ENOMEM;
    config.name = name;
    config.programs = add_programs(configuration, &plans->programs, &service->conditions);
    if (config.accept)
        set_accept_limits(first->unit, SLOTS_MAX / (uint32_t)configuration->set->n_services,
                          &config);
    return supervisor_add_unit(supervisor, &config);
}

int configuration_hand_over(struct configuration *configuration, struct claimed_socket *claimed,
                            struct supervisor *supervisor)
{
    int r = make_room(configuration);

    for (size_t i = 0; i < configuration->set->n_sockets && r >= 0; i++)
        if (!configuration->skip[i])
            r = add_socket(configuration, i, claimed != NULL ? &claimed[i] : NULL, supervisor);
    for (size_t i = 0; i < configuration->set->n_services && r >= 0; i++)
        r = add_service(configuration, i, supervisor);
    return r;
}
