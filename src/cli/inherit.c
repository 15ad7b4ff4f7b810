/* SPDX-License-Identifier: MIT */
#include "cli/inherit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/parse.h"
#include "cli/exit-status.h"
#include "cli/preflight.h"
#include "supervisor/log.h"

#define CHECK "check:"

static int explain(int error)
{
    if (error == -EPROTONOSUPPORT)
        log_error("hark %s cannot take over from that one: their states differ too much, restart "
                  "it instead",
                  HARK_VERSION);
    else
        log_error("cannot take over: %s", strerror(-error));
    return EXIT_STATUS_FAILURE;
}

int inheritance_take(struct inheritance *ret_inheritance)
{
    const char *value = getenv(SUCCESSION_VARIABLE);
    struct inheritance inheritance = {0};
    uint64_t number;

    if (value == NULL)
        return EXIT_STATUS_OK;
    inheritance.only_check = strncmp(value, CHECK, strlen(CHECK)) == 0;
    int r =
        parse_unsigned(inheritance.only_check ? value + strlen(CHECK) : value, INT32_MAX, &number);
    (void)unsetenv(SUCCESSION_VARIABLE);
    if (r < 0)
        return explain(r);
    cleanup_close int fd = (int)number;
    r = succession_read(fd, &inheritance.succession);
    if (r < 0)
        return explain(r);
    if (chdir(inheritance.succession->directory) < 0)
        log_warning("cannot go to \"%s\" again: %s", inheritance.succession->directory,
                    strerror(errno));
    *ret_inheritance = inheritance;
    return EXIT_STATUS_OK;
}

void inheritance_done(struct inheritance *inheritance)
{
    inheritance->succession = succession_free(inheritance->succession);
}

static bool is_the_same(const struct succession_listener *left,
                        const struct unit_set_socket *socket, size_t index)
{
    const struct socket_listener *wanted = &socket->unit->listeners.items[index];

    return strcmp(left->socket, socket->file->name) == 0 && left->kind == (int)wanted->kind &&
           strcmp(left->address, wanted->address) == 0;
}

/* 1: it is this socket's now; 0: it is not its; or a negative errno. */
static int claim_for(const struct succession_listener *left, const struct unit_set_socket *socket,
                     struct claimed_socket *claimed)
{
    struct socket_owner owner;
    const char *unknown;

    if (!socket_owner_find(socket->unit, &owner, &unknown)) /* for when it is bound anew */
        owner = (struct socket_owner){(uid_t)-1, (gid_t)-1};
    for (size_t i = 0; i < socket->unit->listeners.n; i++) {
        const struct listener_request request = {
            .unit = socket->unit, .index = i, .owner = owner.user, .group = owner.group};

        if (claimed->listeners[i] != NULL || !is_the_same(left, socket, i))
            continue;
        int r = left->passed
                    ? listener_take(&request, left->fd, &claimed->listeners[i])
                    : listener_adopt(&request, left->fd, left->lock_fd, &claimed->listeners[i]);
        if (r < 0)
            return r;
        claimed->n_claimed++;
        claimed->is_up = true;
        return 1;
    }
    return 0;
}

void inheritance_claim(const struct inheritance *inheritance, const struct unit_set *set,
                       struct stored_list *stored, struct claimed_socket *claimed)
{
    const struct succession *succession = inheritance->succession;

    for (size_t i = 0; succession != NULL && i < succession->n_listeners; i++) {
        const struct succession_listener *left = &succession->listeners[i];
        int r = left->stored != NULL ? stored_list_add(stored, left->stored, left->fd) : 0;

        if (r < 0)
            log_warning("cannot remember \"%s\": %s", left->stored, strerror(-r));
        r = 0;
        for (size_t j = 0; j < set->n_sockets && r == 0; j++)
            r = claim_for(left, &set->sockets[j], &claimed[j]);
        if (r < 0)
            log_error("cannot take over \"%s\" of \"%s\": %s", left->address, left->socket,
                      strerror(-r));
        if (r <= 0) {
            fd_close(left->fd);
            fd_close(left->lock_fd);
        }
    }
}
