/* SPDX-License-Identifier: MIT */
#include "directory.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "basic/fd.h"
#include "libhark/hark.h"

/* Descriptors 3, 4, … become what was passed; in a child, as everything here happens to the
 * process. */
static void pass(const int *fds, size_t n, const char *names)
{
    char text[32];

    for (size_t i = 0; i < n; i++)
        ASSERT_CALL(dup2(fds[i], 3 + (int)i));
    snprintf(text, sizeof(text), "%d", (int)getpid());
    setenv("LISTEN_PID", text, 1);
    snprintf(text, sizeof(text), "%zu", n);
    setenv("LISTEN_FDS", text, 1);
    if (names)
        setenv("LISTEN_FDNAMES", names, 1);
    else
        unsetenv("LISTEN_FDNAMES");
}

/* Out of the way of what is passed. */
static int make_socket(int family, int type)
{
    int fd = socket(family, type | SOCK_CLOEXEC, 0);

    ASSERT_CALL(fd);
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 100);
    ASSERT_CALL(high);
    ASSERT_CALL(close(fd));
    return high;
}

static int listening(int family)
{
    int fd = make_socket(family, SOCK_STREAM);
    struct sockaddr address = {.sa_family = (sa_family_t)family};

    ASSERT_CALL(bind(fd, &address, family == AF_UNIX ? sizeof(sa_family_t) : sizeof(address)));
    ASSERT_CALL(listen(fd, 1));
    return fd;
}

TEST(nothing_was_passed)
{
    struct hark_passed *passed = NULL;
    size_t n = 7;

    unsetenv("LISTEN_FDS");
    ASSERT_OK(hark_passed_fds(&passed, &n));
    ASSERT_INT(n, 0);
    ASSERT(!hark_passed_free(passed, n));
    IN_CHILD({
        pass(NULL, 0, "a:b");
        setenv("LISTEN_FDS", "2", 1);
        setenv("LISTEN_PID", "1", 1);
        ASSERT_OK(hark_passed_fds(&passed, &n));
        ASSERT_INT(n, 0);
    });
}

TEST(descriptors_come_with_their_names)
{
    IN_CHILD({
        struct hark_passed *passed;
        size_t n;
        int fds[] = {listening(AF_INET), listening(AF_UNIX)};

        pass(fds, 2, "web:control");
        ASSERT_OK(hark_passed_fds(&passed, &n));
        ASSERT_INT(n, 2);
        ASSERT_INT(passed[0].fd, 3);
        ASSERT_STRING(passed[0].name, "web");
        ASSERT_INT(passed[1].fd, 4);
        ASSERT_STRING(passed[1].name, "control");
        ASSERT(fcntl(4, F_GETFD) & FD_CLOEXEC);
        ASSERT_STRING(getenv("LISTEN_FDS"), "2"); /* for the program to unset */
        hark_passed_free(passed, n);
        ASSERT_INT(fcntl(3, F_GETFD), -1);
    });
}

TEST(names_may_be_missing_but_not_disagree)
{
    IN_CHILD({
        struct hark_passed *passed = NULL;
        size_t n = 7;
        int fds[] = {listening(AF_INET), listening(AF_UNIX)};

        pass(fds, 2, "one");
        ASSERT_ERROR(hark_passed_fds(&passed, &n), -EINVAL);
        pass(fds, 2, "one:two:three");
        ASSERT_ERROR(hark_passed_fds(&passed, &n), -EINVAL);
        ASSERT_INT(n, 7);
        setenv("LISTEN_FDS", "x", 1);
        ASSERT_ERROR(hark_passed_fds(&passed, &n), -EINVAL);
        pass(fds, 2, NULL);
        ASSERT_OK(hark_passed_fds(&passed, &n));
        ASSERT_INT(n, 2);
        ASSERT(!passed[0].name);
        hark_passed_free(passed, n);
    });
}

TEST(listening_takes_what_was_passed_under_the_name)
{
    directory_make();
    IN_CHILD({
        struct hark_listen_options options = HARK_LISTEN_OPTIONS_INIT;
        struct hark_listener *listener = NULL;
        int fds[] = {listening(AF_INET), listening(AF_UNIX)};

        pass(fds, 2, "web:control");
        options.name = "control";
        ASSERT_OK(hark_listen(in("x"), &options, &listener));
        ASSERT(hark_listener_was_passed(listener));
        ASSERT_INT(hark_listener_fd(listener), 4);
        ASSERT(!exists(in("x")));
        struct hark_listener *first = listener;
        options.name = "web";
        options.type = SOCK_DGRAM;
        ASSERT_ERROR(hark_listen("80", &options, &listener), -EPROTOTYPE);
        options.type = SOCK_STREAM;
        ASSERT_ERROR(hark_listen(in("x"), &options, &listener), -EAFNOSUPPORT);
        ASSERT_OK(hark_listen("80", &options, &listener));
        ASSERT_INT(hark_listener_fd(listener), 3);
        struct hark_listener *second = listener;
        options.name = "other";
        ASSERT_OK(hark_listen(in("x"), &options, &listener));
        ASSERT(!hark_listener_was_passed(listener));
        ASSERT_STRING(hark_listener_name(listener), "other");
        hark_listener_free(listener);
        hark_listener_free(first);
        /* One that is closed already would be another file under its number sooner or later. */
        ASSERT_ERROR(hark_listen(in("x"), &options, &listener), -EBADF);
        hark_listener_free(second);
    });
    directory_remove();
}

TEST(what_is_passed_is_checked)
{
    directory_make();
    IN_CHILD({
        struct hark_listen_options options = HARK_LISTEN_OPTIONS_INIT;
        struct hark_listener *listener = NULL;
        int fds[] = {make_socket(AF_INET, SOCK_STREAM)};
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

        ASSERT_OK(fd_move_above(&null, 100));
        options.name = "a";
        pass(fds, 1, "a");
        ASSERT_ERROR(hark_listen("80", &options, &listener), -ENOTCONN);
        pass(&null, 1, "a");
        ASSERT_ERROR(hark_listen("80", &options, &listener), -ENOTSOCK);
        ASSERT(fcntl(3, F_GETFD) >= 0);
    });
    directory_remove();
}
