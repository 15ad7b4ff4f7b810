/* SPDX-License-Identifier: MIT */
#include "supervisor/log.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/clock.h"

#define LINE_SIZE 2048 /* below PIPE_BUF, so that a line is written whole or not at all */

static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM"); /* "device:inode", systemd.exec(5) */
    unsigned long long device, inode;
    struct stat info;

    return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &info) == 0 && info.st_dev == device && info.st_ino == inode;
}

/* Standard error is shared with the handlers, so it cannot be made non-blocking: look before
 * writing. */
static bool stderr_is_writable(void)
{
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};

    return poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT);
}

static void write_line(const char *line, size_t length)
{
    static unsigned long dropped;
    char note[80];

    if (!stderr_is_writable()) {
        dropped++;
        return;
    }
    if (dropped > 0) {
        int n =
            snprintf(note, sizeof(note), "hark: %lu lines left out: nobody reads them\n", dropped);

        dropped = 0;
        (void)!write(STDERR_FILENO, note, (size_t)n);
        if (!stderr_is_writable()) {
            dropped++;
            return;
        }
    }
    (void)!write(STDERR_FILENO, line, length);
}

void log_line(int level, const char *format, ...)
{
    static int journal = -1;
    char line[LINE_SIZE];
    va_list arguments;
    int n;

    if (journal < 0)
        journal = stderr_is_journal();
    n = journal ? snprintf(line, sizeof(line), "<%d>", level)
                : snprintf(line, sizeof(line), "hark: ");
    size_t length = (size_t)n;
    va_start(arguments, format);
    n = vsnprintf(line + length, sizeof(line) - length - 1, format, arguments);
    va_end(arguments);
    if (n < 0)
        return;
    length += (size_t)n < sizeof(line) - length - 1 ? (size_t)n : sizeof(line) - length - 2;
    for (size_t i = 0; i < length; i++) /* names of files and users are other people's */
        if ((unsigned char)line[i] < ' ')
            line[i] = '?';
    line[length++] = '\n';
    write_line(line, length);
}

bool log_limit_pass(struct log_limit *limit, const char *what)
{
    uint64_t now = monotonic_usec();

    if (limit->begin_usec == 0 || now - limit->begin_usec >= limit->interval_usec) {
        if (limit->suppressed > 0)
            log_info("%u more %s not shown", limit->suppressed, what);
        limit->begin_usec = now;
        limit->n = limit->suppressed = 0;
    }
    if (limit->n < limit->burst) {
        limit->n++;
        return true;
    }
    limit->suppressed++;
    return false;
}
