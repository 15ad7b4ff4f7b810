/* SPDX-License-Identifier: MIT */
/* Any message to a fork server. The first byte of the input says how many descriptors came with it.
 */
#include <stdlib.h>
#include <string.h>

#include "libhark/forkserver-protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything the parser gives out must be readable to its end. */
static void touch(const char *const *list)
{
    volatile size_t total = 0;

    for (; list && *list; list++)
        total = total + strlen(*list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct forkserver_request request;
    struct forkserver_strings strings;

    if (size < 1 + sizeof(request))
        return 0;
    size_t n_fds = data[0], body_size = size - 1 - sizeof(request);
    memcpy(&request, data + 1, sizeof(request));
    /* Without these most inputs would end at the first comparison. */
    request.version = FORKSERVER_VERSION;
    if (!(request.flags & FORKSERVER_WITH_MEMFD))
        request.body_size = (uint32_t)body_size;
    if (forkserver_request_check(&request, size - 1, n_fds) < 0 ||
        request.type != FORKSERVER_SPAWN || request.body_size > body_size)
        return 0;
    /* A copy of exactly that size, so that the sanitizer sees a step beyond. */
    char *body = malloc(body_size > 0 ? body_size : 1);
    if (!body)
        return 0;
    memcpy(body, data + 1 + sizeof(request), body_size);
    if (forkserver_body_parse(&request, body, &strings) == 0) {
        const char *const single[] = {strings.program, strings.directory, NULL};

        touch(single);
        touch(strings.arguments);
        touch(strings.environment);
        forkserver_strings_done(&strings);
    }
    free(body);
    return 0;
}
