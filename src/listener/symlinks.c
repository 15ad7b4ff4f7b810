/* SPDX-License-Identifier: MIT */
/* Symlinks=. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "libhark/path.h"
#include "libhark/place.h"
#include "libhark/probe.h"
#include "listener/listener.h"

/* The one node of the unit; NULL: none, or more than one. */
static const char *find_node(const struct socket_unit *unit)
{
    const char *node = NULL;

    for (size_t i = 0; i < unit->listeners.n; i++) {
        const struct socket_listener *listener = &unit->listeners.items[i];
        if (listener->kind != LISTENER_FIFO &&
            (listener->kind > LISTENER_SEQPACKET || *listener->address != '/'))
            continue;
        if (node)
            return NULL;
        node = listener->address;
    }
    return node;
}

static bool leads_to(const char *link, const char *node)
{
    char target[PATH_MAX];
    ssize_t length = readlink(link, target, sizeof(target));

    return length >= 0 && (size_t)length == strlen(node) &&
           memcmp(target, node, (size_t)length) == 0;
}

/* systemd removes whatever it is. -EADDRINUSE: a socket that is not dead for sure. */
static int clear_the_way(const char *link)
{
    cleanup(path_done) struct path path = PATH_INIT;
    cleanup(probe_done) struct probe probe = PROBE_INIT;
    int r = path_open(link, &path);

    if (r == 0)
        r = probe_path(path.directory_fd, path.name, &probe);
    if (r < 0 || probe.state == PROBE_NOTHING)
        return r;
    if (probe.state != PROBE_NOT_SOCKET && probe.state != PROBE_DEAD)
        return -EADDRINUSE;
    return probe_unlink(path.directory_fd, path.name, &probe);
}

static int make_link(const struct socket_unit *unit, const char *node, const char *link)
{
    (void)place_make_parents(link, unit->directory_mode & 01777, true);
    if (symlink(node, link) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    if (leads_to(link, node))
        return 0;
    if (!unit->remove_on_stop)
        return -EEXIST;
    int r = clear_the_way(link);
    if (r < 0)
        return r;
    return symlink(node, link) < 0 ? -errno : 0;
}

void symlinks_make(const struct socket_unit *unit, struct problems *problems)
{
    const char *node = find_node(unit);
    const struct directive_use *use = unit_file_last_use(unit->file, SECTION_SOCKET, "Symlinks");
    char quoted[UNIT_QUOTE_MAX];

    for (size_t i = 0; node && i < unit->symlinks.n; i++) {
        int r = make_link(unit, node, unit->symlinks.items[i]);
        if (r < 0)
            problems_add(problems, PROBLEM_WARNING, use ? use->file : unit->file->main,
                         use ? use->line : 0, "cannot make the symbolic link \"%s\": %s",
                         unit_quote(unit->symlinks.items[i], quoted),
                         r == -EADDRINUSE ? "there is the socket of a living server"
                                          : strerror(-r));
    }
}

bool symlinks_are_same(const struct socket_unit *one, const struct socket_unit *other)
{
    const char *node = find_node(one), *other_node = find_node(other);

    if (one->symlinks.n != other->symlinks.n || !node != !other_node ||
        (node && strcmp(node, other_node) != 0))
        return false;
    for (size_t i = 0; i < one->symlinks.n; i++)
        if (strcmp(one->symlinks.items[i], other->symlinks.items[i]) != 0)
            return false;
    return true;
}

void symlinks_remove(const struct socket_unit *unit)
{
    const char *node = find_node(unit);

    for (size_t i = 0; node && unit->remove_on_stop && i < unit->symlinks.n; i++)
        if (leads_to(unit->symlinks.items[i], node))
            (void)unlink(unit->symlinks.items[i]);
}
