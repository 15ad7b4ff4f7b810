/* SPDX-License-Identifier: MIT */
#include "cli/adoption.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "basic/parse.h"
#include "cli/exit-status.h"
#include "cli/preflight.h"
#include "cli/problem-lines.h"
#include "exec/unit-plans.h"
#include "supervisor/log.h"

#define NOBODY 65534

#define DROP_IN                                                                                    \
    "# Written by \"hark adopt\"; \"hark release %s\" undoes it.\n"                                \
    "[Socket]\nAccept=no\nService=%s\nTriggerLimitIntervalSec=0\n\n"                               \
    "[X-Hark]\nAccept=%s\nService=%s\n"

static int out_of_memory(void)
{
    log_error("out of memory");
    return EXIT_STATUS_FAILURE;
}

void adoption_done(struct adoption *adoption)
{
    unit_set_free(adoption->set);
    problems_done(&adoption->problems);
    free(adoption->drop_in);
}

static void write_problem(enum problem_severity severity, const char *line)
{
    log_line(severity == PROBLEM_ERROR ? LOG_ERR : LOG_WARNING, "%s", line);
}

static int tell_problems(struct problems *problems, const struct handover *handover)
{
    struct problem_counts counts;

    problems_sort(problems);
    if (problem_lines(problems, write_problem, &counts) < 0)
        return out_of_memory();
    if (problems->n_errors == 0)
        return EXIT_STATUS_OK;
    log_error("hark cannot serve \"%s\"; \"hark check %s%s\" tells more", handover->socket,
              handover->user ? "--user " : "", handover->socket);
    return EXIT_STATUS_UNITS;
}

static int load(const struct handover *handover, struct problems *problems,
                struct unit_set **ret_set)
{
    const char *const names[] = {handover->socket};
    const struct string_list none = {0};
    const struct unit_set_options options = {.user = handover->user, .ignore = &none};

    return unit_set_load(&options, names, 1, problems, ret_set);
}

/* The unit's own, which the drop-in overrides. */
static void read_own_limit(struct adoption *adoption, const struct handover *handover)
{
    const struct unit_file *file = adoption->unit->file;
    uint64_t interval = 2 * USEC_PER_SEC, burst = adoption->unit->accept ? 200 : 20;

    for (size_t i = 0; i < file->n_uses; i++) {
        const struct directive_use *use = &file->uses[i];
        bool is_burst = strcmp(use->key, "TriggerLimitBurst") == 0;
        if (use->section != SECTION_SOCKET || strcmp(use->file, handover->drop_in) == 0 ||
            (!is_burst && strcmp(use->key, "TriggerLimitIntervalSec") != 0))
            continue;
        adoption->limits_by_itself = true;
        if (is_burst)
            (void)parse_unsigned(use->value, UINT32_MAX, &burst);
        else
            (void)parse_time_span(use->value, &interval);
    }
    adoption->own_limit = (struct rate_limit){interval, (unsigned)burst};
}

int adoption_load(const struct handover *handover, struct adoption *ret_adoption)
{
    struct adoption *adoption = ret_adoption;

    *adoption = (struct adoption){0};
    if (load(handover, &adoption->problems, &adoption->set) < 0)
        return out_of_memory();
    if (adoption->problems.n_errors > 0 || adoption->set->n_sockets == 0) {
        int status = tell_problems(&adoption->problems, handover);
        return status != EXIT_STATUS_OK ? status : EXIT_STATUS_UNITS;
    }
    adoption->unit = adoption->set->sockets[0].unit;
    read_own_limit(adoption, handover);
    if (asprintf(&adoption->drop_in, DROP_IN, handover->socket, handover->hark,
                 adoption->unit->accept ? "yes" : "no", adoption->unit->service) < 0)
        return out_of_memory();
    return EXIT_STATUS_OK;
}

static int check(const struct unit_set *set, struct problems *problems,
                 const struct handover *handover)
{
    struct unit_plans *plans = NULL;
    int r = preflight(set, problems, &plans);

    unit_plans_free(plans);
    return r < 0 ? out_of_memory() : tell_problems(problems, handover);
}

/* In a child without rights, where users, groups and limits cannot be what the unit wants. */
static int check_as_nobody(const struct adoption *adoption, const struct handover *handover)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        struct problems problems = {0};
        if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
            setresuid(NOBODY, NOBODY, NOBODY) < 0) {
            log_error("cannot become an ordinary user for a check: %s", strerror(errno));
            _exit(EXIT_STATUS_FAILURE);
        }
        _exit(check(adoption->set, &problems, handover));
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status)) {
        log_error("cannot check \"%s\" as an ordinary user", handover->socket);
        return EXIT_STATUS_FAILURE;
    }
    if (WEXITSTATUS(status) == EXIT_STATUS_UNITS)
        log_error("\"%s\" needs rights that \"%s\" does not have; adopt it without --sandboxed",
                  handover->socket, handover->hark);
    return WEXITSTATUS(status);
}

/* systemd 252 does not find a listener again, when it reads its units, whose path has a backslash.
 */
static const char *find_lost_listener(const struct socket_unit *unit)
{
    for (size_t i = 0; i < unit->listeners.n; i++)
        if (strchr(unit->listeners.items[i].address, '\\') != NULL)
            return unit->listeners.items[i].address;
    return NULL;
}

int adoption_check(struct adoption *adoption, const struct handover *handover, bool as_nobody)
{
    int status = check(adoption->set, &adoption->problems, handover);

    if (status != EXIT_STATUS_OK)
        return status;
    if (adoption->set->n_sockets > 1) {
        log_error("cannot adopt \"%s\": \"%s\" also has \"%s\", and hark takes over one socket at "
                  "a time",
                  handover->socket, adoption->unit->service, adoption->set->sockets[1].file->name);
        return EXIT_STATUS_UNITS;
    }
    const char *lost = find_lost_listener(adoption->unit);
    if (lost != NULL) {
        log_error(
            "cannot adopt \"%s\": systemd closes \"%s\" when it reads its units again, because "
            "of the backslash; listen at another path",
            handover->socket, lost);
        return EXIT_STATUS_UNITS;
    }
    return as_nobody ? check_as_nobody(adoption, handover) : EXIT_STATUS_OK;
}
