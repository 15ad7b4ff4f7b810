/* SPDX-License-Identifier: MIT */
#include "test-listen.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libhark/hark.h"

static void stale(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    ASSERT_CALL(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    close(fd);
}

TEST(a_path_of_each_type)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

    directory_make();
    for (size_t i = 0; i < 3; i++) {
        struct hark_listen_options options = quick(types[i]);
        struct hark_listener *listener = listen_on(in("x"), &options);
        int fd = hark_listener_fd(listener);

        ASSERT_STRING(hark_listener_address(listener), in("x"));
        ASSERT_STRING(hark_listener_directory(listener), directory_path);
        ASSERT_INT(hark_listener_type(listener), types[i]);
        ASSERT(!hark_listener_name(listener));
        ASSERT(!hark_listener_was_passed(listener));
        ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_IN_PLACE);
        ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ASSERT(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
        int connection = client(in("x"), types[i]);
        ASSERT_OK(connection);
        close(connection);
        ASSERT_ERROR(try_listen(in("x"), &options), -EADDRINUSE);
        ASSERT(!hark_listener_free(listener));
        ASSERT(!exists(in("x")) && !exists(in("x.lock")));
        stale(in("x"));
        ASSERT_OK(try_listen(in("x"), &options));
    }
    ASSERT_OK(try_listen(in("x"), NULL));
    directory_remove();
}

TEST(a_live_foreign_server_is_not_touched)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    directory_make();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", in("x"));
    ASSERT_CALL(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    ASSERT_CALL(listen(fd, 1));
    ASSERT_ERROR(try_listen(in("x"), &options), -EADDRINUSE);
    ASSERT_INT(accept(fd, NULL, NULL), -1);
    ASSERT(exists(in("x")) && !exists(in("x.lock")));
    struct hark_holder holder;
    ASSERT_OK(hark_address_holder(in("x"), SOCK_STREAM, &holder));
    ASSERT_INT(holder.pid, getpid());
    ASSERT_INT(accept(fd, NULL, NULL), -1);
    close(fd);
    ASSERT_ERROR(hark_address_holder(in("x"), SOCK_STREAM, &holder), -ESRCH);
    directory_remove();
}

TEST(what_is_no_socket_stays)
{
    struct hark_listen_options options = quick(SOCK_STREAM);

    directory_make();
    write_file(in("file"), "precious");
    ASSERT_ERROR(try_listen(in("file"), &options), -EEXIST);
    ASSERT_STRING(read_file(in("file")), "precious");
    stale(in("stale"));
    ASSERT_CALL(symlink("stale", in("link")));
    ASSERT_ERROR(try_listen(in("link"), &options), -EEXIST);
    ASSERT(exists(in("link")) && exists(in("stale")));
    directory_remove();
}

TEST(errors_of_addresses_and_options)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    char name[300];

    directory_make();
    ASSERT_ERROR(try_listen("word", &options), -EINVAL);
    ASSERT_ERROR(try_listen("0", &options), -ERANGE);
    ASSERT_ERROR(try_listen(in("none/x"), &options), -ENOENT);
    write_file(in("file"), "");
    ASSERT_ERROR(try_listen(in("file/x"), &options), -ENOTDIR);
    memset(name, 'n', sizeof(name));
    name[108] = '\0';
    ASSERT_ERROR(try_listen(in(name), &options), -ENAMETOOLONG);
    options.mode = 01777;
    ASSERT_ERROR(try_listen(in("x"), &options), -EINVAL);
    options = quick(SOCK_RAW);
    ASSERT_ERROR(try_listen(in("x"), &options), -EINVAL);
    options = quick(SOCK_STREAM);
    options.flags = 1 << 20;
    ASSERT_ERROR(try_listen(in("x"), &options), -EINVAL);
    options = quick(SOCK_STREAM);
    options.size = 8;
    ASSERT_ERROR(try_listen(in("x"), &options), -EINVAL);
    struct {
        struct hark_listen_options options;
        long later;
    } longer = {quick(SOCK_STREAM), 0};
    longer.options.size = sizeof(longer);
    ASSERT_OK(try_listen(in("x"), &longer.options));
    longer.later = 1;
    ASSERT_ERROR(try_listen(in("x"), &longer.options), -E2BIG);
    ASSERT(!exists(in("x")));
    directory_remove();
}

TEST(mode_is_right_whatever_the_umask)
{
    static const mode_t masks[] = {0, 022, 077, 0777};
    struct stat status;

    directory_make();
    for (size_t i = 0; i < 4; i++) {
        struct hark_listen_options options = quick(SOCK_STREAM);
        mode_t before = umask(masks[i]);
        options.mode = 0666;
        struct hark_listener *listener = listen_on(in("x"), &options);
        ASSERT_INT(umask(before), masks[i]);
        ASSERT_CALL(stat(in("x"), &status));
        ASSERT_INT(status.st_mode & 07777, 0666);
        hark_listener_free(listener);
    }
    directory_remove();
}

TEST(owner_is_right_and_the_process_unchanged)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct stat status;
    uid_t ids[3];

    if (geteuid() != 0)
        SKIP("needs root");
    directory_make();
    ASSERT_CALL(prctl(PR_SET_DUMPABLE, 1));
    options.owner = 65534;
    options.group = 65533;
    options.mode = 0660;
    struct hark_listener *listener = listen_on(in("x"), &options);
    ASSERT_CALL(stat(in("x"), &status));
    ASSERT_INT(status.st_uid, 65534);
    ASSERT_INT(status.st_gid, 65533);
    ASSERT_INT(status.st_mode & 07777, 0660);
    ASSERT_CALL(getresuid(&ids[0], &ids[1], &ids[2]));
    ASSERT_INT(ids[0] + ids[1] + ids[2], 0);
    ASSERT_INT(prctl(PR_GET_DUMPABLE), 1);
    /* The peer is who listens, not who the node belongs to. */
    int connection = client(in("x"), SOCK_STREAM);
    struct ucred peer;
    socklen_t length = sizeof(peer);
    ASSERT_CALL(getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length));
    ASSERT_INT(peer.uid, 0);
    ASSERT_INT(peer.pid, getpid());
    close(connection);
    hark_listener_free(listener);
    /* A directory that would give its own group. */
    ASSERT_CALL(chown(directory_path, 0, 100));
    ASSERT_CALL(chmod(directory_path, 02755));
    ASSERT_ERROR(try_listen(in("x"), &options), -EOPNOTSUPP);
    ASSERT(!exists(in("x")) && !exists(in("x.lock")));
    ASSERT_CALL(chmod(directory_path, 0777));
    IN_CHILD({
        ASSERT_CALL(setresuid(65534, 65534, 65534));
        options.owner = 1;
        ASSERT_ERROR(try_listen(in("x"), &options), -EPERM);
    });
    directory_remove();
}

TEST(a_path_longer_than_sun_path)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    char name[4200], here[4096], after[4096];

    directory_make();
    memset(name, 'd', 200);
    name[200] = '\0';
    ASSERT_CALL(mkdir(in(name), 0755));
    memcpy(name + 200, "/socket", 8);
    ASSERT(getcwd(here, sizeof(here)));
    struct hark_listener *listener = listen_on(in(name), &options);
    ASSERT(getcwd(after, sizeof(after)));
    ASSERT_STRING(after, here);
    ASSERT_STRING(hark_listener_address(listener), in(name));
    ASSERT(exists(in(name)));
    ASSERT_ERROR(try_listen(in(name), &options), -EADDRINUSE);
    ASSERT_CALL(unlink(in(name)));
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_REMOVED);
    int old;
    ASSERT_OK(hark_listener_rebind(listener, &old));
    close(old);
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_IN_PLACE);
    hark_listener_free(listener);
    ASSERT(!exists(in(name)));
    directory_remove();
}

TEST(relative_paths_survive_a_chdir)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    char here[4096];

    directory_make();
    ASSERT(getcwd(here, sizeof(here)));
    ASSERT_CALL(chdir(directory_path));
    struct hark_listener *listener = listen_on("./x", &options);
    ASSERT_STRING(hark_listener_address(listener), in("x"));
    ASSERT_CALL(chdir("/"));
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_IN_PLACE);
    hark_listener_free(listener);
    ASSERT(!exists(in("x")));
    ASSERT_CALL(chdir(here));
    directory_remove();
}

TEST(missing_directories_are_made)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    struct stat status;
    mode_t before = umask(077);

    directory_make();
    options.flags = HARK_LISTEN_MKDIR | HARK_LISTEN_NONBLOCK;
    struct hark_listener *listener = listen_on(in("a/b//c/x"), &options);
    ASSERT_CALL(stat(in("a/b"), &status));
    ASSERT_INT(status.st_mode & 07777, 0755);
    ASSERT(fcntl(hark_listener_fd(listener), F_GETFL) & O_NONBLOCK);
    hark_listener_free(listener);
    ASSERT(!exists(in("a/b/c/x")));
    write_file(in("file"), "");
    ASSERT_ERROR(try_listen(in("file/x/y"), &options), -ENOTDIR);
    umask(before);
    directory_remove();
}

TEST(removed_and_bound_anew)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    int old = -1;

    directory_make();
    struct hark_listener *listener = listen_on(in("x"), &options);
    ASSERT_ERROR(hark_listener_rebind(listener, &old), -EALREADY);
    int waiting = client(in("x"), SOCK_STREAM);
    ASSERT_OK(waiting);
    ASSERT_CALL(unlink(in("x")));
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_REMOVED);
    ASSERT_OK(hark_listener_rebind(listener, &old));
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_IN_PLACE);
    int connection = accept4(old, NULL, NULL, SOCK_CLOEXEC); /* the old backlog */
    ASSERT_CALL(connection);
    close(connection);
    close(waiting);
    close(old);
    waiting = client(in("x"), SOCK_STREAM);
    connection = accept4(hark_listener_fd(listener), NULL, NULL, SOCK_CLOEXEC);
    ASSERT_CALL(connection);
    close(connection);
    close(waiting);
    /* With its lock, or its whole directory. */
    ASSERT_CALL(unlink(in("x")));
    ASSERT_CALL(unlink(in("x.lock")));
    ASSERT_OK(hark_listener_rebind(listener, &old));
    close(old);
    ASSERT(exists(in("x.lock")));
    ASSERT_ERROR(try_listen(in("x"), &options), -EADDRINUSE);
    hark_listener_free(listener);
    ASSERT(!exists(in("x")) && !exists(in("x.lock")));
    directory_remove();
}

TEST(a_directory_that_was_renamed)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    int old = -1;

    directory_make();
    ASSERT_CALL(mkdir(in("d"), 0755));
    struct hark_listener *listener = listen_on(in("d/x"), &options);
    ASSERT_CALL(rename(in("d"), in("e")));
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_REMOVED);
    ASSERT_ERROR(hark_listener_rebind(listener, &old), -ENOENT);
    ASSERT_INT(old, -1);
    ASSERT_CALL(mkdir(in("d"), 0755));
    ASSERT_OK(hark_listener_rebind(listener, &old));
    close(old);
    ASSERT(exists(in("d/x")) && exists(in("d/x.lock")) && !exists(in("e/x.lock")));
    hark_listener_free(listener);
    ASSERT(!exists(in("d/x")));
    directory_remove();
}

TEST(replaced_by_a_living_server)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    int old = -1;

    directory_make();
    struct hark_listener *listener = listen_on(in("x"), &options);
    int fd = hark_listener_fd(listener);
    ASSERT_CALL(unlink(in("x")));
    ASSERT_CALL(unlink(in("x.lock")));
    struct hark_listener *other = listen_on(in("x"), &options);
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_REPLACED);
    ASSERT_ERROR(hark_listener_rebind(listener, &old), -EADDRINUSE);
    ASSERT_INT(hark_listener_fd(listener), fd);
    ASSERT_INT(old, -1);
    hark_listener_free(listener); /* removes nothing of the other's */
    ASSERT_INT(hark_listener_check(other), HARK_LISTENER_IN_PLACE);
    ASSERT(exists(in("x.lock")));
    hark_listener_free(other);
    ASSERT(!exists(in("x")));
    directory_remove();
}

TEST(a_forked_child_only_closes)
{
    struct hark_listen_options options = quick(SOCK_STREAM);

    directory_make();
    struct hark_listener *listener = listen_on(in("x"), &options);
    IN_CHILD({
        int old;
        ASSERT_ERROR(hark_listener_rebind(listener, &old), -EPERM);
        hark_listener_free(listener);
    });
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_IN_PLACE);
    ASSERT(exists(in("x.lock")));
    hark_listener_free(listener);
    directory_remove();
}

TEST(abstract_names_are_exclusive)
{
    struct hark_listen_options options = quick(SOCK_SEQPACKET);
    struct hark_holder holder;
    char name[64];
    int old;

    snprintf(name, sizeof(name), "@hark-test-%d", (int)getpid());
    struct hark_listener *listener = listen_on(name, &options);
    ASSERT_STRING(hark_listener_address(listener), name);
    ASSERT(!hark_listener_directory(listener));
    ASSERT_INT(hark_listener_check(listener), HARK_LISTENER_IN_PLACE);
    ASSERT_ERROR(hark_listener_rebind(listener, &old), -EOPNOTSUPP);
    ASSERT_ERROR(try_listen(name, &options), -EADDRINUSE);
    ASSERT_OK(hark_address_holder(name, SOCK_SEQPACKET, &holder));
    ASSERT_INT(holder.pid, getpid());
    hark_listener_free(listener);
    ASSERT_ERROR(hark_address_holder(name, SOCK_SEQPACKET, &holder), -ESRCH);
}

/* A port that was free a moment ago. */
static unsigned free_port(int type)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    socklen_t length = sizeof(in6);
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);

    ASSERT_CALL(bind(fd, (struct sockaddr *)&in6, sizeof(in6)));
    ASSERT_CALL(getsockname(fd, (struct sockaddr *)&in6, &length));
    close(fd);
    return ntohs(in6.sin6_port);
}

TEST(inet_addresses_are_exclusive)
{
    static const char *const hosts[] = {"", "127.0.0.1:", "[::1]:", "0.0.0.0:"};
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    struct hark_holder holder;

    for (size_t i = 0; i < 8; i++) {
        struct hark_listen_options options = quick(types[i % 2]);
        char address[64];

        snprintf(address, sizeof(address), "%s%u", hosts[i / 2], free_port(options.type));
        struct hark_listener *listener = listen_on(address, &options);
        ASSERT_INT(hark_listener_type(listener), options.type);
        ASSERT_ERROR(try_listen(address, &options), -EADDRINUSE);
        ASSERT_OK(hark_address_holder(address, options.type, &holder));
        ASSERT_INT(holder.pid, getpid());
        hark_listener_free(listener);
        ASSERT_ERROR(hark_address_holder(address, options.type, &holder), -ESRCH);
    }
}

static int state_of(const char *address)
{
    return hark_address_state(address, SOCK_STREAM);
}

TEST(an_address_is_in_use_or_not)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    char addresses[4][64];

    directory_make();
    snprintf(addresses[0], sizeof(addresses[0]), "%s", in("x"));
    snprintf(addresses[1], sizeof(addresses[1]), "@hark-test-%d", (int)getpid());
    snprintf(addresses[2], sizeof(addresses[2]), "127.0.0.1:%u", free_port(SOCK_STREAM));
    snprintf(addresses[3], sizeof(addresses[3]), "%u", free_port(SOCK_STREAM));
    for (int i = 0; i < 4; i++) {
        ASSERT_INT(state_of(addresses[i]), HARK_ADDRESS_FREE);
        struct hark_listener *listener = listen_on(addresses[i], &options);
        ASSERT_INT(state_of(addresses[i]), HARK_ADDRESS_IN_USE);
        hark_listener_free(listener);
        ASSERT_INT(state_of(addresses[i]), HARK_ADDRESS_FREE);
    }
    options.flags = HARK_LISTEN_KEEP_NAME;
    ASSERT_OK(try_listen(in("x"), &options));
    ASSERT_INT(state_of(in("x")), HARK_ADDRESS_DEAD);
    ASSERT_CALL(symlink("x", in("link")));
    ASSERT_INT(state_of(in("link")), HARK_ADDRESS_NO_SOCKET);
    ASSERT_INT(state_of(directory_path), HARK_ADDRESS_NO_SOCKET);
    ASSERT_INT(state_of(in("none/x")), HARK_ADDRESS_FREE);
    ASSERT_INT(state_of("vsock::5"), HARK_ADDRESS_UNKNOWN);
    ASSERT_ERROR(state_of(NULL), -EINVAL);
    ASSERT_ERROR(state_of("word"), -EINVAL);
    ASSERT_ERROR(state_of("70000"), -ERANGE);
    ASSERT_ERROR(hark_address_state(addresses[2], SOCK_SEQPACKET), -EPROTOTYPE);
    if (geteuid() == 0) {
        ASSERT_CALL(chmod(directory_path, 0755));
        IN_CHILD({
            ASSERT_CALL(setresuid(65534, 65534, 65534));
            ASSERT_INT(state_of(in("x")), HARK_ADDRESS_UNKNOWN); /* mode 0600 */
        });
        ASSERT_CALL(chmod(in("x"), 0666));
        IN_CHILD({
            ASSERT_CALL(setresuid(65534, 65534, 65534));
            ASSERT_INT(state_of(in("x")), HARK_ADDRESS_DEAD); /* another's, too */
        });
        ASSERT_CALL(chmod(directory_path, 0700));
        IN_CHILD({
            ASSERT_CALL(setresuid(65534, 65534, 65534));
            ASSERT_ERROR(state_of(in("x")), -EACCES);
        });
    }
    directory_remove();
}

TEST(a_port_serves_both_versions)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    unsigned port = free_port(SOCK_STREAM);
    char address[64], expected[64];
    int off;
    socklen_t length = sizeof(off);

    snprintf(address, sizeof(address), "%u", port);
    snprintf(expected, sizeof(expected), "[::]:%u", port);
    struct hark_listener *listener = listen_on(address, &options);
    ASSERT_STRING(hark_listener_address(listener), expected);
    ASSERT_CALL(getsockopt(hark_listener_fd(listener), IPPROTO_IPV6, IPV6_V6ONLY, &off, &length));
    ASSERT_INT(off, 0);
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_CALL(connect(fd, (struct sockaddr *)&in, sizeof(in)));
    close(fd);
    hark_listener_free(listener);
}

TEST(sockets_made_by_others)
{
    struct hark_listener *listener = NULL;
    char name[64];

    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    ASSERT_ERROR(hark_listener_from_fd(fd, SOCK_STREAM, NULL, &listener), -ENOTCONN);
    ASSERT_CALL(listen(fd, 1));
    ASSERT_ERROR(hark_listener_from_fd(fd, SOCK_DGRAM, NULL, &listener), -EPROTOTYPE);
    ASSERT(!listener);
    ASSERT_OK(hark_listener_from_fd(fd, 0, "web", &listener));
    ASSERT_INT(hark_listener_fd(listener), fd);
    ASSERT_INT(hark_listener_type(listener), SOCK_STREAM);
    ASSERT_STRING(hark_listener_name(listener), "web");
    ASSERT(hark_listener_was_passed(listener));
    ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    ASSERT_INT(strncmp(hark_listener_address(listener), "0.0.0.0:", 8), 0);
    snprintf(name, sizeof(name), "%s", hark_listener_name(listener));
    hark_listener_free(listener);
    ASSERT_INT(fcntl(fd, F_GETFD), -1);

    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ASSERT_OK(hark_listener_from_fd(fd, SOCK_DGRAM, NULL, &listener));
    ASSERT_STRING(hark_listener_address(listener), "unnamed");
    hark_listener_free(listener);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ASSERT_ERROR(hark_listener_from_fd(fd, 0, NULL, &listener), -ENOTSOCK);
    close(fd);
    ASSERT_ERROR(hark_listener_from_fd(1000, 0, NULL, &listener), -EBADF);
}

TEST(nothing_of_the_process_changes)
{
    struct hark_listen_options options = quick(SOCK_STREAM);
    sigset_t before = {0}, after = {0}; /* libc's is larger than the kernel's */
    char mask_before[4096], mask_after[4096];

    directory_make();
    ASSERT_CALL(sigprocmask(SIG_SETMASK, NULL, &before));
    snprintf(mask_before, sizeof(mask_before), "%s", read_file("/proc/self/status"));
    ASSERT_OK(try_listen(in("x"), &options));
    snprintf(mask_after, sizeof(mask_after), "%s", read_file("/proc/self/status"));
    ASSERT_CALL(sigprocmask(SIG_SETMASK, NULL, &after));
    ASSERT_INT(memcmp(&before, &after, sizeof(before)), 0);
    static const char *const lines[] = {
        "\nUmask:", "\nUid:", "\nCapEff:", "\nSigBlk:", "\nSigCgt:"};
    for (size_t i = 0; i < 5; i++) {
        char *a = strstr(mask_before, lines[i]), *b = strstr(mask_after, lines[i]);
        ASSERT(a && b);
        ASSERT_INT(strncmp(a, b, strcspn(a + 1, "\n")), 0);
    }
    directory_remove();
}
