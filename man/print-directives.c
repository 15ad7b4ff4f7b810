/* SPDX-License-Identifier: MIT */
/* Prints a manual page, with the table of directives in place of the line "@DIRECTIVES@". So the
 * page says what the program does. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/directives.h"

#define PLACE   "@DIRECTIVES@\n"
#define N_TEXTS 64

/* What keys have in common that stand together in the page. */
struct entry {
    enum directive_class class;
    bool unless_empty; /* the empty value is the only neutral one */
    bool is_sandbox;
    const char *instead;
};

static struct entry entry_of(const struct directive *directive)
{
    return (struct entry){
        .class = directive->class,
        .unless_empty =
            directive->class == CLASS_REFUSED_UNLESS_NEUTRAL && directive->neutral[0] == '\0',
        .is_sandbox = directive->is_sandbox,
        .instead = directive->instead,
    };
}

static bool is_same(const struct entry *one, const struct entry *other)
{
    return one->class == other->class && one->unless_empty == other->unless_empty &&
           one->is_sandbox == other->is_sandbox &&
           (one->instead == other->instead ||
            (one->instead && other->instead && strcmp(one->instead, other->instead) == 0));
}

/* A sentence: hyphens of options are no hyphens of words. */
static void print_sentence(const char *text)
{
    for (const char *c = text; *c; c++)
        if (c == text && *c >= 'a' && *c <= 'z')
            putchar(*c - 'a' + 'A');
        else if (*c == '-' && (c[1] == '-' || (c > text && c[-1] == '-')))
            printf("\\-");
        else
            putchar(*c);
    printf(".\n");
}

/* "empty", "0", "infinity": what may be written all the same. */
static void print_neutral(const char *neutral)
{
    const char *separator = "may be ";

    for (const char *p = neutral; p; p = *p == '|' ? p + 1 : NULL) {
        size_t length = strcspn(p, "|");
        if (length == 0)
            printf("%sempty", separator);
        else
            printf("%s\\&%.*s", separator, (int)length, p);
        separator = " or ";
        p += length;
    }
}

/* The sections, where not all of the group have the same. */
static void print_sections(unsigned sections)
{
    const char *separator = "";

    for (unsigned section = 1; section <= sections; section <<= 1)
        if (sections & section) {
            printf("%s\\&[%s]", separator, directive_section_name((enum directive_section)section));
            separator = " and ";
        }
}

static void print_key(const struct directive *directive, const struct entry *entry,
                      unsigned sections, bool is_last)
{
    bool has_neutral = entry->class == CLASS_REFUSED_UNLESS_NEUTRAL && !entry->unless_empty;
    const char *separator = "";

    printf(".Li %s", directive->name);
    if (has_neutral || directive->since > 0 || directive->sections != sections) {
        printf(" Pq ");
        if (directive->sections != sections) {
            printf("only in ");
            print_sections(directive->sections);
            separator = "; ";
        }
        if (has_neutral) {
            printf("%s", separator);
            print_neutral(directive->neutral);
            separator = "; ";
        }
        if (directive->since > 0)
            printf("%s%d", separator, directive->since);
    }
    printf("%s\n", is_last ? "" : " ,");
}

static void print_entry(enum directive_group group, const struct entry *entry, unsigned sections)
{
    size_t n, left = 0;
    const struct directive *table = directive_table(&n);

    for (size_t i = 0; i < n; i++) {
        struct entry other = entry_of(&table[i]);
        left += table[i].group == group && is_same(entry, &other);
    }
    printf(".It %s%s%s\n",
           entry->class == CLASS_HONOURED   ? "Honoured"
           : entry->class == CLASS_HARMLESS ? "Harmless"
                                            : "Refused",
           entry->unless_empty                            ? ", unless empty"
           : entry->class == CLASS_REFUSED_UNLESS_NEUTRAL ? ", unless as said"
                                                          : "",
           entry->is_sandbox ? " (sandbox)" : "");
    if (entry->instead) {
        print_sentence(entry->instead);
        printf(".Pp\n");
    }
    for (size_t i = 0; i < n; i++) {
        struct entry other = entry_of(&table[i]);
        if (table[i].group == group && is_same(entry, &other))
            print_key(&table[i], entry, sections, --left == 0);
    }
}

static void print_group(enum directive_group group)
{
    size_t n, n_entries = 0;
    const struct directive *table = directive_table(&n);
    struct entry entries[N_TEXTS];
    unsigned sections = 0;

    for (size_t i = 0; i < n; i++)
        if (table[i].group == group)
            sections |= table[i].sections;
    printf(".Ss ");
    print_sections(sections);
    if (group == GROUP_X_HARK)
        printf(", of hark itself\n");
    else
        printf(", as in systemd.%s(5)\n",
               directive_group_name(group == GROUP_INSTALL ? GROUP_UNIT : group));
    printf(".Bl -tag -width Ds\n");
    for (enum directive_class class = CLASS_HONOURED; class <= CLASS_REFUSED_UNLESS_NEUTRAL;
         class ++)
        for (size_t i = 0; i < n; i++) {
            struct entry entry = entry_of(&table[i]);
            bool is_done = table[i].group != group || entry.class != class;
            for (size_t k = 0; k < n_entries && !is_done; k++)
                is_done = is_same(&entries[k], &entry);
            if (is_done)
                continue;
            if (n_entries == N_TEXTS)
                abort();
            entries[n_entries++] = entry;
            print_entry(group, &entry, sections);
        }
    printf(".El\n");
}

int main(int argc, char *argv[])
{
    static const enum directive_group groups[] = {
        GROUP_SOCKET, GROUP_SERVICE,          GROUP_EXEC,    GROUP_KILL,
        GROUP_UNIT,   GROUP_RESOURCE_CONTROL, GROUP_INSTALL, GROUP_X_HARK,
    };
    char line[1024];
    bool found = false;
    FILE *page = argc == 2 ? fopen(argv[1], "re") : NULL;

    if (!page) {
        fprintf(stderr, "usage: print-directives PAGE\n");
        return EXIT_FAILURE;
    }
    while (fgets(line, sizeof(line), page)) {
        if (strcmp(line, PLACE) != 0) {
            fputs(line, stdout);
            continue;
        }
        found = true;
        for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
            print_group(groups[i]);
    }
    if (ferror(page) || fclose(page) != 0 || !found || fflush(stdout) != 0) {
        fprintf(stderr, "print-directives: cannot make the page\n");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
