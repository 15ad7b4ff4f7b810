/* SPDX-License-Identifier: MIT */
#include "directory.h"
#include "test.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "basic/clock.h"
#include "supervisor/notify.h"

#define DEADLINE_USEC (20 * USEC_PER_SEC)

static sd_event *event;
static struct notify *notify;
static int manager; /* the socket the notifications come to */

/* ---- The manager ----------------------------------------------------------------------------- */

static void bind_manager(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);

    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ASSERT_CALL(manager);
    ASSERT(length < sizeof(address.sun_path));
    memcpy(address.sun_path, name, length);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    ASSERT_CALL(bind(manager, (struct sockaddr *)&address,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)));
    ASSERT_CALL(setenv("NOTIFY_SOCKET", name, 1));
}

static void begin_at(const char *name)
{
    (void)alarm(50); /* nothing here may block */
    bind_manager(name);
    ASSERT_OK(sd_event_new(&event));
    ASSERT_OK(notify_new(event, &notify));
}

static void begin(void)
{
    directory_make();
    begin_at(in("notify"));
}

static void end_at(void)
{
    ASSERT(!notify_free(notify));
    sd_event_unref(event);
    close(manager);
    (void)alarm(0);
}

static void end(void)
{
    end_at();
    directory_remove();
}

/* One datagram; NULL when there is none. */
static const char *receive(void)
{
    static char text[8192];
    ssize_t n = recv(manager, text, sizeof(text) - 1, 0);

    if (n < 0)
        return NULL;
    ASSERT(n <= 4096); /* all that systemd reads of one */
    text[n] = '\0';
    ASSERT_INT(strlen(text), n);
    return text;
}

/* The next datagram, as soon as it comes. */
static const char *await(void)
{
    uint64_t deadline = monotonic_usec() + DEADLINE_USEC;
    const char *text;

    while (!(text = receive())) {
        ASSERT(monotonic_usec() < deadline);
        ASSERT_OK(sd_event_run(event, 10 * USEC_PER_MSEC));
    }
    return text;
}

static void run_until_idle(void)
{
    uint64_t deadline = monotonic_usec() + DEADLINE_USEC;

    while (!notify_is_idle(notify)) {
        ASSERT(monotonic_usec() < deadline);
        ASSERT_OK(sd_event_run(event, 100 * USEC_PER_MSEC));
    }
}

/* ---- Addresses ------------------------------------------------------------------------------- */

TEST(without_a_manager_nothing_happens)
{
    static const char *const none[] = {NULL, ""};

    ASSERT_OK(sd_event_new(&event));
    for (int i = 0; i < 2; i++) {
        if (none[i])
            ASSERT_CALL(setenv("NOTIFY_SOCKET", none[i], 1));
        else
            ASSERT_CALL(unsetenv("NOTIFY_SOCKET"));
        ASSERT_OK(notify_new(event, &notify));
        ASSERT(!notify_is_wanted(notify));
        notify_state(notify, "READY=1");
        notify_status(notify, "x");
        notify_exit(notify, "X_HARK_EXIT=x");
        ASSERT(notify_is_idle(notify));
        ASSERT_INT(notify_lost(notify), 0);
        notify_free(notify);
    }
    ASSERT_INT(sd_event_run(event, 0), 0);
    sd_event_unref(event);
    ASSERT(!notify_free(NULL));
}

TEST(bad_addresses)
{
    char longest[200];
    struct notify *untouched = NULL;
    static const char *const bad[] = {"x", "./x", "/", "@", "vsock:2:3", "tcp:1"};

    ASSERT_OK(sd_event_new(&event));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ASSERT_CALL(setenv("NOTIFY_SOCKET", bad[i], 1));
        ASSERT_ERROR(notify_new(event, &untouched), -EINVAL);
    }
    memset(longest, 'x', sizeof(longest));
    longest[0] = '/';
    longest[108] = '\0'; /* as long as sun_path: not even room for the zero */
    ASSERT_CALL(setenv("NOTIFY_SOCKET", longest, 1));
    ASSERT_ERROR(notify_new(event, &untouched), -EINVAL);
    ASSERT(!untouched);
    longest[107] = '\0';
    ASSERT_CALL(setenv("NOTIFY_SOCKET", longest, 1));
    ASSERT_OK(notify_new(event, &notify));
    notify_free(notify);
    sd_event_unref(event);
}

TEST(an_abstract_manager)
{
    char name[64];

    (void)snprintf(name, sizeof(name), "@hark-test-notify-%d", getpid());
    begin_at(name);
    ASSERT(notify_is_wanted(notify));
    notify_state(notify, "READY=1");
    ASSERT_STRING(receive(), "READY=1");
    end_at();
}

/* ---- States ---------------------------------------------------------------------------------- */

TEST(states_go_out_at_once_and_alone)
{
    begin();
    notify_exit(notify, "X_HARK_EXIT=a");
    notify_status(notify, "fine");
    notify_state(notify, "READY=1");
    notify_state(notify, "WATCHDOG=1");
    notify_state(notify, "WATCHDOG=1");
    /* Without any turn of the loop: nothing but the line and the status may come before. */
    unsigned n_states = 0;
    for (const char *text; (text = receive());) {
        if (strncmp(text, "STATUS=", 7) == 0 || strncmp(text, "X_HARK", 6) == 0)
            continue;
        ASSERT_STRING(text, n_states == 0 ? "READY=1" : "WATCHDOG=1");
        n_states++;
    }
    ASSERT_INT(n_states, 3);
    end();
}

static unsigned fill(void)
{
    unsigned n = 0;

    do
        notify_state(notify, "FILL=1");
    while (notify_is_idle(notify) && ++n < 100000);
    ASSERT(n > 0 && n < 100000);
    return n;
}

TEST(states_wait_for_a_manager_that_does_not_read)
{
    begin();
    unsigned n = fill(); /* and one more is waiting */
    notify_state(notify, "WATCHDOG=1");
    notify_state(notify, "WATCHDOG=1"); /* a second one says no more */
    notify_state(notify, "STOPPING=1");
    ASSERT(!notify_is_idle(notify));
    for (unsigned i = 0; i < n; i++)
        ASSERT_STRING(receive(), "FILL=1");
    ASSERT_STRING(await(), "FILL=1");
    ASSERT_STRING(await(), "WATCHDOG=1");
    ASSERT_STRING(await(), "STOPPING=1");
    run_until_idle();
    ASSERT(!receive());
    end();
}

TEST(a_manager_that_comes_back)
{
    begin();
    const char *address = in("notify");
    close(manager);
    ASSERT_CALL(unlink(address));
    notify_state(notify, "READY=1");
    notify_exit(notify, "X_HARK_EXIT=a");
    ASSERT_OK(sd_event_run(event, 100 * USEC_PER_MSEC));
    ASSERT(!notify_is_idle(notify));
    bind_manager(address);
    ASSERT_STRING(await(), "READY=1");
    ASSERT_STRING(await(), "X_HARK_EXIT=a\n");
    end();
}

/* ---- Status ---------------------------------------------------------------------------------- */

TEST(the_newest_status_wins)
{
    unsigned n = 0;
    char last[64] = "";

    begin();
    uint64_t start = monotonic_usec();
    for (int i = 0; i < 1000; i++) {
        char text[32];

        (void)snprintf(text, sizeof(text), "status %d", i);
        notify_status(notify, text);
        ASSERT_OK(sd_event_run(event, 0));
    }
    run_until_idle();
    uint64_t took = monotonic_usec() - start;
    for (const char *text; (text = receive()); n++)
        (void)snprintf(last, sizeof(last), "%s", text);
    ASSERT_STRING(last, "STATUS=status 999");
    ASSERT(n >= 1 && n <= 2 + took / (100 * USEC_PER_MSEC)); /* at most ten a second */
    end();
}

TEST(the_same_status_is_not_sent_again)
{
    begin();
    notify_status(notify, "a");
    ASSERT_STRING(await(), "STATUS=a");
    notify_status(notify, "a");
    ASSERT(notify_is_idle(notify));
    notify_status(notify, "b");
    notify_status(notify, "a"); /* never mind */
    ASSERT(notify_is_idle(notify));
    notify_status(notify, "b");
    ASSERT_STRING(await(), "STATUS=b");
    end();
}

TEST(a_long_status_is_cut_off)
{
    char text[2000];

    begin();
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    notify_status(notify, text);
    size_t length = strlen(await());
    ASSERT(length > 200 && length < 1000);
    notify_status(notify, text);
    ASSERT(notify_is_idle(notify));
    end();
}

/* ---- Exits ----------------------------------------------------------------------------------- */

struct tally {
    uint64_t next;     /* number of the line that should come now */
    uint64_t received; /* lines */
    uint64_t lost;     /* sum of all X_HARK_LOST */
    unsigned datagrams;
};

/* Takes a datagram of numbered lines "X_HARK_EXIT=line %u …"; lines are never cut, never doubled
 * and never in another order. */
static void count(struct tally *tally, const char *datagram)
{
    ASSERT_INT(datagram[strlen(datagram) - 1], '\n');
    tally->datagrams++;
    for (const char *line = datagram; *line; line = strchr(line, '\n') + 1) {
        unsigned long long number;

        if (sscanf(line, "X_HARK_LOST=%llu\n", &number) == 1) {
            tally->lost += number;
            continue;
        }
        ASSERT_INT(sscanf(line, "X_HARK_EXIT=line %llu ", &number), 1);
        ASSERT(number >= tally->next);
        ASSERT_INT(strcspn(line, "\n") - strcspn(line, "|"), 1); /* whole */
        tally->next = number + 1;
        tally->received++;
    }
}

static void send_lines(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        char line[256];

        (void)snprintf(line, sizeof(line), "X_HARK_EXIT=line %u %.*s|", i, (int)(i % 100),
                       "pid=1234 code=exited status=0 runtime=1234us peer=unix:pid=1234,uid=1000 "
                       "and a little more of it for the sake of the length");
        notify_exit(notify, line);
    }
}

static void receive_until_idle(struct tally *tally)
{
    uint64_t deadline = monotonic_usec() + DEADLINE_USEC;

    while (!notify_is_idle(notify)) {
        ASSERT(monotonic_usec() < deadline);
        ASSERT_OK(sd_event_run(event, 100 * USEC_PER_MSEC));
        for (const char *text; (text = receive());)
            count(tally, text);
    }
    for (const char *text; (text = receive());)
        count(tally, text);
}

TEST(exit_lines_are_packed)
{
    struct tally tally = {0};

    begin();
    send_lines(0, 200);
    receive_until_idle(&tally);
    ASSERT_INT(tally.received, 200);
    ASSERT_INT(tally.lost, 0);
    ASSERT(tally.datagrams <= 8); /* of 4096 bytes, some 90 each */
    end();
}

TEST(a_reader_that_reads_gets_20000_lines)
{
    struct tally tally = {0};
    uint64_t deadline = monotonic_usec() + DEADLINE_USEC;

    begin();
    for (unsigned i = 0; i < 20000; i += 100) {
        send_lines(i, i + 100);
        /* As fast as it goes, but not faster than the pace that is promised to the manager. */
        do {
            ASSERT(monotonic_usec() < deadline);
            ASSERT_OK(sd_event_run(event, 10 * USEC_PER_MSEC));
            for (const char *text; (text = receive());)
                count(&tally, text);
        } while (tally.received + 8000 < i);
    }
    receive_until_idle(&tally);
    ASSERT_INT(tally.received, 20000);
    ASSERT_INT(tally.lost, 0);
    ASSERT_INT(notify_lost(notify), 0);
    end();
}

TEST(what_a_sleeping_reader_misses_is_counted_exactly)
{
    struct tally tally = {0};

    begin();
    for (unsigned i = 0; i < 40000; i += 1000) {
        send_lines(i, i + 1000); /* does not block: see alarm() */
        ASSERT_OK(sd_event_run(event, USEC_PER_MSEC));
    }
    uint64_t lost = notify_lost(notify);
    ASSERT(lost > 0 && lost < 40000);
    receive_until_idle(&tally);
    ASSERT_INT(tally.lost, lost);
    ASSERT_INT(tally.received, 40000 - lost);
    /* It is told once, and from now on nothing is missing. */
    send_lines(40000, 40100);
    receive_until_idle(&tally);
    ASSERT_INT(tally.received + tally.lost, 40100);
    ASSERT_INT(tally.lost, lost);
    end();
}

TEST(the_loss_is_told_without_a_further_line)
{
    char line[3000];

    begin();
    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    notify_exit(notify, line); /* too long for any datagram of several */
    ASSERT_INT(notify_lost(notify), 1);
    ASSERT(!notify_is_idle(notify));
    ASSERT_STRING(await(), "X_HARK_LOST=1\n");
    run_until_idle();
    end();
}

TEST(an_idle_notifier_sleeps)
{
    begin();
    notify_state(notify, "READY=1");
    notify_status(notify, "x");
    send_lines(0, 10);
    run_until_idle();
    ASSERT_OK(sd_event_run(event, 0));
    ASSERT_INT(sd_event_run(event, 300 * USEC_PER_MSEC), 0);
    end();
}

static void on_idle(void *userdata)
{
    ++*(unsigned *)userdata;
}

/* The last words of a supervisor: all of a full queue, and a word when it is out. */
TEST(in_a_hurry_nothing_is_paced_and_nothing_lost)
{
    struct tally tally = {0};
    unsigned n_idle = 0;
    uint64_t deadline = monotonic_usec() + DEADLINE_USEC;

    begin();
    send_lines(0, 5000);
    notify_hurry(notify, on_idle, &n_idle);
    while (n_idle == 0) {
        ASSERT(monotonic_usec() < deadline);
        ASSERT_OK(sd_event_run(event, 100 * USEC_PER_MSEC));
        for (const char *text; (text = receive());)
            count(&tally, text);
    }
    for (const char *text; (text = receive());)
        count(&tally, text);
    ASSERT(notify_is_idle(notify));
    ASSERT_INT(tally.received, 5000);
    ASSERT_INT(notify_lost(notify), 0);
    end();
}

/* ---- Descriptors for the manager ------------------------------------------------------------- */

/* One datagram, with the descriptor that came with it or -1; NULL when there is none. */
static const char *receive_with_descriptor(int *ret_fd)
{
    static char text[8192];
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(8 * sizeof(int))];
    } control;
    struct iovec vector = {.iov_base = text, .iov_len = sizeof(text) - 1};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(manager, &message, MSG_CMSG_CLOEXEC);

    if (n < 0)
        return NULL;
    text[n] = '\0';
    *ret_fd = -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header) {
        ASSERT_INT(header->cmsg_type, SCM_RIGHTS);
        ASSERT_INT(header->cmsg_len, CMSG_LEN(sizeof(int)));
        memcpy(ret_fd, CMSG_DATA(header), sizeof(*ret_fd));
    }
    return text;
}

static bool is_same_file(int one, int other)
{
    struct stat a, b;

    ASSERT_CALL(fstat(one, &a));
    ASSERT_CALL(fstat(other, &b));
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* What work() is to send, and how often it was called. */
static int to_store;
static unsigned n_calls, n_sent;

static int store_one(void *userdata)
{
    int r = notify_store(notify, userdata, to_store);

    n_calls++;
    n_sent += r >= 0;
    return r;
}

TEST(descriptors_are_stored_and_forgotten)
{
    int fd;

    begin();
    to_store = manager;
    notify_on_store(notify, store_one, (void *)"hark-foo-1");
    notify_state(notify, "READY=1");
    notify_store_later(notify);
    notify_store_later(notify);
    ASSERT_INT(n_calls, 0); /* never from within */
    ASSERT(!notify_is_idle(notify));
    run_until_idle();
    ASSERT_INT(n_calls, 1);
    ASSERT_STRING(receive_with_descriptor(&fd), "READY=1");
    ASSERT_INT(fd, -1);
    ASSERT_STRING(receive_with_descriptor(&fd), "FDSTORE=1\nFDNAME=hark-foo-1\nFDPOLL=0");
    ASSERT(fd >= 0 && is_same_file(fd, manager));
    close(fd);
    ASSERT_OK(notify_forget(notify, "hark-foo-1"));
    ASSERT_STRING(receive_with_descriptor(&fd), "FDSTOREREMOVE=1\nFDNAME=hark-foo-1");
    ASSERT_INT(fd, -1);
    ASSERT(!receive());
    end();
}

TEST(names_of_descriptors)
{
    char longest[258];
    static const char *const bad[] = {"", "a:b", "a\nFDSTORE=1", "\x7f", "\xc3\xa4"};

    begin();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ASSERT_ERROR(notify_store(notify, bad[i], manager), -EINVAL);
        ASSERT_ERROR(notify_forget(notify, bad[i]), -EINVAL);
    }
    memset(longest, 'x', 256);
    longest[256] = '\0';
    ASSERT_ERROR(notify_store(notify, longest, manager), -EINVAL);
    longest[255] = '\0';
    ASSERT_ERROR(notify_store(notify, longest, -1), -EINVAL);
    ASSERT(!receive());
    ASSERT_OK(notify_forget(notify, longest));
    ASSERT_INT(strlen(receive()), strlen("FDSTOREREMOVE=1\nFDNAME=") + 255);
    end();
}

/* The descriptor that is stored is the one that is right when the manager reads at last. */
TEST(what_is_stored_late_is_what_is_there_then)
{
    int late[2], fd;
    uint64_t deadline = monotonic_usec() + DEADLINE_USEC;

    begin();
    n_calls = n_sent = 0;
    unsigned n = fill();
    to_store = manager;
    notify_on_store(notify, store_one, (void *)"hark-foo-1");
    notify_store_later(notify);
    ASSERT_OK(sd_event_run(event, 100 * USEC_PER_MSEC));
    ASSERT(!notify_is_idle(notify));
    ASSERT_INT(n_sent, 0);
    ASSERT_CALL(pipe(late));
    to_store = late[0];
    for (unsigned i = 0; i < n; i++)
        ASSERT_STRING(receive(), "FILL=1");
    ASSERT_STRING(await(), "FILL=1");
    const char *text;
    while (!(text = receive_with_descriptor(&fd))) {
        ASSERT(monotonic_usec() < deadline);
        ASSERT_OK(sd_event_run(event, 10 * USEC_PER_MSEC));
    }
    ASSERT_STRING(text, "FDSTORE=1\nFDNAME=hark-foo-1\nFDPOLL=0");
    ASSERT(fd >= 0 && is_same_file(fd, late[0]));
    close(fd);
    run_until_idle();
    ASSERT_INT(n_sent, 1);
    ASSERT_INT(sd_event_run(event, 300 * USEC_PER_MSEC), 0); /* and sleeps */
    close(late[0]);
    close(late[1]);
    end();
}

TEST(nothing_is_stored_for_who_may_not)
{
    static const struct {
        const char *most, *pressure;
        bool may;
    } managers[] = {
        {"0", NULL, false}, {"1", NULL, true},          {"1", "/proc/pressure/memory", true},
        {NULL, NULL, true}, {NULL, "/dev/null", false}, /* of systemd 254 or later */
    };

    for (size_t i = 0; i < sizeof(managers) / sizeof(managers[0]); i++) {
        ASSERT_CALL(unsetenv("FDSTORE"));
        ASSERT_CALL(unsetenv("MEMORY_PRESSURE_WATCH"));
        if (managers[i].most)
            ASSERT_CALL(setenv("FDSTORE", managers[i].most, 1));
        if (managers[i].pressure)
            ASSERT_CALL(setenv("MEMORY_PRESSURE_WATCH", managers[i].pressure, 1));
        begin();
        n_calls = 0;
        to_store = manager;
        notify_on_store(notify, store_one, (void *)"hark-foo-1");
        notify_store_later(notify);
        ASSERT_INT(notify_is_idle(notify), !managers[i].may);
        run_until_idle();
        ASSERT_INT(n_calls, managers[i].may);
        end();
    }
    ASSERT_CALL(unsetenv("FDSTORE"));
    ASSERT_CALL(unsetenv("MEMORY_PRESSURE_WATCH"));
}
