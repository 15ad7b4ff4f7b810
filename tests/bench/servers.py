# SPDX-License-Identifier: MIT
"""The servers that are measured, each with the command that makes it serve one process per
connection."""

import os
import shutil

from harness import Server

BASELINE, CONTROL, HARK = 'baseline', 'control (A/A)', 'hark'
SYSTEMD_SOCKET_ACTIVATE = 'systemd-socket-activate'


def baseline(build_dir, name=BASELINE):
    program = str(build_dir / 'tests/bench/bench-baseline')
    return Server(name, lambda job: [program, job.place, job.handler])


def hark(build_dir, *options, name=HARK):
    program = str(build_dir / 'src/cli/hark')

    def command(job):
        limit = max(4096, job.hold + 1024)
        return [program, 'activate', '-a', '--inetd', f'--max-connections={limit}', *options,
                '-l', job.address, job.handler]

    return Server(name, command, notify=True)


def systemd_socket_activate(program):
    return Server(SYSTEMD_SOCKET_ACTIVATE,
                  lambda job: [program, '-a', '--inetd', '-l', job.address, job.handler])


def find(build_dir, wanted):
    """The wanted servers that are here; the baseline and its control always are."""
    servers = [baseline(build_dir), baseline(build_dir, CONTROL)]
    if not wanted or HARK in wanted:
        servers.append(hark(build_dir))
    if not wanted or SYSTEMD_SOCKET_ACTIVATE in wanted:
        program = shutil.which(SYSTEMD_SOCKET_ACTIVATE)
        if program and os.access(program, os.X_OK):
            servers.append(systemd_socket_activate(program))
        else:
            print(f'skipped: there is no "{SYSTEMD_SOCKET_ACTIVATE}"')
    return servers
