/* SPDX-License-Identifier: MIT */
#include "cli/handler-environment.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"

static const char *const inherited[] = {"TERM", "PATH", "USER", "HOME"};

#define N_INHERITED (sizeof(inherited) / sizeof(inherited[0]))

char **handler_environment_free(char **list)
{
    for (char **item = list; item != NULL && *item != NULL; item++)
        free(*item);
    free(list);
    return NULL;
}

static void list_cleanup(char ***list)
{
    handler_environment_free(*list);
}

/* Sets NAME=VALUE; what is behind it in the list wins over what was there before. */
static int set(char **list, const char *name, size_t length, const char *value)
{
    char *assignment, **place = list;

    if (asprintf(&assignment, "%.*s=%s", (int)length, name, value) < 0)
        return -ENOMEM;
    while (*place != NULL && (strncmp(*place, name, length) != 0 || (*place)[length] != '='))
        place++;
    free(*place);
    *place = assignment;
    return 0;
}

static int set_from_own(char **list, const char *name)
{
    const char *value = getenv(name);

    return value == NULL ? 0 : set(list, name, strlen(name), value);
}

static int set_listen_variables(const struct handler_environment *environment, char **list)
{
    char number[24];

    if (environment->n_listen_fds == 0)
        return 0;
    (void)snprintf(number, sizeof(number), "%zu", environment->n_listen_fds);
    int r = set(list, "LISTEN_FDS", strlen("LISTEN_FDS"), number);
    if (r < 0 || environment->fd_names == NULL)
        return r;
    return set(list, "LISTEN_FDNAMES", strlen("LISTEN_FDNAMES"), environment->fd_names);
}

int handler_environment_build(const struct handler_environment *environment, char ***ret_list)
{
    cleanup(list_cleanup) char **list =
        calloc(N_INHERITED + environment->n_setenv + 3, sizeof(*list));
    int r = 0;

    if (list == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < N_INHERITED && r >= 0; i++)
        r = set_from_own(list, inherited[i]);
    for (size_t i = 0; i < environment->n_setenv && r >= 0; i++) {
        const char *text = environment->setenv[i], *equals = strchr(text, '=');

        r = equals == NULL ? set_from_own(list, text)
                           : set(list, text, (size_t)(equals - text), equals + 1);
    }
    if (r >= 0)
        r = set_listen_variables(environment, list);
    if (r < 0)
        return r;
    *ret_list = take_pointer(&list);
    return 0;
}
