/* SPDX-License-Identifier: MIT */
/* hark adopt: hand socket units from a running systemd to hark, without closing them. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "cli/adoption.h"
#include "cli/drop-in-file.h"
#include "cli/exit-status.h"
#include "cli/handover.h"
#include "cli/serve-options.h"
#include "cli/verbs.h"
#include "supervisor/log.h"

#define VERB    "adopt"
#define LETTERS "hy"

enum option_code {
    OPTION_HELP = 'h',
    OPTION_YES = 'y',
    OPTION_VERSION = 256,
    OPTION_DRY_RUN,
    OPTION_RUNTIME,
    OPTION_SANDBOXED,
    OPTION_USER,
};

static const struct option long_options[] = {
    {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
    {"help", no_argument, NULL, OPTION_HELP},
    {"runtime", no_argument, NULL, OPTION_RUNTIME},
    {"sandboxed", no_argument, NULL, OPTION_SANDBOXED},
    {"user", no_argument, NULL, OPTION_USER},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"yes", no_argument, NULL, OPTION_YES},
    {NULL, 0, NULL, 0},
};

struct adopt_options {
    struct handover_options handover;
    bool dry_run;
    bool yes;
};

static void print_help(void)
{
    printf("hark adopt [OPTION…] UNIT…\n\n"
           "Hand socket units that systemd runs to hark: a drop-in for each, and a reload of\n"
           "systemd. The sockets are never closed, and what runs goes on. \"hark release\"\n"
           "hands them back.\n\n"
           "      --dry-run    print the drop-in, change nothing\n"
           "      --runtime    until the next boot only\n"
           "      --sandboxed  serve in hark-sandboxed@.service, which has no rights: for\n"
           "                   handlers that need none\n"
           "      --user       units of the user's manager\n"
           "  -y, --yes        do not ask\n"
           "  -h, --help       show this help and exit\n"
           "      --version    show the version and exit\n\n"
           "hark(1) tells what changes for handlers and operators.\n");
}

/* 1 to go on, 0 to end, negative for a wrong option. */
static int take(struct adopt_options *options, int option)
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
    case OPTION_RUNTIME:
        options->handover.runtime = true;
        break;
    case OPTION_SANDBOXED:
        options->handover.sandboxed = true;
        break;
    case OPTION_USER:
        options->handover.user = true;
        break;
    default:
        options->yes = true;
        break;
    }
    return 1;
}

static int parse(struct adopt_options *options, int argc, char *argv[])
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
        return usage_error(VERB, "the units to adopt are missing");
    if (options->handover.user && options->handover.sandboxed)
        return usage_error(VERB, "--sandboxed is for units of the system, not with --user");
    return 1;
}

/* ---- What stands in the way ------------------------------------------------------------------ */

static int ask_fault(const struct handover *handover, const char *unit)
{
    log_error("cannot ask systemd for \"%s\": %s", unit, systemd_manager_fault(handover->manager));
    return EXIT_STATUS_FAILURE;
}

static int check_installed(const struct handover *handover)
{
    cleanup_free char *state = NULL;

    if (systemd_manager_text(handover->manager, handover->hark, "Unit", "LoadState", &state) < 0)
        return ask_fault(handover, handover->hark);
    if (strcmp(state, "loaded") == 0)
        return EXIT_STATUS_OK;
    log_error("systemd has no \"%s\" (its state is \"%s\"): is hark installed with its units, and "
              "does systemd know of them (\"systemctl daemon-reload\")?",
              handover->hark, state);
    return EXIT_STATUS_FAILURE;
}

/* Of a socket without Accept=: the service that hark is to run must not run by itself, nor have
 * sockets that systemd keeps. */
static int check_service(const struct handover *handover, const struct adoption *adoption)
{
    cleanup(string_list_done) struct string_list sockets = {0};
    cleanup_free char *active = NULL, *enabled = NULL;
    const char *service = adoption->unit->service;
    struct systemd_manager *manager = handover->manager;

    if (adoption->unit->accept)
        return EXIT_STATUS_OK;
    if (systemd_manager_text(manager, service, "Unit", "ActiveState", &active) < 0 ||
        systemd_manager_text(manager, service, "Unit", "UnitFileState", &enabled) < 0 ||
        systemd_manager_list(manager, service, "Unit", "TriggeredBy", &sockets) < 0)
        return ask_fault(handover, service);
    for (size_t i = 0; i < sockets.n; i++) {
        if (strcmp(sockets.items[i], handover->socket) == 0)
            continue;
        log_error("cannot adopt \"%s\": \"%s\" is also started by \"%s\", and hark takes over one "
                  "socket at a time",
                  handover->socket, service, sockets.items[i]);
        return EXIT_STATUS_UNITS;
    }
    if (strcmp(active, "inactive") != 0 && strcmp(active, "failed") != 0) {
        log_error("cannot adopt \"%s\" while \"%s\" runs: stop that first; the socket stays, and "
                  "clients wait",
                  handover->socket, service);
        return EXIT_STATUS_FAILURE;
    }
    if (strncmp(enabled, "enabled", strlen("enabled")) == 0)
        log_warning("\"%s\" is enabled: systemd starts it at boot, besides the one that hark runs; "
                    "\"systemctl disable %s\" ends that",
                    service, service);
    return EXIT_STATUS_OK;
}

/* Somebody else's file of the same name is not ours to replace. */
static int check_drop_in(const struct handover *handover, const struct adoption *adoption,
                         bool *ret_same)
{
    cleanup_free char *text = NULL;
    int r = drop_in_read(handover->drop_in, &text);

    *ret_same = r == 0 && strcmp(text, adoption->drop_in) == 0;
    if (r == -ENOENT || (r == 0 && strstr(text, handover->hark) != NULL))
        return EXIT_STATUS_OK;
    if (r == 0)
        log_error("\"%s\" is not from \"hark adopt\": rename it", handover->drop_in);
    else
        log_error("cannot read \"%s\": %s", handover->drop_in, strerror(-r));
    return EXIT_STATUS_FAILURE;
}

/* ---- Saying and asking ----------------------------------------------------------------------- */

static void explain(const struct handover *handover, const struct adoption *adoption)
{
    cleanup_free char *prefix =
        strndup(adoption->unit->service, strcspn(adoption->unit->service, "@."));
    const char *shown = prefix != NULL ? prefix : "", *at = adoption->unit->accept ? "@" : "";

    log_notice("connections of \"%s\" go to \"%s\" from now on; the socket stays open, and "
               "processes that run go on",
               handover->socket, handover->hark);
    log_notice("handlers run in the control group and security domain of that unit: limits of "
               "control groups and \"systemctl status\" or \"kill\" of %s%s… are gone, "
               "\"systemctl status %s\" has them all",
               shown, at, handover->hark);
    log_notice("the journal has them under \"journalctl -u %s\", not under _SYSTEMD_UNIT=%s%s…",
               handover->hark, shown, at);
    if (adoption->limits_by_itself)
        log_warning("TriggerLimitIntervalSec= and TriggerLimitBurst= of \"%s\" are without effect "
                    "while hark has it",
                    handover->socket);
}

/* Without a terminal there is nobody to ask. */
static bool is_wanted(const struct adopt_options *options, const struct handover *handover)
{
    int answer, rest;

    if (options->yes || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return true;
    fprintf(stderr, "Adopt %s? [y/N] ", handover->socket);
    answer = rest = getchar();
    while (rest != '\n' && rest != EOF)
        rest = getchar();
    return answer == 'y' || answer == 'Y';
}

static int adopt_locked(const struct adopt_options *options, struct handover *handover,
                        const struct adoption *adoption)
{
    struct handover_state state;
    bool same;
    int status = handover_look(handover, &state);

    if (status == EXIT_STATUS_OK)
        status = check_drop_in(handover, adoption, &same);
    if (status != EXIT_STATUS_OK)
        return status;
    if (same && state.is_harks && !state.needs_reload) {
        log_notice("\"%s\" is adopted already, by \"%s\"", handover->socket, handover->hark);
        return EXIT_STATUS_OK;
    }
    if (state.is_active && state.needs_reload && !same) {
        log_error(
            "cannot adopt \"%s\": its files have changed since systemd read them, and to read "
            "them again might close its sockets; do \"systemctl daemon-reload\" first",
            handover->socket);
        return EXIT_STATUS_FAILURE;
    }
    if (!state.is_harks)
        status = check_service(handover, adoption);
    if (status != EXIT_STATUS_OK)
        return status;
    explain(handover, adoption);
    if (!is_wanted(options, handover)) {
        log_notice("nothing was changed");
        return EXIT_STATUS_FAILURE;
    }
    status = handover_give(handover, adoption->drop_in);
    if (status == EXIT_STATUS_OK)
        log_notice("adopted \"%s\", by \"%s\"", handover->socket, handover->drop_in);
    return status;
}

static int adopt(const struct adopt_options *options, const char *name)
{
    cleanup(handover_done) struct handover handover;
    cleanup(adoption_done) struct adoption adoption = {0};
    bool as_nobody;
    int status = handover_open(&options->handover, name, &handover);

    if (status == EXIT_STATUS_OK)
        status = adoption_load(&handover, &adoption);
    if (status != EXIT_STATUS_OK)
        return status;
    if (options->handover.sandboxed && strncmp(handover.hark, "hark-", strlen("hark-")) != 0) {
        log_error("\"%s\" is adopted by \"%s\" already; release it first", handover.socket,
                  handover.hark);
        return EXIT_STATUS_FAILURE;
    }
    as_nobody = options->handover.sandboxed && geteuid() == 0;
    status = adoption_check(&adoption, &handover, as_nobody);
    if (status != EXIT_STATUS_OK)
        return status;
    if (options->dry_run) {
        log_notice("this would go to \"%s\":", handover.drop_in);
        fputs(adoption.drop_in, stdout);
        return EXIT_STATUS_OK;
    }
    status = check_installed(&handover);
    if (status == EXIT_STATUS_OK)
        status = handover_lock(&handover);
    return status == EXIT_STATUS_OK ? adopt_locked(options, &handover, &adoption) : status;
}

int verb_adopt(int argc, char *argv[])
{
    struct adopt_options options = {0};
    int r = parse(&options, argc, argv), status = EXIT_STATUS_OK;

    if (r < 0)
        return EXIT_STATUS_USAGE;
    for (int i = optind; r > 0 && i < argc; i++) {
        int one = adopt(&options, argv[i]);
        status = status == EXIT_STATUS_OK ? one : status;
    }
    return status;
}
