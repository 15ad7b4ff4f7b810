# SPDX-License-Identifier: MIT
"""Medians, ratios and tables for the benchmarks."""

import random
import statistics
import sys


def shuffled(things):
    """In another order in each round. Not merely rotated: then each would always follow the same
    one, and what a server leaves behind in the kernel's caches would be another's gain or loss."""
    return random.sample(things, len(things))


def spread(values, digits=3):
    """Median, smallest and largest; None when there is no value."""
    if not values:
        return None
    return {'median': round(statistics.median(values), digits), 'min': round(min(values), digits),
            'max': round(max(values), digits)}


def ratios(pairs, key='rate'):
    """Of a figure; pairs are (measured, reference), both of the same round."""
    return spread([a[key] / b[key] for a, b in pairs if a and b and b[key]])


def summarize(figures, pairs):
    """Medians over the rounds of what the harness measured; for pairs see ratios."""
    figures = [f for f in figures if f]

    def median(key):
        return round(statistics.median(f[key] for f in figures), 1) if figures else None

    return {'rounds': len(figures), 'rate': median('rate'), 'ratio': ratios(pairs),
            'p50_us': median('p50_us'), 'p99_us': median('p99_us'),
            'p99_ratio': ratios(pairs, 'p99_us'),
            'max_us': max((f['max_us'] for f in figures), default=None),
            'load_cpu_us': median('load_cpu_us'), 'errors': sum(f['errors'] for f in figures)}


def interleave(cases, rounds, measure):
    """Measures each case in every round, each round in another order: a list of dicts, one per
    round, from name to what measure(case) returned. cases is a dict from name to case."""
    names = list(cases)
    result = []
    for _ in range(rounds):
        measured = {name: measure(cases[name]) for name in shuffled(names)}
        result.append({name: measured[name] for name in names})
    return result


def summarize_rounds(rounds, reference):
    """A summary per name; reference(name) is whose figures of the same round it is compared to."""
    return {name: summarize([r[name] for r in rounds],
                            [(r[name], r[reference(name)]) for r in rounds])
            for name in (rounds[0] if rounds else ())}


def progress(what, seconds):
    """Says what is measured now, and about how long that takes."""
    print(f'{what}: about {seconds:.0f} s', flush=True)


def show_summary(title, summary):
    """Prints what summarize_rounds returned."""
    print(f'\n{title}')
    print(f'{"server":<26}{"conn/s":>8}{"ratio":>8}{"min":>7}{"max":>7}{"p50 us":>9}{"p99 us":>9}'
          f'{"ratio":>7}{"max us":>9}{"load us":>9}{"errors":>8}')
    for name, row in summary.items():
        if not row['ratio'] or not row['p99_ratio']:
            print(f'{name:<26}  not measured')
            continue
        print(f'{name:<26}{row["rate"]:>8.0f}{row["ratio"]["median"]:>8.2f}'
              f'{row["ratio"]["min"]:>7.2f}{row["ratio"]["max"]:>7.2f}{row["p50_us"]:>9.0f}'
              f'{row["p99_us"]:>9.0f}{row["p99_ratio"]["median"]:>7.2f}{row["max_us"]:>9}'
              f'{row["load_cpu_us"]:>9.1f}{row["errors"]:>8}')
    sys.stdout.flush()


def show_rows(title, columns, rows):
    """Prints any other table: columns are (heading, format) like ('PSS KiB', '.0f'), the first is
    the name's; rows are lists of values, None for what is not known."""
    def cell(value, form):
        return '-' if value is None else format(value, form)

    texts = [[heading for heading, _ in columns]]
    texts += [[cell(value, form) for value, (_, form) in zip(row, columns)] for row in rows]
    widths = [max(len(line[i]) for line in texts) for i in range(len(columns))]
    print(f'\n{title}')
    for line in texts:
        print('  '.join([line[0].ljust(widths[0])]
                        + [text.rjust(width) for text, width in zip(line[1:], widths[1:])]))
    sys.stdout.flush()
