/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "libhark/hark.h"

static void make_pair(int type, int *ends)
{
    ASSERT_CALL(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends));
}

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ASSERT_CALL(close(fds[i]));
}

static size_t count_open(void)
{
    size_t n = 0;

    for (int i = 0; i < 1024; i++)
        n += fcntl(i, F_GETFD) >= 0;
    return n;
}

static void fill(int *fds, size_t n, int fd)
{
    for (size_t i = 0; i < n; i++)
        fds[i] = fd;
}

TEST(data_and_descriptors_arrive)
{
    int ends[2], a_pipe[2], sent[2], received[4];
    char data[16];
    size_t n = 4;

    make_pair(SOCK_SEQPACKET, ends);
    ASSERT_CALL(pipe2(a_pipe, O_CLOEXEC));
    sent[0] = a_pipe[0];
    sent[1] = a_pipe[1];
    ASSERT_INT(hark_send_fds(ends[0], "hello", 5, sent, 2), 5);
    ASSERT_INT(hark_receive_fds(ends[1], data, sizeof(data), received, &n), 5);
    ASSERT(memcmp(data, "hello", 5) == 0);
    ASSERT_INT(n, 2);
    for (size_t i = 0; i < n; i++)
        ASSERT_INT(fcntl(received[i], F_GETFD), FD_CLOEXEC);
    ASSERT_INT(write(received[1], "x", 1), 1);
    ASSERT_INT(read(a_pipe[0], data, 1), 1);
    close_all(received, n);
    close_all(a_pipe, 2);
    close_all(ends, 2);
}

TEST(without_descriptors_too)
{
    int ends[2];
    char data[4];
    size_t n = 0;

    make_pair(SOCK_STREAM, ends);
    ASSERT_INT(hark_send_fds(ends[0], "hello", 5, NULL, 0), 5);
    ASSERT_INT(hark_receive_fds(ends[1], data, sizeof(data), NULL, &n), 4);
    ASSERT_INT(n, 0);
    ASSERT_INT(hark_receive_fds(ends[1], data, sizeof(data), NULL, &n), 1);
    close_all(ends, 2);
}

TEST(as_many_as_the_kernel_takes)
{
    static int sent[HARK_FDS_MAX + 1], received[HARK_FDS_MAX];
    size_t n = HARK_FDS_MAX;
    int ends[2];
    char byte;

    make_pair(SOCK_SEQPACKET, ends);
    fill(sent, HARK_FDS_MAX + 1, ends[0]);
    ASSERT_INT(hark_send_fds(ends[0], "x", 1, sent, HARK_FDS_MAX), 1);
    ASSERT_INT(hark_receive_fds(ends[1], &byte, 1, received, &n), 1);
    ASSERT_INT(n, HARK_FDS_MAX);
    close_all(received, n);
    ASSERT_ERROR(hark_send_fds(ends[0], "x", 1, sent, HARK_FDS_MAX + 1), -E2BIG);
    close_all(ends, 2);
}

TEST(what_does_not_fit_is_refused_and_closed)
{
    static int sent[10], received[10];
    int ends[2];
    char byte = 'x';
    size_t before, n = 9;

    make_pair(SOCK_SEQPACKET, ends);
    before = count_open();
    fill(sent, 10, ends[0]);
    ASSERT_INT(hark_send_fds(ends[0], "x", 1, sent, 10), 1);
    ASSERT_ERROR(hark_receive_fds(ends[1], &byte, 1, received, &n), -EMSGSIZE);
    ASSERT_INT(n, 9);
    ASSERT_INT(received[0], 0);
    ASSERT_INT(hark_send_fds(ends[0], "xy", 2, sent, 1), 2);
    ASSERT_ERROR(hark_receive_fds(ends[1], &byte, 1, received, &n), -EMSGSIZE);
    ASSERT_INT(count_open(), before);
    /* The next message is whole. */
    ASSERT_INT(hark_send_fds(ends[0], "z", 1, NULL, 0), 1);
    ASSERT_INT(hark_receive_fds(ends[1], &byte, 1, received, &n), 1);
    ASSERT_INT(n, 0);
    close_all(ends, 2);
}

TEST(a_full_descriptor_table_is_told)
{
    static int sent[64], received[64];
    struct rlimit before, low;
    int ends[2];
    char byte;
    size_t n = 64, open_before;

    make_pair(SOCK_SEQPACKET, ends);
    fill(sent, 64, ends[0]);
    open_before = count_open();
    ASSERT_CALL(getrlimit(RLIMIT_NOFILE, &before));
    low = before;
    low.rlim_cur = 32;
    ASSERT_INT(hark_send_fds(ends[0], "x", 1, sent, 64), 1);
    ASSERT_CALL(setrlimit(RLIMIT_NOFILE, &low));
    ASSERT_ERROR(hark_receive_fds(ends[1], &byte, 1, received, &n), -EMFILE);
    ASSERT_CALL(setrlimit(RLIMIT_NOFILE, &before));
    ASSERT_INT(count_open(), open_before);
    close_all(ends, 2);
}

TEST(the_end_and_errors)
{
    int ends[2], fds[1], bad = 999;
    char byte;
    size_t n = 1;

    make_pair(SOCK_SEQPACKET, ends);
    ASSERT_ERROR(hark_send_fds(ends[0], "x", 0, NULL, 0), -EINVAL);
    ASSERT_ERROR(hark_send_fds(ends[0], NULL, 1, NULL, 0), -EINVAL);
    ASSERT_ERROR(hark_send_fds(ends[0], "x", 1, NULL, 1), -EINVAL);
    ASSERT_ERROR(hark_send_fds(ends[0], "x", 1, &bad, 1), -EBADF);
    ASSERT_ERROR(hark_receive_fds(ends[1], &byte, 0, fds, &n), -EINVAL);
    ASSERT_ERROR(hark_receive_fds(ends[1], &byte, 1, NULL, &n), -EINVAL);
    ASSERT_CALL(close(ends[1]));
    ASSERT_ERROR(hark_send_fds(ends[0], "x", 1, NULL, 0), -EPIPE); /* and no SIGPIPE */
    ASSERT_INT(hark_receive_fds(ends[0], &byte, 1, fds, &n), 0);
    ASSERT_CALL(close(ends[0]));
}

TEST(credentials_beside_do_not_disturb)
{
    static int sent[HARK_FDS_MAX], received[HARK_FDS_MAX];
    size_t n = HARK_FDS_MAX;
    int ends[2], on = 1;
    char byte;

    make_pair(SOCK_SEQPACKET, ends);
    ASSERT_CALL(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
    fill(sent, HARK_FDS_MAX, ends[0]);
    ASSERT_INT(hark_send_fds(ends[0], "x", 1, sent, HARK_FDS_MAX), 1);
    ASSERT_INT(hark_receive_fds(ends[1], &byte, 1, received, &n), 1);
    ASSERT_INT(n, HARK_FDS_MAX);
    close_all(received, n);
    close_all(ends, 2);
}
