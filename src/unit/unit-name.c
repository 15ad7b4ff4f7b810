/* SPDX-License-Identifier: MIT */
#include "unit/unit-name.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"

static const char *const types[] = {"service", "socket", "target", "device", "mount", "automount",
                                    "swap",    "timer",  "path",   "slice",  "scope"};

bool unit_type_is_valid(const char *type)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strcmp(types[i], type) == 0)
            return true;
    return false;
}

/* Not isalnum(3), which asks the locale. */
static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == ':' ||
           c == '_' || c == '.';
}

static bool is_valid(char c)
{
    return is_plain(c) || c == '-' || c == '\\';
}

bool unit_prefix_is_valid(const char *prefix)
{
    if (!*prefix)
        return false;
    for (; *prefix; prefix++)
        if (!is_valid(*prefix))
            return false;
    return true;
}

bool unit_instance_is_valid(const char *instance)
{
    for (; *instance; instance++)
        if (!is_valid(*instance) && *instance != '@')
            return false;
    return true;
}

enum unit_name_kind unit_name_classify(const char *name)
{
    const char *dot = strrchr(name, '.'), *at = NULL;

    if (!dot || dot == name || strnlen(name, UNIT_NAME_MAX + 1) > UNIT_NAME_MAX ||
        !unit_type_is_valid(dot + 1))
        return UNIT_NAME_INVALID;
    for (const char *c = name; c < dot; c++) {
        if (*c == '@') {
            if (!at)
                at = c;
        } else if (!is_valid(*c))
            return UNIT_NAME_INVALID;
    }
    if (!at)
        return UNIT_NAME_PLAIN;
    if (at == name)
        return UNIT_NAME_INVALID;
    return at + 1 == dot ? UNIT_NAME_TEMPLATE : UNIT_NAME_INSTANCE;
}

const char *unit_name_type(const char *name)
{
    return unit_name_classify(name) == UNIT_NAME_INVALID ? NULL : strrchr(name, '.') + 1;
}

static int copy(const char *text, const char *end, char **ret_text)
{
    char *result = strndup(text, (size_t)(end - text));

    if (!result)
        return -ENOMEM;
    *ret_text = result;
    return 0;
}

int unit_name_prefix(const char *name, char **ret_prefix)
{
    enum unit_name_kind kind = unit_name_classify(name);

    if (kind == UNIT_NAME_INVALID)
        return -EINVAL;
    return copy(name, kind == UNIT_NAME_PLAIN ? strrchr(name, '.') : strchr(name, '@'), ret_prefix);
}

int unit_name_without_type(const char *name, char **ret_text)
{
    if (unit_name_classify(name) == UNIT_NAME_INVALID)
        return -EINVAL;
    return copy(name, strrchr(name, '.'), ret_text);
}

int unit_name_instance(const char *name, char **ret_instance)
{
    enum unit_name_kind kind = unit_name_classify(name);

    if (kind == UNIT_NAME_INVALID)
        return -EINVAL;
    const char *dot = strrchr(name, '.');
    return copy(kind == UNIT_NAME_INSTANCE ? strchr(name, '@') + 1 : dot, dot, ret_instance);
}

int unit_name_build(const char *prefix, const char *instance, const char *type, char **ret_name)
{
    cleanup_free char *name = NULL;

    if (!unit_prefix_is_valid(prefix) || (instance && !unit_instance_is_valid(instance)) ||
        !unit_type_is_valid(type))
        return -EINVAL;
    if (asprintf(&name, "%s%s%s.%s", prefix, instance ? "@" : "", instance ? instance : "", type) <
        0) {
        name = NULL;
        return -ENOMEM;
    }
    if (strlen(name) > UNIT_NAME_MAX)
        return -ENAMETOOLONG;
    *ret_name = take_pointer(&name);
    return 0;
}

int unit_name_replace_instance(const char *name, const char *instance, char **ret_name)
{
    cleanup_free char *prefix = NULL;
    enum unit_name_kind kind = unit_name_classify(name);

    if (kind != UNIT_NAME_TEMPLATE && kind != UNIT_NAME_INSTANCE)
        return -EINVAL;
    int r = unit_name_prefix(name, &prefix);
    return r < 0 ? r : unit_name_build(prefix, instance, unit_name_type(name), ret_name);
}

int unit_name_template(const char *name, char **ret_name)
{
    return unit_name_replace_instance(name, "", ret_name);
}

int unit_name_change_type(const char *name, const char *type, char **ret_name)
{
    cleanup_free char *prefix = NULL, *instance = NULL;
    enum unit_name_kind kind = unit_name_classify(name);
    int r = unit_name_prefix(name, &prefix);

    if (r == 0)
        r = unit_name_instance(name, &instance);
    if (r < 0)
        return r;
    return unit_name_build(prefix, kind == UNIT_NAME_PLAIN ? NULL : instance, type, ret_name);
}

int unit_name_escape(const char *text, char **ret_escaped)
{
    char *escaped = malloc(strlen(text) * 4 + 1), *end = escaped;

    if (!escaped)
        return -ENOMEM;
    for (const char *c = text; *c; c++) {
        if (*c == '/')
            *end++ = '-';
        else if (is_plain(*c) && (*c != '.' || c != text))
            *end++ = *c;
        else
            end += sprintf(end, "\\x%02x", (unsigned char)*c);
    }
    *end = '\0';
    *ret_escaped = escaped;
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int unit_name_unescape(const char *escaped, char **ret_text)
{
    cleanup_free char *text = malloc(strlen(escaped) + 1);
    char *end = text;

    if (!text)
        return -ENOMEM;
    for (const char *c = escaped; *c; c++) {
        if (*c != '\\') {
            *end++ = (char)(*c == '-' ? '/' : *c);
            continue;
        }
        int high = c[1] == 'x' ? hex_digit(c[2]) : -1;
        int low = high < 0 ? -1 : hex_digit(c[3]);
        if (low < 0 || (high == 0 && low == 0))
            return -EINVAL;
        *end++ = (char)(high << 4 | low);
        c += 3;
    }
    *end = '\0';
    *ret_text = take_pointer(&text);
    return 0;
}

/* Without empty and "." components, and without slashes at the ends. */
static int simplify(const char *path, char **ret_path)
{
    cleanup_free char *simple = malloc(strlen(path) + 1);
    char *end = simple;

    if (!simple)
        return -ENOMEM;
    while (*(path += strspn(path, "/"))) {
        size_t length = strcspn(path, "/");

        if (length == 2 && path[0] == '.' && path[1] == '.')
            return -EINVAL;
        if (length != 1 || path[0] != '.') {
            if (end > simple)
                *end++ = '/';
            memcpy(end, path, length);
            end += length;
        }
        path += length;
    }
    *end = '\0';
    *ret_path = take_pointer(&simple);
    return 0;
}

int unit_name_path_escape(const char *path, char **ret_escaped)
{
    cleanup_free char *simple = NULL;
    int r = simplify(path, &simple);

    if (r < 0)
        return r;
    if (*simple)
        return unit_name_escape(simple, ret_escaped);
    if (*path && *path != '/')
        return -EINVAL;
    return copy("-", strchr("-", '\0'), ret_escaped);
}

int unit_name_path_unescape(const char *escaped, char **ret_path)
{
    cleanup_free char *text = NULL, *simple = NULL, *path = NULL;

    if (!*escaped)
        return -EINVAL;
    int r = strcmp(escaped, "-") == 0 ? copy("", "", &text) : unit_name_unescape(escaped, &text);
    if (r == 0)
        r = simplify(text, &simple);
    if (r < 0)
        return r;
    if (strcmp(text, simple) != 0)
        return -EINVAL;
    if (asprintf(&path, "/%s", text) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    *ret_path = take_pointer(&path);
    return 0;
}
