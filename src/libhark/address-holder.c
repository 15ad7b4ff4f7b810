/* SPDX-License-Identifier: MIT */
/* Whether somebody is bound to an address, and who: by its lock file, else by the kernel's list of
 * sockets and /proc. Nobody is connected to. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "libhark/address.h"
#include "libhark/diag.h"
#include "libhark/hark.h"
#include "libhark/holder.h"
#include "libhark/path.h"
#include "libhark/probe.h"

struct search {
    const struct address *address;
    uint32_t node_inode; /* of a path */
    const char *name;    /* its last component */
    bool found;
    unsigned long inode; /* of the socket found */
    uid_t uid;
};

static bool remember(struct search *search, const struct diag_socket *socket)
{
    search->found = true;
    search->inode = socket->inode;
    search->uid = socket->uid;
    return true;
}

/* Inode numbers of different file systems agree now and then, so the name it was bound by counts
 * too. */
static bool is_node(const struct diag_socket *socket, void *context)
{
    struct search *search = context;
    size_t length = strlen(search->name), bound;

    if (socket->node_inode != search->node_inode ||
        (socket->connected && socket->type != SOCK_DGRAM) || !socket->name)
        return false;
    bound = strnlen(socket->name, socket->name_length);
    if (bound < length || strncmp(socket->name + bound - length, search->name, length) != 0)
        return false;
    return remember(search, socket);
}

static bool is_abstract(const struct diag_socket *socket, void *context)
{
    struct search *search = context;
    size_t length = search->address->length - offsetof(struct sockaddr_un, sun_path);

    if (socket->connected || socket->name_length != length ||
        memcmp(socket->name, search->address->socket.un.sun_path, length) != 0)
        return false;
    return remember(search, socket);
}

static bool is_zero(const uint32_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (words[i] != 0)
            return false;
    return true;
}

static bool is_inet(const struct diag_socket *socket, void *context)
{
    struct search *search = context;
    const struct sockaddr_in *in = &search->address->socket.in;
    uint32_t wanted = in->sin_addr.s_addr;

    if (socket->port != ntohs(in->sin_port) ||
        (wanted != 0 && socket->address[0] != 0 && wanted != socket->address[0]))
        return false;
    return remember(search, socket);
}

static bool is_inet6(const struct diag_socket *socket, void *context)
{
    struct search *search = context;
    const struct sockaddr_in6 *in6 = &search->address->socket.in6;

    if (socket->port != ntohs(in6->sin6_port) ||
        (!IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr) && !is_zero(socket->address, 4) &&
         memcmp(&in6->sin6_addr, socket->address, 16) != 0))
        return false;
    return remember(search, socket);
}

/* The other IP version: only a wildcard there can be in the way. */
static bool is_wildcard(const struct diag_socket *socket, void *context)
{
    struct search *search = context;

    if (socket->port != ntohs(search->address->socket.in.sin_port) ||
        !is_zero(socket->address, search->address->family == AF_INET ? 4 : 1))
        return false;
    return remember(search, socket);
}

static int search_path(struct search *search, struct hark_holder *ret_holder)
{
    const char *path = search->address->path;
    struct stat node;
    int r = hark_lockfile_holder(path, ret_holder);

    /* Our own lock says nothing about who took the path from us. */
    if (r == 0 && (ret_holder->foreign || ret_holder->pid != getpid()))
        return 0;
    if (fstatat(AT_FDCWD, path, &node, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT || errno == ENOTDIR ? -ESRCH : -errno;
    search->node_inode = (uint32_t)node.st_ino;
    search->name = strrchr(path, '/') + 1;
    r = diag_unix(is_node, search);
    return r < 0 ? r : 1;
}

static int search_sockets(struct search *search, int type)
{
    int family = search->address->family;
    int r;

    if (family == AF_UNIX)
        return diag_unix(is_abstract, search);
    if (family != AF_INET && family != AF_INET6)
        return 0;
    r = diag_inet(family, type, family == AF_INET ? is_inet : is_inet6, search);
    if (r != 0 || (family == AF_INET6 && !search->address->dual_stack))
        return r;
    return diag_inet(family == AF_INET ? AF_INET6 : AF_INET, type, is_wildcard, search);
}

int hark_address_holder(const char *address, int type, struct hark_holder *ret_holder)
{
    struct address parsed;
    struct search search = {.address = &parsed};
    struct hark_holder holder;
    int r;

    if (!address || !ret_holder)
        return -EINVAL;
    r = address_parse(address, &parsed);
    if (r < 0)
        return r;
    r = parsed.path ? search_path(&search, &holder) : search_sockets(&search, type);
    if (r < 0)
        return r;
    if (r == 0 && !parsed.path)
        return -ESRCH;
    if (r == 0) { /* by its lock */
        *ret_holder = holder;
        return 0;
    }
    if (!search.found)
        return -ESRCH;
    if (holder_of_socket(search.inode, &holder) < 0)
        holder = (struct hark_holder){.uid = search.uid};
    *ret_holder = holder;
    return 0;
}

static int state_of_path(const char *text)
{
    cleanup(path_done) struct path path = PATH_INIT;
    int r = path_open(text, &path);

    if (r < 0)
        return r == -ENOENT || r == -ENOTDIR ? HARK_ADDRESS_FREE : r;
    r = probe_ask(path.directory_fd, path.name);
    if (r < 0)
        return r;
    switch ((enum probe_state)r) {
    case PROBE_NOTHING:
        return HARK_ADDRESS_FREE;
    case PROBE_NOT_SOCKET:
        return HARK_ADDRESS_NO_SOCKET;
    case PROBE_DEAD:
        return HARK_ADDRESS_DEAD;
    case PROBE_ALIVE:
        return HARK_ADDRESS_IN_USE;
    case PROBE_UNSURE:
    case PROBE_FOREIGN:
        break;
    }
    return HARK_ADDRESS_UNKNOWN;
}

int hark_address_state(const char *address, int type)
{
    struct address parsed;
    struct search search = {.address = &parsed};

    if (!address)
        return -EINVAL;
    int r = address_parse(address, &parsed);
    if (r < 0)
        return r;
    if (parsed.path)
        return state_of_path(parsed.path);
    if (parsed.family == AF_VSOCK)
        return HARK_ADDRESS_UNKNOWN;
    r = search_sockets(&search, type);
    if (r < 0)
        return r;
    return r > 0 ? HARK_ADDRESS_IN_USE : HARK_ADDRESS_FREE;
}
