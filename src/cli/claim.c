/* SPDX-License-Identifier: MIT */
#include "cli/claim.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "cli/exit-status.h"
#include "cli/preflight.h"
#include "libhark/address.h"
#include "libhark/hark.h"
#include "supervisor/log.h"

#define FIRST_FD        3    /* SD_LISTEN_FDS_START of sd_listen_fds(3) */
#define LOCK_TIMEOUT_MS 1000 /* for what is left of a hark that was killed */

struct claimed_socket *claimed_sockets_free(struct claimed_socket *claimed,
                                            const struct unit_set *set)
{
    for (size_t i = 0; claimed != NULL && i < set->n_sockets; i++) {
        for (size_t j = 0; claimed[i].listeners != NULL && j < set->sockets[i].unit->listeners.n;
             j++)
            listener_free(claimed[i].listeners[j]);
        free(claimed[i].listeners);
    }
    free(claimed);
    return NULL;
}

static struct claimed_socket *new_claimed(const struct unit_set *set)
{
    struct claimed_socket *claimed = calloc(set->n_sockets, sizeof(*claimed));

    for (size_t i = 0; claimed != NULL && i < set->n_sockets; i++) {
        size_t n = set->sockets[i].unit->listeners.n;

        claimed[i].listeners = calloc(n + 1, sizeof(struct listener *));
        if (claimed[i].listeners == NULL)
            return claimed_sockets_free(claimed, set);
    }
    return claimed;
}

static bool has_name(const struct unit_set_socket *socket, const char *name)
{
    return name != NULL &&
           (strcmp(name, socket->unit->passed_name) == 0 || strcmp(name, socket->file->name) == 0);
}

/* How sure it is that a descriptor is a listener of a unit, the surest first. */
enum claim_rule {
    CLAIM_NAME_AND_ADDRESS,
    CLAIM_NAME, /* whoever passed it may see it at another path, or has not restarted its unit */
    CLAIM_ADDRESS,
    N_CLAIM_RULES,
};

/* 1: it was taken; 0: none of the unit's listeners is this; or a negative errno. */
static int claim_for(const struct unit_set_socket *socket, struct claimed_socket *claimed, int fd,
                     bool any_address)
{
    for (size_t i = 0; i < socket->unit->listeners.n; i++) {
        const struct listener_request request = {
            .unit = socket->unit, .index = i, .owner = (uid_t)-1, .group = (gid_t)-1};

        if (claimed->listeners[i] != NULL ||
            !(any_address ? listener_fits_kind(&request, fd) : listener_fits(&request, fd)))
            continue;
        int r = listener_take(&request, fd, &claimed->listeners[i]);
        if (r < 0)
            return r;
        claimed->n_claimed++;
        return 1;
    }
    return 0;
}

static int claim_by(enum claim_rule rule, const struct unit_set *set,
                    struct claimed_socket *claimed, struct hark_passed *passed)
{
    for (size_t i = 0; i < set->n_sockets; i++) {
        if (has_name(&set->sockets[i], passed->name) == (rule == CLAIM_ADDRESS))
            continue;
        int r = claim_for(&set->sockets[i], &claimed[i], passed->fd, rule == CLAIM_NAME);
        if (r != 0)
            return r;
    }
    return 0;
}

/* What it is, for a message. */
static void describe(int fd, char *text, size_t size)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof(address);
    char path[32], socket[ADDRESS_TEXT_MAX];

    if (getsockname(fd, (struct sockaddr *)&address, &length) >= 0 &&
        address_format((struct sockaddr *)&address, length, socket, sizeof(socket)) > 0) {
        (void)snprintf(text, size, "a socket at \"%s\"", socket);
        return;
    }
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, socket, sizeof(socket) - 1);
    socket[n > 0 ? n : 0] = '\0';
    (void)snprintf(text, size, "\"%s\"", socket);
}

static int explain(const struct hark_passed *passed, size_t index, int error)
{
    const char *name = passed->name != NULL ? passed->name : "unnamed";
    char text[ADDRESS_TEXT_MAX + 32];

    describe(passed->fd, text, sizeof(text));
    if (error < 0)
        log_error("cannot use passed descriptor %zu (\"%s\", %s): %s", FIRST_FD + index, name, text,
                  strerror(-error));
    else
        log_error("passed descriptor %zu (\"%s\", %s) belongs to no unit that is served: serve its "
                  "unit, too, or do not pass it",
                  FIRST_FD + index, name, text);
    return EXIT_STATUS_PASSED;
}

/* ---- What an earlier hark has left in the manager's store ------------------------------------ */

/* Consumes fd. */
static int adopt(const struct unit_set_socket *socket, size_t index, int fd,
                 struct listener **ret_listener)
{
    struct socket_owner owner;
    struct listener *listener;
    const char *unknown;

    if (!socket_owner_find(socket->unit, &owner, &unknown)) {
        fd_close(fd);
        return -ESRCH;
    }
    const struct listener_request request = {.unit = socket->unit,
                                             .index = index,
                                             .owner = owner.user,
                                             .group = owner.group,
                                             .timeout_ms = LOCK_TIMEOUT_MS};
    /* Nobody watches the name of what is no socket: it must lead here now. */
    enum listener_kind kind = socket->unit->listeners.items[index].kind;
    bool is_socket =
        kind == LISTENER_STREAM || kind == LISTENER_DATAGRAM || kind == LISTENER_SEQPACKET;
    int r = is_socket || listener_fits(&request, fd) ? listener_adopt(&request, fd, -1, &listener)
                                                     : -ESTALE;
    if (r < 0) {
        fd_close(fd);
        return r;
    }
    /* One that has lost its name but to nobody is bound anew as soon as we serve. */
    if (listener_check(listener) == HARK_LISTENER_REPLACED) {
        listener_free(listener);
        return -EADDRINUSE;
    }
    *ret_listener = listener;
    return 0;
}

/* Who wants what has that name, and has not got it yet. */
static bool find_stored(const struct unit_set *set, const struct claimed_socket *claimed,
                        const char *name, size_t *ret_socket, size_t *ret_index)
{
    char wanted[STORED_NAME_SIZE];

    for (size_t i = 0; i < set->n_sockets; i++)
        for (size_t j = 0; j < set->sockets[i].unit->listeners.n; j++) {
            if (claimed[i].listeners[j] != NULL)
                continue;
            stored_name(set->sockets[i].file->name, set->sockets[i].unit, j, wanted);
            if (strcmp(wanted, name) == 0) {
                *ret_socket = i;
                *ret_index = j;
                return true;
            }
        }
    return false;
}

/* A unit may be called "hark-x.socket", and what systemd passes of it, too. */
static bool is_named_by_unit(const struct unit_set *set, const char *name)
{
    for (size_t i = 0; i < set->n_sockets; i++)
        if (has_name(&set->sockets[i], name))
            return true;
    return false;
}

static void claim_stored(const struct unit_set *set, struct claimed_socket *claimed,
                         struct stored_list *stored, struct hark_passed *passed)
{
    char text[ADDRESS_TEXT_MAX + 32];
    size_t socket, index;

    if (!stored_is_name(passed->name))
        return;
    bool is_wanted = find_stored(set, claimed, passed->name, &socket, &index);
    if (!is_wanted && is_named_by_unit(set, passed->name))
        return;
    describe(passed->fd, text, sizeof(text));
    int r = stored_list_add(stored, passed->name, passed->fd);
    if (r < 0) /* it will stay there */
        log_warning("cannot remember \"%s\": %s", passed->name, strerror(-r));
    int fd = take_fd(&passed->fd);
    if (!is_wanted) {
        log_notice("no unit wants %s any more, which hark had before (\"%s\"): closing it", text,
                   passed->name);
        fd_close(fd);
        return;
    }
    r = adopt(&set->sockets[socket], index, fd, &claimed[socket].listeners[index]);
    if (r < 0) {
        log_warning("cannot go on with %s, which hark had before (\"%s\"): %s; making it anew",
                    text, passed->name, strerror(-r));
        return;
    }
    log_info("going on with %s, which hark had before", text);
    claimed[socket].n_claimed++;
    claimed[socket].is_up = true;
}

/* ---- All of it ------------------------------------------------------------------------------- */

static void forget_listen_variables(void)
{
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_PIDFDID");
    (void)unsetenv("LISTEN_FDNAMES");
}

/* Rule by rule for all, so that nobody takes by name alone what is another one's address. */
static int claim_all(const struct unit_set *set, struct claimed_socket *claimed,
                     struct hark_passed *passed, size_t n)
{
    int status = EXIT_STATUS_OK;

    for (enum claim_rule rule = 0; rule < N_CLAIM_RULES; rule++)
        for (size_t i = 0; i < n; i++) {
            int r = passed[i].fd < 0 ? 0 : claim_by(rule, set, claimed, &passed[i]);
            if (r < 0)
                return explain(&passed[i], i, r);
            if (r > 0)
                passed[i].fd = -1;
        }
    for (size_t i = 0; i < n; i++)
        if (passed[i].fd >= 0)
            status = explain(&passed[i], i, 0);
    return status;
}

int claim_passed_sockets(const struct unit_set *set, struct stored_list *stored,
                         struct claimed_socket **ret_claimed)
{
    struct hark_passed *passed = NULL;
    size_t n = 0;
    int r = hark_passed_fds(&passed, &n), status;

    forget_listen_variables();
    if (r < 0) {
        log_error("cannot take the passed sockets: %s",
                  r == -EINVAL ? "LISTEN_FDS and LISTEN_FDNAMES do not fit each other"
                               : strerror(-r));
        return EXIT_STATUS_PASSED;
    }
    struct claimed_socket *claimed = new_claimed(set);
    if (claimed == NULL) {
        log_error("out of memory");
        status = EXIT_STATUS_FAILURE;
    } else {
        for (size_t i = 0; i < n; i++)
            claim_stored(set, claimed, stored, &passed[i]);
        status = claim_all(set, claimed, passed, n);
    }
    hark_passed_free(passed, n);
    if (status != EXIT_STATUS_OK) {
        claimed_sockets_free(claimed, set);
        return status;
    }
    *ret_claimed = claimed;
    return EXIT_STATUS_OK;
}
