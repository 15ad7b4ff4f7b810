/* SPDX-License-Identifier: MIT */
#include "exec/exec-limits.h"

#include <inttypes.h>
#include <linux/capability.h>
#include <string.h>

#include "unit/process-values.h"

#define SOFT_FILES_MAX 1024 /* systemd's DefaultLimitNOFILE=1024:524288 */

size_t exec_limits_build(const struct exec_request *request,
                         struct spawn_limit limits[EXEC_LIMITS_MAX])
{
    const struct exec_limit *wanted = request->context->limits;
    struct rlimit now;
    size_t n = 0;

    if (exec_is_fully_privileged(request))
        return 0;
    for (int i = 0; i < RLIM_NLIMITS; i++)
        if (wanted[i].is_set)
            limits[n++] = (struct spawn_limit){.resource = i, .value = wanted[i].value};
    if (!wanted[RLIMIT_NOFILE].is_set && getrlimit(RLIMIT_NOFILE, &now) >= 0 &&
        now.rlim_cur > SOFT_FILES_MAX) {
        now.rlim_cur = SOFT_FILES_MAX;
        limits[n++] = (struct spawn_limit){.resource = RLIMIT_NOFILE, .value = now};
    }
    return n;
}

void exec_limits_check(const struct exec_request *request, struct problems *problems)
{
    const struct unit_file *unit = request->unit;
    struct rlimit now;
    int resource;

    if (exec_has_capability(CAP_SYS_RESOURCE) || exec_is_fully_privileged(request))
        return;
    for (size_t i = 0; i < unit->n_uses; i++) {
        const struct directive_use *use = &unit->uses[i];
        if (strncmp(use->key, "Limit", 5) != 0 || limit_from_key(use->key, &resource) < 0 ||
            unit_file_last_use(unit, use->section, use->key) != use)
            continue;
        const struct exec_limit *wanted = &request->context->limits[resource];
        if (wanted->is_set && getrlimit((unsigned)resource, &now) >= 0 &&
            wanted->value.rlim_max > now.rlim_max)
            exec_problem(request, problems, PROBLEM_WARNING, use->key,
                         "hark may not raise its own limit, so it is %ju at most",
                         (uintmax_t)now.rlim_max);
    }
}
