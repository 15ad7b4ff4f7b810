/* SPDX-License-Identifier: MIT */
#include "supervisor/service.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "supervisor/log.h"

/* systemd's TriggerLimit for such a socket; where systemd gives it up for good, we pause. */
#define TRIGGER_LIMIT_USEC (2 * USEC_PER_SEC)
#define TRIGGER_LIMIT      20
#define SUSPEND_USEC       (2 * USEC_PER_SEC)
#define RETRY_USEC         (100 * USEC_PER_MSEC)

enum service_state {
    SERVICE_WATCHING,
    SERVICE_WANTED, /* there is traffic, but no server to ask */
    SERVICE_REQUESTED,
    SERVICE_RUNNING,
    SERVICE_SUSPENDED,
    SERVICE_STOPPED,
};

struct service {
    sd_event *event;
    struct server_pool *pool;
    struct slots *slots;
    uint32_t unit;
    enum service_state state;
    sd_event_source **traffic;
    size_t n_traffic;
    sd_event_source *timer;
    uint64_t request;
    uint64_t window_usec; /* of the trigger limit */
    unsigned n_triggers;
};

static void enable_traffic(struct service *service, int enabled)
{
    for (size_t i = 0; i < service->n_traffic; i++)
        (void)sd_event_source_set_enabled(service->traffic[i], enabled);
}

static void watch_traffic(struct service *service)
{
    service->state = SERVICE_WATCHING;
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
    enable_traffic(service, SD_EVENT_OFF);
    int r = server_pool_request_start(service->pool, service->unit, ++service->request);
    service->state = r < 0 ? SERVICE_WANTED : SERVICE_REQUESTED;
}

static bool too_often(struct service *service)
{
    uint64_t now = monotonic_usec();

    if (service->window_usec == 0 || now - service->window_usec > TRIGGER_LIMIT_USEC) {
        service->window_usec = now;
        service->n_triggers = 0;
    }
    return ++service->n_triggers > TRIGGER_LIMIT;
}

static int on_traffic(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct service *service = userdata;

    (void)source;
    (void)fd;
    (void)revents;
    if (service->state != SERVICE_WATCHING)
        return 0;
    if (too_often(service)) {
        log_warning("the program was started %d times within 2 s and left its traffic waiting; "
                    "pausing for 2 s",
                    TRIGGER_LIMIT);
        service->window_usec = 0;
        suspend(service, SUSPEND_USEC);
        return 0;
    }
    request(service);
    return 0;
}

void service_on_started(struct service *service, const struct server_message *message)
{
    if (service->state != SERVICE_REQUESTED || message->number != service->request)
        return;
    /* Busy: its slot is taken, by the answer to an earlier request that we thought was lost with
     * its server, or by a program that is not quite gone. */
    if (message->error == 0 ||
        (message->error == EBUSY && slots_used(service->slots, service->unit) > 0)) {
        service->state = SERVICE_RUNNING;
        return;
    }
    if (message->error != EBUSY)
        log_error("cannot create a process for the program: %s", strerror(message->error));
    suspend(service, RETRY_USEC);
}

void service_on_servers(struct service *service)
{
    bool lost =
        service->state == SERVICE_REQUESTED && slots_used(service->slots, service->unit) == 0;

    if (service->state == SERVICE_WANTED || lost)
        request(service);
}

void service_on_exit(struct service *service)
{
    if (service->state == SERVICE_REQUESTED || service->state == SERVICE_RUNNING) {
        service->request++; /* an answer that is still on its way is out of date */
        watch_traffic(service);
    }
}

bool service_is_running(const struct service *service)
{
    return service->state == SERVICE_REQUESTED || service->state == SERVICE_RUNNING;
}

static void forget_traffic(struct service *service)
{
    for (size_t i = 0; i < service->n_traffic; i++)
        sd_event_source_disable_unref(service->traffic[i]);
    free(service->traffic);
    service->traffic = NULL;
    service->n_traffic = 0;
}

void service_stop(struct service *service)
{
    service->state = SERVICE_STOPPED;
    forget_traffic(service);
}

int service_set_listeners(struct service *service, const int *fds, size_t n)
{
    forget_traffic(service);
    service->traffic = calloc(n, sizeof(*service->traffic));
    if (service->traffic == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        int r = sd_event_add_io(service->event, &service->traffic[i], fds[i], EPOLLIN, on_traffic,
                                service);
        if (r < 0)
            return r;
        service->n_traffic = i + 1;
    }
    if (service->state != SERVICE_WATCHING)
        enable_traffic(service, SD_EVENT_OFF);
    return 0;
}

int service_new(sd_event *event, struct server_pool *pool, struct slots *slots, uint32_t unit,
                struct service **ret_service)
{
    cleanup_free struct service *service = calloc(1, sizeof(*service));

    if (service == NULL)
        return -ENOMEM;
    *service = (struct service){.event = event, .pool = pool, .slots = slots, .unit = unit};
    int r = sd_event_add_time(event, &service->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timer,
                              service);
    if (r < 0)
        return r;
    (void)sd_event_source_set_enabled(service->timer, SD_EVENT_OFF);
    *ret_service = take_pointer(&service);
    return 0;
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
