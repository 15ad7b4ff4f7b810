/* SPDX-License-Identifier: MIT */
/* Errors as sentences. What is said here is found out afterwards: it can only be a help. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libhark/hark.h"
#include "listener/kinds.h"
#include "listener/socket-options.h"

#define REASON_MAX 256

/* The user whose socket or lock file is in the way; (uid_t)-1: nobody's. */
static uid_t foreign_owner(const char *path)
{
    char lock[4200];
    struct stat status;

    if (lstat(path, &status) == 0 && status.st_uid != geteuid())
        return status.st_uid;
    (void)snprintf(lock, sizeof(lock), "%s.lock", path);
    if (lstat(lock, &status) == 0 && status.st_uid != geteuid() && status.st_uid != 0)
        return status.st_uid;
    return (uid_t)-1;
}

static void explain_in_use(const char *address, int type, char *text, size_t size)
{
    struct hark_holder holder;
    int r = hark_address_holder(address, type, &holder);

    if (r == 0 && holder.foreign)
        (void)snprintf(text, size, "\"%s\" is in use by a process of another container", address);
    else if (r == 0 && holder.pid > 0)
        (void)snprintf(text, size, "\"%s\" is in use by \"%s\" (pid %d)", address, holder.command,
                       (int)holder.pid);
    else
        (void)snprintf(text, size, "\"%s\" is in use by a living server", address);
}

static const char *socket_reason(const char *address, int error, char reason[REASON_MAX])
{
    uid_t user;

    switch (error) {
    case -EEXIST:
        return "there is something that is not a socket; move it away";
    case -EAFNOSUPPORT:
        return "this machine has no such addresses";
    case -EADDRNOTAVAIL:
        return "this machine has no such address";
    case -EOPNOTSUPP:
        return *address == '/' ? "its directory gives files another owner, group or mode"
                               : strerror(-error);
    case -EPERM:
        user = *address == '/' ? foreign_owner(address) : (uid_t)-1;
        if (user == (uid_t)-1)
            return strerror(-error);
        (void)snprintf(reason, REASON_MAX, "there is a socket or lock file of user %u",
                       (unsigned)user);
        return reason;
    default:
        return strerror(-error);
    }
}

void listener_explain_address(const char *address, int type, int error, char *text, size_t size)
{
    char reason[REASON_MAX];

    if (error == -EADDRINUSE)
        explain_in_use(address, type, text, size);
    else
        (void)snprintf(text, size, "cannot listen on \"%s\": %s", address,
                       socket_reason(address, error, reason));
}

/* A FIFO or a queue that is there, but is not what the unit says. */
static const char *fifo_reason(const struct listener_request *request, char reason[REASON_MAX])
{
    struct stat status;

    if (lstat(wanted_listener(request)->address, &status) < 0 || !S_ISFIFO(status.st_mode))
        return "there is something that is not a FIFO; move it away";
    (void)snprintf(reason, REASON_MAX,
                   "the FIFO that is there has mode %04o, user %u and group %u instead of %04o, %u "
                   "and %u; remove it",
                   status.st_mode & 0777, status.st_uid, status.st_gid,
                   request->unit->socket_mode & 0777, wanted_owner(request), wanted_group(request));
    return reason;
}

static const char *protocol_name(const struct socket_unit *unit)
{
    const struct directive_use *use =
        unit_file_last_use(unit->file, SECTION_SOCKET, "SocketProtocol");

    return use ? use->value : "";
}

/* What only a unit can ask for; NULL for everything else. */
static const char *unit_reason(const struct listener_request *request, int error,
                               char reason[REASON_MAX])
{
    const struct socket_unit *unit = request->unit;
    enum listener_kind kind = wanted_listener(request)->kind;
    const char *address = wanted_listener(request)->address;
    int type = socket_type_of(kind);

    if (error == -EPROTOTYPE)
        return "the descriptor that was passed is something else";
    if (error == -EPERM && geteuid() != 0 && *address == '/' &&
        foreign_owner(address) == (uid_t)-1 &&
        (request->owner != (uid_t)-1 || request->group != (gid_t)-1))
        return "only root can give it to SocketUser= or SocketGroup=";
    if (error == -ENOPROTOOPT && !unit->accept_file_descriptors && strchr("/@", *address))
        return "\"AcceptFileDescriptors=no\" needs Linux 6.16";
    if (error == -EEXIST && kind == LISTENER_FIFO)
        return fifo_reason(request, reason);
    if (error == -EOPNOTSUPP && kind == LISTENER_FIFO)
        return "its directory gives files another owner, group or mode";
    if (error == -EEXIST && kind == LISTENER_SPECIAL)
        return "it is neither a character device nor a regular file";
    if (error == -ELOOP && kind == LISTENER_SPECIAL)
        return "it is a symbolic link; name what it leads to";
    if (error == -EEXIST && kind == LISTENER_MESSAGE_QUEUE)
        return "there is a message queue of another mode or owner; remove it";
    if (error == -ENODEV && type != 0 && unit->device) {
        (void)snprintf(reason, REASON_MAX, "there is no interface \"%s\"", unit->device);
        return reason;
    }
    if ((error == -EPROTONOSUPPORT || error == -ENOPROTOOPT) && type != 0 &&
        socket_options_protocol(unit, type) != 0) {
        (void)snprintf(reason, REASON_MAX, "there is no \"SocketProtocol=%s\" for it here",
                       protocol_name(unit));
        return reason;
    }
    if (error == -EAFNOSUPPORT && type != 0)
        return "this kernel has no IPv6";
    return NULL;
}

void listener_explain(const struct listener_request *request, int error, char *text, size_t size)
{
    const struct socket_listener *wanted = wanted_listener(request);
    char reason[REASON_MAX];
    const char *why = unit_reason(request, error, reason);
    int type = socket_type_of(wanted->kind);

    if (!why && type != 0)
        listener_explain_address(wanted->address, type, error, text, size);
    else
        (void)snprintf(text, size, "cannot listen on \"%s\": %s", wanted->address,
                       why ? why : strerror(-error));
}
