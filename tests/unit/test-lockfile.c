/* SPDX-License-Identifier: MIT */
#include <limits.h>

#include "test-lockfile.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/clock.h"
#include "libhark/lockfile.h"

TEST(one_holds_and_the_file_goes_with_it)
{
    struct stat status;

    directory_make();
    struct hark_lockfile *lock = hold(in("x"), 0);
    ASSERT_STRING(hark_lockfile_path(lock), in("x.lock"));
    ASSERT_STRING(hark_lockfile_target(lock), in("x"));
    ASSERT_CALL(stat(in("x.lock"), &status));
    ASSERT_INT(status.st_mode & 07777, 0600);
    ASSERT(fcntl(hark_lockfile_fd(lock), F_GETFD) & FD_CLOEXEC);
    ASSERT(lockfile_in_place(lock));
    ASSERT_ERROR(try_hold(in("x"), 0, 0), -EBUSY);
    ASSERT(!hark_lockfile_free(lock));
    ASSERT(!exists(in("x.lock")));
    ASSERT(!exists(in("x")));
    ASSERT_OK(try_hold(in("x"), 0, 0));
    ASSERT(!hark_lockfile_free(NULL));
    directory_remove();
}

TEST(timeouts_are_met)
{
    directory_make();
    struct hark_lockfile *lock = hold(in("x"), 0);
    uint64_t start = monotonic_usec();
    ASSERT_ERROR(try_hold(in("x"), 120, 0), -EBUSY);
    ASSERT(monotonic_usec() - start >= 120 * USEC_PER_MSEC);
    hark_lockfile_free(lock);
    directory_remove();
}

TEST(waiting_for_ever_ends_when_the_holder_does)
{
    int ready[2];
    char byte;

    directory_make();
    ASSERT_CALL(pipe2(ready, O_CLOEXEC));
    pid_t pid = fork();
    ASSERT_CALL(pid);
    if (pid == 0) {
        hold(in("x"), 0);
        ASSERT_INT(write(ready[1], "x", 1), 1);
        usleep(50000);
        _exit(0); /* without a word: the file stays */
    }
    ASSERT_INT(read(ready[0], &byte, 1), 1);
    ASSERT_ERROR(try_hold(in("x"), 0, 0), -EBUSY);
    ASSERT_OK(try_hold(in("x"), -1, 0));
    ASSERT_INT(waitpid(pid, NULL, 0), pid);
    close(ready[0]);
    close(ready[1]);
    directory_remove();
}

static void on_alarm(int number)
{
    (void)number;
}

TEST(a_signal_handler_ends_the_wait)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};

    directory_make();
    struct hark_lockfile *lock = hold(in("x"), 0);
    ASSERT_CALL(sigaction(SIGALRM, &action, NULL));
    ualarm(50000, 50000);
    ASSERT_ERROR(try_hold(in("x"), -1, 0), -EINTR);
    ualarm(0, 0);
    ASSERT(signal(SIGALRM, SIG_DFL) != SIG_ERR);
    hark_lockfile_free(lock);
    directory_remove();
}

TEST(a_left_over_is_taken_and_emptied)
{
    struct stat status;

    directory_make();
    write_file(in("x.lock"), "what a dead one wrote");
    ASSERT_CALL(chmod(in("x.lock"), 0666));
    struct hark_lockfile *lock = hold(in("x"), 0);
    ASSERT_CALL(fstat(hark_lockfile_fd(lock), &status));
    ASSERT_INT(status.st_mode & 07777, 0600);
    ASSERT_INT(status.st_size, 0);
    hark_lockfile_free(lock);
    directory_remove();
}

TEST(what_is_no_lock_file_is_refused)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    directory_make();
    ASSERT_CALL(symlink("elsewhere", in("link.lock")));
    ASSERT_ERROR(try_hold(in("link"), 0, 0), -ELOOP);
    ASSERT(!exists(in("elsewhere")));
    ASSERT_CALL(mkfifo(in("fifo.lock"), 0600));
    ASSERT_ERROR(try_hold(in("fifo"), 0, 0), -EMEDIUMTYPE);
    ASSERT_CALL(mkdir(in("dir.lock"), 0700));
    ASSERT_ERROR(try_hold(in("dir"), 0, 0), -EMEDIUMTYPE);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", in("socket.lock"));
    ASSERT_CALL(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    ASSERT_ERROR(try_hold(in("socket"), 0, 0), -EMEDIUMTYPE);
    close(fd);
    write_file(in("hard.lock"), "");
    ASSERT_CALL(link(in("hard.lock"), in("other")));
    ASSERT_ERROR(try_hold(in("hard"), 0, 0), -EMLINK);
    ASSERT_CALL(unlink(in("other")));
    ASSERT_OK(try_hold(in("hard"), 0, 0));
    directory_remove();
}

TEST(arguments_are_checked)
{
    directory_make();
    ASSERT_ERROR(try_hold(in("x"), -2, 0), -EINVAL);
    ASSERT_ERROR(try_hold(in("x"), 0, 1 << 30), -EINVAL);
    ASSERT_ERROR(try_hold("", 0, 0), -EINVAL);
    ASSERT_ERROR(try_hold("/", 0, 0), -EINVAL);
    ASSERT_ERROR(try_hold("/tmp/..", 0, 0), -EINVAL);
    ASSERT_ERROR(try_hold(in("x"), 0, HARK_LOCKFILE_IDENTIFY | HARK_LOCKFILE_APPEND), -EINVAL);
    ASSERT_ERROR(try_hold(in("none/x"), 0, 0), -ENOENT);
    write_file(in("file"), "");
    ASSERT_ERROR(try_hold(in("file/x"), 0, 0), -ENOTDIR);
    directory_remove();
}

TEST(another_users_file_is_refused)
{
    if (geteuid() != 0)
        SKIP("needs root");
    directory_make();
    write_file(in("x.lock"), "");
    ASSERT_CALL(chown(in("x.lock"), 65534, 65534));
    ASSERT_ERROR(try_hold(in("x"), 0, 0), -EPERM);
    ASSERT_CALL(chown(in("x.lock"), 0, 0));
    ASSERT_CALL(chmod(in("x.lock"), 0600));
    ASSERT_CALL(chmod(directory_path, 01777));
    IN_CHILD({
        ASSERT_CALL(setresuid(65534, 65534, 65534));
        ASSERT_ERROR(try_hold(in("x"), 0, 0), -EPERM);
        ASSERT_OK(try_hold(in("y"), 0, 0));
    });
    ASSERT_CALL(chmod(directory_path, 0755));
    IN_CHILD({
        ASSERT_CALL(setresuid(65534, 65534, 65534));
        ASSERT_ERROR(try_hold(in("y"), 0, 0), -EACCES);
    });
    directory_remove();
}

TEST(a_commit_replaces_the_target)
{
    struct stat status;

    directory_make();
    write_file(in("x"), "old");
    ASSERT_CALL(chmod(in("x"), 0640));
    struct hark_lockfile *lock = hold(in("x"), HARK_LOCKFILE_FSYNC);
    ASSERT_INT(write(hark_lockfile_fd(lock), "new", 3), 3);
    ASSERT_STRING(read_file(in("x")), "old");
    ASSERT_OK(hark_lockfile_commit(lock));
    ASSERT_STRING(read_file(in("x")), "new");
    ASSERT_CALL(stat(in("x"), &status));
    ASSERT_INT(status.st_mode & 07777, 0640);
    ASSERT_INT(hark_lockfile_fd(lock), -1);
    ASSERT(!exists(in("x.lock")));
    ASSERT_OK(try_hold(in("x"), 0, 0));
    ASSERT_ERROR(hark_lockfile_commit(lock), -ESTALE);
    hark_lockfile_free(lock);
    ASSERT_STRING(read_file(in("x")), "new");
    directory_remove();
}

TEST(a_commit_elsewhere_and_a_mode_of_ones_own)
{
    struct stat status;

    directory_make();
    ASSERT_CALL(mkdir(in("d"), 0755));
    struct hark_lockfile *lock = hold(in("x"), 0);
    ASSERT_CALL(fchmod(hark_lockfile_fd(lock), 0604));
    ASSERT_ERROR(hark_lockfile_commit_to(lock, in("none/y")), -ENOENT);
    ASSERT(lockfile_in_place(lock));
    ASSERT_OK(hark_lockfile_commit_to(lock, in("d/y")));
    ASSERT_CALL(stat(in("d/y"), &status));
    ASSERT_INT(status.st_mode & 07777, 0604);
    ASSERT(!exists(in("x.lock")) && !exists(in("x")));
    hark_lockfile_free(lock);
    directory_remove();
}

TEST(appending_begins_with_the_old_contents)
{
    directory_make();
    ASSERT_OK(try_hold(in("x"), 0, HARK_LOCKFILE_APPEND)); /* there is none yet */
    write_file(in("x"), "one\n");
    struct hark_lockfile *lock = hold(in("x"), HARK_LOCKFILE_APPEND);
    ASSERT_INT(write(hark_lockfile_fd(lock), "two\n", 4), 4);
    ASSERT_OK(hark_lockfile_commit(lock));
    ASSERT_STRING(read_file(in("x")), "one\ntwo\n");
    hark_lockfile_free(lock);
    ASSERT_CALL(unlink(in("x")));
    ASSERT_CALL(symlink("/etc/passwd", in("x")));
    ASSERT_ERROR(try_hold(in("x"), 0, HARK_LOCKFILE_APPEND), -ELOOP);
    ASSERT(!exists(in("x.lock")));
    directory_remove();
}

TEST(links_are_followed_if_asked)
{
    directory_make();
    ASSERT_CALL(mkdir(in("d"), 0755));
    ASSERT_CALL(symlink("d/one", in("x")));
    ASSERT_CALL(symlink("two", in("d/one"))); /* dangling at first */
    struct hark_lockfile *lock = hold(in("x"), HARK_LOCKFILE_FOLLOW);
    ASSERT_STRING(hark_lockfile_path(lock), in("d/two.lock"));
    ASSERT_ERROR(try_hold(in("d/two"), 0, 0), -EBUSY);
    ASSERT_OK(try_hold(in("x"), 0, 0));
    ASSERT_OK(hark_lockfile_commit(lock));
    ASSERT_STRING(read_file(in("d/two")), "");
    hark_lockfile_free(lock);
    ASSERT_CALL(symlink("loop", in("loop")));
    ASSERT_ERROR(try_hold(in("loop"), 0, HARK_LOCKFILE_FOLLOW), -ELOOP);
    directory_remove();
}

TEST(a_name_that_was_taken_away_is_left_alone)
{
    directory_make();
    struct hark_lockfile *lock = hold(in("x"), 0);
    ASSERT_CALL(unlink(in("x.lock")));
    ASSERT(!lockfile_in_place(lock));
    struct hark_lockfile *other = hold(in("x"), 0);
    ASSERT_ERROR(hark_lockfile_commit(lock), -ESTALE);
    hark_lockfile_free(lock);
    ASSERT(lockfile_in_place(other));
    hark_lockfile_free(other);
    directory_remove();
}

TEST(a_forked_child_does_not_delete_or_unlock)
{
    directory_make();
    struct hark_lockfile *lock = hold(in("x"), 0);
    IN_CHILD({
        ASSERT_ERROR(hark_lockfile_commit(lock), -EPERM);
        hark_lockfile_free(lock);
    });
    ASSERT(lockfile_in_place(lock));
    ASSERT_ERROR(try_hold(in("x"), 0, 0), -EBUSY);
    /* And a copy in a child does not keep it. */
    int hold_on[2];
    ASSERT_CALL(pipe2(hold_on, O_CLOEXEC));
    pid_t pid = fork();
    ASSERT_CALL(pid);
    if (pid == 0) {
        char byte;
        close(hold_on[1]);
        _exit((int)read(hold_on[0], &byte, 1));
    }
    hark_lockfile_free(lock);
    ASSERT_OK(try_hold(in("x"), 0, 0));
    close(hold_on[0]);
    close(hold_on[1]);
    ASSERT_INT(waitpid(pid, NULL, 0), pid);
    directory_remove();
}

TEST(the_working_directory_may_change)
{
    char *here = getcwd(NULL, 0);

    directory_make();
    ASSERT_CALL(chdir(directory_path));
    struct hark_lockfile *lock = hold("./x", 0);
    ASSERT_STRING(hark_lockfile_path(lock), in("x.lock"));
    ASSERT_CALL(chdir("/"));
    hark_lockfile_free(lock);
    ASSERT(!exists(in("x.lock")));
    ASSERT_CALL(chdir(here));
    free(here);
    directory_remove();
}

TEST(the_holder_is_named)
{
    struct hark_holder holder = {.pid = 4711};
    char text[PATH_MAX + 64], *boot;

    directory_make();
    ASSERT_ERROR(hark_lockfile_holder(in("x"), &holder), -ESRCH);
    ASSERT_INT(holder.pid, 4711);
    for (unsigned flags = 0; flags <= HARK_LOCKFILE_IDENTIFY; flags += HARK_LOCKFILE_IDENTIFY) {
        struct hark_lockfile *lock = hold(in("x"), flags);
        ASSERT_OK(hark_lockfile_holder(in("x"), &holder));
        ASSERT_INT(holder.pid, getpid());
        ASSERT_INT(holder.uid, geteuid());
        ASSERT(!holder.foreign);
        ASSERT_INT(strncmp(holder.command, "test-lockfile", 13), 0);
        hark_lockfile_free(lock);
    }
    struct hark_lockfile *lock = hold(in("x"), HARK_LOCKFILE_IDENTIFY);
    snprintf(text, sizeof(text), "%s", read_file(in("x.lock")));
    hark_lockfile_free(lock);
    write_file(in("x.lock"), text); /* left by a dead one */
    ASSERT_ERROR(hark_lockfile_holder(in("x"), &holder), -ESRCH);
    boot = strstr(text, "boot ");
    ASSERT(boot && strstr(text, "pidns "));
    boot[5] = boot[5] == '0' ? '1' : '0'; /* another machine */
    write_file(in("x.lock"), text);
    ASSERT_OK(hark_lockfile_holder(in("x"), &holder));
    ASSERT(holder.foreign);
    ASSERT_INT(holder.pid, getpid());
    ASSERT_STRING(holder.command, "");
    write_file(in("x.lock"), "pid -5\nboot\npidns x\n\n\nwhatever");
    ASSERT_ERROR(hark_lockfile_holder(in("x"), &holder), -ESRCH);
    directory_remove();
}

TEST(many_processes_exclude_each_other)
{
    int status, counter;

    directory_make();
    counter = open(in("counter"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_CALL(counter);
    for (int i = 0; i < 8; i++) {
        pid_t pid = fork();
        ASSERT_CALL(pid);
        for (int j = 0; pid == 0 && j < 50; j++) {
            struct hark_lockfile *lock;
            char n;

            ASSERT_OK(hark_lockfile_hold(in("x"), -1, 0, &lock));
            n = 0;
            ASSERT_OK(pread(counter, &n, 1, 0));
            ASSERT_INT(n, 0);
            n = 1;
            ASSERT_INT(pwrite(counter, &n, 1, 0), 1);
            n = 0;
            ASSERT_INT(pwrite(counter, &n, 1, 0), 1);
            if (j % 7 == 0)
                ASSERT_OK(hark_lockfile_commit(lock));
            hark_lockfile_free(lock);
        }
        if (pid == 0)
            _exit(0);
    }
    for (int i = 0; i < 8; i++) {
        ASSERT(wait(&status) > 0);
        ASSERT_INT(status, 0);
    }
    close(counter);
    directory_remove();
}
