/* SPDX-License-Identifier: MIT */
/* What the tests of the fork server share. */
#pragma once

#include "test.h"

#include <poll.h>
#include <signal.h>

#include "libhark/hark.h"

#define DEADLINE_MS 20000

static inline struct hark_forkserver *start(void)
{
    struct hark_forkserver *server;

    ASSERT_OK(hark_forkserver_start(&server));
    return server;
}

static inline void await(int fd)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    int n;

    do
        n = poll(&item, 1, DEADLINE_MS);
    while (n < 0 && errno == EINTR);
    ASSERT_INT(n, 1);
}

/* Reads and closes an exit descriptor. */
static inline struct hark_exit await_exit(int exit_fd)
{
    struct hark_exit end;

    await(exit_fd);
    ASSERT_INT(read(exit_fd, &end, sizeof(end)), sizeof(end));
    ASSERT_CALL(close(exit_fd));
    return end;
}

static inline void assert_exit(const struct hark_child *child, int code, int status)
{
    struct hark_exit end = await_exit(child->exit_fd);

    ASSERT_INT(end.pid, child->pid);
    ASSERT_INT(end.code, code);
    ASSERT_INT(end.status, status);
    ASSERT_INT(end.error, 0);
}

/* A shell script with the given descriptors. */
static inline int run_script(struct hark_forkserver *server, const char *script, const int *fds,
                             size_t n_fds, unsigned flags, struct hark_child *ret_child)
{
    const char *const arguments[] = {"sh", "-c", script, "zero", NULL};
    const struct hark_spawn spawn = {
        .size = sizeof(spawn),
        .program = "/bin/sh",
        .arguments = arguments,
        .fds = fds,
        .n_fds = n_fds,
    };

    return hark_forkserver_spawn(server, &spawn, flags, ret_child);
}

static inline struct hark_child run_with_exit(struct hark_forkserver *server, const char *script)
{
    struct hark_child child;

    ASSERT_OK(run_script(server, script, NULL, 0, HARK_CHILD_EXIT, &child));
    ASSERT(child.pid > 0 && child.socket_fd == -1 && child.exit_fd >= 0);
    return child;
}

/* Everything up to the end of the file, as text. */
static inline void read_text(int fd, char *text, size_t size)
{
    size_t used = 0;

    for (;;) {
        await(fd);
        ssize_t n = read(fd, text + used, size - 1 - used);
        ASSERT(n >= 0 || errno == ECONNRESET);
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    text[used] = '\0';
}

/* The children of a process, as /proc has them: "" for none. */
static inline void list_children(pid_t pid, char *text, size_t size)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ASSERT_CALL(fd);
    ssize_t n = read(fd, text, size - 1);
    ASSERT(n >= 0);
    text[n] = '\0';
    close(fd);
}

/* How many descriptors a process has, and a constant for "." and "..". */
static inline int count_descriptors(pid_t pid)
{
    char path[64];
    int n = 0;

    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    DIR *directory = opendir(path);
    ASSERT(directory);
    while (readdir(directory))
        n++;
    closedir(directory);
    return n;
}

/* Until the condition is true, or the test fails. */
#define AWAIT(condition)                                                                           \
    do {                                                                                           \
        int left_ = DEADLINE_MS / 5;                                                               \
        while (!(condition) && left_-- > 0)                                                        \
            poll(NULL, 0, 5);                                                                      \
        ASSERT(condition);                                                                         \
    } while (0)

static inline bool has_no_children(pid_t pid)
{
    char text[4096];

    list_children(pid, text, sizeof(text));
    return text[0] == '\0';
}

/* Runs part of a test in a process of its own, which may change what it likes of itself. */
static inline void in_child(void (*run)(void))
{
    int status;
    pid_t pid = fork();

    ASSERT_CALL(pid);
    if (pid == 0) {
        run();
        _exit(0);
    }
    ASSERT_INT(waitpid(pid, &status, 0), pid);
    ASSERT_INT(status, 0);
}
