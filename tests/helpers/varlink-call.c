/* SPDX-License-Identifier: MIT */
/* varlink-call [--more|--oneway] SOCKET METHOD [PARAMETERS]: a client. Prints every answer as a
 * line: its parameters, or its error and they. Ends with 0, 1 after an error, 2 when there is no
 * answer. */
#include <stdio.h>
#include <string.h>

#include "basic/clock.h"
#include "varlink/varlink-client.h"

#define TIMEOUT_USEC (20 * USEC_PER_SEC)

/* 1 for an error, else 0. */
static int print(struct varlink_answer *answer)
{
    bool error = answer->error != NULL;

    if (error)
        printf("%s ", answer->error);
    (void)json_dumpf(answer->parameters, stdout, JSON_COMPACT | JSON_SORT_KEYS);
    (void)putchar('\n');
    (void)fflush(stdout);
    varlink_answer_done(answer);
    return error;
}

static int call(struct varlink_client *client, const char *option, char **arguments)
{
    json_t *parameters = arguments[1] != NULL ? json_loads(arguments[1], 0, NULL) : json_object();
    struct varlink_answer answer;
    bool continues;
    int r;

    if (strcmp(option, "--oneway") == 0)
        return varlink_client_oneway(client, arguments[0], parameters, TIMEOUT_USEC);
    if (strcmp(option, "--more") != 0) {
        r = varlink_client_call(client, arguments[0], parameters, TIMEOUT_USEC, &answer);
        return r < 0 ? r : print(&answer);
    }
    r = varlink_client_more(client, arguments[0], parameters, TIMEOUT_USEC);
    if (r < 0)
        return r;
    do {
        r = varlink_client_receive(client, TIMEOUT_USEC, &answer);
        if (r < 0)
            return r;
        continues = answer.continues;
        r = print(&answer);
    } while (continues);
    return r;
}

int main(int argc, char **argv)
{
    const char *option = argc > 1 && strncmp(argv[1], "--", 2) == 0 ? argv[1] : "";
    char **arguments = argv + (option[0] != '\0' ? 2 : 1);
    struct varlink_client *client = NULL;

    if (argc - (arguments - argv) < 2) {
        fprintf(stderr, "usage: varlink-call [--more|--oneway] SOCKET METHOD [PARAMETERS]\n");
        return 64;
    }
    int r = varlink_client_connect(arguments[0], TIMEOUT_USEC, &client);
    if (r == 0)
        r = call(client, option, arguments + 1);
    varlink_client_free(client);
    if (r < 0) {
        fprintf(stderr, "varlink-call: \"%s\": %s\n", arguments[0], strerror(-r));
        return 2;
    }
    return r;
}
