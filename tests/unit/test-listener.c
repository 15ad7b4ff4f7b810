/* SPDX-License-Identifier: MIT */
/* Listeners that are sockets: made, recognised, taken, flushed, explained. */
#include "test-listener.h"

#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <linux/vm_sockets.h>
#include <mqueue.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* ---- Made ------------------------------------------------------------------------------------ */

TEST(a_unix_socket)
{
    static const char *const keys[] = {"ListenStream", "ListenDatagram", "ListenSequentialPacket"};
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

    directory_make();
    for (size_t i = 0; i < 3; i++) {
        mode_t before = umask(0777);
        struct listener *listener =
            make(request_of("%s=%s\nSocketMode=0664\nDirectoryMode=0711\nFileDescriptorName=web\n"
                            "RemoveOnStop=yes\n",
                            keys[i], in("a/b/x")));
        int fd = listener_fd(listener);

        umask(before);
        ASSERT_INT(mode_of(in("a/b/x")), S_IFSOCK | 0664);
        ASSERT_INT(mode_of(in("a")), S_IFDIR | 0711);
        ASSERT_INT(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
        ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ASSERT_STRING(listener_address(listener), in("a/b/x"));
        ASSERT_STRING(listener_directory(listener), in("a/b"));
        ASSERT_STRING(listener_fd_name(listener), "web");
        ASSERT_INT(listener_family(listener), AF_UNIX);
        ASSERT_INT(listener_socket_type(listener), types[i]);
        ASSERT(!listener_was_passed(listener) && listener_unit(listener) == unit_now);
        int connection = client(in("a/b/x"), types[i]);
        ASSERT_OK(connection);
        close(connection);
        listener_free(listener);
        ASSERT(!exists(in("a/b/x")));
        ASSERT_STRING(request_done(), "");
    }
    directory_remove();
}

TEST(a_unix_socket_of_another_user)
{
    struct stat status;

    if (geteuid() != 0)
        SKIP("needs root");
    directory_make();
    struct listener_request *request = request_of("ListenStream=%s\nSocketMode=0620\n", in("x"));
    request->owner = 65534;
    request->group = 65533;
    for (size_t i = 0; i < 2; i++) { /* the second time over the dead one */
        listener_free(make(request));
        ASSERT_CALL(stat(in("x"), &status));
        ASSERT_INT(status.st_uid, 65534);
        ASSERT_INT(status.st_gid, 65533);
        ASSERT_INT(status.st_mode, S_IFSOCK | 0620);
    }
    ASSERT_STRING(request_done(), "");
    directory_remove();
}

TEST(a_living_server_keeps_its_socket)
{
    struct hark_listener *server;

    directory_make();
    ASSERT_OK(hark_listen(in("x"), NULL, &server));
    ASSERT_REFUSED(
        -EADDRINUSE,
        format_text("\"%s\" is in use by \"test-listener\" (pid %d)", in("x"), (int)getpid()),
        "ListenStream=%s\n", in("x"));
    int fd = hark_listener_fd(server);
    hark_listener_free(server);
    ASSERT_INT(fcntl(fd, F_GETFD), -1);
    write_file(in("file"), "precious");
    ASSERT_REFUSED(-EEXIST,
                   format_text("cannot listen on \"%s\": there is something that is not a socket; "
                               "move it away",
                               in("file")),
                   "ListenStream=%s\n", in("file"));
    directory_remove();
    unsigned port = free_port(SOCK_DGRAM);
    struct listener *listener = make(request_of("ListenDatagram=%u\n", port));
    struct listener_request again = request_now;
    char text[200];
    ASSERT_ERROR(try_make(&again), -EADDRINUSE);
    listener_explain(&again, -EADDRINUSE, text, sizeof(text));
    ASSERT_STRING(
        text, format_text("\"%u\" is in use by \"test-listener\" (pid %d)", port, (int)getpid()));
    listener_free(listener);
    (void)request_done();
}

TEST(backlogs)
{
    static const char *const backlogs[] = {"0", "4294967295"};

    directory_make();
    for (size_t i = 0; i < 2; i++) {
        int clients[3], n = 0;
        struct listener *listener =
            make(request_of("ListenStream=%s\nBacklog=%s\n", in("x"), backlogs[i]));

        for (; n < 3; n++) {
            struct sockaddr_un address = {.sun_family = AF_UNIX};
            clients[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
            snprintf(address.sun_path, sizeof(address.sun_path), "%s", in("x"));
            if (connect(clients[n], (struct sockaddr *)&address, sizeof(address)) < 0)
                break;
        }
        ASSERT_INT(n, i == 0 ? 1 : 3);
        for (int j = 0; j <= n && j < 3; j++)
            close(clients[j]);
        listener_free(listener);
        (void)request_done();
    }
    directory_remove();
}

TEST(a_netlink_socket)
{
    struct listener *listener = make(request_of("ListenNetlink=route 5\n"));
    struct sockaddr_nl address;
    socklen_t length = sizeof(address);
    int fd = listener_fd(listener);

    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_TYPE), SOCK_RAW);
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_PROTOCOL), NETLINK_ROUTE);
    ASSERT(fcntl(fd, F_GETFL) & O_NONBLOCK);
    ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    ASSERT_CALL(getsockname(fd, (struct sockaddr *)&address, &length));
    ASSERT_INT(address.nl_groups, 5);
    ASSERT_STRING(listener_address(listener), "netlink route 5");
    ASSERT_INT(listener_family(listener), AF_NETLINK);
    ASSERT(listener_fits(&request_now, fd));
    listener_flush(listener);
    listener_free(listener);
    (void)request_done();
    ASSERT_REFUSED(-EPROTONOSUPPORT, "cannot listen on \"firewall\": Protocol not supported",
                   "ListenNetlink=firewall\n");
}

/* socket(AF_INET6, …) fails from now on as on a kernel without it. */
static void forget_ipv6(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

    ASSERT_CALL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    ASSERT_CALL(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

TEST(no_ipv6)
{
    unsigned port = free_port(SOCK_STREAM);

    IN_CHILD({
        forget_ipv6();
        ASSERT_REFUSED(-EAFNOSUPPORT, "cannot listen on \"[::1]:80\": this kernel has no IPv6",
                       "ListenStream=[::1]:80\n");
        struct listener *listener = make(request_of("ListenStream=%u\n", port));
        ASSERT_STRING(listener_address(listener), format_text("0.0.0.0:%u", port));
        ASSERT_INT(listener_family(listener), AF_INET);
        ASSERT(listener_fits(&request_now, listener_fd(listener)));
        listener_free(listener);
        ASSERT_STRING(request_done(), "");
    });
}

TEST(explanations_of_addresses)
{
    char text[200], tiny[16];

    listener_explain_address("@hark-test-nobody", SOCK_STREAM, -EADDRINUSE, text, sizeof(text));
    ASSERT_STRING(text, "\"@hark-test-nobody\" is in use by a living server");
    listener_explain_address("192.0.2.1:80", SOCK_STREAM, -EADDRNOTAVAIL, text, sizeof(text));
    ASSERT_STRING(text, "cannot listen on \"192.0.2.1:80\": this machine has no such address");
    listener_explain_address("80", SOCK_STREAM, -EACCES, text, sizeof(text));
    ASSERT_STRING(text, "cannot listen on \"80\": Permission denied");
    listener_explain_address("80", SOCK_STREAM, -EACCES, tiny, sizeof(tiny));
    ASSERT_STRING(tiny, "cannot listen o");
    if (geteuid() != 0)
        return;
    directory_make();
    ASSERT_CALL(chmod(directory_path, 0777));
    ASSERT_OK(mknod(in("x"), S_IFSOCK | 0666, 0));
    IN_CHILD({
        ASSERT_CALL(setresuid(65534, 65534, 65534));
        ASSERT_REFUSED(-EPERM,
                       format_text("cannot listen on \"%s\": there is a socket or lock file of "
                                   "user 0",
                                   in("x")),
                       "ListenStream=%s\n", in("x"));
        struct listener_request *request = request_of("ListenFIFO=%s\n", in("y"));
        request->owner = 1;
        ASSERT_ERROR(try_make(request), -EPERM);
        listener_explain(request, -EPERM, text, sizeof(text));
        ASSERT_STRING(text, format_text("cannot listen on \"%s\": only root can give it to "
                                        "SocketUser= or SocketGroup=",
                                        in("y")));
        ASSERT(!exists(in("y")));
        (void)request_done();
    });
    directory_remove();
}

/* ---- Recognised ------------------------------------------------------------------------------ */

static bool fits(int fd, const char *lines)
{
    bool answer = listener_fits(request_of("%s", lines), fd);

    (void)request_done();
    return answer;
}

/* The listener of the first line fits to that, and not to the others. */
static void assert_fits(const char *line, const char *const others[])
{
    struct listener *listener = make(request_of("%s\nRemoveOnStop=yes\n", line));
    struct socket_unit *unit = unit_now; /* of the listener */
    struct unit_file *file = unit_file_now;
    int fd = listener_fd(listener);

    unit_now = NULL;
    unit_file_now = NULL;
    if (!fits(fd, line))
        TEST_FAIL("does not fit itself: %s", line);
    for (; *others; others++)
        if (fits(fd, *others))
            TEST_FAIL("%s fits %s", line, *others);
    listener_free(listener);
    socket_unit_free(unit);
    unit_file_free(file);
}

#define OTHERS(...) ((const char *const[]){__VA_ARGS__, NULL})

TEST(unix_sockets_that_fit)
{
    directory_make();
    assert_fits(format_text("ListenStream=%s", in("x")),
                OTHERS(format_text("ListenStream=%s", in("y")),
                       format_text("ListenDatagram=%s", in("x")),
                       format_text("ListenFIFO=%s", in("x")), "ListenStream=@x", "ListenStream=80",
                       "ListenNetlink=route", "ListenMessageQueue=/x", "ListenSpecial=/dev/null",
                       "ListenStream=vsock:2:80"));
    assert_fits(format_text("ListenDatagram=%s", in("x")),
                OTHERS(format_text("ListenSequentialPacket=%s", in("x")),
                       format_text("ListenDatagram=%s", in("y"))));
    assert_fits("ListenSequentialPacket=@hark-test-fits",
                OTHERS("ListenSequentialPacket=@hark-test-fit", "ListenStream=@hark-test-fits",
                       "ListenSequentialPacket=@hark-test-fits2"));
    directory_remove();
}

TEST(internet_sockets_that_fit)
{
    unsigned port = free_port(SOCK_STREAM);

    assert_fits(format_text("ListenStream=127.0.0.1:%u", port),
                OTHERS(format_text("ListenStream=%u", port),
                       format_text("ListenDatagram=127.0.0.1:%u", port),
                       format_text("ListenStream=127.0.0.2:%u", port), "ListenStream=127.0.0.1:1"));
    assert_fits(format_text("ListenStream=[::1]:%u", port),
                OTHERS(format_text("ListenStream=%u", port),
                       format_text("ListenStream=127.0.0.1:%u", port),
                       format_text("ListenStream=[::1]:%u\nSocketProtocol=mptcp", port)));
    assert_fits(format_text("ListenStream=%u", port),
                OTHERS("ListenStream=1", format_text("ListenDatagram=%u", port),
                       format_text("ListenStream=0.0.0.0:%u", port)));
    assert_fits(format_text("ListenDatagram=%u", port),
                OTHERS(format_text("ListenStream=%u", port)));
    /* A port: of either version. */
    struct listener *listener = make(request_of("ListenStream=0.0.0.0:%u", port));
    struct socket_unit *unit = unit_now;
    struct unit_file *file = unit_file_now;
    ASSERT(fits(listener_fd(listener), format_text("ListenStream=%u", port)));
    ASSERT(!fits(listener_fd(listener), format_text("ListenStream=[::]:%u", port)));
    unit_now = unit;
    unit_file_now = file;
    listener_free(listener);
    (void)request_done();
    /* One that does not listen. */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    ASSERT_CALL(bind(fd, (struct sockaddr *)&in, sizeof(in)));
    ASSERT(!fits(fd, format_text("ListenStream=0.0.0.0:%u", port)));
    ASSERT(!fits(fd, format_text("ListenStream=%u", port)));
    close(fd);
}

TEST(vsock_sockets_that_fit)
{
    struct listener *listener;
    int r = listener_new(request_of("ListenStream=vsock::18138\n"), &listener);

    if (r < 0) {
        (void)request_done();
        ASSERT(r == -EPROTONOSUPPORT || r == -ENODEV);
        SKIP("no vsock");
    }
    ASSERT_INT(listener_family(listener), AF_VSOCK);
    ASSERT_STRING(listener_address(listener), "vsock::18138");
    listener_free(listener);
    (void)request_done();
    assert_fits("ListenStream=vsock::18138",
                OTHERS("ListenStream=vsock::18139", "ListenStream=vsock:2:18138",
                       "ListenDatagram=vsock::18138", "ListenStream=18138"));
}

TEST(others_that_fit)
{
    const char *queue = format_text("ListenMessageQueue=/hark-test-%d", (int)getpid());
    char queue_line[100];

    snprintf(queue_line, sizeof(queue_line), "%s", queue);
    directory_make();
    ASSERT_CALL(mkfifo(in("other"), 0666));
    assert_fits(format_text("ListenFIFO=%s", in("x")),
                OTHERS(format_text("ListenFIFO=%s", in("other")),
                       format_text("ListenSpecial=%s", in("x")),
                       format_text("ListenStream=%s", in("x")), "ListenNetlink=route", queue_line));
    assert_fits("ListenSpecial=/dev/null",
                OTHERS("ListenSpecial=/dev/zero", "ListenFIFO=/dev/null", queue_line));
    write_file(in("file"), "");
    assert_fits(format_text("ListenSpecial=%s", in("file")),
                OTHERS("ListenSpecial=/dev/null", format_text("ListenFIFO=%s", in("file"))));
    assert_fits("ListenNetlink=route 1",
                OTHERS("ListenNetlink=route", "ListenNetlink=kobject-uevent 1",
                       "ListenNetlink=route 3", "ListenStream=80", "ListenSpecial=/dev/null"));
    assert_fits("ListenNetlink=generic", OTHERS("ListenNetlink=route"));
    assert_fits(queue_line, OTHERS("ListenMessageQueue=/hark-test-none", "ListenSpecial=/dev/null",
                                   "ListenStream=80"));
    directory_remove();
    ASSERT(!fits(-1, "ListenStream=80") && !fits(-1, "ListenNetlink=route") &&
           !fits(-1, "ListenFIFO=/x") && !fits(-1, "ListenMessageQueue=/x"));
}

/* ---- Taken ----------------------------------------------------------------------------------- */

/* Takes a copy of a listener's descriptor; the copy is gone afterwards. */
static void assert_taken(const char *lines)
{
    struct listener *made = make(request_of("%s", lines)), *taken = NULL;
    int fd = fcntl(listener_fd(made), F_DUPFD, 100);

    ASSERT_CALL(fd);
    ASSERT_OK(listener_take(&request_now, fd, &taken));
    ASSERT_INT(listener_fd(taken), fd);
    ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    ASSERT(listener_was_passed(taken) && listener_unit(taken) == unit_now);
    ASSERT_STRING(listener_fd_name(taken), "a.socket");
    ASSERT_STRING(listener_address(taken), listener_address(made));
    ASSERT_INT(listener_family(taken), listener_family(made));
    ASSERT(!listener_directory(taken));
    ASSERT_INT(listener_check(taken), HARK_LISTENER_IN_PLACE);
    int old;
    ASSERT_ERROR(listener_rebind(taken, &old), -EOPNOTSUPP);
    listener_free(taken);
    ASSERT_INT(fcntl(fd, F_GETFD), -1);
    ASSERT(listener_fits(&request_now, listener_fd(made))); /* its name is still there */
    listener_free(made);
    ASSERT_STRING(request_done(), "");
}

TEST(passed_descriptors)
{
    directory_make();
    assert_taken(
        format_text("ListenStream=%s\nRemoveOnStop=yes\nAcceptFileDescriptors=no\n", in("x")));
    assert_taken(format_text("ListenFIFO=%s\nRemoveOnStop=yes\n", in("x")));
    assert_taken(format_text("ListenDatagram=127.0.0.1:%u\n", free_port(SOCK_DGRAM)));
    assert_taken("ListenNetlink=route 1\n");
    assert_taken("ListenSpecial=/dev/null\n");
    assert_taken(
        format_text("ListenMessageQueue=/hark-test-%d\nRemoveOnStop=yes\n", (int)getpid()));
    directory_remove();
}

TEST(passed_sockets_are_left_as_they_are)
{
    struct hark_listener *socket;
    struct listener *listener = NULL;

    directory_make();
    ASSERT_OK(hark_listen(in("x"), NULL, &socket));
    int fd = fcntl(hark_listener_fd(socket), F_DUPFD, 100);
    ASSERT_OK(listener_take(request_of("ListenStream=%s\nReceiveBuffer=8M\nPriority=3\n"
                                       "PassCredentials=yes\nRemoveOnStop=yes\n",
                                       in("x")),
                            fd, &listener));
    ASSERT(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_PRIORITY), 0);
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_PASSCRED), 0);
    listener_free(listener);
    (void)request_done();
    /* What does not fit stays the caller's. */
    fd = fcntl(hark_listener_fd(socket), F_DUPFD, 100);
    ASSERT_ERROR(listener_take(request_of("ListenDatagram=/run/other\n"), fd, &listener),
                 -EPROTOTYPE);
    ASSERT(!(fcntl(fd, F_GETFD) & FD_CLOEXEC));
    char text[200];
    listener_explain(&request_now, -EPROTOTYPE, text, sizeof(text));
    ASSERT_STRING(text, "cannot listen on \"/run/other\": the descriptor that was passed is "
                        "something else");
    (void)request_done();
    /* Another address does not matter: its passer may see it at another path. */
    ASSERT_OK(listener_take(request_of("ListenStream=/run/other\n"), fd, &listener));
    ASSERT_STRING(listener_address(listener), in("x"));
    listener_free(listener);
    (void)request_done();
    /* Without a unit. */
    ASSERT_OK(listener_from_socket(socket, &listener));
    ASSERT_INT(listener_fd(listener), hark_listener_fd(socket));
    ASSERT(!listener_was_passed(listener) && !listener_unit(listener));
    ASSERT(!listener_fd_name(listener));
    ASSERT_STRING(listener_address(listener), in("x"));
    ASSERT_STRING(listener_directory(listener), directory_path);
    listener_flush(listener);
    int old;
    ASSERT_CALL(unlink(in("x")));
    ASSERT_OK(listener_rebind(listener, &old));
    close(old);
    listener_free(listener);
    ASSERT(!exists(in("x")) && !exists(in("x.lock")));
    directory_remove();
}

/* ---- Flushed --------------------------------------------------------------------------------- */

TEST(connections_are_flushed)
{
    static const char *const keys[] = {"ListenStream", "ListenSequentialPacket"};
    static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
    char byte;

    directory_make();
    for (size_t i = 0; i < 2; i++) {
        struct listener *listener = make(request_of("%s=%s\n", keys[i], in("x")));
        int clients[20];

        for (size_t j = 0; j < 20; j++)
            ASSERT_OK(clients[j] = client(in("x"), types[i]));
        listener_flush(listener);
        ASSERT_INT(accept(listener_fd(listener), NULL, NULL), -1);
        ASSERT_INT(errno, EAGAIN);
        for (size_t j = 0; j < 20; j++) {
            ASSERT_INT(recv(clients[j], &byte, 1, MSG_DONTWAIT), 0);
            close(clients[j]);
        }
        listener_free(listener);
        (void)request_done();
    }
    directory_remove();
}

TEST(data_is_flushed)
{
    char byte, name[64];

    directory_make();
    struct listener *listener = make(request_of("ListenDatagram=%s\n", in("x")));
    int fd = client(in("x"), SOCK_DGRAM);
    for (size_t i = 0; i < 5; i++)
        ASSERT_INT(send(fd, "12345", i, 0), i); /* an empty one, too */
    listener_flush(listener);
    ASSERT_INT(recv(listener_fd(listener), &byte, 1, 0), -1);
    close(fd);
    listener_free(listener);
    (void)request_done();
    listener = make(request_of("ListenFIFO=%s\n", in("fifo")));
    fd = open(in("fifo"), O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; i < 10; i++)
        ASSERT_INT(write(fd, in(""), 3000), 3000);
    listener_flush(listener);
    ASSERT_INT(read(listener_fd(listener), &byte, 1), -1);
    close(fd);
    listener_free(listener);
    (void)request_done();
    snprintf(name, sizeof(name), "/hark-test-%d", (int)getpid());
    listener = make(request_of("ListenMessageQueue=%s\nRemoveOnStop=yes\n", name));
    mqd_t queue = mq_open(name, O_WRONLY | O_CLOEXEC);
    struct mq_attr attributes;
    for (unsigned i = 0; i < 5; i++)
        ASSERT_CALL(mq_send(queue, "12345", i, i));
    listener_flush(listener);
    ASSERT_CALL(mq_getattr(queue, &attributes));
    ASSERT_INT(attributes.mq_curmsgs, 0);
    close(queue);
    listener_free(listener);
    (void)request_done();
    directory_remove();
}
