/* SPDX-License-Identifier: MIT */
/* Every option of sockets, read back; on listeners and, as a list, for their connections. */
#include "test-listener.h"

#include <linux/netlink.h>
#include <netinet/tcp.h>

#define SO_PASSPIDFD_NUMBER  76
#define SO_PASSRIGHTS_NUMBER 83

#define TCP_LINES                                                                                  \
    "KeepAlive=yes\nKeepAliveTimeSec=77\nKeepAliveIntervalSec=11\nKeepAliveProbes=5\n"             \
    "NoDelay=yes\nDeferAcceptSec=5\nTCPCongestion=reno\n"
#define INTERNET_LINES "IPTTL=33\nIPTOS=low-delay\nBroadcast=yes\nPassPacketInfo=yes\n"
#define COMMON_LINES   "Priority=3\nReceiveBuffer=8M\nSendBuffer=9M\nTimestamping=us\nMark=42\n"

static void assert_common(int fd)
{
    bool internet = number_of(fd, SOL_SOCKET, SO_DOMAIN) != AF_UNIX;

    /* IPTOS= is stronger, as it is with systemd. */
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_PRIORITY), internet ? 6 : 3);
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_TIMESTAMP), 1);
    if (geteuid() != 0)
        return;
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_RCVBUF), 16 << 20); /* above rmem_max */
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_SNDBUF), 18 << 20);
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_MARK), 42);
}

/* Linux 6.16 has both. */
static bool kernel_is_old(void)
{
    int value, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof(value);
    bool old = getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS_NUMBER, &value, &size) < 0 ||
               getsockopt(fd, SOL_SOCKET, SO_PASSPIDFD_NUMBER, &value, &size) < 0;

    close(fd);
    return old;
}

static void assert_tcp(int fd)
{
    char congestion[16] = "";
    socklen_t size = sizeof(congestion);

    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    ASSERT_INT(number_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 77);
    ASSERT_INT(number_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), 11);
    ASSERT_INT(number_of(fd, IPPROTO_TCP, TCP_KEEPCNT), 5);
    ASSERT_INT(number_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    ASSERT(number_of(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT) >= 5); /* in retransmissions */
    ASSERT_CALL(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, &size));
    ASSERT_STRING(congestion, "reno");
}

static void assert_internet(int fd, int family)
{
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_BROADCAST), 1);
    ASSERT_INT(number_of(fd, IPPROTO_IP, IP_TOS), 0x10);
    if (family == AF_INET) {
        ASSERT_INT(number_of(fd, IPPROTO_IP, IP_TTL), 33);
        ASSERT_INT(number_of(fd, IPPROTO_IP, IP_PKTINFO), 1);
    } else {
        ASSERT_INT(number_of(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 33);
        ASSERT_INT(number_of(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO), 1);
    }
}

TEST(options_of_tcp)
{
    static const char *const hosts[] = {"127.0.0.1:", "[::1]:"};
    static const int families[] = {AF_INET, AF_INET6};

    for (size_t i = 0; i < 2; i++) {
        struct listener *listener =
            make(request_of(TCP_LINES INTERNET_LINES COMMON_LINES "ListenStream=%s%u\n", hosts[i],
                            free_port(SOCK_STREAM)));
        int fd = listener_fd(listener);

        ASSERT_INT(listener_family(listener), families[i]);
        ASSERT_INT(listener_socket_type(listener), SOCK_STREAM);
        ASSERT_INT(number_of(fd, SOL_SOCKET, SO_REUSEADDR), 1);
        ASSERT_INT(number_of(fd, SOL_SOCKET, SO_REUSEPORT), 0);
        assert_tcp(fd);
        assert_internet(fd, families[i]);
        assert_common(fd);
        listener_free(listener);
        if (geteuid() == 0)
            ASSERT_STRING(request_done(), "");
        else
            (void)request_done();
    }
}

TEST(options_of_udp)
{
    /* What is for TCP alone is left out without a word. */
    struct listener *listener =
        make(request_of(TCP_LINES INTERNET_LINES "ListenDatagram=127.0.0.1:%u\nReusePort=yes\n",
                        free_port(SOCK_DGRAM)));
    int fd = listener_fd(listener);

    assert_internet(fd, AF_INET);
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_REUSEPORT), 1);
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_REUSEADDR), 0);
    listener_free(listener);
    ASSERT_STRING(request_done(), "");
}

TEST(options_of_unix_sockets)
{
    static const char *const keys[] = {"ListenStream", "ListenDatagram", "ListenSequentialPacket"};

    if (kernel_is_old())
        SKIP("needs Linux 6.16");
    directory_make();
    for (size_t i = 0; i < 3; i++) {
        struct listener *listener = make(request_of(
            TCP_LINES INTERNET_LINES "PassCredentials=yes\nPassSecurity=yes\nPassPIDFD=yes\n"
                                     "AcceptFileDescriptors=no\n" COMMON_LINES "%s=%s\n",
            keys[i], in("x")));
        int fd = listener_fd(listener);

        ASSERT_INT(number_of(fd, SOL_SOCKET, SO_PASSCRED), 1);
        ASSERT_INT(number_of(fd, SOL_SOCKET, SO_PASSSEC), 1);
        ASSERT_INT(number_of(fd, SOL_SOCKET, SO_PASSPIDFD_NUMBER), 1);
        ASSERT_INT(number_of(fd, SOL_SOCKET, SO_PASSRIGHTS_NUMBER), 0);
        assert_common(fd);
        /* Again after the name was taken away. */
        int old;
        ASSERT_CALL(unlink(in("x")));
        ASSERT_INT(listener_check(listener), HARK_LISTENER_REMOVED);
        ASSERT_OK(listener_rebind(listener, &old));
        ASSERT(listener_fd(listener) != old);
        ASSERT_INT(listener_check(listener), HARK_LISTENER_IN_PLACE);
        ASSERT_INT(number_of(listener_fd(listener), SOL_SOCKET, SO_PASSCRED), 1);
        ASSERT_INT(number_of(listener_fd(listener), SOL_SOCKET, SO_PASSRIGHTS_NUMBER), 0);
        ASSERT(fcntl(listener_fd(listener), F_GETFL) & O_NONBLOCK);
        close(old);
        listener_free(listener);
        ASSERT_CALL(unlink(in("x"))); /* no RemoveOnStop= */
        if (geteuid() == 0)
            ASSERT_STRING(request_done(), "");
        else
            (void)request_done();
    }
    directory_remove();
}

TEST(options_of_netlink_sockets)
{
    struct listener *listener =
        make(request_of("ListenNetlink=route 1\nPassCredentials=yes\nPassPacketInfo=yes\n"
                        "Timestamping=ns\nNoDelay=yes\n"));
    int fd = listener_fd(listener);

    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_PASSCRED), 1);
    ASSERT_INT(number_of(fd, SOL_NETLINK, NETLINK_PKTINFO), 1);
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_TIMESTAMPNS), 1);
    listener_free(listener);
    ASSERT_STRING(request_done(), "");
}

TEST(options_before_bind)
{
    if (geteuid() != 0)
        SKIP("needs root");
    /* An address that nobody has. */
    struct listener *listener = make(request_of("ListenStream=192.0.2.1:%u\nFreeBind=yes\n"
                                                "Transparent=yes\nReusePort=yes\n"
                                                "BindToDevice=lo\n",
                                                free_port(SOCK_STREAM)));
    char device[16] = "";
    socklen_t size = sizeof(device);
    int fd = listener_fd(listener);

    ASSERT_INT(number_of(fd, IPPROTO_IP, IP_FREEBIND), 1);
    ASSERT_INT(number_of(fd, IPPROTO_IP, IP_TRANSPARENT), 1);
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_REUSEPORT), 1);
    ASSERT_CALL(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &size));
    ASSERT_STRING(device, "lo");
    listener_free(listener);
    ASSERT_STRING(request_done(), "");
    listener = make(request_of("ListenStream=[2001:db8::1]:%u\nFreeBind=yes\nTransparent=yes\n",
                               free_port(SOCK_STREAM)));
    ASSERT_INT(number_of(listener_fd(listener), IPPROTO_IPV6, 78), 1); /* IPV6_FREEBIND */
    ASSERT_INT(number_of(listener_fd(listener), IPPROTO_IPV6, 75), 1); /* IPV6_TRANSPARENT */
    listener_free(listener);
    ASSERT_STRING(request_done(), "");
}

TEST(ipv6_only)
{
    static const struct {
        const char *line;
        int expected; /* -1: as the system */
    } cases[] = {{"", -1}, {"BindIPv6Only=both\n", 0}, {"BindIPv6Only=ipv6-only\n", 1}};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int system_default = number_of(fd, IPPROTO_IPV6, IPV6_V6ONLY);

    close(fd);
    for (size_t i = 0; i < 6; i++) {
        unsigned port = free_port(SOCK_STREAM);
        struct listener *listener = make(
            request_of("ListenStream=%s%u\n%s", i < 3 ? "" : "[::]:", port, cases[i % 3].line));
        int expected = cases[i % 3].expected;

        ASSERT_INT(number_of(listener_fd(listener), IPPROTO_IPV6, IPV6_V6ONLY),
                   expected < 0 ? system_default : expected);
        ASSERT_STRING(listener_address(listener), format_text("[::]:%u", port));
        listener_free(listener);
        ASSERT_STRING(request_done(), "");
    }
}

TEST(protocols)
{
    struct listener *listener = NULL;
    int r = listener_new(request_of("ListenDatagram=127.0.0.1:18136\nSocketProtocol=udplite\n"),
                         &listener);

    if (r == 0) {
        ASSERT_INT(number_of(listener_fd(listener), SOL_SOCKET, SO_PROTOCOL), IPPROTO_UDPLITE);
        ASSERT(listener_fits(&request_now, listener_fd(listener)));
        listener = listener_free(listener);
    } else {
        ASSERT_ERROR(r, -EPROTONOSUPPORT);
    }
    (void)request_done();
    r = listener_new(request_of("ListenStream=127.0.0.1:18262\nSocketProtocol=mptcp\n"), &listener);
    if (r == 0) {
        ASSERT_INT(number_of(listener_fd(listener), SOL_SOCKET, SO_PROTOCOL), 262);
        ASSERT(listener_fits(&request_now, listener_fd(listener)));
        listener_free(listener);
    }
    (void)request_done();
    /* Of another type it means nothing. */
    ASSERT_OK(try_make(request_of("ListenStream=127.0.0.1:18136\nSocketProtocol=udplite\n")));
    ASSERT_STRING(request_done(), "");
}

TEST(what_has_no_effect_is_a_warning)
{
    ASSERT_OK(try_make(request_of("ListenStream=127.0.0.1:%u\nTCPCongestion=nonesuch\n"
                                  "KeepAliveTimeSec=100000\n",
                                  free_port(SOCK_STREAM))));
    ASSERT_STRING(request_done(),
                  "u:4: warning: \"KeepAliveTimeSec=100000\" has no effect: Invalid argument\n"
                  "u:3: warning: \"TCPCongestion=nonesuch\" has no effect: No such file or "
                  "directory\n");
    /* Once, however often it is tried. */
    unsigned port = free_port(SOCK_STREAM);
    struct hark_listener *server;
    ASSERT_OK(hark_listen(format_text("127.0.0.1:%u", port), NULL, &server));
    struct listener_request *busy =
        request_of("ListenStream=127.0.0.1:%u\nTCPCongestion=nonesuch\n", port);
    busy->timeout_ms = 50;
    ASSERT_ERROR(try_make(busy), -EADDRINUSE);
    hark_listener_free(server);
    ASSERT_STRING(request_done(), "u:3: warning: \"TCPCongestion=nonesuch\" has no effect: No such "
                                  "file or directory\n");
    /* Nobody needs to be told. */
    struct listener_request *request =
        request_of("ListenStream=127.0.0.1:%u\nTCPCongestion=nonesuch\n", free_port(SOCK_STREAM));
    request->problems = NULL;
    ASSERT_OK(try_make(request));
    ASSERT_STRING(request_done(), "");
    ASSERT_REFUSED(-ENODEV, "cannot listen on \"18137\": there is no interface \"nonesuch\"",
                   "ListenStream=18137\nBindToDevice=nonesuch\n");
    if (access("/proc/net/sctp", F_OK) < 0)
        ASSERT_REFUSED(
            -EPROTONOSUPPORT,
            "cannot listen on \"18137\": there is no \"SocketProtocol=sctp\" for it here",
            "ListenStream=18137\nSocketProtocol=sctp\n");
}

/* ---- For connections ------------------------------------------------------------------------- */

static void assert_options(int family, size_t expected)
{
    struct spawn_socket_option *options = (void *)1;
    size_t n = 99;

    ASSERT_OK(listener_connection_options(unit_now, family, &options, &n));
    ASSERT_INT(n, expected);
    free(options);
}

TEST(a_plain_unit_has_no_options)
{
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_VSOCK, AF_UNSPEC};

    (void)request_of("ListenStream=/run/x\nAccept=yes\nFreeBind=yes\nBindIPv6Only=both\n"
                     "Backlog=5\nReusePort=yes\n");
    for (size_t i = 0; i < 5; i++)
        assert_options(families[i], 0);
    ASSERT_STRING(request_done(), "");
}

static void apply(int fd, int family)
{
    struct spawn_socket_option *options;
    size_t n;

    ASSERT_OK(listener_connection_options(unit_now, family, &options, &n));
    for (size_t i = 0; i < n; i++) {
        const struct spawn_socket_option *option = &options[i];
        if (setsockopt(fd, option->level, option->name, option->value, option->size) < 0 &&
            option->fallback_name != 0)
            (void)setsockopt(fd, option->level, option->fallback_name, option->value, option->size);
    }
    free(options);
}

TEST(options_of_connections)
{
    static const int families[] = {AF_INET, AF_INET6};

    if (kernel_is_old())
        SKIP("needs Linux 6.16");
    (void)request_of(TCP_LINES INTERNET_LINES COMMON_LINES
                     "PassCredentials=yes\nPassSecurity=yes\nPassPIDFD=yes\n"
                     "AcceptFileDescriptors=no\nListenStream=/run/x\n");
    assert_options(AF_VSOCK, 7);
    for (size_t i = 0; i < 2; i++) {
        int fd = socket(families[i], SOCK_STREAM | SOCK_CLOEXEC, 0);
        apply(fd, families[i]);
        assert_tcp(fd);
        assert_internet(fd, families[i]);
        assert_common(fd);
        close(fd);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    apply(fd, AF_UNIX);
    assert_common(fd);
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_PASSCRED), 1);
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_PASSSEC), 1);
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_PASSPIDFD_NUMBER), 1);
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_PASSRIGHTS_NUMBER), 0);
    ASSERT_INT(number_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    close(fd);
    ASSERT_STRING(request_done(), "");
    (void)request_of("ListenStream=/run/x\nNoDelay=yes\n");
    assert_options(AF_UNIX, 0);
    assert_options(AF_INET, 1);
    ASSERT_STRING(request_done(), "");
}

TEST(nobody_can_send_descriptors)
{
    directory_make();
    if (kernel_is_old()) {
        ASSERT_REFUSED(-ENOPROTOOPT,
                       format_text("cannot listen on \"%s\": \"AcceptFileDescriptors=no\" needs "
                                   "Linux 6.16",
                                   in("x")),
                       "ListenStream=%s\nAcceptFileDescriptors=no\n", in("x"));
        ASSERT(!exists(in("x")));
        directory_remove();
        return;
    }
    struct listener *listener = make(
        request_of("ListenStream=%s\nAcceptFileDescriptors=no\nPassCredentials=yes\n", in("x")));
    int sender = client(in("x"), SOCK_STREAM);
    int receiver = accept4(listener_fd(listener), NULL, NULL, SOCK_CLOEXEC);
    int fds[] = {0, 1};
    char byte = 'x', control[CMSG_SPACE(sizeof(fds))] = "";
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    ASSERT_OK(sender);
    ASSERT_CALL(receiver);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(header), fds, sizeof(fds));
    ASSERT_INT(sendmsg(sender, &message, MSG_NOSIGNAL), -1);
    ASSERT_INT(errno, EPERM);
    close(sender);
    close(receiver);
    listener_free(listener);
    ASSERT_STRING(request_done(), "");
    directory_remove();
}
