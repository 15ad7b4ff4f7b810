/* SPDX-License-Identifier: MIT */
#include "exec/unit-plans.h"

#include <errno.h>
#include <stdlib.h>

#include "basic/cleanup.h"

static void free_list(struct exec_plan_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        exec_plan_free(list->items[i]);
    free(list->items);
    *list = (struct exec_plan_list){0};
}

struct unit_plans *unit_plans_free(struct unit_plans *plans)
{
    if (plans == NULL)
        return NULL;
    for (size_t i = 0; i < plans->n_sockets; i++) {
        for (size_t j = 0; j < N_COMMAND_LISTS; j++)
            free_list(&plans->sockets[i].commands[j]);
        free(plans->sockets[i].fd_names);
    }
    for (size_t i = 0; i < plans->n_services; i++) {
        free_list(&plans->services[i].programs);
        free(plans->services[i].fd_names);
    }
    free(plans->sockets);
    free(plans->services);
    free(plans);
    return NULL;
}

static void cleanup_plans(struct unit_plans **plans)
{
    unit_plans_free(*plans);
}

/* One plan per command; all the same but for that. */
static int make_list(const struct exec_request *common, const struct command_list *commands,
                     struct problems *problems, struct exec_plan_list *list)
{
    list->items = calloc(commands->n + 1, sizeof(struct exec_plan *));
    if (list->items == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < commands->n; i++) {
        struct exec_request request = *common;

        request.command = &commands->items[i];
        int r = exec_plan_new(&request, problems, &list->items[i]);
        if (r < 0)
            return r;
        list->n = i + 1;
    }
    return 0;
}

/* ---- Sockets --------------------------------------------------------------------------------- */

static int make_socket_plans(const struct unit_set_socket *socket, struct problems *problems,
                             struct socket_plans *plans)
{
    const struct socket_unit *unit = socket->unit;
    const struct command_list *const lists[N_COMMAND_LISTS] = {
        [COMMANDS_START_PRE] = &unit->exec_start_pre,
        [COMMANDS_START_POST] = &unit->exec_start_post,
        [COMMANDS_STOP_PRE] = &unit->exec_stop_pre,
        [COMMANDS_STOP_POST] = &unit->exec_stop_post,
    };
    int r = 0;

    plans->fd_names = calloc(unit->listeners.n + 1, sizeof(*plans->fd_names));
    if (plans->fd_names == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < unit->listeners.n; i++)
        plans->fd_names[i] = unit->passed_name;
    struct exec_request request = {
        .unit = socket->file,
        .context = &unit->exec,
        .fd_names = plans->fd_names,
        .n_fds = unit->listeners.n,
    };
    for (size_t i = 0; i < N_COMMAND_LISTS && r >= 0; i++) {
        /* Only while they are open. */
        bool has_sockets = i == COMMANDS_START_POST || i == COMMANDS_STOP_PRE;
        request.sockets = has_sockets && unit->pass_descriptors_to_exec ? EXEC_SOCKETS_LISTENERS
                                                                        : EXEC_SOCKETS_NONE;
        r = make_list(&request, lists[i], problems, &plans->commands[i]);
    }
    return r;
}

/* ---- Services -------------------------------------------------------------------------------- */

static int collect_names(const struct unit_set *set, const struct unit_set_service *service,
                         const bool *skip, struct service_plans *plans)
{
    size_t n = 0;

    for (size_t i = 0; i < service->n_sockets; i++)
        n += set->sockets[service->sockets[i]].unit->listeners.n;
    plans->fd_names = calloc(n + 1, sizeof(*plans->fd_names));
    if (plans->fd_names == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < service->n_sockets; i++) {
        const struct socket_unit *unit = set->sockets[service->sockets[i]].unit;

        if (skip != NULL && skip[service->sockets[i]])
            continue;
        for (size_t j = 0; j < unit->listeners.n; j++)
            plans->fd_names[plans->n_fds++] = unit->fd_name;
    }
    return 0;
}

static int make_service_plans(const struct unit_set *set, const struct unit_set_service *service,
                              struct problems *problems, struct service_plans *plans)
{
    struct exec_request request = {
        .unit = service->file,
        .context = &service->unit->exec,
        .sockets = service->is_template ? EXEC_SOCKETS_CONNECTION : EXEC_SOCKETS_LISTENERS,
        .fd_names = plans->fd_names,
        .n_fds = plans->n_fds,
        .non_blocking = service->unit->non_blocking,
        .stay_in_session = service->unit->stay_in_session,
    };
    if (service->is_template)
        request.instance = (struct exec_instance){set->instance, set->instance_unescaped};
    return make_list(&request, &service->unit->exec_start, problems, &plans->programs);
}

/* ---- All ------------------------------------------------------------------------------------- */

static int make_all(const struct unit_set *set, const bool *skip, struct problems *problems,
                    struct unit_plans *plans)
{
    int r = 0;

    for (size_t i = 0; i < set->n_sockets && r >= 0; i++) {
        problems->unit = set->sockets[i].file->name;
        r = make_socket_plans(&set->sockets[i], problems, &plans->sockets[i]);
    }
    for (size_t i = 0; i < set->n_services && r >= 0; i++) {
        problems->unit = set->services[i].name;
        r = collect_names(set, &set->services[i], skip, &plans->services[i]);
        if (r >= 0)
            r = make_service_plans(set, &set->services[i], problems, &plans->services[i]);
    }
    problems->unit = NULL;
    return r;
}

int unit_plans_new(const struct unit_set *set, const bool *skip, struct problems *problems,
                   struct unit_plans **ret_plans)
{
    cleanup(cleanup_plans) struct unit_plans *plans = calloc(1, sizeof(*plans));

    if (plans == NULL)
        return -ENOMEM;
    plans->sockets = calloc(set->n_sockets + 1, sizeof(*plans->sockets));
    plans->services = calloc(set->n_services + 1, sizeof(*plans->services));
    if (plans->sockets == NULL || plans->services == NULL)
        return -ENOMEM;
    plans->n_sockets = set->n_sockets;
    plans->n_services = set->n_services;
    int r = make_all(set, skip, problems, plans);
    if (r < 0)
        return r;
    *ret_plans = take_pointer(&plans);
    return 0;
}
