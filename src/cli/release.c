/* SPDX-License-Identifier: MIT */
/* hark release: hand socket units back to systemd. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "cli/adoption.h"
#include "cli/drop-in-file.h"
#include "cli/exit-status.h"
#include "cli/handover.h"
#include "cli/serve-options.h"
#include "cli/verbs.h"
#include "supervisor/log.h"

#define VERB    "release"
#define LETTERS "h"

#define DEFAULT_TIMEOUT (5 * USEC_PER_SEC)
#define SAMPLE_USEC     USEC_PER_SEC

enum option_code {
    OPTION_HELP = 'h',
    OPTION_VERSION = 256,
    OPTION_DRY_RUN,
    OPTION_NOW,
    OPTION_TIMEOUT,
    OPTION_USER,
};

static const struct option long_options[] = {
    {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
    {"help", no_argument, NULL, OPTION_HELP},
    {"now", no_argument, NULL, OPTION_NOW},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"user", no_argument, NULL, OPTION_USER},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

struct release_options {
    struct handover_options handover;
    bool dry_run;
    bool now;
    uint64_t timeout_usec;
};

static void print_help(void)
{
    printf("hark release [OPTION…] UNIT…\n\n"
           "Hand adopted socket units back to systemd. Handlers that run go on; clients wait\n"
           "for a moment, and none is lost. A socket with more traffic than systemd stands\n"
           "stays with hark: the status is 75 then.\n\n"
           "      --dry-run       say what would be done, change nothing\n"
           "      --now           restart the socket if there is no other way: clients that\n"
           "                      wait are reset, and for a moment refused\n"
           "      --timeout=TIME  how long clients may have to wait (5s)\n"
           "      --user          units of the user's manager\n"
           "  -h, --help          show this help and exit\n"
           "      --version       show the version and exit\n\n"
           "hark(1) tells how, and what can be promised.\n");
}

/* 1 to go on, 0 to end, negative for a wrong option. */
static int take(struct release_options *options, int option)
{
    switch (option) {
    case OPTION_HELP:
        print_help();
        return 0;
    case OPTION_VERSION:
        printf("hark %s\n", HARK_VERSION);
        return 0;
    case OPTION_DRY_RUN:
        options->dry_run = true;
        break;
    case OPTION_NOW:
        options->now = true;
        break;
    case OPTION_TIMEOUT: {
        int r = take_time(VERB, "timeout", optarg, &options->timeout_usec);
        return r < 0 ? r : 1;
    }
    default:
        options->handover.user = true;
        break;
    }
    return 1;
}

static int parse(struct release_options *options, int argc, char *argv[])
{
    int option;

    opterr = 0; /* the messages are our own */
    optind = 0;
    while ((option = getopt_long(argc, argv, ":" LETTERS, long_options, NULL)) >= 0) {
        if (option == ':' || option == '?')
            return option_error(VERB, option, argv, LETTERS);
        int r = take(options, option);
        if (r <= 0)
            return r;
    }
    if (optind == argc)
        return usage_error(VERB, "the units to release are missing");
    if (options->timeout_usec > UINT64_MAX / 4)
        options->timeout_usec = UINT64_MAX / 4; /* "infinity" */
    return 1;
}

/* ---- Too much for systemd -------------------------------------------------------------------- */

/* How many handlers have ended, by hark's status line: -1 when that does not say. */
static long count_done(const struct handover *handover)
{
    cleanup_free char *text = NULL;
    char *end;

    if (systemd_manager_text(handover->manager, handover->hark, "Service", "StatusText", &text) < 0)
        return -1;
    char *done = strstr(text, " done");
    while (done != NULL && done > text && done[-1] >= '0' && done[-1] <= '9')
        done--;
    long n = done != NULL ? strtol(done, &end, 10) : -1;
    return n >= 0 && end != done ? n : -1;
}

/* Systemd shuts a socket for good that has more traffic than its trigger limit. */
static bool is_too_much(const struct handover *handover, const struct rate_limit *limit)
{
    uint64_t begin = monotonic_usec();
    long before = count_done(handover), after;

    if (limit->interval == 0 || limit->burst == 0 || before < 0)
        return false;
    (void)usleep(SAMPLE_USEC);
    after = count_done(handover);
    if (after < before)
        return false;
    double seconds = (double)(monotonic_usec() - begin) / (double)USEC_PER_SEC;
    double rate = (double)(after - before) / seconds;
    double most = (double)limit->burst / ((double)limit->interval / (double)USEC_PER_SEC);
    if (rate < most)
        return false;
    log_error("\"%s\" is still adopted: too busy; it has %.0f connections a second, and systemd "
              "shuts it for good at %.0f (TriggerLimitBurst=)",
              handover->socket, rate, most);
    return true;
}

/* ---- Releasing ------------------------------------------------------------------------------- */

static int release_softly(const struct release_options *options, struct handover *handover,
                          const struct adoption *adoption)
{
    if (is_too_much(handover, &adoption->own_limit))
        return EXIT_STATUS_TOO_BUSY;
    int status = handover_take_back(handover, adoption->drop_in, options->timeout_usec);
    if (status == EXIT_STATUS_TOO_BUSY)
        log_error("\"%s\" is still adopted: too busy; try again when it has fewer clients, with a "
                  "longer --timeout=, or with --now, which restarts the socket",
                  handover->socket);
    return status;
}

/* Whether the drop-in is hark's: 1, 0 when there is none, negative after it has said that it is
 * not. */
static int has_drop_in(const struct handover *handover)
{
    cleanup_free char *text = NULL;
    int r = drop_in_read(handover->drop_in, &text);

    if (r == -ENOENT)
        return 0;
    if (r == 0 && strstr(text, handover->hark) != NULL)
        return 1;
    if (r == 0)
        log_error("\"%s\" is not from \"hark adopt\": remove it by hand", handover->drop_in);
    else
        log_error("cannot read \"%s\": %s", handover->drop_in, strerror(-r));
    return -EPERM;
}

static int release_locked(const struct release_options *options, struct handover *handover)
{
    cleanup(adoption_done) struct adoption adoption = {0};
    struct handover_state state;
    int status = handover_look(handover, &state), drop_in = has_drop_in(handover);

    if (status != EXIT_STATUS_OK || drop_in < 0)
        return EXIT_STATUS_FAILURE;
    /* What one that was killed has left: nobody accepts. */
    bool is_stuck = state.accept && state.is_running;
    if (drop_in == 0 && !state.is_harks && !is_stuck) {
        log_notice("\"%s\" is not adopted", handover->socket);
        return EXIT_STATUS_OK;
    }
    if (options->dry_run) {
        log_notice("this would remove \"%s\" and give \"%s\" back to systemd", handover->drop_in,
                   handover->socket);
        return EXIT_STATUS_OK;
    }
    if (options->now) {
        status = handover_take_back_now(handover);
    } else {
        status = adoption_load(handover, &adoption);
        if (status == EXIT_STATUS_OK && (is_stuck || drop_in == 0))
            status = handover_give(handover, adoption.drop_in);
        if (status == EXIT_STATUS_OK)
            status = release_softly(options, handover, &adoption);
    }
    if (status == EXIT_STATUS_OK)
        log_notice("released \"%s\": systemd accepts its connections", handover->socket);
    return status;
}

static int release(const struct release_options *options, const char *name)
{
    cleanup(handover_done) struct handover handover;
    int status = handover_open(&options->handover, name, &handover);

    if (status == EXIT_STATUS_OK && !options->dry_run)
        status = handover_lock(&handover);
    return status == EXIT_STATUS_OK ? release_locked(options, &handover) : status;
}

int verb_release(int argc, char *argv[])
{
    struct release_options options = {.timeout_usec = DEFAULT_TIMEOUT};
    int r = parse(&options, argc, argv), status = EXIT_STATUS_OK;

    if (r < 0)
        return EXIT_STATUS_USAGE;
    for (int i = optind; r > 0 && i < argc; i++) {
        int one = release(&options, argv[i]);
        status = status == EXIT_STATUS_OK ? one : status;
    }
    return status;
}
