# SPDX-License-Identifier: MIT
"""Control groups of both versions, as far as they can be had here."""

import contextlib
import dataclasses
import os
import pathlib
import time
import typing

from harness import Failed

SECONDS = 5.0
OWN_GROUPS = pathlib.Path('/proc/self/cgroup').read_text()  # before anything is changed
ARRANGEMENTS = ('apart', 'together', 'none')


def hierarchies(controller):
    """Where this process's group of a controller was at first: (directory, whether version 2)."""
    found = []
    mounts = {}
    for line in pathlib.Path('/proc/self/mountinfo').read_text().splitlines():
        fields, _, rest = line.partition(' - ')
        kind, _, options = rest.split()[:3]
        if kind == 'cgroup' and controller in options.split(','):
            mounts[1] = pathlib.Path(fields.split()[4])
        elif kind == 'cgroup2':
            mounts[2] = pathlib.Path(fields.split()[4])
    for line in OWN_GROUPS.splitlines():
        number, names, path = line.split(':', 2)
        if 1 in mounts and controller in names.split(','):
            found.append((mounts[1] / path.lstrip('/'), False))
        elif 2 in mounts and number == '0':
            found.append((mounts[2] / path.lstrip('/'), True))
    return found


def set_up_group(group, settings, is_unified):
    for name, value in settings[is_unified].items():
        if value is None:  # as the group above has it
            value = (group.parent / name).read_text()
        (group / name).write_text(value)


@contextlib.contextmanager
def new_group(controller, settings, name=''):
    """A group with settings[whether version 2], or Failed; gone at the end."""
    problems = [f'no controller "{controller}"']
    for parent, is_unified in hierarchies(controller):
        group = parent / f'hark-bench-{os.getpid()}-{name or controller}'
        try:
            group.mkdir()
        except OSError as error:
            problems.append(str(error))
            continue
        try:
            try:
                set_up_group(group, settings, is_unified)
            except OSError as error:
                problems.append(str(error))
                continue
            yield group
            return
        finally:
            remove_group(group)
    raise Failed('; '.join(problems[1:] or problems))


def remove_group(group):
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            group.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def enter(group):
    """Before a command: it runs in the group."""
    return ('/bin/sh', '-c', 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(group))


@contextlib.contextmanager
def inside(group, before):
    """This process, and what it starts meanwhile, in a group; at the end where it was before."""
    (group / 'cgroup.procs').write_text('0')
    try:
        yield
    finally:
        (before / 'cgroup.procs').write_text('0')


@dataclasses.dataclass(frozen=True)
class SchedulingGroups:
    """Who is in which group of the controller "cpu"; README.md tells why that counts."""

    arrangement: str
    servers: typing.Optional[pathlib.Path] = None  # None: the same as the clients
    clients: typing.Optional[pathlib.Path] = None

    def for_server(self):
        """This process, and what it starts meanwhile, among the servers."""
        return inside(self.servers, self.clients) if self.servers else contextlib.nullcontext()


@contextlib.contextmanager
def scheduling_groups(arrangement):
    """Groups without limits, as far as they can be had: this process and the loads are among the
    clients meanwhile."""
    settings = {False: {}, True: {'cpu.weight': '100'}}
    with contextlib.ExitStack() as stack:
        found = SchedulingGroups('none')
        try:
            if arrangement != 'none':
                clients = stack.enter_context(new_group('cpu', settings, 'clients'))
                servers = stack.enter_context(new_group('cpu', settings, 'servers')) \
                    if arrangement == 'apart' else None
                stack.enter_context(inside(clients, clients.parent))
                found = SchedulingGroups(arrangement, servers, clients)
        except (Failed, OSError) as error:
            print(f'note: no scheduling groups: {error}')
        yield found
