# SPDX-License-Identifier: MIT
"""Handlers and fork servers keep to the processors that hark is given, also when those change."""

import contextlib
import os
import pathlib

import pytest

from support import Hark, ask, wait_until

SHOW = ["/bin/grep", "Cpus_allowed_list", "/proc/self/status"]


class Cpuset:
    """A control group of version 1 or 2 that says which processors its processes may use."""

    def __init__(self):
        v1, v2 = pathlib.Path("/sys/fs/cgroup/cpuset"), pathlib.Path("/sys/fs/cgroup")
        top = v1 if (v1 / "cpuset.cpus").exists() else v2
        self.path = top / f"hark-test-{os.getpid()}"
        self.path.mkdir()
        if top == v1:
            mems = (top / "cpuset.mems").read_text()
            (self.path / "cpuset.mems").write_text(mems)
        self.is_usable = (self.path / "cpuset.cpus").exists()

    def give(self, cpus):
        (self.path / "cpuset.cpus").write_text(cpus)

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self):
        wait_until(lambda: not (self.path / "cgroup.procs").read_text())
        self.path.rmdir()


@pytest.fixture
def cpuset():
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two processors")
    try:
        group = Cpuset()
    except OSError as error:
        pytest.skip(f"needs a cpuset of its own: {error}")
    with contextlib.ExitStack() as stack:
        stack.callback(group.remove)
        if not group.is_usable:
            pytest.skip("needs a cpuset of its own: no such controller")
        yield group


def allowed(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(line.split()[1] for line in status.splitlines()
                if line.startswith("Cpus_allowed_list"))


def handlers(address):
    return {ask(address).split()[1].decode() for _ in range(6)}


@pytest.mark.parametrize("steps", [["0-1", "0", "0-1", "1", "0-1"], ["0", "0-1", "1", "0"]])
def test_a_cpuset_that_changes(cpuset, directory, steps):
    """What hark was given at its start is not for ever: no handler is lost, or left behind."""
    cpuset.give(steps[0])
    with Hark(["-a", "--inetd", "-l", directory / "s", *SHOW], directory / "run",
              preexec=cpuset.enter) as hark:
        for cpus in steps:
            cpuset.give(cpus)
            wait_until(lambda: handlers(directory / "s") == {cpus})
            servers = {allowed(pid) for pid in hark.servers()}
            assert servers <= {"0-1": {"0", "1", "0-1"}}.get(cpus, {cpus})
        assert "affinity" not in hark.stderr()
