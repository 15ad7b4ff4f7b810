/* SPDX-License-Identifier: MIT */
/* A whole Varlink server and a client that does anything. Bytes below ' ' are what happens, the
 * others are sent. Whatever it was, the server lets go of everything in the end, and serves. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "varlink/varlink-connection.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static sd_event *event;
static struct varlink_server *server;
static struct varlink_call *kept;

static void check(bool good)
{
    if (!good)
        abort();
}

static void let_go(struct varlink_call *call, void *userdata)
{
    (void)userdata;
    check(call == kept);
    kept = varlink_call_unref(kept);
}

static int keep(struct varlink_call *call, void *userdata)
{
    (void)userdata;
    check(!kept || varlink_reply(kept, json_object()) == -EALREADY);
    varlink_call_unref(kept);
    kept = varlink_call_ref(call);
    varlink_call_on_end(call, let_go, NULL);
    return 0;
}

static int echo(struct varlink_call *call, void *userdata)
{
    (void)userdata;
    return varlink_reply(call, json_incref(varlink_call_parameters(call)));
}

static const struct varlink_method methods[] = {
    {.name = "E", .function = echo},
    {.name = "K", .function = keep},
    {.name = "S", .function = keep, .needs_more = true},
};
static const struct varlink_interface interface = {
    .name = "a.b", .description = "interface a.b", .methods = methods, .n_methods = 3};

static void set_up(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct varlink_server_options options = {.interfaces = &interface, .n_interfaces = 1};

    options.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(options.fd >= 0);
    check(bind(options.fd, (struct sockaddr *)&address, sizeof(sa_family_t)) == 0);
    check(listen(options.fd, 1) == 0);
    check(sd_event_new(&event) >= 0);
    check(varlink_server_new(event, &options, &server) == 0);
}

static void say(int fd, const char *text, size_t size)
{
    (void)send(fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void act(int fd, uint8_t action)
{
    static const char *const requests[] = {
        "{\"method\":\"a.b.E\"}",
        "{\"method\":\"a.b.K\"}",
        "{\"method\":\"a.b.S\",\"more\":true}",
        "{\"method\":\"a.b.E\",\"oneway\":true}",
        "{\"method\":\"a.b.K\",\"oneway\":true}",
        "{\"method\":\"org.varlink.service.GetInfo\"}",
        "{\"method\":\"a.b.E\",\"parameters\":",
        "{\"interface\":\"a.b\"}}",
        "{\"method\":\"a.b.",
    };
    const size_t n = sizeof(requests) / sizeof(requests[0]);
    char bytes[4096];

    if (action == 0)
        say(fd, "", 1);
    else if (action <= n)
        say(fd, requests[action - 1], strlen(requests[action - 1]) + (action <= 6 || action == 8));
    else if (action == 20)
        (void)recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    else if (action == 21)
        (void)shutdown(fd, SHUT_WR);
    else if (action == 22)
        check(sd_event_run(event, 0) >= 0);
    else if (action == 23 && kept)
        (void)varlink_reply_more(kept, json_object());
    else if (action == 24 && kept)
        (void)varlink_reply(kept, json_object());
    else if (action == 25)
        kept = varlink_call_unref(kept);
    else if (action == 26)
        (void)shutdown(fd, SHUT_RD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ucred peer = {.uid = geteuid()};
    int pair[2], r;

    if (!server)
        set_up();
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    check(varlink_connection_new(server, pair[1], &peer) == 0);
    for (size_t i = 0; i < size; i++) {
        if (data[i] < ' ')
            act(pair[0], data[i]);
        else
            say(pair[0], (const char *)data + i, 1);
    }
    while ((r = sd_event_run(event, 0)) > 0)
        ;
    check(r == 0);
    close(pair[0]);
    while ((r = sd_event_run(event, 0)) > 0)
        ;
    check(r == 0);
    kept = varlink_call_unref(kept); /* answered, and still held */
    while ((r = sd_event_run(event, 0)) > 0)
        ;
    check(r == 0 && varlink_server_connections(server) == 0);
    return 0;
}
