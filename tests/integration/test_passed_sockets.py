# SPDX-License-Identifier: MIT
"""Sockets that somebody passed by LISTEN_FDS: taken over, checked, never damaged."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import Hark, ask, ask_probe, connect, environment_of, finish_load, lines_of, load


@contextmanager
def listening(path: Path | None = None, kind: int = socket.SOCK_STREAM, blocking: bool = True):
    """A socket as systemd would make it: bound, listening unless it is a datagram one."""
    family = socket.AF_UNIX if path else socket.AF_INET
    with socket.socket(family, kind) as made:
        made.bind(str(path) if path else ("127.0.0.1", 0))
        if kind != socket.SOCK_DGRAM:
            made.listen()
        made.setblocking(blocking)
        yield made


def failing(directory, helpers, passed, fds, *arguments: str) -> Hark:
    """A hark that is expected to give up; returns it when it has ended."""
    arguments = arguments or ("-a", str(helpers / "tiny"))
    with Hark(arguments, directory, passed=passed, pass_fds=fds, wait=False, check=False) as hark:
        hark.wait_exit()
    return hark


@pytest.mark.parametrize("blocking", [True, False])
def test_taken_over(activate, directory, helpers, blocking):
    """One passed listener is served like one that hark made; its flags stay as the passer set
    them, and its node stays when hark ends: it is not hark's."""
    path = directory / "s"
    with listening(path, blocking=blocking) as passed:
        with activate("-a", helpers / "tiny", passed=[], pass_fds=[passed.fileno()]) as hark:
            client = load(path, total=300, concurrency=8)
            result = finish_load(client, hark.notifications)
            assert result["errors"] == 0 and result["good"] == 300, result
            hark.notifications.wait_exits(300)
            assert passed.getblocking() == blocking
        assert path.is_socket()
        with connect(path):
            pass  # the backlog is still there: nobody shut it down


def test_tcp_taken_over(activate, helpers):
    """The same with TCP: REMOTE_ADDR is there."""
    with listening() as passed:
        port = passed.getsockname()[1]
        with activate("-a", helpers / "probe", passed=[], pass_fds=[passed.fileno()]):
            assert environment_of(ask_probe(port))["REMOTE_ADDR"] == "127.0.0.1"


def test_variables_do_not_leak(activate, directory, helpers):
    """A handler gets its own LISTEN_ variables, not those of hark; with --inetd none."""
    path = directory / "s"
    with listening(path) as passed:
        for option, expected in (([], "connection"), (["--inetd"], None)):
            stdout = ["--stdout"] if option else []
            with activate("-a", *option, helpers / "probe", *stdout, passed=["--names=web"],
                          pass_fds=[passed.fileno()]):
                record = ask_probe(path)
                env = environment_of(record)
                assert env.get("LISTEN_FDNAMES") == expected
                assert env.get("LISTEN_PID", str(record["pid"])) == str(record["pid"])
                if option:
                    assert not any(name.startswith("LISTEN_") for name in env)


def test_names_go_on_to_the_program(activate, directory, helpers):
    """Without -a the program gets the passed sockets first, then those of -l."""
    paths = [directory / name for name in "abc"]
    with listening(paths[0]) as one, listening(paths[1]) as two:
        with activate("-l", paths[2], helpers / "probe", "--accept", passed=["--names=x:y"],
                      pass_fds=[one.fileno(), two.fileno()]) as hark:
            record = ask_probe(paths[0])
            env = environment_of(record)
            assert env["LISTEN_FDS"] == "3"
            names = env.get("LISTEN_FDNAMES", "x:y:").split(":")
            assert names[:2] == ["x", "y"] and len(names) == 3
            inodes = [entry["target"] for entry in record["fds"] if entry["fd"] in (3, 4)]
            assert inodes == [f"socket:[{os.fstat(s.fileno()).st_ino}]" for s in (one, two)]
            hark.notifications.wait_exits(1)


def test_merged_with_own(activate, directory, helpers):
    """Passed sockets and -l together: all are served."""
    given, own = directory / "given", directory / "own"
    with listening(given) as passed:
        with activate("-l", own, "-a", helpers / "tiny", passed=[],
                      pass_fds=[passed.fileno()]):
            assert ask(given) == b"ok\n" and ask(own) == b"ok\n"
        assert given.is_socket() and not own.exists()


def test_blocking_listener_does_not_hang_a_server(activate, directory, helpers):
    """The description is shared with the passer and blocking: a lost race must not hang a fork
    server, also when the passer's other holder takes connections away."""
    path = directory / "s"
    with listening(path) as passed:
        thief = passed.dup()
        with activate("-a", helpers / "tiny", passed=[], pass_fds=[passed.fileno()]):
            thief.settimeout(0)
            passed.setblocking(True)  # settimeout works on the description they share
            for _ in range(200):
                client = connect(path)
                passed.setblocking(False)
                try:
                    stolen, _ = thief.accept()
                    stolen.close()
                except BlockingIOError:
                    pass
                passed.setblocking(True)
                client.close()
            for _ in range(20):
                assert ask(path) == b"ok\n"
        thief.close()


def test_datagram_passed(activate, directory, helpers):
    """A passed datagram socket goes to the program as it is."""
    path, log = directory / "s", directory / "log"
    with listening(path, socket.SOCK_DGRAM) as passed:
        with activate("-d", helpers / "probe", f"--to={log}", "--receive=3", passed=[],
                      pass_fds=[passed.fileno()]) as hark:
            with connect(path, socket.SOCK_DGRAM) as client:
                client.send(b"x")
            hark.notifications.wait_exits(1)
            assert next(lines_of(log))["received"] == "x"


def test_for_somebody_else(directory, helpers):
    """LISTEN_PID of another process: those are not ours, so there is nothing to listen on."""
    with listening(directory / "s") as passed:
        hark = failing(directory, helpers, ["--pid=1"], [passed.fileno()])
    assert hark.returncode == 64


@pytest.mark.parametrize("options", [["--names=a:b"], ["--names=a:b:c"], ["--fds=3"],
                                     ["--fds=x"], ["--fds=-1"]])
def test_counts_that_disagree(directory, helpers, options):
    """Names and descriptors that do not match in number, or a number that is none: 78."""
    with listening(directory / "s") as passed:
        hark = failing(directory, helpers, options, [passed.fileno()])
        assert hark.returncode == 78, hark.stderr()
        assert "passed" in hark.stderr() or "LISTEN_FD" in hark.stderr()
        with connect(directory / "s"):
            pass  # untouched: still listening


def test_not_a_socket(directory, helpers):
    """A file among the descriptors: 78, and the message names it."""
    with open("/etc/passwd", "rb") as stray:
        hark = failing(directory, helpers, ["--names=web"], [stray.fileno()])
    assert hark.returncode == 78
    assert "web" in hark.stderr() or "3" in hark.stderr()


def test_not_listening(directory, helpers):
    """A stream socket that does not listen: 78."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(directory / "s"))
        hark = failing(directory, helpers, [], [bound.fileno()])
    assert hark.returncode == 78
    assert (directory / "s").is_socket()


def test_wrong_type(directory, helpers):
    """A datagram socket cannot be accepted from: 78."""
    with listening(directory / "s", socket.SOCK_DGRAM) as passed:
        hark = failing(directory, helpers, [], [passed.fileno()])
    assert hark.returncode == 78


def test_own_listener_is_not_made_when_passed_ones_are_wrong(directory, helpers):
    """Passed sockets are checked before anything is touched."""
    own = directory / "own"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(directory / "s"))
        hark = failing(directory, helpers, [], [bound.fileno()], "-l", str(own), "-a",
                       str(helpers / "tiny"))
    assert hark.returncode == 78
    assert not own.exists() and not Path(f"{own}.lock").exists()
