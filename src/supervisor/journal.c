/* SPDX-License-Identifier: MIT */
#include "supervisor/journal.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/cleanup.h"
#include "basic/fd.h"

struct entry {
    char *text;
    size_t length, size;
};

static int append(struct entry *entry, const void *data, size_t length)
{
    if (length > entry->size - entry->length)
        return -ENOBUFS;
    memcpy(entry->text + entry->length, data, length);
    entry->length += length;
    return 0;
}

/* "NAME=value", or for a value of several lines "NAME", its length in 64 bits, and the value. */
static int append_field(struct entry *entry, const struct journal_field *field)
{
    size_t length = strlen(field->value);
    uint64_t size = htole64(length);
    bool is_line = memchr(field->value, '\n', length) == NULL;
    int r = append(entry, field->name, strlen(field->name));

    if (r >= 0)
        r = append(entry, is_line ? "=" : "\n", 1);
    if (r >= 0 && !is_line)
        r = append(entry, &size, sizeof(size));
    if (r >= 0)
        r = append(entry, field->value, length);
    return r < 0 ? r : append(entry, "\n", 1);
}

int journal_format(const struct journal_field *fields, size_t n, char *buffer, size_t size)
{
    struct entry entry = {.text = buffer, .size = size};

    for (size_t i = 0; i < n; i++) {
        int r = fields[i].value != NULL ? append_field(&entry, &fields[i]) : 0;
        if (r < 0)
            return r;
    }
    return (int)entry.length;
}

int journal_send(const char *path, const char *entry, size_t length)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cleanup_close int fd = -1;
    int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s",
                     path != NULL ? path : JOURNAL_SOCKET);

    if (n < 0 || (size_t)n >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (sendto(fd, entry, length, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&address,
               sizeof(address)) < 0)
        return -errno;
    return 0;
}
