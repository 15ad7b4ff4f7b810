/* SPDX-License-Identifier: MIT */
/*
 * A table on a terminal. Columns are as wide as what is in them; where the terminal is too narrow,
 * texts are cut first, then columns are left out; so are those in which there is nothing.
 *
 *     table_init(&table, columns, n);
 *     table_add(&table, 0, STYLE_NONE, name); … table_end_row(&table);
 *     table_print(&table, &screen);
 *     table_done(&table);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Where it is shown. */
struct screen {
    FILE *out;
    size_t columns; /* 0: as many as it takes */
    bool has_styles;
};

enum style {
    STYLE_NONE,
    STYLE_HEADING,
    STYLE_DIM,
    STYLE_GOOD,
    STYLE_WARNING,
    STYLE_BAD,
};

/* A text that is safe already, in a style where there are any. */
void screen_put(const struct screen *screen, enum style style, const char *text);

struct table_column {
    const char *heading;
    bool is_number;       /* on the right */
    size_t minimum;       /* may be cut to so many characters; 0: not at all */
    unsigned dispensable; /* the highest is left out first; 0: never */
};

struct table_cell {
    char *text; /* NULL: nothing */
    enum style style;
};

#define TABLE_COLUMNS_MAX 16

struct table {
    const struct table_column *columns;
    size_t n_columns, n_rows;
    struct table_cell *cells; /* of one row after the other; the last row may be under way */
    bool has_failed;
};

void table_init(struct table *table, const struct table_column *columns, size_t n_columns);
void table_done(struct table *table);

/* Sets a cell of the row that is under way: a copy of the text, made safe. */
void table_add(struct table *table, size_t column, enum style style, const char *text);
void table_end_row(struct table *table);

/* Indents by two. 0; -ENOMEM, also when that came up before. */
int table_print(const struct table *table, const struct screen *screen);
