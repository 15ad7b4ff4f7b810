/* SPDX-License-Identifier: MIT */
/* What is parsed can be written, and what was written is parsed to the same again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libhark/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[ADDRESS_TEXT_MAX], *input = malloc(size + 1);
    struct address address, again;

    if (!input)
        abort();
    memcpy(input, data, size);
    input[size] = '\0';
    if (address_parse(input, &address) == 0 && !address.path) {
        if (address_format(&address.socket.generic, address.length, text, sizeof(text)) <= 0)
            abort();
        /* Escapes are for people, and a mapped address comes back as IPv4. */
        if (address.family != AF_UNIX &&
            (address_parse(text, &again) < 0 ||
             (again.family == address.family &&
              memcmp(&again.socket, &address.socket, sizeof(again.socket)) != 0)))
            abort();
    }
    if (size <= sizeof(struct sockaddr_storage)) {
        struct sockaddr_storage storage = {0};

        memcpy(&storage, data, size);
        (void)address_format((struct sockaddr *)&storage, (socklen_t)size, text, sizeof(text));
        (void)address_format((struct sockaddr *)&storage, (socklen_t)size, text, size);
    }
    free(input);
    return 0;
}
