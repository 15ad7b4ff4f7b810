/* SPDX-License-Identifier: MIT */
#include "supervisor/service.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "supervisor/log.h"
#include "supervisor/rate-window.h"

/* systemd's TriggerLimit for such a socket; where systemd gives it up for good, we pause. */
static const struct rate_limit default_trigger_limit = {.interval = 2 * USEC_PER_SEC, .burst = 20};

#define RETRY_USEC (100 * USEC_PER_MSEC)
/* Until conditions that were not met, or files that were not there, are looked at again. */
#define CONDITION_USEC (1 * USEC_PER_SEC)

enum service_state {
    SERVICE_WATCHING,
    SERVICE_WANTED, /* there is traffic, but no server to ask */
    SERVICE_REQUESTED,
    SERVICE_RUNNING,
    SERVICE_SUSPENDED,
    SERVICE_STOPPED,
};

/* A listener that is watched. */
struct traffic {
    struct service *service;
    struct service_listener of;
    sd_event_source *io;
    sd_event_source *pause; /* its poll limit was reached; NULL */
    struct rate_window polls;
};

/* Triggers are counted per socket unit. */
struct trigger {
    const struct socket_unit *unit;
    struct rate_window window;
};

struct service {
    struct service_options options;
    enum service_state state;
    struct traffic *traffic;
    struct trigger *triggers; /* one per listener at most */
    size_t n_traffic, n_triggers;
    sd_event_source *timer;
    uint64_t request;
    uint32_t asked;   /* incarnation of the server that was asked last */
    uint32_t program; /* the one that is requested, or runs */
    struct log_limit failures, pauses;
};

/* ---- Watching -------------------------------------------------------------------------------- */

static void enable_traffic(struct service *service, int enabled)
{
    for (size_t i = 0; i < service->n_traffic; i++)
        if (enabled == SD_EVENT_OFF || service->traffic[i].pause == NULL)
            (void)sd_event_source_set_enabled(service->traffic[i].io, enabled);
}

/* FlushPending=: each time before it listens (again). */
static void flush_traffic(struct service *service)
{
    for (size_t i = 0; i < service->n_traffic; i++) {
        const struct service_listener *of = &service->traffic[i].of;

        if (of->unit != NULL && of->unit->flush_pending)
            listener_flush(of->listener);
    }
}

static void watch_traffic(struct service *service)
{
    service->state = SERVICE_WATCHING;
    flush_traffic(service);
    enable_traffic(service, SD_EVENT_ON);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct service *service = userdata;

    (void)source;
    (void)usec;
    if (service->state == SERVICE_SUSPENDED)
        watch_traffic(service);
    return 0;
}

static void suspend(struct service *service, uint64_t usec)
{
    service->state = SERVICE_SUSPENDED;
    enable_traffic(service, SD_EVENT_OFF);
    (void)sd_event_source_set_time_relative(service->timer, usec);
    (void)sd_event_source_set_enabled(service->timer, SD_EVENT_ONESHOT);
}

static void request(struct service *service)
{
    const struct service_options *options = &service->options;

    enable_traffic(service, SD_EVENT_OFF);
    const struct server_message message = {
        .type = SERVER_MESSAGE_START,
        .unit = options->unit,
        .slot = service->program,
        .number = ++service->request,
    };
    int r = server_pool_request_start(options->pool, &message, &service->asked);
    service->state = r < 0 ? SERVICE_WANTED : SERVICE_REQUESTED;
}

/* ---- Limits ---------------------------------------------------------------------------------- */

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct traffic *traffic = userdata;

    (void)source;
    (void)usec;
    traffic->pause = sd_event_source_disable_unref(traffic->pause);
    if (traffic->service->state == SERVICE_WATCHING)
        (void)sd_event_source_set_enabled(traffic->io, SD_EVENT_ON);
    return 0;
}

/* PollLimit…=: this listener is not looked at until the window is over. */
static bool polled_too_often(struct traffic *traffic, uint64_t now)
{
    uint64_t until = traffic->of.unit == NULL
                         ? 0
                         : rate_window_count(&traffic->polls, &traffic->of.unit->poll_limit, now);

    if (until == 0)
        return false;
    if (log_limit_pass(&traffic->service->pauses, "pauses"))
        log_event(&(const struct log_event){.level = LOG_NOTICE,
                                            .id = MESSAGE_UNIT_PAUSED,
                                            .unit = traffic->service->options.name,
                                            .listener = listener_address(traffic->of.listener)},
                  "\"%s\": \"%s\" has reached its poll limit: not looked at for %u ms",
                  traffic->service->options.name, listener_address(traffic->of.listener),
                  (unsigned)((until - now) / USEC_PER_MSEC));
    (void)sd_event_source_set_enabled(traffic->io, SD_EVENT_OFF);
    return sd_event_add_time_relative(traffic->service->options.event, &traffic->pause,
                                      CLOCK_MONOTONIC, until - now, 0, on_pause_over, traffic) >= 0;
}

static struct rate_window *find_window(struct service *service, const struct socket_unit *unit)
{
    for (size_t i = 0; i < service->n_triggers; i++)
        if (service->triggers[i].unit == unit)
            return &service->triggers[i].window;
    service->triggers[service->n_triggers].unit = unit;
    return &service->triggers[service->n_triggers++].window;
}

/* TriggerLimit…=: the service pauses until the window is over. */
static bool triggered_too_often(struct service *service, const struct traffic *traffic,
                                uint64_t now)
{
    const struct socket_unit *unit = traffic->of.unit;
    const struct rate_limit *limit = unit != NULL ? &unit->trigger_limit : &default_trigger_limit;
    uint64_t until = rate_window_count(find_window(service, unit), limit, now);

    if (until == 0)
        return false;
    if (log_limit_pass(&service->pauses, "pauses"))
        log_event(&(const struct log_event){.level = LOG_WARNING,
                                            .id = MESSAGE_UNIT_PAUSED,
                                            .unit = service->options.name,
                                            .listener = listener_address(traffic->of.listener)},
                  "\"%s\" was started %u times within a short time and left its traffic waiting; "
                  "pausing for %u ms",
                  service->options.name, limit->burst, (unsigned)((until - now) / USEC_PER_MSEC));
    suspend(service, until - now);
    return true;
}

static int on_traffic(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct traffic *traffic = userdata;
    struct service *service = traffic->service;
    uint64_t now = monotonic_usec();

    (void)source;
    (void)fd;
    (void)revents;
    if (service->state != SERVICE_WATCHING || polled_too_often(traffic, now) ||
        triggered_too_often(service, traffic, now))
        return 0;
    service->program = 0;
    request(service);
    return 0;
}

/* ---- What others tell ------------------------------------------------------------------------ */

void service_on_started(struct service *service, const struct server_message *message)
{
    const struct service_options *options = &service->options;

    if (service->state != SERVICE_REQUESTED || message->number != service->request)
        return;
    /* Busy: its slot is taken, by the answer to an earlier request that we thought was lost with
     * its server, or by a program that is not quite gone. */
    if (message->error == 0 ||
        (message->error == EBUSY && slots_used(options->slots, options->unit) > 0)) {
        service->state = SERVICE_RUNNING;
        return;
    }
    if (message->error == ENOEXEC) { /* the server has said why */
        suspend(service, CONDITION_USEC);
        return;
    }
    if (message->error == ECANCELED) {
        if (log_limit_pass(&service->failures, "failures"))
            log_notice("\"%s\" is not started: one of its conditions is not met", options->name);
        suspend(service, CONDITION_USEC);
        return;
    }
    if (message->error != EBUSY && log_limit_pass(&service->failures, "failures"))
        log_event(&(const struct log_event){.level = LOG_ERR,
                                            .id = MESSAGE_UNIT_NOT_STARTED,
                                            .unit = options->name,
                                            .error = message->error},
                  "cannot start \"%s\": %s", options->name, strerror(message->error));
    suspend(service, RETRY_USEC);
}

void service_on_servers(struct service *service)
{
    bool lost = service->state == SERVICE_REQUESTED &&
                !server_pool_has_incarnation(service->options.pool, service->asked) &&
                slots_used(service->options.slots, service->options.unit) == 0;

    if (service->state == SERVICE_WANTED || lost)
        request(service);
}

void service_on_room(struct service *service)
{
    if (service->state == SERVICE_WANTED)
        request(service);
}

void service_on_exit(struct service *service, bool success)
{
    if (service->state != SERVICE_REQUESTED && service->state != SERVICE_RUNNING)
        return;
    service->request++; /* an answer that is still on its way is out of date */
    if (success && service->program + 1 < service->options.n_programs) {
        service->program++;
        service->state = SERVICE_WANTED; /* until its slot is free */
        return;
    }
    watch_traffic(service);
}

uint32_t service_program(const struct service *service)
{
    return service->program;
}

bool service_is_running(const struct service *service)
{
    return service->state == SERVICE_REQUESTED || service->state == SERVICE_RUNNING;
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void forget_traffic(struct service *service)
{
    for (size_t i = 0; i < service->n_traffic; i++) {
        sd_event_source_disable_unref(service->traffic[i].io);
        sd_event_source_disable_unref(service->traffic[i].pause);
    }
    free(service->traffic);
    free(service->triggers);
    service->traffic = NULL;
    service->triggers = NULL;
    service->n_traffic = service->n_triggers = 0;
}

void service_forget_listeners(struct service *service)
{
    forget_traffic(service);
}

void service_stop(struct service *service)
{
    service->state = SERVICE_STOPPED;
    forget_traffic(service);
}

int service_set_listeners(struct service *service, const struct service_listener *listeners,
                          size_t n)
{
    forget_traffic(service);
    service->traffic = calloc(n + 1, sizeof(*service->traffic));
    service->triggers = calloc(n + 1, sizeof(*service->triggers));
    if (service->traffic == NULL || service->triggers == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        struct traffic *traffic = &service->traffic[i];

        traffic->service = service;
        traffic->of = listeners[i];
        int r = sd_event_add_io(service->options.event, &traffic->io,
                                listener_fd(listeners[i].listener), EPOLLIN, on_traffic, traffic);
        if (r < 0) {
            log_error("cannot wait for traffic at \"%s\": %s",
                      listener_address(listeners[i].listener), strerror(-r));
            return r;
        }
        service->n_traffic = i + 1;
    }
    if (service->state == SERVICE_WATCHING)
        flush_traffic(service);
    else
        enable_traffic(service, SD_EVENT_OFF);
    return 0;
}

int service_new(const struct service_options *options, struct service **ret_service)
{
    cleanup_free struct service *service = calloc(1, sizeof(*service));

    if (service == NULL)
        return -ENOMEM;
    service->options = *options;
    service->failures =
        (struct log_limit){.interval_usec = 5 * USEC_PER_SEC, .burst = 1, .level = LOG_ERR};
    service->pauses =
        (struct log_limit){.interval_usec = 5 * USEC_PER_SEC, .burst = 5, .level = LOG_WARNING};
    int r = sd_event_add_time(options->event, &service->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC,
                              on_timer, service);
    if (r < 0)
        return r;
    (void)sd_event_source_set_enabled(service->timer, SD_EVENT_OFF);
    *ret_service = take_pointer(&service);
    return 0;
}

void service_change(struct service *service, const struct service_options *options)
{
    service->options = *options;
}

void service_resume(struct service *service, uint32_t program)
{
    service->program = program < service->options.n_programs ? program : 0;
    service->state = SERVICE_RUNNING;
}

struct service *service_free(struct service *service)
{
    if (service == NULL)
        return NULL;
    forget_traffic(service);
    sd_event_source_disable_unref(service->timer);
    free(service);
    return NULL;
}
