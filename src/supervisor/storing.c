/* SPDX-License-Identifier: MIT */
/*
 * Listeners that we have made are kept by the service manager, too (FileDescriptorStoreMax=): when
 * hark is killed they stay open, who connects waits in their backlog, and the next hark goes on
 * with them. What was passed to us is its passer's, and comes back anyway.
 *
 * Whatever has changed, what is kept is compared with what is served, and made the same. So what
 * is sent late, to a manager that did not read, is right, too.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "supervisor/stored.h"
#include "supervisor/supervisor-state.h"

/* Calls visit() for each listener of our making that is open, with its name, as long as it returns
 * 0 or more. */
static int for_each_own(const struct supervisor *supervisor,
                        int (*visit)(const struct supervisor *supervisor, const char *name, int fd))
{
    int r = 0;

    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++) {
        const struct unit_socket *socket = supervisor->now.sockets[i];

        for (size_t j = 0; socket->unit != NULL && j < socket->n_listeners && r >= 0; j++) {
            const struct listener *listener = socket->listeners[j].listener;
            char name[STORED_NAME_SIZE];

            if (listener == NULL || listener_was_passed(listener))
                continue;
            stored_name(socket->name, socket->unit, j, name);
            r = visit(supervisor, name, listener_fd(listener));
        }
    }
    return r;
}

static int mark(const struct supervisor *supervisor, const char *name, int fd)
{
    struct stored *stored = stored_list_get(supervisor->options.stored, name, fd);

    if (stored != NULL)
        stored->wanted = true;
    return 0;
}

static int store(const struct supervisor *supervisor, const char *name, int fd)
{
    if (stored_list_get(supervisor->options.stored, name, fd) != NULL)
        return 0;
    int r = notify_store(supervisor->notify, name, fd);
    if (r < 0)
        return r;
    return stored_list_add(supervisor->options.stored, name, fd);
}

/* The manager forgets by name: two of one name go together, and the right one is sent again. */
static int forget_unwanted(struct supervisor *supervisor)
{
    struct stored_list *list = supervisor->options.stored;

    for (size_t i = 0; i < list->n;) {
        char name[STORED_NAME_SIZE];

        if (list->items[i].wanted) {
            i++;
            continue;
        }
        (void)snprintf(name, sizeof(name), "%s", list->items[i].name);
        int r = notify_forget(supervisor->notify, name);
        if (r < 0 && r != -EINVAL) /* a name that nobody can have given it */
            return r;
        stored_list_remove(list, name);
        i = 0;
    }
    return 0;
}

static int on_store(void *userdata)
{
    struct supervisor *supervisor = userdata;
    struct stored_list *list = supervisor->options.stored;

    for (size_t i = 0; i < list->n; i++)
        list->items[i].wanted = false;
    (void)for_each_own(supervisor, mark);
    /* First: the manager takes a descriptor only once, and a name may be another one's now. */
    int r = forget_unwanted(supervisor);
    /* Not before READY=1: what comes back is not started again, so its start must be over. */
    if (r >= 0 && supervisor->state == SUPERVISOR_SERVING)
        r = for_each_own(supervisor, store);
    return r;
}

/* What nobody wants must be forgotten before sockets are made: as long as the manager has it, its
 * address is in use. */
void supervisor_store_listeners(struct supervisor *supervisor)
{
    if (supervisor->options.stored == NULL)
        return;
    notify_on_store(supervisor->notify, on_store, supervisor);
    if (supervisor->options.stored->n > 0 && notify_is_wanted(supervisor->notify) &&
        on_store(supervisor) < 0)
        notify_store_later(supervisor->notify);
}
