/* SPDX-License-Identifier: MIT */
/* Half a minute between two looks is too long for a test: time flies here, see below. */
#include "directory.h"
#include "test.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "basic/clock.h"
#include "supervisor/watch.h"

#define DEADLINE_USEC (20 * USEC_PER_SEC)

/* Takes the place of libsystemd's: spans of a second and more pass thirty times as fast. */
int sd_event_source_set_time_relative(sd_event_source *source, uint64_t usec)
{
    uint64_t now;

    if (usec >= USEC_PER_SEC)
        usec /= 30;
    ASSERT_OK(sd_event_now(sd_event_source_get_event(source), CLOCK_MONOTONIC, &now));
    return sd_event_source_set_time(source, now + usec);
}

static sd_event *event;
static struct listener *listener;
static struct watch *watch;
static unsigned n_lost;

static void on_lost(struct listener *lost, void *userdata)
{
    ASSERT(lost == listener);
    ASSERT(userdata == &n_lost);
    n_lost++;
}

static void listen_at(const char *address)
{
    struct hark_listen_options options = HARK_LISTEN_OPTIONS_INIT;
    struct hark_listener *socket;

    ASSERT_OK(hark_listen(address, &options, &socket));
    ASSERT_OK(listener_from_socket(socket, &listener));
}

static void begin(void)
{
    directory_make();
    ASSERT_CALL(mkdir(in("d"), 0700));
    listen_at(in("d/s"));
    ASSERT_OK(sd_event_new(&event));
    n_lost = 0;
    ASSERT_OK(watch_new(event, listener, on_lost, &n_lost, &watch));
    ASSERT(watch);
}

static void end(void)
{
    ASSERT(!watch_free(watch));
    listener = listener_free(listener);
    sd_event_unref(event);
    directory_remove();
}

static void run_for(uint64_t usec)
{
    uint64_t now = monotonic_usec(), until = now + usec;

    for (; now < until; now = monotonic_usec())
        ASSERT_OK(sd_event_run(event, until - now));
}

/* Waits for it; then it must be told once only. */
static void assert_lost(void)
{
    uint64_t deadline = monotonic_usec() + DEADLINE_USEC;

    while (n_lost == 0) {
        ASSERT(monotonic_usec() < deadline);
        ASSERT_OK(sd_event_run(event, 100 * USEC_PER_MSEC));
    }
    ASSERT_INT(n_lost, 1);
}

/* After the settle time, and far more than one look. */
static void assert_not_lost(void)
{
    run_for(500 * USEC_PER_MSEC);
    ASSERT_INT(n_lost, 0);
}

static int bind_other(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ASSERT_CALL(fd);
    ASSERT(strlen(path) < sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path));
    ASSERT_CALL(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    return fd;
}

TEST(a_quiet_path_is_not_lost)
{
    begin();
    assert_not_lost();
    /* What happens beside it is nobody's business. */
    write_file(in("d/other"), "x");
    ASSERT_CALL(unlink(in("d/other")));
    ASSERT_CALL(chmod(in("d/s"), 0666));
    assert_not_lost();
    end();
}

TEST(other_files_do_not_wake_it)
{
    begin();
    ASSERT_OK(sd_event_run(event, 0));
    for (int i = 0; i < 100; i++) {
        write_file(in("d/other"), "x");
        ASSERT_CALL(unlink(in("d/other")));
    }
    ASSERT_INT(sd_event_run(event, 0), 0);
    end();
}

TEST(unlink_is_noticed)
{
    begin();
    ASSERT_CALL(unlink(in("d/s")));
    assert_lost();
    end();
}

TEST(rename_is_noticed)
{
    begin();
    ASSERT_CALL(rename(in("d/s"), in("d/t")));
    assert_lost();
    end();
}

TEST(rename_over_it_is_noticed)
{
    begin();
    int other = bind_other(in("d/t"));
    ASSERT_CALL(rename(in("d/t"), in("d/s")));
    assert_lost();
    close(other);
    end();
}

TEST(a_renamed_directory_is_noticed)
{
    begin();
    ASSERT_CALL(rename(in("d"), in("e")));
    assert_lost();
    ASSERT_CALL(rename(in("e"), in("d"))); /* so that the listener can clean up */
    end();
}

TEST(who_comes_back_in_time_was_not_lost)
{
    begin();
    ASSERT_CALL(rename(in("d/s"), in("d/t")));
    ASSERT_OK(sd_event_run(event, 10 * USEC_PER_MSEC));
    ASSERT_CALL(rename(in("d/t"), in("d/s")));
    assert_not_lost();
    ASSERT_CALL(unlink(in("d/s"))); /* it is still watched */
    assert_lost();
    end();
}

TEST(after_binding_anew_the_new_one_is_watched)
{
    begin();
    for (int i = 0; i < 3; i++) {
        int old;

        ASSERT_CALL(unlink(in("d/s")));
        assert_lost();
        ASSERT_OK(listener_rebind(listener, &old));
        close(old);
        watch_resume(watch);
        n_lost = 0;
        assert_not_lost();
    }
    end();
}

TEST(resumed_without_being_in_place_it_is_lost_again)
{
    begin();
    ASSERT_CALL(unlink(in("d/s")));
    assert_lost();
    n_lost = 0;
    watch_resume(watch);
    assert_lost();
    end();
}

TEST(retries_come_ever_later)
{
    uint64_t before, spans[3];

    begin();
    ASSERT_CALL(unlink(in("d/s")));
    for (int i = 0; i < 3; i++) {
        before = monotonic_usec();
        assert_lost();
        spans[i] = monotonic_usec() - before;
        n_lost = 0;
        watch_retry(watch);
    }
    /* 1 s and 2 s, thirty times as fast: timers are never early. */
    ASSERT(spans[1] >= USEC_PER_SEC / 30);
    ASSERT(spans[2] >= 2 * USEC_PER_SEC / 30);
    end();
}

TEST(a_retry_that_finds_it_in_place_rests)
{
    int old;

    begin();
    ASSERT_CALL(unlink(in("d/s")));
    assert_lost();
    n_lost = 0;
    watch_retry(watch);
    ASSERT_OK(listener_rebind(listener, &old));
    close(old);
    assert_not_lost();
    ASSERT_CALL(unlink(in("d/s"))); /* and by inotify, not at the next look */
    assert_lost();
    end();
}

TEST(without_a_path_there_is_nothing_to_watch)
{
    char name[64];

    (void)snprintf(name, sizeof(name), "@hark-test-watch-%d", getpid());
    ASSERT_OK(sd_event_new(&event));
    listen_at(name);
    watch = (struct watch *)&n_lost;
    ASSERT_OK(watch_new(event, listener, on_lost, NULL, &watch));
    ASSERT(!watch);
    ASSERT(!watch_free(NULL));
    listener_free(listener);
    sd_event_unref(event);
}
