/* SPDX-License-Identifier: MIT */
/* Listeners that another process made: hark_listener_adopt() and _disown(). */
#include "test-listen.h"

#include <linux/capability.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/syscall.h>

static int try_adopt(const char *address, int fd, int lock_fd,
                     const struct hark_listen_options *options)
{
    struct hark_listener *untouched = (struct hark_listener *)&untouched, *listener = untouched;
    int r = hark_listener_adopt(address, fd, lock_fd, options, &listener);

    ASSERT(r < 0 && listener == untouched);
    return r;
}

/* What is left of a listener across an exec: two numbers. */
struct remains {
    int fd, lock_fd;
};

static struct remains leave_behind(struct hark_listener *listener)
{
    struct remains remains = {.fd = dup(hark_listener_fd(listener)),
                              .lock_fd = dup(hark_listener_lock_fd(listener))};

    ASSERT_CALL(remains.fd);
    hark_listener_disown(listener);
    hark_listener_free(listener);
    return remains;
}

static struct hark_listener *adopt(const char *address, struct remains remains,
                                   const struct hark_listen_options *options)
{
    struct hark_listener *listener;

    ASSERT_OK(hark_listener_adopt(address, remains.fd, remains.lock_fd, options, &listener));
    ASSERT_INT(hark_listener_fd(listener), remains.fd);
    ASSERT_INT(hark_listener_lock_fd(listener), remains.lock_fd);
    ASSERT(fcntl(remains.fd, F_GETFD) & FD_CLOEXEC);
    ASSERT(!hark_listener_was_passed(listener));
    return listener;
}

/* A listener, left behind in the form of descriptors, is adopted, and is one like before. */
static void check_path(const char *path, int type)
{
    struct hark_listen_options options = quick(type);
    struct stat before, after;
    int old;

    options.name = "greeter";
    struct remains remains = leave_behind(listen_on(path, &options));
    ASSERT_CALL(lstat(path, &before));
    int fd = client(path, type); /* in between nobody is refused */
    ASSERT_OK(fd);
    ASSERT_ERROR(try_listen(path, &options), -EADDRINUSE);
    struct hark_listener *listener = adopt(path, remains, &options);
    ASSERT_CALL(lstat(path, &after));
    ASSERT_INT(before.st_ino, after.st_ino);
    ASSERT_STRING(hark_listener_address(listener), path);
    ASSERT_STRING(hark_listener_name(listener), "greeter");
    ASSERT_INT(hark_listener_type(listener), type);
    ASSERT_STRING(hark_listener_directory(listener), directory_path);
    ASSERT(fcntl(remains.lock_fd, F_GETFD) & FD_CLOEXEC);
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_IN_PLACE);
    ASSERT_ERROR(hark_listener_rebind(listener, &old), -EALREADY);
    ASSERT_CALL(unlink(path));
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_REMOVED);
    ASSERT_OK(hark_listener_rebind(listener, &old));
    close(old);
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_IN_PLACE);
    hark_listener_free(listener);
    ASSERT(!exists(path) && !exists(in("x.lock")));
    close(fd);
}

TEST(a_path_goes_on_as_it_was)
{
    directory_make();
    check_path(in("x"), SOCK_STREAM);
    check_path(in("x"), SOCK_DGRAM);
    check_path(in("x"), SOCK_SEQPACKET);
    directory_remove();
}

static void drop_all_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{.effective = 0}};

    ASSERT_CALL(syscall(SYS_capset, &header, none));
}

static void adopt_without_its_node(void)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct remains remains = leave_behind(listen_on(in("x"), &options));

    ASSERT_CALL(unlink(in("x")));
    write_file(in("x"), "");
    struct hark_listener *listener = adopt(in("x"), remains, &options);
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_REPLACED);
    hark_listener_free(listener);
    ASSERT(exists(in("x")) && !exists(in("x.lock"))); /* it was not ours */
    ASSERT_CALL(unlink(in("x")));

    remains = leave_behind(listen_on(in("x"), &options));
    ASSERT_CALL(unlink(in("x")));
    ASSERT_OK(client(in("x"), SOCK_STREAM) == -ENOENT ? 0 : -EEXIST);
    struct hark_listen_options mine = options;
    int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), old;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", in("x"));
    ASSERT_CALL(bind(other, (struct sockaddr *)&address, sizeof(address)));
    listener = adopt(in("x"), remains, &mine);
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_REPLACED); /* alive, of the same name */
    ASSERT_ERROR(hark_listener_rebind(listener, &old), -EADDRINUSE);
    close(other);
    ASSERT_OK(hark_listener_rebind(listener, &old));
    close(old);
    hark_listener_free(listener);
    ASSERT(!exists(in("x")));
}

TEST(one_that_has_lost_its_name_is_adopted_too)
{
    directory_make();
    adopt_without_its_node();
    directory_remove();
}

/* SIOCUNIXFILE is not for everybody: the kernel's list tells the same. */
TEST(without_capabilities)
{
    directory_make();
    IN_CHILD({
        drop_all_capabilities();
        check_path(in("x"), SOCK_STREAM);
        check_path(in("x"), SOCK_DGRAM);
        adopt_without_its_node();
    });
    directory_remove();
}

TEST(a_long_path)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    char name[256];

    directory_make();
    memset(name, 'd', 200);
    name[200] = '\0';
    ASSERT_CALL(mkdir(in(name), 0755));
    memcpy(name + 200, "/socket", 8);
    struct hark_listener *listener =
        adopt(in(name), leave_behind(listen_on(in(name), &options)), &options);
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_IN_PLACE);
    hark_listener_free(listener);
    ASSERT(!exists(in(name)));
    directory_remove();
}

TEST(a_name_that_is_kept_is_kept)
{
    struct hark_listen_options options = quick(SOCK_STREAM);

    directory_make();
    options.flags = HARK_LISTEN_KEEP_NAME;
    struct hark_listener *listener =
        adopt(in("x"), leave_behind(listen_on(in("x"), &options)), &options);
    hark_listener_free(listener);
    ASSERT(exists(in("x")) && !exists(in("x.lock")));
    directory_remove();
}

TEST(other_addresses_have_no_lock)
{
    static const char *const prefixes[] = {"@hark-test-", "127.0.0.1:", "[::1]:", ""};
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct hark_listener *listener;
    char address[64];

    for (unsigned i = 0; i < 4; i++) {
        unsigned number = 20000 + (unsigned)getpid() % 10000;
        int r;
        do {
            snprintf(address, sizeof(address), "%s%u", prefixes[i], number++);
            r = hark_listen(address, &options, &listener);
        } while (r == -EADDRINUSE && number < 60000);
        if (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)
            continue; /* no IPv6 */
        ASSERT_OK(r);
        ASSERT_INT(hark_listener_lock_fd(listener), -1);
        struct remains remains = leave_behind(listener);
        ASSERT_ERROR(try_adopt(address, remains.fd, 0, &options), -EINVAL);
        ASSERT_ERROR(try_adopt("@hark-other", remains.fd, -1, &options),
                     i == 0 ? -EADDRNOTAVAIL : -EAFNOSUPPORT);
        if (i < 2)
            ASSERT_ERROR(try_adopt("1.2.3.4:5", remains.fd, -1, &options),
                         i == 1 ? -EADDRNOTAVAIL : -EAFNOSUPPORT);
        listener = adopt(address, remains, &options);
        ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_IN_PLACE);
        hark_listener_free(listener);
        ASSERT_INT(fcntl(remains.fd, F_GETFD), -1);
    }
}

/* A mere port may have become one of IPv4 alone. */
TEST(a_port_of_ipv4)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct hark_listen_options options = quick(SOCK_STREAM);
    socklen_t length = sizeof(in4);
    char address[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ASSERT_CALL(listen(fd, 1));
    ASSERT_CALL(getsockname(fd, (struct sockaddr *)&in4, &length));
    snprintf(address, sizeof(address), "%u", ntohs(in4.sin_port));
    hark_listener_free(adopt(address, (struct remains){.fd = fd, .lock_fd = -1}, &options));
}

TEST(what_is_not_that_listener_is_not_adopted)
{
    struct hark_listen_options options = quick(SOCK_STREAM), wrong = options;

    directory_make();
    struct hark_listener *listener = listen_on(in("x"), &options);
    int fd = hark_listener_fd(listener), lock_fd = hark_listener_lock_fd(listener);
    struct hark_listener *other = listen_on(in("y"), &options);
    ASSERT_ERROR(try_adopt(NULL, fd, lock_fd, &options), -EINVAL);
    ASSERT_ERROR(hark_listener_adopt(in("x"), fd, lock_fd, &options, NULL), -EINVAL);
    ASSERT_ERROR(try_adopt(in("x"), fd, -2, &options), -EINVAL);
    ASSERT_ERROR(try_adopt("x", fd, lock_fd, &options), -EINVAL);
    ASSERT_ERROR(try_adopt(in("none/x"), fd, lock_fd, &options), -ENOENT);
    ASSERT_ERROR(try_adopt(in("x"), -1, lock_fd, &options), -EBADF);
    ASSERT_ERROR(try_adopt(in("x"), lock_fd, lock_fd, &options), -ENOTSOCK);
    ASSERT_ERROR(try_adopt(in("y"), fd, lock_fd, &options), -EADDRNOTAVAIL);
    ASSERT_ERROR(try_adopt("@x", fd, -1, &options), -EADDRNOTAVAIL);
    ASSERT_ERROR(try_adopt("80", fd, -1, &options), -EAFNOSUPPORT);
    wrong.type = SOCK_DGRAM;
    ASSERT_ERROR(try_adopt(in("x"), fd, lock_fd, &wrong), -EPROTOTYPE);
    wrong.mode = 010000;
    ASSERT_ERROR(try_adopt(in("x"), fd, lock_fd, &wrong), -EINVAL);
    int connected = client(in("x"), SOCK_STREAM);
    ASSERT_ERROR(try_adopt(in("x"), connected, lock_fd, &options), -ENOTCONN);
    close(connected);
    ASSERT_ERROR(try_adopt(in("x"), fd, 999, &options), -EBADF);
    ASSERT_ERROR(try_adopt(in("x"), fd, hark_listener_lock_fd(other), &options), -ESTALE);
    ASSERT_ERROR(try_adopt(in("x"), fd, -1, &options), -EADDRINUSE); /* it is locked */
    int again = open(in("x.lock"), O_RDWR | O_CLOEXEC);
    ASSERT_ERROR(try_adopt(in("x"), fd, again, &options), -EADDRINUSE);
    close(again);
    /* Nothing has happened to it. */
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_IN_PLACE);
    ASSERT_ERROR(try_listen(in("x"), &options), -EADDRINUSE);
    hark_listener_free(listener);
    hark_listener_free(other);
    directory_remove();
}

TEST(a_lock_that_is_gone_is_taken_anew)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct hark_listener *listener;

    directory_make();
    struct remains remains = leave_behind(listen_on(in("x"), &options));
    ASSERT_CALL(unlink(in("x.lock")));
    ASSERT_ERROR(try_adopt(in("x"), remains.fd, remains.lock_fd, &options), -ESTALE);
    close(remains.lock_fd);
    ASSERT_OK(hark_listener_adopt(in("x"), remains.fd, -1, &options, &listener));
    ASSERT(exists(in("x.lock")) && hark_listener_lock_fd(listener) >= 0);
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_IN_PLACE);
    hark_listener_free(listener);
    ASSERT(!exists(in("x")) && !exists(in("x.lock")));
    directory_remove();
}

/* From one process to another, which is named as the holder; the first may not come back. */
TEST(handed_over_to_another_process)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct hark_holder holder;
    int ends[2], fds[2], old, status;
    size_t n = 2;
    char byte;

    directory_make();
    ASSERT_CALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
    pid_t pid = fork();
    ASSERT_CALL(pid);
    if (pid == 0) {
        struct hark_listener *listener;
        ASSERT_INT(hark_receive_fds(ends[1], &byte, 1, fds, &n), 1);
        ASSERT_INT(n, 2);
        ASSERT_OK(hark_listener_adopt(in("x"), fds[0], fds[1], &options, &listener));
        ASSERT_INT(write(ends[1], "x", 1), 1);
        ASSERT_INT(read(ends[1], &byte, 1), 1);
        ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_IN_PLACE);
        hark_listener_free(listener);
        _exit(0);
    }
    struct hark_listener *listener = listen_on(in("x"), &options);
    fds[0] = hark_listener_fd(listener);
    fds[1] = hark_listener_lock_fd(listener);
    ASSERT_INT(hark_send_fds(ends[0], "x", 1, fds, 2), 1);
    ASSERT_INT(read(ends[0], &byte, 1), 1);
    hark_listener_disown(listener);
    ASSERT_CALL(unlink(in("x")));
    ASSERT_ERROR(hark_listener_rebind(listener, &old), -EPERM);
    ASSERT_CALL(symlink("nowhere", in("x"))); /* whatever: it is not ours to touch */
    hark_listener_free(listener);
    ASSERT(exists(in("x")) && exists(in("x.lock")));
    ASSERT_CALL(unlink(in("x")));
    ASSERT_OK(hark_address_holder(in("x"), SOCK_STREAM, &holder));
    ASSERT_INT(holder.pid, pid);
    ASSERT_ERROR(try_listen(in("x"), &options), -EADDRINUSE);
    ASSERT_INT(kill(pid, SIGKILL), 0);
    ASSERT_INT(waitpid(pid, &status, 0), pid);
    ASSERT_OK(try_listen(in("x"), &options)); /* the lock died with its last holder */
    close(ends[0]);
    close(ends[1]);
    directory_remove();
}
