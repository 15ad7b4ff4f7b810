/* SPDX-License-Identifier: MIT */
#include "exec/exec-request.h"

#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "unit/directives.h"
#include "unit/unit-name.h"

#define NO_MEMORY "no memory to say what is wrong"

static enum directive_section section_of(const struct exec_request *request)
{
    const char *type = unit_name_type(request->unit->name);

    return type && strcmp(type, "socket") == 0 ? SECTION_SOCKET : SECTION_SERVICE;
}

void exec_problem(const struct exec_request *request, struct problems *problems,
                  enum problem_severity severity, const char *key, const char *format, ...)
{
    const struct directive_use *use = unit_file_last_use(request->unit, section_of(request), key);
    cleanup_free char *text = NULL;
    char quoted[UNIT_QUOTE_MAX];
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    problems_add(problems, severity, use ? use->file : request->unit->main, use ? use->line : 0,
                 severity == PROBLEM_ERROR ? "cannot use \"%s=%s\": %s" : "\"%s=%s\": %s", key,
                 unit_quote(use ? use->value : "", quoted), text ? text : NO_MEMORY);
}

/* The last line of a command whose text has the program in it. */
static const struct directive_use *find_command(const struct exec_request *request)
{
    const struct directive_use *found = NULL;

    for (size_t i = 0; i < request->unit->n_uses; i++) {
        const struct directive_use *use = &request->unit->uses[i];
        const char *text = use->expanded ? use->expanded : use->value;
        if (use->section == section_of(request) && strncmp(use->key, "Exec", 4) == 0 &&
            strstr(text, request->command->program))
            found = use;
    }
    return found;
}

void exec_command_problem(const struct exec_request *request, struct problems *problems,
                          enum problem_severity severity, const char *format, ...)
{
    const struct directive_use *use = find_command(request);
    cleanup_free char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    problems_add(problems, severity, use ? use->file : request->unit->main, use ? use->line : 0,
                 "%s", text ? text : NO_MEMORY);
}

static bool has(const char *data, size_t size, const char *placeholder)
{
    return placeholder && *placeholder != '\0' &&
           memmem(data, size, placeholder, strlen(placeholder));
}

bool exec_data_has_instance(const struct exec_request *request, const char *data, size_t size)
{
    return data && (has(data, size, request->instance.escaped) ||
                    has(data, size, request->instance.unescaped));
}

bool exec_text_has_instance(const struct exec_request *request, const char *text)
{
    return text && exec_data_has_instance(request, text, strlen(text));
}

bool exec_is_optional(const struct exec_request *request)
{
    return request->command->flags & COMMAND_IGNORE_FAILURE;
}

bool exec_keeps_user(const struct exec_request *request)
{
    return request->command->flags & (COMMAND_FULL_PRIVILEGES | COMMAND_KEEP_USER);
}

bool exec_is_fully_privileged(const struct exec_request *request)
{
    return request->command->flags & COMMAND_FULL_PRIVILEGES;
}

bool exec_uses_socket(const struct exec_request *request)
{
    for (size_t i = 0; i < 3; i++)
        if (request->context->std[i].kind == EXEC_STREAM_SOCKET)
            return true;
    return false;
}

bool exec_has_capability(unsigned capability)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    return syscall(SYS_capget, &header, data) == 0 &&
           data[capability / 32].effective & (1U << (capability % 32));
}
