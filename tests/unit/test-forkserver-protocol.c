/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <sys/mman.h>

#include "libhark/forkserver-protocol.h"

#define HEADER sizeof(struct forkserver_request)

static const char *const arguments[] = {"prog", "", "-x", NULL};
static const char *const environment[] = {"A=1", NULL};
static const int fds[] = {5, -1, 7, -1};
static const struct hark_limit limits[] = {
    {.resource = 7, .soft = 1, .hard = 2},
    {.resource = 3, .soft = 0, .hard = UINT64_MAX},
};
static const gid_t groups[] = {20, 30, 40};
static const struct hark_identity identity = {.uid = 5, .gid = 6, .groups = groups, .n_groups = 3};

static struct hark_spawn full_spawn(void)
{
    return (struct hark_spawn){
        .size = sizeof(struct hark_spawn),
        .program = "/bin/prog",
        .arguments = arguments,
        .environment = environment,
        .directory = "/tmp",
        .fds = fds,
        .n_fds = 4,
        .limits = limits,
        .n_limits = 2,
        .identity = &identity,
    };
}

static struct forkserver_request encoded(char **ret_body)
{
    struct hark_spawn spawn = full_spawn();
    struct forkserver_request request = {.version = FORKSERVER_VERSION};

    ASSERT_OK(forkserver_spawn_encode(&spawn, &request, ret_body));
    return request;
}

TEST(a_spawn_survives_the_way)
{
    char *body;
    struct forkserver_request request = encoded(&body);
    struct forkserver_strings strings;

    ASSERT_OK(forkserver_request_check(&request, HEADER + request.body_size, 3));
    ASSERT(!forkserver_fd_is_null(&request, 0) && forkserver_fd_is_null(&request, 1));
    ASSERT_OK(forkserver_body_parse(&request, body, &strings));
    ASSERT_STRING(strings.program, "/bin/prog");
    ASSERT_STRING(strings.directory, "/tmp");
    ASSERT_STRING(strings.arguments[1], "");
    ASSERT_STRING(strings.arguments[2], "-x");
    ASSERT(!strings.arguments[3]);
    ASSERT_STRING(strings.environment[0], "A=1");
    ASSERT(!strings.environment[1]);
    ASSERT_INT(request.uid, 5);
    ASSERT_INT(request.gid, 6);
    ASSERT_INT(request.n_limits, 2);
    ASSERT_INT(strings.limits[0].resource, 7);
    ASSERT_INT(strings.limits[0].hard, 2);
    ASSERT_INT(strings.limits[1].resource, 3);
    ASSERT(strings.limits[1].hard == UINT64_MAX);
    ASSERT_INT(request.n_groups, 3);
    ASSERT_INT(memcmp(strings.groups, groups, sizeof(groups)), 0);
    forkserver_strings_done(&strings);
    free(body);
}

TEST(no_environment_is_not_an_empty_one)
{
    static const char *const none[] = {NULL};
    struct hark_spawn spawn = full_spawn();

    for (int with = 0; with < 2; with++) {
        struct forkserver_request request = {.version = FORKSERVER_VERSION};
        struct forkserver_strings strings;
        char *body;

        spawn.environment = with ? none : NULL;
        ASSERT_OK(forkserver_spawn_encode(&spawn, &request, &body));
        ASSERT_OK(forkserver_request_check(&request, HEADER + request.body_size, 3));
        ASSERT_OK(forkserver_body_parse(&request, body, &strings));
        ASSERT_INT(strings.environment != NULL, with);
        forkserver_strings_done(&strings);
        free(body);
    }
}

TEST(what_hark_h_forbids_is_refused)
{
    static const char *const none[] = {NULL};
    static const int bad_fd[] = {-2};
    static char huge[FORKSERVER_BODY_MAX + 1];
    const char *const too_long[] = {huge, NULL};
    struct forkserver_request request = {0};
    struct hark_spawn spawn;
    char *body = NULL;

#define REFUSED(change, expected)                                                                  \
    do {                                                                                           \
        spawn = full_spawn();                                                                      \
        change;                                                                                    \
        ASSERT_ERROR(forkserver_spawn_encode(&spawn, &request, &body), expected);                  \
    } while (0)
    memset(huge, 'x', FORKSERVER_BODY_MAX);
    REFUSED(spawn.size = 0, -EINVAL);
    REFUSED(spawn.program = "prog", -EINVAL);
    REFUSED(spawn.program = NULL, -EINVAL);
    REFUSED(spawn.arguments = NULL, -EINVAL);
    REFUSED(spawn.arguments = none, -EINVAL);
    REFUSED(spawn.fds = NULL, -EINVAL);
    REFUSED(spawn.n_fds = HARK_SPAWN_FDS_MAX + 1, -E2BIG);
    REFUSED(spawn.fds = bad_fd; spawn.n_fds = 1, -EBADF);
    REFUSED(spawn.arguments = too_long, -E2BIG);
    REFUSED(spawn.limits = NULL, -EINVAL);
    REFUSED(spawn.n_limits = HARK_SPAWN_LIMITS_MAX + 1, -E2BIG);
    ASSERT_ERROR(forkserver_spawn_encode(NULL, &request, &body), -EINVAL);
    ASSERT(!body);
}

TEST(a_header_that_contradicts_itself_is_refused)
{
    char *body;
    const struct forkserver_request good = encoded(&body);
    const size_t size = HEADER + good.body_size;
    struct forkserver_request request;

#define REFUSED_HEADER(change, message_size, n_fds)                                                \
    do {                                                                                           \
        request = good;                                                                            \
        change;                                                                                    \
        ASSERT_ERROR(forkserver_request_check(&request, message_size, n_fds), -EBADMSG);           \
    } while (0)
    REFUSED_HEADER((void)0, HEADER - 1, 3);
    REFUSED_HEADER((void)0, 0, 3);
    REFUSED_HEADER((void)0, size - 1, 3);
    REFUSED_HEADER((void)0, size + 1, 3);
    REFUSED_HEADER((void)0, size, 2);
    REFUSED_HEADER((void)0, size, 4);
    REFUSED_HEADER((void)0, size, 0);
    REFUSED_HEADER(request.version++, size, 3);
    REFUSED_HEADER(request.type = 0, size, 3);
    REFUSED_HEADER(request.type = 99, size, 3);
    REFUSED_HEADER(request.type = FORKSERVER_FORK, size, 3);
    REFUSED_HEADER(request.type = FORKSERVER_STOP, size, 3);
    REFUSED_HEADER(request.exit_cookie = 1, size, 3);
    REFUSED_HEADER(request.flags |= 1U << 31, size, 3);
    REFUSED_HEADER(request.flags |= FORKSERVER_WITH_EXIT, size, 3);
    REFUSED_HEADER(request.flags |= FORKSERVER_WITH_MEMFD, size, 4);
    REFUSED_HEADER(request.flags &= ~(unsigned)FORKSERVER_WITH_ENVIRONMENT, size, 3);
    REFUSED_HEADER(request.n_fds = 1000000, size, 3);
    REFUSED_HEADER(request.null_fds[31] = 0x80, size, 3);
    REFUSED_HEADER(request.n_arguments = 0, size, 3);
    REFUSED_HEADER(request.number = 1, size, 3);
    REFUSED_HEADER(request.entry = 1, size, 3);
    REFUSED_HEADER(request.body_size = UINT32_MAX, size, 3);
    REFUSED_HEADER(request.n_limits = HARK_SPAWN_LIMITS_MAX + 1, size, 3);
    REFUSED_HEADER(request.n_groups = HARK_SPAWN_GROUPS_MAX + 1, size, 3);
    REFUSED_HEADER(request.flags &= ~(unsigned)FORKSERVER_WITH_IDENTITY, size, 3);
    REFUSED_HEADER(request.type = FORKSERVER_CALL, size, 1);
    free(body);
}

TEST(commands_are_checked_as_well)
{
    struct forkserver_request request = {.version = FORKSERVER_VERSION, .type = FORKSERVER_STOP};

    request.number = -1;
    ASSERT_OK(forkserver_request_check(&request, HEADER, 1));
    request.number = -2;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 1), -EBADMSG);
    request.number = 0;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 2), -EBADMSG);
    request.flags = FORKSERVER_WITH_EXIT;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 2), -EBADMSG);
    request.type = FORKSERVER_FORK;
    ASSERT_OK(forkserver_request_check(&request, HEADER, 2));
    request.n_arguments = 1;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 2), -EBADMSG);
    request.n_arguments = 0;
    request.body_size = 1;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER + 1, 2), -EBADMSG);
    request.body_size = 0;
    request.uid = 1;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 2), -EBADMSG);
}

TEST(a_kill_is_of_one_child)
{
    struct forkserver_request request = {
        .version = FORKSERVER_VERSION, .type = FORKSERVER_KILL, .number = 9, .entry = 1};

    ASSERT_OK(forkserver_request_check(&request, HEADER, 1));
    request.exit_cookie = UINT64_MAX;
    ASSERT_OK(forkserver_request_check(&request, HEADER, 1));
    request.type = FORKSERVER_KILL_ALL;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 1), -EBADMSG);
    request.exit_cookie = 0;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 1), -EBADMSG);
    request.type = FORKSERVER_KILL;
    request.entry = 0;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 1), -EBADMSG);
    request.entry = (int64_t)INT32_MAX + 1;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 1), -EBADMSG);
    request.entry = 1;
    request.number = -1;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 1), -EBADMSG);
    request.number = 0;
    request.flags = FORKSERVER_WITH_CONNECTION;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 1), -EBADMSG);
}

TEST(calls_have_a_body_and_nothing_else)
{
    struct forkserver_request request = {.version = FORKSERVER_VERSION, .type = FORKSERVER_CALL};

    request.entry = 4711;
    ASSERT_OK(forkserver_request_check(&request, HEADER, 1));
    request.body_size = 100;
    ASSERT_OK(forkserver_request_check(&request, HEADER + 100, 1));
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 1), -EBADMSG);
    ASSERT_ERROR(forkserver_request_check(&request, HEADER + 100, 2), -EBADMSG);
    request.flags = FORKSERVER_WITH_MEMFD;
    ASSERT_OK(forkserver_request_check(&request, HEADER, 2));
    request.body_size = FORKSERVER_BODY_MAX + 1;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 2), -EBADMSG);
    request.body_size = 100;
    request.flags |= FORKSERVER_WITH_EXIT;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 3), -EBADMSG);
    request.flags = FORKSERVER_WITH_MEMFD;
    request.n_limits = 1;
    ASSERT_ERROR(forkserver_request_check(&request, HEADER, 2), -EBADMSG);
}

TEST(a_body_that_does_not_add_up_is_refused)
{
    char *body;
    const struct forkserver_request good = encoded(&body);
    struct forkserver_request request = good;
    struct forkserver_strings strings = {0};

    for (uint32_t size = 0; size < good.body_size; size++) {
        request.body_size = size;
        ASSERT_ERROR(forkserver_body_parse(&request, body, &strings), -EBADMSG);
    }
    request = good;
    request.n_arguments++;
    ASSERT_ERROR(forkserver_body_parse(&request, body, &strings), -EBADMSG);
    request = good;
    request.n_arguments--;
    ASSERT_ERROR(forkserver_body_parse(&request, body, &strings), -EBADMSG);
    request = good;
    request.n_environment = UINT32_MAX;
    ASSERT_ERROR(forkserver_body_parse(&request, body, &strings), -EBADMSG);
    request = good;
    char *program = body + sizeof(groups) + 2 * sizeof(struct forkserver_limit);
    ASSERT_STRING(program, "/bin/prog");
    program[0] = 'x'; /* no absolute path */
    ASSERT_ERROR(forkserver_body_parse(&request, body, &strings), -EBADMSG);
    program[0] = '/';
    body[sizeof(struct forkserver_limit) - 1] = 1; /* what has to be 0 */
    ASSERT_ERROR(forkserver_body_parse(&request, body, &strings), -EBADMSG);
    body[sizeof(struct forkserver_limit) - 1] = 0;
    body[good.body_size - 1] = 'x'; /* no end */
    ASSERT_ERROR(forkserver_body_parse(&request, body, &strings), -EBADMSG);
    ASSERT(!strings.list);
    free(body);
}

TEST(a_memfd_must_be_sealed_and_whole)
{
    static const char text[] = "some text";
    char *body = NULL;
    int fd = forkserver_body_to_memfd(text, sizeof(text));

    ASSERT_OK(fd);
    ASSERT_OK(forkserver_body_from_memfd(fd, sizeof(text), &body));
    ASSERT_STRING(body, text);
    free(body);
    body = NULL;
    ASSERT_ERROR(forkserver_body_from_memfd(fd, sizeof(text) - 1, &body), -EBADMSG);
    ASSERT_ERROR(forkserver_body_from_memfd(fd, sizeof(text) + 1, &body), -EBADMSG);
    ASSERT_INT(write(fd, "x", 1), -1);
    ASSERT_CALL(close(fd));
    fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ASSERT_CALL(fd);
    ASSERT_INT(write(fd, text, sizeof(text)), sizeof(text));
    ASSERT_ERROR(forkserver_body_from_memfd(fd, sizeof(text), &body), -EBADMSG);
    ASSERT_CALL(close(fd));
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ASSERT_ERROR(forkserver_body_from_memfd(fd, sizeof(text), &body), -EBADMSG);
    ASSERT_CALL(close(fd));
    ASSERT(!body);
}
