/* SPDX-License-Identifier: MIT */
#include "unit/name-map.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "unit/chase.h"
#include "unit/unit-name.h"

#define ALIASES_MAX 8 /* one after the other, as systemd */

#define SEEN_MAX 32

struct scan {
    struct name_map *map;
    const char *root;
    const struct string_list *directories;
    struct problems *problems;
    struct {
        dev_t device;
        ino_t inode;
    } seen[SEEN_MAX]; /* /lib and /usr/lib are often the same */
    size_t n_seen;
    struct string_list *present;
    /* Where the directory of the last link's target really is: mostly that of the next one, too. */
    struct {
        const char *root;
        char *directory, *real;
    } last;
};

/* Takes the target, whatever comes of it. */
static int add(struct name_map *map, const char *name, char *target)
{
    cleanup_free char *taken = target;

    if ((map->n & (map->n - 1)) == 0) {
        size_t room = map->n == 0 ? 1 : 2 * map->n;
        struct name_entry *entries = reallocarray(map->entries, room, sizeof(*entries));

        if (!entries)
            return -ENOMEM;
        map->entries = entries;
    }
    char *copy = strdup(name);
    if (!copy || !taken) {
        free(copy);
        return -ENOMEM;
    }
    map->entries[map->n] =
        (struct name_entry){.name = copy, .target = take_pointer(&taken), .order = map->n};
    map->n++;
    return 0;
}

int name_map_pin(struct name_map *map, const char *name, const char *file)
{
    return add(map, name, strdup(file));
}

/* What is wrong with an alias of that name to that one, or NULL. */
static const char *find_alias_fault(const char *name, const char *target)
{
    enum unit_name_kind kind = unit_name_classify(name), target_kind = unit_name_classify(target);

    if (target_kind == UNIT_NAME_INVALID)
        return "that is not the name of a unit";
    if (strcmp(unit_name_type(name), unit_name_type(target)) != 0)
        return "that is a unit of another type";
    if (kind != target_kind && (kind != UNIT_NAME_INSTANCE || target_kind != UNIT_NAME_TEMPLATE))
        return "one is a template or an instance, the other is not";
    if (target_kind == UNIT_NAME_INSTANCE) {
        size_t name_length = (size_t)(strrchr(name, '.') - strchr(name, '@'));
        size_t target_length = (size_t)(strrchr(target, '.') - strchr(target, '@'));

        if (name_length != target_length ||
            strncmp(strchr(name, '@'), strchr(target, '@'), name_length) != 0)
            return "that is another instance";
    }
    return NULL;
}

static bool is_in_directories(const struct scan *scan, const char *path)
{
    for (size_t i = 0; i < scan->directories->n; i++) {
        const char *directory = scan->directories->items[i];
        size_t length = strlen(directory);

        if (strncmp(path, directory, length) == 0 && path[length] == '/')
            return true;
    }
    return false;
}

static int chase_directory(struct scan *scan, const char *root, const char *directory)
{
    char *copy = NULL, *real = NULL;

    if (scan->last.real && scan->last.root == root && strcmp(scan->last.directory, directory) == 0)
        return 0;
    int r = chase(root, directory, false, &real);
    if (r < 0)
        return r;
    copy = strdup(directory);
    if (!copy) {
        free(real);
        return -ENOMEM;
    }
    free(scan->last.directory);
    free(scan->last.real);
    scan->last.root = root;
    scan->last.directory = copy;
    scan->last.real = real;
    return 0;
}

/* As chase(root, path, true, ret_path). */
static int chase_but_last(struct scan *scan, const char *root, const char *path, char **ret_path)
{
    const char *name = strrchr(path, '/') + 1;
    cleanup_free char *directory = strndup(path, (size_t)(name - path));

    if (unit_name_classify(name) == UNIT_NAME_INVALID) /* "..", say */
        return chase(root, path, true, ret_path);
    if (!directory)
        return -ENOMEM;
    int r = chase_directory(scan, root, directory);
    if (r < 0)
        return r;
    char *result;
    bool is_top = strcmp(scan->last.real, "/") == 0;
    if (asprintf(&result, "%s/%s", is_top ? "" : scan->last.real, name) < 0)
        return -ENOMEM;
    *ret_path = result;
    return 0;
}

/* Where the link in directory leads, its own end not followed; root in front. */
static int resolve_link(struct scan *scan, const char *directory, const char *name, char **ret_path)
{
    cleanup_free char *link = NULL, *path = NULL;
    char target[PATH_MAX];
    size_t root_length = strlen(scan->root);

    if (asprintf(&link, "%s/%s", directory, name) < 0) {
        link = NULL;
        return -ENOMEM;
    }
    ssize_t length = readlink(link, target, sizeof(target) - 1);
    if (length < 0)
        return -errno;
    target[length] = '\0';
    if (target[0] == '/')
        return chase_but_last(scan, scan->root, target, ret_path);
    /* A directory that was given by itself is not below root. */
    bool below = strncmp(directory, scan->root, root_length) == 0;
    if (asprintf(&path, "%s/%s", directory + (below ? root_length : 0), target) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    return chase_but_last(scan, below ? scan->root : "", path, ret_path);
}

static int add_link(struct scan *scan, const char *directory, const char *name)
{
    cleanup_free char *file = NULL, *path = NULL;
    int r = resolve_link(scan, directory, name, &path);

    if (r == -ENOMEM || asprintf(&file, "%s/%s", directory, name) < 0) {
        file = NULL;
        return -ENOMEM;
    }
    if (r < 0) {
        problems_add(scan->problems, PROBLEM_WARNING, file, 0, "cannot follow the link: %s",
                     strerror(-r));
        return 0;
    }
    if (!is_in_directories(scan, path))
        return add(scan->map, name, take_pointer(&file));
    const char *target = strrchr(path, '/') + 1;
    const char *fault = find_alias_fault(name, target);
    if (fault) {
        problems_add(scan->problems, PROBLEM_WARNING, file, 0, "not an alias of \"%s\": %s", target,
                     fault);
        return 0;
    }
    /* To the same name elsewhere: that is found by itself. */
    return strcmp(name, target) == 0 ? 0 : add(scan->map, name, strdup(target));
}

/* DT_REG, DT_LNK, … of readdir(3), which some file systems leave to stat(2). */
static int type_of(int directory_fd, const struct dirent *entry)
{
    struct stat status;

    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type;
    if (fstatat(directory_fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return DT_UNKNOWN;
    return IFTODT(status.st_mode);
}

/* A name of a socket or a service: units of other types are never asked for. */
static bool is_of_interest(const char *name)
{
    const char *type = unit_name_type(name);

    return type && (strcmp(type, "service") == 0 || strcmp(type, "socket") == 0);
}

static int add_entry(struct scan *scan, const char *directory, int directory_fd,
                     const struct dirent *entry)
{
    cleanup_free char *file = NULL;
    const char *name = entry->d_name;

    if (!is_of_interest(name))
        return 0;
    int type = type_of(directory_fd, entry);
    if (type == DT_LNK)
        return add_link(scan, directory, name);
    if (type != DT_REG)
        return 0;
    if (asprintf(&file, "%s/%s", directory, name) < 0) {
        file = NULL;
        return -ENOMEM;
    }
    return add(scan->map, name, take_pointer(&file));
}

/* Its names would be found a second time, behind themselves. */
static bool was_seen(struct scan *scan, int directory_fd)
{
    struct stat status;

    if (fstat(directory_fd, &status) < 0)
        return false;
    for (size_t i = 0; i < scan->n_seen; i++)
        if (scan->seen[i].device == status.st_dev && scan->seen[i].inode == status.st_ino)
            return true;
    if (scan->n_seen < SEEN_MAX) {
        scan->seen[scan->n_seen].device = status.st_dev;
        scan->seen[scan->n_seen++].inode = status.st_ino;
    }
    return false;
}

static int scan_directory(struct scan *scan, const char *directory)
{
    DIR *stream = opendir(directory);

    if (!stream && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (!stream)
        problems_add(scan->problems, PROBLEM_WARNING, directory, 0,
                     "cannot search the directory: %s", strerror(errno));
    int r = string_list_add(scan->present, directory);
    if (!stream)
        return r;
    bool skip = was_seen(scan, dirfd(stream));
    for (struct dirent *entry; !skip && r == 0 && (entry = readdir(stream));)
        r = add_entry(scan, directory, dirfd(stream), entry);
    closedir(stream);
    return r;
}

static int compare(const void *a, const void *b)
{
    const struct name_entry *one = a, *other = b;
    int r = strcmp(one->name, other->name);

    return r != 0 ? r : (one->order > other->order) - (one->order < other->order);
}

static void sort(struct name_map *map)
{
    size_t n = 0;

    if (map->n == 0)
        return;
    qsort(map->entries, map->n, sizeof(*map->entries), compare);
    for (size_t i = 1; i < map->n; i++) {
        if (strcmp(map->entries[i].name, map->entries[n].name) != 0) {
            map->entries[++n] = map->entries[i];
        } else {
            free(map->entries[i].name);
            free(map->entries[i].target);
        }
    }
    map->n = n + 1;
}

int name_map_scan(struct name_map *map, const char *root, const struct string_list *directories,
                  struct problems *problems, struct string_list *present)
{
    struct scan scan = {.map = map,
                        .root = root,
                        .directories = directories,
                        .problems = problems,
                        .present = present};
    int r = 0;

    for (size_t i = 0; r == 0 && i < directories->n; i++)
        r = scan_directory(&scan, directories->items[i]);
    free(scan.last.directory);
    free(scan.last.real);
    sort(map);
    return r;
}

static const char *find(const struct name_map *map, const char *name)
{
    size_t low = 0, high = map->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int r = strcmp(map->entries[middle].name, name);

        if (r == 0)
            return map->entries[middle].target;
        if (r < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

int name_map_resolve(const struct name_map *map, const char *name, const char **ret_file)
{
    const char *next = name;

    for (int i = 0; i < ALIASES_MAX; i++) {
        const char *target = find(map, next);

        if (!target) {
            cleanup_free char *template = NULL;

            if (next == name)
                return -ENOENT;
            int r = unit_name_template(next, &template);
            if (r == -ENOMEM)
                return r;
            target = r < 0 ? NULL : find(map, template);
            if (!target)
                return -ENXIO;
        }
        if (*target == '/') {
            *ret_file = target;
            return 0;
        }
        next = target;
    }
    return -ELOOP;
}

void name_map_done(struct name_map *map)
{
    for (size_t i = 0; i < map->n; i++) {
        free(map->entries[i].name);
        free(map->entries[i].target);
    }
    free(map->entries);
    *map = (struct name_map){0};
}
