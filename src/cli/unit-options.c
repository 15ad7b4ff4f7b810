/* SPDX-License-Identifier: MIT */
#include "cli/unit-options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/cleanup.h"
#include "cli/safe-text.h"
#include "supervisor/log.h"

/* A directory that is not there would be without effect, which is not what was meant. */
static int add_directory(struct unit_options *options, const char *path)
{
    struct stat status;
    int error = stat(path, &status) < 0 ? errno : 0;

    if (error == 0 && !S_ISDIR(status.st_mode))
        error = ENOTDIR;
    if (error == 0)
        return string_list_add(&options->directories, path);
    cleanup_free char *shown = safe_text(path, 0);
    log_error("cannot use --unit-path=%s: %s", shown ? shown : "", strerror(error));
    return -EINVAL;
}

static int add_ignored(struct unit_options *options, const char *list)
{
    cleanup_free char *copy = strdup(list);
    char *rest = copy;

    if (!copy)
        return -ENOMEM;
    for (char *name; (name = strsep(&rest, ", "));) {
        cleanup_free char *shown = safe_text(name, 60);
        if (*name == '\0')
            continue;
        if (!unit_file_may_ignore(name)) {
            log_error("cannot ignore \"%s\": only what hark refuses can be ignored",
                      shown ? shown : "");
            return -EINVAL;
        }
        int r = string_list_add(&options->ignore, name);
        if (r < 0)
            return r;
    }
    return 0;
}

int unit_options_take(struct unit_options *options, int option, const char *value)
{
    int r = 0;

    switch (option) {
    case UNIT_OPTION_PATH:
        r = add_directory(options, value);
        break;
    case UNIT_OPTION_IGNORE:
        r = add_ignored(options, value);
        break;
    case UNIT_OPTION_USER:
        options->user = true;
        break;
    default:
        return 0;
    }
    return r < 0 ? r : 1;
}

int unit_options_load(const struct unit_options *options, const char *const *names, size_t n_names,
                      struct problems *problems, struct unit_set **ret_set)
{
    const struct unit_set_options set_options = {
        .directories = (const char *const *)options->directories.items,
        .unit_path = getenv("SYSTEMD_UNIT_PATH"),
        .user = options->user,
        .ignore = &options->ignore,
    };

    return unit_set_load(&set_options, names, n_names, problems, ret_set);
}

void unit_options_done(struct unit_options *options)
{
    string_list_done(&options->directories);
    string_list_done(&options->ignore);
}
