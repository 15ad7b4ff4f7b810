/* SPDX-License-Identifier: MIT */
#include "directory.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "basic/cleanup.h"
#include "libhark/probe.h"

static int bound(const char *path, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    ASSERT_CALL(fd);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    ASSERT_CALL(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    return fd;
}

static int connected(const char *path, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    ASSERT_CALL(fd);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -errno;
    }
    return fd;
}

static int state_of(const char *name)
{
    struct probe probe = PROBE_INIT;
    int directory_fd = open(directory_path, O_PATH | O_CLOEXEC);

    ASSERT_CALL(directory_fd);
    int r = probe_path(directory_fd, name, &probe);
    close(directory_fd);
    ASSERT_OK(r);
    probe_done(&probe);
    return (int)probe.state;
}

TEST(what_is_no_socket)
{
    directory_make();
    ASSERT_INT(state_of("x"), PROBE_NOTHING);
    write_file(in("file"), "");
    ASSERT_INT(state_of("file"), PROBE_NOT_SOCKET);
    ASSERT_CALL(mkdir(in("dir"), 0700));
    ASSERT_INT(state_of("dir"), PROBE_NOT_SOCKET);
    ASSERT_CALL(mkfifo(in("fifo"), 0600));
    ASSERT_INT(state_of("fifo"), PROBE_NOT_SOCKET);
    ASSERT_CALL(symlink("none", in("dangling")));
    ASSERT_INT(state_of("dangling"), PROBE_NOT_SOCKET);
    int fd = bound(in("live"), SOCK_STREAM);
    ASSERT_CALL(symlink("live", in("link")));
    ASSERT_INT(state_of("link"), PROBE_NOT_SOCKET);
    close(fd);
    ASSERT_INT(state_of("link"), PROBE_NOT_SOCKET);
    directory_remove();
}

TEST(a_server_of_any_type_lives_until_it_closes)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

    directory_make();
    for (size_t i = 0; i < 3; i++) {
        int fd = bound(in("x"), types[i]);
        ASSERT_INT(state_of("x"), PROBE_ALIVE); /* bound, and does not listen yet */
        if (types[i] != SOCK_DGRAM) {
            ASSERT_CALL(listen(fd, 1));
            ASSERT_INT(state_of("x"), PROBE_ALIVE);
            ASSERT_INT(accept4(fd, NULL, NULL, SOCK_CLOEXEC), -1); /* it has not seen us */
            ASSERT_INT(errno, EAGAIN);
        }
        char byte;
        ASSERT_INT(recv(fd, &byte, 1, 0), -1);
        close(fd);
        ASSERT_INT(state_of("x"), PROBE_DEAD);
        ASSERT_CALL(unlink(in("x")));
    }
    directory_remove();
}

TEST(a_full_backlog_is_life)
{
    int clients[8], n = 0;

    directory_make();
    int fd = bound(in("x"), SOCK_STREAM);
    ASSERT_CALL(listen(fd, 0));
    while ((clients[n] = connected(in("x"), SOCK_STREAM)) >= 0)
        ASSERT(++n < 8);
    ASSERT_INT(clients[n], -EAGAIN);
    ASSERT_INT(state_of("x"), PROBE_ALIVE);
    while (n > 0)
        close(clients[--n]);
    close(fd);
    directory_remove();
}

TEST(a_datagram_server_with_a_peer_of_its_own)
{
    directory_make();
    int a = bound(in("a"), SOCK_DGRAM), b = bound(in("b"), SOCK_DGRAM);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", in("b"));
    ASSERT_CALL(connect(a, (struct sockaddr *)&address, sizeof(address)));
    ASSERT_INT(state_of("a"), PROBE_ALIVE); /* takes messages of b only */
    ASSERT_INT(state_of("b"), PROBE_ALIVE);
    close(a);
    close(b);
    ASSERT_INT(state_of("a"), PROBE_DEAD);
    directory_remove();
}

TEST(an_accepted_connection_is_no_server)
{
    static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};

    directory_make();
    for (size_t i = 0; i < 2; i++) {
        int fd = bound(in("x"), types[i]);
        ASSERT_CALL(listen(fd, 1));
        int client = connected(in("x"), types[i]);
        int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        ASSERT_CALL(connection);
        close(fd);
        ASSERT_INT(state_of("x"), PROBE_DEAD);
        close(client);
        close(connection);
        ASSERT_CALL(unlink(in("x")));
    }
    directory_remove();
}

TEST(only_what_was_probed_is_unlinked)
{
    struct probe probe = PROBE_INIT;

    directory_make();
    int directory_fd = open(directory_path, O_PATH | O_CLOEXEC);
    close(bound(in("x"), SOCK_STREAM));
    ASSERT_OK(probe_path(directory_fd, "x", &probe));
    ASSERT_CALL(unlink(in("x")));
    ASSERT_ERROR(probe_unlink(directory_fd, "x", &probe), -ESTALE);
    close(bound(in("x"), SOCK_STREAM)); /* cannot have the same inode: it is pinned */
    ASSERT_ERROR(probe_unlink(directory_fd, "x", &probe), -ESTALE);
    probe_done(&probe);
    ASSERT_OK(probe_path(directory_fd, "x", &probe));
    ASSERT_OK(probe_unlink(directory_fd, "x", &probe));
    ASSERT(!exists(in("x")));
    probe_done(&probe);
    close(directory_fd);
    directory_remove();
}

TEST(another_users_socket)
{
    if (geteuid() != 0)
        SKIP("needs root");
    directory_make();
    ASSERT_CALL(chmod(directory_path, 0777));
    close(bound(in("dead"), SOCK_STREAM));
    ASSERT_CALL(chmod(in("dead"), 0777));
    int live = bound(in("live"), SOCK_STREAM), closed = bound(in("closed"), SOCK_STREAM);
    ASSERT_CALL(chmod(in("live"), 0777));
    ASSERT_CALL(chmod(in("closed"), 0700));
    IN_CHILD({
        ASSERT_CALL(setresuid(65534, 65534, 65534));
        ASSERT_INT(state_of("dead"), PROBE_FOREIGN);
        ASSERT_INT(state_of("live"), PROBE_ALIVE);
        ASSERT_INT(state_of("closed"), PROBE_FOREIGN);
        int own = bound(in("own"), SOCK_STREAM);
        ASSERT_CALL(chmod(in("own"), 0)); /* not even we may ask */
        ASSERT_INT(state_of("own"), PROBE_UNSURE);
        close(own);
    });
    ASSERT_INT(state_of("dead"), PROBE_DEAD);
    ASSERT_INT(state_of("own"), PROBE_DEAD);
    close(live);
    close(closed);
    directory_remove();
}
