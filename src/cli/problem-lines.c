/* SPDX-License-Identifier: MIT */
#include "cli/problem-lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "basic/cleanup.h"
#include "cli/safe-text.h"

char *problem_line(const struct problem *problem)
{
    const char *severity = problem->severity == PROBLEM_ERROR ? "error" : "warning";
    cleanup_free char *line = NULL;
    int r;

    if (!problem->file)
        r = asprintf(&line, "%s: %s", severity, problem->text);
    else if (problem->line == 0)
        r = asprintf(&line, "%s: %s: %s", problem->file, severity, problem->text);
    else
        r = asprintf(&line, "%s:%u: %s: %s", problem->file, problem->line, severity, problem->text);
    if (r < 0) {
        line = NULL; /* undefined by asprintf(3) */
        return NULL;
    }
    return safe_text(line, 0);
}

int problem_lines(const struct problems *problems,
                  void (*write)(enum problem_severity severity, const char *line),
                  struct problem_counts *ret_counts)
{
    struct problem_counts counts = {0};

    for (size_t i = 0; i < problems->n; i++) {
        const struct problem *problem = &problems->list[i];
        if (problems_is_repeated(problems, i))
            continue;
        cleanup_free char *line = problem_line(problem);
        if (!line)
            return -ENOMEM;
        write(problem->severity, line);
        if (problem->severity == PROBLEM_ERROR)
            counts.n_errors++;
        else
            counts.n_warnings++;
    }
    if (problems->n_dropped > 0) {
        char line[96];
        (void)snprintf(line, sizeof(line), "error: %zu more problems are not listed",
                       problems->n_dropped);
        write(PROBLEM_ERROR, line);
    }
    *ret_counts = counts;
    return 0;
}
