/* SPDX-License-Identifier: MIT */
#include "exec/environment-files.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/cleanup.h"

/* What tells one state of a file from another. All zero when there is none. */
struct file_state {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};

struct environment_source {
    char *name; /* without "-" */
    bool is_optional;
    struct string_list paths; /* what the name stands for */
    struct file_state *states;
};

static bool is_pattern(const char *name)
{
    return strpbrk(name, "*?[\\") != NULL;
}

static struct file_state state_of(const char *path)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return (struct file_state){0};
    return (struct file_state){.device = status.st_dev,
                               .inode = status.st_ino,
                               .size = status.st_size,
                               .modified = status.st_mtim,
                               .changed = status.st_ctim};
}

static bool is_same_time(struct timespec one, struct timespec other)
{
    return one.tv_sec == other.tv_sec && one.tv_nsec == other.tv_nsec;
}

static bool is_same_state(struct file_state one, struct file_state other)
{
    return one.device == other.device && one.inode == other.inode && one.size == other.size &&
           is_same_time(one.modified, other.modified) && is_same_time(one.changed, other.changed);
}

/* The paths that a name stands for; none when it is a pattern that nothing matches. */
static int find_paths(const char *name, struct string_list *ret_paths)
{
    struct string_list paths = {0};
    glob_t found;
    int r = 0;

    if (!is_pattern(name)) {
        r = string_list_add(&paths, name);
    } else if (glob(name, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc && r >= 0; i++)
            r = string_list_add(&paths, found.gl_pathv[i]);
        globfree(&found);
    }
    if (r < 0) {
        string_list_done(&paths);
        return r;
    }
    *ret_paths = paths;
    return 0;
}

static void tell(const struct environment_files_listener *listener, const char *path, unsigned line,
                 const char *text)
{
    if (listener)
        listener->tell(listener->context, path, line, text);
}

static void tell_failure(const struct environment_files_listener *listener, const char *path,
                         unsigned line, int error)
{
    switch (error) {
    case -EBADMSG:
        tell(listener, path, line, "there is a NUL byte in it");
        break;
    case -EILSEQ:
        tell(listener, path, line, "it is not in UTF-8");
        break;
    case -EINVAL:
        tell(listener, path, 0, "it is not a regular file");
        break;
    default:
        tell(listener, path, 0, strerror(-error));
    }
}

static void tell_faults(const struct environment_files_listener *listener, const char *path,
                        const struct environment_file *file)
{
    for (size_t i = 0; i < file->n_faults; i++)
        tell(listener, path, file->faults[i].line,
             "this name cannot be a variable's, so the line has no effect");
}

static int load_file(const char *path, const struct environment_files_listener *listener,
                     struct string_list *variables)
{
    struct environment_file file;
    unsigned line = 0;
    int r = environment_file_load(path, &file, &line);

    if (r < 0) {
        if (r != -ENOMEM)
            tell_failure(listener, path, line, r);
        return r;
    }
    tell_faults(listener, path, &file);
    for (size_t i = 0; i < file.variables.n && r >= 0; i++)
        r = string_list_take(variables, take_pointer(&file.variables.items[i]));
    environment_file_done(&file);
    return r;
}

/* Reads what the name stands for. The states are taken before: a file that changes while it is read
 * is not fresh then. */
static int load_source(struct environment_source *source,
                       const struct environment_files_listener *listener,
                       struct string_list *variables)
{
    int r = find_paths(source->name, &source->paths);

    if (r < 0)
        return r;
    if (source->paths.n == 0 && !source->is_optional) {
        tell(listener, source->name, 0, "no file matches it");
        return -ENOENT;
    }
    source->states = calloc(source->paths.n + 1, sizeof(*source->states));
    if (!source->states)
        return -ENOMEM;
    for (size_t i = 0; i < source->paths.n; i++) {
        const char *path = source->paths.items[i];
        source->states[i] = state_of(path);
        if (source->is_optional && source->states[i].inode == 0)
            continue;
        r = load_file(path, listener, variables);
        if (r == -ENOMEM || (r < 0 && !source->is_optional))
            return r;
    }
    return 0;
}

int environment_files_load(const struct string_list *names,
                           const struct environment_files_listener *listener,
                           struct environment_files *ret_files)
{
    cleanup(environment_files_done) struct environment_files files = {0};

    files.sources = calloc(names->n + 1, sizeof(*files.sources));
    if (!files.sources)
        return -ENOMEM;
    for (size_t i = 0; i < names->n; i++) {
        struct environment_source *source = &files.sources[files.n_sources++];
        source->is_optional = names->items[i][0] == '-';
        source->name = strdup(names->items[i] + source->is_optional);
        int r = source->name ? load_source(source, listener, &files.variables) : -ENOMEM;
        if (r < 0)
            return r;
    }
    *ret_files = files;
    files = (struct environment_files){0};
    return 0;
}

static bool has_same_paths(const struct environment_source *source)
{
    struct string_list paths;

    if (!is_pattern(source->name))
        return true;
    if (find_paths(source->name, &paths) < 0)
        return false;
    bool same = paths.n == source->paths.n;
    for (size_t i = 0; i < paths.n && same; i++)
        same = strcmp(paths.items[i], source->paths.items[i]) == 0;
    string_list_done(&paths);
    return same;
}

bool environment_files_are_fresh(const struct environment_files *files)
{
    for (size_t i = 0; i < files->n_sources; i++) {
        const struct environment_source *source = &files->sources[i];
        if (!has_same_paths(source))
            return false;
        for (size_t k = 0; k < source->paths.n; k++)
            if (!is_same_state(state_of(source->paths.items[k]), source->states[k]))
                return false;
    }
    return true;
}

void environment_files_done(struct environment_files *files)
{
    for (size_t i = 0; i < files->n_sources; i++) {
        free(files->sources[i].name);
        string_list_done(&files->sources[i].paths);
        free(files->sources[i].states);
    }
    free(files->sources);
    string_list_done(&files->variables);
    *files = (struct environment_files){0};
}
