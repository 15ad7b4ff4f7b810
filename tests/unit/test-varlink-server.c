/* SPDX-License-Identifier: MIT */
/* What the server answers. */
#include "test-varlink.h"

#define INFO                                                                                       \
    "{\"parameters\":{\"vendor\":\"Example\",\"product\":\"test\",\"version\":\"1\","              \
    "\"url\":\"https://example.org/\",\"interfaces\":[\"org.varlink.service\","                    \
    "\"org.example.test\"]}}"
#define ECHO(n) "{\"method\":\"org.example.test.Echo\",\"parameters\":{\"n\":" #n "}}"
#define PONG(n) "{\"parameters\":{\"n\":" #n "}}"
#define EMPTY   "{\"parameters\":{}}"

TEST(describes_itself)
{
    struct varlink_server_options options = begin();
    int fd = connect_raw();

    ASSERT_ANSWER(fd, "{\"method\":\"org.varlink.service.GetInfo\"}", INFO);
    ASSERT_ANSWER(fd,
                  "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":"
                  "{\"interface\":\"org.example.test\"}}",
                  "{\"parameters\":{\"description\":"
                  "\"interface org.example.test\\nmethod Echo() -> ()\\n\"}}");
    send_raw(fd, "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":"
                 "{\"interface\":\"org.varlink.service\"}}");
    ASSERT(strstr(receive_raw(fd), "method GetInfo() -> ("));
    close(fd);
    end(&options);
}

TEST(all_its_errors)
{
    struct varlink_server_options options = begin();
    int fd = connect_raw();

    ASSERT_ANSWER(fd, "{\"method\":\"org.example.tes.Echo\"}",
                  "{\"error\":\"org.varlink.service.InterfaceNotFound\","
                  "\"parameters\":{\"interface\":\"org.example.tes\"}}");
    ASSERT_ANSWER(fd, "{\"method\":\"org.example.test.Ech\"}",
                  "{\"error\":\"org.varlink.service.MethodNotFound\","
                  "\"parameters\":{\"method\":\"org.example.test.Ech\"}}");
    ASSERT_ANSWER(fd, "{\"method\":\"Echo\"}",
                  "{\"error\":\"org.varlink.service.InvalidParameter\","
                  "\"parameters\":{\"parameter\":\"method\"}}");
    ASSERT_ANSWER(fd, "{\"method\":\"org.example.test.Echo\",\"upgrade\":true}",
                  "{\"error\":\"org.varlink.service.MethodNotImplemented\","
                  "\"parameters\":{\"method\":\"org.example.test.Echo\"}}");
    ASSERT_ANSWER(fd, "{\"method\":\"org.example.test.Stream\"}",
                  "{\"error\":\"org.varlink.service.ExpectedMore\",\"parameters\":{}}");
    ASSERT_ANSWER(fd, "{\"method\":\"org.varlink.service.GetInterfaceDescription\"}",
                  "{\"error\":\"org.varlink.service.InvalidParameter\","
                  "\"parameters\":{\"parameter\":\"interface\"}}");
    ASSERT_ANSWER(fd,
                  "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
                  "\"parameters\":{\"interface\":\"a.b\"}}",
                  "{\"error\":\"org.varlink.service.InterfaceNotFound\","
                  "\"parameters\":{\"interface\":\"a.b\"}}");
    close(fd);
    end(&options);
}

TEST(answers_what_was_sent_at_once_in_order)
{
    static const char requests[] = ECHO(1) "\0" ECHO(2) "\0"
                                                        "{\"method\":\"a.b\"}\0" ECHO(3);
    struct varlink_server_options options = begin();
    int fd = connect_raw();

    ASSERT_INT(send(fd, requests, sizeof(requests), 0), sizeof(requests));
    ASSERT_STRING(receive_raw(fd), PONG(1));
    ASSERT_STRING(receive_raw(fd), PONG(2));
    ASSERT(strstr(receive_raw(fd), "InterfaceNotFound"));
    ASSERT_STRING(receive_raw(fd), PONG(3));
    ASSERT_INT(varlink_server_connections(server), 1);
    close(fd);
    TURN_UNTIL(varlink_server_connections(server) == 0);
    end(&options);
}

TEST(one_request_a_turn)
{
    static char requests[100 * sizeof(ECHO(1))], answers[RAW_MAX];
    struct varlink_server_options options = begin();
    int fd = connect_raw();

    for (size_t i = 0; i < 100; i++)
        memcpy(requests + i * sizeof(ECHO(1)), ECHO(1), sizeof(ECHO(1)));
    TURN_UNTIL(varlink_server_connections(server) == 1);
    ASSERT_INT(send(fd, requests, sizeof(requests), 0), sizeof(requests));
    for (size_t i = 0; i < 100; i++) {
        ASSERT(turn(0));
        ssize_t n = read_raw(fd, answers);
        ASSERT(n <= (ssize_t)sizeof(PONG(1))); /* 0 while it comes to it */
    }
    turn_all();
    close(fd);
    end(&options);
}

TEST(a_request_in_pieces)
{
    struct varlink_server_options options = begin();
    int fd = connect_raw();

    for (const char *c = ECHO(1); *c; c++) {
        ASSERT_INT(send(fd, c, 1, 0), 1);
        turn_all();
    }
    ASSERT_ANSWER(fd, "", PONG(1));
    close(fd);
    end(&options);
}

TEST(a_client_that_sends_no_more_gets_its_answers)
{
    static const char requests[] = ECHO(1) "\0"
                                           "{\"method\":\"org.example.test.Keep\"}\0" ECHO(2);
    struct varlink_server_options options = begin();
    int fd = connect_raw();

    ASSERT_INT(send(fd, requests, sizeof(requests), 0), sizeof(requests));
    ASSERT_CALL(shutdown(fd, SHUT_WR));
    ASSERT_STRING(receive_raw(fd), PONG(1));
    TURN_UNTIL(n_kept == 1);
    ASSERT_INT(turn_all(), 0);
    ASSERT_OK(varlink_reply(kept[0], json_object()));
    n_kept = varlink_call_unref(kept[0]) != NULL;
    ASSERT_STRING(receive_raw(fd), EMPTY);
    ASSERT_STRING(receive_raw(fd), PONG(2));
    assert_closed(fd);
    ASSERT_INT(n_ended, 0);
    close(fd);
    end(&options);
}

TEST(oneway_is_not_answered)
{
    struct varlink_server_options options = begin();
    int fd = connect_raw();

    send_raw(fd, "{\"method\":\"org.example.test.Forget\",\"oneway\":true}");
    send_raw(fd, "{\"method\":\"org.example.test.Echo\",\"oneway\":true}");
    send_raw(fd, "{\"method\":\"a.b\",\"oneway\":true}");
    ASSERT_ANSWER(fd, ECHO(1), PONG(1));
    ASSERT_INT(n_oneway, 1);
    /* Also from one that does not stay. */
    send_raw(fd, "{\"method\":\"org.example.test.Forget\",\"oneway\":true}");
    send_raw(fd, "{\"method\":\"org.example.test.Forget\",\"oneway\":true}");
    close(fd);
    TURN_UNTIL(varlink_server_connections(server) == 0);
    ASSERT_INT(n_oneway, 3);
    end(&options);
}

TEST(a_method_that_fails_or_forgets_closes)
{
    struct varlink_server_options options = begin();
    int fd = connect_raw(), other = connect_raw();

    send_raw(fd, "{\"method\":\"org.example.test.Fail\"}");
    assert_closed(fd);
    send_raw(other, "{\"method\":\"org.example.test.Forget\"}");
    assert_closed(other);
    close(fd);
    close(other);
    end(&options);
}

TEST(wrong_answers_are_told)
{
    struct varlink_server_options options = begin();
    int fd = connect_raw();

    ASSERT_ANSWER(fd, "{\"method\":\"org.example.test.Twice\"}", EMPTY);
    ASSERT_ANSWER(fd, "{\"method\":\"org.example.test.Large\",\"parameters\":{\"size\":16777216}}",
                  "{\"error\":\"org.example.test.TooLarge\",\"parameters\":{}}");
    close(fd);
    end(&options);
}

TEST(what_is_no_request_closes_only_its_connection)
{
    static const char *const bad[] = {"",   "x",
                                      "{}", "{\"method\":1}",
                                      "[]", "{\"method\":\"a.b\",\"more\":true,\"oneway\":true}"};
    struct varlink_server_options options = begin();
    int good = connect_raw();

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int fd = connect_raw();

        send_raw(fd, bad[i]);
        assert_closed(fd);
        close(fd);
    }
    ASSERT_ANSWER(good, ECHO(1), PONG(1));
    close(good);
    end(&options);
}

TEST(a_call_is_kept_and_the_next_request_waits)
{
    struct varlink_server_options options = begin();
    int fd = connect_raw();
    static char text[RAW_MAX];

    send_raw(fd, "{\"method\":\"org.example.test.Keep\"}");
    send_raw(fd, ECHO(2));
    TURN_UNTIL(n_kept == 1);
    ASSERT_INT(turn_all(), 0); /* nor does what waits wake the loop */
    ASSERT_INT(read_raw(fd, text), -1);
    ASSERT_OK(varlink_invalid_parameter(kept[0], "size"));
    n_kept = varlink_call_unref(kept[0]) != NULL;
    ASSERT_STRING(receive_raw(fd), "{\"error\":\"org.varlink.service.InvalidParameter\","
                                   "\"parameters\":{\"parameter\":\"size\"}}");
    ASSERT_STRING(receive_raw(fd), PONG(2));
    close(fd);
    end(&options);
}

TEST(a_kept_call_let_go_closes)
{
    struct varlink_server_options options = begin();
    int fd = connect_raw();

    send_raw(fd, "{\"method\":\"org.example.test.Keep\"}");
    TURN_UNTIL(n_kept == 1);
    n_kept = varlink_call_unref(kept[0]) != NULL;
    assert_closed(fd);
    ASSERT_INT(n_ended, 0);
    close(fd);
    end(&options);
}

TEST(a_stream_until_it_ends)
{
    struct varlink_server_options options = begin();
    int fd = connect_raw();

    send_raw(fd, "{\"method\":\"org.example.test.Stream\",\"more\":true}");
    TURN_UNTIL(n_kept == 1);
    for (int i = 0; i < 1000; i++) {
        char wanted[64];

        snprintf(wanted, sizeof(wanted), "{\"parameters\":{\"i\":%d},\"continues\":true}", i);
        ASSERT_OK(varlink_reply_more(kept[0], json_pack("{s:i}", "i", i)));
        ASSERT_STRING(receive_raw(fd), wanted);
    }
    ASSERT_OK(varlink_error(kept[0], "org.example.test.Over", json_object()));
    n_kept = varlink_call_unref(kept[0]) != NULL;
    ASSERT_STRING(receive_raw(fd), "{\"error\":\"org.example.test.Over\",\"parameters\":{}}");
    ASSERT_ANSWER(fd, ECHO(1), PONG(1));
    close(fd);
    end(&options);
}

TEST(the_keeper_learns_that_a_client_has_gone)
{
    struct varlink_server_options options = begin();
    int fd = connect_raw();

    send_raw(fd, "{\"method\":\"org.example.test.Stream\",\"more\":true}");
    send_raw(fd, ECHO(1));
    TURN_UNTIL(n_kept == 1);
    close(fd);
    TURN_UNTIL(n_ended == 1);
    ASSERT_INT(varlink_server_connections(server), 0);

    /* Noticed by an answer: never told from within it. */
    fd = connect_raw();
    send_raw(fd, "{\"method\":\"org.example.test.Stream\",\"more\":true}");
    TURN_UNTIL(n_kept == 1);
    close(fd);
    ASSERT_ERROR(varlink_reply_more(kept[0], json_object()), -EPIPE);
    ASSERT_ERROR(varlink_reply_more(kept[0], json_object()), -EPIPE);
    ASSERT_INT(n_ended, 1);
    TURN_UNTIL(n_ended == 2);
    end(&options);
}

TEST(the_server_ends_before_its_calls)
{
    struct varlink_server_options options = begin();
    int first = connect_raw(), second = connect_raw();

    send_raw(first, "{\"method\":\"org.example.test.Keep\"}");
    send_raw(second, "{\"method\":\"org.example.test.Stream\",\"more\":true}");
    TURN_UNTIL(n_kept == 2);
    end(&options); /* checks that the keepers have let go */
    ASSERT_INT(n_ended, 2);
    close(first);
    close(second);
}

TEST(a_call_outlives_its_server)
{
    struct varlink_server_options options = begin();
    int fd = connect_raw();

    send_raw(fd, "{\"method\":\"org.example.test.Keep\",\"parameters\":{\"x\":1}}");
    TURN_UNTIL(n_kept == 1);
    struct varlink_call *call = varlink_call_ref(kept[0]);
    end(&options);
    ASSERT_INT(json_object_size(varlink_call_parameters(call)), 1);
    ASSERT_ERROR(varlink_error(call, "a.E", json_object()), -EPIPE);
    ASSERT(!varlink_call_unref(call));
    close(fd);
}

TEST(a_long_answer_waits_for_its_reader)
{
    struct varlink_server_options options = begin();
    static char text[RAW_MAX];
    int fd = connect_raw();
    size_t total = 0;
    ssize_t n = 0;

    send_raw(fd, "{\"method\":\"org.example.test.Large\",\"parameters\":{\"size\":5000000}}");
    send_raw(fd, ECHO(1));
    while (total < 5000000 + sizeof("{\"parameters\":{\"text\":\"\"}}") + sizeof(PONG(1))) {
        TURN_UNTIL((n = read_raw(fd, text)) >= 0);
        ASSERT(n > 0);
        total += (size_t)n;
    }
    ASSERT_INT(total, 5000000 + sizeof("{\"parameters\":{\"text\":\"\"}}") + sizeof(PONG(1)));
    ASSERT_STRING(text + n - sizeof(PONG(1)), PONG(1));
    close(fd);
    end(&options);
}

TEST(knows_who_asks)
{
    struct varlink_server_options options = begin();
    char wanted[100];
    int fd = connect_raw();

    snprintf(wanted, sizeof(wanted), "{\"parameters\":{\"uid\":%d,\"pid\":%d}}", (int)geteuid(),
             (int)getpid());
    ASSERT_ANSWER(fd, "{\"method\":\"org.example.test.Whoami\"}", wanted);
    close(fd);
    end(&options);
}

TEST(only_listeners)
{
    struct varlink_server_options options = test_options();
    int fd = options.fd, pair[2];

    ASSERT_OK(sd_event_new(&event));
    ASSERT_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    options.fd = pair[0];
    ASSERT_ERROR(varlink_server_new(event, &options, &server), -EINVAL);
    sd_event_unref(event);
    close(pair[0]);
    close(pair[1]);
    close(fd);
}
