/* SPDX-License-Identifier: MIT */
/* hark status for programs: what each hark answers, as it is. */
#include <errno.h>

#include "basic/cleanup.h"
#include "cli/status-report.h"
#include "varlink/varlink-message.h"

int status_print_json(const struct hark_statuses *statuses, FILE *out)
{
    cleanup(varlink_json_unref) json_t *array = json_array();

    for (size_t i = 0; array && i < statuses->n; i++) {
        const struct hark_status *status = &statuses->list[i];
        if (!status->status)
            continue;
        if (status->handlers && json_object_set(status->status, "handlers", status->handlers) < 0)
            return -ENOMEM;
        if (json_array_append(array, status->status) < 0)
            return -ENOMEM;
    }
    if (!array)
        return -ENOMEM;
    (void)json_dumpf(array, out, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15));
    (void)fputc('\n', out);
    return 0;
}
