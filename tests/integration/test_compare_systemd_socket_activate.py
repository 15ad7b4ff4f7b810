# SPDX-License-Identifier: MIT
"""The same probe under the real systemd-socket-activate and under hark: what a handler sees is the
same, but for the differences listed here, each on purpose."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
from typing import Any

import pytest

from support import (Hark, ask, clean_environment, environment_of, free_port, kill_quietly,
                     receive_all, wait_until, which)

pytestmark = pytest.mark.needs("systemd-socket-activate")

# hark's deliberate differences, as the manual says them:
#  - a handler of -a has LISTEN_FDNAMES=connection, as under systemd (the original: none, or the
#    names of the listeners);
#  - a handler is in a session of its own, as under systemd (the original: in the terminal's);
#  - the program without -a is a child (the original becomes the program);
#  - a handler of -a has hark's own limit of open files (the original: 1024);
#  - a handler of -a has REMOTE_ADDR and REMOTE_PORT, as under systemd (the original: neither);
#  - -E NAME of a variable that is not set sets nothing (the original: an empty one);
#  - only the program without -a is told when its parent dies (the original: only handlers);
#  - a node has mode 0600 (the original: 0644 and the umask), and a lock file beside it.
DIFFERENT_VARIABLES = {"LISTEN_PID", "REMOTE_ADDR", "REMOTE_PORT", "MISSING"}
DIFFERENT_FIELDS = {"pid", "ppid", "pgrp", "sid", "environ", "fds", "SigQ", "leads_session",
                    "leads_group", "death_signal"}
FD_FIELDS = {"fd", "type", "cloexec", "domain", "socket_type", "listening"}


def run_original(options: list[str], address: str, client: Any, directory: Any) -> Any:
    """client() against systemd-socket-activate with these options."""
    log = directory / "original.log"
    with open(log, "wb") as stderr:
        original = subprocess.Popen(
            [which("systemd-socket-activate"), "-l", address, *options], cwd=directory,
            env=clean_environment(EXTRA="1", SECRET="2"), stdin=subprocess.DEVNULL,
            stdout=stderr, stderr=stderr)
    try:
        wait_until(lambda: "Listening on" in log.read_text(), what="systemd-socket-activate runs")
        return client()
    finally:
        kill_quietly(original.pid, signal.SIGTERM)
        try:
            original.wait(10)
        finally:
            kill_quietly(original.pid)


def run_ours(options: list[str], address: str, client: Any, directory: Any) -> Any:
    """client() against hark with these options."""
    with Hark(["-l", address, *options], directory, env={"EXTRA": "1", "SECRET": "2"}):
        return client()


def comparable(record: dict[str, Any]) -> dict[str, Any]:
    """What must be equal: without pids, inode numbers and the name of the log file."""
    result = {key: value for key, value in record.items() if key not in DIFFERENT_FIELDS}
    env = environment_of(record)
    result["rlimits"] = [limit for i, limit in enumerate(record["rlimits"])
                         if i != resource.RLIMIT_NOFILE]
    result["environ"] = {k: v for k, v in env.items() if k not in DIFFERENT_VARIABLES}
    result["fds"] = [{k: v for k, v in entry.items() if k in FD_FIELDS}
                     | {"nonblock": bool(entry["flags"] & os.O_NONBLOCK),
                        "access": entry["flags"] & os.O_ACCMODE}
                     for entry in record["fds"]]
    assert env.get("LISTEN_PID", str(record["pid"])) == str(record["pid"])
    return result


def probe(helpers: Any, *arguments: str) -> list[str]:
    """The probe as the program."""
    return [str(helpers / "probe"), *arguments]


@pytest.mark.parametrize("kind", ["accept", "inetd", "listener", "setenv", "tcp", "tcp-inetd",
                                  "fdname", "tcp6", "exec"])
def test_the_same_for_the_handler(hark, directory, helpers, kind):
    """argv, environment, directory, umask, signals, limits, CPUs, descriptors."""
    address = str(directory / "s")
    target: Any = address
    options = {
        "accept": ["-a", *probe(helpers, "x", "y z")],
        "inetd": ["-a", "--inetd", *probe(helpers, "--stdout")],
        "listener": probe(helpers, "--accept"),
        "setenv": ["-a", "-E", "EXTRA", "-E", "A=1", "-E", "MISSING", "-E", "A=2",
                   *probe(helpers)],
        "tcp": ["-a", *probe(helpers)],
        "tcp-inetd": ["-a", "--inetd", *probe(helpers, "--stdout")],
        "tcp6": ["-a", *probe(helpers)],
        "exec": ["--fdname=a", "-E", "TERM=x", "-E", "HOME=/", *probe(helpers, "--accept")],
        "fdname": ["--fdname=web", *probe(helpers, "--accept")],
    }[kind]
    if kind.startswith("tcp"):
        host = "::1" if kind == "tcp6" else "127.0.0.1"
        port = free_port(host)
        address = f"[{host}]:{port}" if kind == "tcp6" else f"{host}:{port}"
        target = (host, port)

    def client() -> dict[str, Any]:
        return json.loads(ask(target))

    theirs = run_original(options, address, client, directory)
    if not kind.startswith("tcp"):
        os.unlink(address)
    ours = run_ours(options, address, client, directory)
    expected, found = comparable(theirs), comparable(ours)
    if "--inetd" not in options and "-a" in options:
        assert found["environ"].pop("LISTEN_FDNAMES") == "connection"
        expected["environ"].pop("LISTEN_FDNAMES", None)
    assert found == expected
    assert ours["sid"] == ours["pid"]
    if kind.startswith("tcp"):
        assert environment_of(ours)["REMOTE_ADDR"] == target[0]


def test_the_same_for_a_datagram(hark, directory, helpers):
    """-d: the program gets the socket."""
    address = str(directory / "s")
    records = []
    for run in (run_original, run_ours):
        log = directory / f"{run.__name__}.json"

        def client(log=log) -> dict[str, Any]:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"x", address)
            return json.loads(wait_until(
                lambda: log.exists() and log.read_text().endswith("\n") and log.read_text(),
                what="the record"))

        record = run(["-d", *probe(helpers, f"--to={log}", "--receive=3")], address, client,
                     directory)
        record["argv"] = record["argv"][2:]
        records.append(comparable(record))
        if os.path.exists(address):
            os.unlink(address)
    assert records[0] == records[1]


def test_a_live_server_is_not_robbed(hark, directory, helpers):
    """Where the original unlinks a living server's node, hark refuses: the point of the matter."""
    path = directory / "s"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        with Hark(["-l", str(path), "-a", str(helpers / "tiny")], directory, wait=False,
                  check=False) as ours:
            assert ours.wait_exit() == 69
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            connection, _ = living.accept()
            connection.sendall(b"mine")
            connection.close()
            assert receive_all(client) == b"mine"
