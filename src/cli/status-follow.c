/* SPDX-License-Identifier: MIT */
/* hark status --follow: each exit of a handler, as it happens. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "cli/control-client.h"
#include "cli/exit-status.h"
#include "cli/safe-text.h"
#include "cli/status-report.h"
#include "supervisor/log.h"

struct follower {
    struct control_list controls;
    struct pollfd *fds; /* of each; -1: it has ended */
    size_t n_open;
    bool is_json;
    struct screen screen;
};

static void follower_done(struct follower *follower)
{
    control_list_done(&follower->controls);
    free(follower->fds);
}

static int begin(struct follower *follower, const struct status_query *query,
                 struct string_list *problems)
{
    const struct control_request request = {.method = "FollowExits",
                                            .timeout_usec = query->timeout_usec};
    int result = 0, r = control_find(query->argument, query->timeout_usec, &follower->controls);

    if (r < 0)
        return r;
    if (follower->controls.n == 0) {
        r = string_list_add(problems, NO_HARK_TEXT);
        return r < 0 ? r : -ENOENT;
    }
    follower->fds = calloc(follower->controls.n, sizeof(follower->fds[0]));
    if (!follower->fds)
        return -ENOMEM;
    for (size_t i = 0; i < follower->controls.n; i++) {
        struct hark_control *control = &follower->controls.list[i];
        r = control_more(control, &request, problems);
        if (r == -ENOMEM)
            return r;
        if (result == 0)
            result = r;
        follower->fds[i].fd = r == 0 ? varlink_client_fd(control->client) : -1;
        follower->fds[i].events = POLLIN;
        follower->n_open += r == 0;
    }
    return result;
}

static int print_json(const struct hark_control *control, const json_t *answer)
{
    cleanup(varlink_json_unref) json_t *line = json_pack("{s:s}", "hark", control->name);

    if (!line || json_object_update(line, (json_t *)answer) < 0)
        return -ENOMEM;
    (void)json_dumpf(line, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
    (void)fputc('\n', stdout);
    return 0;
}

static int print(const struct follower *follower, const struct hark_control *control,
                 const json_t *answer)
{
    const json_t *exit = json_object_get(answer, "exit");
    int64_t lost = answer_integer(answer, "lost");
    const char *name = follower->controls.n > 1 ? control->name : NULL;
    cleanup_free char *shown = safe_text(control->name, 60);

    if (!shown)
        return -ENOMEM;
    if (!json_is_object(exit) && lost <= 0)
        return 0; /* only that it has begun */
    if (follower->is_json)
        return print_json(control, answer);
    if (lost > 0)
        printf("hark \"%s\": %lld exit%s left out, because they were not read in time\n", shown,
               (long long)lost, lost == 1 ? " was" : "s were");
    return json_is_object(exit) ? status_print_exit(exit, name, &follower->screen) : 0;
}

/* All that one has sent. Whatever ends a stream is said, and does not end the others. */
static int receive(struct follower *follower, size_t i, struct string_list *problems)
{
    struct hark_control *control = &follower->controls.list[i];

    for (;;) {
        cleanup(varlink_json_unref) json_t *answer = NULL;
        int r = control_receive(control, 0, &answer, problems);
        if (r == 0)
            return 0;
        if (r < 0) {
            follower->fds[i].fd = -1;
            follower->n_open--;
            return r == -ENODATA || r == -ECONNRESET ? 0 : r;
        }
        r = print(follower, control, answer);
        if (r < 0)
            return r;
    }
}

static int follow(struct follower *follower, struct string_list *problems)
{
    int result = 0;

    while (follower->n_open > 0 && !ferror(stdout)) {
        if (poll(follower->fds, follower->controls.n, -1) < 0 && errno != EINTR)
            return -errno;
        for (size_t i = 0; i < follower->controls.n; i++) {
            int r = 0;
            if (follower->fds[i].fd >= 0 && follower->fds[i].revents != 0)
                r = receive(follower, i, problems);
            if (r == -ENOMEM)
                return r;
            if (result == 0)
                result = r;
        }
        if (fflush(stdout) != 0)
            return 0; /* main() says so */
    }
    return result;
}

int status_follow(const struct status_query *query, bool is_json)
{
    cleanup(string_list_done) struct string_list problems = {0};
    cleanup(follower_done) struct follower follower = {.is_json = is_json};
    int r = begin(&follower, query, &problems);

    status_screen(&follower.screen, NULL);
    if (r < 0 && follower.n_open == 0)
        return status_end(r, &problems);
    int end = follow(&follower, &problems);
    return status_end(r < 0 ? r : end, &problems);
}
