# SPDX-License-Identifier: MIT
"""What hark tells by sd_notify: READY, STATUS, WATCHDOG, STOPPING and one record per exit."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter

import pytest

from support import (SANITIZED, ask, assert_each_once, connect, finish_load, load, wait_until)


def test_ready_means_served(activate, directory, helpers):
    """READY=1 is a datagram of its own, and the connection right after it is served."""
    path = directory / "s"
    for _ in range(10):
        with activate("-l", path, "-a", helpers / "tiny") as hark:
            assert "READY=1" in hark.notifications.datagrams
            assert ask(path) == b"ok\n"
            assert sum("READY=1" in d for d in hark.notifications.datagrams) == 1


def test_exit_records(activate, directory, helpers):
    """Program, number, pid, how it ended, how long it ran, who the peer was."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "obey") as hark:
        for word in ("exit 0", "exit 7", "exit 255", f"signal {signal.SIGTERM}",
                     f"signal {signal.SIGKILL}", f"signal {signal.SIGSEGV}"):
            assert ask(path, word.encode() + b"\n") == b"ok\n"
            hark.notifications.wait_exits(len(hark.notifications.exits) + 1)
        exits = hark.notifications.exits
        assert [(e.code, e.status) for e in exits[:5]] == [
            ("exited", "0"), ("exited", "7"), ("exited", "255"), ("killed", "TERM"),
            ("killed", "KILL")]
        assert exits[5].status == "SEGV" and exits[5].code in ("killed", "dumped")
        assert {e.program for e in exits} == {"obey"}
        assert len({e.number for e in exits}) == 6
        assert len({e.pid for e in exits}) == 6
        assert all(0 < e.runtime < 20_000_000 for e in exits)
        assert {e.peer for e in exits} == {f"unix:pid={os.getpid()},uid={os.getuid()}"}
        assert all(e.step is None and e.error is None for e in exits)


def test_runtime(activate, directory, helpers):
    """The run time is the handler's, from its creation to its end."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "slow", "--ms=300") as hark:
        start = time.monotonic()
        with connect(path) as client:
            while client.recv(100):
                pass
        took = (time.monotonic() - start) * 1e6
        record = hark.notifications.wait_exits(1)[0]
        assert 290_000 <= record.runtime
        assert record.runtime <= took + 1_000_000


def test_status_line(activate, directory, helpers):
    """STATUS= counts sockets, running, done and, of those, failed; names the last failure."""
    one, two = directory / "a", directory / "b"
    with activate("-l", one, "-l", two, "-a", helpers / "obey") as hark:
        hark.notifications.wait_status(r"^2 sockets, 0 running, 0 done, 0 failed$")
        with connect(one) as client:
            hark.notifications.wait_status(r"^2 sockets, 1 running, 0 done, 0 failed$")
            client.sendall(b"exit 0\n")
            client.recv(10)
        hark.notifications.wait_status(r"^2 sockets, 0 running, 1 done, 0 failed$")
        ask(two, b"exit 3\n")
        status = hark.notifications.wait_status(r"^2 sockets, 0 running, 2 done, 1 failed; ")
        record = hark.notifications.exits[-1]
        assert f"last failure: obey@{record.number} (pid {record.pid}) exited with status 3" \
            in status
        ask(two, b"signal 11\n")
        status = hark.notifications.wait_status(r"3 done, 2 failed")
        assert re.search(r"last failure: obey@\d+ \(pid \d+\) (was )?killed by SEGV", status)


@pytest.mark.timeout(240)
def test_every_exit_once_under_load(activate, directory, helpers):
    """20,000 handlers as fast as they come, a reader that reads: each is reported exactly once,
    with its own status, in datagrams that fit, and nothing is lost."""
    total = 4_000 if SANITIZED else 20_000
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny", "5") as hark:
        client = load(path, total, concurrency=16)
        result = finish_load(client, hark.notifications, timeout=200)
        assert result["errors"] == 0 and result["good"] == total, result
        exits = hark.notifications.wait_exits(total)
        hark.notifications.read(0.3)
        assert_each_once(exits, total)
        assert hark.notifications.lost == 0
        assert Counter((e.code, e.status) for e in exits) == {("exited", "5"): total}
        hark.notifications.wait_status(rf"^1 sockets?, 0 running, {total} done, {total} failed")
        assert max(len(d) for d in hark.notifications.datagrams) <= 4096
        print(f"{total / result['seconds']:.0f} connections/s")


def test_status_is_coalesced(activate, directory, helpers):
    """Under load a STATUS= comes some ten times a second, not once per exit."""
    path = directory / "s"
    total = 3_000
    with activate("-l", path, "-a", helpers / "tiny") as hark:
        start = time.monotonic()
        finish_load(load(path, total), hark.notifications)
        hark.notifications.wait_exits(total)
        took = time.monotonic() - start
        assert len(hark.notifications.statuses) <= 15 * (took + 1)


@pytest.mark.timeout(240)
def test_reader_that_does_not_read(activate, directory, helpers):
    """Nobody reads: hark serves all the same, and afterwards tells exactly how much it left out."""
    total = 4_000 if SANITIZED else 20_000
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny") as hark:
        client = load(path, total, concurrency=16)
        result = finish_load(client, timeout=200)  # reads no reports meanwhile
        assert result["errors"] == 0 and result["good"] == total, result
        notifications = hark.notifications
        notifications.wait_for(lambda: len(notifications.exits) + notifications.lost >= total,
                               what="exits and losses add up")
        notifications.read(0.5)
        assert len(notifications.exits) + notifications.lost == total
        numbers = [e.number for e in notifications.exits]
        assert len(set(numbers)) == len(numbers)
        notifications.wait_status(rf"^1 sockets?, 0 running, {total} done, 0 failed")
        assert ask(path) == b"ok\n"
        notifications.wait_for(lambda: len(notifications.exits) + notifications.lost == total + 1,
                               what="reports go on")


def test_reader_that_went_away(activate, directory, helpers):
    """The reader's socket is gone: hark serves on, and stops cleanly."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny") as hark:
        hark.notifications.path.unlink()
        hark.notifications.socket.close()
        for _ in range(50):
            assert ask(path) == b"ok\n"
        assert hark.child and hark.child.poll() is None
        hark.child.terminate()
        assert hark.child.wait(20) == 0
        hark.notifications.path.parent.mkdir(exist_ok=True)
        hark.notifications.__init__(hark.notifications.path.parent)


@pytest.mark.parametrize("kind", [None, "exits", "failures", "none"])
def test_report_option(activate, directory, helpers, kind):
    """--report= chooses what is reported, to the service manager and on stderr; without it the
    manager gets every exit and stderr the failures. STATUS= counts all in any case."""
    path = directory / "s"
    options = [f"--report={kind}"] if kind else []
    with activate("-l", path, "-a", *options, helpers / "obey") as hark:
        for n, status in enumerate((0, 9, 0), 1):
            ask(path, f"exit {status}\n".encode())
            hark.notifications.wait_status(rf"0 running, {n} done")
        hark.notifications.wait_status(r"0 running, 3 done, 1 failed")
        hark.terminate()
        hark.notifications.read()
        everything, failures, nothing = ["0", "9", "0"], ["9"], []
        told = [e.status for e in hark.notifications.exits]
        written = re.findall(r"exited with status (\d+)", hark.stderr())
        assert (told, written) == {None: (everything, failures),
                                   "exits": (everything, everything),
                                   "failures": (failures, failures),
                                   "none": (nothing, nothing)}[kind]


def test_watchdog(activate, directory, helpers):
    """WATCHDOG_USEC set: WATCHDOG=1 in datagrams of their own, at least every half of that."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny", env={"WATCHDOG_USEC": "500000"}) as hark:
        notifications = hark.notifications
        notifications.wait_for(lambda: notifications.datagrams.count("WATCHDOG=1") >= 4,
                               what="four pings")
        assert all(d == "WATCHDOG=1" for d in notifications.datagrams if "WATCHDOG=1" in d)


def test_no_watchdog_unless_asked(activate, directory, helpers):
    """Without WATCHDOG_USEC, or with that of another process, no ping."""
    path = directory / "s"
    for env in ({}, {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}):
        with activate("-l", path, "-a", helpers / "tiny", env=env) as hark:
            hark.notifications.read(0.3)
            hark.notifications.read(0.3)
            assert not any("WATCHDOG" in d for d in hark.notifications.datagrams)


def test_watchdog_means_that_servers_answer(activate, directory, helpers):
    """All fork servers are stopped: either hark replaces them, or it no longer says it is well."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny", env={"WATCHDOG_USEC": "400000"}) as hark:
        stopped = hark.servers()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        state = {"count": 0, "since": time.monotonic()}

        def unwell_or_replaced() -> bool:
            count = hark.notifications.datagrams.count("WATCHDOG=1")
            if count != state["count"]:
                state.update(count=count, since=time.monotonic())
            silent = time.monotonic() - state["since"] > 1.5
            return silent or (not set(stopped) & set(hark.servers()) and bool(hark.servers()))

        hark.notifications.wait_for(unwell_or_replaced, what="WATCHDOG=1 ceases, or new servers")
        for pid in stopped:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        assert ask(path) == b"ok\n"


def test_stopping(activate, directory, helpers):
    """STOPPING=1 on SIGTERM, before the end."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny") as hark:
        assert not hark.notifications.has("STOPPING=1")
        assert hark.terminate() == 0
        hark.notifications.read()
        assert hark.notifications.has("STOPPING=1")


def test_exits_while_stopping_are_reported(activate, directory, helpers):
    """The handlers that a stop ends are reported like all others, before hark ends."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "slow") as hark:
        clients = [connect(path) for _ in range(10)]
        for client in clients:
            client.recv(3)
        assert hark.terminate() == 0
        hark.notifications.read()
        assert_each_once(hark.notifications.exits, 10)
        assert {(e.code, e.status) for e in hark.notifications.exits} == {("killed", "TERM")}
        for client in clients:
            client.close()


def test_stop_right_after_load(activate, directory, helpers):
    """A stop in the middle of the reports: a reader that reads still gets them all."""
    path, total = directory / "s", 2_000
    with activate("-l", path, "-a", helpers / "tiny") as hark:
        result = finish_load(load(path, total), hark.notifications)
        assert result["errors"] == 0, result
        assert hark.terminate() == 0
        hark.notifications.read()
        assert hark.notifications.lost == 0
        assert_each_once(hark.notifications.exits, total)


def test_no_notify_socket(activate, directory, helpers):
    """Without NOTIFY_SOCKET hark works, and says failures on stderr."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "obey", notify=False) as hark:
        def served() -> bool:
            try:
                return ask(path, b"exit 3\n") == b"ok\n"
            except (ConnectionRefusedError, FileNotFoundError):
                return False
        wait_until(served, what="it serves")
        wait_until(lambda: "exited with status 3" in hark.stderr(), what="the failure on stderr")


def test_unknown_kind_of_manager(activate, directory, helpers):
    """A NOTIFY_SOCKET that is no Unix socket's address: a warning, and service all the same."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny", notify=False, wait=False,
                  env={"NOTIFY_SOCKET": "vsock:2:4711"}) as hark:
        wait_until(path.exists, what="the node")
        wait_until(lambda: "listening" in hark.stderr(), what="hark listens")
        assert ask(path) == b"ok\n"
        assert 'cannot notify "vsock:2:4711"' in hark.stderr()
