/* SPDX-License-Identifier: MIT */
/* Runs in the child: see spawn-child.c for what that permits. */
#include "libhark/spawn-text.h"

#include <errno.h>
#include <linux/random.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INVOCATION_ID_SIZE 16
#define INSTANCE_TEXTS     (1U << SPAWN_TEXT_INSTANCE | 1U << SPAWN_TEXT_INSTANCE_UNESCAPED)
#define REMOTE_TEXTS       (1U << SPAWN_TEXT_REMOTE_ADDRESS | 1U << SPAWN_TEXT_REMOTE_PORT)

/* ---- Each text ------------------------------------------------------------------------------- */

/* Where it lies: behind the name of its variable, if it has one. */
CHILD_CODE static char *text_of(struct prepared_plan *prepared, enum spawn_text text)
{
    switch (text) {
    case SPAWN_TEXT_INSTANCE:
        return prepared->instance;
    case SPAWN_TEXT_INSTANCE_UNESCAPED:
        return prepared->unescaped;
    case SPAWN_TEXT_REMOTE_ADDRESS:
        return prepared->remote_address + strlen("REMOTE_ADDR=");
    case SPAWN_TEXT_REMOTE_PORT:
        return prepared->remote_port + strlen("REMOTE_PORT=");
    case SPAWN_TEXT_PID:
        return prepared->pid;
    case SPAWN_TEXT_INVOCATION_ID:
        return prepared->invocation_id + strlen("INVOCATION_ID=");
    }
    return NULL;
}

/* Only TCP's and vsock's has two ends that are told. */
CHILD_CODE static int make_instance(struct spawn_run *run)
{
    const struct peer *remote = &run->record->peer;
    struct prepared_plan *prepared = run->prepared;
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    struct peer local = {.family = AF_UNSPEC};
    size_t length;

    if (remote->family == AF_INET || remote->family == AF_INET6 || remote->family == AF_VSOCK) {
        if (getsockname(run->connection, (struct sockaddr *)&address, &size) < 0)
            return -errno;
        peer_from_socket(run->connection, &address, &local);
    }
    length = peer_format_instance(run->record->number, &local, remote, prepared->instance);
    for (size_t i = 0; i <= length; i++)
        prepared->unescaped[i] = prepared->instance[i] == '-' ? '/' : prepared->instance[i];
    return 0;
}

CHILD_CODE static void make_remote(struct spawn_run *run)
{
    struct prepared_plan *prepared = run->prepared;
    const struct peer *peer = &run->record->peer;
    struct ifreq interface = {.ifr_ifindex = (int)peer->scope};
    char *address = text_of(prepared, SPAWN_TEXT_REMOTE_ADDRESS);
    const char *name = NULL;

    if (peer->family == AF_INET6 && peer->scope != 0 &&
        ioctl(run->connection, SIOCGIFNAME, &interface) >= 0)
        name = interface.ifr_name;
    if (peer->family == AF_UNIX)
        peer_format_unix_address((const struct sockaddr_un *)&prepared->peer_address,
                                 prepared->peer_address_size, address);
    else
        peer_format_address(peer, name, address);
    peer_format_port(peer, text_of(prepared, SPAWN_TEXT_REMOTE_PORT));
}

CHILD_CODE static void make_pid(char *text)
{
    text[format_decimal((uint64_t)getpid(), text)] = '\0';
}

/* A random UUID, as sd_id128_randomize(3) makes it. It has to be unique, not secret, so there is
 * no waiting for the kernel's entropy. */
CHILD_CODE static int make_invocation_id(struct prepared_plan *prepared)
{
    static const char digits[] = "0123456789abcdef";
    char *text = text_of(prepared, SPAWN_TEXT_INVOCATION_ID);
    uint8_t id[INVOCATION_ID_SIZE];

    if (syscall(SYS_getrandom, id, sizeof(id), GRND_INSECURE) != (long)sizeof(id))
        return -errno;
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof(id); i++) {
        *text++ = digits[id[i] >> 4];
        *text++ = digits[id[i] & 0x0f];
    }
    *text = '\0';
    return 0;
}

/* ---- Placeholders ---------------------------------------------------------------------------- */

/* What can be left out is NULL then. */
CHILD_CODE static void fill_templates(struct prepared_plan *prepared)
{
    const struct spawn_templates *templates = &prepared->templates;
    char *end = templates->arena;

    for (size_t i = 0; i < templates->n; i++) {
        const struct spawn_template *template = &templates->items[i];
        const struct spawn_segment *segment = template->segments;
        char *start = end;

        for (;; segment++) {
            memcpy(end, segment->literal, segment->length);
            end += segment->length;
            if (segment->text < 0)
                break;
            end = stpcpy(end, text_of(prepared, (enum spawn_text)segment->text));
        }
        *template->place = template->drop_if_empty && end == start ? NULL : start;
        *end++ = '\0';
    }
}

CHILD_CODE static void keep_arguments(struct prepared_plan *prepared)
{
    char **kept = prepared->kept_arguments;

    for (size_t i = 0; i < prepared->n_arguments; i++)
        if (prepared->arguments[i] != NULL)
            *kept++ = prepared->arguments[i];
    *kept = NULL;
}

CHILD_CODE int spawn_make_texts(struct spawn_run *run)
{
    struct prepared_plan *prepared = run->prepared;
    unsigned texts = prepared->templates.texts;
    int r = 0;

    if (texts & INSTANCE_TEXTS)
        r = make_instance(run);
    if (texts & REMOTE_TEXTS)
        make_remote(run);
    if (texts & 1U << SPAWN_TEXT_PID)
        make_pid(prepared->pid);
    if (r >= 0 && texts & 1U << SPAWN_TEXT_INVOCATION_ID)
        r = make_invocation_id(prepared);
    if (r < 0)
        return r;
    fill_templates(prepared);
    if (prepared->kept_arguments != NULL)
        keep_arguments(prepared);
    return 0;
}

/* ---- Variables ------------------------------------------------------------------------------- */

CHILD_CODE static void add_pid_variables(struct prepared_plan *prepared, size_t *n)
{
    unsigned flags = prepared->plan.flags;
    char *digits = prepared->listen_pid + strlen("LISTEN_PID=");
    uint64_t pid = (uint64_t)getpid();

    if (flags & SPAWN_LISTEN_VARIABLES) {
        digits[format_decimal(pid, digits)] = '\0';
        prepared->environment[(*n)++] = prepared->listen_pid;
    }
    digits = prepared->exec_pid + strlen("SYSTEMD_EXEC_PID=");
    if (flags & SPAWN_EXEC_PID) {
        digits[format_decimal(pid, digits)] = '\0';
        prepared->environment[(*n)++] = prepared->exec_pid;
    }
}

CHILD_CODE static void add_remote_variables(struct spawn_run *run, size_t *n)
{
    struct prepared_plan *prepared = run->prepared;

    if (!(prepared->templates.texts & REMOTE_TEXTS)) /* not made yet */
        make_remote(run);
    if (text_of(prepared, SPAWN_TEXT_REMOTE_ADDRESS)[0] != '\0')
        prepared->environment[(*n)++] = prepared->remote_address;
    if (text_of(prepared, SPAWN_TEXT_REMOTE_PORT)[0] != '\0')
        prepared->environment[(*n)++] = prepared->remote_port;
}

CHILD_CODE int spawn_complete_environment(struct spawn_run *run)
{
    struct prepared_plan *prepared = run->prepared;
    unsigned flags = prepared->plan.flags;
    size_t n = prepared->n_environment;
    int r = 0;

    if (flags & (SPAWN_LISTEN_VARIABLES | SPAWN_EXEC_PID))
        add_pid_variables(prepared, &n);
    if (flags & SPAWN_REMOTE_VARIABLES)
        add_remote_variables(run, &n);
    if (flags & SPAWN_INVOCATION_ID) {
        if (!(prepared->templates.texts & 1U << SPAWN_TEXT_INVOCATION_ID))
            r = make_invocation_id(prepared);
        prepared->environment[n++] = prepared->invocation_id;
    }
    prepared->environment[n] = NULL;
    return r;
}
