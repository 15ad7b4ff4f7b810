/* SPDX-License-Identifier: MIT */
#include "libhark/holder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "basic/parse.h"

#define BOOT_ID_LENGTH 36

struct lock_text {
    uint64_t pid;           /* 0: missing */
    uint64_t pid_namespace; /* 0: missing */
    char boot_id[BOOT_ID_LENGTH + 1];
};

static void read_boot_id(char boot_id[BOOT_ID_LENGTH + 1])
{
    if (read_text_file("/proc/sys/kernel/random/boot_id", boot_id, BOOT_ID_LENGTH + 1) !=
        BOOT_ID_LENGTH)
        boot_id[0] = '\0';
}

static uint64_t pid_namespace(void)
{
    struct stat status;

    return stat("/proc/self/ns/pid", &status) == 0 ? (uint64_t)status.st_ino : 0;
}

int holder_write_text(char *text, size_t size)
{
    char boot_id[BOOT_ID_LENGTH + 1];
    uint64_t namespace = pid_namespace();

    read_boot_id(boot_id);
    int length = snprintf(text, size, "pid %d\n", (int)getpid());
    if (boot_id[0] != '\0')
        length += snprintf(text + length, size - (size_t)length, "boot %s\n", boot_id);
    if (namespace != 0)
        length +=
            snprintf(text + length, size - (size_t)length, "pidns %ju\n", (uintmax_t) namespace);
    return length > 0 && (size_t)length < size ? length : -ENOBUFS;
}

/* Unknown lines are left for later versions to understand. */
static void parse_lock_text(char *text, struct lock_text *ret_parsed)
{
    char *state = NULL;

    for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
        if (strncmp(line, "pid ", 4) == 0)
            (void)parse_unsigned(line + 4, INT32_MAX, &ret_parsed->pid);
        else if (strncmp(line, "pidns ", 6) == 0)
            (void)parse_unsigned(line + 6, UINT64_MAX, &ret_parsed->pid_namespace);
        else if (strncmp(line, "boot ", 5) == 0 && strlen(line + 5) == BOOT_ID_LENGTH)
            memcpy(ret_parsed->boot_id, line + 5, BOOT_ID_LENGTH + 1);
    }
}

static int read_lock_text(int directory_fd, const char *name, struct lock_text *ret_parsed)
{
    char text[HOLDER_TEXT_MAX];
    cleanup_close int fd =
        openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    ssize_t length = read_up_to(fd, text, sizeof(text) - 1);
    if (length < 0)
        return (int)length;
    text[length] = '\0';
    parse_lock_text(text, ret_parsed);
    return 0;
}

static bool is_foreign(const struct lock_text *text)
{
    char boot_id[BOOT_ID_LENGTH + 1];
    uint64_t namespace = pid_namespace();

    read_boot_id(boot_id);
    return (boot_id[0] && text->boot_id[0] && strcmp(boot_id, text->boot_id) != 0) ||
           (namespace != 0 && text->pid_namespace != 0 && namespace != text->pid_namespace);
}

/* The pid that /proc/locks shows for a flock on that file; 0 when it shows none. It hides those of
 * other pid namespaces. Some file systems show another device there than in stat(2), so the pid
 * that the file's text claims is enough beside the inode. */
static pid_t flock_pid(const struct stat *file, uint64_t claimed)
{
    cleanup_close int fd = open("/proc/locks", O_RDONLY | O_CLOEXEC);
    FILE *locks = fd >= 0 ? fdopen(fd, "r") : NULL;
    char line[256];
    pid_t found = 0;

    if (!locks)
        return 0;
    take_fd(&fd);
    while (found == 0 && fgets(line, sizeof(line), locks)) {
        int pid;
        unsigned major_number, minor_number;
        unsigned long inode;

        /* "1: FLOCK  ADVISORY  WRITE 417 fe:00:1234 0 EOF"; waiters have "->" before FLOCK. */
        if (sscanf(line, "%*s FLOCK %*s %*s %d %x:%x:%lu", &pid, &major_number, &minor_number,
                   &inode) == 4 &&
            inode == file->st_ino && pid > 0 &&
            (makedev(major_number, minor_number) == file->st_dev || (uint64_t)pid == claimed))
            found = pid;
    }
    (void)fclose(locks);
    return found;
}

/* Whether that descriptor of a process holds a flock on the file; proc_fd is its /proc/PID/fdinfo.
 */
static bool shows_flock(int proc_fd, const char *name, ino_t inode)
{
    cleanup_close int fd = openat(proc_fd, name, O_RDONLY | O_CLOEXEC);
    FILE *info = fd >= 0 ? fdopen(fd, "r") : NULL;
    char line[256];
    bool shows = false;

    if (!info)
        return false;
    take_fd(&fd);
    while (!shows && fgets(line, sizeof(line), info)) {
        unsigned long locked;

        /* "lock:	1: FLOCK  ADVISORY  WRITE 0 fe:00:1234 0 EOF" */
        shows = sscanf(line, "lock: %*s FLOCK %*s %*s %*d %*x:%*x:%lu", &locked) == 1 &&
                locked == inode;
    }
    (void)fclose(info);
    return shows;
}

/* A lock that was adopted: /proc/locks knows it by who took it first, and hides it when that one is
 * dead. The text names who has it now, if that is true. */
static bool has_adopted(uint64_t pid, ino_t inode)
{
    char path[64];
    bool found = false;

    (void)snprintf(path, sizeof(path), "/proc/%ju/fdinfo", (uintmax_t)pid);
    DIR *descriptors = pid > 0 ? opendir(path) : NULL;
    if (!descriptors)
        return false;
    for (struct dirent *entry; !found && (entry = readdir(descriptors));)
        found = entry->d_name[0] != '.' && shows_flock(dirfd(descriptors), entry->d_name, inode);
    (void)closedir(descriptors);
    return found;
}

void holder_set_process(struct hark_holder *holder, pid_t pid)
{
    char path[64];
    struct stat status;

    *holder = (struct hark_holder){.pid = pid, .uid = (uid_t)-1};
    (void)snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    if (stat(path, &status) == 0)
        holder->uid = status.st_uid;
    (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    ssize_t length = read_text_file(path, holder->command, sizeof(holder->command));
    if (length < 0)
        length = 0;
    if (length > 0 && holder->command[length - 1] == '\n')
        length--;
    holder->command[length] = '\0';
}

int holder_of_lock(int directory_fd, const char *name, struct hark_holder *ret_holder)
{
    struct lock_text text = {0};
    struct stat status;
    int r = read_lock_text(directory_fd, name, &text);

    if (fstatat(directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    bool foreign = r == 0 && is_foreign(&text);
    pid_t pid = flock_pid(&status, foreign ? 0 : text.pid);
    if (!foreign && (uint64_t)pid != text.pid && has_adopted(text.pid, status.st_ino))
        pid = (pid_t)text.pid;
    if (pid > 0) {
        holder_set_process(ret_holder, pid);
        return 0;
    }
    if (!foreign)
        return -ESRCH;
    *ret_holder =
        (struct hark_holder){.pid = (pid_t)text.pid, .uid = status.st_uid, .foreign = true};
    return 0;
}

static bool has_socket(int proc_fd, const char *pid, const char *wanted)
{
    char path[64], target[64];
    bool found = false;

    if (snprintf(path, sizeof(path), "%.20s/fd", pid) < 0)
        return false;
    cleanup_close int fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *descriptors = fd >= 0 ? fdopendir(fd) : NULL;
    if (!descriptors)
        return false;
    take_fd(&fd);
    for (struct dirent *entry; !found && (entry = readdir(descriptors));) {
        ssize_t length = readlinkat(dirfd(descriptors), entry->d_name, target, sizeof(target) - 1);
        if (length <= 0)
            continue;
        target[length] = '\0';
        found = strcmp(target, wanted) == 0;
    }
    (void)closedir(descriptors);
    return found;
}

int holder_of_socket(unsigned long inode, struct hark_holder *ret_holder)
{
    DIR *proc = opendir("/proc");
    char wanted[64];
    uint64_t found = 0;

    if (!proc)
        return -ESRCH;
    (void)snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
    for (struct dirent *entry; found == 0 && (entry = readdir(proc));) {
        uint64_t pid;

        if (parse_unsigned(entry->d_name, INT32_MAX, &pid) == 0 &&
            has_socket(dirfd(proc), entry->d_name, wanted))
            found = pid;
    }
    (void)closedir(proc);
    if (found == 0)
        return -ESRCH;
    holder_set_process(ret_holder, (pid_t)found);
    return 0;
}
