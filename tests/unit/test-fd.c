/* SPDX-License-Identifier: MIT */
#include "deny.h"
#include "test.h"

#include "basic/cleanup.h"
#include "basic/io.h"

static int open_null(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    ASSERT_CALL(fd);
    return fd;
}

TEST(closing_keeps_errno_and_gives_none)
{
    int fd = open_null();

    errno = E2BIG;
    ASSERT_INT(fd_close(fd), -1);
    ASSERT_INT(errno, E2BIG);
    ASSERT_INT(fcntl(fd, F_GETFD), -1);
    ASSERT_INT(fd_close(-1), -1);
}

TEST(close_on_exec_is_set_and_cleared)
{
    cleanup_close int fd = open_null();

    ASSERT_OK(fd_set_close_on_exec(fd, false));
    ASSERT_INT(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    ASSERT_OK(fd_set_close_on_exec(fd, true));
    ASSERT_INT(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ASSERT_ERROR(fd_set_close_on_exec(1000, true), -EBADF);
}

TEST(nonblocking_is_set_and_cleared)
{
    cleanup_close int fd = open_null();

    ASSERT_OK(fd_set_nonblocking(fd, true));
    ASSERT(fcntl(fd, F_GETFL) & O_NONBLOCK);
    ASSERT_OK(fd_set_nonblocking(fd, false));
    ASSERT(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
    ASSERT_ERROR(fd_set_nonblocking(1000, true), -EBADF);
}

TEST(moving_leaves_nothing_behind)
{
    int fd = open_null(), old = fd;

    ASSERT_OK(fd_move_above(&fd, 50));
    ASSERT(fd >= 50);
    ASSERT_INT(fcntl(old, F_GETFD), -1);
    ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    old = fd;
    ASSERT_OK(fd_move_above(&fd, 50));
    ASSERT_INT(fd, old);
    ASSERT_ERROR(fd_move_above(&fd, INT32_MAX), -EINVAL);
    ASSERT_INT(fd, old);
    fd_close(fd);
}

static void close_all_but_some(void)
{
    int keep[] = {70, 60, 61, 1};

    for (int i = 50; i < 250; i++)
        ASSERT_CALL(dup2(2, i));
    ASSERT_OK(fd_close_all_from(50, keep, 4));
    for (int i = 50; i < 250; i++)
        ASSERT_INT(fcntl(i, F_GETFD) >= 0, i == 60 || i == 61 || i == 70);
    ASSERT(fcntl(1, F_GETFD) >= 0);
    ASSERT_INT(fcntl(60, F_GETFD), 0);
    ASSERT_OK(fd_set_close_on_exec_from(61));
    ASSERT_INT(fcntl(60, F_GETFD), 0);
    ASSERT_INT(fcntl(61, F_GETFD), FD_CLOEXEC);
    ASSERT_INT(fcntl(70, F_GETFD), FD_CLOEXEC);
    ASSERT_OK(fd_close_all_from(50, NULL, 0));
    ASSERT_INT(fcntl(60, F_GETFD), -1);
}

TEST(closing_all_keeps_those_named)
{
    IN_CHILD(close_all_but_some());
}

TEST(closing_all_where_a_filter_does_not_know_the_call)
{
    IN_CHILD({
        deny(SYS_close_range, EPERM);
        close_all_but_some();
    });
    IN_CHILD({
        deny(SYS_close_range, ENOSYS);
        close_all_but_some();
    });
    IN_CHILD({
        deny(SYS_close_range, EINVAL);
        ASSERT_ERROR(fd_close_all_from(50, NULL, 0), -EINVAL);
    });
}

TEST(scope_closes_and_hand_over_does_not)
{
    int kept, closed;

    {
        cleanup_close int fd = open_null();
        cleanup_close int other = open_null();

        closed = other;
        kept = take_fd(&fd);
        ASSERT_INT(fd, -1);
    }
    ASSERT(fcntl(kept, F_GETFD) >= 0);
    ASSERT_INT(fcntl(closed, F_GETFD), -1);
    fd_close(kept);
}

TEST(text_files_are_cut_and_terminated)
{
    char small[4], large[64];

    ASSERT_INT(read_text_file("/proc/self/comm", small, sizeof(small)), 3);
    ASSERT_INT(strlen(small), 3);
    ASSERT_OK(read_text_file("/proc/self/comm", large, sizeof(large)));
    ASSERT(strchr(large, '\n'));
    ASSERT_ERROR(read_text_file("/proc/self/none", large, sizeof(large)), -ENOENT);
    ASSERT_ERROR(read_text_file("/proc/self/exe", large, sizeof(large)), -ELOOP);
}

TEST(writing_and_reading_whole_things)
{
    char text[100000], back[100000];
    cleanup_close int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    ASSERT_CALL(fd);
    memset(text, 'x', sizeof(text));
    ASSERT_OK(write_all(fd, text, sizeof(text)));
    ASSERT_INT(lseek(fd, 0, SEEK_SET), 0);
    ASSERT_INT(read_up_to(fd, back, sizeof(back)), sizeof(back));
    ASSERT_INT(memcmp(text, back, sizeof(text)), 0);
    ASSERT_INT(read_up_to(fd, back, sizeof(back)), 0);
    ASSERT_ERROR(read_up_to(1000, back, 1), -EBADF);
    ASSERT_ERROR(write_all(1000, back, 1), -EBADF);
}
