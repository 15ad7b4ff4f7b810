/* SPDX-License-Identifier: MIT */
#include "supervisor/succession.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/fd.h"
#include "basic/io.h"
#include "supervisor/slots.h"

#define FORMAT         1
#define SUCCESSION_MAX ((size_t)64 * 1024 * 1024)

/* ---- Writing --------------------------------------------------------------------------------- */

/* Names of units and paths are bytes, JSON's strings are not: as Latin-1, which has all of them. */
static json_t *bytes(const char *text)
{
    size_t length = strlen(text), n = 0;
    cleanup_free char *utf8 = malloc(2 * length + 1);

    if (utf8 == NULL)
        return NULL;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];

        if (byte < 0x80) {
            utf8[n++] = (char)byte;
        } else {
            utf8[n++] = (char)(0xc0 | byte >> 6);
            utf8[n++] = (char)(0x80 | (byte & 0x3f));
        }
    }
    return json_stringn(utf8, n);
}

static json_t *listeners_json(const struct succession *succession)
{
    json_t *array = json_array();

    for (size_t i = 0; i < succession->n_listeners && array != NULL; i++) {
        const struct succession_listener *one = &succession->listeners[i];

        if (json_array_append_new(
                array, json_pack("{so si so si si sb ss*}", "socket", bytes(one->socket), "kind",
                                 one->kind, "address", bytes(one->address), "fd", one->fd, "lock",
                                 one->lock_fd, "passed", one->passed, "stored", one->stored)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *units_json(const struct succession *succession)
{
    json_t *array = json_array();

    for (size_t i = 0; i < succession->n_units && array != NULL; i++) {
        const struct succession_unit *one = &succession->units[i];

        if (json_array_append_new(
                array, json_pack("{so sb sI sI sI}", "name", bytes(one->name), "accept",
                                 one->accept, "program", (json_int_t)one->program, "done",
                                 (json_int_t)one->done, "failed", (json_int_t)one->failed)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

int succession_write(const struct succession *succession, int *ret_fd)
{
    json_t *json = json_pack(
        "{si si sI so so si sI sI sI sI s[II] so}", "format", FORMAT, "slots_version",
        SLOTS_VERSION, "record_size", (json_int_t)sizeof(struct spawn_record), "listeners",
        listeners_json(succession), "units", units_json(succession), "slots", succession->slots_fd,
        "incarnations", (json_int_t)succession->incarnations, "done", (json_int_t)succession->done,
        "failed", (json_int_t)succession->failed, "start_usec", (json_int_t)succession->start_usec,
        "open_files", (json_int_t)succession->open_files.rlim_cur,
        (json_int_t)succession->open_files.rlim_max, "directory", bytes(succession->directory));
    cleanup_free char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    if (text == NULL)
        return -ENOMEM;
    cleanup_close int fd = memfd_create("hark-succession", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = write_all(fd, text, strlen(text));
    if (r < 0)
        return r;
    *ret_fd = take_fd(&fd);
    return 0;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static char *take_bytes(const json_t *json)
{
    const char *utf8 = json_string_value(json);
    char *text = utf8 != NULL ? malloc(strlen(utf8) + 1) : NULL;
    size_t n = 0;

    if (text == NULL)
        return NULL;
    while (*utf8 != '\0') {
        unsigned char byte = (unsigned char)*utf8++;

        if (byte >= 0x80 && *utf8 != '\0')
            byte = (unsigned char)((byte & 0x03) << 6 | ((unsigned char)*utf8++ & 0x3f));
        text[n++] = (char)byte;
    }
    text[n] = '\0';
    return text;
}

static int read_listener(json_t *json, struct succession_listener *listener)
{
    int passed;
    json_t *socket, *address;
    const char *stored = NULL; /* an earlier version says nothing of it */

    if (json_unpack(json, "{so si so si si sb s?s}", "socket", &socket, "kind", &listener->kind,
                    "address", &address, "fd", &listener->fd, "lock", &listener->lock_fd, "passed",
                    &passed, "stored", &stored) < 0)
        return -EINVAL;
    if (stored != NULL && (listener->stored = strdup(stored)) == NULL)
        return -ENOMEM;
    listener->passed = passed;
    listener->socket = take_bytes(socket);
    listener->address = take_bytes(address);
    return listener->socket != NULL && listener->address != NULL && listener->fd >= 0 ? 0 : -EINVAL;
}

static int read_unit(json_t *json, struct succession_unit *unit)
{
    json_int_t program, done, failed;
    json_t *name;
    int accept;

    if (json_unpack(json, "{so sb sI sI sI}", "name", &name, "accept", &accept, "program", &program,
                    "done", &done, "failed", &failed) < 0)
        return -EINVAL;
    *unit = (struct succession_unit){
        .name = take_bytes(name),
        .accept = accept,
        .program = (uint32_t)program,
        .done = (uint64_t)done,
        .failed = (uint64_t)failed,
    };
    return unit->name != NULL ? 0 : -EINVAL;
}

static int read_lists(json_t *listeners, json_t *units, struct succession *succession)
{
    int r = 0;

    if (!json_is_array(listeners) || !json_is_array(units))
        return -EINVAL;
    succession->listeners = calloc(json_array_size(listeners) + 1, sizeof(*succession->listeners));
    succession->units = calloc(json_array_size(units) + 1, sizeof(*succession->units));
    if (succession->listeners == NULL || succession->units == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < json_array_size(listeners) && r >= 0; i++)
        r = read_listener(json_array_get(listeners, i),
                          &succession->listeners[succession->n_listeners++]);
    for (size_t i = 0; i < json_array_size(units) && r >= 0; i++)
        r = read_unit(json_array_get(units, i), &succession->units[succession->n_units++]);
    return r;
}

/* What must be the same in both is looked at before the rest. */
static int check_versions(json_t *json)
{
    int format, slots;
    json_int_t record;

    if (json_unpack(json, "{si si sI}", "format", &format, "slots_version", &slots, "record_size",
                    &record) < 0)
        return -EINVAL;
    return format == FORMAT && slots == SLOTS_VERSION && record == sizeof(struct spawn_record)
               ? 0
               : -EPROTONOSUPPORT;
}

static int read_json(json_t *json, struct succession *succession)
{
    json_int_t incarnations, done, failed, start, soft, hard;
    json_t *listeners, *units, *directory;
    int r = check_versions(json);

    if (r < 0)
        return r;
    if (json_unpack(json, "{so so si sI sI sI sI s[II] so}", "listeners", &listeners, "units",
                    &units, "slots", &succession->slots_fd, "incarnations", &incarnations, "done",
                    &done, "failed", &failed, "start_usec", &start, "open_files", &soft, &hard,
                    "directory", &directory) < 0)
        return -EINVAL;
    succession->incarnations = (uint32_t)incarnations;
    succession->done = (uint64_t)done;
    succession->failed = (uint64_t)failed;
    succession->start_usec = (uint64_t)start;
    succession->open_files = (struct rlimit){(rlim_t)soft, (rlim_t)hard};
    succession->directory = take_bytes(directory);
    if (succession->directory == NULL)
        return -EINVAL;
    return read_lists(listeners, units, succession);
}

static void succession_cleanup(struct succession **succession)
{
    succession_free(*succession);
}

int succession_read(int fd, struct succession **ret_succession)
{
    cleanup(succession_cleanup) struct succession *succession = calloc(1, sizeof(*succession));
    off_t size = lseek(fd, 0, SEEK_END);

    if (succession == NULL)
        return -ENOMEM;
    if (size <= 0 || size > (off_t)SUCCESSION_MAX || lseek(fd, 0, SEEK_SET) < 0)
        return -EINVAL;
    cleanup_free char *text = malloc((size_t)size);
    if (text == NULL)
        return -ENOMEM;
    if (read_up_to(fd, text, (size_t)size) != (ssize_t)size)
        return -EINVAL;
    json_t *json = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES, NULL);
    if (json == NULL)
        return -EINVAL;
    int r = read_json(json, succession);
    json_decref(json);
    if (r >= 0)
        *ret_succession = take_pointer(&succession);
    return r;
}

struct succession *succession_free(struct succession *succession)
{
    if (succession == NULL)
        return NULL;
    for (size_t i = 0; i < succession->n_listeners; i++) {
        free(succession->listeners[i].socket);
        free(succession->listeners[i].address);
        free(succession->listeners[i].stored);
    }
    for (size_t i = 0; i < succession->n_units; i++)
        free(succession->units[i].name);
    free(succession->listeners);
    free(succession->units);
    free(succession->directory);
    free(succession);
    return NULL;
}

bool succession_has_socket(const struct succession *succession, const char *socket)
{
    for (size_t i = 0; i < succession->n_listeners; i++)
        if (strcmp(succession->listeners[i].socket, socket) == 0)
            return true;
    return false;
}

void succession_keep_descriptors(const struct succession *succession, bool keep)
{
    for (size_t i = 0; i < succession->n_listeners; i++) {
        (void)fd_set_close_on_exec(succession->listeners[i].fd, !keep);
        if (succession->listeners[i].lock_fd >= 0)
            (void)fd_set_close_on_exec(succession->listeners[i].lock_fd, !keep);
    }
    (void)fd_set_close_on_exec(succession->slots_fd, !keep);
}
