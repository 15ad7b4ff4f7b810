# SPDX-License-Identifier: MIT
"""Fork servers that are killed, paused, at a limit, out of descriptors or flooded with signals just
when a connection comes: it is served, and needs no other connection for that."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from support import (DEADLINE, HELPERS, SANITIZED, Hark, ask_probe, assert_each_once, connect,
                     kill_quietly, wait_until)

# How many times longer than usual the stress tests go on.
STRESS = int(os.environ.get("HARK_STRESS_FACTOR", "1"))


# ---- No stranded connection ------------------------------------------------------------------


UNITS = {
    "free.socket": "[Socket]\nListenStream={directory}/free\nAccept=yes\nMaxConnections=64\n"
                   "TriggerLimitIntervalSec=0\n",
    "free@.service": "[Service]\nExecStart={helpers}/tiny\n",
    "few.socket": "[Socket]\nListenStream={directory}/few\nAccept=yes\nMaxConnections=2\n"
                  "TriggerLimitIntervalSec=0\n[X-Hark]\nOverflow=wait\n",
    "few@.service": "[Service]\nExecStart={helpers}/slow\n",
}


NO_DESCRIPTORS = 'cannot serve "free" for a moment: '


class Trouble:
    """What befalls the fork servers around one connection. The client has it answered before there
    is another one anywhere, so that none heals what the last one suffered."""

    def __init__(self, hark: Hark, directory: Path, seed: str) -> None:
        self.hark, self.directory = hark, directory
        self.chance = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.worst: dict[str, float] = {}
        self.n_free = self.n_few = 0

    def server(self) -> int:
        """One that is not a child."""
        return self.chance.choice(wait_until(self.hark.killable_servers, what="a server"))

    def at_random(self, *actions: Callable[[], None]) -> None:
        """Does these in any order, with pauses in which a server wakes up and accepts."""
        for action in self.chance.sample(actions, len(actions)):
            end = time.perf_counter() + self.chance.random() * 0.0003
            while time.perf_counter() < end:
                pass
            action()

    def answered(self, what: str, client: socket.socket, expected: bytes) -> None:
        """Waits for it."""
        begin = time.monotonic()
        try:
            answer = client.recv(10)
        except TimeoutError:
            raise AssertionError(f"{what}: stranded, after {dict(self.done)}\\n"
                                 f"{self.hark.autopsy()}{self.hark.stderr()}") from None
        if answer != expected:
            self.hark.notifications.read(0.5)
            odd = [e for e in self.hark.notifications.exits if (e.code, e.status) != ("exited", "0")]
            raise AssertionError(f"{what}: {answer!r}, after {dict(self.done)}\n"
                                 f"{odd}\n{self.hark.stderr()}")
        self.worst[what] = max(self.worst.get(what, 0), time.monotonic() - begin)
        self.done[what] += 1

    @contextmanager
    def client(self, name: str, *actions: Callable[[], None]) -> Iterator[socket.socket]:
        """A connection that comes before, amid or after the actions."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            self.at_random(lambda: client.connect(str(self.directory / name)), *actions)
            yield client

    def kill(self) -> None:
        """SIGKILL of one."""
        victim = self.server()
        with self.client("free", lambda: kill_quietly(victim)) as client:
            self.answered("kill", client, b"ok\n")
        self.n_free += 1

    def pause(self) -> None:
        """SIGSTOP of one, and SIGCONT when the connection has been answered; or at once."""
        victim = self.server()
        at_once = self.chance.random() < 0.5
        actions = [lambda: kill_quietly(victim, signal.SIGSTOP)]
        if at_once:
            actions.append(lambda: kill_quietly(victim, signal.SIGCONT))
        with self.client("free", *actions) as client:
            # SIGCONT came before SIGSTOP, perhaps.
            self.answered("pause and go on" if at_once else "pause", client, b"ok\n")
        kill_quietly(victim, signal.SIGCONT)
        self.n_free += 1

    def reload(self) -> None:
        """SIGHUP: new servers for the old ones; sometimes with slots that are divided anew."""
        what = "reload"
        if self.chance.random() < 0.3:
            unit = self.directory / "units/free.socket"
            text = unit.read_text().partition("MaxConnections=")[0]
            unit.write_text(f"{text}MaxConnections={self.chance.randint(50, 60)}\n")
            what = "reload with other slots"
        reload = lambda: os.kill(self.hark.pid, signal.SIGHUP)  # noqa: E731
        with self.client("free", reload) as client:
            self.answered(what, client, b"ok\n")
        self.n_free += 1

    def limit(self) -> None:
        """All slots are taken, and one is freed; sometimes a server dies at that moment, too."""
        with connect(self.directory / "few") as one, connect(self.directory / "few") as two:
            self.answered("below the limit", one, b"up\n")
            self.answered("below the limit", two, b"up\n")
            actions = [one.close]
            what = "at the limit"
            if self.chance.random() < 0.5:
                victim = self.server()
                actions.append(lambda: kill_quietly(victim))
                what = "at the limit, and kill"
            with self.client("few", *actions) as client:
                self.answered(what, client, b"up\n")
        self.n_few += 3
        self.hark.notifications.wait_for(
            lambda: sum(e.program == "few" for e in self.hark.notifications.exits) == self.n_few)

    def no_descriptors(self) -> None:
        """accept(2) says EMFILE in one server or in all of them, and then it can again."""
        servers = wait_until(self.hark.killable_servers, what="a server")
        if self.chance.random() < 0.5:
            servers = [self.chance.choice(servers)]
        before = {}
        for pid in servers:
            with suppress(ProcessLookupError):
                before[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)

        def take() -> None:
            for pid, (_, hard) in before.items():
                with suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))

        def give_back() -> None:
            for pid, limit in before.items():
                with suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)

        with self.client("free", take, give_back) as client:
            give_back()
            self.answered("no descriptors", client, b"ok\n")
        self.n_free += 1


@pytest.mark.timeout(120 * STRESS)
def test_no_stranded_connection(run, directory):
    """Thousands of single connections, each amid a trouble of its own."""
    rounds = (300 if SANITIZED else 2000) * STRESS
    with run(UNITS, "--fork-servers=2", "free.socket", "few.socket") as hark:
        trouble = Trouble(hark, directory, directory.name)
        kinds = [trouble.kill, trouble.pause, trouble.reload, trouble.limit,
                 trouble.no_descriptors]
        for kind in trouble.chance.choices(kinds, [10, 6, 8, 2, 1], k=rounds):
            kind()
            hark.notifications.read()
        for _ in range(200):  # each time a server accepts before it has descriptors again, or after
            if NO_DESCRIPTORS in hark.stderr():
                break
            trouble.no_descriptors()
        total = trouble.n_free + trouble.n_few
        exits = hark.notifications.wait_exits(total)
        hark.notifications.read(0.3)
        assert len(exits) == total
        assert_each_once([e for e in exits if e.program == "free"], trouble.n_free)
        assert_each_once([e for e in exits if e.program == "few"], trouble.n_few)
        assert {(e.code, e.status) for e in exits} == {("exited", "0")}
        assert set(trouble.done) >= {"kill", "pause", "pause and go on", "reload",
                                     "reload with other slots", "at the limit",
                                     "at the limit, and kill", "no descriptors"}
        assert NO_DESCRIPTORS in hark.stderr()
        for what, n in trouble.done.items():
            print(f"{what}: {n}, the slowest after {trouble.worst[what] * 1000:.0f} ms")


# ---- Signals while they serve ----------------------------------------------------------------


@contextmanager
def flood(pids: list[int], signals: str = "all") -> Iterator[None]:
    """Sends the processes signals without a pause."""
    with subprocess.Popen([HELPERS / "send-signals", str(os.getuid()), signals, *map(str, pids)],
                          stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout and child.stdout.readline() == "ready\n"
            yield
            assert child.poll() is None
        finally:
            child.kill()


def assert_born_well(record: dict[str, Any]) -> None:
    """No signal is blocked, ignored or pending in a handler."""
    for name in ("SigBlk", "SigIgn", "SigPnd", "ShdPnd", "SigCgt"):
        assert int(record[name], 16) == 0, f"{name} {record[name]}"


def test_signals_while_they_serve(activate, directory, helpers):
    """Every signal but KILL and STOP, by the thousand, to servers in their windows: nobody dies of
    it, and handlers are born as ever."""
    path = directory / "s"
    rounds = 100 if SANITIZED else 400
    with activate("-l", path, "-a", "--fork-servers=2", helpers / "probe") as hark:
        servers = hark.servers()
        with flood(servers):
            for _ in range(rounds):
                assert_born_well(ask_probe(path))
                hark.notifications.read()
            clients = [connect(path) for _ in range(30)]
            for client in clients:
                assert client.recv(1) == b"{"
                client.close()
        exits = hark.notifications.wait_exits(rounds + 30)
        assert_each_once(exits, rounds + 30)
        assert {e.code for e in exits if e.number < rounds} == {"exited"}
        assert sorted(hark.servers()) == sorted(servers)


def test_signals_while_they_share_a_listener(activate, directory, helpers):
    """A passed listener may block, so that accept(2) is interrupted by a signal on purpose. A flood
    of just these keeps nobody from being served."""
    path = directory / "s"
    rounds = 100 if SANITIZED else 400
    with ExitStack() as stack:
        passed = stack.enter_context(socket.socket(socket.AF_UNIX))
        passed.bind(str(path))
        passed.listen(64)
        hark = stack.enter_context(activate("-a", "--fork-servers=2", helpers / "probe", passed=[],
                                            pass_fds=[passed.fileno()]))
        servers = hark.servers()
        stack.enter_context(flood(servers, f"{int(signal.SIGALRM)},{int(signal.SIGURG)}"))
        for _ in range(rounds):
            assert_born_well(ask_probe(path))
            hark.notifications.read()
        assert_each_once(hark.notifications.wait_exits(rounds), rounds)
        assert sorted(hark.servers()) == sorted(servers)


def test_signals_to_the_supervisor(activate, directory, helpers):
    """Those that mean nothing to it, while it has exits to tell."""
    path = directory / "s"
    rounds = 100 if SANITIZED else 400
    numbers = ",".join(str(int(n)) for n in (signal.SIGCHLD, signal.SIGURG, signal.SIGCONT,
                                             signal.SIGWINCH, signal.SIGPIPE))
    with activate("-l", path, "-a", "--fork-servers=2", helpers / "probe") as hark:
        with flood([hark.pid], numbers):
            for _ in range(rounds):
                assert_born_well(ask_probe(path))
                hark.notifications.read()
            assert_each_once(hark.notifications.wait_exits(rounds), rounds)
