/* SPDX-License-Identifier: MIT */
/* hark status --watch: the table again and again, in place where that is a terminal. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "basic/io.h"
#include "cli/exit-status.h"
#include "cli/status-report.h"

#define HIDE_CURSOR "\033[?25l"
#define SHOW_CURSOR "\033[?25h"
#define HOME        "\033[H"
#define CLEAR_LINE  "\033[K"
#define CLEAR_REST  "\033[J"

static void show_cursor(void)
{
    (void)!write(STDOUT_FILENO, SHOW_CURSOR, strlen(SHOW_CURSOR));
}

/* From the keyboard it is how one leaves; other signals end as ever. */
static void leave(int number)
{
    show_cursor();
    if (number == SIGINT)
        _exit(EXIT_STATUS_OK);
    (void)raise(number); /* reset by SA_RESETHAND: comes when this returns */
}

/* The cursor is hidden again with the next frame. */
static void pause_here(int number)
{
    int saved = errno;

    (void)number;
    show_cursor();
    (void)raise(SIGSTOP);
    errno = saved;
}

/* Only to end the wait. */
static void notice(int number)
{
    (void)number;
}

static void catch_signals(void)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction action = {.sa_handler = leave, .sa_flags = (int)SA_RESETHAND};

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        (void)sigaction(ends[i], &action, NULL);
    action = (struct sigaction){.sa_handler = pause_here, .sa_flags = SA_RESTART};
    (void)sigaction(SIGTSTP, &action, NULL);
    action = (struct sigaction){.sa_handler = notice};
    (void)sigaction(SIGWINCH, &action, NULL);
    (void)sigaction(SIGCONT, &action, NULL);
}

/* One frame as text: what has answered, then what was wrong. */
static int draw(const struct hark_statuses *statuses, const struct string_list *problems,
                const struct screen *screen, char **ret_text)
{
    struct screen memory = *screen;
    char *text = NULL;
    size_t size;

    memory.out = open_memstream(&text, &size);
    if (!memory.out)
        return -ENOMEM;
    int r = status_print_table(statuses, &memory);
    for (size_t i = 0; i < problems->n; i++) {
        screen_put(&memory, STYLE_BAD, problems->items[i]);
        (void)fputc('\n', memory.out);
    }
    if (fclose(memory.out) != 0)
        r = -ENOMEM;
    if (r < 0) {
        free(text);
        return r;
    }
    *ret_text = text;
    return 0;
}

/* Over what was there before, without a flicker. No more lines than the terminal has: it would
 * scroll. */
static int show(const char *text, size_t rows)
{
    char *frame = NULL;
    size_t size, n = 0;
    FILE *out = open_memstream(&frame, &size);

    if (!out)
        return -ENOMEM;
    (void)fputs(HIDE_CURSOR HOME, out);
    for (; *text != '\0' && n + 1 < rows; n++) {
        size_t length = strcspn(text, "\n");
        (void)fprintf(out, "%.*s" CLEAR_LINE "\n", (int)length, text);
        text += length + (text[length] == '\n');
    }
    (void)fputs(CLEAR_REST, out);
    if (*text != '\0')
        (void)fputs("…", out);
    if (fclose(out) != 0) {
        free(frame);
        return -ENOMEM;
    }
    int r = write_all(STDOUT_FILENO, frame, size);
    free(frame);
    return r;
}

static int show_once(const struct hark_statuses *statuses, const struct string_list *problems,
                     bool is_first)
{
    cleanup_free char *text = NULL;
    struct screen screen;
    size_t rows;

    status_screen(&screen, &rows);
    int r = draw(statuses, problems, &screen, &text);
    if (r < 0)
        return r;
    if (rows > 0)
        return show(text, rows);
    if (printf("%s%s", is_first ? "" : "\n", text) < 0 || fflush(stdout) != 0)
        return -EIO;
    return 0;
}

/* Until the time has come or a signal has. */
static void wait_for_next(uint64_t interval_usec)
{
    const struct timespec time = {.tv_sec = (time_t)(interval_usec / USEC_PER_SEC),
                                  .tv_nsec = (long)(interval_usec % USEC_PER_SEC * 1000)};

    (void)nanosleep(&time, NULL);
}

int status_watch(const struct status_query *query, uint64_t interval_usec)
{
    for (bool is_first = true;; is_first = false) {
        cleanup(string_list_done) struct string_list problems = {0};
        cleanup(statuses_done) struct hark_statuses statuses = {0};
        int r = statuses_get(query, &statuses, &problems);
        bool has_any = false;

        for (size_t i = 0; i < statuses.n; i++)
            has_any |= statuses.list[i].status != NULL;
        /* Later it may come back. */
        if (r == -ENOMEM || (is_first && !has_any))
            return status_end(r, &problems);
        if (is_first && isatty(STDOUT_FILENO))
            catch_signals();
        r = show_once(&statuses, &problems, is_first);
        if (r < 0) /* main() says that nobody reads */
            return r == -ENOMEM ? status_end(r, &problems) : EXIT_STATUS_FAILURE;
        wait_for_next(interval_usec);
    }
}
