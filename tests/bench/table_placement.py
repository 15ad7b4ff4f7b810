# SPDX-License-Identifier: MIT
"""Where hark may run: a CPU that somebody else takes, fewer CPUs, half of one; how many fork
servers are right then, and whether hark keeps to what it was given."""

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys

import figures
import groups
import processes
import servers
from harness import Failed, NotifySocket, Server, connect, die_with_parent

HELP = 'a hogged CPU, one CPU, half a CPU; 1, 2 and 8 fork servers; is the affinity kept'
HANDLER = 'static'
SERVERS = (1, 2, 8)
QUOTA_USEC, PERIOD_USEC = 50000, 100000
ASKED = 60  # connections until we believe that all fork servers have answered
SECONDS = 5.0

# A program that is started on some CPUs only.
SET_AFFINITY = ('import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(","))); '
                'os.execv(sys.argv[2], sys.argv[2:])')


@dataclasses.dataclass
class Condition:
    """Where servers are started: prefix comes before their commands."""

    name: str
    prefix: tuple = ()
    hogged: bool = False  # the first CPU, by a busy loop


def placed(server, condition):
    return dataclasses.replace(server, command=lambda job: [*condition.prefix,
                                                            *server.command(job)])


# ---- control groups ------------------------------------------------------------------------------


def cpu_list(cpus):
    return ','.join(str(cpu) for cpu in sorted(cpus))


def cpuset_settings(cpus):
    return {False: {'cpuset.mems': None, 'cpuset.cpus': cpu_list(cpus)},
            True: {'cpuset.cpus': cpu_list(cpus)}}


def quota_settings():
    return {False: {'cpu.cfs_period_us': str(PERIOD_USEC), 'cpu.cfs_quota_us': str(QUOTA_USEC)},
            True: {'cpu.max': f'{QUOTA_USEC} {PERIOD_USEC}'}}


def confine(cpus):
    return (sys.executable, '-S', '-E', '-c', SET_AFFINITY, cpu_list(cpus))


@contextlib.contextmanager
def hog(cpu):
    """A busy loop on one CPU."""
    process = subprocess.Popen([*confine([cpu]), sys.executable, '-S', '-E', '-c',
                                'while True: pass'], preexec_fn=die_with_parent)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


# ---- throughput ----------------------------------------------------------------------------------


def find_conditions(stack):
    """What can be had here; groups go with the stack."""
    first = min(os.sched_getaffinity(0))
    yield Condition('idle')
    yield Condition('a CPU hogged', hogged=True)
    yield Condition('affinity of one CPU', confine([first]))
    for name, controller, settings in (
            ('cpuset of one CPU', 'cpuset', cpuset_settings([first])),
            ('quota of half a CPU', 'cpu', quota_settings())):
        try:
            group = stack.enter_context(groups.new_group(controller, settings))
        except (Failed, OSError) as error:
            print(f'skipped: {name}: {error}')
            continue
        yield Condition(name, groups.enter(group))


def measure_one(harness, condition, server, options):
    case = (placed(server, condition), 'unix', HANDLER, options.concurrency[0], None)
    if not condition.hogged:
        return harness.measure(*case)
    if harness.calm:
        harness.await_calm()
    with hog(min(os.sched_getaffinity(0))) as process:
        harness.residents.add(process.pid)
        # Not measure(), which would take the hog for one who disturbs.
        return harness.try_to_measure(*case)


def compare(harness, conditions, options):
    kinds = [*servers.references(options.build_dir), servers.hark(options.build_dir)]
    kinds += [servers.hark(options.build_dir, f'--fork-servers={n}', name=hark_name(n))
              for n in SERVERS]
    cases = {f'{condition.name}: {kind.name}': (condition, kind)
             for condition in conditions for kind in kinds}
    figures.progress('placement', len(cases) * options.rounds * (options.seconds * 1.25 + 0.2))
    rounds = figures.interleave(cases, options.rounds,
                                lambda case: measure_one(harness, *case, options))
    return {'rounds': rounds, 'conditions': {
        c.name: summarize_condition(rounds, c.name, conditions[0].name, [k.name for k in kinds])
        for c in conditions}}


def summarize_condition(rounds, name, idle, kinds):
    """Beside the baseline under this condition, and beside itself under none."""
    here = [{kind: r[f'{name}: {kind}'] for kind in kinds} for r in rounds]
    summary = figures.summarize_rounds(here, lambda _: servers.BASELINE)
    for kind in kinds:
        summary[kind]['to_idle'] = figures.ratios(
            [(r[f'{name}: {kind}'], r[f'{idle}: {kind}']) for r in rounds])
    return summary


def hark_name(n):
    return f'{servers.HARK}, {n} server{"s" if n > 1 else ""}'


# ---- is the affinity kept? -----------------------------------------------------------------------


def parse_cpus(text):
    cpus = set()
    for part in text.strip().split(','):
        first, _, last = part.partition('-')
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def allowed_cpus(status):
    """Of a process, from its /proc/PID/status; None when there is no such line."""
    for line in status.splitlines():
        if line.startswith('Cpus_allowed_list:'):
            return parse_cpus(line.split()[1])
    return None


def ask(address):
    with contextlib.suppress(OSError), connect(address) as client:
        client.settimeout(SECONDS)
        with client.makefile() as reply:
            return allowed_cpus(reply.read())
    return None


@contextlib.contextmanager
def telling(harness, options, prefix):
    """hark with handlers that tell where they may run, as (address, its pid)."""
    job = harness.new_job('unix', HANDLER)
    program = str(options.build_dir / 'src/cli/hark')
    server = Server(servers.HARK, lambda job: [
        *prefix, program, 'activate', '-a', '--inetd', '-l', job.address, 'grep',
        'Cpus_allowed_list', '/proc/self/status'])
    notify = NotifySocket(job.directory / 'notify')
    process = harness.start(server, job, job.directory / 'notify')
    try:
        if not notify.ready.wait(SECONDS):
            raise Failed('no READY=1 in time')
        yield job.address, process.pid
    finally:
        harness.stop(process, server.name)
        harness.reap_handlers(server.name)
        notify.close()


def observe(harness, name, address, pid):
    """Where hark may run now, and where its fork servers and handlers do."""
    given = allowed_cpus(pathlib.Path(f'/proc/{pid}/status').read_text())
    answers = [ask(address) for _ in range(ASKED)]
    forkers = []
    for server in processes.fork_servers(pid):
        with contextlib.suppress(OSError):
            status = pathlib.Path(f'/proc/{server}/status').read_text()
            forkers.append(cpu_list(allowed_cpus(status)))
    lost = answers.count(None)
    handlers = {cpu_list(answer) for answer in answers if answer is not None}
    if lost:
        harness.problem(f'{name}: {lost} of {ASKED} connections had no answer')
    inside = all(parse_cpus(cpus) <= given for cpus in forkers)
    return {'name': name, 'given': cpu_list(given), 'servers': forkers,
            'handlers': sorted(handlers), 'lost': lost,
            'kept': inside and handlers == {cpu_list(given)} and lost == 0}


def observe_cpusets(harness, options, name, steps):
    """The cpuset changes while hark runs."""
    with groups.new_group('cpuset', cpuset_settings(steps[0])) as group:
        with telling(harness, options, groups.enter(group)) as (address, pid):
            for i, cpus in enumerate(steps):
                (group / 'cpuset.cpus').write_text(cpu_list(cpus))
                yield observe(harness, f'{name}, {i + 1}: {cpu_list(cpus)}', address, pid)


def observe_all(harness, options):
    cpus = sorted(os.sched_getaffinity(0))
    first, last = cpus[:1], cpus[-1:]
    for name, prefix in (('as it is', ()), ('affinity of one CPU', confine(first))):
        with telling(harness, options, prefix) as (address, pid):
            yield observe(harness, name, address, pid)
    with contextlib.suppress(Failed, OSError), groups.new_group('cpu', quota_settings()) as group:
        with telling(harness, options, groups.enter(group)) as (address, pid):
            yield observe(harness, 'quota of half a CPU', address, pid)
    for name, steps in (('cpuset shrinks', (cpus, first, cpus)),
                        ('cpuset moves', (first, last)), ('cpuset grows', (first, cpus))):
        try:
            yield from observe_cpusets(harness, options, name, steps)
        except (Failed, OSError) as error:
            print(f'skipped: {name}: {error}')


def measure(harness, options):
    with contextlib.ExitStack() as stack:
        result = compare(harness, list(find_conditions(stack)), options)
    return {'kind': 'placement', 'concurrency': options.concurrency[0], **result,
            'affinity': list(observe_all(harness, options))}


def show(result):
    rows = []
    for condition, summary in result['conditions'].items():
        for name, row in summary.items():
            ratio = row['ratio'] or dict.fromkeys(('median', 'min', 'max'))
            rows.append([condition, name, row['rate'], ratio['median'], ratio['min'], ratio['max'],
                         row['p50_us'], row['p99_us'],
                         row['p99_ratio'] and row['p99_ratio']['median'],
                         row['to_idle'] and row['to_idle']['median']])
    figures.show_rows(
        f'unix, static handler, concurrency {result["concurrency"]}; ratios to the baseline under '
        'the same condition, and to itself on the idle machine',
        [('condition', 's'), ('server', 's'), ('conn/s', '.0f'), ('ratio', '.2f'), ('min', '.2f'),
         ('max', '.2f'), ('p50 us', '.0f'), ('p99 us', '.0f'), ('ratio', '.2f'),
         ('to idle', '.2f')], rows)
    figures.show_rows(
        'where hark and its processes may run',
        [('hark activate', 's'), ('given', 's'), ('fork servers', 's'), ('handlers', 's'),
         ('lost', 'd'), ('kept', 's')],
        [[r['name'], r['given'], ' '.join(r['servers']), ' '.join(r['handlers']) or '-', r['lost'],
          'yes' if r['kept'] else 'NO'] for r in result['affinity']])
