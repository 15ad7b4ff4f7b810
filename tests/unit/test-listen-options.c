/* SPDX-License-Identifier: MIT */
/* What hark_listen() got later: protocol, directory_mode, prepare, HARK_LISTEN_KEEP_NAME,
 * HARK_LISTEN_ONE_THREAD. */
#include "test-listen.h"

#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "deny.h"
#include "libhark/hark.h"

/* The options as programs have them that were built with the first version of hark.h. */
struct first_options {
    size_t size;
    int type;
    int backlog;
    mode_t mode;
    uid_t owner;
    gid_t group;
    int lock_timeout_ms;
    unsigned flags;
    const char *name;
};

TEST(programs_with_the_first_options)
{
    struct {
        struct first_options options;
        char behind[64];
    } first = {{sizeof(first.options), SOCK_DGRAM, 1, 0640, (uid_t)-1, (gid_t)-1, 0,
                HARK_LISTEN_MKDIR, NULL},
               ""};
    struct stat status;

    directory_make();
    ASSERT_INT(sizeof(first.options), offsetof(struct hark_listen_options, protocol));
    memset(first.behind, 0x55, sizeof(first.behind)); /* must not be looked at */
    struct hark_listener *listener = NULL;
    ASSERT_OK(
        hark_listen(in("d/x"), (const struct hark_listen_options *)&first.options, &listener));
    ASSERT_INT(hark_listener_type(listener), SOCK_DGRAM);
    ASSERT_CALL(stat(in("d"), &status));
    ASSERT_INT(status.st_mode & 07777, 0755);
    ASSERT_CALL(stat(in("d/x"), &status));
    ASSERT_INT(status.st_mode & 07777, 0640);
    hark_listener_free(listener);
    struct hark_listen_options options = quick(SOCK_STREAM);
    options.size = sizeof(options) - 1;
    ASSERT_ERROR(try_listen(in("x"), &options), -EINVAL);
    options.size = sizeof(first.options) + sizeof(int);
    ASSERT_ERROR(try_listen(in("x"), &options), -EINVAL);
    directory_remove();
}

struct preparation {
    int n_calls, result, last_fd;
};

static int prepare(int fd, void *userdata)
{
    struct preparation *preparation = userdata;
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    int on = 1;

    preparation->n_calls++;
    preparation->last_fd = fd;
    ASSERT_CALL(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)));
    ASSERT_CALL(getsockname(fd, (struct sockaddr *)&address, &length)); /* not bound yet */
    if (address.ss_family == AF_UNIX)
        ASSERT_INT(length, sizeof(sa_family_t));
    return preparation->result;
}

static void assert_prepared(const struct hark_listener *listener)
{
    int value;
    socklen_t length = sizeof(value);

    ASSERT_CALL(getsockopt(hark_listener_fd(listener), SOL_SOCKET, SO_KEEPALIVE, &value, &length));
    ASSERT_INT(value, 1);
}

TEST(sockets_are_prepared_before_they_are_bound)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct preparation preparation = {0};
    int old;

    directory_make();
    options.prepare = prepare;
    options.userdata = &preparation;
    struct hark_listener *listener = listen_on(in("x"), &options);
    ASSERT_INT(preparation.n_calls, 1);
    ASSERT_INT(preparation.last_fd, hark_listener_fd(listener));
    assert_prepared(listener);
    ASSERT_CALL(unlink(in("x")));
    ASSERT_OK(hark_listener_rebind(listener, &old));
    close(old);
    ASSERT_INT(preparation.n_calls, 2);
    assert_prepared(listener);
    /* A rebind that is not wanted changes nothing. */
    preparation.result = -EXDEV;
    ASSERT_CALL(unlink(in("x")));
    ASSERT_ERROR(hark_listener_rebind(listener, &old), -EXDEV);
    ASSERT(!exists(in("x")));
    hark_listener_free(listener);
    ASSERT_ERROR(try_listen(in("x"), &options), -EXDEV);
    ASSERT(!exists(in("x")) && !exists(in("x.lock")));
    ASSERT_ERROR(try_listen("127.0.0.1:1", &options), -EXDEV);
    preparation.result = 1; /* not an error */
    ASSERT_OK(try_listen("@hark-test-prepare", &options));
    directory_remove();
}

TEST(a_protocol)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    int protocol;
    socklen_t length = sizeof(protocol);

    directory_make();
    options.protocol = IPPROTO_TCP;
    ASSERT_ERROR(try_listen(in("x"), &options), -EPROTONOSUPPORT);
    ASSERT(!exists(in("x")) && !exists(in("x.lock")));
    directory_remove();
    options.protocol = 262; /* IPPROTO_MPTCP */
    struct hark_listener *listener = NULL;
    int r = hark_listen("127.0.0.1:18262", &options, &listener);
    if (r == -EPROTONOSUPPORT || r == -ENOPROTOOPT)
        SKIP("no MPTCP");
    ASSERT_OK(r);
    ASSERT_CALL(
        getsockopt(hark_listener_fd(listener), SOL_SOCKET, SO_PROTOCOL, &protocol, &length));
    ASSERT_INT(protocol, 262);
    hark_listener_free(listener);
}

TEST(a_name_that_stays)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct stat status;

    directory_make();
    options.flags = HARK_LISTEN_KEEP_NAME;
    ASSERT_OK(try_listen(in("x"), &options));
    ASSERT_CALL(stat(in("x"), &status));
    ASSERT(S_ISSOCK(status.st_mode) && !exists(in("x.lock")));
    ASSERT_ERROR(client(in("x"), SOCK_STREAM), -ECONNREFUSED);
    struct hark_listener *listener = listen_on(in("x"), &options);
    int connection = client(in("x"), SOCK_STREAM);
    ASSERT_OK(connection);
    close(connection);
    hark_listener_free(listener);
    options.flags = 0;
    ASSERT_OK(try_listen(in("x"), &options));
    ASSERT(!exists(in("x")));
    directory_remove();
}

TEST(modes_of_directories)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct stat status;
    mode_t before = umask(027);

    directory_make();
    options.flags = HARK_LISTEN_MKDIR;
    options.directory_mode = 01777;
    ASSERT_OK(try_listen(in("a/b/x"), &options));
    ASSERT_CALL(stat(in("a"), &status));
    ASSERT_INT(status.st_mode & 07777, 01777);
    ASSERT_CALL(stat(in("a/b"), &status));
    ASSERT_INT(status.st_mode & 07777, 01777);
    options.directory_mode = 0700;
    ASSERT_OK(try_listen(in("c/x"), &options));
    ASSERT_CALL(stat(in("c"), &status));
    ASSERT_INT(status.st_mode & 07777, 0700);
    options.directory_mode = 02755;
    ASSERT_ERROR(try_listen(in("d/x"), &options), -EINVAL);
    umask(before);
    directory_remove();
}

TEST(one_thread_needs_no_process)
{
    static const mode_t masks[] = {0, 022, 0777};
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct stat status;

    directory_make();
    ASSERT_CALL(mkdir(in("d"), 0755));
    options.mode = 0666;
    options.flags = HARK_LISTEN_MKDIR;
    IN_CHILD({
        deny(SYS_clone, EDOM);
        ASSERT_ERROR(try_listen(in("d/x"), &options), -EDOM);
        options.flags |= HARK_LISTEN_ONE_THREAD;
        for (size_t i = 0; i < 3; i++) {
            (void)umask(masks[i]);
            struct hark_listener *listener = listen_on(in("d/e/x"), &options);
            ASSERT_INT(umask(masks[i]), masks[i]);
            ASSERT_CALL(stat(in("d/e"), &status));
            ASSERT_INT(status.st_mode & 07777, 0755);
            ASSERT_CALL(stat(in("d/e/x"), &status));
            ASSERT_INT(status.st_mode & 07777, 0666);
            hark_listener_free(listener);
            ASSERT_CALL(rmdir(in("d/e")));
        }
        /* The umask is restored after a failure, too. */
        ASSERT_ERROR(try_listen("/proc/x", &options), -ENOENT);
        ASSERT_INT(umask(0), 0777);
        /* What a changed umask alone cannot do. */
        options.owner = 65534;
        ASSERT_ERROR(try_listen(in("d/x"), &options), -EDOM);
        ASSERT(!exists(in("d/x")));
    });
    directory_remove();
}

static volatile sig_atomic_t n_signals, n_other_masks;

static void look_at_umask(int signal)
{
    mode_t mask = umask(027);

    (void)signal;
    n_signals++;
    n_other_masks += mask != 027;
}

TEST(signal_handlers_never_see_another_umask)
{
    static const struct itimerval often = {{0, 20}, {0, 20}}, never;
    struct sigaction action = {.sa_handler = look_at_umask, .sa_flags = SA_RESTART}, before;
    struct hark_listen_options options = quick(SOCK_STREAM);
    mode_t mask = umask(027);

    directory_make();
    options.flags = HARK_LISTEN_ONE_THREAD;
    ASSERT_CALL(sigaction(SIGALRM, &action, &before));
    ASSERT_CALL(setitimer(ITIMER_REAL, &often, NULL));
    for (int i = 0; i < 200 || n_signals < 200; i++)
        ASSERT_OK(try_listen(in("x"), &options));
    ASSERT_CALL(setitimer(ITIMER_REAL, &never, NULL));
    ASSERT_CALL(sigaction(SIGALRM, &before, NULL));
    ASSERT_INT(n_other_masks, 0);
    ASSERT_INT(umask(mask), 027);
    directory_remove();
}
