/* SPDX-License-Identifier: MIT */
/*
 * Held by flock(2) and not by an open-file-description lock: both die with their holder and both
 * follow the description, but /proc/locks shows the pid of a flock's holder (of an OFD lock it
 * shows -1), so that even a holder that wrote nothing into the file can be named.
 *
 * Directory and name are kept apart: the directory as a descriptor, so that a program that changes
 * its working directory still removes the file it made.
 */
#include "libhark/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "basic/io.h"
#include "libhark/holder.h"
#include "libhark/path.h"

#define LOCK_SUFFIX ".lock"

#define LOCKFILE_FLAGS                                                                             \
    (HARK_LOCKFILE_FOLLOW | HARK_LOCKFILE_APPEND | HARK_LOCKFILE_FSYNC | HARK_LOCKFILE_IDENTIFY)

struct hark_lockfile {
    struct path target;
    char *name;     /* of the lock file, in the target's directory */
    char *path;     /* the same, absolute */
    int fd;         /* -1 after a commit */
    pid_t owner;    /* the process that made it: a forked child must not delete it; 0: disowned */
    unsigned flags; /* enum hark_lockfile_flags */
    FILE *stream;   /* on a copy of fd, so that closing it keeps the lock; or NULL */
    bool closed;    /* the caller has done so: fd only holds the lock */
    int failure;    /* of writing: what is there is not what was meant to be, until a reopen */
};

void backoff_init(struct backoff *backoff, int timeout_ms)
{
    *backoff = (struct backoff){.deadline = UINT64_MAX};
    if (timeout_ms >= 0)
        backoff->deadline = monotonic_usec() + (uint64_t)timeout_ms * USEC_PER_MSEC;
}

int backoff_wait(struct backoff *backoff)
{
    uint64_t now = monotonic_usec(), pause = USEC_PER_SEC;
    uint16_t random = 0;
    struct timespec span;

    if (now >= backoff->deadline)
        return -ETIMEDOUT;
    if (++backoff->step < 32)
        pause = (uint64_t)backoff->step * backoff->step * USEC_PER_MSEC;
    /* No randomness this early in the boot: waiters do not spread, nothing worse. */
    (void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
    pause = pause * 3 / 4 + pause * random / (2 * (uint64_t)UINT16_MAX);
    if (pause > backoff->deadline - now)
        pause = backoff->deadline - now;
    span.tv_sec = (time_t)(pause / USEC_PER_SEC);
    span.tv_nsec = (long)(pause % USEC_PER_SEC * 1000);
    return -clock_nanosleep(CLOCK_MONOTONIC, 0, &span, NULL);
}

/* Nothing of what a stranger may have put at the name is followed, waited for, or believed. */
static int lockfile_open(const struct hark_lockfile *lock)
{
    struct stat status;
    int fd = openat(lock->target.directory_fd, lock->name,
                    O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);

    if (fd >= 0)
        return fd;
    int error = errno;
    if (error == ENXIO || error == EISDIR)
        return -EMEDIUMTYPE;
    /* Another user's left-over cannot be opened: mode 0600, or fs.protected_regular, which refuses
     * O_CREAT on it in a sticky directory even to root. */
    if (error == EACCES &&
        fstatat(lock->target.directory_fd, lock->name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        status.st_uid != geteuid())
        return -EPERM;
    return -error;
}

/* 1: the file is one to trust; 0: it was removed meanwhile; or a negative errno. */
static int lockfile_examine(int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return -EMEDIUMTYPE;
    if (status.st_nlink == 0)
        return 0;
    if (status.st_uid != geteuid() && status.st_uid != 0)
        return -EPERM;
    if (status.st_nlink > 1)
        return -EMLINK;
    return 1;
}

/* Whoever can open it can lock it, and lock us out the next time. Only under the lock: before, it
 * may be somebody's new file, about to be committed with the mode it is to have. */
static int lockfile_close_to_others(int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return -errno;
    return (status.st_mode & 07777) != 0600 && fchmod(fd, 0600) < 0 ? -errno : 0;
}

static bool name_leads_to(int directory_fd, const char *name, int fd)
{
    struct stat by_name, by_fd;

    return fstatat(directory_fd, name, &by_name, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstat(fd, &by_fd) == 0 && by_name.st_dev == by_fd.st_dev &&
           by_name.st_ino == by_fd.st_ino;
}

/* One try. -EBUSY: held; -EAGAIN: the file was removed or renamed between open and lock. */
static int lockfile_try(struct hark_lockfile *lock)
{
    cleanup_close int fd = lockfile_open(lock);

    if (fd < 0)
        return fd;
    int r = lockfile_examine(fd);
    if (r <= 0)
        return r < 0 ? r : -EAGAIN;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    if (!name_leads_to(lock->target.directory_fd, lock->name, fd))
        return -EAGAIN;
    r = lockfile_close_to_others(fd);
    if (r < 0)
        return r;
    lock->fd = take_fd(&fd);
    return 0;
}

static int lockfile_wait(struct hark_lockfile *lock, int timeout_ms)
{
    struct backoff backoff;
    /* Each -EAGAIN means that another process got on; this many in a row mean that one plays with
     * us. */
    unsigned patience = 10000;

    backoff_init(&backoff, timeout_ms);
    for (;;) {
        int r = lockfile_try(lock);
        if (r == -EAGAIN && --patience > 0)
            continue;
        if (r != -EBUSY)
            return r == -EAGAIN ? -EBUSY : r;
        r = backoff_wait(&backoff);
        if (r < 0)
            return r == -ETIMEDOUT ? -EBUSY : r;
    }
}

static int copy_contents(const struct hark_lockfile *lock)
{
    char buffer[16384];
    struct stat status;
    cleanup_close int from = openat(lock->target.directory_fd, lock->target.name,
                                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (from < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fstat(from, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return -EMEDIUMTYPE;
    for (;;) {
        ssize_t n = read_up_to(from, buffer, sizeof(buffer));
        if (n <= 0)
            return (int)n;
        int r = write_all(lock->fd, buffer, (size_t)n);
        if (r < 0)
            return r;
    }
}

static int lockfile_empty(const struct hark_lockfile *lock)
{
    return ftruncate(lock->fd, 0) < 0 || lseek(lock->fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

static int lockfile_identify(const struct hark_lockfile *lock)
{
    char text[HOLDER_TEXT_MAX];
    int length = holder_write_text(text, sizeof(text));

    return length < 0 ? length : write_all(lock->fd, text, (size_t)length);
}

/* What a dead holder wrote goes only now that the lock is held. */
static int lockfile_fill(const struct hark_lockfile *lock)
{
    int r = lockfile_empty(lock);

    if (r >= 0 && lock->flags & HARK_LOCKFILE_APPEND)
        r = copy_contents(lock);
    if (r >= 0 && lock->flags & HARK_LOCKFILE_IDENTIFY)
        r = lockfile_identify(lock);
    return r;
}

static void cleanup_lockfile(struct hark_lockfile **lock)
{
    hark_lockfile_free(*lock);
}

/* A handle without the lock. */
static int lockfile_new(const char *path, unsigned flags, struct hark_lockfile **ret_lock)
{
    cleanup(cleanup_lockfile) struct hark_lockfile *lock = calloc(1, sizeof(*lock));
    cleanup_free char *resolved = NULL;

    if (!lock)
        return -ENOMEM;
    lock->fd = lock->target.directory_fd = -1;
    lock->owner = getpid();
    lock->flags = flags;
    if (flags & HARK_LOCKFILE_FOLLOW) {
        int r = path_follow(path, &resolved);
        if (r < 0)
            return r;
        path = resolved;
    }
    int r = path_open(path, &lock->target);
    if (r < 0)
        return r;
    if (asprintf(&lock->path, "%s" LOCK_SUFFIX, lock->target.text) < 0) {
        lock->path = NULL;
        return -ENOMEM;
    }
    lock->name = lock->path + (lock->target.name - lock->target.text);
    *ret_lock = take_pointer(&lock);
    return 0;
}

int hark_lockfile_hold(const char *path, int timeout_ms, unsigned flags,
                       struct hark_lockfile **ret_lock)
{
    cleanup(cleanup_lockfile) struct hark_lockfile *lock = NULL;

    if (!path || !ret_lock || (flags & ~(unsigned)LOCKFILE_FLAGS) || timeout_ms < -1 ||
        ((flags & HARK_LOCKFILE_IDENTIFY) && (flags & HARK_LOCKFILE_APPEND)))
        return -EINVAL;
    int r = lockfile_new(path, flags, &lock);
    if (r >= 0)
        r = lockfile_wait(lock, timeout_ms);
    if (r >= 0)
        r = lockfile_fill(lock);
    if (r < 0)
        return r;
    *ret_lock = take_pointer(&lock);
    return 0;
}

/* To lock what this description has locked already changes nothing. */
static int take_over_lock(const struct hark_lockfile *lock, int fd)
{
    int access = fcntl(fd, F_GETFL);

    if (access < 0)
        return -errno;
    if ((access & O_ACCMODE) != O_RDWR)
        return -EBADF;
    int r = lockfile_examine(fd);
    if (r < 0)
        return r;
    if (r == 0 || !name_leads_to(lock->target.directory_fd, lock->name, fd))
        return -ESTALE;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    /* It may have been free until now. */
    return name_leads_to(lock->target.directory_fd, lock->name, fd) ? 0 : -ESTALE;
}

int hark_lockfile_adopt(const char *path, int fd, unsigned flags, struct hark_lockfile **ret_lock)
{
    const unsigned known = LOCKFILE_FLAGS & ~(unsigned)HARK_LOCKFILE_APPEND;
    cleanup(cleanup_lockfile) struct hark_lockfile *lock = NULL;

    if (!path || !ret_lock || flags & ~known)
        return -EINVAL;
    int r = lockfile_new(path, flags, &lock);
    if (r >= 0)
        r = take_over_lock(lock, fd);
    if (r >= 0)
        r = fd_set_close_on_exec(fd, true);
    if (r < 0)
        return r;
    lock->fd = fd;
    if (flags & HARK_LOCKFILE_IDENTIFY) {
        r = lockfile_empty(lock);
        if (r >= 0)
            r = lockfile_identify(lock);
    }
    if (r < 0) {
        lock->fd = -1; /* still the caller's */
        return r;
    }
    *ret_lock = take_pointer(&lock);
    return 0;
}

void hark_lockfile_disown(struct hark_lockfile *lock)
{
    lock->owner = 0;
}

int hark_lockfile_fd(const struct hark_lockfile *lock)
{
    return lock->closed ? -1 : lock->fd;
}

const char *hark_lockfile_path(const struct hark_lockfile *lock)
{
    return lock->path;
}

const char *hark_lockfile_target(const struct hark_lockfile *lock)
{
    return lock->target.text;
}

bool lockfile_in_place(const struct hark_lockfile *lock)
{
    return lock->fd >= 0 && name_leads_to(AT_FDCWD, lock->path, lock->fd);
}

int hark_lockfile_check(const struct hark_lockfile *lock)
{
    return lockfile_in_place(lock) ? 0 : -ESTALE;
}

/* ---- Writing --------------------------------------------------------------------------------- */

/* Whether there is something to write, and this process is who may. */
static int check_writer(const struct hark_lockfile *lock)
{
    if (lock->flags & HARK_LOCKFILE_IDENTIFY)
        return -EINVAL;
    if (lock->fd < 0)
        return -ESTALE;
    return lock->owner != getpid() ? -EPERM : 0;
}

int hark_lockfile_stream(struct hark_lockfile *lock, FILE **ret_stream)
{
    int r = ret_stream ? check_writer(lock) : -EINVAL;

    if (r < 0)
        return r;
    if (lock->closed)
        return -EBADF;
    if (!lock->stream) {
        cleanup_close int copy = fcntl(lock->fd, F_DUPFD_CLOEXEC, 0);

        if (copy < 0)
            return -errno;
        lock->stream = fdopen(copy, "r+");
        if (!lock->stream)
            return -errno;
        (void)take_fd(&copy);
    }
    *ret_stream = lock->stream;
    return 0;
}

static int close_stream(struct hark_lockfile *lock)
{
    bool failed = ferror(lock->stream);
    int r = fclose(take_pointer(&lock->stream)) != 0 ? -errno : 0;

    return r >= 0 && failed ? -EIO : r; /* which error it was then is long forgotten */
}

/* What the buffer holds reaches neither the lock file nor, in a forked child, its parent's. */
static void discard_stream(struct hark_lockfile *lock)
{
    if (lock->stream) {
        __fpurge(lock->stream);
        (void)fclose(take_pointer(&lock->stream));
    }
}

/* A network file system may tell of a failure at close(2) only: of any copy. */
static int finish_writing(struct hark_lockfile *lock)
{
    int r = 0;

    if (lock->stream) {
        r = close_stream(lock);
    } else if (!lock->closed) {
        int copy = fcntl(lock->fd, F_DUPFD_CLOEXEC, 0);

        if (copy < 0)
            return -errno;
        r = close(copy) < 0 ? -errno : 0;
    }
    if (r < 0)
        lock->failure = r;
    return lock->failure;
}

int hark_lockfile_close(struct hark_lockfile *lock)
{
    int r = check_writer(lock);

    if (r < 0)
        return r;
    r = finish_writing(lock);
    lock->closed = true;
    return r;
}

int hark_lockfile_reopen(struct hark_lockfile *lock)
{
    int r = check_writer(lock);

    if (r < 0)
        return r;
    if (!lockfile_in_place(lock))
        return -ESTALE;
    discard_stream(lock);
    r = lockfile_empty(lock);
    if (r < 0)
        return r;
    lock->closed = false;
    lock->failure = 0;
    return 0;
}

/* ---- The end --------------------------------------------------------------------------------- */

static int fsync_directory(const char *directory)
{
    cleanup_close int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    return fsync(fd) < 0 ? -errno : 0;
}

/* The new file gets the mode of the one it replaces, unless the caller has given it one already. */
static int take_over_mode(int fd, const struct path *to)
{
    struct stat new_status, old_status;

    if (fstat(fd, &new_status) < 0)
        return -errno;
    if ((new_status.st_mode & 07777) != 0600 ||
        fstatat(to->directory_fd, to->name, &old_status, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(old_status.st_mode))
        return 0;
    return fchmod(fd, old_status.st_mode & 0777) < 0 ? -errno : 0;
}

static int lockfile_commit(struct hark_lockfile *lock, const struct path *to)
{
    if (lock->flags & HARK_LOCKFILE_IDENTIFY)
        return -EINVAL;
    if (lock->fd < 0 || !name_leads_to(lock->target.directory_fd, lock->name, lock->fd))
        return -ESTALE;
    if (lock->owner != getpid())
        return -EPERM;
    int r = finish_writing(lock);
    if (r >= 0)
        r = take_over_mode(lock->fd, to);
    if (r < 0)
        return r;
    if ((lock->flags & HARK_LOCKFILE_FSYNC) && fsync(lock->fd) < 0)
        return -errno;
    if (renameat(lock->target.directory_fd, lock->name, to->directory_fd, to->name) < 0)
        return -errno;
    lock->fd = fd_close(lock->fd);
    return lock->flags & HARK_LOCKFILE_FSYNC ? fsync_directory(to->directory) : 0;
}

int hark_lockfile_commit(struct hark_lockfile *lock)
{
    return lockfile_commit(lock, &lock->target);
}

int hark_lockfile_commit_to(struct hark_lockfile *lock, const char *path)
{
    cleanup(path_done) struct path to = PATH_INIT;
    int r = path != NULL ? path_open(path, &to) : -EINVAL;

    return r < 0 ? r : lockfile_commit(lock, &to);
}

struct hark_lockfile *hark_lockfile_free(struct hark_lockfile *lock)
{
    if (!lock)
        return NULL;
    discard_stream(lock);
    if (lock->fd >= 0) {
        if (lock->owner == getpid()) {
            /* Held until after the unlink, so that nobody can have taken the name in between. */
            if (name_leads_to(lock->target.directory_fd, lock->name, lock->fd))
                (void)unlinkat(lock->target.directory_fd, lock->name, 0);
            /* Copies in forked children would otherwise keep it. */
            (void)flock(lock->fd, LOCK_UN);
        }
        fd_close(lock->fd);
    }
    path_done(&lock->target);
    free(lock->path);
    free(lock);
    return NULL;
}

int hark_lockfile_holder(const char *path, struct hark_holder *ret_holder)
{
    cleanup(path_done) struct path target = PATH_INIT;
    cleanup_free char *name = NULL;
    struct stat status;
    int r;

    if (!path || !ret_holder)
        return -EINVAL;
    r = path_open(path, &target);
    if (r < 0)
        return r;
    if (asprintf(&name, "%s" LOCK_SUFFIX, target.name) < 0) {
        name = NULL;
        return -ENOMEM;
    }
    if (fstatat(target.directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    if (!S_ISREG(status.st_mode))
        return -ESRCH;
    return holder_of_lock(target.directory_fd, name, ret_holder);
}
