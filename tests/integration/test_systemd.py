# SPDX-License-Identifier: MIT
"""Under a real systemd: a socket unit and a Type=notify service that runs `hark activate`."""

from __future__ import annotations

import json
import re

import pytest

from support import (HELPERS, SANITIZED, ask, connect, finish_load, load, wait_until)
from systemd_machine import SANITIZER_OPTIONS, Machine

pytestmark = [pytest.mark.root,
              pytest.mark.needs("systemd-nspawn", "unshare", "nsenter", "setpriv")]

SOCKET = """[Socket]
ListenStream=/test/s
SocketMode=0666
FileDescriptorName=web
TriggerLimitIntervalSec=0
{more}
"""

# What hands a socket over safely: no start limit, handlers that outlive a crash, no dead socket.
SERVICE = """[Unit]
BindsTo=foo.socket
After=foo.socket
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
WatchdogSec=5s
ExecStart=/hark/src/cli/hark activate {arguments}
KillMode=process
Restart=always
RestartSec=0
OOMPolicy=continue
TasksMax=infinity
LimitNOFILE=4096
{more}
""" + SANITIZER_OPTIONS


def machine(arguments: str, socket_more: str = "", service_more: str = "") -> Machine:
    """A systemd with foo.socket and foo.service."""
    return Machine({"foo.socket": SOCKET.format(more=socket_more),
                    "foo.service": SERVICE.format(arguments=arguments,
                                                  more=service_more)})


def main_pid(running: Machine) -> str:
    """MainPID of foo.service, "0" when there is none."""
    return running.show("foo.service", "MainPID")


def test_takes_the_socket_and_says_how_it_is(hark):
    """LISTEN_FDS is taken; systemctl status shows our STATUS= line; a stop is clean and leaves the
    socket to systemd."""
    with machine("-a /hark/tests/helpers/tiny") as running:
        running.run("systemctl", "start", "foo.socket")
        path = running.shared / "s"
        for _ in range(20):
            assert ask(path) == b"ok\n"
        running.wait_show("foo.service", "ActiveState", "^active$")
        running.wait_show("foo.service", "StatusText",
                          r"^1 sockets?, 0 running, 20 done, 0 failed$")
        status = running.run("systemctl", "status", "foo.service")
        assert re.search(r'Status: "1 sockets?, 0 running, 20 done, 0 failed"', status)
        before = path.stat().st_ino
        running.run("systemctl", "stop", "foo.service")
        assert running.show("foo.service", "Result") == "success"
        assert path.stat().st_ino == before
        assert ask(path) == b"ok\n", "the next client starts it again"
        assert running.show("foo.socket", "ActiveState") == "active"


def test_handler_sees_what_hark_promises(hark):
    """The variables of systemd stay with hark; the handler gets its own."""
    with machine("-a /hark/tests/helpers/probe") as running:
        running.run("systemctl", "start", "foo.socket")
        record = json.loads(ask(running.shared / "s"))
        names = {entry.split("=")[0] for entry in record["environ"]}
        assert names <= {"TERM", "PATH", "USER", "HOME", "LISTEN_FDS", "LISTEN_PID",
                         "LISTEN_FDNAMES"}
        assert "LISTEN_FDNAMES=connection" in record["environ"]
        assert {entry["fd"] for entry in record["fds"]} == {0, 1, 2, 3}
        assert int(record["SigIgn"], 16) == 0, "systemd starts services with SIGPIPE ignored"


def test_ready_is_known_to_systemd(hark):
    """systemctl start returns when hark serves, and its main process is hark."""
    with machine("-a /hark/tests/helpers/tiny") as running:
        running.run("systemctl", "start", "foo.service")
        assert running.show("foo.service", "ActiveState") == "active"
        assert running.run("cat", f"/proc/{main_pid(running)}/comm").strip() == "hark"
        assert ask(running.shared / "s") == b"ok\n"


def test_journal_has_the_exits(hark):
    """What failed is in the journal of the unit."""
    with machine("-a /hark/tests/helpers/obey") as running:
        running.run("systemctl", "start", "foo.socket")
        assert ask(running.shared / "s", b"exit 3\n") == b"ok\n"
        assert ask(running.shared / "s", b"signal 11\n") == b"ok\n"
        wait_until(lambda: "exited with status 3" in running.journal("foo.service"),
                   what="the exit status in the journal")
        wait_until(lambda: "killed by SEGV" in running.journal("foo.service"),
                   what="the signal in the journal")


def test_killed_and_back(hark):
    """kill -9 of hark: systemd starts it again with the same socket, handlers live on."""
    with machine("-a /hark/tests/helpers/slow") as running:
        running.run("systemctl", "start", "foo.socket")
        path = running.shared / "s"
        inode = path.stat().st_ino
        with connect(path) as client:
            assert client.recv(3) == b"up\n"
            before = main_pid(running)
            running.run("systemctl", "kill", "--kill-who=main", "-s", "KILL", "foo.service")
            wait_until(lambda: main_pid(running) not in ("0", before), what="a new main process")
            with connect(path) as other:
                assert other.recv(3) == b"up\n"
            client.sendall(b"still here")
            client.shutdown(1)
            assert client.recv(100) == b"done\n", "the old handler is gone"
        assert path.stat().st_ino == inode


@pytest.mark.timeout(180)
def test_no_connection_is_lost(hark):
    """Under load, hark is killed again and again: every connection gets its answer."""
    kills = 5 if SANITIZED else 15
    with machine("-a /hark/tests/helpers/tiny") as running:
        running.run("systemctl", "start", "foo.socket")
        client = load(running.shared / "s", total=0, concurrency=8, timeout_ms=30000)
        try:
            for _ in range(kills):
                running.wait_show("foo.service", "ActiveState", "^active$")
                before = wait_until(lambda: main_pid(running), what="a main process")
                if before == "0":
                    continue
                running.run("systemctl", "kill", "--kill-who=main", "-s", "KILL", "foo.service")
                wait_until(lambda b=before: main_pid(running) not in ("0", b), what="a restart")
        finally:
            client.terminate()
            result = finish_load(client)
        assert result["errors"] == 0, result
        assert result["good"] > 100
        assert running.show("foo.socket", "ActiveState") == "active"
        assert int(running.show("foo.service", "NRestarts")) >= kills - 1


def test_restart_under_load(hark):
    """systemctl restart with the signal that drains: the clients notice nothing."""
    with machine("-a /hark/tests/helpers/tiny", service_more="KillSignal=SIGQUIT") as running:
        running.run("systemctl", "start", "foo.socket")
        client = load(running.shared / "s", total=0, concurrency=8, timeout_ms=30000)
        try:
            for _ in range(5):
                running.run("systemctl", "restart", "foo.service")
        finally:
            client.terminate()
            result = finish_load(client)
        assert result["errors"] == 0 and result["good"] > 100, result


def test_watchdog(hark):
    """hark hangs (SIGSTOP): systemd's watchdog ends it and starts it again; then all is well. While
    it is well, the watchdog stays quiet for several periods."""
    with machine("-a /hark/tests/helpers/tiny", service_more="WatchdogSec=1s") as running:
        running.run("systemctl", "start", "foo.service")
        before = main_pid(running)
        path = running.shared / "s"
        client = load(path, total=2000, concurrency=1)
        finish_load(client)
        wait_until(lambda: int(running.show("foo.service", "WatchdogTimestampMonotonic")) > 0)
        first = int(running.show("foo.service", "WatchdogTimestampMonotonic"))
        wait_until(lambda: int(running.show("foo.service", "WatchdogTimestampMonotonic"))
                   > first + 3_000_000, what="pings over three periods")
        assert main_pid(running) == before
        running.run("systemctl", "kill", "--kill-who=main", "-s", "STOP", "foo.service")
        wait_until(lambda: main_pid(running) not in ("0", before), what="a new main process")
        assert "watchdog" in running.journal("foo.service").lower()
        assert ask(path) == b"ok\n"


def test_wrong_socket_is_said_in_the_journal(hark):
    """A datagram socket for -a: the service fails with 78 and says why."""
    with Machine({"foo.socket": "[Socket]\nListenDatagram=/test/s\n",
                  "foo.service": SERVICE.format(arguments="-a /hark/tests/helpers/tiny", more="")
                  .replace("Restart=always", "Restart=no")}) as running:
        running.run("systemctl", "start", "foo.service", check=False)
        running.wait_show("foo.service", "ExecMainStatus", "^78$")
        assert "/test/s" in running.journal("foo.service")


def test_non_blocking(hark):
    """NonBlocking=yes changes nothing for the clients, and nothing for the handlers."""
    with machine("-a /hark/tests/helpers/probe", service_more="NonBlocking=yes") as running:
        running.run("systemctl", "start", "foo.socket")
        for _ in range(20):
            record = json.loads(ask(running.shared / "s"))
            connection = next(entry for entry in record["fds"] if entry["fd"] == 3)
            assert not connection["flags"] & 0o4000


def test_helpers_are_where_the_units_expect_them(helpers):
    """/hark inside is the build directory."""
    assert HELPERS == helpers and (helpers / "tiny").exists()


def test_run_takes_the_sockets_of_its_units(hark):
    """A socket unit that systemd holds, and `hark run` of the very same pair behind it: handlers
    are given what systemd itself would give them, and commands of the socket run only once."""
    pair = """[Socket]
ListenStream=/test/s
ListenStream=/test/t
SocketMode=0666
Accept={accept}
ExecStartPre=/bin/sh -c 'echo pre >>/test/log'
ExecStopPost=/bin/sh -c 'echo post >>/test/log'
{more}
"""
    service = SERVICE.format(arguments="", more="").replace(
        "hark activate ", "hark run --unit-path=/test/units foo.socket")
    with Machine({"foo.socket": pair.format(accept="no", more="Service=hark-foo.service"),
                  "hark-foo.service": service}) as running:
        units = running.shared / "units"
        units.mkdir()
        (units / "foo.socket").write_text(pair.format(accept="yes", more=""))
        (units / "foo@.service").write_text(
            "[Service]\nExecStart=/hark/tests/helpers/probe %i\nUser=nobody\n")
        running.run("systemctl", "start", "foo.socket")
        for name in ("s", "t"):
            record = json.loads(ask(running.shared / name))
            assert re.fullmatch(r"\d-unknown", record["argv"][1])  # not of its pid namespace
            env = dict(variable.split("=", 1) for variable in record["environ"])
            assert env["LISTEN_FDNAMES"] == "connection" and env["USER"] == "nobody"
            assert "NOTIFY_SOCKET" not in env
        running.wait_show("hark-foo.service", "StatusText", "2 sockets?, 0 running, 2 done")
        running.run("systemctl", "stop", "hark-foo.service")
        assert (running.shared / "s").is_socket()
        assert ask(running.shared / "t"), "the next client starts it again"
        running.run("systemctl", "stop", "foo.socket", "hark-foo.service")
        assert (running.shared / "log").read_text() == "pre\npost\n"
