/* SPDX-License-Identifier: MIT */
#include "supervisor/line-queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int line_queue_init(struct line_queue *queue, size_t size)
{
    char *data = malloc(size);

    if (data == NULL)
        return -ENOMEM;
    *queue = (struct line_queue){.data = data, .size = size};
    return 0;
}

void line_queue_free(struct line_queue *queue)
{
    free(queue->data);
    *queue = (struct line_queue){0};
}

static void append(struct line_queue *queue, const char *text, size_t length)
{
    size_t at = (queue->begin + queue->length) % queue->size;
    size_t first = length < queue->size - at ? length : queue->size - at;

    memcpy(queue->data + at, text, first);
    memcpy(queue->data, text + first, length - first);
    queue->length += length;
}

bool line_queue_add(struct line_queue *queue, const char *line)
{
    size_t length = strlen(line);

    if (length >= queue->size - queue->length)
        return false;
    append(queue, line, length);
    append(queue, "\n", 1);
    return true;
}

size_t line_queue_peek(const struct line_queue *queue, char *buffer, size_t size)
{
    size_t take = queue->length < size ? queue->length : size;
    size_t first = take < queue->size - queue->begin ? take : queue->size - queue->begin;

    memcpy(buffer, queue->data + queue->begin, first);
    memcpy(buffer + first, queue->data, take - first);
    while (take > 0 && buffer[take - 1] != '\n')
        take--;
    return take;
}

void line_queue_drop(struct line_queue *queue, size_t length)
{
    queue->length -= length;
    queue->begin = queue->length > 0 ? (queue->begin + length) % queue->size : 0;
}
