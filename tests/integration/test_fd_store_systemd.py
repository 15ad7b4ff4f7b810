# SPDX-License-Identifier: MIT
"""The file descriptor store of a real systemd: hark is killed, its sockets come back."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from support import ask, connect, finish_load, load, wait_until
from systemd_machine import SANITIZER_OPTIONS, Machine

pytestmark = [pytest.mark.root,
              pytest.mark.needs("systemd-nspawn", "unshare", "nsenter", "setpriv")]

UNIT = "serve.service"
UNITS = {
    UNIT: """[Unit]
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart=/hark/src/cli/hark run foo.socket slow.socket
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=300ms
KillMode=process
FileDescriptorStoreMax={most}
RuntimeDirectory=serve
RuntimeDirectoryPreserve=restart
""" + SANITIZER_OPTIONS,
    "foo.socket": "[Socket]\nListenStream=/test/s\nListenStream=@foo\nAccept=yes\n"
                  "MaxConnections=1000\n",
    "foo@.service": "[Service]\nExecStart=/hark/tests/helpers/tiny\n",
    "slow.socket": "[Socket]\nListenStream=/test/slow\nAccept=yes\n",
    "slow@.service": "[Service]\nExecStart=/hark/tests/helpers/slow\n",
}


def machine(most: int) -> Machine:
    """A systemd with a service that is hark, which serves two socket units itself."""
    return Machine(UNITS | {UNIT: UNITS[UNIT].format(most=most)})


def stored(running: Machine) -> int:
    """How many descriptors systemd keeps."""
    return int(running.show(UNIT, "NFileDescriptorStore"))


def kill_main(running: Machine) -> None:
    """kill -9 of hark; waits for the next one to serve."""
    before = running.show(UNIT, "MainPID")
    running.run("systemctl", "kill", "--kill-who=main", "-s", "KILL", UNIT)
    try:
        wait_until(lambda: running.show(UNIT, "MainPID") not in ("0", before), what="a new hark")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{running.journal(UNIT)[-3000:]}") from None
    running.wait_show(UNIT, "ActiveState", "^active$")


def test_killed_under_load():
    """Clients that never stop, and hark is killed again and again: none is refused, though there
    is no hark for a third of a second; handlers live on. A restart takes the sockets along, when
    it kills, or makes them anew; an orderly stop leaves nothing in the store."""
    with machine(16) as running:
        running.run("systemctl", "start", UNIT)
        path = running.shared / "s"
        wait_until(lambda: stored(running) == 3, what="all are stored")
        node = path.stat().st_ino
        client = load(path, total=0, concurrency=8, timeout_ms=30000)
        try:
            with connect(running.shared / "slow") as slow:
                assert slow.recv(3) == b"up\n"
                for _ in range(3):
                    kill_main(running)
                    assert ask(path, timeout=30) == b"ok\n"
                    assert stored(running) == 3
                slow.shutdown(socket.SHUT_WR)
                assert slow.recv(100) == b"done\n"
        finally:
            client.terminate()
            result = finish_load(client)
        assert result["errors"] == 0 and result["good"] > 50, result
        assert path.stat().st_ino == node
        log = running.journal(UNIT)
        assert "cannot go on" not in log and "no unit wants" not in log, log
        check_changed_unit(running, path)
        running.run("systemctl", "stop", UNIT)
        assert stored(running) == 0
        assert not Path(f"{path}.lock").exists()
        with pytest.raises(ConnectionRefusedError):
            connect(path)
        running.run("systemctl", "start", UNIT)
        assert ask(path) == b"ok\n"


def check_changed_unit(running: Machine, path: Path) -> None:
    """An address that is gone: forgotten at a reload, and when hark was killed before it. The
    same address with another option is made anew."""
    drop_in = "/etc/systemd/system/foo.socket.d"
    script = ("mkdir -p {0}; printf '[Socket]\\nListenStream=\\nListenStream=/test/s\\n{1}' "
              ">{0}/x.conf; {2}")
    running.run("sh", "-c", script.format(drop_in, "", f"systemctl reload {UNIT}"))
    wait_until(lambda: stored(running) == 2, what="the address that is gone is forgotten")
    running.run("sh", "-c", script.format(drop_in, "ListenStream=127.0.0.1:1234\\n", ":"))
    kill_main(running)
    wait_until(lambda: stored(running) == 3, what="what is new is stored")
    running.run("sh", "-c", script.format(drop_in, "ListenStream=127.0.0.1:1234\\n"
                                          "BindIPv6Only=both\\nListenStream=127.0.0.1:1235\\n",
                                          ":"))
    kill_main(running)
    wait_until(lambda: stored(running) == 4, what="all are stored anew")
    assert ask(path) == b"ok\n"
    log = running.journal(UNIT)
    for address in ("/test/s", "127.0.0.1:1234"):
        assert f"no unit wants a socket at \"{address}\"" in log, log


def test_without_a_store():
    """A unit without FileDescriptorStoreMax=: nothing is kept, everything works."""
    with machine(0) as running:
        running.run("systemctl", "start", UNIT)
        path = running.shared / "s"
        assert ask(path) == b"ok\n"
        kill_main(running)
        assert ask(path) == b"ok\n"
        assert stored(running) == 0
