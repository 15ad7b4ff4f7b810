/* SPDX-License-Identifier: MIT */
/*
 * Many start at once over a stale socket: race-listen PATH STARTERS ROUNDS
 *
 * In each round exactly one must win, all others be told EADDRINUSE, and the winner's socket must
 * answer. The winners leave in turn cleanly, by _exit, and by SIGKILL. Exit status 0 if all was so.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libhark/hark.h"

#define STARTERS_MAX 1024

struct shared {
    int winners, losers, others, last_error;
};

static int client(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 10};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static pid_t ask(const char *path)
{
    pid_t pid = 0;
    int fd = client(path);

    if (fd >= 0 && read(fd, &pid, sizeof(pid)) != sizeof(pid))
        pid = 0;
    close(fd);
    return pid;
}

/* The barrier and the end of the round are ends of file. */
static void start(const char *path, int round, int go, int stop, struct shared *shared)
{
    struct hark_listen_options options = HARK_LISTEN_OPTIONS_INIT;
    struct hark_listener *listener;
    char byte;
    pid_t self = getpid();

    options.lock_timeout_ms = 0;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)!read(go, &byte, 1);
    int r = hark_listen(path, &options, &listener);
    if (r == -EADDRINUSE) {
        __atomic_add_fetch(&shared->losers, 1, __ATOMIC_SEQ_CST);
        _exit(0);
    }
    if (r < 0) {
        __atomic_store_n(&shared->last_error, -r, __ATOMIC_SEQ_CST);
        __atomic_add_fetch(&shared->others, 1, __ATOMIC_SEQ_CST);
        _exit(0);
    }
    __atomic_add_fetch(&shared->winners, 1, __ATOMIC_SEQ_CST);
    int connection = accept4(hark_listener_fd(listener), NULL, NULL, SOCK_CLOEXEC);
    (void)!write(connection, &self, sizeof(self));
    (void)!read(stop, &byte, 1);
    if (round % 3 == 0)
        hark_listener_free(listener);
    if (round % 3 == 1)
        (void)raise(SIGKILL);
    _exit(0);
}

static int make_stale(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int r = bind(fd, (struct sockaddr *)&address, sizeof(address));
    close(fd);
    return r < 0 && errno != EADDRINUSE ? -1 : 0;
}

static int race(const char *path, int round, int starters, struct shared *shared)
{
    pid_t pids[STARTERS_MAX];
    int go[2], stop[2];

    *shared = (struct shared){0};
    if (make_stale(path) < 0 || pipe2(go, O_CLOEXEC) < 0 || pipe2(stop, O_CLOEXEC) < 0)
        return -1;
    for (int i = 0; i < starters; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            return -1;
        if (pids[i] == 0) {
            close(go[1]);
            close(stop[1]);
            start(path, round, go[0], stop[0], shared);
        }
    }
    close(go[0]);
    close(go[1]);
    /* All but the winner leave by themselves. */
    for (int i = 1; i < starters && __atomic_load_n(&shared->winners, __ATOMIC_SEQ_CST) <= 1; i++)
        (void)wait(NULL);
    /* The losers were told by the lock, the winner may have yet to bind. */
    for (int i = 0; i < 10000 && __atomic_load_n(&shared->winners, __ATOMIC_SEQ_CST) == 0; i++)
        usleep(1000);
    pid_t winner = ask(path);
    close(stop[0]);
    close(stop[1]);
    /* Winners that nobody asked wait for clients that do not come. */
    for (int i = 0; (winner <= 0 || shared->winners > 1) && i < starters; i++)
        (void)kill(pids[i], SIGKILL);
    while (wait(NULL) > 0)
        continue;
    if (winner > 0 && shared->winners == 1 && shared->losers == starters - 1)
        return 0;
    printf("round %d: %d winners, %d losers, %d others (%s), answered by %d\n", round,
           shared->winners, shared->losers, shared->others, strerror(shared->last_error), winner);
    return -1;
}

int main(int argc, char **argv)
{
    if (argc != 4 || atoi(argv[2]) > STARTERS_MAX)
        return 2;
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 2;
    for (int round = 0; round < atoi(argv[3]); round++)
        if (race(argv[1], round, atoi(argv[2]), shared) < 0)
            return 1;
    return 0;
}
