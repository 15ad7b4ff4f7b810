/* SPDX-License-Identifier: MIT */
/* Every parser of a value, with the same text; what is tidied stays tidy. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unit/process-values.h"
#include "unit/values.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse_numbers(const char *text)
{
    bool yes;
    int64_t integer;
    uint64_t number;
    uint32_t permyriad;
    mode_t mode;

    (void)value_boolean(text, &yes);
    (void)value_integer(text, INT64_MIN, INT64_MAX, &integer);
    (void)value_unsigned(text, UINT64_MAX, &number);
    (void)value_time(text, &number);
    (void)value_timeout(text, &number);
    (void)value_nanoseconds(text, &number);
    (void)parse_time_span(text, &number);
    (void)value_size(text, &number);
    (void)parse_mode(text, &mode);
    if (value_percent(text, false, &permyriad) == 0 && permyriad > 10000)
        abort();
}

static void parse_process(const char *text)
{
    static struct cpu_list cpus;
    struct exit_condition condition;
    struct rlimit limit;
    uint32_t groups;
    int value;

    (void)value_signal(text, &value);
    for (int resource = 0; resource < RLIM_NLIMITS; resource++)
        if (value_limit(resource, text, &limit) == 0 && limit.rlim_cur > limit.rlim_max)
            abort();
    (void)value_exit_condition(text, &condition);
    (void)value_nice(text, &value);
    (void)value_oom_score_adjust(text, &value);
    (void)value_io_class(text, &value);
    (void)value_io_priority(text, &value);
    (void)value_cpu_policy(text, &value);
    (void)value_cpu_priority(text, &value);
    (void)value_cpu_list(text, &cpus);
    (void)value_ip_tos(text, &value);
    (void)value_netlink(text, &value, &groups);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = malloc(size + 1), *path = NULL, *again = NULL;

    if (!text)
        abort();
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    parse_numbers(text);
    parse_process(text);
    (void)value_fd_name(text);
    if (value_path(text, &path) == 0 && (value_path(path, &again) < 0 || strcmp(path, again) != 0))
        abort();
    path_tidy(text);
    return 0;
}
