/* SPDX-License-Identifier: MIT */
/* varlink-serve SOCKET: a server for systemd's own clients, as far as these need it: one user's
 * records, and a journal that is always in order. Prints a line when it listens and for each
 * request. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "varlink/varlink-server.h"

#define NO_RECORD "io.systemd.UserDatabase.NoRecordFound"

static int synchronize(struct varlink_call *call, void *userdata)
{
    (void)userdata;
    printf("synchronize from uid %d\n", (int)varlink_call_peer(call)->uid);
    return varlink_reply(call, json_object());
}

static json_t *make_record(int number)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "hark-%d", number);
    return json_pack("{s:{s:s, s:s, s:i, s:i, s:s, s:s, s:s}, s:b}", "record", "service",
                     "org.example.hark", "userName", name, "uid", number, "gid", number, "realName",
                     "a test", "homeDirectory", "/tmp", "shell", "/bin/sh", "incomplete", 0);
}

/* hark-61001 to hark-61003; all of them when it is not said which. */
static int get_user(struct varlink_call *call, void *userdata)
{
    json_t *name = json_object_get(varlink_call_parameters(call), "userName");
    json_t *uid = json_object_get(varlink_call_parameters(call), "uid");
    int r = 0;

    (void)userdata;
    printf("user %s%s\n", json_is_string(name) ? json_string_value(name) : "-",
           varlink_call_wants_more(call) ? " more" : "");
    if (!name && !uid) {
        for (int number = 61001; number < 61003 && r == 0; number++)
            r = varlink_reply_more(call, make_record(number));
        return r < 0 ? r : varlink_reply(call, make_record(61003));
    }
    for (int number = 61001; number <= 61003; number++) {
        json_t *record = make_record(number);

        if ((json_is_string(name) &&
             json_equal(name, json_object_get(json_object_get(record, "record"), "userName"))) ||
            (json_is_integer(uid) && json_integer_value(uid) == number))
            return varlink_reply(call, record);
        json_decref(record);
    }
    return varlink_error(call, NO_RECORD, json_object());
}

static int get_nothing(struct varlink_call *call, void *userdata)
{
    (void)userdata;
    return varlink_error(call, NO_RECORD, json_object());
}

static const struct varlink_method journal_methods[] = {
    {.name = "Synchronize", .function = synchronize},
};
static const struct varlink_method user_methods[] = {
    {.name = "GetUserRecord", .function = get_user},
    {.name = "GetGroupRecord", .function = get_nothing},
    {.name = "GetMemberships", .function = get_nothing},
};
static const struct varlink_interface interfaces[] = {
    {"io.systemd.Journal", "interface io.systemd.Journal\n", journal_methods, 1},
    {"io.systemd.UserDatabase", "interface io.systemd.UserDatabase\n", user_methods, 3},
};

static int run(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct varlink_server_options options = {
        .vendor = "hark", .product = "varlink-serve", .interfaces = interfaces, .n_interfaces = 2};
    struct varlink_server *server;
    sd_event *event;

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    options.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)unlink(path);
    if (options.fd < 0 || bind(options.fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        chmod(path, 0666) < 0 || listen(options.fd, 16) < 0)
        return -errno;
    int r = sd_event_new(&event);
    if (r < 0)
        return r;
    r = varlink_server_new(event, &options, &server);
    if (r < 0)
        return r;
    printf("ready\n");
    return sd_event_loop(event);
}

int main(int argc, char **argv)
{
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    int r = argc == 2 ? run(argv[1]) : -EINVAL;
    fprintf(stderr, "varlink-serve: %s\n", strerror(-r));
    return 1;
}
