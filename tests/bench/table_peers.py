# SPDX-License-Identifier: MIT
"""hark beside everything else that serves one process per connection, systemd itself included."""

import contextlib
import itertools
import subprocess

import booted_systemd
import figures
import servers
from harness import Failed

HELP = 'hark against systemd, inetd, xinetd, s6, ucspi, ipsvd and socat (tests/setup bench)'


def wanted(options, name):
    return not options.server or name in options.server


def runs(harness, kind, transport, handler):
    """Whether it serves one connection; says so when not."""
    try:
        with harness.serving(kind, transport, handler) as (job, _, _):
            _, whole = harness.load(job, 1, 0.05)
            if not whole:
                raise Failed('it does not answer')
    except (Failed, subprocess.TimeoutExpired) as failure:
        print(f'skipped: {kind.name}, {transport}: {failure}')
        return False
    return True


def measure_case(harness, kinds, case, options):
    transport, handler, concurrency = case
    here = {kind.name: kind for kind in kinds
            if transport in kind.transports and runs(harness, kind, transport, handler)}
    figures.progress(f'{transport}, {handler} handler, concurrency {concurrency}, '
                     f'{len(here)} servers',
                     options.rounds * len(here) * (options.seconds * 1.25 + 0.2))
    rounds = figures.interleave(
        here, options.rounds,
        lambda kind: harness.measure(kind, transport, handler, concurrency))
    summary = figures.summarize_rounds(rounds, lambda _: servers.BASELINE)
    for name, row in summary.items():
        row['hark_ratio'] = figures.ratios([(r.get(servers.HARK), r[name]) for r in rounds])
    return {'transport': transport, 'handler': handler, 'concurrency': concurrency,
            'rounds': rounds, 'summary': summary}


def measure(harness, options):
    handlers = options.handler if 'handler' in options.given else ('static',)
    concurrency = options.concurrency if 'concurrency' in options.given else (16,)
    kinds = [*servers.references(options.build_dir), servers.hark(options.build_dir)]
    kinds += servers.find_peers([name for name in servers.PEERS if wanted(options, name)])
    cases = list(itertools.product(options.transport, handlers, concurrency))
    with contextlib.ExitStack() as stack:
        if wanted(options, servers.SYSTEMD):
            systemd = stack.enter_context(booted_systemd.booted(
                harness, options.build_dir, options.transport, handlers))
            kinds += [systemd] if systemd else []
        return {'kind': 'peers',
                'cases': [measure_case(harness, kinds, case, options) for case in cases]}


def show(result):
    columns = (('server', ''), ('conn/s', '.0f'), ('ratio to baseline', '.3f'),
               ('hark ÷ it', '.2f'), ('min', '.2f'), ('max', '.2f'), ('p50 us', '.0f'),
               ('p99 us', '.0f'), ('errors', 'd'))
    for case in result['cases']:
        rows = []
        for name, row in case['summary'].items():
            ratio, hark = row['ratio'] or {}, row['hark_ratio'] or {}
            rows.append([name, row['rate'], ratio.get('median'), hark.get('median'),
                         hark.get('min'), hark.get('max'), row['p50_us'], row['p99_us'],
                         row['errors']])
        rows.sort(key=lambda values: -(values[1] or 0))
        figures.show_rows(f'{case["transport"]}, {case["handler"]} handler, concurrency '
                          f'{case["concurrency"]}; ratios are of conn/s in the same round',
                          columns, rows)
