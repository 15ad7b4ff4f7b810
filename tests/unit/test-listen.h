/* SPDX-License-Identifier: MIT */
/* What the tests of hark_listen() share. */
#pragma once

#include "directory.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "libhark/hark.h"

static inline struct hark_listen_options quick(int type)
{
    struct hark_listen_options options = HARK_LISTEN_OPTIONS_INIT;

    options.type = type;
    options.lock_timeout_ms = 0;
    return options;
}

static inline struct hark_listener *listen_on(const char *address,
                                              const struct hark_listen_options *options)
{
    struct hark_listener *listener = NULL;
    int r = hark_listen(address, options, &listener);

    if (r < 0)
        TEST_FAIL("\"%s\": %s", address, strerror(-r));
    return listener;
}

static inline int try_listen(const char *address, const struct hark_listen_options *options)
{
    struct hark_listener *untouched = (struct hark_listener *)&untouched, *listener = untouched;
    int r = hark_listen(address, options, &listener);

    if (r < 0)
        ASSERT(listener == untouched);
    else
        hark_listener_free(listener);
    return r;
}

static inline int client(const char *path, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    ASSERT_CALL(fd);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}
