# SPDX-License-Identifier: MIT
"""Every end is told, once and soon: signals that coalesce, thousands at the same instant, lives of
any length; and nobody wakes up while nothing happens."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import signal
import socket
import statistics
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import (DEADLINE, SANITIZED, Exit, Hark, assert_each_once, connect, kill_quietly, libc,
                     process, wait_until)

SYS_FUTEX = {"x86_64": 202, "aarch64": 98}.get(os.uname().machine, -1)
FUTEX_WAKE = 1
HEAD, ENTRY = struct.Struct("=II"), struct.Struct("=QQ")


class Ends:
    """The file that the handlers share (tests/helpers/end-together.c): their common end, and when
    each of them ended by its own account."""

    def __init__(self, path: Path, room: int) -> None:
        path.write_bytes(bytes(HEAD.size + room * ENTRY.size))
        self.path = path
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def end_all(self) -> None:
        """The signal to all that end together."""
        self.memory[:4] = struct.pack("=I", 1)
        word = ctypes.c_uint32.from_buffer(self.memory)
        libc.syscall(SYS_FUTEX, ctypes.byref(word), FUTEX_WAKE, 2 ** 31 - 1, None, None, 0)
        del word

    def n(self) -> int:
        """How many have ended, or are about to."""
        return HEAD.unpack_from(self.memory)[1]

    def times(self) -> dict[int, float]:
        """When each pid ended, in seconds of the monotonic clock."""
        entries = (ENTRY.unpack_from(self.memory, HEAD.size + i * ENTRY.size)
                   for i in range(self.n()))
        return {pid: nanoseconds / 1e9 for pid, nanoseconds in entries}


@pytest.fixture
def ends(directory: Path) -> Iterator[Ends]:
    """Room for all that a test here starts."""
    shared = Ends(directory / "ends", 10000)
    yield shared
    shared.memory.close()


def start_with(client: socket.socket, words: str) -> int:
    """Gives a new handler its orders; its pid."""
    client.sendall(words.encode() + b"\n")
    return int(client.recv(100))


def start(path: Path, words: str, n: int) -> list[int]:
    """The pids of so many handlers that have their orders; nobody holds their connections."""
    pids = []
    for _ in range(n):
        with connect(path) as client:
            pids.append(start_with(client, words))
    return pids


def grown_up(hark: Hark) -> int:
    """For how many handlers the supervisor holds a pidfd. (The kernel has had two names for it.)"""
    n = 0
    for fd in os.listdir(f"/proc/{hark.pid}/fd"):
        try:
            n += "pidfd" in os.readlink(f"/proc/{hark.pid}/fd/{fd}")
        except FileNotFoundError:
            continue
    return n


def arrivals(hark: Hark, n: int, timeout: float = DEADLINE) -> dict[int, float]:
    """When the report of each pid came, until there were n; nothing else is done meanwhile."""
    came: dict[int, float] = {}
    end = time.monotonic() + timeout
    told = hark.notifications.exits
    while len(told) < n:
        assert time.monotonic() < end, f"{len(told)} of {n} ends told\n{hark.stderr()}"
        before = len(told)
        hark.notifications.read(0.05)
        now = time.monotonic()
        came |= {one.pid: now for one in told[before:]}
    return came


def tell_lags(what: str, came: dict[int, float], ended: dict[int, float]) -> None:
    """Prints how long reports took. Nothing is asserted: that is the machine's business, too."""
    lags = sorted((came[pid] - ended[pid]) * 1000 for pid in came if pid in ended)
    print(f"{what}: {len(lags)} ends, told after {statistics.median(lags):.1f} ms (median), "
          f"{lags[int(len(lags) * 0.99)]:.1f} ms (99 %), {lags[-1]:.1f} ms (worst)")


def stop(pid: int) -> None:
    """SIGSTOP, and it stands."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: process(pid).state == "T", what="it stands")


def ends_of(exits: list[Exit]) -> Counter[tuple[str, str]]:
    """How often each way to end was told."""
    return Counter((one.code, one.status) for one in exits)


# ---- Coalescing ------------------------------------------------------------------------------


def test_signals_that_coalesce(activate, directory, helpers, ends):
    """Handlers of every kind end while the supervisor stands still: all their SIGCHLDs become one.
    Each is told once, without anything else that would make it look."""
    n = 60 if SANITIZED else 200
    path = directory / "s"
    expected: dict[int, tuple[str, str]] = {}

    def expect(pids: list[int], code: str, status: str) -> list[int]:
        expected.update((pid, (code, status)) for pid in pids)
        return pids

    # A child that finds its connection gone keeps its slot, too, while the supervisor stands still.
    with activate("-l", path, "-a", "--fork-servers=2", f"--max-connections={20 * n}",
                  helpers / "end-together", ends.path) as hark:
        before = grown_up(hark)
        expect(start(path, "together exit 3", n), "exited", "3")
        expect(start(path, "together signal 9", n), "killed", "KILL")
        victims = expect(start(path, "together exit 0", n // 4), "killed", "KILL")
        wait_until(lambda: grown_up(hark) - before == len(expected), what="they have grown up")
        stop(hark.pid)
        expect(start(path, "now exit 4", n), "exited", "4")
        expect(start(path, "now signal 15", n), "killed", "TERM")
        victims += expect(start(path, "together exit 0", n // 4), "killed", "KILL")
        expect(start(path, "together exit 5", n), "exited", "5")
        for pid in victims:
            kill_quietly(pid)
        ends.end_all()
        wait_until(lambda: all(process(pid).state == "Z" for pid in expected), what="all are dead")
        os.kill(hark.pid, signal.SIGCONT)
        arrivals(hark, len(expected))
        hark.notifications.read(0.3)
        told = hark.notifications.exits
        assert_each_once(told, len(expected))
        assert {one.pid: (one.code, one.status) for one in told} == expected
        assert hark.notifications.lost == 0


def test_thousands_end_at_the_same_instant(activate, directory, helpers, ends):
    """Some young, some old, some by SIGKILL; then no traffic at all."""
    n = 150 if SANITIZED else 800
    path = directory / "s"
    with activate("-l", path, "-a", "--fork-servers=2", f"--max-connections={4 * n}",
                  helpers / "end-together", ends.path) as hark:
        start(path, "together exit 0", n)
        start(path, "together signal 9", n)
        before = len(hark.notifications.exits)
        start(path, "together exit 7", n)
        ends.end_all()
        came = arrivals(hark, before + 3 * n)
        hark.notifications.read(0.3)
        assert_each_once(hark.notifications.exits, 3 * n)
        assert ends_of(hark.notifications.exits) == {
            ("exited", "0"): n, ("killed", "KILL"): n, ("exited", "7"): n}
        assert set(came) == set(ends.times())
        tell_lags("at the same instant", came, ends.times())


# ---- One at a time ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["young", "old", "old and killed"])
def test_one_end_among_many_is_told(activate, directory, helpers, ends, kind):
    """One handler ends while others live and nothing else happens."""
    rounds = 20 if SANITIZED else 60
    path = directory / "s"
    ended: dict[int, float] = {}
    came: dict[int, float] = {}
    with activate("-l", path, "-a", "--fork-servers=2", "--max-connections=1000",
                  helpers / "end-together", ends.path) as hark, ExitStack() as stack:
        before = grown_up(hark)
        old = {}
        for _ in range(rounds):
            client = stack.enter_context(connect(path))
            old[start_with(client, "told exit 1")] = client
        wait_until(lambda: grown_up(hark) - before == rounds, what="they have grown up")
        for i, (pid, client) in enumerate(old.items()):
            if kind == "young":
                pid, = start(path, "now exit 2", 1)
            elif kind == "old":
                client.shutdown(socket.SHUT_WR)
            else:
                ended[pid] = time.monotonic()
                os.kill(pid, signal.SIGKILL)
            one = arrivals(hark, i + 1)
            assert pid in one
            came |= one
        tell_lags(kind, came, ended | ends.times())


# ---- Nothing happens -------------------------------------------------------------------------


IDLE_SECONDS = 10.0


class Traced:
    """strace -f of a hark and its fork servers, to a file."""

    def __init__(self, hark: Hark, output: Path) -> None:
        self.output = output
        pids = [f"--attach={pid}" for pid in (hark.pid, *hark.servers())]
        self.child = subprocess.Popen(["strace", "-f", "-o", output, *pids],
                                      stderr=subprocess.DEVNULL)
        wait_until(lambda: all(f"TracerPid:\t{self.child.pid}\n" in
                               Path(f"/proc/{pid}/status").read_text()
                               for pid in (hark.pid, *hark.servers())), what="it traces")

    def returns(self) -> dict[int, list[str]]:
        """Ends it: the system calls that came back meanwhile, by pid. Where somebody waited all the
        time, strace shows a call that was not finished."""
        self.child.send_signal(signal.SIGINT)
        self.child.wait(DEADLINE)
        found: dict[int, list[str]] = {}
        for line in self.output.read_text().splitlines():
            pid, text = line.split(maxsplit=1)
            if re.search(r"\) += ", text):
                found.setdefault(int(pid), []).append(text)
        return found


@pytest.mark.needs("strace")
def test_nobody_wakes_up_while_nothing_happens(activate, directory, helpers):
    """Ten seconds with living handlers: no system call of the supervisor and its fork servers; with
    a watchdog those for its messages, and no more wake-ups than these."""
    interval = 3.0  # no less: a server that does not answer so long is killed
    quiet, watched = directory / "quiet", directory / "watched"
    with ExitStack() as stack:
        harks = []
        for path, env in ((quiet, {}), (watched, {"WATCHDOG_USEC": str(int(3e6 * interval))})):
            hark = stack.enter_context(activate("-l", path, "-l", f"@{path}", "-a",
                                                "--fork-servers=2", helpers / "slow", env=env))
            for address in (path, f"@{path}"):
                for _ in range(5):
                    client = stack.enter_context(connect(address))
                    assert client.recv(3) == b"up\n"
            harks.append(hark)
        for hark in harks:
            hark.notifications.wait_status("10 running")
            wait_until(lambda h=hark: grown_up(h) >= 10, what="they have grown up")
        traced = [Traced(hark, directory / f"trace.{i}") for i, hark in enumerate(harks)]
        harks[1].notifications.read()
        before = harks[1].notifications.datagrams.count("WATCHDOG=1")
        end = time.monotonic() + IDLE_SECONDS
        while (left := end - time.monotonic()) > 0:
            harks[1].notifications.read(left)
        (nothing, something), servers = [one.returns() for one in traced], harks[1].servers()
        harks[1].notifications.read()
        n = harks[1].notifications.datagrams.count("WATCHDOG=1") - before
        assert nothing == {}
        assert 0 < n <= IDLE_SECONDS / interval + 1
        assert set(something) == {harks[1].pid, *servers}
        # sd-event looks again at once after it was woken: that comes back with 0.
        wakes = {pid: sum("epoll_wait" in text and not (pid == harks[1].pid and
                                                        text.endswith(" = 0")) for text in texts)
                 for pid, texts in something.items()}
        # A server is asked; the supervisor has its timer, and an answer from each server. One more
        # may have been under way when the count began or ended.
        assert all(wakes[pid] <= n + 1 for pid in servers), wakes
        assert wakes[harks[1].pid] <= (n + 1) * (1 + len(servers)), wakes
        print(f"{n} watchdog messages, wake-ups by pid: {wakes}")
