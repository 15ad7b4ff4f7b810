/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <endian.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/fd.h"
#include "directory.h"
#include "supervisor/journal.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static int format_one(const char *name, const char *value, char *buffer, size_t size)
{
    const struct journal_field field = {name, value};

    return journal_format(&field, 1, buffer, size);
}

TEST(a_field_is_a_line)
{
    const struct journal_field fields[] = {
        {"MESSAGE", "a = b"},
        {"PRIORITY", "6"},
        {"EMPTY", ""},
    };
    char text[100];
    int n = journal_format(fields, LENGTH(fields), text, sizeof(text));

    ASSERT_INT(n, strlen("MESSAGE=a = b\nPRIORITY=6\nEMPTY=\n"));
    text[n] = '\0';
    ASSERT_STRING(text, "MESSAGE=a = b\nPRIORITY=6\nEMPTY=\n");
}

TEST(a_field_without_a_value_is_left_out)
{
    const struct journal_field fields[] = {{"A", NULL}, {"B", "1"}, {"C", NULL}};
    char text[100];
    int n = journal_format(fields, LENGTH(fields), text, sizeof(text));

    ASSERT_INT(n, 4);
    ASSERT(memcmp(text, "B=1\n", 4) == 0);
    ASSERT_INT(journal_format(fields, 1, text, sizeof(text)), 0);
    ASSERT_INT(journal_format(NULL, 0, text, sizeof(text)), 0);
}

TEST(a_line_break_cannot_make_a_field_of_its_own)
{
    const char value[] = "/run/x\nPRIORITY=0";
    const uint64_t size = htole64(strlen(value));
    char text[100];
    int n = format_one("PATH", value, text, sizeof(text));

    ASSERT_INT(n, strlen("PATH\n") + sizeof(size) + strlen(value) + strlen("\n"));
    ASSERT(memcmp(text, "PATH\n", 5) == 0);
    ASSERT(memcmp(text + 5, &size, sizeof(size)) == 0);
    ASSERT(memcmp(text + 5 + sizeof(size), value, strlen(value)) == 0);
    ASSERT_INT(text[n - 1], '\n');
    ASSERT_INT(format_one("PATH", "\n", text, sizeof(text)), 5 + 8 + 1 + 1);
}

/* Never a byte behind the buffer, and never half an entry. */
TEST(an_entry_that_is_too_long_is_refused)
{
    char text[100];

    for (size_t size = 0; size <= strlen("NAME=value\n"); size++) {
        memset(text, '#', sizeof(text));
        int n = format_one("NAME", "value", text, size);
        if (size < strlen("NAME=value\n"))
            ASSERT_ERROR(n, -ENOBUFS);
        else
            ASSERT_INT(n, size);
        ASSERT_INT(text[size], '#');
    }
    for (size_t size = 0; size < strlen("NAME") + 1 + 8 + 3 + 1; size++) {
        memset(text, '#', sizeof(text));
        ASSERT_ERROR(format_one("NAME", "a\nb", text, size), -ENOBUFS);
        ASSERT_INT(text[size], '#');
    }
}

/* Somebody who reads only when asked to, at in("journal"). */
static int open_receiver(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", in("journal"));
    ASSERT_CALL(fd);
    ASSERT_CALL(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    return fd;
}

TEST(one_entry_is_one_datagram)
{
    char text[100];

    directory_make();
    int fd = open_receiver();
    ASSERT_OK(journal_send(in("journal"), "A=1\nB=2\n", 8));
    ASSERT_OK(journal_send(in("journal"), "C=3\n", 4));
    ASSERT_INT(recv(fd, text, sizeof(text), 0), 8);
    ASSERT(memcmp(text, "A=1\nB=2\n", 8) == 0);
    ASSERT_INT(recv(fd, text, sizeof(text), 0), 4);
    fd_close(fd);
    directory_remove();
}

TEST(a_receiver_that_does_not_read_blocks_nobody)
{
    char text[100];
    int n = 0, r;

    directory_make();
    int fd = open_receiver();
    (void)alarm(20);
    while ((r = journal_send(in("journal"), "A=1\n", 4)) == 0) /* as net.unix.max_dgram_qlen says */
        n++;
    ASSERT_ERROR(r, -EAGAIN);
    ASSERT(n > 0);
    ASSERT_INT(recv(fd, text, sizeof(text), 0), 4);
    ASSERT_OK(journal_send(in("journal"), "A=1\n", 4)); /* it reads again */
    (void)alarm(0);
    fd_close(fd);
    directory_remove();
}

TEST(without_a_receiver)
{
    char longest[200];

    directory_make();
    fd_close(open_receiver());
    ASSERT_ERROR(journal_send(in("journal"), "A=1\n", 4), -ECONNREFUSED);
    ASSERT_ERROR(journal_send(in("nothing"), "A=1\n", 4), -ENOENT);
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    ASSERT_ERROR(journal_send(longest, "A=1\n", 4), -ENAMETOOLONG);
    directory_remove();
}
