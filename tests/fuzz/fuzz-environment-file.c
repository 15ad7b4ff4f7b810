/* SPDX-License-Identifier: MIT */
/* Whatever a file holds: each name comes out once, and is a name. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "unit/environment-file.h"
#include "unit/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct environment_file file;
    unsigned line = 0;

    if (environment_file_parse((const char *)data, size, &file, &line) < 0) {
        if (line == 0)
            abort();
        return 0;
    }
    for (size_t i = 0; i < file.variables.n; i++) {
        const char *variable = file.variables.items[i];
        size_t length = strcspn(variable, "=") + 1;
        if (!text_is_variable_name(variable, length - 1))
            abort();
        for (size_t k = 0; k < i; k++)
            if (strncmp(file.variables.items[k], variable, length) == 0)
                abort();
    }
    environment_file_done(&file);
    return 0;
}
