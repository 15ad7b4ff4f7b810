/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "libhark/address.h"
#include "libhark/hark.h"
#include "libhark/passed.h"
#include "libhark/place.h"

/* Whoever serves while it binds anew must not stand still for long. */
#define REBIND_TIMEOUT_MS 100

#define LISTEN_FLAGS                                                                               \
    (HARK_LISTEN_NONBLOCK | HARK_LISTEN_MKDIR | HARK_LISTEN_KEEP_NAME | HARK_LISTEN_ONE_THREAD)

/* The options as they were first, without what has grown behind them. */
#define OPTIONS_SIZE_MIN offsetof(struct hark_listen_options, protocol)

struct hark_listener {
    int fd;
    int type;
    char *address;
    char *name; /* or NULL */
    bool passed;
    bool has_place;
    pid_t owner; /* the process that made it; 0: disowned */
    struct place place;
    struct hark_listen_options options;
};

static int listen_path(struct hark_listener *listener, const struct address *address)
{
    struct place *place = &listener->place;
    struct backoff backoff;
    int r = place_open(address->path, &listener->options, &place->path);

    if (r < 0)
        return r;
    listener->has_place = true;
    listener->address = strdup(place->path.text);
    if (!listener->address)
        return -ENOMEM;
    /* One deadline for both: the lock, and the old listener. */
    backoff_init(&backoff, listener->options.lock_timeout_ms);
    r = place_lock(place, listener->options.lock_timeout_ms);
    if (r < 0)
        return r;
    return place_bind_wait(place, &listener->options, &backoff, &listener->fd);
}

/* Not for datagrams: there SO_REUSEADDR lets two servers have the same port. */
static int set_inet_options(int fd, const struct address *address, int type)
{
    int on = 1, off = 0;

    if (type == SOCK_STREAM && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return -errno;
    if (address->dual_stack && address->family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
        return -errno;
    return 0;
}

static int bind_address(const struct address *address, const struct hark_listen_options *options,
                        int *ret_fd)
{
    cleanup_close int fd = -1;
    int r = listen_socket(address->family, options, &fd);

    if (r == 0 && (address->family == AF_INET || address->family == AF_INET6))
        r = set_inet_options(fd, address, options->type);
    if (r == 0)
        r = listen_prepare(fd, options);
    if (r < 0)
        return r;
    if (bind(fd, &address->socket.generic, address->length) < 0)
        return -errno;
    r = listen_start(fd, options);
    if (r < 0)
        return r;
    *ret_fd = take_fd(&fd);
    return 0;
}

static int bind_address_or_ipv4(const struct address *address,
                                const struct hark_listen_options *options, int *ret_fd)
{
    struct address ipv4 = {.family = AF_INET, .length = sizeof(ipv4.socket.in)};
    int r = bind_address(address, options, ret_fd);

    if (!address->dual_stack || (r != -EAFNOSUPPORT && r != -EADDRNOTAVAIL))
        return r;
    ipv4.socket.in =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = address->socket.in6.sin6_port};
    return bind_address(&ipv4, options, ret_fd);
}

static int bound_address(int fd, char text[ADDRESS_TEXT_MAX])
{
    struct sockaddr_storage socket = {0};
    socklen_t length = sizeof(socket);

    if (getsockname(fd, (struct sockaddr *)&socket, &length) < 0)
        return -errno;
    int r = address_format((struct sockaddr *)&socket, length, text, ADDRESS_TEXT_MAX);
    return r < 0 ? r : 0;
}

static int name_by_socket(struct hark_listener *listener, int fd)
{
    char text[ADDRESS_TEXT_MAX];
    int r = bound_address(fd, text);

    if (r < 0)
        return r;
    listener->address = strdup(text);
    return listener->address ? 0 : -ENOMEM;
}

static int listen_kernel(struct hark_listener *listener, const struct address *address)
{
    struct backoff backoff;

    backoff_init(&backoff, listener->options.lock_timeout_ms);
    for (;;) {
        int r = bind_address_or_ipv4(address, &listener->options, &listener->fd);
        if (r == 0)
            return name_by_socket(listener, listener->fd);
        if (r != -EADDRINUSE)
            return r;
        r = backoff_wait(&backoff);
        if (r < 0)
            return r == -ETIMEDOUT ? -EADDRINUSE : r;
    }
}

/* Also what a caller of an earlier version, with the shorter structure, asks, and what one of a
 * later version, with a longer one, may ask of us. */
static int copy_options(const struct hark_listen_options *from, struct hark_listen_options *ret)
{
    struct hark_listen_options options = HARK_LISTEN_OPTIONS_INIT;

    if (from) {
        if (from->size < sizeof(options) && from->size != OPTIONS_SIZE_MIN)
            return -EINVAL;
        for (size_t i = sizeof(options); i < from->size; i++)
            if (((const char *)from)[i] != 0)
                return -E2BIG;
        memcpy(&options, from, from->size < sizeof(options) ? from->size : sizeof(options));
    }
    if ((options.type != SOCK_STREAM && options.type != SOCK_DGRAM &&
         options.type != SOCK_SEQPACKET) ||
        options.mode > 0777 || options.directory_mode > 01777 || options.lock_timeout_ms < -1 ||
        (options.flags & ~(unsigned)LISTEN_FLAGS))
        return -EINVAL;
    *ret = options;
    return 0;
}

static struct hark_listener *listener_new(void)
{
    struct hark_listener *listener = calloc(1, sizeof(*listener));

    if (listener) {
        listener->fd = -1;
        listener->owner = getpid();
        listener->place = (struct place)PLACE_INIT;
    }
    return listener;
}

static void cleanup_listener(struct hark_listener **listener)
{
    hark_listener_free(*listener);
}

static int socket_option(int fd, int option, int *ret_value)
{
    socklen_t length = sizeof(*ret_value);

    return getsockopt(fd, SOL_SOCKET, option, ret_value, &length) < 0 ? -errno : 0;
}

/* Of that type, 0 for any, and listening: its type. */
static int check_type(int fd, int type)
{
    int actual, listens = 0;
    int r = socket_option(fd, SO_TYPE, &actual);

    if (r < 0)
        return r;
    if (type != 0 && actual != type)
        return -EPROTOTYPE;
    if (actual == SOCK_STREAM || actual == SOCK_SEQPACKET) {
        r = socket_option(fd, SO_ACCEPTCONN, &listens);
        if (r < 0)
            return r;
        if (!listens)
            return -ENOTCONN;
    }
    return actual;
}

int hark_listener_from_fd(int fd, int type, const char *name, struct hark_listener **ret_listener)
{
    cleanup(cleanup_listener) struct hark_listener *listener = NULL;

    if (!ret_listener)
        return -EINVAL;
    int actual = check_type(fd, type);
    if (actual < 0)
        return actual;
    listener = listener_new();
    if (!listener)
        return -ENOMEM;
    listener->type = actual;
    listener->passed = true;
    if (name && !(listener->name = strdup(name)))
        return -ENOMEM;
    int r = name_by_socket(listener, fd);
    if (r >= 0)
        r = fd_set_close_on_exec(fd, true);
    if (r < 0)
        return r;
    listener->fd = fd;
    *ret_listener = take_pointer(&listener);
    return 0;
}

/* A PORT is served as well by a socket of one IP version only. */
static bool family_fits(int fd, const struct address *address)
{
    int family;

    if (socket_option(fd, SO_DOMAIN, &family) < 0)
        return false;
    return family == address->family || (address->dual_stack && family == AF_INET);
}

static int take_passed(const struct address *address, const struct hark_listen_options *options,
                       struct hark_listener **ret_listener)
{
    int fd;
    int r = passed_find(options->name, &fd);

    if (r < 0)
        return r;
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISSOCK(status.st_mode))
        return -ENOTSOCK;
    if (!family_fits(fd, address))
        return -EAFNOSUPPORT;
    return hark_listener_from_fd(fd, options->type, options->name, ret_listener);
}

/* A listener that has its options, and nothing else yet. */
static int listener_for(const struct hark_listen_options *options,
                        struct hark_listener **ret_listener)
{
    cleanup(cleanup_listener) struct hark_listener *listener = listener_new();

    if (!listener)
        return -ENOMEM;
    listener->options = *options;
    listener->options.name = NULL; /* the caller's string */
    listener->type = options->type;
    if (options->name && !(listener->name = strdup(options->name)))
        return -ENOMEM;
    *ret_listener = take_pointer(&listener);
    return 0;
}

int hark_listen(const char *address, const struct hark_listen_options *options,
                struct hark_listener **ret_listener)
{
    cleanup(cleanup_listener) struct hark_listener *listener = NULL;
    struct hark_listen_options chosen;
    struct address parsed;
    int r;

    if (!address || !ret_listener)
        return -EINVAL;
    r = copy_options(options, &chosen);
    if (r < 0)
        return r;
    r = address_parse(address, &parsed);
    if (r < 0)
        return r;
    if (chosen.name) {
        r = take_passed(&parsed, &chosen, ret_listener);
        if (r != -ENOENT)
            return r;
    }
    r = listener_for(&chosen, &listener);
    if (r < 0)
        return r;
    r = parsed.path ? listen_path(listener, &parsed) : listen_kernel(listener, &parsed);
    if (r < 0)
        return r;
    *ret_listener = take_pointer(&listener);
    return 0;
}

/* ---- Adopted --------------------------------------------------------------------------------- */

/* Of a path only the last component: the others may have been links, or not have fit. */
static bool is_bound_to_path(int fd, const char *path)
{
    struct sockaddr_un bound = {.sun_family = AF_UNSPEC};
    socklen_t length = sizeof(bound);
    const char *name = strrchr(path, '/') + 1;

    if (getsockname(fd, (struct sockaddr *)&bound, &length) < 0 || bound.sun_family != AF_UNIX ||
        length <= offsetof(struct sockaddr_un, sun_path))
        return false;
    size_t size = strnlen(bound.sun_path, length - offsetof(struct sockaddr_un, sun_path));
    const char *slash = memrchr(bound.sun_path, '/', size);
    size_t skip = slash ? (size_t)(slash + 1 - bound.sun_path) : 0;
    return size - skip == strlen(name) && memcmp(bound.sun_path + skip, name, size - skip) == 0;
}

static bool is_bound_to(int fd, const struct address *address)
{
    char wanted[ADDRESS_TEXT_MAX], bound[ADDRESS_TEXT_MAX];

    if (address->path)
        return is_bound_to_path(fd, address->path);
    if (bound_address(fd, bound) < 0)
        return false;
    if (address_format(&address->socket.generic, address->length, wanted, sizeof(wanted)) >= 0 &&
        strcmp(bound, wanted) == 0)
        return true;
    (void)snprintf(wanted, sizeof(wanted), "0.0.0.0:%u", ntohs(address->socket.in6.sin6_port));
    return address->dual_stack && strcmp(bound, wanted) == 0;
}

static int check_adopted(int fd, const struct address *address, int type)
{
    int r = check_type(fd, type);

    if (r < 0)
        return r;
    if (!family_fits(fd, address))
        return -EAFNOSUPPORT;
    return is_bound_to(fd, address) ? 0 : -EADDRNOTAVAIL;
}

/* The lock comes last of what can fail: to let go of one that was taken over would remove it. */
static int adopt_path(struct hark_listener *listener, const char *path, int fd, int lock_fd)
{
    struct place *place = &listener->place;
    int r = path_open(path, &place->path);

    if (r < 0)
        return r;
    listener->has_place = true;
    listener->address = strdup(place->path.text);
    if (!listener->address)
        return -ENOMEM;
    r = fd_set_close_on_exec(fd, true);
    if (r < 0)
        return r;
    r = lock_fd >= 0 ? place_adopt_lock(place, lock_fd)
                     : place_lock(place, listener->options.lock_timeout_ms);
    if (r < 0)
        return r;
    place_find(place, fd);
    return 0;
}

int hark_listener_adopt(const char *address, int fd, int lock_fd,
                        const struct hark_listen_options *options,
                        struct hark_listener **ret_listener)
{
    cleanup(cleanup_listener) struct hark_listener *listener = NULL;
    struct hark_listen_options chosen;
    struct address parsed;

    if (!address || lock_fd < -1 || !ret_listener)
        return -EINVAL;
    int r = copy_options(options, &chosen);
    if (r >= 0)
        r = address_parse(address, &parsed);
    if (r < 0)
        return r;
    if (lock_fd >= 0 && !parsed.path)
        return -EINVAL;
    r = check_adopted(fd, &parsed, chosen.type);
    if (r >= 0)
        r = listener_for(&chosen, &listener);
    if (r < 0)
        return r;
    if (parsed.path) {
        r = adopt_path(listener, parsed.path, fd, lock_fd);
    } else {
        r = name_by_socket(listener, fd);
        if (r >= 0)
            r = fd_set_close_on_exec(fd, true);
    }
    if (r < 0)
        return r;
    listener->fd = fd;
    *ret_listener = take_pointer(&listener);
    return 0;
}

void hark_listener_disown(struct hark_listener *listener)
{
    listener->owner = 0;
    if (listener->place.lock)
        hark_lockfile_disown(listener->place.lock);
}

/* ---- What it is ------------------------------------------------------------------------------ */

int hark_listener_fd(const struct hark_listener *listener)
{
    return listener->fd;
}

int hark_listener_lock_fd(const struct hark_listener *listener)
{
    return listener->place.lock ? hark_lockfile_fd(listener->place.lock) : -1;
}

int hark_listener_type(const struct hark_listener *listener)
{
    return listener->type;
}

const char *hark_listener_address(const struct hark_listener *listener)
{
    return listener->address;
}

const char *hark_listener_name(const struct hark_listener *listener)
{
    return listener->name;
}

bool hark_listener_was_passed(const struct hark_listener *listener)
{
    return listener->passed;
}

const char *hark_listener_directory(const struct hark_listener *listener)
{
    return listener->has_place ? listener->place.path.directory : NULL;
}

/* ---- Its name -------------------------------------------------------------------------------- */

int hark_listener_check(const struct hark_listener *listener)
{
    struct stat node;

    if (!listener->has_place)
        return HARK_LISTENER_IN_PLACE;
    /* By the whole path: a parent that was renamed leads elsewhere. */
    if (lstat(listener->place.path.text, &node) < 0)
        return errno == ENOENT || errno == ENOTDIR ? HARK_LISTENER_REMOVED : -errno;
    return node.st_dev == listener->place.device && node.st_ino == listener->place.inode
               ? HARK_LISTENER_IN_PLACE
               : HARK_LISTENER_REPLACED;
}

int hark_listener_rebind(struct hark_listener *listener, int *ret_old_fd)
{
    cleanup(place_done) struct place place = PLACE_INIT;
    const struct hark_listen_options *options = &listener->options;
    struct backoff backoff;
    int fd;

    if (!ret_old_fd)
        return -EINVAL;
    if (!listener->has_place)
        return -EOPNOTSUPP;
    if (listener->owner != getpid())
        return -EPERM;
    int r = hark_listener_check(listener);
    if (r < 0)
        return r;
    if (r == HARK_LISTENER_IN_PLACE)
        return -EALREADY;
    r = place_open(listener->place.path.text, options, &place.path);
    if (r < 0)
        return r;
    backoff_init(&backoff, REBIND_TIMEOUT_MS);
    bool locked = lockfile_in_place(listener->place.lock);
    if (!locked) {
        r = place_lock(&place, REBIND_TIMEOUT_MS);
        if (r < 0)
            return r;
    }
    r = place_bind_wait(&place, options, &backoff, &fd);
    if (r < 0)
        return r;
    if (locked)
        place.lock = take_pointer(&listener->place.lock);
    /* What the listener had goes with the scope: the old directory, a lock without its name. */
    struct place old = listener->place;
    listener->place = place;
    place = old;
    *ret_old_fd = listener->fd;
    listener->fd = fd;
    return 0;
}

struct hark_listener *hark_listener_free(struct hark_listener *listener)
{
    if (!listener)
        return NULL;
    if (listener->has_place && listener->fd >= 0 && listener->owner == getpid() &&
        !(listener->options.flags & HARK_LISTEN_KEEP_NAME))
        place_unlink(&listener->place);
    fd_close(listener->fd);
    place_done(&listener->place);
    free(listener->address);
    free(listener->name);
    free(listener);
    return NULL;
}
