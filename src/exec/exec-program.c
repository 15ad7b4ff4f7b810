/* SPDX-License-Identifier: MIT */
#include "exec/exec-program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/executable.h"

/* Looked for with the rights of hark, as with systemd, not those of User=. -ENOENT and the like
 * also give a path: the first place where it could be. */
static int find_along_path(const char *name, char **ret_path)
{
    const char *directory = EXEC_DEFAULT_PATH;
    cleanup_free char *first = NULL;
    int result = -ENOENT;

    for (;;) {
        size_t length = strcspn(directory, ":");
        cleanup_free char *path = NULL;
        if (asprintf(&path, "%.*s/%s", (int)length, directory, name) < 0) {
            path = NULL;
            return -ENOMEM;
        }
        int r = executable_check(path);
        if (r != -ENOENT && r != -ENOTDIR)
            result = r;
        if (!first || r == 0) {
            free(first);
            first = take_pointer(&path);
        }
        if (r == 0 || directory[length] == '\0')
            break;
        directory += length + 1;
    }
    *ret_path = take_pointer(&first);
    return result;
}

int exec_program_find(const struct exec_request *request, struct problems *problems,
                      char **ret_path)
{
    const char *program = request->command->program;
    enum problem_severity severity = exec_is_optional(request) ? PROBLEM_WARNING : PROBLEM_ERROR;
    char quoted[UNIT_QUOTE_MAX];
    char *path = NULL;
    int r;

    if (exec_text_has_instance(request, program))
        exec_command_problem(request, problems, PROBLEM_ERROR,
                             "cannot run a program whose path depends on the connection: give it "
                             "to one program as an argument");
    if (*program == '/') {
        path = strdup(program);
        r = path ? executable_check(path) : -ENOMEM;
    } else {
        r = find_along_path(program, &path);
    }
    if (!path)
        return -ENOMEM;
    if (r < 0 && !exec_text_has_instance(request, program))
        exec_command_problem(request, problems, severity, "cannot run \"%s\": %s",
                             unit_quote(program, quoted), strerror(-r));
    *ret_path = path;
    return 0;
}
