/* SPDX-License-Identifier: MIT */
/* Listeners of units from text, for the tests of src/listener. */
#pragma once

#include "directory.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "listener/listener.h"
#include "unit-text.h"

static struct unit_file *unit_file_now;
static struct socket_unit *unit_now;
static struct problems warnings;
static struct listener_request request_now;

/* The request for the first listener of a unit whose [Socket] has these lines. */
static inline struct listener_request *request_of(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

static inline struct listener_request *request_of(const char *format, ...)
{
    struct problems problems = {0};
    char *lines = NULL, *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    ASSERT_CALL(vasprintf(&lines, format, arguments));
    va_end(arguments);
    ASSERT_CALL(asprintf(&text, "[Socket]\n%s", lines));
    unit_file_now = parse_unit("a.socket", text, &problems);
    ASSERT_OK(socket_unit_new(unit_file_now, &problems, &unit_now));
    ASSERT_STRING(list_problems(&problems), "");
    free(text);
    free(lines);
    request_now = (struct listener_request){
        .unit = unit_now, .owner = (uid_t)-1, .group = (gid_t)-1, .problems = &warnings};
    return &request_now;
}

/* Frees what request_of() made; the warnings as one text. */
static inline const char *request_done(void)
{
    unit_now = socket_unit_free(unit_now);
    unit_file_now = unit_file_free(unit_file_now);
    return list_problems(&warnings);
}

static inline struct listener *make(const struct listener_request *request)
{
    struct listener *listener = NULL;
    char text[512];
    int r = listener_new(request, &listener);

    if (r < 0) {
        listener_explain(request, r, text, sizeof(text));
        TEST_FAIL("%s (%d)", text, r);
    }
    return listener;
}

/* The error of making it; the output stays alone. */
static inline int try_make(const struct listener_request *request)
{
    struct listener *untouched = (struct listener *)&untouched, *listener = untouched;
    int r = listener_new(request, &listener);

    if (r < 0)
        ASSERT(listener == untouched);
    else
        listener_free(listener);
    return r;
}

/* Making the listener of these lines fails so, and is explained so. */
#define ASSERT_REFUSED(expected_error, expected_text, ...)                                         \
    do {                                                                                           \
        char text_[512];                                                                           \
        const struct listener_request *request_ = request_of(__VA_ARGS__);                         \
        ASSERT_ERROR(try_make(request_), (expected_error));                                        \
        listener_explain(request_, (expected_error), text_, sizeof(text_));                        \
        ASSERT_STRING(text_, (expected_text));                                                     \
        ASSERT_STRING(request_done(), "");                                                         \
    } while (0)

static inline const char *format_text(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/* Four of them are good at a time. */
static inline const char *format_text(const char *format, ...)
{
    static char texts[4][600];
    static unsigned next;
    char *text = texts[next++ % 4];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(texts[0]), format, arguments);
    va_end(arguments);
    return text;
}

static inline int number_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);

    if (getsockopt(fd, level, name, &value, &size) < 0)
        TEST_FAIL("getsockopt %d %d: %s", level, name, strerror(errno));
    return value;
}

/* A port that was free a moment ago. */
static inline unsigned free_port(int type)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    socklen_t length = sizeof(in6);
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);

    ASSERT_CALL(bind(fd, (struct sockaddr *)&in6, sizeof(in6)));
    ASSERT_CALL(getsockname(fd, (struct sockaddr *)&in6, &length));
    close(fd);
    return ntohs(in6.sin6_port);
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

static inline mode_t mode_of(const char *path)
{
    struct stat status;

    ASSERT_CALL(lstat(path, &status));
    return status.st_mode;
}
