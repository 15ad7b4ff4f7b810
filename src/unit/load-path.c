/* SPDX-License-Identifier: MIT */
#include "unit/load-path.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "unit/chase.h"
#include "unit/drop-ins.h"
#include "unit/host-facts.h"
#include "unit/name-map.h"
#include "unit/unit-name.h"
#include "unit/values.h"

struct load_path {
    char *root; /* "" for none */
    struct string_list directories;
    struct string_list present; /* those that exist, once they have been scanned */
    size_t n_file_directories;  /* the first ones, of load_path_add_file() */
    struct name_map names;
    bool scanned;
};

static const char *const system_directories[] = {
    "/etc/systemd/system.control", "/run/systemd/system.control",
    "/run/systemd/transient",      "/run/systemd/generator.early",
    "/etc/systemd/system",         "/etc/systemd/system.attached",
    "/run/systemd/system",         "/run/systemd/system.attached",
    "/run/systemd/generator",      "/usr/local/lib/systemd/system",
    "/lib/systemd/system",         "/usr/lib/systemd/system",
    "/run/systemd/generator.late", NULL,
};

/* The directories of a user's manager: an environment variable (a list of directories too), what
 * stands for it when it is not set ("~": the home directory; NULL: then there is none), and the
 * directory below each. */
static const struct {
    const char *variable, *fallback, *below;
} user_directories[] = {
    {"XDG_CONFIG_HOME", "~/.config", "/systemd/user.control"},
    {"XDG_RUNTIME_DIR", NULL, "/systemd/user.control"},
    {"XDG_RUNTIME_DIR", NULL, "/systemd/transient"},
    {"XDG_RUNTIME_DIR", NULL, "/systemd/generator.early"},
    {"XDG_CONFIG_HOME", "~/.config", "/systemd/user"},
    {"XDG_CONFIG_DIRS", "/etc/xdg", "/systemd/user"},
    {NULL, "/etc", "/systemd/user"},
    {"XDG_RUNTIME_DIR", NULL, "/systemd/user"},
    {NULL, "/run", "/systemd/user"},
    {"XDG_RUNTIME_DIR", NULL, "/systemd/generator"},
    {"XDG_DATA_HOME", "~/.local/share", "/systemd/user"},
    {"XDG_DATA_DIRS", "/usr/local/share:/usr/share", "/systemd/user"},
    {NULL, "/usr/local/lib:/usr/local/share:/usr/lib:/usr/share", "/systemd/user"},
    {"XDG_RUNTIME_DIR", NULL, "/systemd/generator.late"},
};

/* Adds root/directory/below, absolute and simple, if it is not there yet. */
static int add_directory(struct load_path *path, const char *root, const char *directory,
                         const char *below)
{
    char current[PATH_MAX] = "";
    cleanup_free char *text = NULL;

    if (*directory != '/' && !getcwd(current, sizeof(current)))
        return -errno;
    if (asprintf(&text, "%s%s/%s%s", root, current, directory, below) < 0) {
        text = NULL;
        return -ENOMEM;
    }
    path_tidy(text);
    if (strcmp(text, "/") == 0)
        *text = '\0';
    if (!*text || string_list_contains(&path->directories, text))
        return 0;
    return string_list_take(&path->directories, take_pointer(&text));
}

/* Each directory of a list with colons. */
static int add_list(struct load_path *path, const char *list, const char *below)
{
    cleanup_free char *copy = strdup(list);
    char *rest = copy;
    int r = 0;

    if (!copy)
        return -ENOMEM;
    for (char *part; r == 0 && (part = strsep(&rest, ":"));)
        if (*part)
            r = add_directory(path, path->root, part, below);
    return r;
}

static int add_user_directories(struct load_path *path)
{
    cleanup_free char *home = NULL;
    int r = host_user_home(&home);

    if (r == -ENOMEM)
        return r;
    r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(user_directories) / sizeof(user_directories[0]); i++) {
        const char *variable = user_directories[i].variable;
        const char *fallback = user_directories[i].fallback;
        const char *list = variable ? getenv(variable) : NULL;
        cleanup_free char *in_home = NULL;

        if (!list && fallback && *fallback == '~') {
            if (!home)
                continue;
            if (asprintf(&in_home, "%s%s", home, fallback + 1) < 0) {
                in_home = NULL;
                return -ENOMEM;
            }
            list = in_home;
        }
        if (!list)
            list = fallback;
        if (list)
            r = add_list(path, list, user_directories[i].below);
    }
    return r;
}

static int add_usual_directories(struct load_path *path, bool user)
{
    int r = 0;

    if (user)
        return add_user_directories(path);
    for (const char *const *directory = system_directories; r == 0 && *directory; directory++)
        r = add_directory(path, path->root, *directory, "");
    return r;
}

int load_path_new(const struct load_path_options *options, struct load_path **ret_path)
{
    struct load_path *path = calloc(1, sizeof(*path));
    const char *unit_path = options->unit_path ? options->unit_path : "";
    size_t length = strlen(unit_path);
    int r = 0;

    if (!path)
        return -ENOMEM;
    path->root = strdup(options->root ? options->root : "");
    if (!path->root)
        r = -ENOMEM;
    else
        for (size_t n = strlen(path->root); n > 0 && path->root[n - 1] == '/';)
            path->root[--n] = '\0';
    for (const char *const *next = options->directories; r == 0 && next && *next; next++)
        r = add_directory(path, "", *next, "");
    if (r == 0)
        r = add_list(path, unit_path, "");
    if (r == 0 && (!options->unit_path || (length > 0 && unit_path[length - 1] == ':')))
        r = add_usual_directories(path, options->user);
    if (r < 0) {
        load_path_free(path);
        return r;
    }
    *ret_path = path;
    return 0;
}

struct load_path *load_path_free(struct load_path *path)
{
    if (!path)
        return NULL;
    free(path->root);
    string_list_done(&path->directories);
    string_list_done(&path->present);
    name_map_done(&path->names);
    free(path);
    return NULL;
}

const struct string_list *load_path_directories(const struct load_path *path)
{
    return &path->directories;
}

/* Moves the directory of a file to its place: behind those of the files before it. */
static int add_file_directory(struct load_path *path, const char *directory)
{
    size_t from = 0;

    int r = add_directory(path, "", directory, "");
    if (r < 0)
        return r;
    /* It is the last one now, or was there before. */
    struct load_path other = {0};
    r = add_directory(&other, "", directory, "");
    for (size_t i = 0; r == 0 && other.directories.n > 0 && i < path->directories.n; i++)
        if (strcmp(path->directories.items[i], other.directories.items[0]) == 0)
            from = i;
    string_list_done(&other.directories);
    if (r < 0 || from < path->n_file_directories)
        return r;
    char *item = path->directories.items[from];
    memmove(path->directories.items + path->n_file_directories + 1,
            path->directories.items + path->n_file_directories,
            (from - path->n_file_directories) * sizeof(char *));
    path->directories.items[path->n_file_directories++] = item;
    return 0;
}

int load_path_add_file(struct load_path *path, const char *file, char **ret_name)
{
    cleanup_free char *directory = NULL, *name = NULL, *full = NULL;
    char current[PATH_MAX] = "";
    const char *slash = strrchr(file, '/');

    if (path->scanned)
        return -EBUSY;
    if (unit_name_classify(slash ? slash + 1 : file) == UNIT_NAME_INVALID)
        return -EINVAL;
    if (*file != '/' && !getcwd(current, sizeof(current)))
        return -errno;
    name = strdup(slash ? slash + 1 : file);
    if (!name || asprintf(&full, "%s%s%s", current, *file == '/' ? "" : "/", file) < 0) {
        full = NULL;
        return -ENOMEM;
    }
    directory = strndup(full, (size_t)(strrchr(full, '/') - full));
    if (!directory)
        return -ENOMEM;
    int r = add_file_directory(path, *directory ? directory : "/");
    if (r == 0)
        r = name_map_pin(&path->names, name, full);
    if (r == 0)
        *ret_name = take_pointer(&name);
    return r;
}

/* The main file of a name, an instance also by its template. */
static int find_main(const struct load_path *path, const char *name, const char **ret_file)
{
    cleanup_free char *template = NULL;
    int r = name_map_resolve(&path->names, name, ret_file);

    if ((r != -ENOENT && r != -ENXIO) || unit_name_classify(name) != UNIT_NAME_INSTANCE)
        return r == -ENXIO ? -ENOENT : r;
    r = unit_name_template(name, &template);
    if (r == 0)
        r = name_map_resolve(&path->names, template, ret_file);
    return r == -ENXIO ? -ENOENT : r;
}

/* The name of a file or an alias, a template's with the instance of the unit asked for. */
static int make_instance(const char *name, const char *asked, char **ret_name)
{
    cleanup_free char *instance = NULL;
    char *copy;

    if (unit_name_classify(name) == UNIT_NAME_TEMPLATE) {
        int r = unit_name_instance(asked, &instance);
        return r < 0 ? r : unit_name_replace_instance(name, instance, ret_name);
    }
    copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    *ret_name = copy;
    return 0;
}

/* An alias counts for a unit when it leads to the same file and, made an instance, to nothing else.
 */
static int add_alias(const struct load_path *path, const char *alias, const char *main_file,
                     struct unit_files *files)
{
    cleanup_free char *name = NULL;
    const char *file;
    int r = make_instance(alias, files->name, &name);

    if (r < 0)
        return r == -ENOMEM ? r : 0;
    if (unit_name_classify(name) != unit_name_classify(files->name) ||
        strcmp(name, files->name) == 0 || string_list_contains(&files->aliases, name) ||
        find_main(path, name, &file) < 0 || strcmp(file, main_file) != 0)
        return 0;
    if (unit_name_classify(name) == UNIT_NAME_INSTANCE &&
        strcmp(strchr(name, '@'), strchr(files->name, '@')) != 0)
        return 0;
    return string_list_take(&files->aliases, take_pointer(&name));
}

static int add_aliases(const struct load_path *path, const char *main_file,
                       struct unit_files *files)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < path->names.n; i++) {
        const char *file;
        const struct name_entry *entry = &path->names.entries[i];

        if (*entry->target == '/' && strcmp(entry->target, main_file) != 0)
            continue; /* as nearly all are: files of their own, without a search */
        if (name_map_resolve(&path->names, entry->name, &file) == 0 && strcmp(file, main_file) == 0)
            r = add_alias(path, entry->name, main_file, files);
    }
    string_list_sort(&files->aliases);
    return r;
}

/* The file to read, and whether it is one that masks. */
static int open_main(const struct load_path *path, const char *main_file, struct unit_files *files)
{
    cleanup_free char *real = NULL;
    struct stat status;
    int r = chase_below(path->root, main_file, &real);

    if (r < 0)
        return r;
    if (stat(real, &status) < 0)
        return -errno;
    if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode) ||
        (S_ISREG(status.st_mode) && status.st_size == 0)) {
        files->masked = true;
        return 0;
    }
    r = chase("", real, false, &files->fragment);
    if (r == 0)
        files->main = take_pointer(&real);
    return r;
}

static int fill(const struct load_path *path, const char *asked, const char *main_file,
                struct unit_files *files)
{
    int r = make_instance(strrchr(main_file, '/') + 1, asked, &files->name);

    if (r == 0)
        r = open_main(path, main_file, files);
    if (r < 0 || files->masked)
        return r;
    r = add_aliases(path, main_file, files);
    struct drop_in_search search = {
        .root = path->root,
        .directories = &path->present,
        .name = files->name,
        .aliases = &files->aliases,
    };
    return r < 0 ? r : drop_ins_find(&search, &files->drop_ins);
}

int load_path_find(struct load_path *path, const char *name, struct problems *problems,
                   struct unit_files **ret_files)
{
    enum unit_name_kind kind = unit_name_classify(name);
    const char *main_file;

    if (kind == UNIT_NAME_INVALID || kind == UNIT_NAME_TEMPLATE)
        return -EINVAL;
    if (!path->scanned) {
        path->scanned = true;
        int r =
            name_map_scan(&path->names, path->root, &path->directories, problems, &path->present);
        if (r < 0)
            return r;
    }
    int r = find_main(path, name, &main_file);
    if (r < 0)
        return r;
    struct unit_files *files = calloc(1, sizeof(*files));
    if (!files)
        return -ENOMEM;
    r = fill(path, name, main_file, files);
    if (r < 0) {
        unit_files_free(files);
        return r;
    }
    *ret_files = files;
    return 0;
}

struct unit_files *unit_files_free(struct unit_files *files)
{
    if (!files)
        return NULL;
    free(files->name);
    free(files->main);
    free(files->fragment);
    string_list_done(&files->aliases);
    string_list_done(&files->drop_ins);
    free(files);
    return NULL;
}
