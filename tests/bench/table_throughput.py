# SPDX-License-Identifier: MIT
"""How many connections a second, and how fast each, beside the baseline."""

import itertools

import figures
import servers

HELP = 'connections per second and latency, ratio to the baseline (default)'


def measure(harness, options):
    kinds = servers.find(options.build_dir, options.server)
    cases = list(itertools.product(options.transport, options.handler, options.concurrency))
    result = {'kind': 'throughput', 'cases': []}
    for transport, handler, concurrency in cases:
        figures.progress(f'{transport}, {handler} handler, concurrency {concurrency}',
                         options.rounds * len(kinds) * (options.seconds * 1.25 + 0.1))
        rounds = figures.interleave(
            {kind.name: kind for kind in kinds}, options.rounds,
            lambda kind, case=(transport, handler, concurrency): harness.measure(kind, *case))
        result['cases'].append({
            'transport': transport, 'handler': handler, 'concurrency': concurrency,
            'rounds': rounds,
            'summary': figures.summarize_rounds(rounds, lambda _: servers.BASELINE)})
    return result


def show(result):
    for case in result['cases']:
        figures.show_summary(f'{case["transport"]}, {case["handler"]} handler, concurrency '
                             f'{case["concurrency"]}; ratio to the baseline', case['summary'])
