# SPDX-License-Identifier: MIT
"""What hark's own processes are, and what they hold."""

import contextlib
import os
import pathlib


def fork_servers(pid):
    """Of a hark that has nothing to do just now: a child before its exec would look the same."""
    found = []
    for child in pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split():
        with contextlib.suppress(OSError):
            status = pathlib.Path(f'/proc/{child}/status').read_text()
            if status.startswith('Name:\thark-server\n') and '\nState:\tZ' not in status:
                found.append(int(child))
    return found


def memory(pids):
    """Their memory together, and what of it is not of files: that is nobody else's, while of a
    library each of its users has a part."""
    total = {'pss_kib': 0, 'own_kib': 0}
    for pid in pids:
        for line in pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
            key, _, value = line.partition(':')
            if key == 'Pss':
                total['pss_kib'] += int(value.split()[0])
            elif key in ('Pss_Anon', 'Pss_Shmem'):
                total['own_kib'] += int(value.split()[0])
    return total


def open_files(pids):
    return sum(len(os.listdir(f'/proc/{pid}/fd')) for pid in pids)
