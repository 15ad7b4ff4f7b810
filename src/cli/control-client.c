/* SPDX-License-Identifier: MIT */
#include "cli/control-client.h"

#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "cli/safe-text.h"

int64_t answer_integer(const json_t *answer, const char *name)
{
    return json_integer_value(json_object_get(answer, name));
}

double answer_number(const json_t *answer, const char *name)
{
    return json_number_value(json_object_get(answer, name));
}

const char *answer_text(const json_t *answer, const char *name)
{
    const char *text = json_string_value(json_object_get(answer, name));

    return text ? text : "";
}

/* ---- What to tell people --------------------------------------------------------------------- */

static char *describe_time(uint64_t usec)
{
    char *text;

    if (asprintf(&text, "%.6g s", (double)usec / (double)USEC_PER_SEC) < 0)
        return NULL;
    return text;
}

/* Whose the socket is, or the directory that hides it. */
static int add_not_permitted(const struct hark_control *control, const char *name,
                             struct string_list *problems)
{
    struct stat status;

    if (stat(control->path, &status) < 0)
        return string_list_add_format(problems, "cannot ask hark \"%s\": %s; try as root", name,
                                      strerror(EACCES));
    const struct passwd *user = getpwuid(status.st_uid);
    cleanup_free char *owner = safe_text(user ? user->pw_name : "", 40);
    if (!owner)
        return -ENOMEM;
    if (*owner != '\0')
        return string_list_add_format(
            problems, "cannot ask hark \"%s\": only root and its user, %s, may", name, owner);
    return string_list_add_format(problems,
                                  "cannot ask hark \"%s\": only root and its user, %u, may", name,
                                  (unsigned)status.st_uid);
}

static int add_failure(const struct hark_control *control, int error, uint64_t timeout_usec,
                       struct string_list *problems)
{
    cleanup_free char *name = safe_text(control->name, 0), *path = safe_text(control->path, 0);
    cleanup_free char *time = describe_time(timeout_usec);

    if (!name || !path || !time)
        return -ENOMEM;
    switch (error) {
    case -ENOENT:
        return string_list_add_format(
            problems, "no hark \"%s\" runs here: there is no \"%s\"; \"hark status\" shows all",
            name, path);
    case -ECONNREFUSED:
        return string_list_add_format(
            problems, "hark \"%s\" does not run any more: nobody listens on \"%s\"", name, path);
    case -EACCES:
    case -EPERM:
        return add_not_permitted(control, name, problems);
    case -ETIMEDOUT:
        return string_list_add_format(problems, "hark \"%s\" has not answered within %s", name,
                                      time);
    case -ECONNRESET:
    case -EPIPE:
    case -ENOTCONN:
        return string_list_add_format(problems, "hark \"%s\" has ended", name);
    case -EBADMSG:
    case -EMSGSIZE:
        return string_list_add_format(problems, "what listens on \"%s\" is not hark", path);
    default:
        return string_list_add_format(problems, "cannot ask hark \"%s\" at \"%s\": %s", name, path,
                                      strerror(-error));
    }
}

static int add_reasons(const char *name, const json_t *reasons, struct string_list *problems)
{
    int r = string_list_add_format(
        problems, "hark \"%s\" has refused to reload, and goes on as it was:", name);

    for (size_t i = 0; i < json_array_size(reasons); i++) {
        const char *text = json_string_value(json_array_get(reasons, i));
        cleanup_free char *shown = safe_text(text ? text : "", 0);
        if (r == 0)
            r = shown ? string_list_add(problems, shown) : -ENOMEM;
    }
    return r;
}

/* An error that hark answers. */
static int add_answered(const struct hark_control *control, const struct varlink_answer *answer,
                        struct string_list *problems)
{
    const json_t *parameters = answer->parameters;
    cleanup_free char *name = safe_text(control->name, 0), *error = safe_text(answer->error, 100);
    cleanup_free char *state = safe_text(answer_text(parameters, "state"), 40);

    if (!name || !error || !state)
        return -ENOMEM;
    if (strcmp(answer->error, CONTROL_PREFIX "ReloadFailed") == 0)
        return add_reasons(name, json_object_get(parameters, "reasons"), problems);
    if (strcmp(answer->error, CONTROL_PREFIX "NotServing") == 0)
        return string_list_add_format(problems, "hark \"%s\" cannot do that now: it is %s", name,
                                      state);
    if (strcmp(answer->error, CONTROL_PREFIX "NoSuchHandler") == 0)
        return string_list_add_format(problems, "hark \"%s\" has no handler with pid %lld", name,
                                      (long long)answer_integer(parameters, "pid"));
    if (strcmp(answer->error, VARLINK_ERROR_PERMISSION_DENIED) == 0)
        return add_not_permitted(control, name, problems);
    if (strcmp(answer->error, VARLINK_ERROR_METHOD_NOT_FOUND) == 0 ||
        strcmp(answer->error, VARLINK_ERROR_METHOD_NOT_IMPLEMENTED) == 0)
        return string_list_add_format(problems, "hark \"%s\" is of a version that cannot do that",
                                      name);
    return string_list_add_format(problems, "hark \"%s\" has answered %s", name, error);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static int tell(const struct hark_control *control, int error, uint64_t timeout_usec,
                struct string_list *problems)
{
    int r = error == -ENOMEM ? 0 : add_failure(control, error, timeout_usec, problems);

    return r < 0 ? r : error;
}

/* The answer becomes its parameters, or a problem. */
static int take_answer(const struct hark_control *control, struct varlink_answer *answer,
                       json_t **ret_parameters, struct string_list *problems)
{
    int r = 0;

    if (answer->error) {
        r = add_answered(control, answer, problems);
        r = r < 0 ? r : -EREMOTEIO;
    } else {
        *ret_parameters = json_incref(answer->parameters);
    }
    varlink_answer_done(answer);
    return r;
}

static int connect_to(struct hark_control *control, uint64_t timeout_usec)
{
    if (control->client)
        return 0;
    if (control->error < 0)
        return control->error;
    return varlink_client_connect(control->path, timeout_usec, &control->client);
}

static void make_method(char text[80], const char *method)
{
    (void)snprintf(text, 80, CONTROL_PREFIX "%s", method);
}

int control_call(struct hark_control *control, const struct control_request *request,
                 json_t **ret_parameters, struct string_list *problems)
{
    json_t *parameters = request->parameters ? request->parameters : json_object();
    struct varlink_answer answer;
    char method[80];
    int r = connect_to(control, request->timeout_usec);

    make_method(method, request->method);
    if (r == 0)
        r = varlink_client_call(control->client, method, parameters, request->timeout_usec,
                                &answer);
    else
        json_decref(parameters);
    if (r == 0)
        return take_answer(control, &answer, ret_parameters, problems);
    control->client = varlink_client_free(control->client);
    return tell(control, r, request->timeout_usec, problems);
}

int control_more(struct hark_control *control, const struct control_request *request,
                 struct string_list *problems)
{
    json_t *parameters = request->parameters ? request->parameters : json_object();
    char method[80];
    int r = connect_to(control, request->timeout_usec);

    make_method(method, request->method);
    if (r == 0)
        r = varlink_client_more(control->client, method, parameters, request->timeout_usec);
    else
        json_decref(parameters);
    return r < 0 ? tell(control, r, request->timeout_usec, problems) : 0;
}

int control_receive(struct hark_control *control, uint64_t timeout_usec, json_t **ret_parameters,
                    struct string_list *problems)
{
    struct varlink_answer answer;
    int r = varlink_client_receive(control->client, timeout_usec, &answer);

    if (r == -EAGAIN || r == -ETIMEDOUT)
        return 0;
    if (r < 0)
        return tell(control, r, timeout_usec, problems);
    r = take_answer(control, &answer, ret_parameters, problems);
    return r < 0 ? r : 1;
}

/* ---- Finding --------------------------------------------------------------------------------- */

static void control_done(struct hark_control *control)
{
    varlink_client_free(control->client);
    free(control->name);
    free(control->path);
}

void control_list_done(struct control_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        control_done(&list->list[i]);
    free(list->list);
    *list = (struct control_list){0};
}

/* The same socket may be found in two places. */
static bool is_known(const struct control_list *list, const char *path)
{
    struct stat one, other;

    if (stat(path, &one) < 0)
        return false;
    for (size_t i = 0; i < list->n; i++)
        if (stat(list->list[i].path, &other) == 0 && one.st_dev == other.st_dev &&
            one.st_ino == other.st_ino)
            return true;
    return false;
}

static int add(struct control_list *list, const char *name, const char *path, uint64_t timeout_usec)
{
    struct hark_control *grown = realloc(list->list, (list->n + 1) * sizeof(*grown));
    struct hark_control control = {0};

    if (!grown)
        return -ENOMEM;
    list->list = grown;
    control.name = strdup(name);
    control.path = strdup(path);
    if (control.name && control.path)
        control.error = varlink_client_connect(path, timeout_usec, &control.client);
    if (!control.name || !control.path || control.error == -ENOMEM) {
        control_done(&control);
        return -ENOMEM;
    }
    list->list[list->n++] = control;
    return 0;
}

/* The directories that have one for each hark, the system's first. A user's may be missing. */
static int add_places(struct string_list *places)
{
    const char *user = getenv("XDG_RUNTIME_DIR");
    int r = string_list_add(places, "/run/hark");

    if (r == 0 && user && user[0] == '/')
        r = string_list_add_format(places, "%s/hark", user);
    return r;
}

/* The first directory of $RUNTIME_DIRECTORY: that of the service this is called from. */
static int service_directory(char **ret_path)
{
    const char *list = getenv("RUNTIME_DIRECTORY");
    char *path = NULL;

    if (list && list[0] == '/' && !(path = strndup(list, strcspn(list, ":"))))
        return -ENOMEM;
    *ret_path = path;
    return 0;
}

/* What the hark of a service calls itself: it may be anything. NULL when it does not say. */
static char *ask_name(struct hark_control *control, uint64_t timeout_usec)
{
    const struct control_request request = {.method = "GetStatus", .timeout_usec = timeout_usec};
    cleanup(string_list_done) struct string_list problems = {0};
    json_t *answer = NULL;
    char *name = NULL;

    if (control->client && control_call(control, &request, &answer, &problems) == 0) {
        const char *text = answer_text(answer, "name");
        name = *text != '\0' ? strdup(text) : NULL;
    }
    json_decref(answer);
    return name;
}

static int add_service(struct control_list *list, uint64_t timeout_usec)
{
    cleanup_free char *directory = NULL, *path = NULL;
    int r = service_directory(&directory);

    if (r < 0 || !directory)
        return r;
    if (asprintf(&path, "%s/control", directory) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    r = add(list, path, path, timeout_usec);
    if (r < 0)
        return r;
    struct hark_control *added = &list->list[list->n - 1];
    char *name = ask_name(added, timeout_usec);
    if (name) {
        free(added->name);
        added->name = name;
    }
    return 0;
}

/* Drops those that are not wanted, in their order. */
static void keep(struct control_list *list, bool (*is_wanted)(const struct hark_control *control))
{
    size_t n = 0;

    for (size_t i = 0; i < list->n; i++)
        if (is_wanted(&list->list[i]))
            list->list[n++] = list->list[i];
        else
            control_done(&list->list[i]);
    list->n = n;
}

static bool is_alive(const struct hark_control *control)
{
    return control->error != -ENOENT && control->error != -ECONNREFUSED &&
           control->error != -ENOTSOCK && control->error != -ENOTDIR;
}

static bool is_ours(const struct hark_control *control)
{
    return control->error != -EACCES && control->error != -EPERM;
}

static int compare(const void *a, const void *b)
{
    const struct hark_control *one = (const struct hark_control *)a,
                              *other = (const struct hark_control *)b;
    int r = strcmp(one->name, other->name);

    return r != 0 ? r : strcmp(one->path, other->path);
}

static int add_place(struct control_list *list, const char *place, uint64_t timeout_usec)
{
    DIR *directory = opendir(place);
    const struct dirent *entry;
    int r = 0;

    if (!directory)
        return 0; /* nobody has been there */
    while (r == 0 && (entry = readdir(directory)) != NULL) {
        cleanup_free char *path = NULL;
        if (entry->d_name[0] == '.')
            continue;
        if (asprintf(&path, "%s/%s/control", place, entry->d_name) < 0) {
            path = NULL;
            r = -ENOMEM;
        } else if (!is_known(list, path)) {
            r = add(list, entry->d_name, path, timeout_usec);
        }
    }
    (void)closedir(directory);
    return r;
}

static int find_all(uint64_t timeout_usec, struct control_list *list)
{
    cleanup(string_list_done) struct string_list places = {0};
    int r = add_places(&places);

    if (r == 0)
        r = add_service(list, timeout_usec);
    for (size_t i = 0; r == 0 && i < places.n; i++)
        r = add_place(list, places.items[i], timeout_usec);
    if (r < 0)
        return r;
    keep(list, is_alive);
    for (size_t i = 0; i < list->n; i++)
        if (is_ours(&list->list[i])) {
            keep(list, is_ours);
            break;
        }
    if (list->n > 0)
        qsort(list->list, list->n, sizeof(list->list[0]), compare);
    return 0;
}

static void move_to_front(struct control_list *list, size_t i)
{
    struct hark_control first = list->list[0];

    list->list[0] = list->list[i];
    list->list[i] = first;
}

/* The first that lives; else the first that says more than that there is nothing. */
static void choose(struct control_list *list)
{
    size_t chosen = 0;

    for (size_t i = 0; i < list->n; i++) {
        int best = list->list[chosen].error, error = list->list[i].error;
        if (best != 0 && (error == 0 || (best == -ENOENT && error != -ENOENT)))
            chosen = i;
    }
    move_to_front(list, chosen);
    for (size_t i = 1; i < list->n; i++)
        control_done(&list->list[i]);
    list->n = 1;
}

static int find_name(const char *name, uint64_t timeout_usec, struct control_list *list)
{
    cleanup(string_list_done) struct string_list places = {0};
    int r = add_places(&places);

    if (r == 0)
        r = add_service(list, timeout_usec);
    if (r == 0 && list->n > 0 && strcmp(list->list[0].name, name) != 0)
        control_list_done(list);
    for (size_t i = 0; r == 0 && i < places.n; i++) {
        cleanup_free char *path = NULL;
        if (asprintf(&path, "%s/%s/control", places.items[i], name) < 0) {
            path = NULL;
            return -ENOMEM;
        }
        r = add(list, name, path, timeout_usec);
    }
    if (r == 0)
        choose(list);
    return r;
}

int control_find(const char *argument, uint64_t timeout_usec, struct control_list *ret_list)
{
    cleanup(control_list_done) struct control_list list = {0};
    int r;

    if (!argument)
        r = find_all(timeout_usec, &list);
    else if (strchr(argument, '/'))
        r = add(&list, argument, argument, timeout_usec);
    else
        r = find_name(argument, timeout_usec, &list);
    if (r < 0)
        return r;
    *ret_list = list;
    list = (struct control_list){0};
    return 0;
}
