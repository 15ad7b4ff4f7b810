/* SPDX-License-Identifier: MIT */
/* hark stop: have a running hark end. */
#include "cli/control-verb.h"
#include "cli/verbs.h"

int verb_stop(int argc, char *argv[])
{
    static const struct control_verb verb = {
        .name = "stop",
        .method = "Stop",
        .help = "Have hark accept no more, end its handlers, by force after --stop-timeout= of\n"
                "\"hark run\", and end then. Does not wait for that.\n",
        .timeout_usec = CONTROL_TIMEOUT,
    };

    return control_verb_run(&verb, argc, argv);
}
