/* SPDX-License-Identifier: MIT */
#pragma once

#include "unit/string-list.h"

struct drop_in_search {
    const char *root; /* "" for none */
    const struct string_list *directories;
    const char *name;
    const struct string_list *aliases;
};

/* Adds the drop-ins of a unit (load-path.h says which) to drop_ins. 0 or -ENOMEM. */
int drop_ins_find(const struct drop_in_search *search, struct string_list *drop_ins);
