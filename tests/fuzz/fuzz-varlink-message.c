/* SPDX-License-Identifier: MIT */
/* What comes over a Varlink connection, in pieces: every message is taken once and whole, and what
 * is understood survives the way back. The first byte says what the others are put into. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "varlink/varlink-message.h"

#define MAXIMUM ((size_t)300)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good)
        abort();
}

/* Writes the message, and reads it as what it was. */
static json_t *there_and_back(json_t *message)
{
    struct varlink_buffer buffer = {0};
    const char *text;
    size_t length;

    check(message && varlink_buffer_append(&buffer, message, VARLINK_REPLY_MAX) == 0);
    check(varlink_buffer_next(&buffer, &text, &length) && strlen(text) == length);
    json_t *again = json_loadb(text, length, 0, NULL);
    check(again && json_equal(message, again) && varlink_buffer_length(&buffer) == 0);
    varlink_buffer_done(&buffer);
    json_decref(message);
    return again;
}

static void parse(const char *text, size_t length)
{
    struct varlink_request request;
    struct varlink_answer answer;

    if (varlink_request_parse(text, length, &request) == 0) {
        check(request.method && json_is_object(request.parameters));
        check(!request.more || !request.oneway);
        json_decref(there_and_back(varlink_make_request(
            request.method, json_incref(request.parameters), request.more ? "more" : NULL)));
        varlink_request_done(&request);
    }
    if (varlink_answer_parse(text, length, &answer) == 0) {
        check(json_is_object(answer.parameters) && (!answer.error || !answer.continues));
        json_decref(there_and_back(
            answer.error ? varlink_make_error(answer.error, json_incref(answer.parameters))
                         : varlink_make_reply(json_incref(answer.parameters), answer.continues)));
        varlink_answer_done(&answer);
    }
}

/* The first byte of each piece says how long it is. A message that is too long ends it, as it ends
 * a connection: nobody reads what comes after, until write(2) would wait. */
static void frame(const uint8_t *data, size_t size)
{
    struct varlink_buffer buffer = {0};
    size_t expected = 0, found = 0;
    int pair[2];

    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    while (size > 0) {
        size_t piece = data[0] < size - 1 ? data[0] : size - 1;
        const char *text;
        size_t length;

        if (piece > 0)
            check(write(pair[0], data + 1, piece) == (ssize_t)piece);
        for (size_t i = 1; i <= piece; i++)
            expected += data[i] == '\0';
        data += 1 + piece;
        size -= 1 + piece;
        int r = varlink_buffer_receive(&buffer, pair[1], MAXIMUM);
        if (r == -EMSGSIZE)
            break;
        check(r != 0 && varlink_buffer_length(&buffer) <= MAXIMUM);
        while (varlink_buffer_next(&buffer, &text, &length)) {
            check(length < MAXIMUM && memchr(text, '\0', length) == NULL && text[length] == '\0');
            found++;
            parse(text, length);
        }
        check(found <= expected);
    }
    varlink_buffer_done(&buffer);
    close(pair[0]);
    close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const frames[][2] = {
        {"", ""},
        {"{\"method\":\"a.b\",\"parameters\":", "}"},
        {"{\"method\":\"", "\"}"},
        {"{\"method\":\"a.b\",", "}"},
        {"{\"error\":\"a.b\",\"parameters\":{", "}}"},
        {"{\"continues\":true,", "}"},
    };
    const size_t n = sizeof(frames) / sizeof(frames[0]);

    if (size == 0)
        return 0;
    size_t kind = data[0] % (n + 1);
    if (kind == n) {
        frame(data + 1, size - 1);
        return 0;
    }
    size_t before = strlen(frames[kind][0]), after = strlen(frames[kind][1]);
    size_t length = before + size - 1 + after;
    char *text = malloc(length + 1); /* exactly, so that the sanitizer sees a step beyond */
    check(text != NULL);
    memcpy(text, frames[kind][0], before);
    memcpy(text + before, data + 1, size - 1);
    memcpy(text + before + size - 1, frames[kind][1], after);
    parse(text, length);
    free(text);
    return 0;
}
