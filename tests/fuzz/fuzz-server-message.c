/* SPDX-License-Identifier: MIT */
/* What one process of hark may receive from another one gone mad: what is taken is within range and
 * survives the way back unchanged. */
#include <stdlib.h>
#include <string.h>

#include "supervisor/server-message.h"
#include "supervisor/slots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct server_message message, again;

    if (server_message_parse(data, size, &message) < 0)
        return 0;
    if (size != sizeof(message) || memcmp(data, &message, size) != 0)
        abort();
    if (message.type < SERVER_MESSAGE_START || message.type >= SERVER_MESSAGE_TYPE_END_ ||
        message.unit >= SLOTS_MAX || message.slot >= SLOTS_MAX || message.error < 0)
        abort();
    if (server_message_parse(&message, sizeof(message), &again) < 0 ||
        memcmp(&message, &again, sizeof(message)) != 0)
        abort();
    return 0;
}
