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

/* Of the first version, which had no limits. */
#define SPAWN_SIZE_MIN offsetof(struct hark_spawn, limits)

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

static bool body_is_where_it_belongs(const struct forkserver_request *request, size_t size)
{
    size_t in_message = request->flags & FORKSERVER_WITH_MEMFD ? 0 : request->body_size;

    return request->body_size <= FORKSERVER_BODY_MAX && in_message <= FORKSERVER_INLINE_MAX &&
           size == sizeof(*request) + in_message;
}

static bool spawn_is_valid(const struct forkserver_request *request, size_t size, size_t n_fds)
{
    const uint32_t known = FORKSERVER_WITH_SOCKET | FORKSERVER_WITH_EXIT |
                           FORKSERVER_WITH_CONNECTION | FORKSERVER_WITH_DIRECTORY |
                           FORKSERVER_WITH_ENVIRONMENT | FORKSERVER_WITH_MEMFD |
                           FORKSERVER_WITH_IDENTITY;
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
    if (request->n_limits > HARK_SPAWN_LIMITS_MAX || request->n_groups > HARK_SPAWN_GROUPS_MAX)
        return false;
    if (!(request->flags & FORKSERVER_WITH_IDENTITY) &&
        (request->n_groups > 0 || request->uid != 0 || request->gid != 0))
        return false;
    return request->n_arguments > 0 && body_is_where_it_belongs(request, size);
}

static bool has_no_program(const struct forkserver_request *request)
{
    static const uint8_t none[sizeof(request->null_fds)];

    return request->n_fds == 0 && request->n_arguments == 0 && request->n_environment == 0 &&
           request->n_limits == 0 && request->n_groups == 0 && request->uid == 0 &&
           request->gid == 0 && memcmp(request->null_fds, none, sizeof(none)) == 0;
}

static bool fork_is_valid(const struct forkserver_request *request, size_t size, size_t n_fds)
{
    const uint32_t known =
        FORKSERVER_WITH_SOCKET | FORKSERVER_WITH_EXIT | FORKSERVER_WITH_CONNECTION;

    return !(request->flags & ~known) && has_no_program(request) && request->body_size == 0 &&
           size == sizeof(*request) && n_fds == 1 + count_flags(request->flags) &&
           request->number == 0;
}

static bool call_is_valid(const struct forkserver_request *request, size_t size, size_t n_fds)
{
    return !(request->flags & ~(unsigned)FORKSERVER_WITH_MEMFD) && has_no_program(request) &&
           n_fds == 1 + count_flags(request->flags) && request->number == 0 &&
           body_is_where_it_belongs(request, size);
}

static bool command_is_valid(const struct forkserver_request *request, size_t size, size_t n_fds)
{
    return request->flags == 0 && has_no_program(request) && request->body_size == 0 &&
           size == sizeof(*request) && n_fds == 1;
}

static bool kill_is_valid(const struct forkserver_request *request, size_t size, size_t n_fds)
{
    return command_is_valid(request, size, n_fds) && request->number >= 0 && request->entry > 0 &&
           request->entry <= INT32_MAX;
}

static bool names_a_child(const struct forkserver_request *request)
{
    return request->flags & FORKSERVER_WITH_EXIT || request->type == FORKSERVER_KILL;
}

int forkserver_request_check(const struct forkserver_request *request, size_t size, size_t n_fds)
{
    bool valid = false;

    if (size < sizeof(*request) || request->version != FORKSERVER_VERSION ||
        (request->exit_cookie != 0 && !names_a_child(request)))
        return -EBADMSG;
    switch ((enum forkserver_request_type)request->type) {
    case FORKSERVER_SPAWN:
        valid = spawn_is_valid(request, size, n_fds);
        break;
    case FORKSERVER_FORK:
        valid = fork_is_valid(request, size, n_fds);
        break;
    case FORKSERVER_CALL:
        valid = call_is_valid(request, size, n_fds);
        break;
    case FORKSERVER_KILL_ALL:
        valid =
            command_is_valid(request, size, n_fds) && request->entry == 0 && request->number >= 0;
        break;
    case FORKSERVER_STOP:
        valid =
            command_is_valid(request, size, n_fds) && request->entry == 0 && request->number >= -1;
        break;
    case FORKSERVER_STOP_SERVER:
        valid =
            command_is_valid(request, size, n_fds) && request->entry == 0 && request->number == 0;
        break;
    case FORKSERVER_KILL:
        valid = kill_is_valid(request, size, n_fds);
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

/* Copies, as nothing in a body is where it should be to be read in place. */
static int parse_numbers(const struct forkserver_request *request, const char **position,
                         const char *end, struct forkserver_strings *strings)
{
    size_t limits_size = request->n_limits * sizeof(*strings->limits);
    size_t groups_size = request->n_groups * sizeof(*strings->groups);

    _Static_assert(sizeof(gid_t) == sizeof(uint32_t), "as on every Linux");
    if ((size_t)(end - *position) < limits_size + groups_size)
        return -EBADMSG;
    strings->limits = malloc(limits_size + 1);
    strings->groups = malloc(groups_size + 1);
    if (!strings->limits || !strings->groups)
        return -ENOMEM;
    memcpy(strings->limits, *position, limits_size);
    memcpy(strings->groups, *position + limits_size, groups_size);
    *position += limits_size + groups_size;
    for (uint32_t i = 0; i < request->n_limits; i++)
        if (strings->limits[i].zero != 0)
            return -EBADMSG;
    return 0;
}

static int parse_strings(const struct forkserver_request *request, const char *position,
                         const char *end, struct forkserver_strings *strings)
{
    size_t n = (size_t)request->n_arguments + request->n_environment;

    if (n > request->body_size) /* each has a byte at least; and nothing huge is allocated */
        return -EBADMSG;
    strings->list = calloc(n + 2, sizeof(*strings->list));
    if (!strings->list)
        return -ENOMEM;
    strings->program = next_string(&position, end);
    if (!strings->program || strings->program[0] != '/')
        return -EBADMSG;
    if (request->flags & FORKSERVER_WITH_DIRECTORY) {
        strings->directory = next_string(&position, end);
        if (!strings->directory)
            return -EBADMSG;
    }
    strings->arguments = strings->list;
    if (!next_list(&position, end, request->n_arguments, strings->arguments))
        return -EBADMSG;
    if (request->flags & FORKSERVER_WITH_ENVIRONMENT) {
        strings->environment = strings->list + request->n_arguments + 1;
        if (!next_list(&position, end, request->n_environment, strings->environment))
            return -EBADMSG;
    }
    return position == end ? 0 : -EBADMSG;
}

int forkserver_body_parse(const struct forkserver_request *request, const char *body,
                          struct forkserver_strings *ret_strings)
{
    cleanup(forkserver_strings_done) struct forkserver_strings strings = {0};
    const char *position = body, *end = body + request->body_size;
    int r = parse_numbers(request, &position, end, &strings);

    if (r >= 0)
        r = parse_strings(request, position, end, &strings);
    if (r < 0)
        return r;
    *ret_strings = strings;
    strings = (struct forkserver_strings){0};
    return 0;
}

void forkserver_strings_done(struct forkserver_strings *strings)
{
    free(strings->list);
    free(strings->limits);
    free(strings->groups);
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

static char *append_bytes(char *position, const void *bytes, size_t size)
{
    return size > 0 ? mempcpy(position, bytes, size) : position;
}

static char *append(char *position, const char *text)
{
    return append_bytes(position, text, strlen(text) + 1);
}

/* Also what a program of an earlier version, with the shorter structure, asks, and what one of a
 * later version, with a longer one, may ask of us. */
static int copy_spawn(const struct hark_spawn *from, struct hark_spawn *ret)
{
    struct hark_spawn spawn = {0};

    if (!from || (from->size < sizeof(spawn) && from->size != SPAWN_SIZE_MIN))
        return -EINVAL;
    for (size_t i = sizeof(spawn); i < from->size; i++)
        if (((const char *)from)[i] != 0)
            return -E2BIG;
    memcpy(&spawn, from, from->size < sizeof(spawn) ? from->size : sizeof(spawn));
    if (!spawn.program || spawn.program[0] != '/' || !spawn.arguments || !spawn.arguments[0] ||
        (!spawn.fds && spawn.n_fds > 0) || (!spawn.limits && spawn.n_limits > 0))
        return -EINVAL;
    *ret = spawn;
    return 0;
}

static int encode_limits(const struct hark_spawn *spawn, struct forkserver_request *request)
{
    if (spawn->n_limits > HARK_SPAWN_LIMITS_MAX)
        return -E2BIG;
    for (size_t i = 0; i < spawn->n_limits; i++)
        if (spawn->limits[i].resource < 0 || spawn->limits[i].soft > spawn->limits[i].hard)
            return -EINVAL;
    request->n_limits = (uint32_t)spawn->n_limits;
    return 0;
}

static int encode_identity(const struct hark_identity *identity, struct forkserver_request *request)
{
    if (!identity)
        return 0;
    if (identity->uid == (uid_t)-1 || identity->gid == (gid_t)-1 ||
        (!identity->groups && identity->n_groups > 0))
        return -EINVAL;
    if (identity->n_groups > HARK_SPAWN_GROUPS_MAX)
        return -E2BIG;
    request->flags |= FORKSERVER_WITH_IDENTITY;
    request->uid = identity->uid;
    request->gid = identity->gid;
    request->n_groups = (uint32_t)identity->n_groups;
    return 0;
}

static char *append_numbers(char *position, const struct hark_spawn *spawn)
{
    for (size_t i = 0; i < spawn->n_limits; i++) {
        const struct forkserver_limit limit = {
            .soft = spawn->limits[i].soft,
            .hard = spawn->limits[i].hard,
            .resource = (uint32_t)spawn->limits[i].resource,
        };

        position = append_bytes(position, &limit, sizeof(limit));
    }
    if (spawn->identity)
        position = append_bytes(position, spawn->identity->groups,
                                spawn->identity->n_groups * sizeof(gid_t));
    return position;
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

static char *append_strings(char *position, const struct hark_spawn *spawn,
                            const struct forkserver_request *request)
{
    position = append(position, spawn->program);
    if (spawn->directory)
        position = append(position, spawn->directory);
    for (uint32_t i = 0; i < request->n_arguments; i++)
        position = append(position, spawn->arguments[i]);
    for (uint32_t i = 0; i < request->n_environment; i++)
        position = append(position, spawn->environment[i]);
    return position;
}

static size_t body_size(const struct hark_spawn *spawn, struct forkserver_request *request)
{
    size_t size = spawn->n_limits * sizeof(struct forkserver_limit) +
                  request->n_groups * sizeof(gid_t) + strlen(spawn->program) + 1;

    if (spawn->directory) {
        request->flags |= FORKSERVER_WITH_DIRECTORY;
        size += strlen(spawn->directory) + 1;
    }
    if (spawn->environment)
        request->flags |= FORKSERVER_WITH_ENVIRONMENT;
    size += list_size(spawn->arguments, &request->n_arguments);
    return size + list_size(spawn->environment, &request->n_environment);
}

int forkserver_spawn_encode(const struct hark_spawn *from, struct forkserver_request *request,
                            char **ret_body)
{
    struct hark_spawn spawn;
    int r = copy_spawn(from, &spawn);

    if (r >= 0)
        r = encode_fds(&spawn, request);
    if (r >= 0)
        r = encode_limits(&spawn, request);
    if (r >= 0)
        r = encode_identity(spawn.identity, request);
    if (r < 0)
        return r;
    size_t size = body_size(&spawn, request);
    if (size > FORKSERVER_BODY_MAX)
        return -E2BIG;
    char *body = malloc(size);
    if (!body)
        return -ENOMEM;
    (void)append_strings(append_numbers(body, &spawn), &spawn, request);
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
