/* SPDX-License-Identifier: MIT */
#include "unit/unit-pairs.h"

#include <errno.h>
#include <stdlib.h>

int unit_pairs_connect(struct unit_set *set)
{
    for (size_t s = 0; s < set->n_services; s++) {
        struct unit_set_service *service = &set->services[s];
        const struct string_list *named = &service->unit->sockets;
        service->sockets = calloc(set->n_sockets, sizeof(*service->sockets));
        if (!service->sockets)
            return -ENOMEM;
        for (size_t i = 0; i < set->n_sockets; i++) {
            bool has = set->sockets[i].service == s;
            for (size_t n = 0; n < named->n && !has && !service->is_template; n++)
                has = unit_set_socket_is(&set->sockets[i], named->items[n]);
            if (has)
                service->sockets[service->n_sockets++] = i;
        }
    }
    return 0;
}

/* Two would accept from the same listener. */
static void check_named_sockets(const struct unit_set *set, const struct unit_set_service *service,
                                struct problems *problems)
{
    const struct directive_use *use = unit_file_last_use(service->file, SECTION_SERVICE, "Sockets");

    if (service->is_template && service->unit->sockets.n > 0)
        problems_add(problems, PROBLEM_WARNING, use->file, use->line,
                     "\"Sockets=\" has no effect: with Accept=yes a service gets its connection, "
                     "and nothing else");
    for (size_t i = 0; i < service->n_sockets && !service->is_template; i++) {
        const struct unit_set_socket *socket = &set->sockets[service->sockets[i]];
        if (socket->unit->accept)
            problems_add(problems, PROBLEM_ERROR, use->file, use->line,
                         "\"%s\" cannot have \"%s\" in Sockets=: that accepts its connections "
                         "itself (Accept=yes)",
                         service->name, socket->file->name);
    }
}

int unit_pairs_check(const struct unit_set *set, struct problems *problems)
{
    for (size_t i = 0; i < set->n_services; i++) {
        problems->unit = set->services[i].name;
        check_named_sockets(set, &set->services[i], problems);
    }
    problems->unit = NULL;
    return listener_conflicts_check(set, problems);
}
