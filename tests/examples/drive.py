# SPDX-License-Identifier: MIT
"""Runs an example program, or compares it with what its manual page shows.

drive.py run NAME PROGRAM
drive.py compare SOURCE PAGE
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DEADLINE = 20


def ask(path: Path) -> bytes:
    """What the greeter says, who must be there."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE)
        client.connect(str(path))
        return client.recv(100)


def connect(path: Path) -> bytes:
    """What the greeter says, as soon as there is one."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return ask(path)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def run_only_once(program: str, directory: Path) -> None:
    """It runs, and leaves nothing."""
    subprocess.run([program, directory / "lock"], check=True, timeout=DEADLINE)
    assert not list(directory.iterdir())


def run_atomic_update(program: str, directory: Path) -> None:
    """Many at once, and each one counts; the mode of the file stays."""
    counter = directory / "counter"
    counter.write_text("5\n")
    counter.chmod(0o644)
    running = [subprocess.Popen([program, counter]) for _ in range(10)]
    assert [p.wait(DEADLINE) for p in running] == [0] * 10
    assert counter.read_text() == "15\n"
    assert counter.stat().st_mode & 0o777 == 0o644
    assert list(directory.iterdir()) == [counter]


def run_listen_or_inherit(program: str, directory: Path) -> None:
    """Its own socket; again after a kill; a second one is refused; a passed socket."""
    path = directory / "socket"
    for _ in range(2):
        with subprocess.Popen([program, path]) as daemon:
            assert connect(path) == b"hello\n"
            second = subprocess.run([program, path], check=False, timeout=DEADLINE,
                                    stderr=subprocess.PIPE, text=True)
            assert second.returncode == 1 and "in use" in second.stderr
            assert connect(path) == b"hello\n"
            daemon.send_signal(signal.SIGKILL)

    passed = directory / "passed"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(passed))
        listener.listen()
        pid = os.fork()
        if pid == 0:
            os.dup2(listener.fileno(), 3)
            os.set_inheritable(3, True)
            os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="greeter", LISTEN_PID=str(os.getpid()))
            os.execv(program, [program, str(directory / "other")])
        try:
            assert connect(passed) == b"hello\n"
            assert not (directory / "other").exists()
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def run_upgrade_in_place(program: str, directory: Path) -> None:
    """Whoever connects is served, before, while and after it becomes another."""
    path = directory / "socket"
    with subprocess.Popen([program, path]) as daemon:
        assert connect(path) == b"hello, after 0 upgrades\n"
        node = path.lstat().st_ino
        for count in range(1, 4):
            daemon.send_signal(signal.SIGHUP)
            end = time.monotonic() + DEADLINE
            while ask(path) != f"hello, after {count} upgrades\n".encode():
                assert time.monotonic() < end
            assert path.lstat().st_ino == node
            second = subprocess.run([program, path], check=False, timeout=DEADLINE,
                                    stderr=subprocess.PIPE, text=True)
            assert second.returncode == 1 and "in use" in second.stderr
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(DEADLINE) == 0
    assert not list(directory.iterdir())


def run_ask_greeter(program: str, directory: Path) -> None:
    """A server that starts after its client, and is slow to listen."""
    path = directory / "socket"
    with subprocess.Popen([program, path], stdout=subprocess.PIPE) as client:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.settimeout(DEADLINE)
            listener.bind(str(path))
            listener.listen()
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall(b"hello\n")
        assert client.communicate(timeout=DEADLINE) == (b"hello\n", None)
        assert client.returncode == 0


def run_spawn_from_threads(program: str, _directory: Path) -> None:
    """All exits are read."""
    result = subprocess.run([program], check=True, timeout=DEADLINE, stdout=subprocess.PIPE,
                            text=True)
    assert result.stdout == "4 of 4 ended with status 7\n"


def compare(source: Path, page: Path) -> None:
    """The page shows the program from its first #include on, line by line."""
    code = source.read_text()
    code = code[code.index("#include"):]
    shown = page.read_text()
    begin = shown.index("\n", shown.index(f'.\\" {source.name}\n.Bd')) + 1
    begin = shown.index("\n", begin) + 1
    shown = shown[begin:shown.index("\n.Ed", begin) + 1]
    shown = "".join(line.removeprefix("\\&") for line in shown.splitlines(keepends=True))
    assert shown.replace("\\e", "\\") == code, f"{page} does not show {source} as it is"


def main() -> None:
    """See above."""
    if sys.argv[1] == "compare":
        compare(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    run = globals()["run_" + sys.argv[2].replace("-", "_")]
    with tempfile.TemporaryDirectory() as directory:
        run(str(Path(sys.argv[3]).absolute()), Path(directory))


if __name__ == "__main__":
    main()
