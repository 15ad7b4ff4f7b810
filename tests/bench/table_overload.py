# SPDX-License-Identifier: MIT
"""Four times as many connections as can be served: what becomes of them, of hark's memory, and how
fast all is well again."""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import resource
import socket
import struct
import subprocess
import time

import figures
import processes
import servers
from harness import Failed, connect, die_with_parent, libc
from unit_servers import hark_run

HELP = 'offered four times what can be served: served or refused, memory, recovery'
HANDLER = 'hold'  # the client speaks first
TIMES = 4
OVERLOAD_SCALE = 20  # 30 s of --seconds 1.5
RATE_SCALE = 4 / 3
PATIENCE = 150  # TCP retransmits every 120 s at last
UNDER_WAY = 16000
OTHER_FILES = 64
MAX_CONNECTIONS = 16
CAPACITY_CONCURRENCY = 4 * MAX_CONNECTIONS
RATE_CONCURRENCY = 4  # far from the limit: nobody is refused without overload
PROBES = 5
SAMPLES = 40
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


@dataclasses.dataclass(frozen=True)
class Case:
    """One overload. Slow handlers meet MaxConnections= and leave the CPU idle, quick ones the
    reverse."""

    transport: str
    overflow: str  # or nothing: the baseline
    slow: bool

    @property
    def name(self):
        kind = f'hark, {self.overflow}' if self.overflow else servers.BASELINE
        return f'{self.transport}, {"10 ms" if self.slow else "quick"}, {kind}'

    def server(self, options):
        if not self.overflow:
            return servers.baseline(options.build_dir)
        # Nobody holds a place who has not given an order yet.
        defer = ('DeferAcceptSec=60',) if self.transport == 'tcp' else ()
        return hark_run(options.build_dir, self.name,
                        (f'MaxConnections={MAX_CONNECTIONS}', *defer), overflow=self.overflow)


def find_cases(transports):
    for transport in transports:
        yield Case(transport, '', False)
        for slow in (False, True):
            for overflow in ('wait', 'close'):
                yield Case(transport, overflow, slow)


# ---- network -------------------------------------------------------------------------------------


@contextlib.contextmanager
def network_with_room(harness):
    """A network namespace with loopback alone, and backlogs with room for all who are under way. A
    full one drops SYNs and orders, and Linux sends those again after seconds, then minutes: what
    became of the server would be a matter of chance."""
    with open('/proc/thread-self/ns/net', 'rb') as before:
        if libc.unshare(CLONE_NEWNET) < 0:
            harness.problem('no network namespace of its own (run it as root): the backlogs are '
                            'too short')
            yield
            return
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack('16sH14x', b'lo', IFF_UP))
            for name in 'core/somaxconn', 'ipv4/tcp_max_syn_backlog':
                pathlib.Path('/proc/sys/net', name).write_text(str(2 * UNDER_WAY))
            yield
        finally:
            if libc.setns(before.fileno(), CLONE_NEWNET) < 0:
                raise OSError('the network of before is not to be had')


# ---- loads ---------------------------------------------------------------------------------------


def closed_loop(harness, case, job, seconds, concurrency):
    command = [harness.program('load'), '-c', str(concurrency), '-k', '0', '-t', f'{seconds:.3f}']
    command += ['-w', f'{seconds / 4:.3f}'] if seconds > 1 else []
    command += ['-s'] if case.slow else []
    done = subprocess.run([*command, job.place], check=False, capture_output=True, text=True,
                          timeout=seconds + PATIENCE, preexec_fn=die_with_parent)
    if done.returncode not in (0, 1):
        raise Failed(f'the load failed: {done.stderr.strip()}')
    result = json.loads(done.stdout)
    if result['errors']:
        harness.problem(f'{case.name}: {result["errors"]} errors without overload, first '
                        f'"{result["first_error"]}"')
    return result


def probe(address):
    """Microseconds of one connection."""
    begin = time.monotonic()
    with contextlib.suppress(OSError), connect(address) as client:
        client.settimeout(PATIENCE)
        client.sendall(b'q')
        with client.makefile('rb') as reply:
            if reply.read() == b'ok\n':
                return round((time.monotonic() - begin) * 1e6)
    return None


def go_first(harness):
    """In the child: arrivals do not depend on what the server leaves of the CPUs. A niceness counts
    within a group only."""
    harness.join_servers()
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)


def open_loop(harness, case, job, rate, seconds, look):
    """Meanwhile look(time since the begin) every now and then."""
    under_way = min(UNDER_WAY, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - OTHER_FILES)
    command = [harness.program('overload'), '-r', str(rate), '-t', f'{seconds:.3f}',
               '-p', str(PATIENCE), '-o', str(under_way), *(['-s'] if case.slow else []), job.place]
    begin = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=lambda: go_first(harness)) as process:
        try:
            while process.poll() is None:
                look(time.monotonic() - begin)
                time.sleep(seconds / SAMPLES)
            output, complaint = process.communicate()
        finally:
            process.kill()
    if process.returncode not in (0, 1):
        raise Failed(f'the load failed: {complaint.strip()}')
    return json.loads(output)


# ---- one case ------------------------------------------------------------------------------------


class Sampler:
    """Memory and descriptors of hark's own processes, which do not change."""

    def __init__(self, pid):
        self.pids = [pid, *processes.fork_servers(pid)]
        self.samples = []

    def __call__(self, seconds):
        with contextlib.suppress(OSError):
            self.samples.append({'seconds': round(seconds, 2), **processes.memory(self.pids),
                                 'files': processes.open_files(self.pids)})

    def at(self, seconds):
        return min(self.samples, key=lambda s: abs(s['seconds'] - seconds), default=None)

    def peak(self, key):
        return max((s[key] for s in self.samples), default=None)


def check(harness, case, load):
    known = sum(load[key] for key in ('held_back', 'served', 'refused', 'failed', 'unanswered'))
    if load['failed'] or load['unanswered'] or known != load['arrivals']:
        harness.problem(f'{case.name}: of {load["arrivals"]} {load["failed"]} failed, '
                        f'{load["unanswered"]} had no answer, {load["errors"]}')
    if load['refused'] and case.overflow != 'close':
        harness.problem(f'{case.name}: {load["refused"]} refused, {load["resets"]} by a reset')


def find_capacity(harness, case, options):
    """What is served to the same load that waits."""
    waiting = dataclasses.replace(case, overflow=case.overflow and 'wait')
    with harness.serving(waiting.server(options), case.transport, HANDLER) as (job, _, _):
        return closed_loop(harness, waiting, job, options.seconds * RATE_SCALE,
                           CAPACITY_CONCURRENCY)['rate']


def measure_case(harness, case, options):
    if harness.calm:
        harness.await_calm()
    capacity = find_capacity(harness, case, options)
    seconds, rate_seconds = options.seconds * OVERLOAD_SCALE, options.seconds * RATE_SCALE
    with harness.serving(case.server(options), case.transport, HANDLER) as (job, process, notify):
        before = closed_loop(harness, case, job, rate_seconds, RATE_CONCURRENCY)
        probes = [probe(job.address) for _ in range(PROBES)]
        sampler = Sampler(process.pid)
        sampler(0)
        load = open_loop(harness, case, job, round(TIMES * capacity), seconds, sampler)
        first = probe(job.address)
        after = closed_loop(harness, case, job, rate_seconds, RATE_CONCURRENCY)
        sampler(seconds + load['drain_seconds'] + rate_seconds)
        log = (job.directory / 'log').stat().st_size
    check(harness, case, load)
    if first is None:
        harness.problem(f'{case.name}: no answer after the overload')
    return {'capacity': capacity, 'load': load,
            'offered_ratio': load['arrivals'] / seconds / capacity,
            'served_ratio': load['served_meanwhile'] / seconds / capacity,
            'first_us': first, 'probe_us': figures.spread([p for p in probes if p], 0),
            'rate_before': before, 'rate_after': after,
            'recovery': after['rate'] / before['rate'] if before['rate'] else None,
            'samples': sampler.samples, 'start': sampler.samples[0],
            'middle': sampler.at(seconds / 2), 'end': sampler.at(seconds),
            'after': sampler.samples[-1],
            'peak': {key: sampler.peak(key) for key in ('pss_kib', 'own_kib', 'files')},
            'log_bytes': log,
            'exits_reported': notify.exits if notify else None}


def measure(harness, options):
    cases = list(find_cases(options.transport))
    seconds = options.seconds * (OVERLOAD_SCALE + 3.5 * RATE_SCALE) + 3
    figures.progress('overload', len(cases) * seconds)
    result = {}
    for case in cases:
        network = network_with_room(harness) if case.transport == 'tcp' else \
            contextlib.nullcontext()
        try:
            with network:
                result[case.name] = measure_case(harness, case, options)
        except (Failed, subprocess.TimeoutExpired) as failure:
            harness.problem(f'{case.name}: {failure}')
    return {'kind': 'overload', 'seconds': options.seconds * OVERLOAD_SCALE, 'cases': result}


def show(result):
    fates, own = [], []
    for name, case in result['cases'].items():
        load = case['load']
        fates.append([name, case['capacity'], case['offered_ratio'],
                      *(load[key] for key in ('arrivals', 'held_back', 'served', 'refused',
                                              'failed', 'unanswered')),
                      case['served_ratio'], load['p50_us'] / 1000, load['p99_us'] / 1000])
        own.append([name, *(case[when]['pss_kib'] for when in ('start', 'peak')),
                    *(case[when]['own_kib'] for when in ('start', 'middle', 'end', 'after')),
                    *(case[when]['files'] for when in ('start', 'peak', 'after')),
                    load['drain_seconds'], case['probe_us'] and case['probe_us']['median'],
                    case['first_us'], case['recovery']])
    figures.show_rows(
        f'{TIMES} times the capacity for {result["seconds"]:.0f} s; MaxConnections='
        f'{MAX_CONNECTIONS}',
        [('', 's'), ('capacity/s', '.0f'), ('offered', '.1f'), ('arrivals', 'd'),
         ('held back', 'd'), ('served', 'd'), ('refused', 'd'),
         ('failed', 'd'), ('unanswered', 'd'), ('served/capacity', '.2f'), ('p50 ms', '.0f'),
         ('p99 ms', '.0f')], fates)
    figures.show_rows(
        'its own processes, and the time after (rate at concurrency '
        f'{RATE_CONCURRENCY}, beside that before)',
        [('', 's'), ('PSS KiB', 'd'), ('peak', 'd'), ('own KiB', 'd'), ('middle', 'd'),
         ('end', 'd'), ('after', 'd'), ('files', 'd'), ('peak', 'd'), ('after', 'd'),
         ('drained s', '.1f'), ('probe us', '.0f'), ('first us', 'd'), ('rate', '.2f')], own)
