# SPDX-License-Identifier: MIT
"""systemd itself as a server that is compared: booted once, in a container, and idle while others
are measured."""

import contextlib
import itertools
import os
import pathlib
import shutil
import sys
import time

from harness import Failed, Job, Server
from servers import SYSTEMD

PORT = 1000  # of the container's own network
RECOVER_SECONDS = 30.0
CALM_SECONDS = 0.1
NEEDED = ('systemd-nspawn', 'nsenter', 'unshare', 'setpriv')


def socket_unit(address):
    return ('[Unit]\nDefaultDependencies=no\n[Socket]\n'
            f'ListenStream={address}\nAccept=yes\nBacklog=4096\nMaxConnections=100000\n'
            'TriggerLimitIntervalSec=0\nPollLimitIntervalSec=0\n')


def service_unit(handler):
    return ('[Unit]\nDefaultDependencies=no\nCollectMode=inactive-or-failed\n[Service]\n'
            f'ExecStart=-/hark/tests/bench/{handler}\nStandardInput=socket\n')


class Booted:
    """The container; its Server measures one pair of units for each transport and handler."""

    def __init__(self, machine, harness, cases):
        self.machine = machine
        self.harness = harness
        self.cases = cases
        self.server = Server(SYSTEMD, None, resident=self.serving)

    def address(self, case, seen_from_inside=False):
        transport, handler = case
        if transport == 'tcp':
            return f'127.0.0.1:{PORT + self.cases.index(case)}'
        directory = '/test' if seen_from_inside else self.machine.shared
        return f'{directory}/{handler}'

    @contextlib.contextmanager
    def serving(self, transport, handler):
        """A Job for the units of that case; at the end all of its instances are gone."""
        reach = ()
        if transport == 'tcp':
            reach = ('nsenter', '-t', str(self.machine.leader), '-n')
        yield Job(self.address((transport, handler)), self.harness.program(f'handler-{handler}'), 0,
                  self.machine.directory, reach)
        self.recover(f'bench-{transport}-{handler}.socket')

    def recover(self, socket):
        """Until nothing is left to clean up, so that the next server has the machine to itself."""
        deadline = time.monotonic() + RECOVER_SECONDS
        try:
            while time.monotonic() < deadline:
                before = self.cpu_ticks()
                time.sleep(CALM_SECONDS)
                if (self.cpu_ticks() == before
                        and self.machine.show(socket, 'NConnections') == '0'):
                    return
        except (AssertionError, OSError) as error:
            raise Failed(f'the container is gone: {error}') from None
        raise Failed(f'"{socket}" has not recovered after {RECOVER_SECONDS:.0f} s')

    def cpu_ticks(self):
        text = pathlib.Path(f'/proc/{self.machine.leader}/stat').read_text()
        return sum(int(field) for field in text.rpartition(')')[2].split()[11:13])


def import_machine(build_dir):
    """The fixture of the integration tests."""
    os.environ['HARK_BUILD_DIR'] = str(build_dir)
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'integration'))
    try:
        import systemd_machine  # pylint: disable=import-outside-toplevel
    finally:
        del sys.path[0]
    return systemd_machine.Machine


def why_not():
    """Why systemd cannot be booted here, or None."""
    if os.geteuid() != 0:
        return 'only root can boot it'
    missing = [name for name in NEEDED if not shutil.which(name)]
    return f'there is no "{missing[0]}"' if missing else None


@contextlib.contextmanager
def booted(harness, build_dir, transports, handlers):
    """The server for as long as it runs, or None after a line that says why."""
    with contextlib.ExitStack() as stack:
        server = None
        reason = why_not()
        if not reason:
            try:
                server = boot(stack, harness, import_machine(build_dir),
                              list(itertools.product(transports, handlers)))
            except (AssertionError, OSError) as error:
                reason = str(error)
        if reason:
            print(f'skipped: {SYSTEMD}: {reason}')
        yield server


def boot(stack, harness, machine_class, cases):
    machine = machine_class({})
    result = Booted(machine, harness, cases)
    sockets = []
    for case in cases:
        stem = f'bench-{case[0]}-{case[1]}'
        sockets.append(f'{stem}.socket')
        (machine.directory / f'units/{stem}.socket').write_text(
            socket_unit(result.address(case, seen_from_inside=True)))
        (machine.directory / f'units/{stem}@.service').write_text(
            service_unit(f'bench-handler-{case[1]}'))
    with harness.scheduling.for_server():
        stack.enter_context(machine)
    harness.residents.add(machine.child.pid)
    stack.callback(harness.residents.discard, machine.child.pid)
    machine.run('systemctl', 'log-level', 'err')
    machine.run('systemctl', 'start', *sockets)
    return result.server
