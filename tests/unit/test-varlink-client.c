/* SPDX-License-Identifier: MIT */
#include "directory.h"
#include "test-varlink.h"

#include <poll.h>
#include <signal.h>

#include "varlink/varlink-client.h"

#define FOREVER UINT64_MAX

static pid_t server_pid;
static struct varlink_client *client;
static struct varlink_answer answer;

/* ---- A server in a process of its own ------------------------------------------------------- */

/* What is kept gets three replies, and then stands still. */
static int on_kept(sd_event_source *source, void *userdata)
{
    (void)source;
    (void)userdata;
    if (n_kept > 0 && varlink_call_wants_more(kept[0])) {
        for (int i = 0; i < 3; i++)
            (void)varlink_reply_more(kept[0], json_pack("{s:i}", "i", i));
        (void)varlink_reply(kept[0], json_pack("{s:b}", "last", 1));
        varlink_call_unref(kept[0]);
        n_kept = 0;
    }
    return 0;
}

static void serve(void)
{
    struct varlink_server_options options = test_options();

    /* The address is known by the parent's pid. */
    fflush(NULL);
    ASSERT_CALL(server_pid = fork());
    if (server_pid == 0) {
        sd_event_source *source;

        begin_with(&options);
        ASSERT_OK(sd_event_add_post(event, &source, on_kept, NULL));
        ASSERT_OK(sd_event_loop(event));
        _exit(1);
    }
    close(options.fd);
}

/* A server that says this without having read anything, and closes. */
static void pretend(const char *sent, size_t size)
{
    int pair[2];

    ASSERT_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    ASSERT_INT(send(pair[1], sent, size, 0), size);
    close(pair[1]);
    ASSERT_OK(varlink_client_new(pair[0], &client));
}

static void connect_client(void)
{
    char name[sizeof(server_name) + 1];

    snprintf(name, sizeof(name), "@%s", server_name);
    ASSERT_OK(varlink_client_connect(name, FOREVER, &client));
}

static void begin_client(void)
{
    (void)alarm(50);
    serve();
    connect_client();
}

static void end_client(void)
{
    client = varlink_client_free(client);
    ASSERT(!client);
    ASSERT_CALL(kill(server_pid, SIGKILL));
    ASSERT_INT(waitpid(server_pid, NULL, 0), server_pid);
    (void)alarm(0);
}

/* ---- Calls ---------------------------------------------------------------------------------- */

static void assert_works(void)
{
    ASSERT_OK(varlink_client_call(client, "org.example.test.Echo", json_pack("{s:i}", "n", 7),
                                  FOREVER, &answer));
    ASSERT(!answer.error && !answer.continues);
    ASSERT_INT(json_integer_value(json_object_get(answer.parameters, "n")), 7);
    varlink_answer_done(&answer);
}

TEST(calls)
{
    begin_client();
    assert_works();
    ASSERT_OK(varlink_client_call(client, "a.b.C", json_object(), FOREVER, &answer));
    ASSERT_STRING(answer.error, VARLINK_ERROR_INTERFACE_NOT_FOUND);
    ASSERT_STRING(json_string_value(json_object_get(answer.parameters, "interface")), "a.b");
    varlink_answer_done(&answer);
    ASSERT_OK(varlink_client_oneway(client, "org.example.test.Forget", json_object(), FOREVER));
    assert_works();
    end_client();
}

TEST(a_large_answer)
{
    begin_client();
    ASSERT_OK(varlink_client_call(client, "org.example.test.Large",
                                  json_pack("{s:i}", "size", 10000000), FOREVER, &answer));
    ASSERT_INT(json_string_length(json_object_get(answer.parameters, "text")), 10000000);
    varlink_answer_done(&answer);
    assert_works();
    end_client();
}

TEST(what_cannot_be_asked_harms_nothing)
{
    static char text[VARLINK_REQUEST_MAX + 1];

    begin_client();
    memset(text, 'x', VARLINK_REQUEST_MAX);
    ASSERT_ERROR(varlink_client_call(client, "a.b", NULL, FOREVER, &answer), -ENOMEM);
    ASSERT_ERROR(
        varlink_client_call(client, "a.b", json_pack("{s:s}", "x", text), FOREVER, &answer),
        -EMSGSIZE);
    ASSERT_ERROR(varlink_client_receive(client, FOREVER, &answer), -ENODATA);
    assert_works();
    end_client();
}

TEST(more_than_one_answer)
{
    struct pollfd poll_fd = {.events = POLLIN};
    int n = 0, r;

    begin_client();
    ASSERT_OK(varlink_client_more(client, "org.example.test.Stream", json_object(), FOREVER));
    ASSERT_ERROR(varlink_client_call(client, "a.b", json_object(), FOREVER, &answer), -EBUSY);
    for (;;) {
        r = varlink_client_receive(client, 0, &answer);
        if (r == -EAGAIN) {
            poll_fd.fd = varlink_client_fd(client);
            ASSERT_INT(poll(&poll_fd, 1, 20000), 1);
            continue;
        }
        ASSERT_OK(r);
        if (!answer.continues)
            break;
        ASSERT_INT(json_integer_value(json_object_get(answer.parameters, "i")), n++);
        varlink_answer_done(&answer);
    }
    ASSERT_INT(n, 3);
    ASSERT(json_is_true(json_object_get(answer.parameters, "last")));
    varlink_answer_done(&answer);
    ASSERT_ERROR(varlink_client_receive(client, 0, &answer), -ENODATA);
    assert_works();
    end_client();
}

TEST(a_server_that_does_not_answer)
{
    begin_client();
    ASSERT_ERROR(varlink_client_call(client, "org.example.test.Keep", json_object(),
                                     50 * USEC_PER_MSEC, &answer),
                 -ETIMEDOUT);
    ASSERT_ERROR(
        varlink_client_call(client, "org.example.test.Echo", json_object(), FOREVER, &answer),
        -ENOTCONN);
    ASSERT_INT(varlink_client_fd(client), -1);
    end_client();
}

TEST(waiting_for_a_stream_may_end)
{
    int pair[2];

    ASSERT_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    ASSERT_OK(varlink_client_new(pair[0], &client));
    ASSERT_OK(varlink_client_more(client, "a.b.C", json_object(), FOREVER));
    ASSERT_ERROR(varlink_client_receive(client, 20 * USEC_PER_MSEC, &answer), -ETIMEDOUT);
    ASSERT_ERROR(varlink_client_receive(client, 0, &answer), -EAGAIN);
    send_raw(pair[1], "{\"continues\":true}");
    ASSERT_OK(varlink_client_receive(client, 0, &answer));
    ASSERT(answer.continues);
    varlink_answer_done(&answer);
    close(pair[1]);
    ASSERT_ERROR(varlink_client_receive(client, FOREVER, &answer), -ECONNRESET);
    client = varlink_client_free(client);
}

TEST(a_server_that_reads_nothing)
{
    static char text[60001];
    int pair[2], size = 1, r = 0;

    memset(text, 'x', sizeof(text) - 1);
    ASSERT_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    ASSERT_CALL(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)));
    ASSERT_OK(varlink_client_new(pair[0], &client));
    for (int i = 0; i < 100 && r == 0; i++)
        r = varlink_client_oneway(client, "a.b", json_pack("{s:s}", "x", text), 20000);
    ASSERT_ERROR(r, -ETIMEDOUT);
    ASSERT_ERROR(varlink_client_oneway(client, "a.b", json_object(), 20000), -ENOTCONN);
    client = varlink_client_free(client);
    close(pair[1]);
}

TEST(a_server_that_talks_nonsense)
{
    static const char *const bad[] = {"", "[]", "{\"error\":1}", "{\"continues\":true}",
                                      "{\"parameters\":{\"x\":1,\"x\":2}}"};

    (void)alarm(50);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        pretend(bad[i], strlen(bad[i]) + 1);
        ASSERT_ERROR(varlink_client_call(client, "a.b", json_object(), FOREVER, &answer), -EBADMSG);
        ASSERT_ERROR(varlink_client_call(client, "a.b", json_object(), FOREVER, &answer),
                     -ENOTCONN);
        client = varlink_client_free(client);
    }
    pretend("{\"half\":", 8);
    ASSERT_ERROR(varlink_client_call(client, "a.b", json_object(), FOREVER, &answer), -ECONNRESET);
    client = varlink_client_free(client);
    pretend("", 0);
    ASSERT_ERROR(varlink_client_oneway(client, "a.b", json_object(), FOREVER), -ECONNRESET);
    client = varlink_client_free(client);
    /* Who refuses speaks first, and is heard. */
    static const char refusal[] = "{\"error\":\"org.varlink.service.PermissionDenied\"}";
    pretend(refusal, sizeof(refusal));
    ASSERT_OK(varlink_client_call(client, "a.b", json_object(), FOREVER, &answer));
    ASSERT_STRING(answer.error, VARLINK_ERROR_PERMISSION_DENIED);
    varlink_answer_done(&answer);
    client = varlink_client_free(client);
}

static void on_alarm(int number)
{
    (void)number;
}

TEST(signals_do_not_interrupt)
{
    struct sigaction action = {.sa_handler = on_alarm}, old;
    pid_t pid;

    begin_client();
    ASSERT_CALL(sigaction(SIGUSR1, &action, &old));
    ASSERT_CALL(pid = fork());
    if (pid == 0)
        for (;;)
            if (kill(getppid(), SIGUSR1) < 0 || usleep(500) < 0)
                _exit(1);
    for (int i = 0; i < 20; i++) {
        ASSERT_OK(varlink_client_call(client, "org.example.test.Large",
                                      json_pack("{s:i}", "size", 1000000), FOREVER, &answer));
        varlink_answer_done(&answer);
    }
    ASSERT_CALL(kill(pid, SIGKILL));
    ASSERT_INT(waitpid(pid, NULL, 0), pid);
    ASSERT_CALL(sigaction(SIGUSR1, &old, NULL));
    end_client();
}

/* ---- Connecting ----------------------------------------------------------------------------- */

static int listen_at(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ASSERT_CALL(fd);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", name);
    ASSERT_CALL(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    ASSERT_CALL(listen(fd, 0));
    return fd;
}

TEST(connects_or_says_why_not)
{
    char long_path[300];
    int fd, second;
    struct varlink_client *other;

    (void)alarm(50);
    directory_make();
    ASSERT_ERROR(varlink_client_connect(in("socket"), FOREVER, &client), -ENOENT);
    fd = listen_at(in("socket"));
    ASSERT_OK(varlink_client_connect(in("socket"), FOREVER, &client));
    /* One waits in the backlog of 0; the next one would. */
    ASSERT_ERROR(varlink_client_connect(in("socket"), 20 * USEC_PER_MSEC, &other), -ETIMEDOUT);
    ASSERT_ERROR(varlink_client_connect(in("socket"), 0, &other), -ETIMEDOUT);
    second = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    ASSERT_CALL(second);
    ASSERT_OK(varlink_client_connect(in("socket"), 0, &other));
    close(second);
    client = varlink_client_free(client);
    other = varlink_client_free(other);
    /* By a way that is too long for an address. */
    snprintf(long_path, sizeof(long_path), "%s", in("socket"));
    size_t directory_length = strlen(long_path) - strlen("socket");
    for (size_t i = 0; i < 60; i++)
        memcpy(long_path + directory_length + 2 * i, "./", 2);
    memcpy(long_path + directory_length + 120, "socket", sizeof("socket"));
    second = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    ASSERT_CALL(second);
    ASSERT_OK(varlink_client_connect(long_path, FOREVER, &client));
    close(second);
    client = varlink_client_free(client);
    close(fd);
    ASSERT_ERROR(varlink_client_connect(in("socket"), FOREVER, &client), -ECONNREFUSED);
    ASSERT_ERROR(varlink_client_connect(long_path, FOREVER, &client), -ECONNREFUSED);
    directory_remove();
    (void)alarm(0);
}
