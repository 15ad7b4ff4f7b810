/* SPDX-License-Identifier: MIT */
#include "supervisor/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "supervisor/line-queue.h"

#define DATAGRAM_MAX     ((size_t)4096)        /* what systemd reads of one */
#define QUEUE_SIZE       ((size_t)1024 * 1024) /* some 10,000 exit lines */
#define PACE_USEC        (10 * USEC_PER_MSEC)  /* between two datagrams of exit lines … */
#define FULL_PACE_USEC   (8 * USEC_PER_MSEC)   /* … when more than one is waiting */
#define STATUS_PACE_USEC (100 * USEC_PER_MSEC)
#define RETRY_USEC       (20 * USEC_PER_MSEC) /* doubled up to … */
#define RETRY_MAX_USEC   (1 * USEC_PER_SEC)
#define STATES_MAX       8
#define STATE_SIZE       64
#define STATUS_SIZE      512
#define FDNAME_LENGTH    255 /* as sd_notify(3) says */

struct notify {
    int fd;
    struct sockaddr_un address;
    socklen_t address_size;
    sd_event_source *timer;
    bool armed;
    uint64_t armed_usec;
    uint64_t retry_usec; /* 0: the manager reads */

    char states[STATES_MAX][STATE_SIZE]; /* not taken yet, oldest first */
    size_t n_states;

    char status[STATUS_SIZE], sent_status[STATUS_SIZE];
    bool status_pending;
    uint64_t status_usec;

    struct line_queue exits;
    uint64_t exits_usec;
    uint64_t unreported_lost, lost;

    int (*store)(void *userdata); /* NULL: nothing is stored */
    void *store_userdata;
    bool store_pending;

    void (*idle)(void *userdata); /* not NULL: hurry */
    void *idle_userdata;
};

static void arm(struct notify *notify);

/* 0: taken; -EAGAIN: try later; anything else is final for now and treated alike, because a manager
 * may be restarting. */
static int send_message(struct notify *notify, const struct msghdr *message)
{
    ssize_t n = sendmsg(notify->fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n >= 0) {
        notify->retry_usec = 0;
        return 0;
    }
    notify->retry_usec = notify->retry_usec == 0 ? RETRY_USEC : notify->retry_usec * 2;
    if (notify->retry_usec > RETRY_MAX_USEC)
        notify->retry_usec = RETRY_MAX_USEC;
    return -errno;
}

/* fd -1: without one. */
static int send_with_descriptor(struct notify *notify, const char *data, size_t size, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec vector = {.iov_base = (char *)data, .iov_len = size};
    struct msghdr message = {.msg_name = &notify->address,
                             .msg_namelen = notify->address_size,
                             .msg_iov = &vector,
                             .msg_iovlen = 1};

    if (fd >= 0) {
        control.header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control.space);
    }
    return send_message(notify, &message);
}

static int send_datagram(struct notify *notify, const char *data, size_t size)
{
    return send_with_descriptor(notify, data, size, -1);
}

static int flush_states(struct notify *notify)
{
    while (notify->n_states > 0) {
        int r = send_datagram(notify, notify->states[0], strlen(notify->states[0]));

        if (r < 0)
            return r;
        notify->n_states--;
        memmove(notify->states[0], notify->states[1], notify->n_states * STATE_SIZE);
    }
    return 0;
}

static int flush_status(struct notify *notify)
{
    char text[STATUS_SIZE + sizeof("STATUS=")];
    int n = snprintf(text, sizeof(text), "STATUS=%s", notify->status);
    int r = send_datagram(notify, text, (size_t)n);

    if (r < 0)
        return r;
    memcpy(notify->sent_status, notify->status, sizeof(notify->status));
    notify->status_pending = false;
    notify->status_usec = monotonic_usec();
    return 0;
}

/* Sends one datagram of as many whole lines as fit, behind a line that says what is missing. */
static int flush_exits(struct notify *notify)
{
    char datagram[DATAGRAM_MAX];
    size_t head = 0;

    if (notify->unreported_lost > 0)
        head = (size_t)snprintf(datagram, sizeof(datagram), "X_HARK_LOST=%" PRIu64 "\n",
                                notify->unreported_lost);
    size_t take = line_queue_peek(&notify->exits, datagram + head, sizeof(datagram) - head);
    int r = send_datagram(notify, datagram, head + take);
    if (r < 0)
        return r;
    notify->unreported_lost = 0;
    line_queue_drop(&notify->exits, take);
    notify->exits_usec = monotonic_usec();
    return 0;
}

static bool exits_pending(const struct notify *notify)
{
    return notify->exits.length > 0 || notify->unreported_lost > 0;
}

static uint64_t exits_due(const struct notify *notify)
{
    if (notify->idle != NULL)
        return 0;
    return notify->exits_usec + (notify->exits.length > DATAGRAM_MAX ? FULL_PACE_USEC : PACE_USEC);
}

static uint64_t status_due(const struct notify *notify)
{
    return notify->idle != NULL ? 0 : notify->status_usec + STATUS_PACE_USEC;
}

/* Sends what is due; the first refusal ends it, so that the order stays. */
static void flush(struct notify *notify)
{
    uint64_t now = monotonic_usec();

    if (flush_states(notify) < 0)
        return;
    if (exits_pending(notify) && exits_due(notify) <= now && flush_exits(notify) < 0)
        return;
    if (notify->status_pending && status_due(notify) <= now)
        (void)flush_status(notify);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct notify *notify = userdata;

    (void)source;
    (void)usec;
    notify->armed = false;
    flush(notify);
    if (notify->store_pending && notify->n_states == 0) /* what is stored is READY=1 already */
        notify->store_pending = notify->store(notify->store_userdata) < 0;
    arm(notify);
    if (notify->idle != NULL && notify_is_idle(notify))
        notify->idle(notify->idle_userdata);
    return 0;
}

static void arm(struct notify *notify)
{
    uint64_t due = UINT64_MAX;

    if (notify_is_idle(notify))
        return;
    if (notify->retry_usec > 0) {
        due = monotonic_usec() + notify->retry_usec;
    } else {
        if (exits_pending(notify))
            due = exits_due(notify);
        if (notify->store_pending)
            due = 0;
        if (notify->status_pending && status_due(notify) < due)
            due = status_due(notify);
    }
    if (notify->armed && notify->armed_usec <= due)
        return;
    notify->armed_usec = due;
    notify->armed = sd_event_source_set_time(notify->timer, due) >= 0 &&
                    sd_event_source_set_enabled(notify->timer, SD_EVENT_ONESHOT) >= 0;
}

static int parse_address(const char *text, struct notify *notify)
{
    size_t length = strlen(text);

    if (text[0] != '/' && text[0] != '@')
        return -EINVAL;
    if (length < 2 || length >= sizeof(notify->address.sun_path))
        return -EINVAL;
    notify->address.sun_family = AF_UNIX;
    memcpy(notify->address.sun_path, text, length);
    notify->address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    if (text[0] == '@')
        notify->address.sun_path[0] = '\0';
    else
        notify->address_size++;
    return 0;
}

static void notify_cleanup(struct notify **notify)
{
    notify_free(*notify);
}

int notify_new(sd_event *event, struct notify **ret_notify)
{
    cleanup(notify_cleanup) struct notify *notify = calloc(1, sizeof(*notify));
    const char *address = getenv("NOTIFY_SOCKET");

    if (notify == NULL)
        return -ENOMEM;
    notify->fd = -1;
    if (address != NULL && address[0] != '\0') {
        int r = parse_address(address, notify);
        if (r < 0)
            return r;
        r = line_queue_init(&notify->exits, QUEUE_SIZE);
        if (r < 0)
            return r;
        notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (notify->fd < 0)
            return -errno;
        r = sd_event_add_time(event, &notify->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timer,
                              notify);
        if (r < 0)
            return r;
        (void)sd_event_source_set_enabled(notify->timer, SD_EVENT_OFF);
    }
    *ret_notify = take_pointer(&notify);
    return 0;
}

struct notify *notify_free(struct notify *notify)
{
    if (notify == NULL)
        return NULL;
    sd_event_source_disable_unref(notify->timer);
    fd_close(notify->fd);
    line_queue_free(&notify->exits);
    free(notify);
    return NULL;
}

bool notify_is_wanted(const struct notify *notify)
{
    return notify->fd >= 0;
}

static bool is_about_readiness(const char *state)
{
    return strcmp(state, "READY=1") == 0 || strncmp(state, "RELOADING=1", 11) == 0;
}

/* To a manager that has not read them only the last of WATCHDOG=1, and of READY=1 and RELOADING=1
 * together, says anything. */
static void remove_superseded(struct notify *notify, const char *assignment)
{
    size_t kept = 0;

    for (size_t i = 0; i < notify->n_states; i++) {
        const char *state = notify->states[i];

        if (strcmp(state, assignment) == 0 ||
            (is_about_readiness(state) && is_about_readiness(assignment)))
            continue;
        if (kept != i)
            memcpy(notify->states[kept], state, STATE_SIZE);
        kept++;
    }
    notify->n_states = kept;
}

void notify_state(struct notify *notify, const char *assignment)
{
    if (notify->fd < 0)
        return;
    remove_superseded(notify, assignment);
    if (notify->n_states == STATES_MAX)
        return;
    (void)snprintf(notify->states[notify->n_states++], STATE_SIZE, "%s", assignment);
    if (notify->retry_usec == 0)
        (void)flush_states(notify);
    arm(notify);
}

void notify_status(struct notify *notify, const char *text)
{
    if (notify->fd < 0)
        return;
    (void)snprintf(notify->status, sizeof(notify->status), "%s", text);
    notify->status_pending = strcmp(notify->status, notify->sent_status) != 0;
    if (notify->retry_usec == 0)
        flush(notify);
    arm(notify);
}

void notify_exit(struct notify *notify, const char *line)
{
    if (notify->fd < 0)
        return;
    if (strlen(line) >= DATAGRAM_MAX / 2 || !line_queue_add(&notify->exits, line)) {
        notify->lost++;
        notify->unreported_lost++;
    }
    arm(notify);
}

/* Since version 254 systemd says how many it keeps, or nothing when it keeps none; it is known by
 * another variable that came with it. An older one never says, so it is offered them: one that may
 * not keep them closes them, and logs that. Other managers, the monitors of containers among them,
 * do not read what else is in such a datagram, and the kernel closes the descriptor. */
static bool may_store(void)
{
    const char *most = getenv("FDSTORE");

    return most != NULL ? strcmp(most, "0") != 0 : getenv("MEMORY_PRESSURE_WATCH") == NULL;
}

void notify_on_store(struct notify *notify, int (*work)(void *userdata), void *userdata)
{
    if (notify->fd < 0 || !may_store())
        return;
    notify->store = work;
    notify->store_userdata = userdata;
}

void notify_store_later(struct notify *notify)
{
    if (notify->store == NULL)
        return;
    notify->store_pending = true;
    arm(notify);
}

static bool is_descriptor_name(const char *name)
{
    size_t length = 0;

    for (; name[length] != '\0'; length++)
        if (name[length] < ' ' || name[length] > '~' || name[length] == ':')
            return false;
    return length > 0 && length <= FDNAME_LENGTH;
}

int notify_store(struct notify *notify, const char *name, int fd)
{
    char text[FDNAME_LENGTH + 64];

    if (!is_descriptor_name(name) || fd < 0)
        return -EINVAL;
    /* Without FDPOLL=0 the manager would close a FIFO whose writers have gone. */
    int n = snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
    return send_with_descriptor(notify, text, (size_t)n, fd);
}

int notify_forget(struct notify *notify, const char *name)
{
    char text[FDNAME_LENGTH + 64];

    if (!is_descriptor_name(name))
        return -EINVAL;
    int n = snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
    return send_datagram(notify, text, (size_t)n);
}

bool notify_is_idle(const struct notify *notify)
{
    return notify->n_states == 0 && !notify->store_pending && !notify->status_pending &&
           !exits_pending(notify);
}

void notify_hurry(struct notify *notify, void (*idle)(void *userdata), void *userdata)
{
    notify->idle = idle;
    notify->idle_userdata = userdata;
    if (notify->armed && notify->retry_usec == 0) { /* by the old pace */
        notify->armed = false;
        arm(notify);
    }
}

uint64_t notify_lost(const struct notify *notify)
{
    return notify->lost;
}
