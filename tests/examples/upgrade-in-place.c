/* SPDX-License-Identifier: MIT */
/* A daemon that becomes its own new version on SIGHUP. Nobody is refused meanwhile: the socket and
 * the lock of its path go across execve(2). */
#include <errno.h>
#include <fcntl.h>
#include <hark.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile sig_atomic_t last_signal;
static int upgrades;

static void on_signal(int number)
{
    last_signal = number;
}

/* What an earlier version has left, else a new one. */
static int take_or_make(const char *address, struct hark_listener **ret_listener)
{
    const char *left = getenv("GREETER_LEFT");
    int fd, lock_fd;

    if (!left || sscanf(left, "%d %d %d", &fd, &lock_fd, &upgrades) != 3)
        return hark_listen(address, NULL, ret_listener);
    int r = hark_listener_adopt(address, fd, lock_fd, NULL, ret_listener);
    unsetenv("GREETER_LEFT");
    return r;
}

/* Returns if there is no new version that can be executed. */
static void upgrade(char **argv, struct hark_listener *listener)
{
    int fd = hark_listener_fd(listener), lock_fd = hark_listener_lock_fd(listener);
    char text[64];

    snprintf(text, sizeof(text), "%d %d %d", fd, lock_fd, upgrades + 1);
    setenv("GREETER_LEFT", text, 1);
    fcntl(fd, F_SETFD, 0);
    fcntl(lock_fd, F_SETFD, 0);
    execv(argv[0], argv);
    perror("cannot upgrade");
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(lock_fd, F_SETFD, FD_CLOEXEC);
    unsetenv("GREETER_LEFT");
}

static void greet(int listener_fd)
{
    char text[64];
    int fd = accept(listener_fd, NULL, NULL);

    if (fd < 0)
        return;
    int length = snprintf(text, sizeof(text), "hello, after %d upgrades\n", upgrades);
    (void)send(fd, text, (size_t)length, MSG_NOSIGNAL);
    close(fd);
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "/run/greeter.sock";
    struct sigaction action = {.sa_handler = on_signal};
    struct hark_listener *listener;
    sigset_t ours, none;

    sigemptyset(&none);
    sigemptyset(&ours);
    sigaddset(&ours, SIGHUP);
    sigaddset(&ours, SIGTERM);
    sigprocmask(SIG_BLOCK, &ours, NULL); /* they arrive in ppoll() */
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    int r = take_or_make(address, &listener);
    if (r < 0) {
        fprintf(stderr, "cannot listen on \"%s\": %s\n", address, strerror(-r));
        return 1;
    }
    struct pollfd item = {.fd = hark_listener_fd(listener), .events = POLLIN};
    while (last_signal != SIGTERM) {
        if (ppoll(&item, 1, NULL, &none) > 0)
            greet(item.fd);
        if (last_signal == SIGHUP) {
            last_signal = 0;
            upgrade(argv, listener);
        }
    }
    hark_listener_free(listener); /* the path and its lock go, whoever made them */
    return 0;
}
