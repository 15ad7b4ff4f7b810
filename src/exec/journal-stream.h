/* SPDX-License-Identifier: MIT */
/*
 * A stream to systemd-journald: what is written to it becomes entries of the journal, one a line.
 * The protocol is that of systemd's own connect_logger_as() (src/core/execute.c, version 252): a
 * header of seven lines, nothing ever comes back. The journal says that the one who connected wrote
 * it all; the unit counts only from root.
 */
#pragma once

#include <stdbool.h>

#define JOURNAL_STREAM_SOCKET "/run/systemd/journal/stdout"

struct journal_stream {
    const char *socket;     /* NULL: JOURNAL_STREAM_SOCKET */
    const char *identifier; /* SYSLOG_IDENTIFIER= of the entries */
    const char *unit;       /* "foo.service"; "" for that of our own control group */
    bool to_kmsg, to_console;
};

/* A descriptor above 2, close-on-exec, blocking. An errno of connect(2): -ENOENT or -ECONNREFUSED
 * where there is no journald, -EAGAIN when it does not take us within a second; of socket(2). */
int journal_stream_open(const struct journal_stream *stream, int *ret_fd);

/* False once journald has closed its end: nothing that is written arrives any more. */
bool journal_stream_is_alive(int fd);
