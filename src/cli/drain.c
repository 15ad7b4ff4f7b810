/* SPDX-License-Identifier: MIT */
/* hark drain: have a running hark end when its handlers have. */
#include "cli/control-verb.h"
#include "cli/verbs.h"

int verb_drain(int argc, char *argv[])
{
    static const struct control_verb verb = {
        .name = "drain",
        .method = "Drain",
        .help = "Have hark accept no more, let its handlers finish, and end then. Does not wait\n"
                "for that.\n",
        .timeout_usec = CONTROL_TIMEOUT,
    };

    return control_verb_run(&verb, argc, argv);
}
