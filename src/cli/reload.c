/* SPDX-License-Identifier: MIT */
/* hark reload: have a running hark read its units again. */
#include "cli/control-verb.h"
#include "cli/verbs.h"

int verb_reload(int argc, char *argv[])
{
    static const struct control_verb verb = {
        .name = "reload",
        .method = "Reload",
        .help = "Have hark read its units again. Sockets that are the same are kept, and so is\n"
                "what runs. Waits until that is done; when units have errors, it says which, and\n"
                "hark goes on as it was.\n",
        .timeout_usec = 90 * USEC_PER_SEC, /* commands of sockets may be run */
    };

    return control_verb_run(&verb, argc, argv);
}
