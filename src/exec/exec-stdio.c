/* SPDX-License-Identifier: MIT */
#include "exec/exec-stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/fd.h"
#include "basic/io.h"
#include "exec/journal-stream.h"

#define FIRST_FREE   (STDERR_FILENO + 1)
#define MEMORY_MAJOR 1 /* /dev/null, /dev/zero, /dev/full, …: nothing there blocks */
#define FILE_MODE    0666

static const char *const keys[] = {"StandardInput", "StandardOutput", "StandardError"};

void exec_stdio_init(struct exec_stdio *stdio)
{
    *stdio = (struct exec_stdio){
        .null_input = -1, .null_output = -1, .data = -1, .streams = {-1, -1, -1}, .error_copy = -1};
}

void exec_stdio_done(struct exec_stdio *stdio)
{
    fd_close(stdio->null_input);
    fd_close(stdio->null_output);
    fd_close(stdio->data);
    for (size_t i = 0; i < 3; i++)
        fd_close(stdio->streams[i]);
    fd_close(stdio->error_copy);
    exec_stdio_init(stdio);
}

static bool is_file(enum exec_stream_kind kind)
{
    return kind == EXEC_STREAM_FILE || kind == EXEC_STREAM_APPEND || kind == EXEC_STREAM_TRUNCATE;
}

static bool is_journal(enum exec_stream_kind kind)
{
    return kind == EXEC_STREAM_JOURNAL || kind == EXEC_STREAM_KMSG ||
           kind == EXEC_STREAM_JOURNAL_CONSOLE || kind == EXEC_STREAM_KMSG_CONSOLE;
}

static bool is_same_name(const char *one, const char *other)
{
    return one && other ? strcmp(one, other) == 0 : one == other;
}

/* ---- Before anything is opened --------------------------------------------------------------- */

static void check_socket(const struct exec_request *request, struct problems *problems,
                         const char *key)
{
    if (request->sockets == EXEC_SOCKETS_NONE)
        exec_problem(request, problems, PROBLEM_ERROR, key, "this command gets no socket");
    else if (request->sockets == EXEC_SOCKETS_LISTENERS && request->n_fds != 1)
        exec_problem(request, problems, PROBLEM_ERROR, key,
                     "this takes exactly one socket, and there are %zu", request->n_fds);
}

/* As systemd: in the order of the sockets each goes to the first stream that asks for its name and
 * has none yet, so that two streams of one name need two sockets. */
static void find_passed(struct exec_stdio *stdio, const struct exec_request *request,
                        bool is_found[3])
{
    static const char *const names[] = {"stdin", "stdout", "stderr"};
    static const char *const connection[] = {"connection"};
    bool accepts = request->sockets == EXEC_SOCKETS_CONNECTION;
    const char *const *fd_names = accepts ? connection : request->fd_names;
    size_t n = accepts ? 1 : request->n_fds;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < 3; k++) {
            const struct exec_stream *stream = &request->context->std[k];
            const char *name = stream->name ? stream->name : names[k];
            if (stream->kind != EXEC_STREAM_FD || is_found[k] || strcmp(name, fd_names[i]) != 0)
                continue;
            stdio->passed[k] = i;
            is_found[k] = true;
            break;
        }
}

static void check_passed(struct exec_stdio *stdio, const struct exec_request *request,
                         struct problems *problems)
{
    bool is_found[3] = {false, false, false};

    if (request->sockets != EXEC_SOCKETS_NONE)
        find_passed(stdio, request, is_found);
    for (size_t k = 0; k < 3; k++)
        if (request->context->std[k].kind == EXEC_STREAM_FD && !is_found[k])
            exec_problem(request, problems, PROBLEM_ERROR, keys[k],
                         "no socket has this name, or another stream has it already");
}

/* Of a fifo open(2) waits for the other end, of a terminal for its line. */
static bool is_slow_to_open(const struct stat *status)
{
    return !S_ISREG(status->st_mode) &&
           !(S_ISCHR(status->st_mode) && major(status->st_rdev) == MEMORY_MAJOR);
}

static void check_file(const struct exec_request *request, struct problems *problems, size_t number)
{
    const struct exec_stream *stream = &request->context->std[number];
    struct stat status;

    if (!is_file(stream->kind) || stat(stream->name, &status) < 0)
        return;
    if (S_ISSOCK(status.st_mode))
        exec_problem(request, problems, PROBLEM_ERROR, keys[number],
                     "this is a socket, and hark does not connect to it: use a file or the "
                     "journal");
    else if (request->sockets == EXEC_SOCKETS_CONNECTION && is_slow_to_open(&status))
        exec_problem(request, problems, PROBLEM_ERROR, keys[number],
                     "opening it may keep other connections waiting: use a regular file, or the "
                     "journal");
}

void exec_stdio_check(struct exec_stdio *stdio, const struct exec_request *request,
                      struct problems *problems)
{
    const struct exec_context *context = request->context;

    for (size_t i = 0; i < 3; i++) {
        if (context->std[i].kind == EXEC_STREAM_SOCKET)
            check_socket(request, problems, keys[i]);
        check_file(request, problems, i);
    }
    check_passed(stdio, request, problems);
    if (context->std[0].kind == EXEC_STREAM_DATA &&
        exec_data_has_instance(request, context->input, context->input_size))
        exec_problem(request, problems, PROBLEM_ERROR, "StandardInputText",
                     "hark makes it once for all, so it cannot depend on the connection");
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

static int open_null(int *fd, int flags)
{
    if (*fd >= 0)
        return 0;
    cleanup_close int opened = open("/dev/null", flags | O_CLOEXEC | O_NOCTTY);
    if (opened < 0)
        return -errno;
    int r = fd_move_above(&opened, FIRST_FREE);
    if (r >= 0)
        *fd = take_fd(&opened);
    return r;
}

static int open_data(struct exec_stdio *stdio, const struct exec_context *context)
{
    if (stdio->data >= 0)
        return 0;
    cleanup_close int fd = memfd_create("data-fd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int r = fd_move_above(&fd, FIRST_FREE);
    if (r >= 0)
        r = write_all(fd, context->input, context->input_size);
    if (r >= 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        r = -errno;
    if (r < 0)
        return r;
    (void)snprintf(stdio->data_path, sizeof(stdio->data_path), "/proc/self/fd/%d", fd);
    stdio->data = take_fd(&fd);
    return 0;
}

static bool open_stream(struct exec_stdio *stdio, const struct exec_request *request, size_t number)
{
    enum exec_stream_kind kind = request->context->std[number].kind;
    const char *program = request->command->program, *slash = strrchr(program, '/');
    /* One stream for all instances cannot say which. */
    bool names_unit = !request->unit->user && !request->instance.escaped;
    const struct journal_stream stream = {
        .socket = request->journal_socket,
        .identifier = slash ? slash + 1 : program,
        .unit = names_unit ? request->unit->name : "",
        .to_kmsg = kind == EXEC_STREAM_KMSG || kind == EXEC_STREAM_KMSG_CONSOLE,
        .to_console = kind == EXEC_STREAM_JOURNAL_CONSOLE || kind == EXEC_STREAM_KMSG_CONSOLE,
    };
    int *fd = &stdio->streams[number];

    if (*fd >= 0 && journal_stream_is_alive(*fd))
        return true;
    *fd = fd_close(*fd);
    return journal_stream_open(&stream, fd) >= 0;
}

static struct spawn_stdio of_descriptor(int fd)
{
    return (struct spawn_stdio){.kind = SPAWN_STDIO_DESCRIPTOR, .fd = fd};
}

static int use_null_output(struct exec_stdio *stdio, size_t number)
{
    int r = open_null(&stdio->null_output, O_WRONLY);

    stdio->spawned[number] = of_descriptor(stdio->null_output);
    return r;
}

/* Without journald hark's own stderr is where messages go. */
static int use_stream(struct exec_stdio *stdio, const struct exec_request *request, size_t number)
{
    if (open_stream(stdio, request, number)) {
        stdio->spawned[number] = of_descriptor(stdio->streams[number]);
        return 0;
    }
    if (number == STDERR_FILENO) {
        stdio->spawned[number] = (struct spawn_stdio){.kind = SPAWN_STDIO_INHERIT};
        return 0;
    }
    if (stdio->error_copy < 0)
        stdio->error_copy = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, FIRST_FREE);
    if (stdio->error_copy < 0)
        return use_null_output(stdio, number);
    stdio->spawned[number] = of_descriptor(stdio->error_copy);
    return 0;
}

/* ---- The three ------------------------------------------------------------------------------- */

static bool input_is_null(const struct exec_context *context)
{
    return context->std[0].kind == EXEC_STREAM_NULL ||
           (context->std[0].kind == EXEC_STREAM_DATA && context->input_size == 0);
}

/* The file of stdin, for reading and writing. */
static bool is_input_file(const struct exec_context *context, size_t number)
{
    const struct exec_stream *input = &context->std[0], *stream = &context->std[number];

    return input->kind == EXEC_STREAM_FILE && stream->kind == EXEC_STREAM_FILE &&
           is_same_name(input->name, stream->name);
}

static int build_input(struct exec_stdio *stdio, const struct exec_request *request)
{
    const struct exec_context *context = request->context;
    struct spawn_stdio *input = &stdio->spawned[STDIN_FILENO];
    bool writes = is_input_file(context, 1) || is_input_file(context, 2);
    int r = 0;

    if (input_is_null(context)) {
        r = open_null(&stdio->null_input, O_RDONLY);
        *input = of_descriptor(stdio->null_input);
        return r;
    }
    *input = (struct spawn_stdio){0};
    switch (context->std[0].kind) {
    case EXEC_STREAM_DATA:
        r = open_data(stdio, context);
        input->kind = SPAWN_STDIO_FILE;
        input->path = stdio->data_path;
        input->flags = O_RDWR; /* as systemd; the seals forbid to write */
        break;
    case EXEC_STREAM_FILE:
        input->kind = SPAWN_STDIO_FILE;
        input->path = context->std[0].name;
        input->flags = writes ? O_RDWR | O_CREAT : O_RDONLY;
        input->mode = FILE_MODE;
        break;
    case EXEC_STREAM_FD:
        input->kind = SPAWN_STDIO_PASSED;
        input->fd = (int)stdio->passed[0];
        break;
    default:
        input->kind = SPAWN_STDIO_CONNECTION;
    }
    return r;
}

static int open_output(struct exec_stdio *stdio, const struct exec_request *request, size_t number)
{
    const struct exec_stream *stream = &request->context->std[number];
    struct spawn_stdio *output = &stdio->spawned[number];

    if (is_journal(stream->kind))
        return use_stream(stdio, request, number);
    if (stream->kind == EXEC_STREAM_NULL)
        return use_null_output(stdio, number);
    *output = (struct spawn_stdio){.kind = SPAWN_STDIO_CONNECTION};
    if (stream->kind == EXEC_STREAM_FD)
        *output =
            (struct spawn_stdio){.kind = SPAWN_STDIO_PASSED, .fd = (int)stdio->passed[number]};
    else if (is_input_file(request->context, number))
        output->kind = SPAWN_STDIO_INPUT;
    else if (is_file(stream->kind))
        *output = (struct spawn_stdio){
            .kind = SPAWN_STDIO_FILE,
            .path = stream->name,
            .flags = O_WRONLY | O_CREAT | (stream->kind == EXEC_STREAM_APPEND ? O_APPEND : 0) |
                     (stream->kind == EXEC_STREAM_TRUNCATE ? O_TRUNC : 0),
            .mode = FILE_MODE,
        };
    return 0;
}

/* With inheritance. A user's manager keeps its own where there is nothing to inherit. */
static int build_output(struct exec_stdio *stdio, const struct exec_request *request)
{
    const struct exec_context *context = request->context;

    if (context->std[1].kind != EXEC_STREAM_INHERIT)
        return open_output(stdio, request, STDOUT_FILENO);
    stdio->spawned[STDOUT_FILENO] = (struct spawn_stdio){.kind = SPAWN_STDIO_INPUT};
    if (!input_is_null(context) && context->std[0].kind != EXEC_STREAM_DATA)
        return 0;
    if (!request->unit->user)
        return use_null_output(stdio, STDOUT_FILENO);
    stdio->spawned[STDOUT_FILENO].kind = SPAWN_STDIO_INHERIT;
    return 0;
}

static bool error_is_output(const struct exec_context *context)
{
    const struct exec_stream *output = &context->std[1], *error = &context->std[2];

    if (error->kind == EXEC_STREAM_INHERIT)
        return true;
    if (error->kind != output->kind)
        return false;
    return !(is_file(error->kind) || error->kind == EXEC_STREAM_FD) ||
           is_same_name(output->name, error->name);
}

static int build_error(struct exec_stdio *stdio, const struct exec_request *request)
{
    const struct exec_context *context = request->context;

    if (!error_is_output(context))
        return open_output(stdio, request, STDERR_FILENO);
    bool stays = request->unit->user && input_is_null(context) &&
                 context->std[1].kind == EXEC_STREAM_INHERIT &&
                 context->std[2].kind == EXEC_STREAM_INHERIT;
    stdio->spawned[STDERR_FILENO] =
        (struct spawn_stdio){.kind = stays ? SPAWN_STDIO_INHERIT : SPAWN_STDIO_OUTPUT};
    return 0;
}

/* Whether the child's open(2) may wait for somebody. What a path is that is made for each
 * connection shows only then. */
static bool may_block(const struct spawn_stdio *standard)
{
    struct stat status;

    if (standard->kind != SPAWN_STDIO_FILE)
        return false;
    return stat(standard->path, &status) >= 0 && is_slow_to_open(&status);
}

int exec_stdio_build(struct exec_stdio *stdio, const struct exec_request *request)
{
    int r = build_input(stdio, request);

    if (r >= 0)
        r = build_output(stdio, request);
    if (r >= 0)
        r = build_error(stdio, request);
    stdio->may_block = false;
    for (size_t i = 0; i < 3 && r >= 0; i++)
        stdio->may_block = stdio->may_block || may_block(&stdio->spawned[i]);
    return r;
}

/* ---- The journal ----------------------------------------------------------------------------- */

static int used_stream(const struct exec_stdio *stdio, size_t number)
{
    const struct spawn_stdio *standard = &stdio->spawned[number];

    return standard->kind == SPAWN_STDIO_DESCRIPTOR && standard->fd == stdio->streams[number]
               ? standard->fd
               : -1;
}

bool exec_stdio_is_fresh(const struct exec_stdio *stdio)
{
    for (size_t i = 1; i < 3; i++)
        if (used_stream(stdio, i) >= 0 && !journal_stream_is_alive(used_stream(stdio, i)))
            return false;
    return true;
}

void exec_stdio_journal_variable(const struct exec_stdio *stdio,
                                 char text[EXEC_JOURNAL_VARIABLE_MAX])
{
    int error = used_stream(stdio, STDERR_FILENO);
    int fd = error >= 0 ? error : used_stream(stdio, STDOUT_FILENO);
    struct stat status;

    text[0] = '\0';
    if (fd >= 0 && fstat(fd, &status) >= 0)
        (void)snprintf(text, EXEC_JOURNAL_VARIABLE_MAX, "JOURNAL_STREAM=%ju:%ju",
                       (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
}
