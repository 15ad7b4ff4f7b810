# SPDX-License-Identifier: MIT
"""hark run with a unit pair of its own, written where it is started."""

from harness import Server

# An ordinary unit's connection is its standard input, and the standard output follows.
SOCKET = ('Accept=yes',)
SERVICE = ('StandardInput=socket',)


def hark_run(build_dir, name, socket=('MaxConnections=4096',), service=(), *, arguments='',
             overflow='wait', options=(), transports=('unix', 'tcp')):
    """Serves with the lines of [Socket] and [Service] besides the least there must be."""
    program = str(build_dir / 'src/cli/hark')

    def command(job):
        handler = ' '.join([f'"{job.handler}"', arguments])
        (job.directory / 'bench.socket').write_text('\n'.join(
            ['[Socket]', f'ListenStream={job.address}', *SOCKET, *socket, '[X-Hark]',
             f'Overflow={overflow}', '']))
        (job.directory / 'bench@.service').write_text('\n'.join(
            ['[Service]', f'ExecStart={handler}', *SERVICE, *service, '']))
        return [program, 'run', f'--unit-path={job.directory}', *options, 'bench.socket']

    return Server(name, command, notify=True, transports=transports)
