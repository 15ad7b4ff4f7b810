/* SPDX-License-Identifier: MIT */
#include "unit/chase.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"

#define LINKS_MAX 40 /* as the kernel */

/* What is resolved, root in front, and what is left to do. */
struct chase {
    char done[PATH_MAX];
    size_t root_length, length;
    char *rest;
};

static int push(struct chase *chase, const char *component, size_t length)
{
    if (chase->length + length + 2 > sizeof(chase->done))
        return -ENAMETOOLONG;
    chase->done[chase->length++] = '/';
    memcpy(chase->done + chase->length, component, length);
    chase->length += length;
    chase->done[chase->length] = '\0';
    return 0;
}

static void pop(struct chase *chase)
{
    while (chase->length > chase->root_length && chase->done[--chase->length] != '/')
        ;
    chase->done[chase->length] = '\0';
}

/* Replaces the last component by what it links to; nothing when it is no link. 1 when it was one.
 */
static int follow(struct chase *chase, const char *rest)
{
    char target[PATH_MAX], *next = NULL;
    ssize_t length = readlink(chase->done, target, sizeof(target));

    if (length < 0)
        return errno == EINVAL || errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
    if ((size_t)length == sizeof(target))
        return -ENAMETOOLONG;
    target[length] = '\0';
    if (asprintf(&next, "%s/%s", target, rest) < 0)
        return -ENOMEM;
    free(chase->rest);
    chase->rest = next;
    pop(chase);
    if (target[0] == '/') {
        chase->length = chase->root_length;
        chase->done[chase->length] = '\0';
    }
    return 1;
}

/* Removes the first component of rest and acts on it. 1 when it was a link. */
static int step(struct chase *chase, const char **rest, bool keep_last)
{
    const char *component = *rest + strspn(*rest, "/");
    size_t length = strcspn(component, "/");
    const char *behind = component + length;

    *rest = behind + strspn(behind, "/");
    if (length == 0 || (length == 1 && component[0] == '.'))
        return 0;
    if (length == 2 && component[0] == '.' && component[1] == '.') {
        pop(chase);
        return 0;
    }
    int r = push(chase, component, length);
    if (r < 0 || (keep_last && **rest == '\0'))
        return r;
    return follow(chase, *rest);
}

int chase(const char *root, const char *path, bool keep_last, char **ret_path)
{
    struct chase chase = {.root_length = strlen(root)};
    int n_links = 0, r = 0;

    while (chase.root_length > 0 && root[chase.root_length - 1] == '/')
        chase.root_length--;
    if (chase.root_length >= sizeof(chase.done))
        return -ENAMETOOLONG;
    memcpy(chase.done, root, chase.root_length);
    chase.length = chase.root_length;
    chase.rest = strdup(path);
    if (!chase.rest)
        return -ENOMEM;
    for (const char *rest = chase.rest; *rest && r >= 0;) {
        r = step(&chase, &rest, keep_last);
        if (r > 0) {
            rest = chase.rest;
            if (++n_links > LINKS_MAX)
                r = -ELOOP;
        }
    }
    free(chase.rest);
    if (r < 0)
        return r;
    char *result = strdup(chase.length > 0 ? chase.done : "/");
    if (!result)
        return -ENOMEM;
    *ret_path = result;
    return 0;
}

int chase_below(const char *root, const char *path, char **ret_path)
{
    size_t length = strlen(root);

    if (length > 0 && strncmp(path, root, length) == 0 && path[length] == '/')
        return chase(root, path + length, false, ret_path);
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    *ret_path = copy;
    return 0;
}
