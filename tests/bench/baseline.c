/* SPDX-License-Identifier: MIT */
/* The limit that hark is measured against: the leanest server of one process per connection that
 * can be written. One process per CPU, pinned to it; each accepts, vforks, execs and waits for its
 * own children. It keeps none of hark's promises: kill one of its processes and a connection may be
 * lost, its handlers stay on their server's CPU, it knows no limits and reports nothing.
 *
 *     baseline PATH|PORT HANDLER [ARGUMENT...]        until SIGTERM or SIGINT
 */
#include <err.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "address.h"

static int listen_at(const struct address *address)
{
    int fd = socket(address->socket.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        err(EXIT_FAILURE, "cannot create a socket");
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) < 0 ||
        bind(fd, &address->socket.any, address->length) < 0 || listen(fd, SOMAXCONN) < 0)
        err(EXIT_FAILURE, "cannot listen");
    return fd;
}

/* Not inlined: the child runs on this frame while the parent stands still, and nothing else may
 * live in it. The child calls nothing but dup2, execve and _exit, which are async-signal-safe. */
__attribute__((noinline)) static pid_t spawn(int connection, char **handler)
{
    pid_t pid = vfork(); // NOLINT(clang-analyzer-security.insecureAPI.vfork): it is what we measure

    if (pid == 0) {
        // NOLINTNEXTLINE(clang-analyzer-unix.Vfork): vfork(2) of Linux allows them
        if (dup2(connection, STDIN_FILENO) >= 0 && dup2(connection, STDOUT_FILENO) >= 0)
            (void)execve(handler[0], handler, environ);
        _exit(EXIT_FAILURE);
    }
    return pid;
}

static void reap(void)
{
    siginfo_t info;

    do
        info.si_pid = 0;
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0);
}

__attribute__((noreturn)) static void serve(int listener, int cpu, char **handler)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0)
        err(EXIT_FAILURE, "cannot pin a server to CPU %d", cpu);
    for (;;) {
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        if (connection < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            err(EXIT_FAILURE, "cannot accept");
        }
        if (spawn(connection, handler) < 0)
            err(EXIT_FAILURE, "cannot vfork");
        (void)close(connection);
        reap();
    }
}

/* Dies with its starter, so that a killed benchmark leaves no server behind. */
static void start_server(int listener, int cpu, char **handler, const sigset_t *mask)
{
    pid_t starter = getpid();
    pid_t pid = fork();

    if (pid < 0)
        err(EXIT_FAILURE, "cannot fork a server");
    if (pid > 0)
        return;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != starter)
        _exit(EXIT_FAILURE);
    (void)sigprocmask(SIG_SETMASK, mask, NULL);
    serve(listener, cpu, handler);
}

int main(int argc, char **argv)
{
    struct address address;
    cpu_set_t cpus;
    sigset_t caught, mask;
    int listener, signo, r;

    if (argc < 3)
        errx(EXIT_FAILURE, "usage: baseline PATH|PORT HANDLER [ARGUMENT...]");
    r = address_parse(argv[1], &address);
    if (r < 0)
        errx(EXIT_FAILURE, "\"%s\" is neither a path nor a port: %s", argv[1], strerror(-r));
    if (access(argv[2], X_OK) < 0)
        err(EXIT_FAILURE, "cannot execute \"%s\"", argv[2]);
    if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
        err(EXIT_FAILURE, "cannot read the CPU affinity");

    (void)sigemptyset(&caught);
    (void)sigaddset(&caught, SIGTERM);
    (void)sigaddset(&caught, SIGINT);
    (void)sigaddset(&caught, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &caught, &mask);
    listener = listen_at(&address);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, &cpus))
            start_server(listener, cpu, argv + 2, &mask);
    (void)close(listener);

    /* Our exit ends the servers (PR_SET_PDEATHSIG). */
    if (sigwait(&caught, &signo) != 0 || signo == SIGCHLD)
        errx(EXIT_FAILURE, "a server died");
    if (address.socket.any.sa_family == AF_UNIX)
        (void)unlink(address.socket.local.sun_path);
    return EXIT_SUCCESS;
}
