/* SPDX-License-Identifier: MIT */
/*
 * probe: a handler that writes down what it was given, as one line of JSON.
 *
 *   probe [--stdout | --to=PATH] [--receive=FD] [--accept] [--exit=STATUS] [ANYTHING…]
 *
 * Without an option the line goes to descriptor 3. --to appends it to a file (one write(2)).
 * --receive first reads one message from FD and records it. --accept first accepts a connection
 * from descriptor 3 (a listener) and writes the line there as well. Descriptors are looked at
 * before any of that, so that the probe sees only what it inherited.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes above ASCII are written as the code point of the same number, so any byte survives. */
static void write_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 0x20 || *c >= 0x7f)
            fprintf(out, "\\u%04x", *c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static void write_strings(FILE *out, const char *key, char *const *strings)
{
    fprintf(out, ",\"%s\":[", key);
    for (size_t i = 0; strings[i]; i++) {
        if (i > 0)
            fputc(',', out);
        write_string(out, strings[i]);
    }
    fputc(']', out);
}

static void write_descriptor(FILE *out, int fd)
{
    char link[64];
    char target[4096];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, target, sizeof(target) - 1);
    target[length < 0 ? 0 : length] = '\0';

    struct stat status;
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
    write_string(out, target);
    fprintf(out, ",\"flags\":%d,\"cloexec\":%s", fcntl(fd, F_GETFL),
            fcntl(fd, F_GETFD) & FD_CLOEXEC ? "true" : "false");
    if (S_ISSOCK(status.st_mode)) {
        int domain = 0;
        int kind = 0;
        int listening = 0;
        socklen_t size = sizeof(int);
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
        size = sizeof(int);
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size);
        size = sizeof(int);
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size);
        fprintf(out, ",\"domain\":%d,\"socket_type\":%d,\"listening\":%s", domain, kind,
                listening ? "true" : "false");
    }
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
    static const char *const wanted[] = {"Umask",  "SigQ",       "SigPnd", "SigBlk",
                                         "SigIgn", "SigCgt",     "CapInh", "CapPrm",
                                         "CapEff", "NoNewPrivs", "Groups"};
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
            write_string(out, value);
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
    write_string(out, directory);
    write_strings(out, "argv", argv);
    write_strings(out, "environ", environ);
    write_status(out);
    write_affinity(out);
    write_limits(out);
    write_descriptors(out);
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
        write_string(out, message);
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
    return r < 0 ? 99 : exit_status;
}
