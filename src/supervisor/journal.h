/* SPDX-License-Identifier: MIT */
/*
 * Entries with fields for systemd-journald, in its native protocol
 * (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/): one datagram is one entry.
 *
 * Not by sd_journal_sendv(3): that one sends on a blocking socket, so a journald that does not read
 * would stop whoever logs. Here nothing ever blocks, and nothing stays open: a socket lives for one
 * entry, so that no process we fork inherits one, and all that limits us is the queue of the
 * receiver.
 */
#pragma once

#include <stddef.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

struct journal_field {
    const char *name;  /* upper case letters, digits, underscores */
    const char *value; /* NULL: the field is left out */
};

/* Writes an entry into buffer, without a terminator: its length, or -ENOBUFS when it is too long.
 */
int journal_format(const struct journal_field *fields, size_t n, char *buffer, size_t size);

/* Sends what journal_format() made. path NULL: JOURNAL_SOCKET. 0, or at once: -EAGAIN when the
 * receiver's queue is full; -ENOENT, -ECONNREFUSED where there is none; -EMSGSIZE; another errno of
 * socket(2) or sendto(2). */
int journal_send(const char *path, const char *entry, size_t length);
