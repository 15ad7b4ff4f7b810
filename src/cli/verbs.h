/* SPDX-License-Identifier: MIT */
#pragma once

/* Each gets the arguments from its own name on, and returns the exit status. */
int verb_activate(int argc, char *argv[]);
