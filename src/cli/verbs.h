/* SPDX-License-Identifier: MIT */
#pragma once

/* Each gets the arguments from its own name on, and returns the exit status. */
int verb_activate(int argc, char *argv[]);
int verb_adopt(int argc, char *argv[]);
int verb_check(int argc, char *argv[]);
int verb_drain(int argc, char *argv[]);
int verb_kill(int argc, char *argv[]);
int verb_release(int argc, char *argv[]);
int verb_reload(int argc, char *argv[]);
int verb_run(int argc, char *argv[]);
int verb_status(int argc, char *argv[]);
int verb_stop(int argc, char *argv[]);
