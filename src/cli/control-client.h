/* SPDX-License-Identifier: MIT */
/*
 * Finding the harks that run, and asking them over their control sockets.
 *
 *     r = control_find(name_or_path, timeout, &list);
 *     for each: r = control_call(&list.list[i], &request, &answer, &problems);
 *     control_list_done(&list);
 *
 * What they answer is checked for its form as Varlink, not for its members: nothing of it may reach
 * a terminal but through safe_text().
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "unit/string-list.h"
#include "varlink/varlink-client.h"

#define CONTROL_PREFIX "org.hark.Supervisor."

/* When none is found. */
#define NO_HARK_TEXT                                                                               \
    "no hark runs here; one that was started with --control= is asked by the path of its socket"

/* One hark. */
struct hark_control {
    char *name; /* for messages; the socket's path where no name is known */
    char *path; /* of the socket */
    int error;  /* why it cannot be asked: 0, or a negative errno of varlink_client_connect() */
    struct varlink_client *client; /* NULL: not connected */
};

struct control_list {
    struct hark_control *list; /* by name */
    size_t n;
};

/*
 * What has a slash is the path of a socket. Any other argument is a name, looked for in
 * $RUNTIME_DIRECTORY, /run/hark and $XDG_RUNTIME_DIR/hark. In both cases the list has one hark,
 * which may have an error.
 *
 * Without an argument (NULL): every hark in these places where somebody listens, but those of other
 * users only when there are no others. That may be none.
 *
 * timeout_usec is for each. 0 or -ENOMEM.
 */
int control_find(const char *argument, uint64_t timeout_usec, struct control_list *ret_list);
void control_list_done(struct control_list *list);

struct control_request {
    const char *method;    /* without the interface: "GetStatus" */
    json_t *parameters;    /* taken over; NULL: none */
    uint64_t timeout_usec; /* UINT64_MAX: none */
};

/*
 * Asks. 0 with the parameters of the answer, the caller's. Else it adds to problems, a line each,
 * what to tell people, and returns the errno of control_find() or varlink_client_call(), or
 * -EREMOTEIO for an error that hark answers. -ENOMEM adds nothing.
 */
int control_call(struct hark_control *control, const struct control_request *request,
                 json_t **ret_parameters, struct string_list *problems);

/* Both halves of a call with more than one answer. control_receive(): 1 with an answer; 0 when none
 * comes within the time; negative, with a problem, when none will. */
int control_more(struct hark_control *control, const struct control_request *request,
                 struct string_list *problems);
int control_receive(struct hark_control *control, uint64_t timeout_usec, json_t **ret_parameters,
                    struct string_list *problems);

/* The members of an answer, whatever it is: 0 or "" when there is none of that name and type. */
int64_t answer_integer(const json_t *answer, const char *name);
double answer_number(const json_t *answer, const char *name);
const char *answer_text(const json_t *answer, const char *name);
