/* SPDX-License-Identifier: MIT */
/* The limit that hark is measured against: the leanest server of one process per connection that
 * can be written. One process per CPU, pinned to it; each accepts, vforks, execs and waits for its
 * own children. It keeps none of hark's promises: kill one of its processes and a connection may be
 * lost, its handlers stay on their server's CPU, it knows no limits and reports nothing.
 *
 *     baseline [-esplun] PATH|PORT HANDLER [ARGUMENT...]       until SIGTERM or SIGINT
 *
 * So that a server with settings can be compared, each child can make the system calls of
 * -e  what an exact handler has at least: a session of its own, and the CPUs that we were given
 * -s  any service: session, umask, directory, identifier, a limit, SIGPIPE and the signal mask
 * -p  an instance name: the connection's own address and its peer
 * -l  five more resource limits      -u  another user (65534)      -n  niceness and OOM score
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "address.h"

#define OTHER_USER 65534

struct settings {
    bool exact, service, peer, limits, user, nice;
};

static struct settings settings;
static cpu_set_t given; /* CPUs */

static int listen_at(const struct address *address)
{
    int fd = socket(address->socket.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        err(EXIT_FAILURE, "cannot create a socket");
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) < 0 ||
        bind(fd, &address->socket.any, address->length) < 0 || listen(fd, INT_MAX) < 0)
        err(EXIT_FAILURE, "cannot listen");
    return fd;
}

/* ---- In the child: 0 or -1 ------------------------------------------------------------------- */

static int set_up_service(void)
{
    const struct rlimit files = {.rlim_cur = 1024, .rlim_max = 4096};
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    unsigned char identifier[16];
    sigset_t none;

    (void)umask(0022);
    (void)sigemptyset(&none);
    if (chdir("/") < 0 || getrandom(identifier, sizeof(identifier), GRND_NONBLOCK) < 0 ||
        setrlimit(RLIMIT_NOFILE, &files) < 0 || dup2(STDOUT_FILENO, STDERR_FILENO) < 0 ||
        sigaction(SIGPIPE, &ignore, NULL) < 0)
        return -1;
    return sigprocmask(SIG_SETMASK, &none, NULL);
}

static int ask_addresses(int connection)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    struct ucred credentials;
    socklen_t size = sizeof(address), credentials_size = sizeof(credentials);

    if (getsockname(connection, (struct sockaddr *)&address, &size) < 0)
        return -1;
    if (address.ss_family == AF_UNIX)
        return getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &credentials, &credentials_size);
    size = sizeof(address);
    return getpeername(connection, (struct sockaddr *)&address, &size);
}

static int set_niceness(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "100", 3) < 0 || close(fd) < 0)
        return -1;
    return setpriority(PRIO_PROCESS, 0, 5);
}

static int set_limits(void)
{
    const struct rlimit none = {0}, some = {.rlim_cur = 65536, .rlim_max = 65536},
                        large = {.rlim_cur = 1 << 30, .rlim_max = 1 << 30};

    if (setrlimit(RLIMIT_CORE, &none) < 0 || setrlimit(RLIMIT_MEMLOCK, &some) < 0 ||
        setrlimit(RLIMIT_NPROC, &some) < 0 || setrlimit(RLIMIT_FSIZE, &large) < 0)
        return -1;
    return setrlimit(RLIMIT_DATA, &large);
}

/* The system calls themselves: a libc's functions would see to threads. */
static int set_user(void)
{
    const gid_t group = OTHER_USER;

    if (syscall(SYS_setgroups, 1, &group) < 0 ||
        syscall(SYS_setresgid, OTHER_USER, OTHER_USER, OTHER_USER) < 0)
        return -1;
    return (int)syscall(SYS_setresuid, OTHER_USER, OTHER_USER, OTHER_USER);
}

static int apply_settings(int connection)
{
    if ((settings.peer && ask_addresses(connection) < 0) ||
        ((settings.service || settings.exact) && setsid() < 0) ||
        (settings.service && set_up_service() < 0) || (settings.nice && set_niceness() < 0) ||
        (settings.exact && sched_setaffinity(0, sizeof(given), &given) < 0) ||
        (settings.limits && set_limits() < 0))
        return -1;
    return settings.user ? set_user() : 0;
}

/* ---- The server ------------------------------------------------------------------------------ */

/* Not inlined: the child runs on this frame while the parent stands still, and nothing else may
 * live in it. The child calls nothing but what is a system call and async-signal-safe. */
__attribute__((noinline)) static pid_t spawn(int connection, char **handler)
{
    pid_t pid = vfork(); // NOLINT(clang-analyzer-security.insecureAPI.vfork): it is what we measure

    if (pid == 0) {
        // NOLINTNEXTLINE(clang-analyzer-unix.Vfork): vfork(2) of Linux allows them
        if (dup2(connection, STDIN_FILENO) >= 0 && dup2(connection, STDOUT_FILENO) >= 0 &&
            apply_settings(connection) >= 0)
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

static void take_options(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "+esplun")) >= 0)
        switch (option) {
        case 'e':
            settings.exact = true;
            break;
        case 's':
            settings.service = true;
            break;
        case 'p':
            settings.peer = true;
            break;
        case 'l':
            settings.limits = true;
            break;
        case 'u':
            settings.user = true;
            break;
        case 'n':
            settings.nice = true;
            break;
        default:
            exit(EXIT_FAILURE);
        }
}

int main(int argc, char **argv)
{
    struct address address;
    sigset_t caught, mask;
    int listener, signo, r;

    take_options(argc, argv);
    argv += optind;
    if (argc - optind < 2)
        errx(EXIT_FAILURE, "usage: baseline [-esplun] PATH|PORT HANDLER [ARGUMENT...]");
    r = address_parse(argv[0], &address);
    if (r < 0)
        errx(EXIT_FAILURE, "\"%s\" is neither a path nor a port: %s", argv[0], strerror(-r));
    if (access(argv[1], X_OK) < 0)
        err(EXIT_FAILURE, "cannot execute \"%s\"", argv[1]);
    if (sched_getaffinity(0, sizeof(given), &given) < 0)
        err(EXIT_FAILURE, "cannot read the CPU affinity");

    (void)sigemptyset(&caught);
    (void)sigaddset(&caught, SIGTERM);
    (void)sigaddset(&caught, SIGINT);
    (void)sigaddset(&caught, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &caught, &mask);
    listener = listen_at(&address);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, &given))
            start_server(listener, cpu, argv + 1, &mask);
    (void)close(listener);

    /* Our exit ends the servers (PR_SET_PDEATHSIG). */
    if (sigwait(&caught, &signo) != 0 || signo == SIGCHLD)
        errx(EXIT_FAILURE, "a server died");
    if (address.socket.any.sa_family == AF_UNIX)
        (void)unlink(address.socket.local.sun_path);
    return EXIT_SUCCESS;
}
