/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/parse.h"
#include "cli/control-client.h"
#include "cli/exit-status.h"
#include "cli/status-report.h"
#include "supervisor/log.h"

static void status_done(struct hark_status *status)
{
    free(status->name);
    free(status->path);
    json_decref(status->status);
    json_decref(status->handlers);
}

void statuses_done(struct hark_statuses *statuses)
{
    for (size_t i = 0; i < statuses->n; i++)
        status_done(&statuses->list[i]);
    free(statuses->list);
    *statuses = (struct hark_statuses){0};
}

bool status_is_serving(const struct hark_status *status)
{
    const char *state = answer_text(status->status, "state");

    return strcmp(state, "serving") == 0 || strcmp(state, "reloading") == 0;
}

static int get_handlers(struct hark_control *control, uint64_t timeout_usec, json_t **ret_handlers,
                        struct string_list *problems)
{
    const struct control_request request = {.method = "ListHandlers", .timeout_usec = timeout_usec};
    cleanup(varlink_json_unref) json_t *answer = NULL;
    int r = control_call(control, &request, &answer, problems);

    if (r < 0)
        return r;
    *ret_handlers = json_incref(json_object_get(answer, "handlers"));
    return 0;
}

static int get_status(struct hark_control *control, const struct status_query *query,
                      struct hark_status *ret_status, struct string_list *problems)
{
    const struct control_request request = {.method = "GetStatus",
                                            .timeout_usec = query->timeout_usec};
    int r = control_call(control, &request, &ret_status->status, problems);
    const char *name = answer_text(ret_status->status, "name");

    ret_status->name = strdup(*name != '\0' ? name : control->name);
    ret_status->path = strdup(control->path);
    if (r == 0 && query->handlers)
        r = get_handlers(control, query->timeout_usec, &ret_status->handlers, problems);
    return ret_status->name && ret_status->path ? r : -ENOMEM;
}

int statuses_get(const struct status_query *query, struct hark_statuses *ret_statuses,
                 struct string_list *problems)
{
    cleanup(control_list_done) struct control_list controls = {0};
    cleanup(statuses_done) struct hark_statuses statuses = {0};
    int result = 0, r = control_find(query->argument, query->timeout_usec, &controls);

    if (r < 0)
        return r;
    if (controls.n == 0) {
        r = string_list_add(problems, NO_HARK_TEXT);
        *ret_statuses = statuses;
        return r < 0 ? r : -ENOENT;
    }
    statuses.list = calloc(controls.n, sizeof(statuses.list[0]));
    if (!statuses.list)
        return -ENOMEM;
    for (size_t i = 0; i < controls.n; i++) {
        r = get_status(&controls.list[i], query, &statuses.list[statuses.n++], problems);
        if (r == -ENOMEM)
            return r;
        if (result == 0)
            result = r;
    }
    *ret_statuses = statuses;
    statuses = (struct hark_statuses){0};
    return result;
}

static size_t environment_number(const char *name)
{
    const char *text = getenv(name);
    uint64_t value;

    return text && parse_unsigned(text, 10000, &value) == 0 ? (size_t)value : 0;
}

void status_screen(struct screen *ret_screen, size_t *ret_rows)
{
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    struct screen screen = {.out = stdout, .columns = environment_number("COLUMNS")};
    struct winsize size = {0};
    size_t rows = 0;

    if (isatty(STDOUT_FILENO)) {
        bool is_able = terminal && *terminal != '\0' && strcmp(terminal, "dumb") != 0;
        screen.has_styles = is_able && !(no_color && *no_color != '\0');
        (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
        if (is_able)
            rows = size.ws_row > 0 ? size.ws_row : 24;
        if (screen.columns == 0)
            screen.columns = size.ws_col > 0 ? size.ws_col : 80;
    }
    *ret_screen = screen;
    if (ret_rows)
        *ret_rows = rows;
}

int status_end(int result, const struct string_list *problems)
{
    for (size_t i = 0; i < problems->n; i++)
        log_error("%s", problems->items[i]);
    if (result == -ENOMEM)
        log_error("out of memory");
    if (result == -ENOENT || result == -ECONNREFUSED)
        return EXIT_STATUS_NOT_RUNNING;
    return result < 0 ? EXIT_STATUS_FAILURE : EXIT_STATUS_OK;
}
