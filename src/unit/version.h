/* SPDX-License-Identifier: MIT */
/*
 * Comparing versions as systemd 252 does (the version format of uapi-group.org, and
 * `systemd-analyze compare-versions`), and the operators in front of what is compared.
 */
#pragma once

#include <stdbool.h>

enum comparison {
    COMPARISON_NONE, /* no operator */
    COMPARISON_LESS,
    COMPARISON_LESS_OR_EQUAL,
    COMPARISON_EQUAL,
    COMPARISON_UNEQUAL,
    COMPARISON_GREATER_OR_EQUAL,
    COMPARISON_GREATER,
    COMPARISON_SAME_TEXT, /* from here on only of texts */
    COMPARISON_OTHER_TEXT,
    COMPARISON_PATTERN,
    COMPARISON_NO_PATTERN,
};

/* Takes the operator off *text. Of numbers: < <= = == != <> >= >. Of texts: "=" and "!=" are of the
 * exact text, "==" and "<>" of versions, "$=" and "!$=" of patterns. */
enum comparison comparison_take(const char **text, bool of_texts);

/* Whether it holds for the sign of A - B. Not for comparisons of texts. */
bool comparison_holds(enum comparison comparison, int order);

/* Below, equal to or above zero. */
int version_compare(const char *a, const char *b);

/* Whether a version or text is as wanted: 1, 0, or -EINVAL for a pattern that cannot be used. */
int version_matches(enum comparison comparison, const char *actual, const char *wanted);
