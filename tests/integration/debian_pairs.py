# SPDX-License-Identifier: MIT
"""Runs pairs that Debian's packages have installed, from where they were put, not a letter changed.

Ports and paths are the packages' own, so each hark is in namespaces of its own: a network of only a
loopback, an empty /run, and /etc and /var of which changes go nowhere.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support import HARK, Hark, clean_environment, libc

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWNET = 0x20000, 0x4000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

# No public name, and none of those reserved for examples: a news server wants a name to be unique.
HOST = "server.hark.internal"
OTHER = "client.hark.internal"

# Where a package's unit files are: the first two are one place where /usr is merged.
PLACES = (Path("/lib/systemd/system"), Path("/usr/lib/systemd/system"),
          Path("/usr/lib/systemd/user"))


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _mount(kind: str, target: str | Path, options: str = "", flags: int = 0) -> None:
    _check(libc.mount(kind.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags),
                      options.encode()), f"mount {target}")


def _loopback_up() -> None:
    with socket.socket() as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("H", fcntl.ioctl(control, SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def enter_namespaces(layers: Path) -> None:
    """Between fork and exec, so it says itself what went wrong. layers is an empty directory."""
    try:
        _check(libc.unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS), "unshare")
        _mount("none", "/", flags=MS_REC | MS_PRIVATE)
        _loopback_up()
        socket.sethostname(HOST)
        _mount("tmpfs", "/run", "mode=755")
        os.mkdir("/run/lock")
        os.makedirs("/run/user/0", mode=0o700)
        _mount("tmpfs", layers, "mode=755")
        for name in ("etc", "var"):
            upper, work = layers / name, layers / f"{name}.work"
            upper.mkdir()
            work.mkdir()
            _mount("overlay", f"/{name}", f"lowerdir=/{name},upperdir={upper},workdir={work}")
        Path("/etc/hosts").write_text(f"127.0.0.1 {HOST} {OTHER} localhost\n")
    except OSError as error:
        os.write(2, f"the namespaces of the test: {error}\n".encode())
        os._exit(1)


@dataclass
class Pair(Hark):
    """`hark run` of installed socket units in namespaces; before that, a look at their files."""

    verb: str = "run"
    package: str = ""
    ignore: Sequence[str] = field(default_factory=tuple)
    user: bool = False  # units of a user's manager, that of root here

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.user:
            self.arguments = ["--user", *self.arguments]
            self.env = {"XDG_RUNTIME_DIR": "/run/user/0"} | self.env
        self.look()
        if self.ignore:
            self.arguments = [f"--ignore={','.join(self.ignore)}", *self.arguments]
        layers = self.directory / "layers"
        layers.mkdir()
        self.preexec = lambda: enter_namespaces(layers)

    def look(self) -> None:
        """The units are the package's, whole and unchanged, and the keys in .ignore are just those
        that hark refuses in them."""
        result = subprocess.run([HARK, "check", "--json", *self.arguments], capture_output=True,
                                text=True, env=clean_environment() | self.env, timeout=60,
                                check=False)
        report = json.loads(result.stdout)
        refused = {key["key"] for unit in report["units"] for key in unit["keys"]
                   if key["verdict"] in ("refused", "unknown", "invalid")}
        assert refused == set(self.ignore), report["problems"]
        assert report["runnable"] is not bool(self.ignore), report["problems"]
        changed = subprocess.run(["dpkg", "--verify", self.package], capture_output=True, text=True,
                                 timeout=60, check=False).stdout
        for unit in report["units"]:
            for path in map(Path, unit["files"]):
                assert path.parent in PLACES, f"{path} is not of {self.package}"
                assert path.name not in changed, changed

    # -- what a test does inside

    def root(self, path: str) -> Path:
        """A path inside, seen from here."""
        return Path(f"/proc/{self.pid}/root{path}")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file inside, and what directories it needs."""
        real = self.root(path)
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text(text)
        real.chmod(mode)

    def words(self, *command: object) -> list[str]:
        """The command line that runs a command inside."""
        return ["nsenter", "-t", str(self.pid), "--net", "--mount", "--uts", "--",
                *map(str, command)]

    def inside(self, *command: object, text: str = "", status: int = 0,
               env: dict[str, str] | None = None, timeout: float = 60) -> str:
        """Runs a client, to its end; returns what it printed. Fails with all that it said."""
        # as bytes: newlines shall stay what they are
        result = subprocess.run(self.words(*command), input=text.encode(), capture_output=True,
                                timeout=timeout, env=clean_environment() | (env or {}),
                                check=False)
        output, errors = result.stdout.decode(), result.stderr.decode()
        assert result.returncode == status, \
            f"{command}: status {result.returncode}\n{output}{errors}{self.stderr()}"
        return output

    def talk(self, address: str, text: str) -> str:
        """Sends text, and returns all that comes until the server closes."""
        return self.inside("socat", "-t30", "-", address, text=text)

    # -- how it ended

    def ended_well(self, n: int, other: str = "0") -> None:
        """n handlers have ended, and no more: each with status 0, or one with another that does
        not matter to its unit."""
        exits = self.notifications.wait_exits(n)
        assert all(e.code == "exited" and e.step is None for e in exits) and \
            sorted(e.status for e in exits) == ["0"] * (n - 1) + [other], \
            f"{exits}\n{self.stderr()}"
        self.no_complaint()

    def stops_well(self, code: str = "exited", status: str = "0") -> None:
        """The service of Accept=no is told to end, and ends so as a service does that was told."""
        assert len(self.handlers()) == 1
        assert self.terminate() == 0
        exits = self.notifications.exits
        assert [(e.code, e.status, e.step) for e in exits] == [(code, status, None)], \
            f"{exits}\n{self.stderr()}"
        self.no_complaint()

    def no_complaint(self) -> None:
        """hark itself has said nothing of failures."""
        own = [line for line in self.stderr().splitlines() if line.startswith("hark: ")]
        expected = [line for line in own if "listening on" in line or " runs without " in line]
        assert own == expected, self.stderr()
