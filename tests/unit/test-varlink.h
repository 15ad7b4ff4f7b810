/* SPDX-License-Identifier: MIT */
/* A Varlink server whose loop the test turns itself, and clients that send raw bytes to it. */
#pragma once

#include "test.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-event.h>

#include "basic/clock.h"
#include "varlink/varlink-server.h"

#define DEADLINE_USEC (20 * USEC_PER_SEC)
#define RAW_MAX       ((size_t)1024 * 1024)

static sd_event *event;
static struct varlink_server *server;
static char server_name[64]; /* abstract, without the '@' */
static struct varlink_call *kept[128];
static size_t n_kept, n_ended, n_oneway;

/* ---- The service ---------------------------------------------------------------------------- */

static int echo(struct varlink_call *call, void *userdata)
{
    ASSERT(userdata == server_name);
    return varlink_reply(call, json_incref(varlink_call_parameters(call)));
}

static int whoami(struct varlink_call *call, void *userdata)
{
    const struct ucred *peer = varlink_call_peer(call);

    (void)userdata;
    return varlink_reply(call, json_pack("{s:i, s:i}", "uid", (int)peer->uid, "pid", peer->pid));
}

/* {"size": n} bytes. */
static int large(struct varlink_call *call, void *userdata)
{
    json_int_t size = json_integer_value(json_object_get(varlink_call_parameters(call), "size"));
    char *text = malloc((size_t)size + 1);

    (void)userdata;
    ASSERT(text);
    memset(text, 'x', (size_t)size);
    int r = varlink_reply(call, json_pack("{s:s#}", "text", text, (int)size));
    free(text);
    if (r == -EMSGSIZE)
        return varlink_error(call, "org.example.test.TooLarge", json_object());
    return r;
}

static void on_end(struct varlink_call *call, void *userdata)
{
    size_t i = 0;

    ASSERT(userdata == kept);
    while (i < n_kept && kept[i] != call)
        i++;
    ASSERT(i < n_kept);
    ASSERT_ERROR(varlink_reply(call, json_object()), -EPIPE);
    ASSERT(!varlink_call_unref(call));
    kept[i] = kept[--n_kept];
    n_ended++;
}

static int keep(struct varlink_call *call, void *userdata)
{
    (void)userdata;
    ASSERT(n_kept < sizeof(kept) / sizeof(kept[0]));
    kept[n_kept++] = varlink_call_ref(call);
    varlink_call_on_end(call, on_end, kept);
    return 0;
}

static int forget(struct varlink_call *call, void *userdata)
{
    (void)userdata;
    if (varlink_call_is_oneway(call))
        n_oneway++;
    return 0;
}

static int fail(struct varlink_call *call, void *userdata)
{
    (void)call;
    (void)userdata;
    return -EIO;
}

static int twice(struct varlink_call *call, void *userdata)
{
    (void)userdata;
    ASSERT_ERROR(varlink_reply_more(call, json_object()), -EPROTO);
    ASSERT_ERROR(varlink_reply(call, NULL), -ENOMEM);
    ASSERT_OK(varlink_reply(call, json_object()));
    ASSERT_ERROR(varlink_reply(call, json_object()), -EALREADY);
    return 0;
}

static const struct varlink_method test_methods[] = {
    {.name = "Echo", .function = echo},
    {.name = "Whoami", .function = whoami},
    {.name = "Large", .function = large},
    {.name = "Keep", .function = keep},
    {.name = "Forget", .function = forget},
    {.name = "Stream", .function = keep, .needs_more = true},
    {.name = "Fail", .function = fail},
    {.name = "Twice", .function = twice},
};

static const struct varlink_interface test_interface = {
    .name = "org.example.test",
    .description = "interface org.example.test\nmethod Echo() -> ()\n",
    .methods = test_methods,
    .n_methods = sizeof(test_methods) / sizeof(test_methods[0]),
};

static int listen_abstract(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int n = snprintf(server_name, sizeof(server_name), "hark-varlink-%d", getpid());

    ASSERT_CALL(fd);
    memcpy(address.sun_path + 1, server_name, (size_t)n);
    ASSERT_CALL(bind(fd, (struct sockaddr *)&address,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)));
    ASSERT_CALL(listen(fd, 128));
    return fd;
}

static struct varlink_server_options test_options(void)
{
    return (struct varlink_server_options){
        .fd = listen_abstract(),
        .vendor = "Example",
        .product = "test",
        .version = "1",
        .url = "https://example.org/",
        .interfaces = &test_interface,
        .n_interfaces = 1,
        .priority = SD_EVENT_PRIORITY_IDLE,
        .userdata = server_name,
    };
}

static void begin_with(const struct varlink_server_options *options)
{
    (void)alarm(50); /* nothing here may block */
    n_kept = n_ended = n_oneway = 0;
    ASSERT_OK(sd_event_new(&event));
    ASSERT_OK(varlink_server_new(event, options, &server));
}

__attribute__((unused)) static struct varlink_server_options begin(void)
{
    struct varlink_server_options options = test_options();

    begin_with(&options);
    return options;
}

__attribute__((unused)) static void end(const struct varlink_server_options *options)
{
    ASSERT(!varlink_server_free(server));
    ASSERT_INT(n_kept, 0);
    sd_event_unref(event);
    close(options->fd);
    (void)alarm(0);
}

/* One turn of the loop: whether something was done. */
__attribute__((unused)) static bool turn(uint64_t wait_usec)
{
    int r = sd_event_run(event, wait_usec);

    ASSERT_OK(r);
    return r > 0;
}

/* Until there is nothing to do. Returns the number of turns. */
__attribute__((unused)) static size_t turn_all(void)
{
    size_t n = 0;

    while (turn(0))
        n++;
    return n;
}

/* Turns the loop until it is true. */
#define TURN_UNTIL(condition)                                                                      \
    do {                                                                                           \
        uint64_t end_ = monotonic_usec() + DEADLINE_USEC;                                          \
        while (!(condition)) {                                                                     \
            if (monotonic_usec() > end_)                                                           \
                TEST_FAIL("does not become true: %s", #condition);                                 \
            (void)turn(10 * USEC_PER_MSEC);                                                        \
        }                                                                                          \
    } while (0)

/* ---- Raw clients ---------------------------------------------------------------------------- */

__attribute__((unused)) static int connect_raw(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(server_name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    ASSERT_CALL(fd);
    memcpy(address.sun_path + 1, server_name, length);
    ASSERT_CALL(connect(fd, (struct sockaddr *)&address,
                        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)));
    return fd;
}

/* The text with its NUL byte. */
__attribute__((unused)) static void send_raw(int fd, const char *text)
{
    ASSERT_INT(send(fd, text, strlen(text) + 1, MSG_NOSIGNAL), strlen(text) + 1);
}

/* What is there without turning: the length, 0 at the end, -1 when nothing is. */
__attribute__((unused)) static ssize_t read_raw(int fd, char *text)
{
    ssize_t n = recv(fd, text, RAW_MAX - 1, 0);

    ASSERT(n >= 0 || errno == EAGAIN || errno == ECONNRESET);
    if (n < 0 && errno == ECONNRESET)
        n = 0;
    text[n > 0 ? n : 0] = '\0';
    return n;
}

/* The next message. */
__attribute__((unused)) static const char *receive_raw(int fd)
{
    static char text[RAW_MAX];
    size_t length = 0;
    ssize_t n = 0;

    while (length == 0 || text[length - 1] != '\0') {
        char byte = 1;

        TURN_UNTIL((n = recv(fd, &byte, 1, 0)) >= 0);
        ASSERT_INT(n, 1);
        ASSERT(length < sizeof(text));
        text[length++] = byte;
    }
    return text;
}

#define ASSERT_ANSWER(fd, request, answer)                                                         \
    do {                                                                                           \
        send_raw(fd, request);                                                                     \
        ASSERT_STRING(receive_raw(fd), answer);                                                    \
    } while (0)

/* The server closes it, without a word. */
__attribute__((unused)) static void assert_closed(int fd)
{
    static char text[RAW_MAX];
    ssize_t n = -1;

    TURN_UNTIL((n = read_raw(fd, text)) >= 0);
    if (n > 0)
        TEST_FAIL("not closed but sent \"%s\"", text);
}
