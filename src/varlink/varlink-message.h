/* SPDX-License-Identifier: MIT */
/*
 * Varlink's messages (https://varlink.org): JSON objects, each ended by a NUL byte, on a stream.
 *
 *     client:  {"method": "org.example.I.Method", "parameters": {…}, "more": true}
 *     server:  {"parameters": {…}, "continues": true}  or
 *              {"error": "org.example.I.Error", "parameters": {…}}
 *
 * Both sides distrust each other: a message has at most so many bytes and VARLINK_DEPTH_MAX levels;
 * duplicate keys, invalid UTF-8, \u0000 and numbers out of range are no JSON here. Unknown members
 * of a message are ignored.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* In bytes, with the NUL. */
#define VARLINK_REQUEST_MAX ((size_t)64 * 1024)
#define VARLINK_REPLY_MAX   ((size_t)16 * 1024 * 1024)
/* Objects and arrays within each other. */
#define VARLINK_DEPTH_MAX 32

#define VARLINK_ERROR_INTERFACE_NOT_FOUND    "org.varlink.service.InterfaceNotFound"
#define VARLINK_ERROR_METHOD_NOT_FOUND       "org.varlink.service.MethodNotFound"
#define VARLINK_ERROR_METHOD_NOT_IMPLEMENTED "org.varlink.service.MethodNotImplemented"
#define VARLINK_ERROR_INVALID_PARAMETER      "org.varlink.service.InvalidParameter"
#define VARLINK_ERROR_PERMISSION_DENIED      "org.varlink.service.PermissionDenied"
#define VARLINK_ERROR_EXPECTED_MORE          "org.varlink.service.ExpectedMore"

/* For cleanup(). */
static inline void varlink_json_unref(json_t **json)
{
    json_decref(*json);
}

/* Bytes on their way, in either direction. Starts as {0}; grows as it must. */
struct varlink_buffer {
    char *data;
    size_t begin, end; /* what is in it */
    size_t allocated;
    size_t scanned; /* there is no NUL before */
};

/* Empty again, without memory. */
void varlink_buffer_done(struct varlink_buffer *buffer);
size_t varlink_buffer_length(const struct varlink_buffer *buffer);

/* Takes what fd has, without waiting, as far as the buffer has less than maximum bytes then. The
 * number of bytes, 0 at the end of the stream; -EMSGSIZE when there are maximum bytes already,
 * -ENOMEM, -EAGAIN or another errno of recv(2). Descriptors that come along are dropped. */
int varlink_buffer_receive(struct varlink_buffer *buffer, int fd, size_t maximum);
/* Whether there is a whole message. */
bool varlink_buffer_has_message(struct varlink_buffer *buffer);
/* Takes the next message out: true, with its text and its length without the NUL, valid until the
 * buffer is used again; or false. */
bool varlink_buffer_next(struct varlink_buffer *buffer, const char **ret_text, size_t *ret_length);

/* Adds a message of at most maximum bytes. 0; -EMSGSIZE, -ENOMEM with nothing added. */
int varlink_buffer_append(struct varlink_buffer *buffer, const json_t *message, size_t maximum);
/* Sends what the socket takes, without waiting, without SIGPIPE. 0, also when nothing is taken; or
 * an errno of send(2). */
int varlink_buffer_send(struct varlink_buffer *buffer, int fd);

struct varlink_request {
    const char *method; /* in json */
    json_t *parameters; /* always an object */
    bool more, oneway, upgrade;
    json_t *json;
};

/* 0; -EBADMSG for what is no request, -ENOMEM. */
int varlink_request_parse(const char *text, size_t length, struct varlink_request *ret_request);
void varlink_request_done(struct varlink_request *request);

struct varlink_answer {
    const char *error;  /* in json; NULL: none */
    json_t *parameters; /* always an object */
    bool continues;
    json_t *json;
};

/* The same. */
int varlink_answer_parse(const char *text, size_t length, struct varlink_answer *ret_answer);
void varlink_answer_done(struct varlink_answer *answer);

/* The messages. Each takes the parameters over, also when it fails, which it does when they are
 * NULL: what jansson could not make goes through to the end. NULL: no memory, or no UTF-8. */
json_t *varlink_make_request(const char *method, json_t *parameters, const char *flag);
json_t *varlink_make_reply(json_t *parameters, bool continues);
json_t *varlink_make_error(const char *error, json_t *parameters);
