/* SPDX-License-Identifier: MIT */
/* Ownership by scope, and its explicit hand-over. */
#pragma once

#include <stdlib.h>

#include "basic/fd.h"

static inline void cleanup_free_helper(void *pointer)
{
    free(*(void **)pointer);
}

static inline void cleanup_close_helper(const int *fd)
{
    fd_close(*fd);
}

/* A pointer that is freed, a descriptor that is closed, when its name goes out of scope. */
#define cleanup_free  __attribute__((__cleanup__(cleanup_free_helper)))
#define cleanup_close __attribute__((__cleanup__(cleanup_close_helper)))
/* Any other type: the function gets the address of the variable. */
#define cleanup(function) __attribute__((__cleanup__(function)))

/* Gives the value away: the variable is left empty, so that its clean-up does nothing. */
#define take_pointer(address)                                                                      \
    ({                                                                                             \
        __typeof__(address) take_address_ = (address);                                             \
        __typeof__(*take_address_) take_value_ = *take_address_;                                   \
        *take_address_ = NULL;                                                                     \
        take_value_;                                                                               \
    })

static inline int take_fd(int *fd)
{
    int value = *fd;

    *fd = -1;
    return value;
}
