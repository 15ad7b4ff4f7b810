/* SPDX-License-Identifier: MIT */
#include "supervisor/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "libhark/hark.h"
#include "supervisor/control-interface.h"
#include "supervisor/control-status.h"
#include "supervisor/supervisor-state.h"
#include "varlink/varlink-server.h"

#define SYSTEM_DIRECTORY "/run/hark"
/* Whoever asks must not delay what happens to handlers. */
#define PRIORITY SD_EVENT_PRIORITY_IDLE

/* Somebody who waits for an answer: the end of a reload, or exits as they happen. */
struct kept_call {
    struct control *control;
    struct varlink_call *call;
    bool follows;
    uint64_t lost; /* exits that there was no room for, and that it has not been told of */
    bool for_next; /* a reload was under way: it is the next one's end that is waited for */
    struct kept_call *next;
};

struct control {
    struct supervisor *supervisor;
    char *name;
    char *directory; /* of ours alone, or NULL */
    struct hark_listener *listener;
    struct varlink_server *server;
    struct kept_call *kept;
};

/* ---- Kept calls ------------------------------------------------------------------------------ */

static void drop(struct kept_call *kept)
{
    struct kept_call **at = &kept->control->kept;

    while (*at != kept)
        at = &(*at)->next;
    *at = kept->next;
    varlink_call_unref(kept->call);
    free(kept);
}

static void on_end(struct varlink_call *call, void *userdata)
{
    (void)call;
    drop(userdata);
}

static int keep(struct control *control, struct varlink_call *call, bool follows)
{
    struct kept_call *kept = calloc(1, sizeof(*kept));

    if (kept == NULL)
        return -ENOMEM;
    *kept = (struct kept_call){
        .control = control,
        .call = varlink_call_ref(call),
        .follows = follows,
        .next = control->kept,
    };
    control->kept = kept;
    varlink_call_on_end(call, on_end, kept);
    return 0;
}

/* The exit, and how many were left out before it; either may be none. Whose connection has ended is
 * dropped by on_end(). */
static void tell_follower(struct kept_call *kept, json_t *exit)
{
    json_t *lost = kept->lost > 0 ? json_integer((json_int_t)kept->lost) : json_null();
    json_t *parameters = json_pack("{sO? so}", "exit", exit, "lost", lost);
    int r = varlink_reply_more(kept->call, parameters);

    if (r >= 0)
        kept->lost = 0;
    else if (exit != NULL)
        kept->lost++;
}

static void on_room(struct varlink_call *call, void *userdata)
{
    struct kept_call *kept = userdata;

    (void)call;
    if (kept->lost > 0)
        tell_follower(kept, NULL);
}

void control_tell_exit(struct control *control, const char *unit, const struct spawn_record *record,
                       const struct handler_exit *end, bool failed)
{
    json_t *json = NULL;

    for (struct kept_call *kept = control != NULL ? control->kept : NULL; kept != NULL;
         kept = kept->next) {
        if (!kept->follows)
            continue;
        if (json == NULL)
            json = control_exit(unit, record, end, failed);
        tell_follower(kept, json);
    }
    json_decref(json);
}

static json_t *reasons_json(const struct supervisor *supervisor)
{
    const struct log_tap *tap = &supervisor->reload.tap;
    json_t *array = json_array();

    for (size_t i = 0; i < tap->n && array != NULL; i++)
        (void)json_array_append_new(array, json_string(tap->lines[i]));
    return json_pack("{so}", "reasons", array);
}

void control_tell_reload(struct control *control, bool done, bool no_more)
{
    struct kept_call *next;

    for (struct kept_call *kept = control != NULL ? control->kept : NULL; kept != NULL;
         kept = next) {
        next = kept->next;
        if (kept->follows)
            continue;
        if (kept->for_next && !no_more) {
            kept->for_next = false;
            continue;
        }
        if (done)
            (void)varlink_reply(kept->call, json_object());
        else
            (void)varlink_error(kept->call, CONTROL_INTERFACE ".ReloadFailed",
                                reasons_json(control->supervisor));
        drop(kept);
    }
}

/* ---- Methods --------------------------------------------------------------------------------- */

static int get_status(struct varlink_call *call, void *userdata)
{
    const struct control *control = userdata;

    return varlink_reply(call, control_status(control->supervisor, control->name));
}

static int list_handlers(struct varlink_call *call, void *userdata)
{
    const struct control *control = userdata;
    json_t *unit = json_object_get(varlink_call_parameters(call), "unit");

    if (unit != NULL && !json_is_null(unit) && !json_is_string(unit))
        return varlink_invalid_parameter(call, "unit");
    return varlink_reply(call, control_handlers(control->supervisor, json_string_value(unit)));
}

static int follow_exits(struct varlink_call *call, void *userdata)
{
    struct control *control = userdata;
    int r = keep(control, call, true);

    if (r >= 0)
        varlink_call_on_room(call, on_room, control->kept);
    return r;
}

static int not_serving(const struct control *control, struct varlink_call *call)
{
    return varlink_error(call, CONTROL_INTERFACE ".NotServing",
                         json_pack("{ss}", "state", control_state(control->supervisor)));
}

static int reload(struct varlink_call *call, void *userdata)
{
    struct control *control = userdata;

    if (control->supervisor->state != SUPERVISOR_SERVING)
        return not_serving(control, call);
    bool under_way = control->supervisor->reload.state != RELOAD_NONE;
    int r = keep(control, call, false);
    if (r < 0)
        return r;
    control->kept->for_next = under_way;
    supervisor_reload(control->supervisor);
    return 0;
}

static int drain(struct varlink_call *call, void *userdata)
{
    struct control *control = userdata;

    if (control->supervisor->state != SUPERVISOR_SERVING)
        return not_serving(control, call);
    int r = varlink_reply(call, json_object());
    supervisor_drain(control->supervisor);
    return r;
}

/* As SIGTERM, a second time, too. */
static int stop(struct varlink_call *call, void *userdata)
{
    struct control *control = userdata;
    int r = varlink_reply(call, json_object());

    supervisor_stop(control->supervisor);
    return r;
}

static int kill_handler(struct varlink_call *call, void *userdata)
{
    const struct control *control = userdata;
    json_t *pid = json_object_get(varlink_call_parameters(call), "pid");
    json_t *number = json_object_get(varlink_call_parameters(call), "signal");
    json_int_t signal_number = SIGTERM;

    if (!json_is_integer(pid) || json_integer_value(pid) <= 0)
        return varlink_invalid_parameter(call, "pid");
    if (number != NULL && !json_is_null(number)) {
        signal_number = json_integer_value(number); /* 0 for what is no number */
        if (signal_number < 1 || signal_number >= NSIG)
            return varlink_invalid_parameter(call, "signal");
    }
    if (supervisor_signal_handler(control->supervisor, json_integer_value(pid), (int)signal_number))
        return varlink_reply(call, json_object());
    return varlink_error(call, CONTROL_INTERFACE ".NoSuchHandler", json_pack("{sO}", "pid", pid));
}

static const struct varlink_method methods[] = {
    {.name = "GetStatus", .function = get_status},
    {.name = "ListHandlers", .function = list_handlers},
    {.name = "FollowExits", .function = follow_exits, .needs_more = true},
    {.name = "Reload", .function = reload},
    {.name = "Drain", .function = drain},
    {.name = "Stop", .function = stop},
    {.name = "KillHandler", .function = kill_handler},
};

static const struct varlink_interface interface = {
    .name = CONTROL_INTERFACE,
    .description = control_interface_description,
    .methods = methods,
    .n_methods = sizeof(methods) / sizeof(methods[0]),
};

/* ---- The socket ------------------------------------------------------------------------------ */

static int listen_at(struct control *control, const char *path)
{
    struct hark_listen_options options = HARK_LISTEN_OPTIONS_INIT;

    options.mode = 0600;
    options.flags = HARK_LISTEN_NONBLOCK | HARK_LISTEN_MKDIR | HARK_LISTEN_ONE_THREAD;
    return hark_listen(path, &options, &control->listener);
}

static int listen_in(struct control *control, const char *directory)
{
    cleanup_free char *path = NULL;

    if (asprintf(&path, "%s/control", directory) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    int r = listen_at(control, path);
    if (r == -EADDRINUSE)
        log_warning("no control socket: \"%s\" is another hark's (--name= gives this one another)",
                    path);
    return r;
}

/* The directory is ours to remove, unless a manager made it. */
static int listen_in_own(struct control *control, const char *above, const char *below)
{
    cleanup_free char *directory = NULL;

    if (asprintf(&directory, "%s%s/%s", above, below, control->name) < 0) {
        directory = NULL;
        return -ENOMEM;
    }
    int r = listen_in(control, directory);
    if (r >= 0)
        control->directory = take_pointer(&directory);
    return r;
}

/* Somebody who has the place is said by listen_in(), and no reason to go elsewhere. */
static int listen_somewhere(struct control *control)
{
    const char *runtime = getenv("RUNTIME_DIRECTORY"), *user = getenv("XDG_RUNTIME_DIR");
    int r = -ENOENT;

    if (runtime != NULL && runtime[0] == '/') {
        cleanup_free char *first = strndup(runtime, strcspn(runtime, ":"));

        return first != NULL ? listen_in(control, first) : -ENOMEM;
    }
    r = listen_in_own(control, SYSTEM_DIRECTORY, "");
    if (r < 0 && r != -EADDRINUSE && user != NULL && user[0] == '/')
        r = listen_in_own(control, user, "/hark");
    return r;
}

static int listen_as_told(struct control *control, const char *path)
{
    int r = listen_at(control, path);

    if (r == -EADDRINUSE)
        log_warning("no control socket: \"%s\" is in use", path);
    return r;
}

static int serve(struct control *control)
{
    const struct varlink_server_options options = {
        .fd = hark_listener_fd(control->listener),
        .vendor = "hark",
        .product = "hark",
        .version = HARK_VERSION,
        .url = "man:hark(1)",
        .interfaces = &interface,
        .n_interfaces = 1,
        .priority = PRIORITY,
        .userdata = control,
    };

    return varlink_server_new(control->supervisor->event, &options, &control->server);
}

struct control *control_new(struct supervisor *supervisor)
{
    const char *name = supervisor->options.name, *path = supervisor->options.control;
    int r = -ENOMEM;

    if (name == NULL)
        return NULL;
    struct control *control = calloc(1, sizeof(*control));
    if (control != NULL) {
        control->supervisor = supervisor;
        control->name = strdup(name);
        if (control->name != NULL)
            r = path != NULL ? listen_as_told(control, path) : listen_somewhere(control);
    }
    if (r >= 0)
        r = serve(control);
    if (r >= 0)
        return control;
    if (r != -EADDRINUSE)
        log_warning("no control socket: cannot make %s%s%s: %s", path != NULL ? "\"" : "one in ",
                    path != NULL ? path : "$RUNTIME_DIRECTORY, /run/hark or $XDG_RUNTIME_DIR/hark",
                    path != NULL ? "\"" : "", strerror(-r));
    return control_free(control);
}

struct control *control_free(struct control *control)
{
    if (control == NULL)
        return NULL;
    varlink_server_free(control->server); /* which ends all that is kept */
    hark_listener_free(control->listener);
    if (control->directory != NULL)
        (void)rmdir(control->directory);
    free(control->directory);
    free(control->name);
    free(control);
    return NULL;
}
