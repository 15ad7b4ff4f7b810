# SPDX-License-Identifier: MIT
"""Ends: SIGTERM, SIGINT, SIGQUIT, handlers that do not want to go, and what is left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from support import Foreign, ask, connect, receive_all, wait_until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop(activate, directory, helpers, number):
    """Handlers get TERM, hark ends with 0; node and lock file are gone (checked at the end)."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "slow", "--on-term=5") as hark:
        with connect(path) as client:
            assert client.recv(3) == b"up\n"
            assert Path(f"{path}.lock").exists()
            assert hark.terminate(number) == 0
            assert client.recv(100) == b""
        hark.notifications.read()
        assert [(e.code, e.status) for e in hark.notifications.exits] == [("exited", "5")]
        assert not path.exists() and not Path(f"{path}.lock").exists()


def test_drain(activate, directory, helpers):
    """SIGQUIT: no new connections; running handlers finish undisturbed; then hark ends with 0."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "slow") as hark:
        client = connect(path)
        assert client.recv(3) == b"up\n"
        os.kill(hark.pid, signal.SIGQUIT)
        hark.notifications.wait_for(lambda: hark.notifications.has("STOPPING=1"), what="STOPPING")

        def refused() -> bool:
            try:
                connect(path, timeout=1).close()
                return False
            except (FileNotFoundError, ConnectionRefusedError):
                return True

        wait_until(refused, what="no new connections")
        assert hark.is_running() and len(hark.handlers()) == 1
        client.sendall(b"still here")
        client.shutdown(1)
        assert receive_all(client) == b"done\n"
        client.close()
        assert hark.wait_exit() == 0
        hark.notifications.read()
        # those that came in just before the end of listening were served as well
        assert {(e.code, e.status) for e in hark.notifications.exits} == {("exited", "0")}


def test_drain_without_handlers(activate, directory, helpers):
    """Nothing runs: a drain ends at once."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny") as hark:
        ask(path)
        assert hark.terminate(signal.SIGQUIT) == 0


def test_stop_during_drain(activate, directory, helpers):
    """SIGTERM after SIGQUIT: no more patience."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "slow") as hark:
        with connect(path) as client:
            client.recv(3)
            os.kill(hark.pid, signal.SIGQUIT)
            hark.notifications.wait_for(lambda: hark.notifications.has("STOPPING=1"))
            assert hark.terminate() == 0
        hark.notifications.read()
        assert [e.status for e in hark.notifications.exits] == ["TERM"]


def test_stop_timeout(activate, directory, helpers):
    """A handler that ignores TERM is killed after --stop-timeout=, not before."""
    path = directory / "s"
    with activate("-l", path, "-a", "--stop-timeout=700ms", helpers / "slow",
                  "--ignore-term") as hark:
        with connect(path) as client:
            client.recv(3)
            start = time.monotonic()
            assert hark.terminate() == 0
            assert time.monotonic() - start >= 0.65
        hark.notifications.read()
        assert [(e.code, e.status) for e in hark.notifications.exits] == [("killed", "KILL")]


def test_second_sigterm_is_harmless(activate, directory, helpers):
    """Impatient operators: more SIGTERMs neither break the stop nor lose a report."""
    path = directory / "s"
    with activate("-l", path, "-a", "--stop-timeout=500ms", helpers / "slow",
                  "--ignore-term") as hark:
        with connect(path) as client:
            client.recv(3)
            os.kill(hark.pid, signal.SIGTERM)
            os.kill(hark.pid, signal.SIGTERM)
            os.kill(hark.pid, signal.SIGINT)
            assert hark.wait_exit() == 0
        hark.notifications.read()
        assert len(hark.notifications.exits) == 1


def test_stop_of_a_stopped_handler(activate, directory, helpers):
    """A handler that was paused by SIGSTOP still ends when hark does."""
    path = directory / "s"
    with activate("-l", path, "-a", "--stop-timeout=1s", helpers / "slow") as hark:
        with connect(path) as client:
            client.recv(3)
            os.kill(hark.handlers()[0], signal.SIGSTOP)
            assert hark.terminate() == 0
        hark.notifications.read()
        assert len(hark.notifications.exits) == 1


def test_program_with_listeners_is_stopped(activate, directory, helpers):
    """Without -a: the one program gets TERM as well."""
    path = directory / "s"
    with activate("-l", path, helpers / "slow", "--accept") as hark:
        assert ask(path) == b"up\n"
        assert hark.terminate() == 0
        hark.notifications.read()
        assert [e.status for e in hark.notifications.exits] == ["TERM"]


def test_signals_to_all_do_not_end_the_servers(activate, directory, helpers):
    """A terminal or a cgroup sends TERM, INT, HUP, QUIT to every process: servers ignore them."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny") as hark:
        before = hark.servers()
        for pid in before:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
                os.kill(pid, number)
        for _ in range(20):
            assert ask(path) == b"ok\n"
        assert hark.servers() == before


def test_foreign_node_is_left_alone(activate, directory, helpers):
    """Somebody put another server's node at our path: a stop does not remove it."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny", check=False) as hark:
        os.kill(hark.pid, signal.SIGSTOP)  # so that it cannot notice and end by itself
        with Foreign("stream", path, "--steal"):
            inode = path.stat().st_ino
            os.kill(hark.pid, signal.SIGTERM)
            os.kill(hark.pid, signal.SIGCONT)
            hark.wait_exit()
            assert path.stat().st_ino == inode
            assert ask(path) == b"foreign\n"


def test_file_at_the_path_is_left_alone(activate, directory, helpers):
    """The same with a plain file."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny", check=False) as hark:
        os.kill(hark.pid, signal.SIGSTOP)
        path.unlink()
        path.write_text("precious")
        os.kill(hark.pid, signal.SIGTERM)
        os.kill(hark.pid, signal.SIGCONT)
        hark.wait_exit()
        assert path.read_text() == "precious"


def test_restart_takes_the_place_over(activate, directory, helpers):
    """--lock-timeout=: a second start waits while the first shuts down, then serves."""
    path = directory / "s"
    with activate("-l", path, "-a", "--stop-timeout=500ms", helpers / "slow", "--ignore-term",
                  check=False) as first:
        with connect(path) as client:
            client.recv(3)
            with activate("-l", path, "-a", "--lock-timeout=10s", helpers / "tiny",
                          wait=False) as second:
                os.kill(first.pid, signal.SIGTERM)
                second.wait_ready()
                assert ask(path) == b"ok\n"
            assert first.wait_exit() == 0


def test_start_and_stop_many_times(activate, directory, helpers):
    """Twenty lives in a row at the same path, each clean."""
    path = directory / "s"
    for _ in range(20):
        with activate("-l", path, "-a", helpers / "tiny"):
            assert ask(path) == b"ok\n"
        assert not path.exists()


def test_sigterm_right_after_start(activate, directory, helpers):
    """A stop before READY is as clean as one after."""
    path = directory / "s"
    for delay in range(12):
        with activate("-l", path, "-a", helpers / "tiny", wait=False) as hark:
            time.sleep(delay * 0.002)
            status = hark.terminate()
            # before it has set up its signals the default disposition ends it
            assert status in (0, -signal.SIGTERM)
            if status != 0:
                hark.killed = True
                path.unlink(missing_ok=True)
                Path(f"{path}.lock").unlink(missing_ok=True)
