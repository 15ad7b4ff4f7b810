/* SPDX-License-Identifier: MIT */
/* The strings of a plan that have placeholders in them, taken apart when the plan is prepared, so
 * that the child only puts pieces together. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libhark/spawn.h"

#define SPAWN_PID_TEXT_MAX           (20 + 1)
#define SPAWN_INVOCATION_ID_TEXT_MAX (32 + 1)

/* Some of a string as it is written, and the text that follows. */
struct spawn_segment {
    const char *literal;
    size_t length;
    int text; /* enum spawn_text, or -1: the string ends here */
};

struct spawn_template {
    char **place;   /* who uses the string: gets what the child makes of it */
    char *original; /* the segments' literals lie in it; spawn_templates_done() puts it back */
    struct spawn_segment *segments;
    bool drop_if_empty;
};

struct spawn_templates {
    struct spawn_template *items;
    size_t n;
    unsigned texts;    /* 1 << enum spawn_text: those that are used */
    size_t size;       /* of the longest strings there can be, ends included */
    size_t n_can_drop; /* how many have drop_if_empty */
    char *arena;
};

/* -EINVAL for an empty placeholder or no text. */
int spawn_substitutions_check(const struct spawn_substitution *substitutions, size_t n);
/* Makes a template of *place when it has placeholders; *place has to stay where it is. -ENOMEM. */
int spawn_templates_add(struct spawn_templates *templates, const struct spawn_plan *plan,
                        char **place, bool is_argument);
/* Call it once all are added. -ENOMEM. */
int spawn_templates_end(struct spawn_templates *templates);
void spawn_templates_done(struct spawn_templates *templates);
