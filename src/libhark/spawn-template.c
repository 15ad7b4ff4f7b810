/* SPDX-License-Identifier: MIT */
#include "libhark/spawn-template.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t longest_text(enum spawn_text text)
{
    switch (text) {
    case SPAWN_TEXT_INSTANCE:
    case SPAWN_TEXT_INSTANCE_UNESCAPED:
        return PEER_INSTANCE_TEXT_MAX - 1;
    case SPAWN_TEXT_REMOTE_ADDRESS: /* longer than PEER_TEXT_MAX */
        return PEER_UNIX_TEXT_MAX - 1;
    case SPAWN_TEXT_REMOTE_PORT:
        return PEER_TEXT_MAX - 1;
    case SPAWN_TEXT_PID:
        return SPAWN_PID_TEXT_MAX - 1;
    case SPAWN_TEXT_INVOCATION_ID:
        return SPAWN_INVOCATION_ID_TEXT_MAX - 1;
    }
    return 0;
}

int spawn_substitutions_check(const struct spawn_substitution *substitutions, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (substitutions[i].placeholder == NULL || substitutions[i].placeholder[0] == '\0' ||
            (size_t)substitutions[i].text >= SPAWN_N_TEXTS)
            return -EINVAL;
    return 0;
}

/* The first placeholder in the string, and whose it is; or NULL. */
static const char *find_placeholder(const struct spawn_plan *plan, const char *string,
                                    const struct spawn_substitution **ret_substitution)
{
    const char *first = NULL;

    for (size_t i = 0; i < plan->n_substitutions; i++) {
        const char *found = strstr(string, plan->substitutions[i].placeholder);

        if (found == NULL || (first != NULL && found >= first))
            continue;
        first = found;
        *ret_substitution = &plan->substitutions[i];
    }
    return first;
}

static struct spawn_segment *split(struct spawn_templates *templates, const struct spawn_plan *plan,
                                   const char *string)
{
    const struct spawn_substitution *substitution = NULL;
    struct spawn_segment *segments = NULL;
    const char *found;
    size_t n = 0;

    do {
        struct spawn_segment *more = reallocarray(segments, n + 1, sizeof(*segments));

        if (more == NULL) {
            free(segments);
            return NULL;
        }
        segments = more;
        found = find_placeholder(plan, string, &substitution);
        size_t length = found != NULL ? (size_t)(found - string) : strlen(string);
        segments[n] = (struct spawn_segment){.literal = string, .length = length, .text = -1};
        templates->size += length + (found == NULL); /* the end */
        if (found != NULL) {
            segments[n].text = (int)substitution->text;
            templates->texts |= 1U << substitution->text;
            templates->size += longest_text(substitution->text);
            string = found + strlen(substitution->placeholder);
        }
        n++;
    } while (found != NULL);
    return segments;
}

int spawn_templates_add(struct spawn_templates *templates, const struct spawn_plan *plan,
                        char **place, bool is_argument)
{
    const struct spawn_substitution *substitution = NULL;

    if (*place == NULL || find_placeholder(plan, *place, &substitution) == NULL)
        return 0;
    struct spawn_template *items =
        reallocarray(templates->items, templates->n + 1, sizeof(*templates->items));
    if (items == NULL)
        return -ENOMEM;
    templates->items = items;
    struct spawn_segment *segments = split(templates, plan, *place);
    if (segments == NULL)
        return -ENOMEM;
    bool can_drop = is_argument && substitution->drop_if_empty &&
                    strcmp(*place, substitution->placeholder) == 0;
    templates->items[templates->n++] = (struct spawn_template){
        .place = place, .original = *place, .segments = segments, .drop_if_empty = can_drop};
    templates->n_can_drop += can_drop;
    return 0;
}

int spawn_templates_end(struct spawn_templates *templates)
{
    if (templates->n == 0)
        return 0;
    templates->arena = malloc(templates->size);
    return templates->arena == NULL ? -ENOMEM : 0;
}

void spawn_templates_done(struct spawn_templates *templates)
{
    for (size_t i = 0; i < templates->n; i++) {
        *templates->items[i].place = templates->items[i].original;
        free(templates->items[i].segments);
    }
    free(templates->items);
    free(templates->arena);
}
