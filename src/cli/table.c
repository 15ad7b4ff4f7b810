/* SPDX-License-Identifier: MIT */
#include "cli/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "cli/safe-text.h"

#define INDENT 2
#define GAP    2

void screen_put(const struct screen *screen, enum style style, const char *text)
{
    static const char *const sequences[] = {
        [STYLE_NONE] = "",         [STYLE_HEADING] = "\033[1m",  [STYLE_DIM] = "\033[2m",
        [STYLE_GOOD] = "\033[32m", [STYLE_WARNING] = "\033[33m", [STYLE_BAD] = "\033[31m",
    };

    if (screen->has_styles && style != STYLE_NONE)
        (void)fprintf(screen->out, "%s%s\033[0m", sequences[style], text);
    else
        (void)fputs(text, screen->out);
}

void table_init(struct table *table, const struct table_column *columns, size_t n_columns)
{
    *table = (struct table){.columns = columns, .n_columns = n_columns};
}

void table_done(struct table *table)
{
    for (size_t i = 0; table->cells && i < (table->n_rows + 1) * table->n_columns; i++)
        free(table->cells[i].text);
    free(table->cells);
    *table = (struct table){0};
}

/* There is always a row more than those that have ended. */
static bool grow(struct table *table, size_t n_rows)
{
    size_t n = table->n_columns;
    struct table_cell *cells = reallocarray(table->cells, (n_rows + 1) * n, sizeof(*cells));

    if (!cells) {
        table->has_failed = true;
        return false;
    }
    memset(cells + n_rows * n, 0, n * sizeof(*cells));
    table->cells = cells;
    return true;
}

void table_add(struct table *table, size_t column, enum style style, const char *text)
{
    if (table->has_failed || (!table->cells && !grow(table, 0)))
        return;
    struct table_cell *cell = &table->cells[table->n_rows * table->n_columns + column];
    free(cell->text);
    *cell = (struct table_cell){.text = safe_text(text, 0), .style = style};
    if (!cell->text)
        table->has_failed = true;
}

void table_end_row(struct table *table)
{
    if (table->has_failed || (!table->cells && !grow(table, 0)))
        return;
    if (grow(table, table->n_rows + 1))
        table->n_rows++;
}

static const struct table_cell *cell_at(const struct table *table, size_t row, size_t column)
{
    return &table->cells[row * table->n_columns + column];
}

/* A column in which there is nothing is left out. */
static void measure(const struct table *table, size_t widths[])
{
    for (size_t i = 0; i < table->n_columns; i++) {
        size_t heading = safe_text_columns(table->columns[i].heading);
        widths[i] = 0;
        for (size_t row = 0; row < table->n_rows; row++) {
            const char *text = cell_at(table, row, i)->text;
            size_t n = text ? safe_text_columns(text) : 0;
            if (n > widths[i])
                widths[i] = n;
        }
        if (widths[i] > 0 && widths[i] < heading)
            widths[i] = heading;
    }
}

/* A width of 0 is a column that is left out. */
static size_t sum(const size_t widths[], size_t n)
{
    size_t total = INDENT - GAP;

    for (size_t i = 0; i < n; i++)
        total += widths[i] > 0 ? GAP + widths[i] : 0;
    return total;
}

/* Takes from the widest column that may be cut, until it fits. False: it does not. */
static bool cut(const struct table *table, size_t widths[], size_t available)
{
    size_t total = sum(widths, table->n_columns);

    while (total > available) {
        size_t widest = table->n_columns;
        for (size_t i = 0; i < table->n_columns; i++) {
            size_t minimum = table->columns[i].minimum;
            if (minimum > 0 && widths[i] > minimum &&
                (widest == table->n_columns || widths[i] > widths[widest]))
                widest = i;
        }
        if (widest == table->n_columns)
            return false;
        widths[widest]--;
        total--;
    }
    return true;
}

/* False: there is none left that may go. */
static bool leave_one_out(const struct table *table, size_t widths[])
{
    size_t first = table->n_columns;

    for (size_t i = 0; i < table->n_columns; i++)
        if (widths[i] > 0 && table->columns[i].dispensable > 0 &&
            (first == table->n_columns ||
             table->columns[i].dispensable > table->columns[first].dispensable))
            first = i;
    if (first == table->n_columns)
        return false;
    widths[first] = 0;
    return true;
}

static void fit(const struct table *table, size_t widths[], size_t available)
{
    while (available > 0) {
        size_t attempt[TABLE_COLUMNS_MAX];
        memcpy(attempt, widths, table->n_columns * sizeof(attempt[0]));
        if (cut(table, attempt, available) || !leave_one_out(table, widths)) {
            memcpy(widths, attempt, table->n_columns * sizeof(attempt[0]));
            return;
        }
    }
}

static size_t last_text(const struct table *table, size_t row, const size_t widths[])
{
    size_t last = 0;

    for (size_t i = 0; i < table->n_columns; i++) {
        const char *text = cell_at(table, row, i)->text;
        if (widths[i] > 0 && text && *text)
            last = i;
    }
    return last;
}

/* Without blanks at its end. */
static int print_row(const struct table *table, size_t row, const size_t widths[],
                     const struct screen *screen)
{
    size_t last = last_text(table, row, widths);
    bool is_first = true;

    for (size_t i = 0; i <= last; i++) {
        const struct table_cell *cell = cell_at(table, row, i);
        if (widths[i] == 0)
            continue;
        cleanup_free char *text = safe_text(cell->text ? cell->text : "", widths[i]);
        if (!text)
            return -ENOMEM;
        int blanks = (int)(widths[i] - safe_text_columns(text));
        bool is_number = table->columns[i].is_number;
        (void)fprintf(screen->out, "%*s", (is_first ? INDENT : GAP) + (is_number ? blanks : 0), "");
        screen_put(screen, cell->style, text);
        if (!is_number && i < last)
            (void)fprintf(screen->out, "%*s", blanks, "");
        is_first = false;
    }
    (void)fputc('\n', screen->out);
    return 0;
}

static void print_headings(const struct table *table, const size_t widths[],
                           const struct screen *screen)
{
    size_t last = 0;
    bool is_first = true;

    for (size_t i = 0; i < table->n_columns; i++)
        if (widths[i] > 0)
            last = i;
    for (size_t i = 0; i <= last; i++) {
        const struct table_column *column = &table->columns[i];
        if (widths[i] == 0)
            continue;
        int blanks = (int)(widths[i] - safe_text_columns(column->heading));
        (void)fprintf(screen->out, "%*s",
                      (is_first ? INDENT : GAP) + (column->is_number ? blanks : 0), "");
        screen_put(screen, STYLE_DIM, column->heading);
        if (!column->is_number && i < last)
            (void)fprintf(screen->out, "%*s", blanks, "");
        is_first = false;
    }
    (void)fputc('\n', screen->out);
}

int table_print(const struct table *table, const struct screen *screen)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    int r = table->has_failed ? -ENOMEM : 0;

    if (r < 0 || table->n_rows == 0)
        return r;
    measure(table, widths);
    fit(table, widths, screen->columns);
    print_headings(table, widths, screen);
    for (size_t row = 0; r == 0 && row < table->n_rows; row++)
        r = print_row(table, row, widths, screen);
    return r;
}
