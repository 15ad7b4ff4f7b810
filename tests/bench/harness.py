# SPDX-License-Identifier: MIT
"""Starts servers and loads for the benchmarks, one after the other, and leaves nothing behind."""

import contextlib
import ctypes
import dataclasses
import itertools
import json
import os
import pathlib
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import typing

START_SECONDS = 5.0
STOP_SECONDS = 10.0
CONNECTION_SECONDS = 5.0
HOLD_SECONDS = 60.0
OTHERS_MAX = 0.15
TRIES_MAX = 4
CALM_SECONDS = 5.0
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

TRANSPORTS = ('unix', 'tcp')

TICKS_PER_SECOND = os.sysconf('SC_CLK_TCK')

libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A server or the load could not be run; the measurement is skipped and said so."""


def die_with_parent():
    """In the child: a killed benchmark leaves no server behind."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class NotifySocket:
    """Takes what hark reports, as a service manager would, and counts it."""

    def __init__(self, path):
        self.ready = threading.Event()
        self.exits = 0
        self._stop = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind(str(path))
        self._socket.settimeout(0.1)
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self):
        while not self._stop:
            try:
                message = b'\n' + self._socket.recv(65536)
            except TimeoutError:
                continue
            # Counted in one go: what this costs is taken from hark's share of the CPUs alone.
            self.exits += message.count(b'\nX_HARK_EXIT=')
            if b'\nREADY=1' in message:
                self.ready.set()

    def close(self):
        self._stop = True
        self._thread.join()
        self._socket.close()


@dataclasses.dataclass(frozen=True)
class Server:
    """A kind of server, and how it is started."""

    name: str
    # (job) -> argv. A relative path in it is one in job.directory, which is its own.
    command: typing.Optional[typing.Callable[['Job'], list]]
    notify: bool = False  # reports to NOTIFY_SOCKET, READY=1 above all
    transports: tuple = TRANSPORTS
    # It runs all the time: (transport, handler) -> context manager of a Job, instead of command.
    resident: typing.Optional[typing.Callable] = None


@dataclasses.dataclass(frozen=True)
class Job:
    """What one server is to do."""

    address: str  # a path, or 127.0.0.1:PORT
    handler: str  # its program
    hold: int  # so many handlers are to be alive beside the load
    directory: pathlib.Path
    reach: tuple = ()  # the load's command begins with this, to get to the server's network

    @property
    def place(self):
        """The path, or the port alone."""
        return self.address.rpartition(':')[2]


class Clock:
    """How much of all CPUs went to others: neither to us, nor to what we started and reaped."""

    def __init__(self):
        self._before = self._read()

    @staticmethod
    def _read():
        # user nice system idle iowait irq softirq steal
        text = pathlib.Path('/proc/stat').read_text().partition('\n')[0]
        ticks = [int(field) for field in text.split()[1:9]]
        own = sum(resource.getrusage(who)[i] for i in (0, 1)
                  for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return time.monotonic(), (sum(ticks) - ticks[3] - ticks[4]) / TICKS_PER_SECOND, own

    def others(self):
        """Their share since the clock was made."""
        elapsed, busy, own = (after - before for after, before
                              in zip(self._read(), self._before))
        return round(max(0, busy - own) / (elapsed * os.cpu_count()), 3)


class Harness:
    """Where servers and loads run: programs, directory, ports, and what went wrong."""

    def __init__(self, build_dir, seconds, directory, scheduling, calm=False):
        self.seconds = seconds
        self.scheduling = scheduling  # groups.SchedulingGroups
        self.calm = calm
        self.others = []  # their share in each measurement
        self.directory = directory
        self.serial = itertools.count()
        self.problems = []
        self.residents = set()  # children of ours that stay
        low = int(pathlib.Path('/proc/sys/net/ipv4/ip_local_port_range').read_text().split()[0])
        # Below the clients' ports, and never the same twice: no server meets another's TIME_WAIT.
        first = random.randrange(10240, max(low - 4096, 10241))
        self.ports = itertools.count(first)
        self.programs = build_dir / 'tests/bench'

    def program(self, name):
        path = self.programs / f'bench-{name}'
        if not os.access(path, os.X_OK):
            sys.exit(f'"{path}" is not built: build hark with -Dtests=true, or set HARK_BUILD_DIR')
        return str(path)

    def new_address(self, transport, directory):
        if transport == 'unix':
            return str(directory / 'sock')
        for port in itertools.islice(self.ports, 100):
            with contextlib.suppress(OSError), socket.socket() as probe:
                probe.bind(('127.0.0.1', port))
                return f'127.0.0.1:{port}'
        raise Failed('no free port')

    def new_job(self, transport, handler, hold=0):
        """An address of its own, in a directory of its own."""
        directory = self.directory / f'{next(self.serial)}'
        directory.mkdir()
        return Job(self.new_address(transport, directory), self.program(f'handler-{handler}'), hold,
                   directory)

    def join_servers(self):
        """In the child: it is in the servers' group, and dies with us."""
        die_with_parent()
        if self.scheduling.servers:
            (self.scheduling.servers / 'cgroup.procs').write_text('0')

    def start(self, server, job, notify_path=None, starter=()):
        """Starts a server, or a starter with the server's command after its own; what it prints
        goes to the file log in its directory."""
        # The same few variables for all: execve copies them, and whose shell this is must not
        # count. systemd-socket-activate logs each connection unless told not to: at its best,
        # please.
        environment = {'PATH': os.environ.get('PATH', os.defpath), 'LANG': 'C.UTF-8',
                       'SYSTEMD_LOG_LEVEL': 'err'}
        if notify_path:
            environment['NOTIFY_SOCKET'] = str(notify_path)
        with open(job.directory / 'log', 'wb') as log:
            return subprocess.Popen(
                [*starter, *server.command(job)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, cwd=job.directory, start_new_session=True,
                preexec_fn=self.join_servers)

    @contextlib.contextmanager
    def serving(self, server, transport, handler, hold=0):
        """A server that answers, as (job, process or None, notify socket or None); gone at the
        end, unless it is a resident."""
        if server.resident:
            with server.resident(transport, handler) as job:
                yield job, None, None
            return
        job = self.new_job(transport, handler, hold)
        notify = NotifySocket(job.directory / 'notify') if server.notify else None
        process = self.start(server, job, job.directory / 'notify' if notify else None)
        try:
            try:
                self.await_answer(process, job.address, notify, orders=handler == 'hold')
                yield job, process, notify
            except Failed as failure:
                log = (job.directory / 'log').read_text(errors='replace')
                lines = log.strip().splitlines()
                raise Failed(f'{failure}: {lines[-1]}' if lines else str(failure)) from None
        finally:
            self.stop(process, server.name)
            self.reap_handlers(server.name)
            if notify:
                notify.close()

    @staticmethod
    def await_answer(process, address, notify, orders):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise Failed(f'ended at start with status {process.returncode}')
            if notify and not notify.ready.wait(0.01):
                continue
            with contextlib.suppress(OSError), connect(address) as client:
                client.settimeout(START_SECONDS)
                if orders:
                    client.sendall(b'q')
                if client.recv(16) == b'ok\n':
                    return
            time.sleep(0.002)
        raise Failed('no READY=1 in time' if notify and not notify.ready.is_set()
                     else 'no answer in time')

    def stop(self, process, name):
        if process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.problem(f'{name}: still there {STOP_SECONDS:.0f} s after SIGTERM, killed')
            # Its own session, and the leader is not reaped yet: the group is ours.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def reap_handlers(self, name):
        """Waits for what outlived its server (we are a subreaper), so that it does not disturb the
        next measurement."""
        deadline = time.monotonic() + STOP_SECONDS
        killing = False
        while time.monotonic() < deadline or not killing:
            pids = {int(pid) for path in pathlib.Path('/proc/self/task').glob('*/children')
                    for pid in path.read_text().split()} - self.residents
            for pid in pids:
                if os.waitpid(pid, os.WNOHANG)[0] == 0 and killing:
                    os.kill(pid, signal.SIGKILL)  # not reaped yet, so it is still ours
            if not pids:
                return
            if not killing and time.monotonic() > deadline:
                self.problem(f'{name}: processes of it are still there {STOP_SECONDS:.0f} s '
                             'after its end, killed')
                killing = True
                deadline += STOP_SECONDS
            time.sleep(0.002)

    def problem(self, text):
        self.problems.append(text)
        print(f'problem: {text}', flush=True)

    def load(self, job, concurrency, seconds, hold=None, count=None):
        """Runs the load against a server, for a time or so many connections: (its figures, whether
        every reply was whole)."""
        command = [self.program('load'), '-c', str(concurrency),
                   '-T', f'{CONNECTION_SECONDS:.0f}']
        command += ['-n', str(count)] if count else ['-t', f'{seconds}', '-w', f'{seconds / 4:.3f}']
        if hold is not None:
            command += ['-k', str(hold)]
        bound = seconds * 1.25 + 3 * CONNECTION_SECONDS + HOLD_SECONDS
        done = subprocess.run([*job.reach, *command, job.place], check=False, capture_output=True,
                              text=True, timeout=bound, preexec_fn=die_with_parent)
        if done.returncode not in (0, 1):
            raise Failed(f'the load failed: {done.stderr.strip()}')
        return json.loads(done.stdout), done.returncode == 0

    def measure(self, server, transport, handler, concurrency, hold=None):
        """One measurement as a dict of load's figures, None when it failed; of several tries that
        were disturbed by others the one that was least."""
        best = None
        for _ in range(TRIES_MAX if self.calm else 1):
            if self.calm:
                self.await_calm()
            clock = Clock()
            figures = self.try_to_measure(server, transport, handler, concurrency, hold)
            # What a resident takes is not reaped, and would be taken for others'.
            if not figures or server.resident:
                return figures
            figures['others'] = clock.others()
            if not best or figures['others'] < best['others']:
                best = figures
            if best['others'] <= OTHERS_MAX:
                break
        self.others.append(best['others'])
        return best

    @staticmethod
    def await_calm():
        deadline = time.monotonic() + CALM_SECONDS
        while time.monotonic() < deadline:
            clock = Clock()
            time.sleep(0.1)
            if clock.others() <= OTHERS_MAX:
                return

    def try_to_measure(self, server, transport, handler, concurrency, hold):
        what = f'{server.name}, {transport}, {handler}, concurrency {concurrency}'
        try:
            with self.serving(server, transport, handler, hold or 0) as (job, _, notify):
                figures, whole = self.load(job, concurrency, self.seconds, hold)
                if notify:
                    figures['exits_reported'] = notify.exits
        except (Failed, subprocess.TimeoutExpired) as failure:
            self.problem(f'{what}: {failure}')
            return None
        if not whole:
            self.problem(f'{what}: {figures["errors"]} errors, first "{figures["first_error"]}", '
                         f'{figures.get("held_lost", 0)} held connections lost')
        return figures


@contextlib.contextmanager
def new_harness(build_dir, seconds, scheduling, calm=False):
    """The harness of a whole run; servers stop and the directory goes, whatever ends it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix='hark-bench-') as directory:
        yield Harness(build_dir, seconds, pathlib.Path(directory), scheduling, calm)


def connect(address):
    host, _, port = address.rpartition(':')
    client = socket.socket(socket.AF_INET if host else socket.AF_UNIX)
    try:
        client.connect((host, int(port)) if host else address)
    except OSError:
        client.close()
        raise
    return client
