# SPDX-License-Identifier: MIT
"""The library's listeners between real processes: lock, probe, bind, and what is found at a path."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import wait_until

TYPES = {
    "stream": socket.SOCK_STREAM,
    "dgram": socket.SOCK_DGRAM,
    "seqpacket": socket.SOCK_SEQPACKET,
}
NOBODY = 65534
LOCK_BUSY, RUNS = 2, 0


def tool(helpers: Path, address: object, *options: str, wait: str = "0") -> list[str]:
    """The command line of tests/helpers/listen-tool.c."""
    return [str(helpers / "listen-tool"), "-w", wait, *options, str(address)]


def try_start(helpers: Path, address: object, *options: str, wait: str = "0",
              **popen: Any) -> subprocess.CompletedProcess[str]:
    """Starts a server that leaves when it listens."""
    return subprocess.run(tool(helpers, address, "-1", *options, wait=wait), text=True,
                          capture_output=True, timeout=60, check=False, **popen)


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """The errno name that the tool says it failed with."""
    assert result.returncode == LOCK_BUSY, result
    return result.stderr.splitlines()[0].rsplit(": ", 1)[1]


@contextmanager
def server(helpers: Path, address: object, *options: str, wait: str = "0",
           **popen: Any) -> Iterator[subprocess.Popen[str]]:
    """A running server, ended by SIGTERM if it still runs."""
    process = subprocess.Popen(tool(helpers, address, *options, wait=wait), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, **popen)
    assert process.stdout
    with process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()


def ask(path: object, kind: str = "stream") -> int:
    """The pid of who answers at path."""
    with socket.socket(socket.AF_UNIX, TYPES[kind]) as client:
        client.settimeout(10)
        if kind == "dgram":
            client.bind("")
        client.connect(str(path))
        if kind == "dgram":
            client.send(b"?")
        return int(client.recv(100))


@contextmanager
def foreign(path: object, kind: str = "stream", backlog: int = 5) -> Iterator[socket.socket]:
    """A server of another make, in this process; it must not see a connection."""
    with socket.socket(socket.AF_UNIX, TYPES[kind]) as listener:
        listener.bind(str(path))
        if kind != "dgram":
            listener.listen(backlog)
        listener.setblocking(False)
        yield listener
        with pytest.raises(BlockingIOError):
            if kind == "dgram":
                listener.recv(1)
            else:
                listener.accept()


def make_stale(path: object, kind: str = "stream") -> None:
    """A socket file that nobody is bound to."""
    with socket.socket(socket.AF_UNIX, TYPES[kind]) as gone:
        gone.bind(str(path))


# ---- what is at the path ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_nothing_there(helpers: Path, directory: Path, kind: str) -> None:
    path = directory / "s"
    with server(helpers, path, "-t", kind) as process:
        assert ask(path, kind) == process.pid
        lock = (directory / "s.lock").read_text()
        assert lock.startswith(f"pid {process.pid}\nboot ")
    assert process.returncode == 0
    assert not list(directory.iterdir())


@pytest.mark.parametrize("old", TYPES)
@pytest.mark.parametrize("new", TYPES)
def test_stale(helpers: Path, directory: Path, old: str, new: str) -> None:
    path = directory / "s"
    make_stale(path, old)
    with server(helpers, path, "-t", new) as process:
        assert ask(path, new) == process.pid


@pytest.mark.parametrize("kind", TYPES)
def test_live_server_of_ours(helpers: Path, directory: Path, kind: str) -> None:
    path = directory / "s"
    with server(helpers, path, "-t", kind) as process:
        before = path.lstat()
        for other in TYPES:
            result = try_start(helpers, path, "-t", other)
            assert refused(result) == "EADDRINUSE"
            assert f"held by {process.pid} (listen-tool)" in result.stderr
        # Even where the lock is gone.
        (directory / "s.lock").unlink()
        for other in TYPES:
            assert refused(try_start(helpers, path, "-t", other)) == "EADDRINUSE"
        assert path.lstat().st_ino == before.st_ino
        assert ask(path, kind) == process.pid


@pytest.mark.parametrize("new", TYPES)
@pytest.mark.parametrize("kind", TYPES)
def test_live_foreign_server(helpers: Path, directory: Path, kind: str, new: str) -> None:
    path = directory / "s"
    with foreign(path, kind):
        result = try_start(helpers, path, "-t", new)
        assert refused(result) == "EADDRINUSE"
        assert f"held by {os.getpid()} " in result.stderr
    assert try_start(helpers, path, "-t", new).returncode == RUNS


def test_full_backlog(helpers: Path, directory: Path) -> None:
    path = directory / "s"
    clients = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        while True:
            clients.append(socket.socket(socket.AF_UNIX))
            clients[-1].setblocking(False)
            try:
                clients[-1].connect(str(path))
            except BlockingIOError:
                break
        assert refused(try_start(helpers, path)) == "EADDRINUSE"
        for client in clients:
            client.close()


@pytest.mark.parametrize("keep_lock", [True, False])
def test_stopped_server(helpers: Path, directory: Path, keep_lock: bool) -> None:
    path = directory / "s"
    with server(helpers, path) as process:
        process.send_signal(signal.SIGSTOP)
        if not keep_lock:
            (directory / "s.lock").unlink()
        assert refused(try_start(helpers, path)) == "EADDRINUSE"
        process.send_signal(signal.SIGCONT)
        assert ask(path) == process.pid


def test_what_is_no_socket(helpers: Path, directory: Path) -> None:
    (directory / "file").write_text("precious")
    (directory / "dir").mkdir()
    os.mkfifo(directory / "fifo")
    (directory / "dangling").symlink_to("none")
    make_stale(directory / "stale")
    (directory / "to-stale").symlink_to("stale")
    with foreign(directory / "live"):
        (directory / "to-live").symlink_to("live")
        before = {p.name: p.lstat().st_ino for p in directory.iterdir()}
        for name in ("file", "dir", "fifo", "dangling", "to-stale", "to-live"):
            assert refused(try_start(helpers, directory / name)) == "EEXIST"
        assert {p.name: p.lstat().st_ino for p in directory.iterdir()} == before
    assert (directory / "file").read_text() == "precious"


@pytest.mark.root
def test_socket_of_another_user(helpers: Path, directory: Path) -> None:
    directory.chmod(0o777)
    make_stale(directory / "dead")
    (directory / "dead").chmod(0o777)
    with foreign(directory / "open"), foreign(directory / "closed"):
        (directory / "open").chmod(0o777)
        (directory / "closed").chmod(0o700)
        for name, error in (("dead", "EPERM"), ("open", "EADDRINUSE"), ("closed", "EPERM")):
            assert refused(try_start(helpers, directory / name, user=NOBODY)) == error
    with server(helpers, directory / "theirs", user=NOBODY) as process:
        process.kill()
        process.wait()
    # Root may replace a dead socket, but not take the lock file of another user.
    assert refused(try_start(helpers, directory / "theirs")) == "EPERM"
    (directory / "theirs.lock").unlink()
    assert try_start(helpers, directory / "theirs").returncode == RUNS


@pytest.mark.root
def test_directories(helpers: Path, directory: Path) -> None:
    directory.chmod(0o755)
    assert refused(try_start(helpers, directory / "s", user=NOBODY)) == "EACCES"
    assert refused(try_start(helpers, directory / "none/s")) == "ENOENT"
    (directory / "file").touch()
    assert refused(try_start(helpers, directory / "file/s")) == "ENOTDIR"
    assert refused(try_start(helpers, directory / ("n" * 108))) == "ENAMETOOLONG"
    assert refused(try_start(helpers, "/proc/hark/s")) == "ENOENT"
    assert try_start(helpers, directory / "a/b/s", "-p").returncode == RUNS
    assert stat.S_IMODE((directory / "a").stat().st_mode) == 0o755


@pytest.mark.root
def test_mode_and_owner_never_wrong(helpers: Path, directory: Path) -> None:
    """Whoever looks meanwhile sees no other mode or owner than the one asked for."""
    path = directory / "s"
    seen = set()
    with subprocess.Popen(tool(helpers, path, "-m", "0660", "-o", "65534", "-g", "65533"),
                          umask=0, stdout=subprocess.PIPE) as process:
        end = time.monotonic() + 20
        while time.monotonic() < end and len(seen) < 3:
            try:
                status = path.lstat()
                seen.add((stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid))
                if process.stdout and seen:
                    process.stdout.readline()
                    break
            except FileNotFoundError:
                pass
        status = path.lstat()
        seen.add((stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid))
        process.terminate()
    assert seen == {(0o660, 65534, 65533)}


def test_connection_that_outlives_its_listener(helpers: Path, directory: Path) -> None:
    path = directory / "s"
    with socket.socket(socket.AF_UNIX) as client:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            client.connect(str(path))
            connection, _ = listener.accept()
        with connection, server(helpers, path) as process:
            assert ask(path) == process.pid
            connection.send(b"x")
            assert client.recv(1) == b"x"


# ---- the lock file ---------------------------------------------------------------------------


def test_lock_files_that_are_none(helpers: Path, directory: Path) -> None:
    (directory / "a.lock").symlink_to("elsewhere")
    os.mkfifo(directory / "b.lock")
    (directory / "c.lock").mkdir()
    (directory / "d.lock").touch()
    os.link(directory / "d.lock", directory / "d.other")
    for name, error in {"a": "ELOOP", "b": "EMEDIUMTYPE", "c": "EMEDIUMTYPE", "d": "EMLINK"}.items():
        assert refused(try_start(helpers, directory / name)) == error
    assert not (directory / "elsewhere").exists()


def test_lock_file_with_too_many_rights(helpers: Path, directory: Path) -> None:
    lock = directory / "s.lock"
    lock.touch()
    lock.chmod(0o644)
    with server(helpers, directory / "s"):
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_lock_file_of_another_user(helpers: Path, directory: Path, mode: int) -> None:
    directory.chmod(0o1777)
    lock = directory / "s.lock"
    lock.touch()
    lock.chmod(mode)
    os.chown(lock, 1, 1)
    assert refused(try_start(helpers, directory / "s")) == "EPERM"
    assert refused(try_start(helpers, directory / "s", user=NOBODY)) == "EPERM"
    assert lock.stat().st_uid == 1


# ---- several at once -------------------------------------------------------------------------


def test_race_over_a_stale_socket(helpers: Path, directory: Path) -> None:
    subprocess.run([helpers / "race-listen", directory / "s", "64", "200"], check=True, timeout=110)


def test_waits_for_the_lock(helpers: Path, directory: Path) -> None:
    path = directory / "s"
    with server(helpers, path) as first:
        with subprocess.Popen(tool(helpers, path, wait="20000"), text=True,
                              stdout=subprocess.PIPE) as second:
            assert second.stdout
            wait_until(lambda: sleeps(second.pid), what="the second waits")
            assert ask(path) == first.pid
            first.terminate()
            assert second.stdout.readline() == "ready\n"
            assert ask(path) == second.pid
            second.terminate()
    assert not list(directory.iterdir())


def sleeps(pid: int) -> bool:
    """Whether a process is in a timed sleep."""
    return "nanosleep" in Path(f"/proc/{pid}/wchan").read_text()


def test_waits_for_an_old_listener_without_lock(helpers: Path, directory: Path) -> None:
    path = directory / "s"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
        old.listen()
        with subprocess.Popen(tool(helpers, path, wait="20000"), text=True,
                              stdout=subprocess.PIPE) as second:
            assert second.stdout
            wait_until(lambda: sleeps(second.pid), what="the second waits")
            old.close()
            assert second.stdout.readline() == "ready\n"
            assert ask(path) == second.pid
            second.terminate()


# ---- while it serves -------------------------------------------------------------------------


def test_removed_while_serving(helpers: Path, directory: Path) -> None:
    path = directory / "s"
    with server(helpers, path) as process, socket.socket(socket.AF_UNIX) as waiting:
        assert process.stdout
        process.send_signal(signal.SIGSTOP)
        waiting.connect(str(path))  # into the backlog of the socket that loses its name
        path.unlink()
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "rebound\n"
        assert ask(path) == process.pid
        waiting.settimeout(10)
        assert int(waiting.recv(100)) == process.pid
    assert not list(directory.iterdir())


def test_replaced_by_a_dead_socket(helpers: Path, directory: Path) -> None:
    path = directory / "s"
    with server(helpers, path) as process:
        assert process.stdout
        make_stale(directory / "t")
        (directory / "t").rename(path)
        assert process.stdout.readline() == "rebound\n"
        assert ask(path) == process.pid


def test_replaced_by_a_living_server(helpers: Path, directory: Path) -> None:
    path = directory / "s"
    with server(helpers, path) as process, foreign(directory / "t"):
        assert process.stdout
        (directory / "t").rename(path)
        assert process.stdout.readline() == "lost: EADDRINUSE\n"
        assert process.wait(10) == 3
        assert path.is_socket()
        assert not (directory / "s.lock").exists()


# ---- death at every step ---------------------------------------------------------------------


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("options", [[], ["-o", "65534"]])
def test_killed_at_every_system_call(helpers: Path, directory: Path, stale: bool,
                                     options: list[str]) -> None:
    """Whatever a starter leaves when it is killed, the next one starts cleanly."""
    if options and os.geteuid() != 0:
        pytest.skip("another owner needs root")
    path = directory / "s"
    for step in range(2000):
        if stale and not path.exists():
            make_stale(path)
        killed = subprocess.run(
            [helpers / "kill-at-step", directory, str(step), "--",
             *tool(helpers, path, "-1", *options)],
            capture_output=True, timeout=20, check=False)
        assert killed.returncode in (0, 1), killed
        with server(helpers, path, *options) as process:
            assert ask(path) == process.pid
        assert not list(directory.iterdir())
        if killed.returncode == 1:
            break
    assert 30 < step < 2000


# ---- file systems ----------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("upper", ["tmpfs", "disk"])
@pytest.mark.parametrize("kind", TYPES)
def test_overlay_of_different_file_systems(helpers: Path, directory: Path, upper: str,
                                           kind: str) -> None:
    """The layers' inode and device numbers are not those of the overlay."""
    script = r"""
        set -e
        mkdir lower upper merged; mount -t tmpfs lower lower
        [ $UPPER = disk ] || mount -t tmpfs upper upper
        mkdir upper/u upper/w lower/d
        $PYTHON -c 'import socket; socket.socket(socket.AF_UNIX).bind("lower/d/old")'
        mount -t overlay -o lowerdir=lower,upperdir=upper/u,workdir=upper/w none merged || exit 77
        exec $PYTHON "$TEST" merged/d
    """
    inner = directory / "inner.py"
    inner.write_text(OVERLAY_STORY)
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], cwd=directory, text=True, capture_output=True,
        timeout=60, check=False,
        env=os.environ | {"UPPER": upper, "TEST": str(inner), "PYTHON": "/usr/bin/python3",
                          "TOOL": str(helpers / "listen-tool"), "KIND": kind})
    if result.returncode == 77:
        pytest.skip(f"no overlay here: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr


OVERLAY_STORY = r"""
import os, signal, socket, subprocess, sys
tool, kind, path = os.environ["TOOL"], os.environ["KIND"], os.path.join(sys.argv[1], "s")
types = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM,
         "seqpacket": socket.SOCK_SEQPACKET}

def start(at, *options):
    process = subprocess.Popen([tool, "-w", "0", "-t", kind, *options, at], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    line = process.stdout.readline()
    return process, line or process.stderr.read()

# A stale one of the lower layer, then one of the upper.
for at in (os.path.join(sys.argv[1], "old"), path):
    first, said = start(at)
    assert said == "ready\n", said
    assert f"pid {first.pid}\n" in open(at + ".lock").read()
    _, said = start(at)
    assert "EADDRINUSE" in said and f"held by {first.pid} (listen-tool)" in said, said
    os.unlink(at + ".lock")
    _, said = start(at)
    assert "EADDRINUSE" in said, said
    first.kill()
    first.wait()
    second, said = start(at)
    assert said == "ready\n", said
    os.unlink(at)
    assert second.stdout.readline() == "rebound\n"
    second.terminate()
    assert second.wait() == 0
    assert not os.path.lexists(at) and not os.path.lexists(at + ".lock")

# Someone who is bound to the same file below the overlay.
below = socket.socket(socket.AF_UNIX, types[kind])
below.bind("upper/u/d/below")
if kind != "dgram":
    below.listen()
at = os.path.join("merged", os.path.relpath(below.getsockname(), "upper/u"))
os.listdir(os.path.dirname(at))
assert os.path.lexists(at)
_, said = start(at)
assert "EADDRINUSE" in said, said
assert os.path.lexists(at)
"""
