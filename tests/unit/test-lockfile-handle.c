/* SPDX-License-Identifier: MIT */
/* What can be done with a lock that is held: streams, close and reopen, handing it on. */
#include "test-lockfile.h"

#include <signal.h>
#include <sys/resource.h>

/* ---- Streams, close and reopen --------------------------------------------------------------- */

TEST(a_stream_is_written_by_the_commit)
{
    struct hark_lockfile *lock;
    FILE *stream = NULL, *same = NULL;

    directory_make();
    write_file(in("x"), "one\n");
    lock = hold(in("x"), HARK_LOCKFILE_APPEND);
    ASSERT_ERROR(hark_lockfile_stream(lock, NULL), -EINVAL);
    ASSERT_OK(hark_lockfile_stream(lock, &stream));
    ASSERT_OK(hark_lockfile_stream(lock, &same));
    ASSERT(stream == same);
    ASSERT(fcntl(fileno(stream), F_GETFD) & FD_CLOEXEC);
    ASSERT(fprintf(stream, "%s\n", "two") == 4);
    ASSERT_STRING(read_file(in("x.lock")), "one\n"); /* it is buffered still */
    ASSERT_OK(hark_lockfile_commit(lock));
    ASSERT_STRING(read_file(in("x")), "one\ntwo\n");
    ASSERT_ERROR(hark_lockfile_stream(lock, &stream), -ESTALE);
    hark_lockfile_free(lock);
    lock = hold(in("x"), 0);
    ASSERT_OK(hark_lockfile_stream(lock, &stream));
    ASSERT(fputs("thrown away", stream) >= 0);
    hark_lockfile_free(lock);
    ASSERT_STRING(read_file(in("x")), "one\ntwo\n");
    lock = hold(in("x"), HARK_LOCKFILE_IDENTIFY);
    ASSERT_ERROR(hark_lockfile_stream(lock, &stream), -EINVAL);
    ASSERT_ERROR(hark_lockfile_close(lock), -EINVAL);
    ASSERT_ERROR(hark_lockfile_reopen(lock), -EINVAL);
    hark_lockfile_free(lock);
    directory_remove();
}

TEST(closed_but_kept_and_opened_again)
{
    struct hark_lockfile *lock;
    FILE *stream;

    directory_make();
    lock = hold(in("x"), 0);
    ASSERT_OK(hark_lockfile_stream(lock, &stream));
    ASSERT(fputs("first", stream) >= 0);
    ASSERT_OK(hark_lockfile_close(lock));
    ASSERT_OK(hark_lockfile_close(lock));
    ASSERT_INT(hark_lockfile_fd(lock), -1);
    ASSERT_ERROR(hark_lockfile_stream(lock, &stream), -EBADF);
    ASSERT_ERROR(try_hold(in("x"), 0, 0), -EBUSY);
    ASSERT_STRING(read_file(in("x.lock")), "first");
    ASSERT_OK(hark_lockfile_reopen(lock));
    ASSERT_STRING(read_file(in("x.lock")), "");
    ASSERT_INT(write(hark_lockfile_fd(lock), "second", 6), 6);
    ASSERT_OK(hark_lockfile_close(lock));
    write_file(in("x.lock"), "by another program"); /* as a hook or an editor would */
    ASSERT_OK(hark_lockfile_commit(lock));
    ASSERT_STRING(read_file(in("x")), "by another program");
    ASSERT_ERROR(hark_lockfile_close(lock), -ESTALE);
    ASSERT_ERROR(hark_lockfile_reopen(lock), -ESTALE);
    hark_lockfile_free(lock);
    ASSERT_OK(try_hold(in("x"), 0, 0));
    directory_remove();
}

TEST(reopening_throws_away_what_was_begun)
{
    struct hark_lockfile *lock;
    FILE *stream;

    directory_make();
    lock = hold(in("x"), 0);
    ASSERT_OK(hark_lockfile_stream(lock, &stream));
    ASSERT(fputs("begun", stream) >= 0);
    ASSERT_OK(hark_lockfile_reopen(lock));
    ASSERT_OK(hark_lockfile_stream(lock, &stream));
    ASSERT(fputs("anew", stream) >= 0);
    ASSERT_OK(hark_lockfile_commit(lock));
    ASSERT_STRING(read_file(in("x")), "anew");
    hark_lockfile_free(lock);
    lock = hold(in("x"), 0);
    ASSERT_CALL(unlink(in("x.lock")));
    ASSERT_ERROR(hark_lockfile_reopen(lock), -ESTALE);
    hark_lockfile_free(lock);
    directory_remove();
}

TEST(what_was_not_written_whole_is_not_committed)
{
    const struct rlimit small = {.rlim_cur = 8192, .rlim_max = RLIM_INFINITY};
    static char much[20000];
    struct hark_lockfile *lock;
    struct rlimit before;
    FILE *stream;

    directory_make();
    write_file(in("x"), "old");
    ASSERT_CALL(getrlimit(RLIMIT_FSIZE, &before));
    ASSERT(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    memset(much, 'x', sizeof(much));
    for (int with_close = 0; with_close < 2; with_close++) {
        lock = hold(in("x"), 0);
        ASSERT_OK(hark_lockfile_stream(lock, &stream));
        ASSERT_CALL(setrlimit(RLIMIT_FSIZE, &small));
        (void)fwrite(much, 1, sizeof(much), stream);
        int r = with_close ? hark_lockfile_close(lock) : hark_lockfile_commit(lock);
        ASSERT_CALL(setrlimit(RLIMIT_FSIZE, &before));
        ASSERT(r == -EFBIG || r == -EIO);
        ASSERT_ERROR(hark_lockfile_commit(lock), r);
        ASSERT_STRING(read_file(in("x")), "old");
        ASSERT_ERROR(try_hold(in("x"), 0, 0), -EBUSY);
        ASSERT_OK(hark_lockfile_reopen(lock));
        ASSERT_INT(write(hark_lockfile_fd(lock), "old", 3), 3);
        ASSERT_OK(hark_lockfile_commit(lock));
        hark_lockfile_free(lock);
    }
    ASSERT(signal(SIGXFSZ, SIG_DFL) != SIG_ERR);
    directory_remove();
}

TEST(a_forked_child_writes_nothing_of_its_parents_stream)
{
    struct hark_lockfile *lock;
    FILE *stream;

    directory_make();
    lock = hold(in("x"), 0);
    ASSERT_OK(hark_lockfile_stream(lock, &stream));
    ASSERT(fputs("once", stream) >= 0);
    IN_CHILD({
        FILE *other;
        ASSERT_ERROR(hark_lockfile_stream(lock, &other), -EPERM);
        ASSERT_ERROR(hark_lockfile_close(lock), -EPERM);
        ASSERT_ERROR(hark_lockfile_reopen(lock), -EPERM);
        hark_lockfile_free(lock);
    });
    ASSERT_OK(hark_lockfile_commit(lock));
    ASSERT_STRING(read_file(in("x")), "once");
    hark_lockfile_free(lock);
    directory_remove();
}

/* ---- Held on --------------------------------------------------------------------------------- */

TEST(a_lock_tells_whether_it_is_still_one)
{
    struct hark_lockfile *lock;

    directory_make();
    lock = hold(in("x"), 0);
    ASSERT_INT(hark_lockfile_check(lock), 0);
    ASSERT_OK(hark_lockfile_close(lock));
    ASSERT_INT(hark_lockfile_check(lock), 0);
    ASSERT_CALL(rename(in("x.lock"), in("y")));
    ASSERT_ERROR(hark_lockfile_check(lock), -ESTALE);
    ASSERT_CALL(rename(in("y"), in("x.lock")));
    ASSERT_INT(hark_lockfile_check(lock), 0);
    ASSERT_OK(hark_lockfile_commit(lock));
    ASSERT_ERROR(hark_lockfile_check(lock), -ESTALE);
    hark_lockfile_free(lock);
    directory_remove();
}

static int try_adopt(const char *path, int fd, unsigned flags)
{
    struct hark_lockfile *untouched = (struct hark_lockfile *)&untouched, *lock = untouched;
    int r = hark_lockfile_adopt(path, fd, flags, &lock);

    if (r < 0)
        ASSERT(lock == untouched);
    else
        hark_lockfile_free(lock);
    return r;
}

/* What a program finds after it has executed itself: a number and a path. */
TEST(a_lock_is_adopted_by_its_descriptor)
{
    struct hark_lockfile *lock, *adopted;

    directory_make();
    lock = hold(in("x"), 0);
    ASSERT_INT(write(hark_lockfile_fd(lock), "half", 4), 4);
    int fd = dup(hark_lockfile_fd(lock)); /* without close-on-exec */
    ASSERT_CALL(fd);
    IN_CHILD(hark_lockfile_free(lock)); /* as an exec closes the rest */
    ASSERT_OK(hark_lockfile_adopt(in("x"), fd, HARK_LOCKFILE_FSYNC, &adopted));
    ASSERT_INT(hark_lockfile_fd(adopted), fd);
    ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    ASSERT_STRING(hark_lockfile_path(adopted), in("x.lock"));
    ASSERT_ERROR(try_hold(in("x"), 0, 0), -EBUSY);
    ASSERT_INT(write(fd, " and half", 9), 9);
    ASSERT_OK(hark_lockfile_commit(adopted));
    ASSERT_STRING(read_file(in("x")), "half and half");
    hark_lockfile_free(adopted);
    hark_lockfile_free(lock);
    directory_remove();
}

TEST(a_daemon_keeps_the_lock_of_its_parent)
{
    struct hark_holder holder;
    int status, ends[2];
    pid_t daemon_pid;
    char byte;

    directory_make();
    ASSERT_CALL(pipe2(ends, O_CLOEXEC));
    pid_t parent = fork();
    ASSERT_CALL(parent);
    if (parent == 0) {
        struct hark_lockfile *lock = hold(in("x"), HARK_LOCKFILE_IDENTIFY), *adopted;
        int fd = hark_lockfile_fd(lock);

        if (fork() > 0)
            _exit(0); /* the lock's copy goes with it, unfreed */
        ASSERT_OK(hark_lockfile_adopt(in("x"), dup(fd), HARK_LOCKFILE_IDENTIFY, &adopted));
        hark_lockfile_free(lock);
        ASSERT(strncmp(read_file(in("x.lock")), "pid ", 4) == 0);
        ASSERT_INT(atoi(read_file(in("x.lock")) + 4), getpid());
        daemon_pid = getpid();
        ASSERT_INT(write(ends[1], &daemon_pid, sizeof(daemon_pid)), sizeof(daemon_pid));
        usleep(100000);
        hark_lockfile_free(adopted);
        _exit(0);
    }
    ASSERT_CALL(close(ends[1]));
    ASSERT_INT(read(ends[0], &daemon_pid, sizeof(daemon_pid)), sizeof(daemon_pid));
    ASSERT_INT(waitpid(parent, &status, 0), parent);
    ASSERT_INT(status, 0);
    ASSERT_ERROR(try_hold(in("x"), 0, 0), -EBUSY);
    ASSERT_OK(hark_lockfile_holder(in("x"), &holder));
    ASSERT_INT(holder.pid, daemon_pid);     /* and not who took it first, and is dead */
    ASSERT_INT(read(ends[0], &byte, 1), 0); /* it is gone, and had no failed assertion */
    ASSERT(!exists(in("x.lock")));
    ASSERT_CALL(close(ends[0]));
    directory_remove();
}

/* To a process that is no child: by a descriptor. */
TEST(a_lock_that_was_handed_over_is_the_others)
{
    struct hark_lockfile *lock, *adopted;
    struct hark_holder holder;
    FILE *stream;

    directory_make();
    lock = hold(in("x"), HARK_LOCKFILE_IDENTIFY);
    IN_CHILD({
        ASSERT_OK(hark_lockfile_adopt(in("x"), dup(hark_lockfile_fd(lock)), HARK_LOCKFILE_IDENTIFY,
                                      &adopted));
        ASSERT_OK(hark_lockfile_holder(in("x"), &holder));
        ASSERT_INT(holder.pid, getpid()); /* although its parent took it, and lives */
        ASSERT_STRING(holder.command, "test-lockfile-h");
        hark_lockfile_disown(adopted); /* and back */
        hark_lockfile_free(adopted);
    });
    hark_lockfile_disown(lock);
    ASSERT_INT(hark_lockfile_check(lock), 0);
    int fd = dup(hark_lockfile_fd(lock));
    hark_lockfile_free(lock);
    ASSERT_ERROR(try_hold(in("x"), 0, 0), -EBUSY);
    ASSERT_OK(hark_lockfile_adopt(in("x"), fd, 0, &adopted));
    hark_lockfile_disown(adopted);
    ASSERT_ERROR(hark_lockfile_stream(adopted, &stream), -EPERM);
    ASSERT_ERROR(hark_lockfile_commit(adopted), -EPERM);
    hark_lockfile_free(adopted); /* the last copy: now it is nobody's */
    ASSERT(exists(in("x.lock")));
    ASSERT_OK(try_hold(in("x"), 0, 0));
    directory_remove();
}

TEST(what_is_not_the_lock_is_not_adopted)
{
    struct hark_lockfile *lock;
    int fd;

    directory_make();
    ASSERT_ERROR(try_adopt(in("x"), -1, 0), -EBADF);
    ASSERT_ERROR(try_adopt(NULL, 0, 0), -EINVAL);
    ASSERT_ERROR(try_adopt(in("x"), 0, HARK_LOCKFILE_APPEND), -EINVAL);
    lock = hold(in("x"), 0);
    ASSERT_ERROR(try_adopt(in("y"), hark_lockfile_fd(lock), 0), -ESTALE);
    fd = open(in("x.lock"), O_RDONLY | O_CLOEXEC);
    ASSERT_CALL(fd);
    ASSERT_ERROR(try_adopt(in("x"), fd, 0), -EBADF);
    ASSERT_CALL(close(fd));
    fd = open(in("x.lock"), O_RDWR | O_CLOEXEC); /* the file, but not who holds it */
    ASSERT_CALL(fd);
    ASSERT_ERROR(try_adopt(in("x"), fd, 0), -EBUSY);
    hark_lockfile_free(lock);
    ASSERT_ERROR(try_adopt(in("x"), fd, 0), -ESTALE);
    ASSERT_CALL(close(fd));
    fd = open(in("x.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* free: taken */
    ASSERT_CALL(fd);
    ASSERT_OK(try_adopt(in("x"), fd, 0));
    ASSERT(!exists(in("x.lock")));
    directory_remove();
}
