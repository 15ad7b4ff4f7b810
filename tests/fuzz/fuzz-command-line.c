/* SPDX-License-Identifier: MIT */
/* A line that parses gives commands that can be executed, and expands without any limit broken. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unit/command-line.h"
#include "unit/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *line = malloc(size + 3);
    const char *const environment[] = {line, "B=a 'b c", "B=x", NULL};
    cleanup(command_list_done) struct command_list list = {0};
    struct command_report report;

    if (!line)
        abort();
    memcpy(line, "A=", 2);
    if (size > 0)
        memcpy(line + 2, data, size);
    line[size + 2] = '\0';
    int r = command_line_parse(line + 2, NULL, &list, &report);
    if ((r < 0) != (report.fault != NULL) || (r < 0 && list.n > 0))
        abort();
    for (size_t i = 0; i < list.n; i++) {
        cleanup(string_list_done) struct string_list argv = {0};
        if (!list.items[i].program[0] || list.items[i].argv.n == 0 ||
            command_expand(&list.items[i], (char *const *)environment, &argv) < 0 || argv.n == 0)
            abort();
    }
    for (unsigned flags = 0; flags < 32; flags++) {
        cleanup(string_list_done) struct string_list words = {0};
        (void)words_split(line + 2, flags, &words);
    }
    return 0;
}
