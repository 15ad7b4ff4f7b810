/* SPDX-License-Identifier: MIT */
#include "unit/specifiers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "unit/host-facts.h"
#include "unit/unit-name.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static const char *const letters_of_set[] = {
    [SPECIFIERS_FULL] = "nNpPiIjJfyYtSCLETVduUgGhsHlqmbvaowWBAMcrR",
    [SPECIFIERS_UNIT_NAME] = "nNpijuUgGHlqmbvaowWBAM",
};

static int join(const char *first, const char *second, char **ret_text)
{
    char *result;

    if (asprintf(&result, "%s%s", first, second) < 0)
        return -ENOMEM;
    *ret_text = result;
    return 0;
}

static int unescape_and_free(int r, char *text, char **ret_text)
{
    if (r < 0)
        return r;
    r = unit_name_unescape(text, ret_text);
    free(text);
    return r;
}

/* What follows the last dash of the prefix. */
static int last_component(const char *unit, char **ret_text)
{
    cleanup_free char *prefix = NULL;
    int r = unit_name_prefix(unit, &prefix);

    if (r < 0)
        return r;
    const char *dash = strrchr(prefix, '-');
    return join(dash ? dash + 1 : prefix, "", ret_text);
}

/* The instance as a path, or the prefix where there is none. */
static int unit_path(const char *unit, char **ret_text)
{
    cleanup_free char *text = NULL;
    int r = unit_name_classify(unit) == UNIT_NAME_PLAIN ? unit_name_prefix(unit, &text)
                                                        : unit_name_instance(unit, &text);

    return r < 0 ? r : unit_name_path_unescape(text, ret_text);
}

static int fragment(const struct specifier_context *context, char letter, char **ret_text)
{
    const char *path = context->fragment;

    if (!path)
        return -ENXIO;
    const char *slash = strrchr(path, '/');
    size_t length =
        letter == 'Y' && slash ? (size_t)(slash - path) + (slash == path) : strlen(path);
    char *text = strndup(path, length);
    if (!text)
        return -ENOMEM;
    *ret_text = text;
    return 0;
}

static int expand_unit(char letter, const struct specifier_context *context, char **ret_text)
{
    const char *unit = context->unit;
    char *text = NULL;
    int r;

    switch (letter) {
    case 'n':
        return join(unit, "", ret_text);
    case 'N':
        return unit_name_without_type(unit, ret_text);
    case 'p':
        return unit_name_prefix(unit, ret_text);
    case 'i':
        return unit_name_instance(unit, ret_text);
    case 'j':
        return last_component(unit, ret_text);
    case 'P':
        r = unit_name_prefix(unit, &text);
        return unescape_and_free(r, text, ret_text);
    case 'I':
        r = unit_name_instance(unit, &text);
        return unescape_and_free(r, text, ret_text);
    case 'J':
        r = last_component(unit, &text);
        return unescape_and_free(r, text, ret_text);
    case 'f':
        return unit_path(unit, ret_text);
    default:
        return fragment(context, letter, ret_text);
    }
}

/* $VARIABLE or a directory in the home, and a directory in that. */
static int user_directory(const char *variable, const char *fallback, const char *below,
                          char **ret_text)
{
    cleanup_free char *home = NULL, *directory = NULL;
    const char *value = secure_getenv(variable);

    if (value && *value == '/')
        return join(value, below, ret_text);
    if (!fallback)
        return -ENXIO;
    int r = host_user_home(&home);
    if (r == 0)
        r = join(home, fallback, &directory);
    return r < 0 ? r : join(directory, below, ret_text);
}

static int runtime_directory(const struct specifier_context *context, const char *below,
                             char **ret_text)
{
    return context->user ? user_directory("XDG_RUNTIME_DIR", NULL, below, ret_text)
                         : join("/run", below, ret_text);
}

static int expand_directory(char letter, const struct specifier_context *context, char **ret_text)
{
    cleanup_free char *credentials = NULL;
    bool user = context->user;

    switch (letter) {
    case 't':
        return runtime_directory(context, "", ret_text);
    case 'S': /* only later versions have $XDG_STATE_HOME here */
        return user ? user_directory("XDG_CONFIG_HOME", "/.config", "", ret_text)
                    : join("/var/lib", "", ret_text);
    case 'C':
        return user ? user_directory("XDG_CACHE_HOME", "/.cache", "", ret_text)
                    : join("/var/cache", "", ret_text);
    case 'L':
        return user ? user_directory("XDG_CONFIG_HOME", "/.config", "/log", ret_text)
                    : join("/var/log", "", ret_text);
    case 'E':
        return user ? user_directory("XDG_CONFIG_HOME", "/.config", "", ret_text)
                    : join("/etc", "", ret_text);
    case 'T':
        return host_temporary_directory("/tmp", ret_text);
    case 'V':
        return host_temporary_directory("/var/tmp", ret_text);
    default:
        if (join("/credentials/", context->unit, &credentials) < 0)
            return -ENOMEM;
        return runtime_directory(context, credentials, ret_text);
    }
}

static int expand_user(char letter, char **ret_text)
{
    char number[16];

    switch (letter) {
    case 'u':
        return host_user_name(ret_text);
    case 'g':
        return host_group_name(ret_text);
    case 'h':
        return host_user_home(ret_text);
    case 's':
        return host_user_shell(ret_text);
    default:
        (void)snprintf(number, sizeof(number), "%u", letter == 'U' ? getuid() : getgid());
        return join(number, "", ret_text);
    }
}

static int expand_host(char letter, const char *root, char **ret_text)
{
    switch (letter) {
    case 'H':
        return host_name(ret_text);
    case 'l':
        return host_short_name(ret_text);
    case 'q':
        return host_pretty_name(root, ret_text);
    case 'm':
        return host_machine_id(root, ret_text);
    case 'b':
        return host_boot_id(ret_text);
    case 'v':
        return host_kernel_release(ret_text);
    case 'a':
        return host_architecture(ret_text);
    case 'o':
        return host_os_release(root, "ID", ret_text);
    case 'w':
        return host_os_release(root, "VERSION_ID", ret_text);
    case 'W':
        return host_os_release(root, "VARIANT_ID", ret_text);
    case 'B':
        return host_os_release(root, "BUILD_ID", ret_text);
    case 'A':
        return host_os_release(root, "IMAGE_VERSION", ret_text);
    default:
        return host_os_release(root, "IMAGE_ID", ret_text);
    }
}

static int expand_letter(char letter, const struct specifier_context *context, char **ret_text)
{
    if (strchr("crR", letter))
        return -EOPNOTSUPP;
    if (strchr("nNpPiIjJfyY", letter))
        return expand_unit(letter, context, ret_text);
    if (strchr("tSCLETVd", letter))
        return expand_directory(letter, context, ret_text);
    if (strchr("uUgGhs", letter))
        return expand_user(letter, ret_text);
    return expand_host(letter, context->root ? context->root : "", ret_text);
}

static bool is_unknown(char letter, enum specifier_set set)
{
    return letter && strchr(LETTERS, letter) && !strchr(letters_of_set[set], letter);
}

const char *specifiers_find_unknown(const char *text, enum specifier_set set)
{
    while ((text = strchr(text, '%')) && *++text)
        if (is_unknown(*text++, set))
            return text - 1;
    return NULL;
}

/* One literal stretch or one specifier at *text, which is moved behind it. */
static int expand_next(const char **text, const struct specifier_context *context, FILE *output,
                       size_t *length)
{
    cleanup_free char *expanded = NULL;
    const char *part = *text;
    size_t part_length = strcspn(part, "%");

    if (part_length > 0) {
        *text += part_length;
    } else if (part[1] && strchr(LETTERS, part[1])) {
        int r = expand_letter(part[1], context, &expanded);
        if (r < 0)
            return r;
        *text += 2;
        part = expanded;
        part_length = strlen(expanded);
    } else {
        /* "%%" is one, "%-" both. */
        part_length = part[1] && part[1] != '%' ? 2 : 1;
        *text += part[1] ? 2 : 1;
    }
    if (part_length > context->max_length - *length)
        return -ENAMETOOLONG;
    *length += part_length;
    return fwrite(part, 1, part_length, output) == part_length ? 0 : -ENOMEM;
}

int specifiers_expand(const char *text, enum specifier_set set,
                      const struct specifier_context *context, char **ret_text)
{
    cleanup_free char *result = NULL;
    size_t size = 0, length = 0;
    int r = 0;

    if (specifiers_find_unknown(text, set))
        return -EBADSLT;
    FILE *output = open_memstream(&result, &size);
    if (!output)
        return -ENOMEM;
    while (*text && r == 0)
        r = expand_next(&text, context, output, &length);
    /* Without memory for the buffer glibc's fclose() succeeds all the same. */
    if ((fclose(output) != 0 || !result) && r == 0)
        r = -ENOMEM;
    if (r < 0)
        return r;
    *ret_text = take_pointer(&result);
    return 0;
}
