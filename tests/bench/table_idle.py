# SPDX-License-Identifier: MIT
"""What a server costs that has nothing to do: memory, start, wake-ups."""

import contextlib
import pathlib
import select
import socket
import statistics
import subprocess
import time

import figures
import servers
from processes import memory
from harness import START_SECONDS, Failed, NotifySocket, connect
from unit_servers import hark_run

HELP = 'memory, time to start, wake-ups, beside systemd-socket-activate and s6-ipcserver'
CONNECTIONS = 1000
MEMORY_STARTS = 9
SETTLE_SECONDS = 0.5  # 1000 exits are reported in 0.25 s: 100 datagrams of 4 KiB a second
POLL_SECONDS = 0.0001


def find(options):
    build_dir = options.build_dir
    def wanted(name):
        return not options.server or name in options.server

    kinds = [servers.hark(build_dir), hark_run(build_dir, servers.HARK_RUN)]
    kinds = [servers.baseline(build_dir)] + [kind for kind in kinds if wanted(kind.name)]
    return kinds + servers.find_peers(
        [name for name in (servers.SYSTEMD_SOCKET_ACTIVATE, servers.S6_IPCSERVER) if wanted(name)])


# ---- time --------------------------------------------------------------------------------------


class ExecClock:
    """Of a server's process when it called execve: what comes before is not the server's fault, nor
    is the memory of ours, which stamp has given back by then."""

    def __init__(self, harness, job):
        self._path = job.directory / 'stamp'
        self.starter = (harness.program('stamp'), str(self._path))

    def _stamp(self):
        return [int(text) for text in self._path.read_text().split()]

    def milliseconds_since(self):
        return (time.monotonic_ns() - self._stamp()[1]) / 1e6

    def cpu_milliseconds_since(self, pids):
        """What they have computed; unlike the time it took, it does not depend on who else is."""
        with contextlib.suppress(OSError):
            now = sum(int(path.read_text().split()[0]) for pid in pids for path in
                      pathlib.Path(f'/proc/{pid}/task').glob('*/schedstat'))
            return round((now - self._stamp()[0]) / 1e6, 2)
        return None


def await_ready(notify):
    """A plain reader: a thread that reads for us would be a wake-up more."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if select.select([notify], [], [], START_SECONDS)[0]:
            if b'READY=1' in notify.recv(65536).split(b'\n'):
                return
    raise Failed('no READY=1 in time')


def await_reply(address):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), connect(address) as client:
            client.settimeout(START_SECONDS)
            if client.recv(16) == b'ok\n':
                return
        time.sleep(POLL_SECONDS)
    raise Failed('no answer in time')


def time_start(harness, kind, until_ready):
    """Milliseconds from exec to READY=1, or else to the end of the first reply."""
    job = harness.new_job('unix', 'static')
    clock = ExecClock(harness, job)
    notify_path = job.directory / 'notify'
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(notify_path))
        process = harness.start(kind, job, notify_path if kind.notify else None, clock.starter)
        try:
            if until_ready:
                await_ready(notify)
            else:
                await_reply(job.address)
            return clock.milliseconds_since()
        finally:
            harness.stop(process, kind.name)
            harness.reap_handlers(kind.name)


def time_starts(harness, kinds, starts):
    """{name: {'ready_ms': [...], 'reply_ms': [...]}}, in each round all kinds."""
    figures.progress(f'{starts} starts of {len(kinds)} servers', starts * len(kinds) * 0.06)
    result = {kind.name: {'ready_ms': [], 'reply_ms': []} for kind in kinds}
    for _ in range(starts):
        for kind in figures.shuffled(kinds):
            for what, until_ready in (('ready_ms', True), ('reply_ms', False)):
                if until_ready and not kind.notify:
                    continue
                if harness.calm:
                    harness.await_calm()
                try:
                    result[kind.name][what].append(time_start(harness, kind, until_ready))
                except Failed as failure:
                    harness.problem(f'{kind.name}: {failure}')
    return result


# ---- memory and wake-ups -----------------------------------------------------------------------


def is_zombie(pid):
    try:
        text = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return True
    return text.rpartition(')')[2].split()[0] in 'ZX'


def family(pid):
    """A process and all below it; not the zombies that it will wait for when it wakes up."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for path in pathlib.Path(f'/proc/{one}/task').glob('*/children'):
                found += [int(child) for child in path.read_text().split()
                          if not is_zombie(int(child))]
    return found


def switches(pids):
    """How often their threads have slept so far: an idle one that wakes up goes to sleep again."""
    return sum(int(line.split()[1]) for pid in pids
               for path in pathlib.Path(f'/proc/{pid}/task').glob('*/status')
               for line in path.read_text().splitlines()
               if line.startswith('voluntary_ctxt_switches'))


def await_listening(process, job, notify):
    """Ready as far as it says, without a connection."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if notify.ready.is_set() if notify else pathlib.Path(job.address).exists():
            time.sleep(SETTLE_SECONDS)
            return
        time.sleep(0.005)
    raise Failed('it has not started')


def await_fewer(process, count):
    """Until the handlers of the load are gone."""
    deadline = time.monotonic() + START_SECONDS
    while len(family(process.pid)) > count and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(SETTLE_SECONDS)


@contextlib.contextmanager
def resting(harness, kind):
    """A server that has started and has done nothing yet, as (job, clock, process)."""
    job = harness.new_job('unix', 'static')
    notify = NotifySocket(job.directory / 'notify') if kind.notify else None
    clock = ExecClock(harness, job)
    process = harness.start(kind, job, job.directory / 'notify' if notify else None,
                            clock.starter)
    try:
        await_listening(process, job, notify)
        yield job, clock, process
    finally:
        harness.stop(process, kind.name)
        harness.reap_handlers(kind.name)
        if notify:
            notify.close()


def measure_started(harness, kind):
    """Memory when started. What the kernel maps of a library around a fault depends on where it
    lies, which is random: 3 % to both sides."""
    samples = []
    for _ in range(MEMORY_STARTS):
        with resting(harness, kind) as (_, _, process):
            samples.append(memory(family(process.pid)))
    return {key: round(statistics.median(sample[key] for sample in samples))
            for key in samples[0]}


def measure_rest(harness, kind, seconds):
    """Memory when started, memory after some work, and wake-ups after that."""
    result = {'started': measure_started(harness, kind)}
    with resting(harness, kind) as (job, clock, process):
        pids = family(process.pid)
        result.update(processes=len(pids), cpu_ms=clock.cpu_milliseconds_since(pids))
        _, whole = harness.load(job, 16, seconds, count=CONNECTIONS)
        if not whole:
            harness.problem(f'{kind.name}: the load was not served')
        await_fewer(process, result['processes'])
        pids = family(process.pid)
        result['used'] = memory(pids)
        before = switches(pids)
        time.sleep(seconds)
        result['wake_ups'], result['seconds'] = switches(pids) - before, seconds
        return result


def measure(harness, options):
    kinds = find(options)
    result = {'kind': 'idle', 'connections': CONNECTIONS, 'servers': {}}
    seconds = 1.0 if options.quick else 5.0
    figures.progress(f'memory and wake-ups of {len(kinds)} servers',
                     len(kinds) * (seconds + 1.0 + 0.6 * MEMORY_STARTS))
    for kind in kinds:
        try:
            result['servers'][kind.name] = measure_rest(harness, kind, seconds)
        except (Failed, OSError, subprocess.TimeoutExpired) as failure:
            harness.problem(f'{kind.name}: {failure}')
    starts = options.rounds * (3 if options.quick else 5)
    for name, times in time_starts(harness, kinds, starts).items():
        result['servers'].setdefault(name, {}).update(
            times, ready=figures.spread(times['ready_ms'], 2),
            reply=figures.spread(times['reply_ms'], 2))
    result['starts'] = starts
    return result


def show(result):
    columns = (('server', ''), ('processes', 'd'), ('PSS KiB', 'd'), ('own', 'd'),
               ('PSS used', 'd'), ('own', 'd'), ('wake-ups', 'd'), ('CPU ms', '.1f'),
               ('READY ms', '.2f'), ('min', '.2f'), ('max', '.2f'), ('reply ms', '.2f'),
               ('min', '.2f'), ('max', '.2f'))
    rows = []
    for name, row in result['servers'].items():
        started, used = row.get('started', {}), row.get('used', {})
        ready, reply = row['ready'] or {}, row['reply'] or {}
        rows.append([name, row.get('processes'), started.get('pss_kib'),
                     started.get('own_kib'), used.get('pss_kib'), used.get('own_kib'),
                     row.get('wake_ups'), row.get('cpu_ms'), ready.get('median'),
                     ready.get('min'), ready.get('max'), reply.get('median'),
                     reply.get('min'), reply.get('max')])
    seconds = next((row['seconds'] for row in result['servers'].values() if 'seconds' in row), 0)
    figures.show_rows(f'Idle: memory when started and after {result["connections"]} connections '
                      f'(KiB, all processes), wake-ups in {seconds:.0f} s; CPU used until idle, '
                      'from exec to READY=1 and to the first whole reply, '
                      f'{result["starts"]} starts each',
                      columns, rows)
