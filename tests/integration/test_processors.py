# SPDX-License-Identifier: MIT
"""Handlers and fork servers keep to the processors that hark is given, also when those change."""

import contextlib
import errno
import os
import pathlib
import subprocess

import pytest

import system_call_filter
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


def scheduling(text):
    """Policy, priority and time slice, in nanoseconds, of a /proc/PID/sched."""
    pairs = (line.partition(":") for line in text.splitlines())
    found = {name.strip(): int(value) for name, _, value in pairs
             if name.strip() in ("policy", "prio", "se.slice")}
    assert len(found) == 3
    return found


def handlers(address):
    return {ask(address).split()[1].decode() for _ in range(6)}


@pytest.mark.parametrize("options", [[], ["--fork-servers=1"]])
@pytest.mark.parametrize("steps", [["0-1", "0", "0-1", "1", "0-1"], ["0", "0-1", "1", "0"]])
def test_a_cpuset_that_changes(cpuset, directory, steps, options):
    """What hark was given at its start is not for ever: no handler is lost, or left behind."""
    cpuset.give(steps[0])
    with Hark(["-a", "--inetd", "-l", directory / "s", *options, *SHOW], directory / "run",
              preexec=cpuset.enter) as hark:
        for cpus in steps:
            cpuset.give(cpus)
            wait_until(lambda: handlers(directory / "s") == {cpus})
            servers = {allowed(pid) for pid in hark.servers()}
            assert servers <= {"0-1": {"0", "1", "0-1"}}.get(cpus, {cpus})
        assert "affinity" not in hark.stderr()


def test_fewer_servers_than_processors(directory):
    """Where such a server is while it creates a handler, neither of them stays."""
    with Hark(["-a", "--inetd", "-l", directory / "s", "--fork-servers=1", *SHOW],
              directory / "run") as hark:
        assert handlers(directory / "s") == {allowed("self")}
        wait_until(lambda: {allowed(pid) for pid in hark.servers()} == {allowed("self")})


@pytest.mark.root
@pytest.mark.parametrize("options", [[], ["--fork-servers=1"]])
def test_a_filter_forbids_to_choose_processors(directory, options):
    """SystemCallFilter=~@resources: servers are where they happen to be, handlers have it all."""
    with Hark(["-a", "--inetd", "-l", directory / "s", *options, *SHOW], directory / "run",
              preexec=lambda: system_call_filter.forbid(system_call_filter.SET_RESOURCES,
                                                        errno.EPERM)) as hark:
        assert handlers(directory / "s") == {allowed("self")}
        assert hark.terminate() == 0
        assert "affinity" not in hark.stderr()


@pytest.mark.parametrize("niceness", [0, 5, -5])
def test_a_short_time_slice_is_the_server_s_alone(directory, niceness):
    """Handlers are scheduled as they would be when started without hark."""
    schedule = pathlib.Path("/proc/self/sched")
    if not schedule.exists() or "se.slice" not in schedule.read_text():
        pytest.skip("needs Linux 6.12 with /proc/PID/sched")
    show = ["/bin/cat", schedule]

    def be_nice():
        os.setpriority(os.PRIO_PROCESS, 0, niceness)

    expected = scheduling(subprocess.run(show, preexec_fn=be_nice, stdout=subprocess.PIPE,
                                         text=True, check=True).stdout)
    with Hark(["-a", "--inetd", "-l", directory / "s", *show], directory / "run",
              preexec=be_nice) as hark:
        assert scheduling(ask(directory / "s").decode()) == expected
        for pid in hark.servers():
            server = scheduling(pathlib.Path(f"/proc/{pid}/sched").read_text())
            # The kernel would take a negative level from the handlers with it.
            assert (server["se.slice"] < expected["se.slice"]) == (niceness >= 0)
            assert server["prio"] == expected["prio"]
