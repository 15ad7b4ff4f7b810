/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <sys/socket.h>

#include "supervisor/server-message.h"
#include "supervisor/slots.h"

static const struct server_message sample = {
    .type = SERVER_MESSAGE_STARTED, .unit = 3, .slot = 4, .error = 5, .number = UINT64_MAX - 1};

static void make_pair(int pair[2])
{
    ASSERT_CALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
}

static void close_pair(const int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

static int parse_changed(struct server_message message)
{
    struct server_message result = {.number = 4711};
    int r = server_message_parse(&message, sizeof(message), &result);

    ASSERT_INT(memcmp(&result, &message, sizeof(message)) == 0, r == 0);
    if (r < 0)
        ASSERT_INT(result.number, 4711);
    return r;
}

#define CHANGED(field, value)                                                                      \
    ({                                                                                             \
        struct server_message changed_ = sample;                                                   \
        changed_.field = (value);                                                                  \
        parse_changed(changed_);                                                                   \
    })

TEST(only_whole_messages)
{
    char buffer[sizeof(sample) + 1] = {0};
    struct server_message result;

    memcpy(buffer, &sample, sizeof(sample));
    for (size_t size = 0; size <= sizeof(buffer); size++)
        ASSERT_INT(server_message_parse(buffer, size, &result),
                   size == sizeof(sample) ? 0 : -EBADMSG);
}

TEST(fields_out_of_range)
{
    for (uint32_t type = SERVER_MESSAGE_START; type < SERVER_MESSAGE_TYPE_END_; type++)
        ASSERT_OK(CHANGED(type, type));
    ASSERT_ERROR(CHANGED(type, 0), -EBADMSG);
    ASSERT_ERROR(CHANGED(type, SERVER_MESSAGE_TYPE_END_), -EBADMSG);
    ASSERT_ERROR(CHANGED(type, UINT32_MAX), -EBADMSG);
    ASSERT_OK(CHANGED(unit, SLOTS_MAX - 1));
    ASSERT_ERROR(CHANGED(unit, SLOTS_MAX), -EBADMSG);
    ASSERT_OK(CHANGED(slot, SLOTS_MAX - 1));
    ASSERT_ERROR(CHANGED(slot, SLOTS_MAX), -EBADMSG);
    ASSERT_OK(CHANGED(error, 0));
    ASSERT_ERROR(CHANGED(error, -1), -EBADMSG);
    ASSERT_ERROR(CHANGED(error, INT32_MIN), -EBADMSG);
}

TEST(messages_arrive_in_order)
{
    struct server_message message = sample, result;
    int pair[2];

    make_pair(pair); /* blocking: the functions must not need O_NONBLOCK */
    ASSERT_ERROR(server_message_receive(pair[1], &result), -EAGAIN);
    for (uint64_t i = 0; i < 5; i++) {
        message.number = i;
        ASSERT_OK(server_message_send(pair[0], &message));
    }
    for (uint64_t i = 0; i < 5; i++) {
        ASSERT_INT(server_message_receive(pair[1], &result), 1);
        message.number = i;
        ASSERT_INT(memcmp(&result, &message, sizeof(message)), 0);
    }
    ASSERT_ERROR(server_message_receive(pair[1], &result), -EAGAIN);
    close_pair(pair);
}

TEST(a_bad_message_is_refused_and_the_next_is_read)
{
    char longer[sizeof(sample) + 1] = {0};
    struct server_message result;
    int pair[2];

    make_pair(pair);
    memcpy(longer, &sample, sizeof(sample));
    ASSERT_INT(send(pair[0], longer, sizeof(longer), 0), sizeof(longer));
    ASSERT_INT(send(pair[0], longer, 1, 0), 1);
    ASSERT_OK(server_message_send(pair[0], &sample));
    ASSERT_ERROR(server_message_receive(pair[1], &result), -EBADMSG);
    ASSERT_ERROR(server_message_receive(pair[1], &result), -EBADMSG);
    ASSERT_INT(server_message_receive(pair[1], &result), 1);
    close_pair(pair);
}

TEST(who_does_not_read_blocks_nobody)
{
    int pair[2], r, n = 0;
    struct server_message result;

    make_pair(pair);
    (void)alarm(20);
    while ((r = server_message_send(pair[0], &sample)) == 0)
        n++;
    (void)alarm(0);
    ASSERT_ERROR(r, -EAGAIN);
    while (n-- > 0)
        ASSERT_INT(server_message_receive(pair[1], &result), 1);
    ASSERT_OK(server_message_send(pair[0], &sample));
    close_pair(pair);
}

TEST(the_other_side_is_gone)
{
    struct server_message result;
    int pair[2];

    make_pair(pair);
    ASSERT_OK(server_message_send(pair[0], &sample));
    close(pair[0]);
    ASSERT_INT(server_message_receive(pair[1], &result), 1); /* its last words first */
    ASSERT_INT(server_message_receive(pair[1], &result), 0);
    ASSERT_ERROR(server_message_send(pair[1], &sample), -EPIPE); /* and no SIGPIPE */
    close(pair[1]);
    /* Gone with our words unread: ECONNRESET. */
    make_pair(pair);
    ASSERT_OK(server_message_send(pair[1], &sample));
    close(pair[0]);
    ASSERT_INT(server_message_receive(pair[1], &result), 0);
    close(pair[1]);
}
