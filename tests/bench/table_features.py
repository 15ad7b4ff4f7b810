# SPDX-License-Identifier: MIT
"""What the settings of a unit cost: hark run with and without each, beside a baseline that makes
the same system calls."""

import dataclasses
import os
import pathlib

import figures
import servers
from harness import TRANSPORTS
from unit_servers import hark_run

HELP = 'hark run with settings per connection, ratio to itself without'
PLAIN = 'plain'
ACTIVATE = 'hark activate'
HANDLER = 'static'

NO_REMOTE = ('UnsetEnvironment=REMOTE_ADDR REMOTE_PORT',)
NO_LIMIT = ('MaxConnections=4096',)
SOURCE_LIMIT = (*NO_LIMIT, 'MaxConnectionsPerSource=4096')
USER = ('User=65534', 'Group=65534')
LIMITS = ('LimitCORE=0', 'LimitMEMLOCK=65536', 'LimitNPROC=65536', 'LimitFSIZE=1G', 'LimitDATA=1G')
NICE = ('Nice=5', 'OOMScoreAdjust=100')


@dataclasses.dataclass(frozen=True)
class Setting:
    """What one row is about."""

    name: str
    socket: tuple = NO_LIMIT
    service: tuple = NO_REMOTE
    arguments: str = ''
    calls: str = 's'  # the baseline's options: the same system calls
    transports: tuple = TRANSPORTS
    root: bool = False  # nobody else can do that


SETTINGS = (
    Setting(PLAIN),
    Setting('%i', arguments='%i', calls='sp'),
    Setting('REMOTE_*', service=(), calls='sp', transports=('tcp',)),
    Setting('per-source limit', socket=SOURCE_LIMIT),
    Setting('User=', service=(*NO_REMOTE, *USER), calls='su', root=True),
    Setting('five Limit*=', service=(*NO_REMOTE, *LIMITS), calls='sl'),
    Setting('niceness, OOM', service=(*NO_REMOTE, *NICE), calls='sn'),
    Setting('all of them', SOURCE_LIMIT, (*USER, *LIMITS, *NICE), '%i', 'splun', root=True),
)


def is_open_to_all(program):
    """May another user execute it?"""
    path = pathlib.Path(program).resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def find_settings(harness):
    if os.geteuid() != 0:
        why = 'not root'
    elif not is_open_to_all(harness.program(f'handler-{HANDLER}')):
        why = 'the build directory is not open to others'
    else:
        return SETTINGS
    print(f'skipped: User=, and all settings at once: {why}')
    return tuple(s for s in SETTINGS if not s.root)


def baseline_name(calls):
    return f'{servers.BASELINE} -{calls}'


def hark_name(setting):
    return f'run, {setting.name}'


def compare(harness, settings, transport, options):
    settings = [s for s in settings if transport in s.transports]
    kinds = [*servers.references(options.build_dir),
             servers.hark(options.build_dir, name=ACTIVATE)]
    kinds += [servers.baseline(options.build_dir, f'-{calls}', name=baseline_name(calls))
              for calls in dict.fromkeys(s.calls for s in settings)]
    kinds += [hark_run(options.build_dir, hark_name(s), s.socket, s.service, arguments=s.arguments)
              for s in settings]
    concurrency = options.concurrency[0]
    figures.progress(f'features, {transport}',
                     len(kinds) * options.rounds * (options.seconds * 1.25 + 0.2))
    rounds = figures.interleave(
        {kind.name: kind for kind in kinds}, options.rounds,
        lambda kind: harness.measure(kind, transport, HANDLER, concurrency))
    return {'transport': transport, 'concurrency': concurrency, 'rounds': rounds,
            'summary': figures.summarize_rounds(rounds, lambda _: servers.BASELINE),
            'settings': {s.name: compare_setting(rounds, s) for s in settings}}


def compare_setting(rounds, setting):
    """The ratio to itself without the setting, the same of the baseline, and of the two."""
    hark, hark_plain = hark_name(setting), hark_name(SETTINGS[0])
    base, base_plain = baseline_name(setting.calls), baseline_name(SETTINGS[0].calls)

    def pairs(one, other):
        return [(r[one], r[other]) for r in rounds]

    whole = [r for r in rounds if all(r[n] for n in (hark, hark_plain, base, base_plain))]
    return {'hark': figures.ratios(pairs(hark, hark_plain)),
            'baseline': figures.ratios(pairs(base, base_plain)),
            'to_baseline': figures.ratios(pairs(hark, base)),
            'beyond_calls': figures.spread(
                [r[hark]['rate'] / r[hark_plain]['rate'] / r[base]['rate'] * r[base_plain]['rate']
                 for r in whole])}


def measure(harness, options):
    settings = find_settings(harness)
    return {'kind': 'features',
            'cases': [compare(harness, settings, t, options) for t in options.transport]}


def show(result):
    for case in result['cases']:
        title = f'{case["transport"]}, static handler, concurrency {case["concurrency"]}'
        figures.show_summary(f'{title}; ratio to the baseline', case['summary'])
        rows = []
        for name, row in case['settings'].items():
            cells = [name]
            for column in ('hark', 'baseline', 'to_baseline'):
                cells.append(row[column] and row[column]['median'])
            beyond = row['beyond_calls'] or dict.fromkeys(('median', 'min', 'max'))
            rows.append([*cells, beyond['median'], beyond['min'], beyond['max']])
        figures.show_rows(
            f'{title}; hark run and the baseline with the same system calls, each beside itself '
            'without them',
            [('setting', 's'), ('hark', '.2f'), ('baseline', '.2f'), ('hark/baseline', '.2f'),
             ('beyond the calls', '.2f'), ('min', '.2f'), ('max', '.2f')], rows)
