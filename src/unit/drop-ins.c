/* SPDX-License-Identifier: MIT */
#include "unit/drop-ins.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/cleanup.h"
#include "unit/chase.h"
#include "unit/unit-name.h"

static const char *file_name(const char *path)
{
    return strrchr(path, '/') + 1;
}

static bool has_file_name(const struct string_list *files, const char *name)
{
    for (size_t i = 0; i < files->n; i++)
        if (strcmp(file_name(files->items[i]), name) == 0)
            return true;
    return false;
}

/* foo-bar-baz, foo-bar- and the like: cut behind the last dash that something precedes and
 * something other than the end follows. False when there is none. */
static bool shorten(char *prefix)
{
    size_t length = strlen(prefix);

    if (length > 0 && prefix[length - 1] == '-')
        prefix[length - 1] = '\0';
    char *dash = strrchr(prefix, '-');
    if (!dash || dash == prefix)
        return false;
    dash[1] = '\0';
    return true;
}

/* The name and all that are shorter, each only once: it would lead to the same ones again. */
static int add_names(const char *name, struct string_list *names)
{
    cleanup_free char *prefix = NULL, *instance = NULL, *template = NULL, *shorter = NULL;
    bool is_instance = unit_name_classify(name) == UNIT_NAME_INSTANCE;

    if (string_list_contains(names, name))
        return 0;
    int r = string_list_add(names, name);
    if (r == 0 && is_instance) {
        r = unit_name_template(name, &template);
        if (r == 0)
            r = add_names(template, names);
        if (r == 0)
            r = unit_name_instance(name, &instance);
    }
    if (r == 0)
        r = unit_name_prefix(name, &prefix);
    if (r < 0)
        return r;
    if (!shorten(prefix))
        return 0;
    /* Of a template this is a plain name: that is how systemd has it. */
    r = unit_name_build(prefix, instance, unit_name_type(name), &shorter);
    return r < 0 ? r : add_names(shorter, names);
}

/* The *.conf of one directory that no earlier one has. */
static int add_files(const char *directory, struct string_list *files)
{
    DIR *stream = opendir(directory);
    int r = 0;

    if (!stream)
        return 0;
    for (struct dirent *entry; r == 0 && (entry = readdir(stream));) {
        const char *suffix = strrchr(entry->d_name, '.');

        if (entry->d_name[0] != '.' && suffix && strcmp(suffix, ".conf") == 0 &&
            !has_file_name(files, entry->d_name))
            r = string_list_add_format(files, "%s/%s", directory, entry->d_name);
    }
    closedir(stream);
    return r;
}

static int add_directories(const struct drop_in_search *search, const struct string_list *names,
                           struct string_list *files)
{
    int r = 0;

    for (size_t i = 0; i < search->directories->n; i++)
        for (size_t j = 0; r == 0 && j < names->n; j++) {
            cleanup_free char *path = NULL, *directory = NULL;

            if (asprintf(&path, "%s/%s.d", search->directories->items[i], names->items[j]) < 0) {
                path = NULL;
                return -ENOMEM;
            }
            r = chase_below(search->root, path, &directory);
            if (r == -ENOMEM)
                return r;
            r = r < 0 ? 0 : add_files(directory, files);
        }
    return r;
}

static int add_drop_ins_of(const struct drop_in_search *search, const char *name,
                           struct string_list *files)
{
    struct string_list names = {0};
    int r = add_names(name, &names);

    if (r == 0)
        r = add_directories(search, &names, files);
    string_list_done(&names);
    return r;
}

static int compare(const void *a, const void *b)
{
    return strcmp(file_name(*(char *const *)a), file_name(*(char *const *)b));
}

/* What has hidden others and is nothing itself is not handed on. */
static int add_unless_masked(const char *root, const char *file, struct string_list *drop_ins)
{
    char *path = NULL;
    struct stat status;
    int r = chase_below(root, file, &path);

    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return string_list_add(drop_ins, file); /* reading it will say why */
    if (stat(path, &status) == 0 && (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode) ||
                                     (S_ISREG(status.st_mode) && status.st_size == 0))) {
        free(path);
        return 0;
    }
    return string_list_take(drop_ins, path);
}

int drop_ins_find(const struct drop_in_search *search, struct string_list *drop_ins)
{
    struct string_list files = {0}, type = {0};
    int r = add_drop_ins_of(search, search->name, &files);

    for (size_t i = 0; r == 0 && i < search->aliases->n; i++)
        r = add_drop_ins_of(search, search->aliases->items[i], &files);
    if (r == 0)
        r = string_list_add(&type, unit_name_type(search->name));
    if (r == 0)
        r = add_directories(search, &type, &files);
    if (files.n > 1)
        qsort(files.items, files.n, sizeof(char *), compare);
    for (size_t i = 0; r == 0 && i < files.n; i++)
        r = add_unless_masked(search->root, files.items[i], drop_ins);
    string_list_done(&files);
    string_list_done(&type);
    return r;
}
