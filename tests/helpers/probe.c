/* SPDX-License-Identifier: MIT */
/*
 * probe: a handler that writes down what it was given, as one line of JSON.
 *
 *   probe [--stdout | --to=PATH] [--receive=FD] [--accept] [--exit=STATUS] [ACTION…] [ANYTHING…]
 *
 * Without an option the line goes to descriptor 3. --to appends it to a file (one write(2)).
 * --receive first reads one message from FD and records it. --accept first accepts a connection
 * from descriptor 3 (a listener) and writes the line there as well. Descriptors are looked at
 * before any of that, so that the probe sees only what it inherited.
 *
 * Actions come after the line was written, in their order:
 *
 *   --serve=FD    takes what made FD readable: a connection (answers "served"), a message, bytes
 *   --accept-any  the same for whichever of the passed ones is readable first
 *   --say=FD:TEXT writes TEXT and a newline
 *   --wait=FD     reads until the end of file
 *   --until=PATH  waits for a file to be there
 *   --stay        waits for a signal
 *   --kill=SIGNAL sends it to itself
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <mqueue.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probe-socket.h"

#define CONTENT_MAX 512

static void write_strings(FILE *out, const char *key, char *const *strings)
{
    fprintf(out, ",\"%s\":[", key);
    for (size_t i = 0; strings[i]; i++) {
        if (i > 0)
            fputc(',', out);
        probe_write_string(out, strings[i]);
    }
    fputc(']', out);
}

/* A regular file, or a message queue, which calls itself one. Nothing is moved or consumed. */
static void write_file(FILE *out, int fd, const struct stat *status)
{
    struct mq_attr attributes;
    if (mq_getattr(fd, &attributes) == 0) {
        fprintf(out, ",\"mq_maxmsg\":%ld,\"mq_msgsize\":%ld,\"mq_flags\":%ld", attributes.mq_maxmsg,
                attributes.mq_msgsize, attributes.mq_flags);
        return;
    }
    fprintf(out, ",\"offset\":%lld,\"size\":%lld,\"owner\":[%u,%u],\"mode\":\"%04o\"",
            (long long)lseek(fd, 0, SEEK_CUR), (long long)status->st_size, status->st_uid,
            status->st_gid, (unsigned)(status->st_mode & 07777));
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals >= 0)
        fprintf(out, ",\"seals\":%d", seals);
    char content[CONTENT_MAX];
    ssize_t n = pread(fd, content, sizeof(content), 0);
    if (n >= 0) {
        fputs(",\"content\":", out);
        probe_write_bytes(out, content, (size_t)n);
    }
}

static void write_descriptor(FILE *out, int fd)
{
    char link[64];
    char target[4096];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, target, sizeof(target) - 1);
    target[length < 0 ? 0 : length] = '\0';

    struct stat status = {0};
    const char *type = "unknown";
    if (fstat(fd, &status) == 0) {
        switch (status.st_mode & S_IFMT) {
        case S_IFSOCK:
            type = "socket";
            break;
        case S_IFREG:
            type = "file";
            break;
        case S_IFDIR:
            type = "directory";
            break;
        case S_IFCHR:
            type = "character";
            break;
        case S_IFIFO:
            type = "fifo";
            break;
        default:
            type = "other";
        }
    }
    fprintf(out, "{\"fd\":%d,\"type\":\"%s\",\"target\":", fd, type);
    probe_write_string(out, target);
    fprintf(out, ",\"flags\":%d,\"cloexec\":%s", fcntl(fd, F_GETFL),
            fcntl(fd, F_GETFD) & FD_CLOEXEC ? "true" : "false");
    if (S_ISSOCK(status.st_mode))
        probe_write_socket(out, fd);
    else if (S_ISFIFO(status.st_mode))
        fprintf(out, ",\"pipe_size\":%d", fcntl(fd, F_GETPIPE_SZ));
    else if (S_ISREG(status.st_mode))
        write_file(out, fd, &status);
    fputc('}', out);
}

static void write_descriptors(FILE *out)
{
    fputs(",\"fds\":[", out);
    DIR *directory = opendir("/proc/self/fd");
    if (directory) {
        bool first = true;
        const struct dirent *entry;
        while ((entry = readdir(directory))) {
            if (entry->d_name[0] == '.')
                continue;
            int fd = (int)strtol(entry->d_name, NULL, 10);
            if (fd == dirfd(directory))
                continue;
            if (!first)
                fputc(',', out);
            first = false;
            write_descriptor(out, fd);
        }
        closedir(directory);
    }
    fputc(']', out);
}

/* SigBlk, SigIgn, Umask, … as /proc/self/status has them. */
static void write_status(FILE *out)
{
    static const char *const wanted[] = {"Umask",  "SigQ",   "SigPnd", "ShdPnd", "SigBlk",
                                         "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff",
                                         "CapBnd", "CapAmb", "Uid",    "Gid",    "NoNewPrivs",
                                         "Groups", "Seccomp"};
    FILE *status = fopen("/proc/self/status", "re");
    if (!status)
        return;
    char line[4096];
    while (fgets(line, sizeof(line), status)) {
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
            size_t length = strlen(wanted[i]);
            if (strncmp(line, wanted[i], length) != 0 || line[length] != ':')
                continue;
            char *value = line + length + 1;
            value += strspn(value, "\t ");
            value[strcspn(value, "\n")] = '\0';
            fprintf(out, ",\"%s\":", wanted[i]);
            probe_write_string(out, value);
        }
    }
    fclose(status);
}

static void write_limits(FILE *out)
{
    fputs(",\"rlimits\":[", out);
    for (int i = 0; i < (int)RLIM_NLIMITS; i++) {
        struct rlimit limit = {0, 0};
        getrlimit((__rlimit_resource_t)i, &limit);
        fprintf(out, "%s[%lld,%lld]", i > 0 ? "," : "", (long long)limit.rlim_cur,
                (long long)limit.rlim_max);
    }
    fputc(']', out);
}

static void write_affinity(FILE *out)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    fputs(",\"affinity\":[", out);
    const char *separator = "";
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            fprintf(out, "%s%u", separator, cpu);
            separator = ",";
        }
    }
    fprintf(out, "],\"scheduler\":%d,\"nice\":%d", sched_getscheduler(0),
            getpriority(PRIO_PROCESS, 0));
}

/* The first line of a small file of /proc, without its newline. */
static void write_proc_file(FILE *out, const char *key, const char *path)
{
    char line[256] = "";
    FILE *file = fopen(path, "re");
    if (file) {
        if (!fgets(line, sizeof(line), file))
            line[0] = '\0';
        fclose(file);
    }
    line[strcspn(line, "\n")] = '\0';
    fprintf(out, ",\"%s\":", key);
    probe_write_string(out, line);
}

/* The device number of the controlling terminal, 0 for none: the seventh field. */
static long terminal(void)
{
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    const char *rest = strrchr(text, ')');
    int number = 0;
    if (!rest || sscanf(rest, ") %*c %*d %*d %*d %d", &number) != 1)
        return -1;
    return number;
}

/* What prctl(2), /proc and their like tell about the process. */
static void write_process(FILE *out)
{
    struct sched_param param = {0};
    int death_signal = 0;
    int subreaper = 0;
    sched_getparam(0, &param);
    prctl(PR_GET_PDEATHSIG, &death_signal);
    prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
    fprintf(out, ",\"leads_session\":%s,\"leads_group\":%s,\"terminal\":%ld",
            getsid(0) == getpid() ? "true" : "false", getpgrp() == getpid() ? "true" : "false",
            terminal());
    fprintf(out, ",\"sched_priority\":%d,\"ioprio\":%ld,\"timer_slack\":%d", param.sched_priority,
            syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0), prctl(PR_GET_TIMERSLACK));
    fprintf(out, ",\"personality\":%d,\"securebits\":%d,\"dumpable\":%d,\"keepcaps\":%d",
            personality(0xffffffff), prctl(PR_GET_SECUREBITS), prctl(PR_GET_DUMPABLE),
            prctl(PR_GET_KEEPCAPS));
    fprintf(out, ",\"death_signal\":%d,\"subreaper\":%d,\"thp_disable\":%d", death_signal,
            subreaper, prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    write_proc_file(out, "oom_score_adj", "/proc/self/oom_score_adj");
    write_proc_file(out, "coredump_filter", "/proc/self/coredump_filter");
    write_proc_file(out, "comm", "/proc/self/comm");
}

static int write_everything(int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, text, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text += n;
        size -= (size_t)n;
    }
    return 0;
}

static void record(FILE *out, char *const *argv)
{
    fprintf(out, "{\"pid\":%d,\"ppid\":%d,\"pgrp\":%d,\"sid\":%d", getpid(), getppid(), getpgrp(),
            getsid(0));
    fprintf(out, ",\"uid\":%u,\"euid\":%u,\"gid\":%u,\"egid\":%u", getuid(), geteuid(), getgid(),
            getegid());
    char directory[4096];
    if (!getcwd(directory, sizeof(directory)))
        directory[0] = '\0';
    fputs(",\"cwd\":", out);
    probe_write_string(out, directory);
    write_strings(out, "argv", argv);
    write_strings(out, "environ", environ);
    write_status(out);
    write_affinity(out);
    write_limits(out);
    write_process(out);
    write_descriptors(out);
}

/* Takes what made fd readable, so that a listener is not triggered again. */
static int serve(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    struct mq_attr attributes;
    struct stat status;
    char buffer[65536];
    int listening = 0;
    socklen_t size = sizeof(listening);

    if (poll(&wait, 1, 10000) <= 0 || fstat(fd, &status) < 0)
        return -EAGAIN;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening) {
        int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            return -errno;
        int r = write_everything(connection, "served\n", 7);
        close(connection);
        return r;
    }
    if (S_ISREG(status.st_mode) && mq_getattr(fd, &attributes) == 0)
        return mq_receive(fd, buffer, sizeof(buffer), NULL) < 0 ? -errno : 0;
    return read(fd, buffer, sizeof(buffer)) < 0 ? -errno : 0;
}

/* serve() for the first of the passed descriptors that has something. */
static int serve_any(void)
{
    const char *text = getenv("LISTEN_FDS");
    long n = text ? strtol(text, NULL, 10) : 0;
    struct pollfd wait[16];

    if (n < 1 || n > 16)
        return -EINVAL;
    for (int i = 0; i < (int)n; i++)
        wait[i] = (struct pollfd){.fd = 3 + i, .events = POLLIN};
    if (poll(wait, (nfds_t)n, 10000) <= 0)
        return -EAGAIN;
    for (int i = 0; i < (int)n; i++) {
        if (wait[i].revents & POLLIN)
            return serve(wait[i].fd);
    }
    return -EAGAIN;
}

static void wait_for_end(int fd)
{
    char buffer[4096];
    ssize_t n;
    do
        n = read(fd, buffer, sizeof(buffer));
    while (n > 0 || (n < 0 && errno == EINTR));
}

static void wait_for_file(const char *path)
{
    while (access(path, F_OK) < 0)
        poll(NULL, 0, 2);
}

static int say(const char *argument)
{
    char *text;
    char line[4096];
    int fd = (int)strtol(argument, &text, 10);
    int length = snprintf(line, sizeof(line), "%s\n", *text == ':' ? text + 1 : text);
    return write_everything(fd, line, (size_t)length);
}

/* One of the actions; 0 also for words that are none. */
static int act(const char *word)
{
    if (strncmp(word, "--serve=", 8) == 0)
        return serve((int)strtol(word + 8, NULL, 10));
    if (strcmp(word, "--accept-any") == 0)
        return serve_any();
    if (strncmp(word, "--say=", 6) == 0)
        return say(word + 6);
    if (strncmp(word, "--wait=", 7) == 0)
        wait_for_end((int)strtol(word + 7, NULL, 10));
    else if (strncmp(word, "--kill=", 7) == 0)
        raise((int)strtol(word + 7, NULL, 10));
    else if (strncmp(word, "--until=", 8) == 0)
        wait_for_file(word + 8);
    else if (strcmp(word, "--stay") == 0)
        pause();
    return 0;
}

int main(int argc, char **argv)
{
    int destination = 3;
    const char *path = NULL;
    int receive_from = -1;
    bool accept_one = false;
    int exit_status = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--stdout") == 0)
            destination = STDOUT_FILENO;
        else if (strncmp(argv[i], "--to=", 5) == 0)
            path = argv[i] + 5;
        else if (strncmp(argv[i], "--receive=", 10) == 0)
            receive_from = (int)strtol(argv[i] + 10, NULL, 10);
        else if (strcmp(argv[i], "--accept") == 0)
            accept_one = true;
        else if (strncmp(argv[i], "--exit=", 7) == 0)
            exit_status = (int)strtol(argv[i] + 7, NULL, 10);
    }

    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return 98;
    record(out, argv);
    if (receive_from >= 0) {
        char message[4096];
        ssize_t n = recv(receive_from, message, sizeof(message) - 1, 0);
        message[n < 0 ? 0 : n] = '\0';
        fputs(",\"received\":", out);
        probe_write_string(out, message);
    }
    fputs("}\n", out);
    fclose(out);

    if (path)
        destination = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (accept_one) {
        int connection = accept4(3, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            return 97;
        if (!path)
            destination = connection;
        else if (write_everything(connection, text, size) < 0)
            return 96;
    }
    int r = write_everything(destination, text, size);
    free(text);
    if (r < 0)
        return 99;
    for (int i = 1; i < argc; i++) {
        if (act(argv[i]) < 0)
            return 95;
    }
    return exit_status;
}
