/* SPDX-License-Identifier: MIT */
/* Lines of text that wait in bounded memory, the oldest first. A ring: taking a few of many lines
 * moves none of the others. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct line_queue {
    char *data;
    size_t size;
    size_t begin, length; /* of what is in use; it may go on at the start of the data */
};

/* 0 or -ENOMEM. Memory is touched only as far as lines wait. */
int line_queue_init(struct line_queue *queue, size_t size);
void line_queue_free(struct line_queue *queue);

/* Takes a line, without its newline; false when there is no room. */
bool line_queue_add(struct line_queue *queue, const char *line);
/* Copies as many whole lines as fit, each with its newline: how many bytes that is. */
size_t line_queue_peek(const struct line_queue *queue, char *buffer, size_t size);
/* Forgets what was looked at. */
void line_queue_drop(struct line_queue *queue, size_t length);
