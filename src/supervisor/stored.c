/* SPDX-License-Identifier: MIT */
#include "supervisor/stored.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PREFIX      "hark-"
#define UNIT_LENGTH 200 /* of a unit's name: the hash has to fit behind it */

#define FNV_OFFSET UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME  UINT64_C(0x100000001b3)

/* FNV-1a of a text, and a zero to set it apart from the next. */
static uint64_t hash(uint64_t value, const char *text)
{
    do
        value = (value ^ (unsigned char)*text) * FNV_PRIME;
    while (*text++ != '\0');
    return value;
}

void stored_name(const char *socket, const struct socket_unit *unit, size_t index,
                 char ret_name[STORED_NAME_SIZE])
{
    const struct socket_listener *listener = &unit->listeners.items[index];
    const char *end = strrchr(socket, '.');
    size_t length = end != NULL ? (size_t)(end - socket) : strlen(socket);
    char numbers[64];

    (void)snprintf(numbers, sizeof(numbers), "%d %d %d", (int)listener->kind, unit->protocol,
                   (int)unit->ipv6_only);
    uint64_t value = hash(hash(hash(FNV_OFFSET, socket), listener->address), numbers);
    value = hash(value, unit->device != NULL ? unit->device : "");
    (void)snprintf(ret_name, STORED_NAME_SIZE, PREFIX "%.*s-%016" PRIx64,
                   (int)(length < UNIT_LENGTH ? length : UNIT_LENGTH), socket, value);
    for (char *at = ret_name; *at != '\0'; at++)
        if (*at == ':') /* would end it: $LISTEN_FDNAMES */
            *at = '_';
}

bool stored_is_name(const char *name)
{
    return name != NULL && strncmp(name, PREFIX, strlen(PREFIX)) == 0;
}

int stored_list_add(struct stored_list *list, const char *name, int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return -errno;
    struct stored *items = reallocarray(list->items, list->n + 1, sizeof(*items));
    if (items == NULL)
        return -ENOMEM;
    list->items = items;
    char *copy = strdup(name);
    if (copy == NULL)
        return -ENOMEM;
    items[list->n++] =
        (struct stored){.name = copy, .device = status.st_dev, .inode = status.st_ino};
    return 0;
}

void stored_list_remove(struct stored_list *list, const char *name)
{
    size_t kept = 0, n = list->n;

    for (size_t i = 0; i < n; i++) {
        if (strcmp(list->items[i].name, name) != 0)
            list->items[kept++] = list->items[i];
        else
            free(list->items[i].name);
    }
    list->n = kept;
}

static bool is_same(const struct stored *stored, const struct stat *status)
{
    return stored->device == status->st_dev && stored->inode == status->st_ino;
}

struct stored *stored_list_get(const struct stored_list *list, const char *name, int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return NULL;
    for (size_t i = 0; i < list->n; i++)
        if (is_same(&list->items[i], &status) && strcmp(list->items[i].name, name) == 0)
            return &list->items[i];
    return NULL;
}

const char *stored_list_find(const struct stored_list *list, int fd)
{
    struct stat status;

    if (list == NULL || fstat(fd, &status) < 0)
        return NULL;
    for (size_t i = 0; i < list->n; i++)
        if (is_same(&list->items[i], &status))
            return list->items[i].name;
    return NULL;
}

void stored_list_done(struct stored_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].name);
    free(list->items);
    *list = (struct stored_list){0};
}
