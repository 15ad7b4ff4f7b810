/* SPDX-License-Identifier: MIT */
#include "varlink/varlink-message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "basic/cleanup.h"

#define BUFFER_FIRST ((size_t)4096)

/* ---- Bytes ---------------------------------------------------------------------------------- */

void varlink_buffer_done(struct varlink_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct varlink_buffer){0};
}

size_t varlink_buffer_length(const struct varlink_buffer *buffer)
{
    return buffer->end - buffer->begin;
}

/* Makes room for so many bytes behind what is there. */
static int buffer_reserve(struct varlink_buffer *buffer, size_t size)
{
    size_t length = varlink_buffer_length(buffer);

    if (buffer->allocated - buffer->end >= size)
        return 0;
    if (buffer->begin > 0) {
        memmove(buffer->data, buffer->data + buffer->begin, length);
        buffer->scanned = buffer->scanned > buffer->begin ? buffer->scanned - buffer->begin : 0;
        buffer->begin = 0;
        buffer->end = length;
    }
    size_t wanted = buffer->allocated > 0 ? buffer->allocated : BUFFER_FIRST;
    while (wanted - length < size)
        wanted *= 2;
    if (wanted == buffer->allocated)
        return 0;
    char *data = realloc(buffer->data, wanted);
    if (data == NULL)
        return -ENOMEM;
    buffer->data = data;
    buffer->allocated = wanted;
    return 0;
}

int varlink_buffer_receive(struct varlink_buffer *buffer, int fd, size_t maximum)
{
    size_t length = varlink_buffer_length(buffer);

    if (length >= maximum)
        return -EMSGSIZE;
    int r = buffer_reserve(buffer, 1);
    if (r < 0)
        return r;
    size_t room = buffer->allocated - buffer->end;
    if (room > maximum - length)
        room = maximum - length;
    ssize_t n = recv(fd, buffer->data + buffer->end, room, MSG_DONTWAIT);
    if (n < 0)
        return -errno;
    buffer->end += (size_t)n;
    return (int)n;
}

bool varlink_buffer_has_message(struct varlink_buffer *buffer)
{
    if (buffer->scanned == buffer->end)
        return false;
    const char *nul = memchr(buffer->data + buffer->scanned, '\0', buffer->end - buffer->scanned);
    buffer->scanned = nul != NULL ? (size_t)(nul - buffer->data) : buffer->end;
    return nul != NULL;
}

bool varlink_buffer_next(struct varlink_buffer *buffer, const char **ret_text, size_t *ret_length)
{
    if (!varlink_buffer_has_message(buffer))
        return false;
    *ret_text = buffer->data + buffer->begin;
    *ret_length = buffer->scanned - buffer->begin;
    buffer->begin = ++buffer->scanned;
    return true;
}

struct append {
    struct varlink_buffer *buffer;
    size_t left; /* of the maximum */
    int error;
};

static int append_bytes(const char *bytes, size_t size, void *userdata)
{
    struct append *append = userdata;
    struct varlink_buffer *buffer = append->buffer;

    append->error = size > append->left ? -EMSGSIZE : buffer_reserve(buffer, size);
    if (append->error < 0)
        return -1;
    memcpy(buffer->data + buffer->end, bytes, size);
    buffer->end += size;
    append->left -= size;
    return 0;
}

int varlink_buffer_append(struct varlink_buffer *buffer, const json_t *message, size_t maximum)
{
    struct append append = {.buffer = buffer, .left = maximum};
    size_t length = varlink_buffer_length(buffer);

    if (json_dump_callback(message, append_bytes, &append, JSON_COMPACT) < 0 ||
        append_bytes("", 1, &append) < 0) {
        buffer->end = buffer->begin + length;
        return append.error < 0 ? append.error : -ENOMEM;
    }
    return 0;
}

int varlink_buffer_send(struct varlink_buffer *buffer, int fd)
{
    if (varlink_buffer_length(buffer) == 0)
        return 0;
    ssize_t n = send(fd, buffer->data + buffer->begin, varlink_buffer_length(buffer),
                     MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    buffer->begin += (size_t)n;
    if (buffer->begin == buffer->end)
        varlink_buffer_done(buffer);
    return 0;
}

/* ---- Parsing -------------------------------------------------------------------------------- */

/* Counts brackets outside of strings before jansson, whose own bound is its stack's, recurses into
 * them. What is no JSON otherwise is left to jansson. */
static bool depth_is_bounded(const char *text, size_t length)
{
    bool in_string = false;
    size_t depth = 0;

    for (size_t i = 0; i < length; i++) {
        char c = text[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > VARLINK_DEPTH_MAX)
                return false;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
}

static int load_object(const char *text, size_t length, json_t **ret_json)
{
    json_error_t error;

    if (!depth_is_bounded(text, length))
        return -EBADMSG;
    cleanup(varlink_json_unref) json_t *json =
        json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL)
        return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EBADMSG;
    if (!json_is_object(json))
        return -EBADMSG;
    *ret_json = take_pointer(&json);
    return 0;
}

/* Each member may be missing or null. */
static int get_boolean(const json_t *json, const char *name, bool *ret_value)
{
    const json_t *value = json_object_get(json, name);

    if (value != NULL && !json_is_null(value) && !json_is_boolean(value))
        return -EBADMSG;
    *ret_value = json_is_true(value);
    return 0;
}

static int get_string(const json_t *json, const char *name, const char **ret_text)
{
    const json_t *value = json_object_get(json, name);

    if (value != NULL && !json_is_null(value) && !json_is_string(value))
        return -EBADMSG;
    *ret_text = json_string_value(value);
    return 0;
}

static int get_parameters(const json_t *json, json_t **ret_parameters)
{
    json_t *value = json_object_get(json, "parameters");

    if (value != NULL && !json_is_null(value) && !json_is_object(value))
        return -EBADMSG;
    value = json_is_object(value) ? json_incref(value) : json_object();
    if (value == NULL)
        return -ENOMEM;
    *ret_parameters = value;
    return 0;
}

int varlink_request_parse(const char *text, size_t length, struct varlink_request *ret_request)
{
    struct varlink_request request = {0};
    cleanup(varlink_json_unref) json_t *json = NULL;
    int r = load_object(text, length, &json);

    if (r < 0)
        return r;
    if (get_string(json, "method", &request.method) < 0 || request.method == NULL ||
        get_boolean(json, "more", &request.more) < 0 ||
        get_boolean(json, "oneway", &request.oneway) < 0 ||
        get_boolean(json, "upgrade", &request.upgrade) < 0 || (request.more && request.oneway))
        return -EBADMSG;
    r = get_parameters(json, &request.parameters);
    if (r < 0)
        return r;
    request.json = take_pointer(&json);
    *ret_request = request;
    return 0;
}

void varlink_request_done(struct varlink_request *request)
{
    json_decref(request->parameters);
    json_decref(request->json);
    *request = (struct varlink_request){0};
}

int varlink_answer_parse(const char *text, size_t length, struct varlink_answer *ret_answer)
{
    struct varlink_answer answer = {0};
    cleanup(varlink_json_unref) json_t *json = NULL;
    int r = load_object(text, length, &json);

    if (r < 0)
        return r;
    if (get_string(json, "error", &answer.error) < 0 ||
        get_boolean(json, "continues", &answer.continues) < 0 ||
        (answer.error != NULL && answer.continues))
        return -EBADMSG;
    r = get_parameters(json, &answer.parameters);
    if (r < 0)
        return r;
    answer.json = take_pointer(&json);
    *ret_answer = answer;
    return 0;
}

void varlink_answer_done(struct varlink_answer *answer)
{
    json_decref(answer->parameters);
    json_decref(answer->json);
    *answer = (struct varlink_answer){0};
}

/* ---- Making --------------------------------------------------------------------------------- */

json_t *varlink_make_request(const char *method, json_t *parameters, const char *flag)
{
    if (flag == NULL)
        return json_pack("{s:s, s:o}", "method", method, "parameters", parameters);
    return json_pack("{s:s, s:o, s:b}", "method", method, "parameters", parameters, flag, 1);
}

json_t *varlink_make_reply(json_t *parameters, bool continues)
{
    if (!continues)
        return json_pack("{s:o}", "parameters", parameters);
    return json_pack("{s:o, s:b}", "parameters", parameters, "continues", 1);
}

json_t *varlink_make_error(const char *error, json_t *parameters)
{
    return json_pack("{s:s, s:o}", "error", error, "parameters", parameters);
}
