/* SPDX-License-Identifier: MIT */
/*
 * The one table of everything a unit file can say to systemd 252 to 258, and of what this version
 * of hark does about it. Reading a unit, `hark check` and the list in hark-units(5) all go by it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A set of sections: a key may stand in several of them. */
enum directive_section {
    SECTION_UNIT = 1 << 0,
    SECTION_INSTALL = 1 << 1,
    SECTION_SOCKET = 1 << 2,
    SECTION_SERVICE = 1 << 3,
    SECTION_X_HARK = 1 << 4,
};

/* Where it is documented. */
enum directive_group {
    GROUP_UNIT,             /* systemd.unit(5) */
    GROUP_INSTALL,          /* systemd.unit(5) */
    GROUP_SOCKET,           /* systemd.socket(5) */
    GROUP_SERVICE,          /* systemd.service(5) */
    GROUP_EXEC,             /* systemd.exec(5) */
    GROUP_KILL,             /* systemd.kill(5) */
    GROUP_RESOURCE_CONTROL, /* systemd.resource-control(5) */
    GROUP_X_HARK,           /* hark-units(5) */
};

enum directive_class {
    CLASS_HONOURED,
    CLASS_HARMLESS,               /* does nothing, and nothing is lost by that */
    CLASS_REFUSED,                /* ignoring it would change what the unit means */
    CLASS_REFUSED_UNLESS_NEUTRAL, /* refused, unless it says what is so anyway */
};

/* How the neutral values are compared. */
enum directive_neutral {
    NEUTRAL_NONE,
    NEUTRAL_TEXT,    /* exactly; the empty value, too, when it is one of them */
    NEUTRAL_BOOLEAN, /* as booleans, or exactly */
    NEUTRAL_TIME,    /* as time spans, or exactly */
    NEUTRAL_SIGNAL,  /* as signals, or exactly */
};

struct directive {
    const char *name;
    unsigned sections; /* enum directive_section */
    enum directive_group group;
    enum directive_class class;
    int since;       /* the first systemd to know it; 0: 236, or older */
    bool is_sandbox; /* named by --ignore=sandbox */
    enum directive_neutral neutral_kind;
    const char *neutral; /* the neutral values, "|" between them; NULL for none */
    const char *instead; /* refused: what to do; NULL otherwise */
};

/* The directive, or NULL for what no systemd up to 258 knows there. */
const struct directive *directive_find(enum directive_section section, const char *name);

/* Whether the value is a neutral one, of a directive refused unless so. The empty value is one only
 * where it resets. Of a key given several times it is the last value that counts, of a list each.
 */
bool directive_is_neutral(const struct directive *directive, const char *value);

/* The table, sorted by strcmp(3) of the names. */
const struct directive *directive_table(size_t *ret_n);

/* "Socket", "X-Hark", …: 0 for any other. And back, of exactly one section. */
unsigned directive_section_from_name(const char *name);
const char *directive_section_name(enum directive_section section);

/* "socket", "resource-control", …; "honoured", "refused unless neutral", … */
const char *directive_group_name(enum directive_group group);
const char *directive_class_name(enum directive_class class);
