/* SPDX-License-Identifier: MIT */
/* Listeners with names of their own: FIFOs, special files, message queues; RemoveOnStop= of all;
 * symbolic links. */
#include "test-listener.h"

#include <mqueue.h>

/* ---- FIFOs ----------------------------------------------------------------------------------- */

TEST(a_fifo)
{
    static const mode_t masks[] = {0, 022, 0777};

    directory_make();
    for (size_t i = 0; i < 3; i++) {
        mode_t before = umask(masks[i]);
        struct listener *listener = make(request_of(
            "ListenFIFO=%s\nSocketMode=0666\nDirectoryMode=0711\nRemoveOnStop=yes\nPipeSize=128K\n",
            in("a/b/fifo")));
        int fd = listener_fd(listener);

        ASSERT_INT(umask(before), masks[i]);
        ASSERT_INT(mode_of(in("a/b/fifo")), S_IFIFO | 0666);
        ASSERT_INT(mode_of(in("a/b")), S_IFDIR | 0711);
        ASSERT_INT(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR | O_NONBLOCK);
        ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ASSERT_INT(fcntl(fd, F_GETPIPE_SZ), 128 << 10);
        ASSERT_STRING(listener_address(listener), in("a/b/fifo"));
        ASSERT_STRING(listener_fd_name(listener), "a.socket");
        ASSERT_INT(listener_family(listener), AF_UNSPEC);
        ASSERT_INT(listener_socket_type(listener), 0);
        ASSERT(listener_unit(listener) == unit_now && !listener_was_passed(listener));
        ASSERT(!listener_directory(listener));
        ASSERT_INT(listener_check(listener), HARK_LISTENER_IN_PLACE);
        int old;
        ASSERT_ERROR(listener_rebind(listener, &old), -EOPNOTSUPP);
        ASSERT(!listener_free(listener));
        ASSERT(!exists(in("a/b/fifo")) && !exists(in("a/b/fifo.lock")));
        ASSERT_STRING(request_done(), "");
    }
    directory_remove();
}

TEST(a_fifo_of_another_user)
{
    struct stat status;

    if (geteuid() != 0)
        SKIP("needs root");
    directory_make();
    for (size_t i = 0; i < 2; i++) { /* the second time it is there already */
        struct listener_request *request =
            request_of("ListenFIFO=%s\nSocketMode=0620\n", in("fifo"));
        request->owner = 65534;
        request->group = 65533;
        listener_free(make(request));
        ASSERT_CALL(stat(in("fifo"), &status));
        ASSERT_INT(status.st_uid, 65534);
        ASSERT_INT(status.st_gid, 65533);
        ASSERT_INT(status.st_mode, S_IFIFO | 0620);
        ASSERT_STRING(request_done(), "");
    }
    ASSERT_REFUSED(-EEXIST,
                   format_text("cannot listen on \"%s\": the FIFO that is there has mode 0620, "
                               "user 65534 and group 65533 instead of 0620, 0 and 0; remove it",
                               in("fifo")),
                   "ListenFIFO=%s\nSocketMode=0620\n", in("fifo"));
    ASSERT(exists(in("fifo")));
    /* A directory that gives its own group: what we make there, we take again. */
    ASSERT_CALL(mkdir(in("d"), 0755));
    ASSERT_CALL(chown(in("d"), 0, 100));
    ASSERT_CALL(chmod(in("d"), 02755));
    for (size_t i = 0; i < 2; i++) {
        ASSERT_OK(try_make(request_of("ListenFIFO=%s\n", in("d/fifo"))));
        ASSERT_CALL(stat(in("d/fifo"), &status));
        ASSERT_INT(status.st_gid, 100);
        (void)request_done();
    }
    /* But not against SocketGroup=. */
    struct listener_request *request = request_of("ListenFIFO=%s\n", in("d/other"));
    request->group = 65533;
    ASSERT_ERROR(try_make(request), -EOPNOTSUPP);
    ASSERT(!exists(in("d/other")));
    char text[300];
    listener_explain(request, -EOPNOTSUPP, text, sizeof(text));
    ASSERT_STRING(text, format_text("cannot listen on \"%s\": its directory gives files another "
                                    "owner, group or mode",
                                    in("d/other")));
    (void)request_done();
    directory_remove();
}

TEST(what_is_not_our_fifo)
{
    const char *reason = "there is something that is not a FIFO; move it away";

    directory_make();
    write_file(in("file"), "precious");
    ASSERT_CALL(mkfifo(in("fifo"), 0600));
    ASSERT_CALL(symlink("fifo", in("link")));
    ASSERT_CALL(mkdir(in("directory"), 0755));
    ASSERT_REFUSED(-EEXIST, format_text("cannot listen on \"%s\": %s", in("file"), reason),
                   "ListenFIFO=%s\n", in("file"));
    ASSERT_REFUSED(-EEXIST, format_text("cannot listen on \"%s\": %s", in("link"), reason),
                   "ListenFIFO=%s\n", in("link"));
    ASSERT_REFUSED(-EEXIST, format_text("cannot listen on \"%s\": %s", in("directory"), reason),
                   "ListenFIFO=%s\n", in("directory"));
    ASSERT_REFUSED(-ENOTDIR, format_text("cannot listen on \"%s\": Not a directory", in("file/x")),
                   "ListenFIFO=%s\n", in("file/x"));
    ASSERT_ERROR(try_make(request_of("ListenFIFO=%s\nRemoveOnStop=yes\n", in("fifo"))), -EEXIST);
    ASSERT(exists(in("fifo")));
    (void)request_done();
    ASSERT_STRING(read_file(in("file")), "precious");
    ASSERT_OK(try_make(request_of("ListenFIFO=%s\nSocketMode=0600\n", in("fifo"))));
    (void)request_done();
    ASSERT_OK(try_make(request_of("ListenFIFO=%s\nPipeSize=1G\nSocketMode=0600\n", in("fifo"))));
    if (geteuid() != 0)
        ASSERT_STRING(request_done(),
                      "u:3: warning: \"PipeSize=1G\" has no effect: Operation not permitted\n");
    else
        (void)request_done();
    directory_remove();
}

/* ---- Special files --------------------------------------------------------------------------- */

TEST(special_files)
{
    struct listener *listener = make(request_of("ListenSpecial=/dev/zero\nRemoveOnStop=yes\n"));

    ASSERT_INT(fcntl(listener_fd(listener), F_GETFL) & (O_ACCMODE | O_NONBLOCK),
               O_RDONLY | O_NONBLOCK);
    ASSERT(fcntl(listener_fd(listener), F_GETFD) & FD_CLOEXEC);
    ASSERT_STRING(listener_address(listener), "/dev/zero");
    ASSERT_INT(listener_family(listener), AF_UNSPEC);
    listener_flush(listener); /* always readable */
    listener_free(listener);
    ASSERT(exists("/dev/zero"));
    (void)request_done();
    listener = make(request_of("ListenSpecial=/dev/null\nWritable=yes\n"));
    ASSERT_INT(fcntl(listener_fd(listener), F_GETFL) & O_ACCMODE, O_RDWR);
    listener_flush(listener);
    listener_free(listener);
    (void)request_done();
    ASSERT_OK(try_make(request_of("ListenSpecial=/proc/self/mounts\n")));
    (void)request_done();
    directory_make();
    ASSERT_CALL(symlink("/dev/null", in("link")));
    ASSERT_REFUSED(
        -EEXIST,
        format_text("cannot listen on \"%s\": it is neither a character device nor a regular file",
                    directory_path),
        "ListenSpecial=%s\n", directory_path);
    ASSERT_REFUSED(-ELOOP,
                   format_text("cannot listen on \"%s\": it is a symbolic link; name what it leads "
                               "to",
                               in("link")),
                   "ListenSpecial=%s\n", in("link"));
    ASSERT_REFUSED(-ENOENT,
                   format_text("cannot listen on \"%s\": No such file or directory", in("none")),
                   "ListenSpecial=%s\n", in("none"));
    directory_remove();
}

/* ---- Message queues -------------------------------------------------------------------------- */

static const char *queue_name(void)
{
    return format_text("/hark-test-%d", (int)getpid());
}

static bool queue_exists(void)
{
    int fd = mq_open(queue_name(), O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

TEST(a_message_queue)
{
    static const mode_t masks[] = {0, 0777};
    struct mq_attr attributes;
    struct stat status;

    for (size_t i = 0; i < 2; i++) {
        mode_t before = umask(masks[i]);
        struct listener *listener =
            make(request_of("ListenMessageQueue=%s\nMessageQueueMaxMessages=4\n"
                            "MessageQueueMessageSize=99\nSocketMode=0640\nRemoveOnStop=yes\n",
                            queue_name()));
        int fd = listener_fd(listener);

        ASSERT_INT(umask(before), masks[i]);
        ASSERT_CALL(fstat(fd, &status));
        ASSERT_INT(status.st_mode & 07777, 0640);
        ASSERT_INT(status.st_uid, geteuid());
        ASSERT_CALL(mq_getattr(fd, &attributes));
        ASSERT_INT(attributes.mq_maxmsg, 4);
        ASSERT_INT(attributes.mq_msgsize, 99);
        ASSERT_INT(attributes.mq_flags, O_NONBLOCK);
        ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ASSERT_INT(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        ASSERT_STRING(listener_address(listener), format_text("mqueue %s", queue_name()));
        ASSERT(listener_fits(&request_now, fd));
        listener_free(listener);
        ASSERT(!queue_exists());
        ASSERT_STRING(request_done(), "");
    }
}

TEST(a_message_queue_that_is_there)
{
    struct mq_attr attributes;

    /* What is kept is found again, with its limits. */
    ASSERT_OK(try_make(request_of("ListenMessageQueue=%s\nMessageQueueMaxMessages=4\n"
                                  "MessageQueueMessageSize=99\n",
                                  queue_name())));
    (void)request_done();
    ASSERT(queue_exists());
    struct listener *listener =
        make(request_of("ListenMessageQueue=%s\nRemoveOnStop=yes\n", queue_name()));
    ASSERT_CALL(mq_getattr(listener_fd(listener), &attributes));
    ASSERT_INT(attributes.mq_maxmsg, 4);
    /* One that took its place is not removed. */
    ASSERT_CALL(mq_unlink(queue_name()));
    mode_t before = umask(0);
    int other = mq_open(queue_name(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600, NULL);
    umask(before);
    ASSERT_CALL(other);
    ASSERT(!listener_fits(&request_now, listener_fd(listener)));
    listener_free(listener);
    ASSERT(queue_exists());
    (void)request_done();
    ASSERT_REFUSED(-EEXIST,
                   format_text("cannot listen on \"%s\": there is a message queue of another mode "
                               "or owner; remove it",
                               queue_name()),
                   "ListenMessageQueue=%s\nSocketMode=0666\nRemoveOnStop=yes\n", queue_name());
    ASSERT(queue_exists());
    ASSERT_CALL(mq_unlink(queue_name()));
    close(other);
    if (geteuid() != 0)
        return;
    struct listener_request *request =
        request_of("ListenMessageQueue=%s\nRemoveOnStop=yes\nSocketMode=0600\n", queue_name());
    request->owner = 65534;
    request->group = 65533;
    listener = make(request);
    struct stat status;
    ASSERT_CALL(fstat(listener_fd(listener), &status));
    ASSERT_INT(status.st_uid, 65534);
    ASSERT_INT(status.st_gid, 65533);
    listener_free(listener);
    ASSERT(!queue_exists());
    ASSERT_STRING(request_done(), "");
}

/* ---- RemoveOnStop= --------------------------------------------------------------------------- */

TEST(names_stay_unless_they_are_to_be_removed)
{
    static const char *const keys[] = {"ListenStream", "ListenDatagram", "ListenFIFO"};

    directory_make();
    for (size_t i = 0; i < 3; i++) {
        for (size_t again = 0; again < 2; again++) {
            listener_free(make(request_of("%s=%s\n", keys[i], in("x"))));
            ASSERT(exists(in("x")) && !exists(in("x.lock")));
            (void)request_done();
        }
        listener_free(make(request_of("%s=%s\nRemoveOnStop=yes\n", keys[i], in("x"))));
        ASSERT(!exists(in("x")) && !exists(in("x.lock")));
        (void)request_done();
    }
    directory_remove();
}

TEST(what_took_the_place_stays)
{
    static const char *const keys[] = {"ListenStream", "ListenDatagram", "ListenFIFO"};

    directory_make();
    for (size_t i = 0; i < 3; i++) {
        struct listener *listener = make(request_of("%s=%s\nRemoveOnStop=yes\n", keys[i], in("x")));
        ASSERT_CALL(rename(in("x"), in("old")));
        write_file(in("x"), "precious");
        listener_free(listener);
        ASSERT_STRING(read_file(in("x")), "precious");
        ASSERT_CALL(unlink(in("x")));
        ASSERT_CALL(unlink(in("old")));
        (void)request_done();
    }
    directory_remove();
}

TEST(a_forked_child_removes_nothing)
{
    directory_make();
    struct listener *listener = make(request_of("ListenFIFO=%s\nRemoveOnStop=yes\n", in("x")));
    IN_CHILD(listener_free(listener));
    ASSERT(exists(in("x")));
    listener_free(listener);
    ASSERT(!exists(in("x")));
    (void)request_done();
    directory_remove();
}

/* ---- Symbolic links -------------------------------------------------------------------------- */

static const char *link_target(const char *path)
{
    static char target[4096];
    ssize_t length = readlink(path, target, sizeof(target) - 1);

    ASSERT_CALL(length);
    target[length] = '\0';
    return target;
}

/* Makes the links of the unit; what was said about it. */
static const char *make_links(void)
{
    struct problems problems = {0};

    symlinks_make(unit_now, &problems);
    return list_problems(&problems);
}

TEST(symbolic_links)
{
    directory_make();
    for (size_t i = 0; i < 2; i++) { /* a socket, a FIFO */
        (void)request_of("%s=%s\nSymlinks=%s %s\nListenNetlink=route\nDirectoryMode=0711\n",
                         i == 0 ? "ListenStream" : "ListenFIFO", in("x"), in("one"), in("d/e/two"));
        for (size_t again = 0; again < 2; again++) {
            ASSERT_STRING(make_links(), "");
            ASSERT_STRING(link_target(in("one")), in("x"));
            ASSERT_STRING(link_target(in("d/e/two")), in("x"));
        }
        ASSERT_INT(mode_of(in("d")), S_IFDIR | 0711);
        symlinks_remove(unit_now); /* without RemoveOnStop= */
        ASSERT(exists(in("one")) && exists(in("d/e/two")));
        (void)request_done();
    }
    (void)request_of("ListenFIFO=%s\nSymlinks=%s %s\nRemoveOnStop=yes\n", in("x"), in("one"),
                     in("d/e/two"));
    /* Only those that are ours still. */
    ASSERT_CALL(unlink(in("one")));
    ASSERT_CALL(symlink("elsewhere", in("one")));
    symlinks_remove(unit_now);
    ASSERT(exists(in("one")) && !exists(in("d/e/two")));
    symlinks_remove(unit_now);
    (void)request_done();
    (void)request_of("ListenStream=@x\n");
    ASSERT_STRING(make_links(), "");
    symlinks_remove(unit_now);
    (void)request_done();
    directory_remove();
}

TEST(symbolic_links_with_something_in_the_way)
{
    directory_make();
    write_file(in("file"), "");
    ASSERT_CALL(symlink("elsewhere", in("link")));
    ASSERT_CALL(mkdir(in("directory"), 0755));
    (void)request_of("ListenStream=%s\nSymlinks=%s\nSymlinks=%s\n", in("x"), in("file"),
                     in("link"));
    ASSERT_STRING(make_links(),
                  format_text("u:4: warning: cannot make the symbolic link \"%s\": File exists\n"
                              "u:4: warning: cannot make the symbolic link \"%s\": File exists\n",
                              in("file"), in("link")));
    ASSERT_STRING(link_target(in("link")), "elsewhere");
    (void)request_done();
    (void)request_of("ListenStream=%s\nSymlinks=%s %s %s\nRemoveOnStop=yes\n", in("x"), in("file"),
                     in("link"), in("directory"));
    ASSERT_STRING(
        make_links(),
        format_text("u:3: warning: cannot make the symbolic link \"%s\": Is a directory\n",
                    in("directory")));
    ASSERT_STRING(link_target(in("file")), in("x"));
    ASSERT_STRING(link_target(in("link")), in("x"));
    symlinks_remove(unit_now);
    ASSERT(!exists(in("file")) && !exists(in("link")) && exists(in("directory")));
    (void)request_done();
    directory_remove();
}

TEST(a_living_server_is_not_replaced_by_a_link)
{
    directory_make();
    struct hark_listener *server;
    ASSERT_OK(hark_listen(in("server"), NULL, &server));
    (void)request_of("ListenStream=%s\nSymlinks=%s\nRemoveOnStop=yes\n", in("x"), in("server"));
    ASSERT_STRING(make_links(),
                  format_text("u:3: warning: cannot make the symbolic link \"%s\": there is the "
                              "socket of a living server\n",
                              in("server")));
    ASSERT_INT(hark_listener_check(server), HARK_LISTENER_IN_PLACE);
    hark_listener_free(server);
    ASSERT_OK(mknod(in("server"), S_IFSOCK | 0600, 0)); /* a dead one */
    ASSERT_STRING(make_links(), "");
    ASSERT_STRING(link_target(in("server")), in("x"));
    symlinks_remove(unit_now);
    (void)request_done();
    directory_remove();
}
