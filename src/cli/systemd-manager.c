/* SPDX-License-Identifier: MIT */
#include "cli/systemd-manager.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"

#define DESTINATION "org.freedesktop.systemd1"
#define PATH        "/org/freedesktop/systemd1"
#define INTERFACE   "org.freedesktop.systemd1."

#define CALL_TIMEOUT (300 * USEC_PER_SEC) /* a reload with many units and generators takes long */
#define POLL_USEC    (10 * USEC_PER_MSEC)

struct systemd_manager {
    sd_bus *bus;
    sd_bus_error error;
    int result;
};

struct systemd_manager *systemd_manager_free(struct systemd_manager *manager)
{
    if (manager == NULL)
        return NULL;
    sd_bus_error_free(&manager->error);
    sd_bus_flush_close_unref(manager->bus);
    free(manager);
    return NULL;
}

static void free_helper(struct systemd_manager **manager)
{
    systemd_manager_free(*manager);
}

/* The manager's own socket, at which only its owner and root are heard. */
static int connect_directly(const char *directory, sd_bus **ret_bus)
{
    char address[256];
    sd_bus *bus = NULL;
    int n = snprintf(address, sizeof(address), "unix:path=%s/systemd/private", directory);

    /* What would have to be escaped in an address takes the other way. */
    if (n >= (int)sizeof(address) || strpbrk(directory, "%,;: \\") != NULL)
        return -EINVAL;
    int r = sd_bus_new(&bus);
    if (r >= 0)
        r = sd_bus_set_address(bus, address);
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r < 0)
        sd_bus_unref(bus);
    else
        *ret_bus = bus;
    return r;
}

static int connect_to(bool user, sd_bus **ret_bus)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int r = -ENOENT;

    if (user && runtime != NULL)
        r = connect_directly(runtime, ret_bus);
    else if (!user && geteuid() == 0)
        r = connect_directly("/run", ret_bus);
    if (r < 0)
        r = user ? sd_bus_open_user(ret_bus) : sd_bus_open_system(ret_bus);
    return r;
}

int systemd_manager_new(bool user, struct systemd_manager **ret_manager)
{
    cleanup(free_helper) struct systemd_manager *manager = calloc(1, sizeof(*manager));

    if (manager == NULL)
        return -ENOMEM;
    if (sd_booted() <= 0)
        return -EHOSTDOWN;
    int r = connect_to(user, &manager->bus);
    if (r < 0)
        return r == -ENOMEM ? r : -EHOSTDOWN;
    r = sd_bus_set_method_call_timeout(manager->bus, CALL_TIMEOUT);
    if (r < 0)
        return r;
    *ret_manager = take_pointer(&manager);
    return 0;
}

const char *systemd_manager_fault(const struct systemd_manager *manager)
{
    return manager->error.message != NULL ? manager->error.message : strerror(-manager->result);
}

static int finish(struct systemd_manager *manager, int result)
{
    manager->result = result;
    return result < 0 ? result : 0;
}

/* A method of the manager itself; reply may be NULL. */
#define CALL(manager_, method_, reply_, ...)                                                       \
    finish(manager_, (sd_bus_error_free(&(manager_)->error),                                       \
                      sd_bus_call_method((manager_)->bus, DESTINATION, PATH, INTERFACE "Manager",  \
                                         method_, &(manager_)->error, reply_, __VA_ARGS__)))

/* A unit that nothing needs is forgotten at any time, so its path is asked for each time. */
static int find_unit(struct systemd_manager *manager, const char *unit, char **ret_path)
{
    sd_bus_message *reply = NULL;
    const char *path;
    char *copy = NULL;
    int r = CALL(manager, "LoadUnit", &reply, "s", unit);

    if (r >= 0)
        r = sd_bus_message_read(reply, "o", &path);
    if (r >= 0 && (copy = strdup(path)) == NULL)
        r = -ENOMEM;
    sd_bus_message_unref(reply);
    if (r >= 0)
        *ret_path = copy;
    return finish(manager, r);
}

struct property {
    char *path;
    char interface[64];
};

static int find_property(struct systemd_manager *manager, const char *unit, const char *kind,
                         struct property *ret_property)
{
    int r = find_unit(manager, unit, &ret_property->path);

    if (r < 0)
        return r;
    (void)snprintf(ret_property->interface, sizeof(ret_property->interface), INTERFACE "%s", kind);
    sd_bus_error_free(&manager->error);
    return 0;
}

int systemd_manager_text(struct systemd_manager *manager, const char *unit, const char *kind,
                         const char *property, char **ret_text)
{
    struct property at = {0};
    int r = find_property(manager, unit, kind, &at);

    if (r >= 0)
        r = sd_bus_get_property_string(manager->bus, DESTINATION, at.path, at.interface, property,
                                       &manager->error, ret_text);
    free(at.path);
    return finish(manager, r);
}

int systemd_manager_flag(struct systemd_manager *manager, const char *unit, const char *kind,
                         const char *property, bool *ret_flag)
{
    struct property at = {0};
    int flag = 0, r = find_property(manager, unit, kind, &at);

    if (r >= 0)
        r = sd_bus_get_property_trivial(manager->bus, DESTINATION, at.path, at.interface, property,
                                        &manager->error, 'b', &flag);
    free(at.path);
    if (r >= 0)
        *ret_flag = flag != 0;
    return finish(manager, r);
}

int systemd_manager_list(struct systemd_manager *manager, const char *unit, const char *kind,
                         const char *property, struct string_list *ret_list)
{
    struct property at = {0};
    struct string_list list = {0};
    char **strings = NULL;
    int r = find_property(manager, unit, kind, &at);

    if (r >= 0)
        r = sd_bus_get_property_strv(manager->bus, DESTINATION, at.path, at.interface, property,
                                     &manager->error, &strings);
    free(at.path);
    for (size_t i = 0; strings != NULL && strings[i] != NULL; i++) {
        if (r >= 0)
            r = string_list_add(&list, strings[i]);
        free(strings[i]);
    }
    free(strings);
    if (r >= 0)
        *ret_list = list;
    else
        string_list_done(&list);
    return finish(manager, r);
}

int systemd_manager_reload(struct systemd_manager *manager)
{
    return CALL(manager, "Reload", NULL, "");
}

int systemd_manager_job(struct systemd_manager *manager, const char *job, const char *unit)
{
    return CALL(manager, job, NULL, "ss", unit, "replace");
}

static bool is_one_of(const char *text, const char *words)
{
    size_t length = strlen(text);

    for (const char *word = words; word != NULL; word = strchr(word, '|')) {
        word += *word == '|';
        if (strncmp(word, text, length) == 0 && (word[length] == '|' || word[length] == '\0'))
            return true;
    }
    return false;
}

int systemd_manager_wait(struct systemd_manager *manager, const char *unit, const char *property,
                         const char *words, uint64_t timeout_usec)
{
    uint64_t end = monotonic_usec() + timeout_usec;

    for (;;) {
        cleanup_free char *text = NULL;
        int r = systemd_manager_text(manager, unit, "Unit", property, &text);
        if (r < 0)
            return r;
        if (is_one_of(text, words))
            return 1;
        if (monotonic_usec() >= end)
            return 0;
        (void)usleep(POLL_USEC);
    }
}
