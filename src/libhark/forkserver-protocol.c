/* SPDX-License-Identifier: MIT */
#include "libhark/forkserver-protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/io.h"

#define BODY_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

const char forkserver_anchor[1] = "";

bool forkserver_fd_is_null(const struct forkserver_request *request, size_t i)
{
    return request->null_fds[i / 8] & (1U << (i % 8));
}

static size_t count_flags(uint32_t flags)
{
    return (size_t)__builtin_popcount(
        flags & (FORKSERVER_WITH_SOCKET | FORKSERVER_WITH_EXIT | FORKSERVER_WITH_MEMFD));
}

static bool spawn_is_valid(const struct forkserver_request *request, size_t size, size_t n_fds)
{
    const uint32_t known = FORKSERVER_WITH_SOCKET | FORKSERVER_WITH_EXIT |
                           FORKSERVER_WITH_DIRECTORY | FORKSERVER_WITH_ENVIRONMENT |
                           FORKSERVER_WITH_MEMFD;
    size_t passed = 1 + count_flags(request->flags);

    if (request->flags & ~known || request->n_fds > HARK_SPAWN_FDS_MAX)
        return false;
    for (size_t i = 0; i < sizeof(request->null_fds) * 8; i++) {
        bool is_null = forkserver_fd_is_null(request, i);

        if (is_null && i >= request->n_fds)
            return false;
        passed += i < request->n_fds && !is_null;
    }
    if (passed != n_fds || request->number != 0 || request->entry != 0)
        return false;
    if (request->n_environment > 0 && !(request->flags & FORKSERVER_WITH_ENVIRONMENT))
        return false;
    if (request->n_arguments == 0 || request->body_size > FORKSERVER_BODY_MAX)
        return false;
    size_t in_message = request->flags & FORKSERVER_WITH_MEMFD ? 0 : request->body_size;
    return in_message <= FORKSERVER_INLINE_MAX && size == sizeof(*request) + in_message;
}

static bool has_no_program(const struct forkserver_request *request)
{
    static const uint8_t none[sizeof(request->null_fds)];

    return request->n_fds == 0 && request->n_arguments == 0 && request->n_environment == 0 &&
           request->body_size == 0 && memcmp(request->null_fds, none, sizeof(none)) == 0;
}

static bool fork_is_valid(const struct forkserver_request *request, size_t size, size_t n_fds)
{
    const uint32_t known =
        FORKSERVER_WITH_SOCKET | FORKSERVER_WITH_EXIT | FORKSERVER_WITH_CONNECTION;

    return !(request->flags & ~known) && has_no_program(request) && size == sizeof(*request) &&
           n_fds == 1 + count_flags(request->flags) && request->number == 0;
}

static bool command_is_valid(const struct forkserver_request *request, size_t size, size_t n_fds)
{
    return request->flags == 0 && has_no_program(request) && size == sizeof(*request) &&
           n_fds == 1 && request->entry == 0;
}

int forkserver_request_check(const struct forkserver_request *request, size_t size, size_t n_fds)
{
    bool valid = false;

    if (size < sizeof(*request) || request->version != FORKSERVER_VERSION)
        return -EBADMSG;
    switch ((enum forkserver_request_type)request->type) {
    case FORKSERVER_SPAWN:
        valid = spawn_is_valid(request, size, n_fds);
        break;
    case FORKSERVER_FORK:
        valid = fork_is_valid(request, size, n_fds);
        break;
    case FORKSERVER_KILL_ALL:
        valid = command_is_valid(request, size, n_fds) && request->number >= 0;
        break;
    case FORKSERVER_STOP:
        valid = command_is_valid(request, size, n_fds) && request->number >= -1;
        break;
    case FORKSERVER_STOP_SERVER:
        valid = command_is_valid(request, size, n_fds) && request->number == 0;
        break;
    }
    return valid ? 0 : -EBADMSG;
}

/* The next string of a body, or NULL. */
static const char *next_string(const char **position, const char *end)
{
    const char *text = *position;
    const char *nul = text < end ? memchr(text, '\0', (size_t)(end - text)) : NULL;

    if (!nul)
        return NULL;
    *position = nul + 1;
    return text;
}

static bool next_list(const char **position, const char *end, size_t n, const char **list)
{
    for (size_t i = 0; i < n; i++) {
        list[i] = next_string(position, end);
        if (!list[i])
            return false;
    }
    list[n] = NULL;
    return true;
}

int forkserver_body_parse(const struct forkserver_request *request, const char *body,
                          struct forkserver_strings *ret_strings)
{
    const char *position = body, *end = body + request->body_size;
    struct forkserver_strings strings = {0};
    size_t n = (size_t)request->n_arguments + request->n_environment;

    if (n > request->body_size) /* each has a byte at least; and nothing huge is allocated */
        return -EBADMSG;
    cleanup_free const char **list = calloc(n + 2, sizeof(*list));
    if (!list)
        return -ENOMEM;
    strings.program = next_string(&position, end);
    if (!strings.program || strings.program[0] != '/')
        return -EBADMSG;
    if (request->flags & FORKSERVER_WITH_DIRECTORY) {
        strings.directory = next_string(&position, end);
        if (!strings.directory)
            return -EBADMSG;
    }
    strings.arguments = list;
    if (!next_list(&position, end, request->n_arguments, strings.arguments))
        return -EBADMSG;
    if (request->flags & FORKSERVER_WITH_ENVIRONMENT) {
        strings.environment = list + request->n_arguments + 1;
        if (!next_list(&position, end, request->n_environment, strings.environment))
            return -EBADMSG;
    }
    if (position != end)
        return -EBADMSG;
    strings.list = take_pointer(&list);
    *ret_strings = strings;
    return 0;
}

void forkserver_strings_done(struct forkserver_strings *strings)
{
    free(strings->list);
    *strings = (struct forkserver_strings){0};
}

static size_t list_size(const char *const *list, uint32_t *ret_n)
{
    size_t size = 0;
    uint32_t n = 0;

    for (; list && list[n] && size <= FORKSERVER_BODY_MAX; n++)
        size += strlen(list[n]) + 1;
    *ret_n = n;
    return size;
}

static char *append(char *position, const char *text)
{
    size_t size = strlen(text) + 1;

    memcpy(position, text, size);
    return position + size;
}

static int encode_fds(const struct hark_spawn *spawn, struct forkserver_request *request)
{
    if (spawn->n_fds > HARK_SPAWN_FDS_MAX)
        return -E2BIG;
    request->n_fds = (uint32_t)spawn->n_fds;
    for (size_t i = 0; i < spawn->n_fds; i++) {
        if (spawn->fds[i] < -1)
            return -EBADF;
        if (spawn->fds[i] == -1)
            request->null_fds[i / 8] |= (uint8_t)(1U << (i % 8));
    }
    return 0;
}

int forkserver_spawn_encode(const struct hark_spawn *spawn, struct forkserver_request *request,
                            char **ret_body)
{
    if (!spawn || spawn->size != sizeof(*spawn) || !spawn->program || spawn->program[0] != '/' ||
        !spawn->arguments || !spawn->arguments[0] || (!spawn->fds && spawn->n_fds > 0))
        return -EINVAL;
    int r = encode_fds(spawn, request);
    if (r < 0)
        return r;
    size_t size = strlen(spawn->program) + 1;
    if (spawn->directory) {
        request->flags |= FORKSERVER_WITH_DIRECTORY;
        size += strlen(spawn->directory) + 1;
    }
    if (spawn->environment)
        request->flags |= FORKSERVER_WITH_ENVIRONMENT;
    size += list_size(spawn->arguments, &request->n_arguments);
    size += list_size(spawn->environment, &request->n_environment);
    if (size > FORKSERVER_BODY_MAX)
        return -E2BIG;
    char *body = malloc(size), *position = body;
    if (!body)
        return -ENOMEM;
    position = append(position, spawn->program);
    if (spawn->directory)
        position = append(position, spawn->directory);
    for (uint32_t i = 0; i < request->n_arguments; i++)
        position = append(position, spawn->arguments[i]);
    for (uint32_t i = 0; i < request->n_environment; i++)
        position = append(position, spawn->environment[i]);
    request->type = FORKSERVER_SPAWN;
    request->body_size = (uint32_t)size;
    *ret_body = body;
    return 0;
}

int forkserver_body_to_memfd(const char *body, size_t size)
{
    cleanup_close int fd = memfd_create("hark-spawn", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -errno;
    int r = write_all(fd, body, size);
    if (r < 0)
        return r;
    if (fcntl(fd, F_ADD_SEALS, BODY_SEALS) < 0)
        return -errno;
    return take_fd(&fd);
}

int forkserver_body_from_memfd(int fd, size_t size, char **ret_body)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS); /* only memory has seals: reading it cannot block */

    if (seals < 0 || (seals & BODY_SEALS) != BODY_SEALS || fstat(fd, &st) < 0 ||
        st.st_size != (off_t)size || size == 0)
        return -EBADMSG;
    cleanup_free char *body = malloc(size);
    if (!body)
        return -ENOMEM;
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(fd, body + done, size - done, (off_t)done);

        if (n <= 0)
            return -EBADMSG;
        done += (size_t)n;
    }
    *ret_body = take_pointer(&body);
    return 0;
}
