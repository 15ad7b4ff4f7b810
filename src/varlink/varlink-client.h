/* SPDX-License-Identifier: MIT */
/*
 * A Varlink client that waits (https://varlink.org), one call at a time.
 *
 *     r = varlink_client_connect("/run/example", timeout, &client);
 *     r = varlink_client_call(client, "org.example.I.Method", json_object(), timeout, &answer);
 *     if (r == 0 && answer.error != NULL) … its own error, else answer.parameters
 *
 * With more than one answer: varlink_client_more(), then varlink_client_receive() until
 * !answer.continues. To wait for other things at the same time, receive with a timeout of 0 until
 * -EAGAIN, then poll(2) varlink_client_fd() for POLLIN.
 *
 * Timeouts are in microseconds for the whole of the function; UINT64_MAX waits for ever. Signals do
 * not interrupt. The server is not trusted: no errno but these comes from what it sends.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "varlink/varlink-message.h"

struct varlink_client;

/* To a path of any length, or an abstract address as "@name". 0; -ENOENT when nothing is there,
 * -ECONNREFUSED when nobody listens any more, -EACCES, -ENOTSOCK, -ETIMEDOUT when the server does
 * not accept, -ENAMETOOLONG, -ENOMEM, another errno of socket(2) or connect(2). */
int varlink_client_connect(const char *path, uint64_t timeout_usec,
                           struct varlink_client **ret_client);
/* Over a connected stream socket, which is taken over on success and made non-blocking. */
int varlink_client_new(int fd, struct varlink_client **ret_client);
struct varlink_client *varlink_client_free(struct varlink_client *client);

/*
 * Each takes the parameters over, also when it fails; json_object() for none, NULL is -ENOMEM.
 *
 * 0 with the answer, to be given to varlink_answer_done(): an error that the server answers is an
 * answer. -ETIMEDOUT; -ECONNRESET when the server closed instead; -EBADMSG, -EMSGSIZE for what is
 * no answer; -EBUSY when another call is not answered yet; -EMSGSIZE also for parameters beyond
 * VARLINK_REQUEST_MAX, where the connection remains usable. After any other failure it is not:
 * -ENOTCONN from then on.
 */
int varlink_client_call(struct varlink_client *client, const char *method, json_t *parameters,
                        uint64_t timeout_usec, struct varlink_answer *ret_answer);
/* Asks for more than one answer; reads none. */
int varlink_client_more(struct varlink_client *client, const char *method, json_t *parameters,
                        uint64_t timeout_usec);
/* Asks, and wants no answer. */
int varlink_client_oneway(struct varlink_client *client, const char *method, json_t *parameters,
                          uint64_t timeout_usec);
/* The next answer. Here -ETIMEDOUT, or -EAGAIN for a timeout of 0, only means: not yet. -ENODATA
 * when nothing has been asked that is not answered. */
int varlink_client_receive(struct varlink_client *client, uint64_t timeout_usec,
                           struct varlink_answer *ret_answer);
int varlink_client_fd(const struct varlink_client *client);
