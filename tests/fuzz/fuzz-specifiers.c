/* SPDX-License-Identifier: MIT */
/* Any text with specifiers, for the unit name before the first NUL; and names escaped and back. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "unit/specifiers.h"
#include "unit/unit-name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_escape(const char *text)
{
    char *escaped, *again;

    if (unit_name_escape(text, &escaped) < 0 || !unit_instance_is_valid(escaped) ||
        unit_name_unescape(escaped, &again) < 0 || strcmp(again, text) != 0)
        abort();
    free(escaped);
    free(again);
    if (unit_name_path_escape(text, &escaped) == 0) {
        if (unit_name_path_unescape(escaped, &again) < 0)
            abort();
        free(escaped);
        free(again);
    }
    if (unit_name_path_unescape(text, &again) == 0) {
        if (again[0] != '/')
            abort();
        free(again);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *input = calloc(1, size + 2), *expanded;

    if (!input)
        abort();
    if (size > 0)
        memcpy(input, data, size);
    const char *text = input + strlen(input) + 1;
    struct specifier_context context = {.unit = input, .fragment = "/x/y", .max_length = 255};
    check_escape(input);
    for (int set = SPECIFIERS_FULL; size > strlen(input) && set <= SPECIFIERS_UNIT_NAME; set++) {
        if (unit_name_classify(input) == UNIT_NAME_INVALID)
            context.unit = "a-b@c-d.service";
        int r = specifiers_expand(text, (enum specifier_set)set, &context, &expanded);
        if ((r == -EBADSLT) != !!specifiers_find_unknown(text, (enum specifier_set)set))
            abort();
        if (r == 0 && strlen(expanded) > context.max_length)
            abort();
        if (r == 0)
            free(expanded);
    }
    free(input);
    return 0;
}
