/* SPDX-License-Identifier: MIT */
#include "cli/check-report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"

size_t check_unit_count(const struct check_report *report)
{
    return report->set->n_sockets + report->set->n_services;
}

struct check_unit check_unit_get(const struct check_report *report, size_t i)
{
    const struct unit_set *set = report->set;
    size_t next = 0; /* services are in the order of the first socket of each */

    for (size_t j = 0; j < set->n_sockets; j++) {
        const struct unit_set_socket *socket = &set->sockets[j];
        if (i-- == 0)
            return (struct check_unit){socket->file->name, socket->files, socket->file,
                                       &socket->conditions};
        if (socket->service != next)
            continue;
        const struct unit_set_service *service = &set->services[next++];
        if (i-- == 0)
            return (struct check_unit){service->name, service->files, service->file,
                                       &service->conditions};
    }
    return (struct check_unit){0}; /* not reached: each service has a socket */
}

const char *check_verdict(const struct check_report *report, const struct check_unit *unit,
                          const struct directive_use *use)
{
    bool is_wrong = use->verdict == VERDICT_REFUSED || use->verdict == VERDICT_UNKNOWN;

    if (!is_wrong && problems_has_error(report->problems, unit->name, use->file, use->line))
        return "invalid";
    if (use->verdict == VERDICT_HONOURED && report->problems->n_dropped > 0)
        return "unclear";
    return verdict_name(use->verdict);
}

int check_run_without(const struct check_unit *unit, struct string_list *ret_keys)
{
    cleanup(string_list_done) struct string_list all = {0};
    int r = 0;

    for (size_t i = 0; i < unit->file->n_uses && r == 0; i++)
        if (unit->file->uses[i].verdict == VERDICT_IGNORED)
            r = string_list_add(&all, unit->file->uses[i].key);
    string_list_sort(&all);
    for (size_t i = 0; i < all.n && r == 0; i++)
        if (i == 0 || strcmp(all.items[i], all.items[i - 1]) != 0)
            r = string_list_add(ret_keys, all.items[i]);
    return r;
}

int check_condition(const struct check_report *report, const struct condition *condition,
                    enum check_state *ret_state, int *ret_error)
{
    struct condition alone = *condition;
    struct condition_list list = {.items = &alone, .n = 1};
    struct condition_failure failure = {0};

    alone.is_triggering = false;
    *ret_error = 0;
    if (strstr(condition->parameter, report->set->instance) ||
        strstr(condition->parameter, report->set->instance_unescaped)) {
        *ret_state = CHECK_PER_CONNECTION;
        return 0;
    }
    int r = conditions_evaluate(&list, condition->group, &failure);
    if (r < 0)
        return r;
    *ret_error = r == 0 ? failure.error : 0;
    if (r > 0)
        *ret_state = CHECK_MET;
    else
        *ret_state = failure.error < 0 ? CHECK_UNKNOWN : CHECK_NOT_MET;
    return 0;
}

const struct condition *check_find_condition(const struct check_unit *unit,
                                             const struct directive_use *use, size_t *cursor)
{
    const struct condition_list *list = unit->conditions;

    if (*cursor >= list->n || list->items[*cursor].line != use->line ||
        strcmp(list->items[*cursor].file, use->file) != 0)
        return NULL;
    return &list->items[(*cursor)++];
}

/* What keeps a unit from being started now, or NULL. What depends on the connection is not known
 * before there is one. */
static int find_unmet(const struct check_report *report, const struct condition_list *list,
                      const struct condition **ret_unmet)
{
    for (size_t i = 0; i < list->n; i++) {
        enum check_state state;
        int error;
        int r = check_condition(report, &list->items[i], &state, &error);
        if (r < 0 || state == CHECK_PER_CONNECTION)
            return r;
    }
    for (enum condition_group group = CONDITIONS; group < N_CONDITION_GROUPS; group++) {
        struct condition_failure failure;
        int r = conditions_evaluate(list, group, &failure);
        if (r < 0)
            return r;
        if (r > 0)
            continue;
        *ret_unmet = failure.condition;
        return 0;
    }
    return 0;
}

int check_pair_get(const struct check_report *report, size_t i, struct check_pair *ret_pair)
{
    const struct unit_set_socket *socket = &report->set->sockets[i];
    struct check_pair pair = {.socket = socket->file->name, .accept = socket->unit->accept};
    const struct unit_set_service *service = NULL;
    int r = 0;

    if (socket->service != UNIT_SET_NO_SERVICE)
        service = &report->set->services[socket->service];
    pair.n_errors = problems_count_errors(report->problems, pair.socket);
    if (service) {
        pair.service = service->name;
        pair.n_errors += problems_count_errors(report->problems, service->name);
    }
    pair.is_runnable = service && pair.n_errors == 0 && report->problems->n_dropped == 0;
    if (pair.is_runnable)
        r = find_unmet(report, &socket->conditions, &pair.unmet);
    /* As run has it: of a service it is asked for each start. */
    if (pair.unmet && pair.unmet->group == ASSERTIONS)
        pair.is_runnable = false;
    if (r == 0 && pair.is_runnable && !pair.unmet)
        r = find_unmet(report, &service->conditions, &pair.unmet);
    if (r < 0)
        return r;
    *ret_pair = pair;
    return 0;
}

int check_is_runnable(const struct check_report *report)
{
    bool is_runnable = report->problems->n_errors == 0;

    for (size_t i = 0; is_runnable && i < report->set->n_sockets; i++) {
        struct check_pair pair;
        int r = check_pair_get(report, i, &pair);
        if (r < 0)
            return r;
        is_runnable = pair.is_runnable;
    }
    return is_runnable;
}
