/* SPDX-License-Identifier: MIT */
#include "libhark/passed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "basic/cleanup.h"
#include "libhark/hark.h"

struct names {
    char **list; /* n of them, and NULL; or NULL */
    int n;       /* of descriptors */
};

static void names_done(struct names *names)
{
    if (names->list)
        for (char **name = names->list; *name; name++)
            free(*name);
    free(names->list);
}

/* The number of descriptors, or a negative errno. */
static int names_read(struct names *names)
{
    int n = sd_listen_fds_with_names(0, &names->list);

    if (n >= 0)
        names->n = n;
    return n;
}

int hark_passed_fds(struct hark_passed **ret_passed, size_t *ret_n)
{
    cleanup(names_done) struct names names = {0};
    struct hark_passed *passed = NULL;

    if (!ret_passed || !ret_n)
        return -EINVAL;
    int n = names_read(&names);
    if (n < 0)
        return n;
    if (n > 0) {
        passed = calloc((size_t)n, sizeof(*passed));
        if (!passed)
            return -ENOMEM;
    }
    /* Without LISTEN_FDNAMES sd_listen_fds_with_names() calls them all "unknown". */
    bool named = getenv("LISTEN_FDNAMES") != NULL;
    for (int i = 0; i < n; i++) {
        passed[i].fd = SD_LISTEN_FDS_START + i;
        if (named) {
            passed[i].name = names.list[i];
            names.list[i] = NULL;
        }
    }
    if (named && n > 0) { /* all handed over */
        free(names.list);
        names.list = NULL;
    }
    *ret_passed = passed;
    *ret_n = (size_t)n;
    return 0;
}

struct hark_passed *hark_passed_free(struct hark_passed *passed, size_t n)
{
    for (size_t i = 0; passed && i < n; i++) {
        fd_close(passed[i].fd);
        free(passed[i].name);
    }
    free(passed);
    return NULL;
}

int passed_find(const char *name, int *ret_fd)
{
    cleanup(names_done) struct names names = {0};
    int n = names_read(&names);

    if (n < 0)
        return n;
    for (int i = 0; i < n && getenv("LISTEN_FDNAMES"); i++)
        if (strcmp(names.list[i], name) == 0) {
            *ret_fd = SD_LISTEN_FDS_START + i;
            return 0;
        }
    return -ENOENT;
}
