/* SPDX-License-Identifier: MIT */
/* hark run: load the units, look up everything they need, take and make the sockets, serve. Nothing
 * is touched before everything that can be checked has been checked. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "cli/check-report.h"
#include "cli/claim.h"
#include "cli/exit-status.h"
#include "cli/preflight.h"
#include "cli/problem-lines.h"
#include "cli/run-options.h"
#include "cli/verbs.h"
#include "exec/unit-plans.h"
#include "supervisor/log.h"
#include "supervisor/supervisor.h"
#include "unit/unit-name.h"

/* A program or command, as the one who spawns it asks for its plan. */
struct program {
    struct exec_plan *plan;
    const struct condition_list *conditions; /* NULL: of none */
};

struct run {
    struct run_options options;
    struct problems problems;
    struct unit_set *set;
    bool *skip; /* of each socket: it is not to be started here and now */
    size_t n_served;
    struct unit_plans *plans;
    struct claimed_socket *claimed;
    struct program *programs; /* of all units */
    struct plan_source *sources;
    size_t n_programs;
    struct supervisor *supervisor;
};

static void run_done(struct run *run)
{
    supervisor_free(run->supervisor);
    claimed_sockets_free(run->claimed, run->set);
    unit_plans_free(run->plans);
    unit_set_free(run->set);
    free(run->programs);
    free(run->sources);
    free(run->skip);
    problems_done(&run->problems);
    run_options_done(&run->options);
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
static int say_run_without(const struct run *run)
{
    const struct check_report report = {.set = run->set, .problems = &run->problems};

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

static int tell_problems(struct run *run)
{
    struct problem_counts counts;

    problems_sort(&run->problems);
    if (problem_lines(&run->problems, write_problem, &counts) < 0)
        return out_of_memory();
    if (run->problems.n_errors == 0)
        return EXIT_STATUS_OK;
    log_error("nothing was started; \"hark check\" tells more");
    return EXIT_STATUS_UNITS;
}

static int load_units(struct run *run)
{
    int r = unit_options_load(&run->options.units, run->options.names, run->options.n_names,
                              &run->problems, &run->set);

    if (r >= 0)
        r = preflight(run->set, &run->problems, &run->plans);
    if (r < 0)
        return out_of_memory();
    int status = tell_problems(run);
    if (status != EXIT_STATUS_OK)
        return status;
    return say_run_without(run) < 0 ? out_of_memory() : EXIT_STATUS_OK;
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

/* Leaves out the sockets that are not to be started here and now. */
static int apply_conditions(struct run *run)
{
    run->skip = calloc(run->set->n_sockets + 1, sizeof(*run->skip));
    if (run->skip == NULL)
        return out_of_memory();
    for (size_t i = 0; i < run->set->n_sockets; i++) {
        int r = may_start(&run->set->sockets[i]);
        if (r == -ENOMEM)
            return out_of_memory();
        if (r < 0)
            return EXIT_STATUS_UNITS;
        run->skip[i] = r == 0;
        run->n_served += r != 0;
    }
    if (run->n_served == run->set->n_sockets)
        return EXIT_STATUS_OK;
    /* The plans of a service depend on all its sockets. */
    run->plans = unit_plans_free(run->plans);
    problems_done(&run->problems);
    if (unit_plans_new(run->set, run->skip, &run->problems, &run->plans) < 0)
        return out_of_memory();
    return run->problems.n_errors == 0 ? EXIT_STATUS_OK : tell_problems(run);
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
static const struct plan_source *add_programs(struct run *run, const struct exec_plan_list *plans,
                                              const struct condition_list *conditions)
{
    const struct plan_source *first = &run->sources[run->n_programs];

    for (size_t i = 0; i < plans->n; i++) {
        struct program *program = &run->programs[run->n_programs];

        *program = (struct program){.plan = plans->items[i], .conditions = conditions};
        run->sources[run->n_programs++] = (struct plan_source){
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

static int make_room(struct run *run)
{
    size_t n = count_programs(run->plans);

    run->programs = calloc(n + 1, sizeof(*run->programs));
    run->sources = calloc(n + 1, sizeof(*run->sources));
    return run->programs == NULL || run->sources == NULL ? out_of_memory() : EXIT_STATUS_OK;
}

/* ---- For the supervisor ---------------------------------------------------------------------- */

static int add_socket(struct run *run, size_t index)
{
    const struct unit_set_socket *socket = &run->set->sockets[index];
    const struct socket_plans *plans = &run->plans->sockets[index];
    struct claimed_socket *claimed = &run->claimed[index];
    struct supervisor_socket config = {
        .name = socket->file->name,
        .unit = socket->unit,
        .listeners = claimed->listeners,
        .n_listeners = socket->unit->listeners.n,
    };
    struct socket_owner owner;
    const char *unknown;

    if (!socket_owner_find(socket->unit, &owner, &unknown)) /* it was there a moment ago */
        return -ESRCH;
    config.owner = owner.user;
    config.group = owner.group;
    /* Of one that is passed, who passed it has run them. */
    for (size_t i = 0; claimed->n_claimed < config.n_listeners && i < N_COMMAND_LISTS; i++) {
        config.commands[i] = add_programs(run, &plans->commands[i], NULL);
        config.n_commands[i] = plans->commands[i].n;
    }
    int r = supervisor_add_socket(run->supervisor, &config);
    for (size_t i = 0; r >= 0 && i < config.n_listeners; i++)
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
static uint32_t served_index(const struct run *run, size_t index)
{
    uint32_t served = 0;

    for (size_t i = 0; i < index; i++)
        served += !run->skip[i];
    return served;
}

/* The sockets that a service gets descriptors from: how many; *ret_starts is false when traffic at
 * none of them starts it. */
static size_t list_sockets(const struct run *run, size_t index, struct supervisor_unit_socket *list,
                           bool *ret_starts)
{
    const struct unit_set_service *service = &run->set->services[index];
    size_t n = 0;

    *ret_starts = false;
    for (size_t i = 0; i < service->n_sockets; i++) {
        size_t socket = service->sockets[i];

        if (run->skip[socket])
            continue;
        list[n] = (struct supervisor_unit_socket){
            .index = served_index(run, socket),
            .starts = run->set->sockets[socket].service == index,
        };
        *ret_starts |= list[n++].starts;
    }
    return n;
}

static int add_service(struct run *run, size_t index)
{
    const struct unit_set_service *service = &run->set->services[index];
    const struct service_plans *plans = &run->plans->services[index];
    cleanup_free struct supervisor_unit_socket *sockets =
        calloc(service->n_sockets + 1, sizeof(*sockets));
    cleanup_free char *name = NULL;
    bool starts;

    if (sockets == NULL)
        return -ENOMEM;
    struct supervisor_unit config = {
        .accept = service->is_template,
        .n_programs = plans->programs.n,
        .sockets = sockets,
        .n_sockets = list_sockets(run, index, sockets, &starts),
    };
    if (!starts)
        return 0;
    const struct unit_set_socket *first = &run->set->sockets[service->sockets[0]];
    if (unit_name_without_type(config.accept ? first->file->name : service->file->name, &name) < 0)
        return -ENOMEM;
    config.name = name;
    config.programs = add_programs(run, &plans->programs, &service->conditions);
    if (config.accept)
        set_accept_limits(first->unit, SLOTS_MAX / (uint32_t)run->set->n_services, &config);
    return supervisor_add_unit(run->supervisor, &config);
}

/* The command line's, else the greatest ForkServers=, else what suits. */
static uint32_t choose_fork_servers(const struct run *run)
{
    uint32_t n = run->options.supervisor.n_servers;

    if (n != 0)
        return n;
    for (size_t i = 0; i < run->set->n_sockets; i++)
        if (!run->skip[i] && run->set->sockets[i].unit->fork_servers > n)
            n = run->set->sockets[i].unit->fork_servers;
    return n;
}

static int add_all(struct run *run)
{
    int r = 0;

    for (size_t i = 0; i < run->set->n_sockets && r >= 0; i++)
        if (!run->skip[i])
            r = add_socket(run, i);
    for (size_t i = 0; i < run->set->n_services && r >= 0; i++)
        r = add_service(run, i);
    return r;
}

static int serve(struct run *run)
{
    struct supervisor_options options = run->options.supervisor;
    int r = chdir("/") < 0 ? -errno : 0; /* where programs without another directory are */

    if (r >= 0)
        r = supervisor_block_signals(&options.ignore_hangup);
    options.n_servers = choose_fork_servers(run);
    if (r >= 0)
        r = supervisor_new(&options, &run->supervisor);
    if (r >= 0)
        r = add_all(run);
    if (r < 0) {
        log_error("cannot set up: %s", strerror(-r));
        return EXIT_STATUS_FAILURE;
    }
    r = supervisor_run(run->supervisor);
    return r < 0 ? EXIT_STATUS_FAILURE : r;
}

/* Sockets that were passed for what is not served: they are their passer's alone. */
static void forget_skipped(struct run *run)
{
    for (size_t i = 0; i < run->set->n_sockets; i++)
        for (size_t j = 0; run->skip[i] && j < run->set->sockets[i].unit->listeners.n; j++)
            run->claimed[i].listeners[j] = listener_free(run->claimed[i].listeners[j]);
}

static int run_steps(struct run *run)
{
    int status = load_units(run);

    if (status == EXIT_STATUS_OK)
        status = apply_conditions(run);
    if (status != EXIT_STATUS_OK)
        return status;
    if (run->n_served == 0) {
        log_notice("there is nothing to serve");
        return EXIT_STATUS_OK;
    }
    status = claim_passed_sockets(run->set, &run->claimed);
    if (status != EXIT_STATUS_OK)
        return status;
    forget_skipped(run);
    status = make_room(run);
    return status == EXIT_STATUS_OK ? serve(run) : status;
}

int verb_run(int argc, char *argv[])
{
    cleanup(run_done) struct run run = {0};
    int r = run_options_parse(&run.options, argc, argv);

    if (r < 0)
        return EXIT_STATUS_USAGE;
    return r == 0 ? EXIT_STATUS_OK : run_steps(&run);
}
