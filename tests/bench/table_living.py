# SPDX-License-Identifier: MIT
"""What living handlers cost: each server against itself, with K handlers alive and with none."""

import figures
import servers

HELP = 'ratio to the same server without living handlers (default)'
CONCURRENCY = 16


def measure(harness, options):
    # A busy peer with thousands of children is no news, and takes minutes.
    kinds = [kind for kind in servers.find(options.build_dir, options.server)
             if kind.name in (servers.BASELINE, servers.HARK)]
    holds = sorted({0, *options.hold})
    cases = {f'{kind.name}, {k} alive': (kind, k) for kind in kinds for k in holds}
    figures.progress(f'living handlers: {holds[1:]}',
                     len(cases) * options.rounds * (options.seconds * 1.25 + 1))
    rounds = figures.interleave(
        cases, options.rounds,
        lambda case: harness.measure(case[0], 'unix', 'hold', CONCURRENCY, case[1]))
    summary = figures.summarize_rounds(
        rounds, lambda name: f'{cases[name][0].name}, 0 alive')
    return {'kind': 'living', 'hold': holds[1:], 'transport': 'unix', 'handler': 'hold',
            'concurrency': CONCURRENCY, 'rounds': rounds, 'summary': summary}


def show(result):
    figures.show_summary(f'unix, concurrency {result["concurrency"]}, living handlers; '
                         'ratio to the same server with none', result['summary'])
