/* SPDX-License-Identifier: MIT */
#pragma once

/* Each gets the arguments from its own name on, and returns the exit status. */
int verb_activate(int argc, char *argv[]);
int verb_check(int argc, char *argv[]);
int verb_run(int argc, char *argv[]);
