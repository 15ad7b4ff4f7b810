/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <sys/socket.h>

#include "varlink/varlink-message.h"

static int parse_bytes(const char *text, size_t length)
{
    struct varlink_request request;
    int r = varlink_request_parse(text, length, &request);

    if (r == 0)
        varlink_request_done(&request);
    return r;
}

static int parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

TEST(parses_a_request)
{
    static const char text[] = "{\"method\": \"a.b.C\", \"parameters\": {\"x\": 1}, \"more\": true,"
                               " \"upgrade\": true, \"new\": []}";
    struct varlink_request request;

    ASSERT_OK(varlink_request_parse(text, strlen(text), &request));
    ASSERT_STRING(request.method, "a.b.C");
    ASSERT_INT(json_integer_value(json_object_get(request.parameters, "x")), 1);
    ASSERT(request.more && request.upgrade && !request.oneway);
    varlink_request_done(&request);

    static const char least[] = "{\"method\": \"a.b.C\", \"parameters\": null, \"more\": null}";
    ASSERT_OK(varlink_request_parse(least, strlen(least), &request));
    ASSERT(json_is_object(request.parameters) && !request.more);
    varlink_request_done(&request);
}

TEST(refuses_what_is_no_request)
{
    static const char *const bad[] = {
        "",
        " ",
        "null",
        "[]",
        "{",
        "{}",
        "{}{}",
        "{\"method\": 1}",
        "{\"method\": null}",
        "{\"method\": \"a.b\"} x",
        "{\"method\": \"a.b\", \"parameters\": []}",
        "{\"method\": \"a.b\", \"parameters\": \"\"}",
        "{\"method\": \"a.b\", \"more\": 1}",
        "{\"method\": \"a.b\", \"oneway\": \"true\"}",
        "{\"method\": \"a.b\", \"upgrade\": {}}",
        "{\"method\": \"a.b\", \"more\": true, \"oneway\": true}",
        "{\"method\": \"a.b\", \"method\": \"a.c\"}",
        "{\"method\": \"a.b\", \"parameters\": {\"x\": 1, \"x\": 1}}",
        "{\"method\": \"a.\\u0000b\"}",
        "{\"method\": \"a.\xff\"}",
        "{\"method\": \"a.\\ud800\"}",
        "{\"method\": \"a.b\", \"parameters\": {\"x\": 9223372036854775808}}",
        "{\"method\": \"a.b\", \"parameters\": {\"x\": 1e999}}",
        "{\"method\": \"a.b\", \"parameters\": {\"x\": NaN}}",
        "{'method': 'a.b'}",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (parse(bad[i]) != -EBADMSG)
            TEST_FAIL("%s: %d", bad[i], parse(bad[i]));
    ASSERT_ERROR(parse_bytes("{\"method\": \"a\0b\"}", 17), -EBADMSG);
}

/* So many levels of parameters. */
static int parse_depth(size_t depth, const char *open, const char *close)
{
    char text[8192] = "{\"method\": \"a.b\", \"parameters\": ";

    for (size_t i = 1; i < depth; i++)
        strcat(text, open);
    strcat(text, "{}");
    for (size_t i = 1; i < depth; i++)
        strcat(text, close);
    strcat(text, "}");
    return parse(text);
}

TEST(depth_is_bounded)
{
    ASSERT_OK(parse_depth(VARLINK_DEPTH_MAX - 1, "{\"x\":", "}"));
    ASSERT_ERROR(parse_depth(VARLINK_DEPTH_MAX, "{\"x\":", "}"), -EBADMSG);
    ASSERT_ERROR(parse_depth(900, "{\"x\":", "}"), -EBADMSG);
    /* Brackets in a string are none. */
    ASSERT_OK(parse("{\"method\": \"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[[[[[\"}"));
}

TEST(parses_answers)
{
    struct varlink_answer answer;
    static const char error[] = "{\"error\": \"a.b.E\", \"parameters\": {\"x\": 1}}";
    static const char reply[] = "{\"continues\": true}";
    static const char *const bad[] = {"{\"error\": 1}", "{\"continues\": 1}", "[]",
                                      "{\"parameters\": 1}",
                                      "{\"error\": \"a.E\", \"continues\": true}"};

    ASSERT_OK(varlink_answer_parse(error, strlen(error), &answer));
    ASSERT_STRING(answer.error, "a.b.E");
    ASSERT_INT(json_object_size(answer.parameters), 1);
    varlink_answer_done(&answer);
    ASSERT_OK(varlink_answer_parse(reply, strlen(reply), &answer));
    ASSERT(!answer.error && answer.continues && json_object_size(answer.parameters) == 0);
    varlink_answer_done(&answer);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ASSERT_ERROR(varlink_answer_parse(bad[i], strlen(bad[i]), &answer), -EBADMSG);
}

TEST(makes_messages)
{
    struct varlink_buffer buffer = {0};
    json_t *message = varlink_make_request("a.b.C", json_pack("{s:i}", "x", 1), "more");
    const char *text;
    size_t length;

    ASSERT_OK(varlink_buffer_append(&buffer, message, 1000));
    json_decref(message);
    message = varlink_make_error("a.b.E", json_object());
    ASSERT_OK(varlink_buffer_append(&buffer, message, 1000));
    json_decref(message);
    message = varlink_make_reply(json_object(), true);
    ASSERT_OK(varlink_buffer_append(&buffer, message, 1000));
    size_t full = varlink_buffer_length(&buffer);
    ASSERT_ERROR(varlink_buffer_append(&buffer, message, 33), -EMSGSIZE);
    ASSERT_INT(varlink_buffer_length(&buffer), full);
    json_decref(message);

    ASSERT(varlink_buffer_next(&buffer, &text, &length));
    ASSERT_STRING(text, "{\"method\":\"a.b.C\",\"parameters\":{\"x\":1},\"more\":true}");
    ASSERT(varlink_buffer_next(&buffer, &text, &length));
    ASSERT_STRING(text, "{\"error\":\"a.b.E\",\"parameters\":{}}");
    ASSERT(varlink_buffer_next(&buffer, &text, &length));
    ASSERT_STRING(text, "{\"parameters\":{},\"continues\":true}");
    ASSERT_INT(length, strlen(text));
    ASSERT(!varlink_buffer_next(&buffer, &text, &length));
    varlink_buffer_done(&buffer);

    ASSERT(!varlink_make_request("a.b.C", NULL, NULL));
    ASSERT(!varlink_make_reply(NULL, false));
    ASSERT(!varlink_make_error("\xff", json_object()));
}

TEST(frames_byte_by_byte_within_bounds)
{
    struct varlink_buffer buffer = {0};
    const char *text;
    size_t length;
    int pair[2];

    ASSERT_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    ASSERT_ERROR(varlink_buffer_receive(&buffer, pair[1], 10), -EAGAIN);
    for (const char *c = "abc"; *c; c++) {
        ASSERT_INT(write(pair[0], c, 1), 1);
        ASSERT_INT(varlink_buffer_receive(&buffer, pair[1], 10), 1);
        ASSERT(!varlink_buffer_has_message(&buffer));
    }
    ASSERT_INT(write(pair[0],
                     "\0"
                     "123456789",
                     10),
               10);
    ASSERT_INT(varlink_buffer_receive(&buffer, pair[1], 10), 7);
    ASSERT(varlink_buffer_next(&buffer, &text, &length));
    ASSERT_STRING(text, "abc");
    ASSERT_INT(varlink_buffer_receive(&buffer, pair[1], 10), 3);
    ASSERT(!varlink_buffer_next(&buffer, &text, &length));
    ASSERT_INT(write(pair[0], "x", 1), 1);
    ASSERT_INT(varlink_buffer_receive(&buffer, pair[1], 10), 1);
    ASSERT_ERROR(varlink_buffer_receive(&buffer, pair[1], 10), -EMSGSIZE);
    close(pair[0]);
    ASSERT_INT(varlink_buffer_receive(&buffer, pair[1], 11), 0);
    close(pair[1]);
    varlink_buffer_done(&buffer);
}
