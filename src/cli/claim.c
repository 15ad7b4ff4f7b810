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
#include "libhark/address.h"
#include "libhark/hark.h"
#include "supervisor/log.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START of sd_listen_fds(3) */

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

int claim_passed_sockets(const struct unit_set *set, struct claimed_socket **ret_claimed)
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
