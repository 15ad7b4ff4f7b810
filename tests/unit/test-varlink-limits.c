/* SPDX-License-Identifier: MIT */
/* What clients may try to do to the server. */
#include "test-varlink.h"

#include <sys/resource.h>

#define ECHO      "{\"method\":\"org.example.test.Echo\"}"
#define WHOAMI    "{\"method\":\"org.example.test.Whoami\"}"
#define EMPTY     "{\"parameters\":{}}"
#define NOBODY    65534
#define SOME_USER 54321

static struct varlink_server_options begin_small(uint64_t timeout_usec, size_t connections)
{
    struct varlink_server_options options = test_options();

    options.timeout_usec = timeout_usec;
    options.max_connections = connections;
    begin_with(&options);
    return options;
}

TEST(idle_wakes_nobody)
{
    struct varlink_server_options options = begin_small(50 * USEC_PER_MSEC, 0);
    int silent = connect_raw(), asked = connect_raw(), keeps = connect_raw();
    uint64_t begun = monotonic_usec();

    ASSERT_ANSWER(asked, ECHO, EMPTY);
    send_raw(keeps, "{\"method\":\"org.example.test.Keep\"}");
    TURN_UNTIL(n_kept == 1);
    turn_all();
    /* The deadline passes many times over. */
    while (monotonic_usec() - begun < 400 * USEC_PER_MSEC)
        ASSERT(!turn(USEC_PER_SEC / 2));
    ASSERT_INT(varlink_server_connections(server), 3);
    close(silent);
    close(asked);
    close(keeps);
    TURN_UNTIL(varlink_server_connections(server) == 0);
    end(&options);
}

TEST(half_a_request_has_a_deadline)
{
    struct varlink_server_options options = begin_small(100 * USEC_PER_MSEC, 0);
    int fd = connect_raw(), slow = connect_raw();

    TURN_UNTIL(varlink_server_connections(server) == 2);
    ASSERT_INT(send(fd, "{", 1, 0), 1);
    ASSERT_INT(send(slow, "{", 1, 0), 1);
    uint64_t begun = monotonic_usec();
    while (varlink_server_connections(server) > 0) {
        (void)turn(5 * USEC_PER_MSEC);
        (void)send(slow, " ", 1, MSG_NOSIGNAL); /* one byte now and then does not help */
        ASSERT(monotonic_usec() - begun < DEADLINE_USEC);
    }
    ASSERT(monotonic_usec() - begun >= 100 * USEC_PER_MSEC);
    assert_closed(fd);
    close(fd);
    close(slow);
    end(&options);
}

static size_t n_host;

static int on_host(sd_event_source *source, void *userdata)
{
    (void)userdata;
    n_host++;
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Time passes in which the host has other things to do. */
static void be_late(uint64_t usec)
{
    uint64_t begun = monotonic_usec();
    sd_event_source *host;

    ASSERT_OK(sd_event_add_defer(event, &host, on_host, NULL));
    while (monotonic_usec() - begun < usec)
        ASSERT(turn(0));
    sd_event_source_disable_unref(host);
}

TEST(a_host_that_is_late_blames_no_client)
{
    static const char requests[] = ECHO "\0" ECHO "\0" ECHO;
    struct varlink_server_options options = begin_small(50 * USEC_PER_MSEC, 0);
    int half = connect_raw(), many;

    TURN_UNTIL(varlink_server_connections(server) == 1);
    ASSERT_INT(send(half, ECHO, 10, 0), 10);
    ASSERT(turn(0));
    ASSERT_INT(send(half, &ECHO[10], sizeof(ECHO) - 10, 0), sizeof(ECHO) - 10);
    be_late(200 * USEC_PER_MSEC);
    ASSERT_STRING(receive_raw(half), EMPTY);

    many = connect_raw();
    TURN_UNTIL(varlink_server_connections(server) == 2);
    ASSERT_INT(send(many, requests, sizeof(requests), 0), sizeof(requests));
    for (int i = 0; i < 3; i++) {
        ASSERT_STRING(receive_raw(many), EMPTY);
        be_late(100 * USEC_PER_MSEC);
    }
    close(half);
    close(many);
    end(&options);
}

TEST(an_unread_answer_has_a_deadline)
{
    struct varlink_server_options options = begin_small(100 * USEC_PER_MSEC, 0);
    int fd = connect_raw(), good = connect_raw();

    send_raw(fd, "{\"method\":\"org.example.test.Large\",\"parameters\":{\"size\":4000000}}");
    ASSERT_ANSWER(good, ECHO, EMPTY);
    TURN_UNTIL(varlink_server_connections(server) == 1);
    ASSERT_ANSWER(good, ECHO, EMPTY);
    close(fd);
    close(good);
    end(&options);
}

/* Reads all of a long answer, in more time than one deadline. Whether it was read in time: a busy
 * machine may be as slow as those that are to be closed. */
static bool read_slowly(uint64_t timeout_usec)
{
    static char text[RAW_MAX];
    size_t total = 0, wanted = 3000000 + sizeof("{\"parameters\":{\"text\":\"\"}}");
    uint64_t begun = monotonic_usec(), last = begun;
    bool late = false;
    int fd = connect_raw();

    send_raw(fd, "{\"method\":\"org.example.test.Large\",\"parameters\":{\"size\":3000000}}");
    while (total < wanted) {
        (void)turn(5 * USEC_PER_MSEC);
        if (monotonic_usec() - last < timeout_usec / 4)
            continue;
        late = late || monotonic_usec() - last > timeout_usec / 2;
        ssize_t n = read_raw(fd, text); /* all that the socket holds */
        if (n == 0 && late) {
            close(fd);
            return false;
        }
        ASSERT(n != 0);
        total += n > 0 ? (size_t)n : 0;
        last = monotonic_usec();
    }
    ASSERT(monotonic_usec() - begun > timeout_usec);
    close(fd);
    return true;
}

TEST(a_slow_reader_that_reads_is_waited_for)
{
    struct varlink_server_options options = begin_small(200 * USEC_PER_MSEC, 0);

    while (!read_slowly(200 * USEC_PER_MSEC))
        ;
    end(&options);
}

TEST(a_request_beyond_the_bound)
{
    struct varlink_server_options options = begin();
    static char text[VARLINK_REQUEST_MAX + 1];
    int fd = connect_raw();

    /* The longest that is taken … */
    memset(text, ' ', sizeof(text));
    memcpy(text, ECHO, strlen(ECHO));
    text[VARLINK_REQUEST_MAX - 1] = '\0';
    ASSERT_ANSWER(fd, text, EMPTY);
    /* … and one byte more. */
    text[VARLINK_REQUEST_MAX - 1] = ' ';
    ASSERT_INT(send(fd, text, VARLINK_REQUEST_MAX, 0), VARLINK_REQUEST_MAX);
    assert_closed(fd);
    close(fd);
    end(&options);
}

TEST(a_stream_may_stand_still)
{
    struct varlink_server_options options = begin_small(50 * USEC_PER_MSEC, 0);
    static char text[RAW_MAX];
    const size_t n = 40, size = sizeof("{\"parameters\":{\"x\":\"\"},\"continues\":true}") + 9999;
    int fd = connect_raw();
    uint64_t begun;
    size_t total = 0;

    memset(text, 'x', 9999);
    text[9999] = '\0';
    send_raw(fd, "{\"method\":\"org.example.test.Stream\",\"more\":true}");
    TURN_UNTIL(n_kept == 1);
    for (size_t i = 0; i < n; i++) /* more than a socket holds */
        ASSERT_OK(varlink_reply_more(kept[0], json_pack("{s:s}", "x", text)));
    begun = monotonic_usec();
    while (monotonic_usec() - begun < 200 * USEC_PER_MSEC)
        (void)turn(10 * USEC_PER_MSEC);
    ASSERT_INT(n_ended, 0);
    while (total < n * size) {
        ssize_t got = -1;

        TURN_UNTIL((got = read_raw(fd, text)) >= 0);
        ASSERT(got > 0);
        total += (size_t)got;
    }
    ASSERT_INT(total, n * size);
    close(fd);
    TURN_UNTIL(n_ended == 1);
    end(&options);
}

static size_t n_room;

static void on_room(struct varlink_call *call, void *userdata)
{
    ASSERT(userdata == &n_room);
    ASSERT_OK(varlink_reply_more(call, json_object()));
    n_room++;
}

/* So many messages go to a client that does not read. */
static size_t fill_stream(const char *text)
{
    size_t n = 0;
    int r;

    while ((r = varlink_reply_more(kept[0], json_pack("{s:s}", "x", text))) == 0)
        ASSERT(++n < 1000);
    ASSERT_ERROR(r, -ENOBUFS);
    ASSERT(n * strlen(text) >= VARLINK_STREAM_MAX);
    return n;
}

/* Reads so many bytes. */
static size_t read_stream(int fd, size_t wanted)
{
    static char text[RAW_MAX];
    size_t total = 0;

    while (total < wanted) {
        ssize_t got = -1;

        TURN_UNTIL((got = read_raw(fd, text)) >= 0);
        ASSERT(got > 0);
        total += (size_t)got;
    }
    return total;
}

TEST(a_stream_that_is_not_read)
{
    static const char room[] = "{\"parameters\":{},\"continues\":true}";
    struct varlink_server_options options = begin();
    static char text[10000];
    const size_t size =
        sizeof("{\"parameters\":{\"x\":\"\"},\"continues\":true}") + sizeof(text) - 1;
    int fd = connect_raw(), good = connect_raw();

    n_room = 0;
    memset(text, 'x', sizeof(text) - 1);
    send_raw(fd, "{\"method\":\"org.example.test.Stream\",\"more\":true}");
    TURN_UNTIL(n_kept == 1);
    varlink_call_on_room(kept[0], on_room, &n_room);
    for (size_t round = 1; round <= 2; round++) {
        size_t n = fill_stream(text);

        ASSERT_ERROR(varlink_reply_more(kept[0], json_object()), -ENOBUFS);
        ASSERT_ANSWER(good, ECHO, EMPTY);
        ASSERT_INT(n_room, round - 1);
        ASSERT_INT(read_stream(fd, n * size + sizeof(room)), n * size + sizeof(room));
        ASSERT_INT(n_room, round);
    }
    (void)fill_stream(text);
    ASSERT_OK(varlink_reply(kept[0], json_object())); /* the last one has its place */
    varlink_call_unref(kept[0]);
    n_kept = 0;
    close(fd);
    TURN_UNTIL(varlink_server_connections(server) == 1);
    ASSERT_INT(n_room, 2);
    ASSERT_ANSWER(good, ECHO, EMPTY);
    close(good);
    end(&options);
}

TEST(a_stream_that_is_not_read_until_it_is_closed)
{
    struct varlink_server_options options = begin();
    static char text[10000];
    int fd = connect_raw();

    memset(text, 'x', sizeof(text) - 1);
    send_raw(fd, "{\"method\":\"org.example.test.Stream\",\"more\":true}");
    TURN_UNTIL(n_kept == 1);
    (void)fill_stream(text);
    close(fd); /* nobody has asked to be told of room */
    TURN_UNTIL(n_ended == 1);
    end(&options);
}

TEST(a_flood_does_not_stop_the_host)
{
    struct varlink_server_options options = begin();
    static char text[RAW_MAX];
    sd_event_source *host;
    size_t n_answers = 0;
    int fds[8];

    n_host = 0;
    for (size_t i = 0; i < 8; i++)
        fds[i] = connect_raw();
    turn_all();
    /* Work of the host that is always due goes before all that clients want. */
    ASSERT_OK(sd_event_add_defer(event, &host, on_host, NULL));
    ASSERT_OK(sd_event_source_set_priority(host, SD_EVENT_PRIORITY_IDLE - 1));
    int another = connect_raw();
    for (size_t i = 0; i < 200; i++) {
        for (size_t j = 0; j < 8; j++)
            (void)send(fds[j], ECHO, sizeof(ECHO), MSG_NOSIGNAL);
        ASSERT(turn(0));
    }
    ASSERT_INT(n_host, 200);
    ASSERT_INT(varlink_server_connections(server), 8);
    for (size_t j = 0; j < 8; j++)
        ASSERT_INT(read_raw(fds[j], text), -1);
    /* Without it, everybody gets the same. */
    sd_event_source_disable_unref(host);
    for (size_t i = 0; i < 80; i++)
        ASSERT(turn(0));
    for (size_t j = 0; j < 8; j++) {
        ssize_t n = read_raw(fds[j], text);

        ASSERT(n > 0);
        n_answers += (size_t)n / sizeof(EMPTY);
        close(fds[j]);
    }
    ASSERT(n_answers <= 80);
    close(another);
    end(&options);
}

TEST(who_is_silent_for_longest_makes_room)
{
    struct varlink_server_options options = begin_small(500 * USEC_PER_MSEC, 3);
    int first = connect_raw(), second, third, fourth;

    ASSERT_ANSWER(first, ECHO, EMPTY);
    second = connect_raw();
    ASSERT_ANSWER(second, ECHO, EMPTY);
    third = connect_raw();
    send_raw(third, "{\"method\":\"org.example.test.Keep\"}");
    TURN_UNTIL(n_kept == 1);
    ASSERT_ANSWER(first, ECHO, EMPTY); /* now it is the second */
    fourth = connect_raw();
    ASSERT_ANSWER(fourth, ECHO, EMPTY);
    assert_closed(second);
    ASSERT_INT(varlink_server_connections(server), 3);
    ASSERT_ANSWER(first, ECHO, EMPTY);
    ASSERT_INT(n_ended, 0);
    close(first);
    close(second);
    close(third);
    close(fourth);
    TURN_UNTIL(n_ended == 1);
    end(&options);
}

TEST(without_room_the_next_one_waits_quietly)
{
    struct varlink_server_options options = begin_small(100 * USEC_PER_MSEC, 2);
    int busy[2] = {connect_raw(), connect_raw()}, waiting;
    uint64_t begun = monotonic_usec();

    for (size_t i = 0; i < 2; i++) {
        send_raw(busy[i], "{\"method\":\"org.example.test.Keep\"}");
        TURN_UNTIL(n_kept == i + 1);
    }
    waiting = connect_raw();
    send_raw(waiting, ECHO);
    (void)turn_all();
    while (monotonic_usec() - begun < 300 * USEC_PER_MSEC)
        ASSERT(!turn(USEC_PER_SEC / 2));
    close(busy[1]);
    ASSERT_STRING(receive_raw(waiting), EMPTY);
    close(busy[0]);
    close(waiting);
    TURN_UNTIL(n_ended == 2);
    end(&options);
}

/* As another user: what it is answered, and whether it is closed then. */
static void ask_as(uid_t uid, const char *wanted, bool closed)
{
    static char text[RAW_MAX];
    int status = 0;
    pid_t pid;

    fflush(NULL);
    ASSERT_CALL(pid = fork());
    if (pid == 0) {
        (void)alarm(20);
        ASSERT_CALL(setresuid(uid, uid, uid));
        int fd = connect_raw();
        ASSERT_CALL(fcntl(fd, F_SETFL, 0));
        (void)send(fd, WHOAMI, sizeof(WHOAMI), MSG_NOSIGNAL);
        ASSERT(read_raw(fd, text) > 0);
        if (!strstr(text, wanted))
            TEST_FAIL("%s", text);
        ASSERT(!closed || read_raw(fd, text) == 0);
        _exit(0);
    }
    TURN_UNTIL(waitpid(pid, &status, WNOHANG) == pid);
    ASSERT_INT(status, 0);
}

TEST(others_are_refused)
{
    if (geteuid() != 0)
        SKIP("needs root");
    struct varlink_server_options options = test_options();
    static const uid_t uids[] = {SOME_USER};
    int good = -1;

    options.uids = uids;
    options.n_uids = 1;
    begin_with(&options);
    good = connect_raw();
    ask_as(NOBODY, "{\"error\":\"org.varlink.service.PermissionDenied\",\"parameters\":{}}", true);
    char wanted[32];
    snprintf(wanted, sizeof(wanted), "\"uid\":%d,", SOME_USER);
    ask_as(SOME_USER, wanted, false);
    ASSERT_ANSWER(good, ECHO, EMPTY);
    TURN_UNTIL(varlink_server_connections(server) == 1);
    close(good);
    end(&options);
}

/* Holds n connections, each with a call that is kept, until it is killed. */
static pid_t hold_as(uid_t uid, size_t n)
{
    pid_t pid;

    fflush(NULL);
    ASSERT_CALL(pid = fork());
    if (pid == 0) {
        (void)alarm(40);
        ASSERT_CALL(setresuid(uid, uid, uid));
        for (size_t i = 0; i < n; i++)
            send_raw(connect_raw(), "{\"method\":\"org.example.test.Keep\"}");
        for (;;)
            pause();
    }
    return pid;
}

TEST(one_user_cannot_take_all)
{
    if (geteuid() != 0)
        SKIP("needs root");
    struct varlink_server_options options = test_options();
    static const uid_t uids[] = {SOME_USER};
    int good = -1;
    pid_t pid;

    options.uids = uids;
    options.n_uids = 1;
    options.max_connections_per_uid = 4;
    begin_with(&options);
    pid = hold_as(SOME_USER, 20);
    TURN_UNTIL(n_kept == 4);
    turn_all();
    ASSERT_INT(varlink_server_connections(server), 4);
    good = connect_raw(); /* as root */
    ASSERT_ANSWER(good, ECHO, EMPTY);
    close(good);
    ASSERT_CALL(kill(pid, SIGKILL));
    ASSERT_INT(waitpid(pid, NULL, 0), pid);
    TURN_UNTIL(n_ended == 4);
    end(&options);
}

TEST(without_descriptors_it_waits_a_moment)
{
    struct varlink_server_options options = begin();
    struct rlimit old, none;
    int fd = connect_raw();
    size_t turns = 0;
    uint64_t begun = monotonic_usec();

    send_raw(fd, ECHO);
    ASSERT_CALL(getrlimit(RLIMIT_NOFILE, &old));
    none = old;
    none.rlim_cur = (rlim_t)fd + 1; /* all below is in use */
    ASSERT_CALL(setrlimit(RLIMIT_NOFILE, &none));
    TURN_UNTIL(++turns > 1000 || monotonic_usec() - begun > 250 * USEC_PER_MSEC);
    ASSERT_INT(varlink_server_connections(server), 0);
    ASSERT(turns <= 250 / 10 + 10); /* each waited for as long as it could, or was a try */
    ASSERT_CALL(setrlimit(RLIMIT_NOFILE, &old));
    ASSERT_STRING(receive_raw(fd), EMPTY);
    close(fd);
    end(&options);
}

TEST(descriptors_that_are_sent_along_are_dropped)
{
    struct varlink_server_options options = begin();
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control = {.header = {.cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS,
                            .cmsg_len = CMSG_LEN(sizeof(int))}};
    struct iovec data = {.iov_base = (char[]){ECHO}, .iov_len = sizeof(ECHO)};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    int fd = connect_raw(), pair[2];
    char byte;

    ASSERT_CALL(pipe2(pair, O_CLOEXEC));
    memcpy(CMSG_DATA(&control.header), &pair[1], sizeof(int));
    ASSERT_INT(sendmsg(fd, &message, 0), sizeof(ECHO));
    close(pair[1]);
    ASSERT_STRING(receive_raw(fd), EMPTY);
    ASSERT_INT(read(pair[0], &byte, 1), 0); /* nobody has it any more */
    close(pair[0]);
    close(fd);
    end(&options);
}
