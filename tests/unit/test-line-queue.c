/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "supervisor/line-queue.h"

#define SIZE 64

static struct line_queue queue;

static void begin(void)
{
    ASSERT_OK(line_queue_init(&queue, SIZE));
}

static void end(void)
{
    line_queue_free(&queue);
    ASSERT(!queue.data);
}

/* Takes what fits into so many bytes. */
static const char *take(size_t size)
{
    static char buffer[SIZE + 1];
    size_t n = line_queue_peek(&queue, buffer, size);

    ASSERT(n <= size);
    buffer[n] = '\0';
    line_queue_drop(&queue, n);
    return buffer;
}

TEST(lines_come_out_as_they_went_in)
{
    begin();
    ASSERT_STRING(take(SIZE), "");
    ASSERT(line_queue_add(&queue, "one"));
    ASSERT(line_queue_add(&queue, ""));
    ASSERT(line_queue_add(&queue, "three"));
    ASSERT_STRING(take(SIZE), "one\n\nthree\n");
    ASSERT_STRING(take(SIZE), "");
    end();
}

TEST(lines_are_not_cut)
{
    begin();
    ASSERT(line_queue_add(&queue, "one"));
    ASSERT(line_queue_add(&queue, "two"));
    ASSERT_STRING(take(3), "");
    ASSERT_STRING(take(7), "one\n");
    ASSERT_STRING(take(4), "two\n");
    end();
}

TEST(what_is_only_looked_at_stays)
{
    char buffer[SIZE];

    begin();
    ASSERT(line_queue_add(&queue, "one"));
    ASSERT_INT(line_queue_peek(&queue, buffer, SIZE), 4);
    ASSERT_STRING(take(SIZE), "one\n");
    end();
}

TEST(a_full_queue_takes_no_more_and_loses_nothing)
{
    char line[SIZE + 1];

    begin();
    memset(line, 'x', SIZE);
    line[SIZE] = '\0';
    ASSERT(!line_queue_add(&queue, line)); /* there is no room for its end */
    ASSERT(line_queue_add(&queue, line + 1));
    ASSERT(!line_queue_add(&queue, ""));
    ASSERT_INT(strlen(take(SIZE)), SIZE);
    ASSERT(line_queue_add(&queue, ""));
    ASSERT_STRING(take(SIZE), "\n");
    end();
}

/* Of changing lengths, so that each place of the ring is the last one before its start at times. */
TEST(lines_that_go_round)
{
    char line[SIZE];
    unsigned added = 0, taken = 0;

    begin();
    while (taken < 10000) {
        int length;

        do
            length = snprintf(line, sizeof(line), "%u%.*s", added, (int)(added % 23),
                              "abcdefghijklmnopqrstuvw");
        while (line_queue_add(&queue, line) && ++added);
        ASSERT(length > 0);
        for (const char *next = take(40); *next; next = strchr(next, '\n') + 1, taken++) {
            length = snprintf(line, sizeof(line), "%u%.*s\n", taken, (int)(taken % 23),
                              "abcdefghijklmnopqrstuvw");
            ASSERT(strncmp(next, line, (size_t)length) == 0);
        }
    }
    ASSERT(added >= taken);
    end();
}
