/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "unit/directives.h"

#define SYSTEMD "/lib/systemd/systemd"

static const struct directive *find(enum directive_section section, const char *name)
{
    const struct directive *found = directive_find(section, name);

    if (!found)
        TEST_FAIL("%s is not in the table", name);
    return found;
}

TEST(sorted_and_complete)
{
    size_t n;
    const struct directive *table = directive_table(&n);

    for (size_t i = 0; i < n; i++) {
        const struct directive *d = &table[i];
        bool unless = d->class == CLASS_REFUSED_UNLESS_NEUTRAL;
        for (size_t k = i; k-- > 0 && strcmp(table[k].name, d->name) == 0;)
            if (table[k].sections & d->sections)
                TEST_FAIL("%s is there twice", d->name);
        if (i > 0 && strcmp(table[i - 1].name, d->name) > 0)
            TEST_FAIL("%s is in the wrong place", d->name);
        if ((unless || d->class == CLASS_REFUSED) != (d->instead != NULL) ||
            unless != (d->neutral != NULL) || unless != (d->neutral_kind != NEUTRAL_NONE))
            TEST_FAIL("%s: class and texts do not agree", d->name);
        if (d->sections == 0 || d->since < 0 || d->since > 258 || (d->since > 0 && d->since < 237))
            TEST_FAIL("%s: no section, or an odd version", d->name);
        ASSERT(directive_group_name(d->group) && directive_class_name(d->class));
    }
}

TEST(lookup)
{
    ASSERT_INT(find(SECTION_SOCKET, "ListenStream")->class, CLASS_HONOURED);
    ASSERT(!directive_find(SECTION_SERVICE, "ListenStream"));
    ASSERT(!directive_find(SECTION_SOCKET, "Listen"));
    ASSERT(!directive_find(SECTION_SOCKET, ""));
    ASSERT_INT(find(SECTION_SOCKET, "TimeoutSec")->group, GROUP_SOCKET);
    ASSERT_INT(find(SECTION_SERVICE, "TimeoutSec")->group, GROUP_SERVICE);
    ASSERT_INT(find(SECTION_X_HARK, "Accept")->group, GROUP_X_HARK);
    ASSERT(find(SECTION_SOCKET, "User") == find(SECTION_SERVICE, "User"));
    ASSERT_INT(find(SECTION_SOCKET, "PollLimitBurst")->since, 255);
    ASSERT(find(SECTION_SERVICE, "PrivateTmp")->is_sandbox);
    ASSERT(!find(SECTION_SERVICE, "User")->is_sandbox);
    size_t n;
    const struct directive *table = directive_table(&n);
    for (size_t i = 0; i < n; i++)
        for (unsigned section = SECTION_UNIT; section <= SECTION_X_HARK; section <<= 1)
            if (table[i].sections & section)
                ASSERT(directive_find(section, table[i].name) == &table[i]);
}

static bool is_neutral(enum directive_section section, const char *name, const char *value)
{
    return directive_is_neutral(find(section, name), value);
}

TEST(neutral_values)
{
    ASSERT(is_neutral(SECTION_SERVICE, "PrivateTmp", "no"));
    ASSERT(is_neutral(SECTION_SERVICE, "PrivateTmp", "Off"));
    ASSERT(!is_neutral(SECTION_SERVICE, "PrivateTmp", "yes"));
    ASSERT(!is_neutral(SECTION_SERVICE, "PrivateTmp", ""));
    ASSERT(!is_neutral(SECTION_SERVICE, "PrivateTmp", "disconnected"));
    ASSERT(is_neutral(SECTION_SERVICE, "PrivateMounts", ""));
    ASSERT(is_neutral(SECTION_SERVICE, "ReadWritePaths", ""));
    ASSERT(!is_neutral(SECTION_SERVICE, "ReadWritePaths", "/x"));
    ASSERT(is_neutral(SECTION_SERVICE, "KillSignal", "15"));
    ASSERT(!is_neutral(SECTION_SERVICE, "KillSignal", "SIGINT"));
    ASSERT(is_neutral(SECTION_SERVICE, "TimeoutStopSec", "1min 30s"));
    ASSERT(!is_neutral(SECTION_SERVICE, "TimeoutStopSec", "5"));
    ASSERT(is_neutral(SECTION_SERVICE, "Restart", "no"));
    ASSERT(!is_neutral(SECTION_SERVICE, "Restart", "always"));
    ASSERT(is_neutral(SECTION_SERVICE, "MemoryMax", "infinity"));
    ASSERT(is_neutral(SECTION_SERVICE, "SendSIGKILL", "true"));
    ASSERT(!is_neutral(SECTION_SERVICE, "User", ""));
}

TEST(names)
{
    for (unsigned section = SECTION_UNIT; section <= SECTION_X_HARK; section <<= 1)
        ASSERT_INT(directive_section_from_name(directive_section_name(section)), section);
    ASSERT_INT(directive_section_from_name("Mount"), 0);
    ASSERT(!directive_section_name(SECTION_UNIT | SECTION_SOCKET));
}

/* Known to systemd, but not dumped: they are accepted and do nothing. */
static bool is_compatibility(const char *name)
{
    static const char *const names[] = {"BusPolicy", "Capabilities", "IgnoreOnSnapshot", "NetClass",
                                        "SysVStartPriority"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* Reads the dump, marks what is in it, and fails for a key the table does not have. */
static void read_dump(FILE *dump, unsigned *seen)
{
    size_t n;
    const struct directive *table = directive_table(&n);
    unsigned section = 0;
    char line[512];

    while (fgets(line, sizeof(line), dump)) {
        line[strcspn(line, "\n=")] = '\0';
        if (line[0] == '[') {
            line[strcspn(line, "]")] = '\0';
            section = directive_section_from_name(line + 1);
        } else if (section != 0 && line[0] != '\0')
            seen[find(section, line) - table] |= section;
    }
}

TEST(agrees_with_the_installed_systemd)
{
    static unsigned seen[2000];
    size_t n;
    const struct directive *table = directive_table(&n);
    int version = 0;

    if (access(SYSTEMD, X_OK) < 0)
        SKIP("no systemd");
    FILE *command = popen(SYSTEMD " --version", "re");
    ASSERT(command && fscanf(command, "systemd %d", &version) == 1);
    pclose(command);
    if (version < 252 || version > 258)
        SKIP("a systemd that the table is not for");
    command = popen(SYSTEMD " --dump-configuration-items", "re");
    ASSERT(command && n < sizeof(seen) / sizeof(seen[0]));
    read_dump(command, seen);
    ASSERT_INT(pclose(command), 0);
    for (size_t i = 0; i < n; i++) {
        unsigned missing = table[i].sections & ~(unsigned)SECTION_X_HARK & ~seen[i];
        if (missing && table[i].since <= version && !is_compatibility(table[i].name))
            TEST_FAIL("systemd %d has no %s (sections %#x)", version, table[i].name, missing);
        if (table[i].since > version && seen[i])
            TEST_FAIL("systemd %d has %s already", version, table[i].name);
    }
}
