# SPDX-License-Identifier: MIT
"""The servers that are measured, each with the command that makes it serve one process per
connection."""

import os
import pathlib
import pwd
import shutil

from harness import Server

BASELINE, CONTROL, HARK, HARK_RUN = 'baseline', 'control (A/A)', 'hark', 'hark-run'
EXACT = 'baseline-exact'  # its handlers have a session and all CPUs, as hark's
HARK_STAY = 'hark-stay'  # its handlers keep the CPU and the session of their fork server
SYSTEMD = 'systemd'  # with Accept=yes
SYSTEMD_SOCKET_ACTIVATE, S6_IPCSERVER = 'systemd-socket-activate', 's6-ipcserver'
UNPACKED = '/usr/local/lib/hark-bench'  # by tests/setup
BACKLOG = '4096'
UNLIMITED = '100000000'


def baseline(build_dir, *options, name=BASELINE):
    program = str(build_dir / 'tests/bench/bench-baseline')
    return Server(name, lambda job: [program, *options, job.place, job.handler])


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


# ---- peers: each quiet, without limits and look-ups, and with the longest backlog it takes ------


def s6_ipcserver(program):
    # More than 1000 at once it does not take, whatever is asked for.
    return Server(S6_IPCSERVER, lambda job: [program, '-q', '-P', '-c', '1000', '-C', '1000',
                                             '-b', BACKLOG, job.address, job.handler],
                  transports=('unix',))


def s6_tcpserver(program):
    return Server('s6-tcpserver', lambda job: [program, '-q', '-c', '1000', '-C', '1000',
                                               '-b', BACKLOG, '127.0.0.1', job.place, job.handler],
                  transports=('tcp',))


def unixserver(program):
    return Server('unixserver', lambda job: [program, '-q', '-c', UNLIMITED, '-b', BACKLOG,
                                             job.address, job.handler], transports=('unix',))


def tcpserver(program):
    return Server('tcpserver', lambda job: [program, '-q', '-D', '-H', '-R', '-l', 'localhost',
                                            '-c', UNLIMITED, '-b', BACKLOG, '127.0.0.1', job.place,
                                            job.handler], transports=('tcp',))


def tcpsvd(program):
    return Server('tcpsvd', lambda job: [program, '-E', '-l', 'localhost', '-c', UNLIMITED,
                                         '-b', BACKLOG, '127.0.0.1', job.place, job.handler],
                  transports=('tcp',))


def socat(program, name, options):
    def command(job):
        listen = (f'TCP-LISTEN:{job.place},bind=127.0.0.1,reuseaddr' if ':' in job.address
                  else f'UNIX-LISTEN:{job.address}')
        return [program, f'{listen},fork,backlog={BACKLOG}', f'EXEC:{job.handler}{options}']

    return Server(name, command)


def write_inetd_line(job, protocol, wait):
    user = pwd.getpwuid(os.getuid()).pw_name
    name = pathlib.Path(job.handler).name
    path = job.directory / 'inetd.conf'
    path.write_text(f'{job.address} stream {protocol} {wait} {user} {job.handler} {name}\n')
    return str(path)


def openbsd_inetd(program):
    def command(job):
        protocol = 'tcp4' if ':' in job.address else 'unix'
        return [program, '-i', '-q', BACKLOG, '-R', UNLIMITED,
                write_inetd_line(job, protocol, f'nowait.{UNLIMITED}')]

    return Server('openbsd-inetd', command)


def inetutils_inetd(program):
    # It stays in the foreground only when it debugs, and says a few lines for each connection: no
    # matter beside the second that it sleeps whenever SIGCHLD interrupts it.
    return Server('inetutils-inetd',
                  lambda job: [program, '-d', '-R', UNLIMITED,
                               write_inetd_line(job, 'tcp4', f'nowait.{UNLIMITED}')],
                  transports=('tcp',))


def xinetd(program):
    def command(job):
        path = job.directory / 'xinetd.conf'
        path.write_text(f'''service bench
{{
    type = UNLISTED
    socket_type = stream
    protocol = tcp
    flags = REUSE IPv4
    bind = 127.0.0.1
    port = {job.place}
    wait = no
    user = {pwd.getpwuid(os.getuid()).pw_name}
    server = {job.handler}
    instances = UNLIMITED
    per_source = UNLIMITED
    cps = {UNLIMITED} 1
    log_type = FILE /dev/null
    log_on_success =
    log_on_failure =
}}
''')
        return [program, '-dontfork', '-f', str(path), '-filelog', './messages',
                '-pidfile', './pid']

    return Server('xinetd', command, transports=('tcp',))


def find_program(name, package=''):
    """A program that is installed, or unpacked by tests/setup."""
    places = [os.environ.get('PATH', os.defpath), '/usr/local/sbin:/usr/sbin:/sbin',
              f'{UNPACKED}/{package}/usr/sbin']
    return shutil.which(name, path=':'.join(places))


# name -> (program, package if it is only unpacked, how it is started)
PEERS = {
    SYSTEMD_SOCKET_ACTIVATE: (SYSTEMD_SOCKET_ACTIVATE, '', systemd_socket_activate),
    S6_IPCSERVER: (S6_IPCSERVER, '', s6_ipcserver),
    's6-tcpserver': ('s6-tcpserver', '', s6_tcpserver),
    'unixserver': ('unixserver', '', unixserver),
    'tcpserver': ('tcpserver', '', tcpserver),
    'tcpsvd': ('tcpsvd', '', tcpsvd),
    'socat-nofork': ('socat', '', lambda program: socat(program, 'socat-nofork', ',nofork')),
    'socat': ('socat', '', lambda program: socat(program, 'socat', '')),
    'openbsd-inetd': ('inetd', 'openbsd-inetd', openbsd_inetd),
    'xinetd': ('xinetd', 'xinetd', xinetd),
    'inetutils-inetd': ('inetutils-inetd', 'inetutils-inetd', inetutils_inetd),
}


def find_peers(names):
    """Those of PEERS that are here."""
    found = []
    for name in names:
        program, package, make = PEERS[name]
        path = find_program(program, package)
        if path:
            found.append(make(path))
        else:
            print(f'skipped: there is no "{program}"')
    return found


def references(build_dir):
    """What every comparison has: the baseline, and the same again."""
    return [baseline(build_dir), baseline(build_dir, name=CONTROL)]


def find(build_dir, wanted):
    """The wanted servers that are here; the baseline and its control always are."""
    servers = references(build_dir)
    if not wanted or EXACT in wanted:
        servers.append(baseline(build_dir, '-e', name=EXACT))
    if not wanted or HARK in wanted:
        servers.append(hark(build_dir))
    if not wanted or HARK_STAY in wanted:
        servers.append(hark(build_dir, '--stay-on-cpu', '--stay-in-session', name=HARK_STAY))
    if not wanted or SYSTEMD_SOCKET_ACTIVATE in wanted:
        servers += find_peers([SYSTEMD_SOCKET_ACTIVATE])
    return servers
