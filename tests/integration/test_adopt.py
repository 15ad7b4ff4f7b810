# SPDX-License-Identifier: MIT
"""hark adopt, hark release and hark@.service in a real systemd: a socket unit changes hands while
clients use it, and none is lost."""

from __future__ import annotations

import random
import re
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import (BUILD, SANITIZED, SOURCE, ask, ask_probe, connect, finish_load, load,
                     run_hark, wait_until)
from systemd_machine import SANITIZER_OPTIONS, Machine

pytestmark = [pytest.mark.root,
              pytest.mark.needs("systemd-nspawn", "unshare", "nsenter", "setpriv")]

HARK = "/hark/src/cli/hark"
DROP_IN = "/etc/systemd/system/foo.socket.d/hark.conf"
BINARY = re.compile(r"^ExecStart=\S+", re.MULTILINE)
STATE = "systemctl show foo.socket -p Accept -p Triggers -p SubState -p NeedDaemonReload"

SOCKET = """[Socket]
ListenStream=/test/s
SocketMode=0666
Accept=yes
MaxConnections=1000
{more}
"""
TEXT = """# Written by "hark adopt"; "hark release foo.socket" undoes it.
[Socket]
Accept=no
Service=hark@foo.service
TriggerLimitIntervalSec=0

[X-Hark]
Accept=yes
Service=foo@.service
"""


def unit(name: str, more: str = "") -> str:
    """A unit of hark's as it is installed, with the hark of this build."""
    text = (BUILD / "units" / name).read_text()
    assert BINARY.search(text)
    return BINARY.sub(f"ExecStart={HARK}", text) + "\n[Service]\n" + SANITIZER_OPTIONS + more


def machine(handler: str = "tiny", socket_more: str = "", hark_more: str = "",
            **units: str) -> Machine:
    """A systemd with foo.socket, foo@.service and hark's units; more of them by name, "__" for a
    dot and "_at_" for @."""
    texts = {"foo.socket": SOCKET.format(more=socket_more),
             "foo@.service": f"[Service]\nExecStart=/hark/tests/helpers/{handler}\n",
             "hark@.service": unit("hark@.service", hark_more),
             "hark-sandboxed@.service": unit("hark-sandboxed@.service")}
    texts |= {name.replace("_at_", "@").replace("__", "."): text for name, text in units.items()}
    return Machine(texts)


def hark(running: Machine, *arguments: str, expect: int = 0) -> str:
    """Runs a verb inside; checks its status, returns what it said."""
    return shell(running, " ".join((HARK, *arguments)), expect)


def shell(running: Machine, command: str, expect: int = 0) -> str:
    """Runs a command inside; checks its status, returns what it said on both streams."""
    said = running.run("sh", "-c", f'{{ {command}; }} 2>&1; echo "status $?"', timeout=60)
    text, status = said.rsplit("status ", 1)
    assert int(status) == expect, f"{command}: status {status}{text}{running.journal('*')[-3000:]}"
    return text


def state(running: Machine) -> dict[str, str]:
    """Who has foo.socket, by systemd."""
    return dict(line.split("=", 1) for line in shell(running, STATE).splitlines())


def is_harks(running: Machine) -> bool:
    """Whether traffic goes to hark."""
    now = state(running)
    return now["Accept"] == "no" and now["Triggers"] == "hark@foo.service"


def assert_systemds(running: Machine) -> None:
    """systemd accepts, and nothing of hark is left."""
    now = state(running)
    assert now["Accept"] == "yes" and "hark" not in now["Triggers"], now
    assert now["SubState"] == "listening" and now["NeedDaemonReload"] == "no", now
    assert shell(running, "find /etc/systemd /run/systemd/system -name '*hark*.conf*'") == ""


def main_pid(running: Machine) -> str:
    """MainPID of hark, "0" when there is none."""
    return running.show("hark@foo.service", "MainPID")


def kill_main(running: Machine) -> None:
    """kill -9 of hark; waits for the next one to be up."""
    before = main_pid(running)
    running.run("systemctl", "kill", "--kill-who=main", "-s", "KILL", "hark@foo.service")
    wait_until(lambda: main_pid(running) not in ("0", before), what="a new main process")


def adopted(running: Machine) -> Path:
    """Starts foo.socket and adopts it."""
    running.run("systemctl", "start", "foo.socket")
    hark(running, "adopt", "foo.socket")
    return running.shared / "s"


class Regular:
    """A client every so often, besides the load."""

    def __init__(self, path: Path, interval: float) -> None:
        self.path = path
        self.interval = interval
        self.failures: list[str] = []
        self.good = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self.stopping.wait(self.interval):
            try:
                answer = ask(self.path, timeout=30)
            except OSError as error:
                self.failures.append(repr(error))
                continue
            if answer == b"ok\n":
                self.good += 1
            else:
                self.failures.append(repr(answer))

    def __enter__(self) -> "Regular":
        self.thread.start()
        return self

    def __exit__(self, *unused: Any) -> None:
        self.stopping.set()
        self.thread.join(60)

    def check(self) -> None:
        """Nobody was refused, nothing was lost."""
        assert not self.failures and self.good > 0, (self.failures[:5], self.good)


def under_load(path: Path, act: Callable[[], Any]) -> Any:
    """Does something while eight clients never stop and another comes every 10 ms."""
    client = load(path, total=0, concurrency=8, timeout_ms=30000)
    try:
        with Regular(path, 0.01) as regular:
            wait_until(lambda: regular.good > 5, what="clients that are served")
            done = act()
            before = regular.good
            wait_until(lambda: regular.good > before + 5, what="clients that are served after it")
    finally:
        client.terminate()
        result = finish_load(client)
    assert result["errors"] == 0 and result["good"] > 50, result
    regular.check()
    return done


# ---- Over and back ---------------------------------------------------------------------------


def test_adopt_under_load():
    """The socket changes hands while clients never stop: none is refused, none lost. Processes of
    systemd's own instances go on, new connections are hark's."""
    with machine(socket_more="TriggerLimitIntervalSec=0") as running:
        running.run("systemctl", "start", "foo.socket")
        path = running.shared / "s"
        inode = path.stat().st_ino
        under_load(path, lambda: hark(running, "adopt", "foo.socket"))
        assert is_harks(running)
        assert path.stat().st_ino == inode
        assert int(re.search(r"(\d+) done", running.show("hark@foo.service", "StatusText"))[1]) > 0


def test_running_instances_go_on():
    """Those of systemd over adopt, and those of hark over release."""
    with machine("slow") as running:
        running.run("systemctl", "start", "foo.socket")
        path = running.shared / "s"
        with connect(path) as old, connect(path) as new:
            assert old.recv(3) == b"up\n" and new.recv(3) == b"up\n"
            hark(running, "adopt", "foo.socket")
            with connect(path) as other:
                assert other.recv(3) == b"up\n"
                assert "slow" in shell(running, "systemctl status hark@foo.service")
                hark(running, "release", "foo.socket")
                assert_systemds(running)
                for client in (old, new, other):
                    client.shutdown(socket.SHUT_WR)
                    assert client.recv(100) == b"done\n"


def test_release_with_rare_clients():
    """A client every 50 ms: hark gives the socket back, and nobody notices."""
    with machine() as running:
        path = adopted(running)
        with Regular(path, 0.05) as regular:
            wait_until(lambda: regular.good > 5, what="clients that are served")
            hark(running, "release", "--timeout=60", "foo.socket")
            before = regular.good
            wait_until(lambda: regular.good > before + 5, what="clients of systemd")
        regular.check()
        assert_systemds(running)
        hark(running, "adopt", "foo.socket")
        assert ask(path) == b"ok\n" and is_harks(running)


def test_release_of_a_busy_socket():
    """Clients that never stop: more than systemd would stand, so it stays hark's. Of a unit
    without that limit it is given back, or stays; either way nobody is refused or lost."""
    with machine() as running:
        said = under_load(adopted(running),
                          lambda: hark(running, "release", "foo.socket", expect=75))
        assert "still adopted: too busy" in said and "TriggerLimitBurst=" in said
        assert is_harks(running)
    with machine(socket_more="TriggerLimitIntervalSec=0") as running:
        command = f"{HARK} release foo.socket || test $? = 75"
        said = under_load(adopted(running), lambda: shell(running, command))
        if "still adopted" in said:
            assert is_harks(running)
        else:
            assert_systemds(running)


def test_release_gives_up_in_the_end():
    """No time at all: one attempt, and whatever comes of it, the socket works."""
    with machine(socket_more="TriggerLimitIntervalSec=0") as running:
        path = adopted(running)
        command = f"{HARK} release --timeout=0 foo.socket || test $? = 75"
        for _ in range(4):
            said = under_load(path, lambda: shell(running, command))
            if "still adopted" in said:
                assert is_harks(running)
                break
            hark(running, "adopt", "foo.socket")
        assert ask(path) == b"ok\n"


def test_release_now():
    """--now always succeeds; what hark runs goes on."""
    with machine("slow") as running:
        path = adopted(running)
        with connect(path) as client:
            assert client.recv(3) == b"up\n"
            hark(running, "release", "--now", "foo.socket")
            assert_systemds(running)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b"done\n"
        with connect(path) as client:
            assert client.recv(3) == b"up\n"


def test_adopt_and_release_twice():
    """The second time is no error and changes nothing."""
    with machine() as running:
        assert "is not adopted" in hark(running, "release", "foo")
        path = adopted(running)
        assert (running.run("cat", DROP_IN)) == TEXT
        before = main_pid(running)
        assert "adopted already" in hark(running, "adopt", "foo.socket")
        assert main_pid(running) == before and ask(path) == b"ok\n"
        hark(running, "release", "foo")
        assert "is not adopted" in hark(running, "release", "foo")
        assert_systemds(running)


def test_dry_run():
    """Prints exactly the drop-in, changes nothing."""
    with machine() as running:
        running.run("systemctl", "start", "foo.socket")
        assert running.run(HARK, "adopt", "--dry-run", "foo.socket") == TEXT
        assert_systemds(running)
        assert DROP_IN in hark(running, "adopt", "--dry-run", "foo.socket")
        hark(running, "adopt", "foo.socket")
        assert DROP_IN in hark(running, "release", "--dry-run", "foo.socket")
        assert is_harks(running) and running.run("cat", DROP_IN) == TEXT


def test_until_the_next_boot():
    """--runtime: the drop-in is in /run; release finds it there."""
    with machine() as running:
        running.run("systemctl", "start", "foo.socket")
        hark(running, "adopt", "--runtime", "foo.socket")
        assert running.run("cat", DROP_IN.replace("/etc/", "/run/")) == TEXT
        assert is_harks(running)
        hark(running, "release", "foo.socket")
        assert_systemds(running)


def test_a_socket_that_is_not_active():
    """Adopted while it is stopped, hark serves it when it is started; and released."""
    with machine() as running:
        hark(running, "adopt", "foo.socket")
        assert main_pid(running) == "0"
        running.run("systemctl", "start", "foo.socket")
        assert ask(running.shared / "s") == b"ok\n"
        assert main_pid(running) != "0"
        running.run("systemctl", "stop", "foo.socket")
        hark(running, "release", "foo.socket")
        running.run("systemctl", "start", "foo.socket")
        assert_systemds(running)
        assert ask(running.shared / "s") == b"ok\n"


@pytest.mark.needs("script")
def test_asks_at_a_terminal():
    """Says what changes, and takes only yes for an answer; --yes asks nothing."""
    with machine() as running:
        running.run("systemctl", "start", "foo.socket")
        answer = "printf '{}\\n' | script -qec '" + HARK + " adopt foo.socket' /dev/null"
        said = shell(running, answer.format("n"), expect=1)
        assert "control group" in said and "[y/N]" in said and "nothing was changed" in said
        assert_systemds(running)
        shell(running, f"script -qec '{HARK} adopt --yes foo.socket' /dev/null </dev/null")
        assert is_harks(running)


def test_instances_and_escaped_names():
    """foo@bar.socket and names with backslashes."""
    plain = "[Socket]\nListenStream=/test/{}\nAccept=yes\n"
    service = "[Service]\nExecStart=/hark/tests/helpers/tiny\n"
    with Machine({"foo@.socket": plain.format("%i"), "foo@.service": service,
                  "a\\x2db.socket": plain.format("dash"), "a\\x2db@.service": service,
                  "hark@.service": unit("hark@.service")}) as running:
        for name, path in (("foo@bar.socket", "bar"), ("a\\x2db.socket", "dash")):
            running.run("systemctl", "start", name)
            running.run(HARK, "adopt", name)
            instance = name.removesuffix(".socket")
            shown = running.show(name, "Triggers").strip('"').replace("\\\\", "\\")
            assert shown == f"hark@{instance}.service"
            assert ask(running.shared / path) == b"ok\n"
            assert running.show(f"hark@{instance}.service", "ActiveState") == "active"
            running.run(HARK, "release", name)
            assert running.show(name, "Accept") == "yes"
            assert ask(running.shared / path) == b"ok\n"


def test_without_accept():
    """A pair without Accept=yes: hark runs its service; back, systemd does."""
    units = {"own__socket": "[Socket]\nListenStream=/test/own\n",
             "own__service": "[Service]\nExecStart=/hark/tests/helpers/slow --accept\n"
                             "[Install]\nWantedBy=multi-user.target\n"}
    with machine(**units) as running:
        path = running.shared / "own"
        running.run("systemctl", "start", "own.socket", "own.service")
        said = hark(running, "adopt", "own.socket", expect=1)
        assert 'while "own.service" runs' in said
        running.run("systemctl", "stop", "own.service")
        running.run("systemctl", "enable", "own.service")
        assert '"own.service" is enabled' in hark(running, "adopt", "own.socket")
        with connect(path) as client:
            assert client.recv(3) == b"up\n"
        assert running.show("own.service", "ActiveState") == "inactive"
        assert "slow" in shell(running, "systemctl status hark@own.service")
        hark(running, "release", "own.socket")
        with connect(path) as client:
            assert client.recv(3) == b"up\n"
        assert running.show("own.service", "ActiveState") == "active"


@pytest.mark.parametrize("verb", ["adopt", "release"])
def test_help_and_manual(verb):
    """Every option is in hark(1), in the section of its verb; help has at most 80 columns."""
    helped = run_hark(verb, "--help")
    assert helped.returncode == 0 and max(map(len, helped.stdout.splitlines())) <= 80
    page = (SOURCE / "man/hark.1").read_text().split(f"\n.Ss hark {verb}\n")[1].split("\n.S")[0]
    options = set(re.findall(r"--([a-z][a-z-]+)", helped.stdout)) - {"help", "version"}
    assert options == set(re.findall(r"^\.It.*Fl -([a-z][a-z-]+)", page, re.MULTILINE))
    for wrong in (["--nonsense"], [], ["--user=x", "foo"]):
        result = run_hark(verb, *wrong)
        assert result.returncode == 64 and f"hark {verb} --help" in result.stderr


# ---- What goes wrong -------------------------------------------------------------------------


def test_what_hark_check_refuses():
    """With its reasons, and nothing is written."""
    bad = "[Service]\nExecStart=/bin/true\nRootImage=/x.img\n"
    with machine(foo_at___service=bad) as running:
        running.run("systemctl", "start", "foo.socket")
        for option in ("", "--dry-run"):
            said = hark(running, "adopt", option, "foo.socket", expect=78)
            assert "RootImage" in said and "foo@.service:3" in said and "hark check" in said
        assert_systemds(running)


@pytest.mark.parametrize("name, status, message", [
    ("missing.socket", 78, "not-found"), ("foo.service", 64, "not the name of a socket"),
    ("foo@.socket", 64, "not the name of a socket")])
def test_wrong_units(name, status, message):
    """Names that cannot be adopted."""
    with machine() as running:
        assert message in hark(running, "adopt", name, expect=status)


def test_several_sockets_of_one_service():
    """hark takes one socket; their service would have to have them all."""
    units = {"one__socket": "[Socket]\nListenStream=/test/1\nService=both.service\n",
             "two__socket": "[Socket]\nListenStream=/test/2\nService=both.service\n",
             "both__service": "[Service]\nExecStart=/hark/tests/helpers/slow --accept\n"}
    with machine(**units) as running:
        running.run("systemctl", "start", "one.socket", "two.socket")
        assert "two.socket" in hark(running, "adopt", "one.socket", expect=78)


def test_a_drop_in_of_somebody_else():
    """One of the same name is not touched."""
    with machine() as running:
        running.run("systemctl", "start", "foo.socket")
        shell(running, f"mkdir -p $(dirname {DROP_IN}); echo '[Socket]' >{DROP_IN}")
        for verb in ("adopt", "release"):
            assert "is not from" in hark(running, verb, "foo.socket", expect=1)
        assert running.run("cat", DROP_IN) == "[Socket]\n"


def test_overruled_by_another_drop_in():
    """systemd reads a later file, which has another service: all is as it was."""
    units = {"own__socket": "[Socket]\nListenStream=/test/own\n",
             "own__service": "[Service]\nExecStart=/hark/tests/helpers/slow --accept\n"}
    with machine(**units) as running:
        shell(running, "mkdir /etc/systemd/system/own.socket.d; printf '[Socket]\\n"
                       "Service=own.service\\n' >/etc/systemd/system/own.socket.d/zz.conf;"
                       "systemctl daemon-reload")
        running.run("systemctl", "start", "own.socket")
        assert "another drop-in" in hark(running, "adopt", "own.socket", expect=1)
        assert shell(running, "ls /etc/systemd/system/own.socket.d") == "zz.conf\n"
        assert running.show("own.socket", "NeedDaemonReload") == "no"
        with connect(running.shared / "own") as client:
            assert client.recv(3) == b"up\n"


def test_a_unit_that_has_changed():
    """To read it again might close the socket: the operator is to say so. And a path at which
    systemd would lose it in any case."""
    back = "[Socket]\nListenStream=/test/a\\b\nAccept=yes\n"
    template = "[Service]\nExecStart=/bin/cat\n"
    with machine(bar__socket=back, bar_at___service=template) as running:
        running.run("systemctl", "start", "foo.socket", "bar.socket")
        shell(running, "sed -i s:/test/s:/test/t: /etc/systemd/system/foo.socket")
        assert "daemon-reload" in hark(running, "adopt", "foo.socket", expect=1)
        assert ask(running.shared / "s") == b"ok\n"
        shell(running, "sed -i s:/test/t:/test/s: /etc/systemd/system/foo.socket;"
                       "systemctl daemon-reload")
        hark(running, "adopt", "foo.socket")
        assert "backslash" in hark(running, "adopt", "bar.socket", expect=78)
        assert ask(running.shared / "s") == b"ok\n"


def test_directory_that_cannot_be_written():
    """The error is told, and the socket is as it was."""
    with machine() as running:
        running.run("systemctl", "start", "foo.socket")
        shell(running, f"mkdir $(dirname {DROP_IN}); mount -t tmpfs -o ro x $(dirname {DROP_IN})")
        said = hark(running, "adopt", "foo.socket", expect=1)
        assert "Read-only file system" in said and DROP_IN in said
        assert state(running)["Accept"] == "yes" and ask(running.shared / "s") == b"ok\n"


def test_hark_is_not_installed():
    """Nothing is written when the service would not be there."""
    with machine() as running:
        running.run("systemctl", "start", "foo.socket")
        shell(running, "rm '/etc/systemd/system/hark@.service'; systemctl daemon-reload")
        assert "hark@foo.service" in hark(running, "adopt", "foo.socket", expect=1)
        assert_systemds(running)


def test_hark_does_not_start():
    """What check cannot know: the service fails. systemd gets the socket back, also under load."""
    with machine(socket_more="TriggerLimitIntervalSec=0",
                 hark_more="ExecStartPre=/bin/false\n") as running:
        running.run("systemctl", "start", "foo.socket")
        said = under_load(running.shared / "s",
                          lambda: hark(running, "adopt", "foo.socket", expect=1))
        assert "does not start" in said and "is as it was" in said
        assert_systemds(running)


def test_adopt_is_killed():
    """kill -9 at any moment: the socket works, and the next adopt completes it."""
    moments = random.Random(4711)
    with machine() as running:
        running.run("systemctl", "start", "foo.socket")
        path = running.shared / "s"
        with Regular(path, 0.01) as regular:
            for _ in range(3 if SANITIZED else 6):
                delay = moments.uniform(0, 0.15)
                shell(running, f"{HARK} adopt foo.socket & sleep {delay:.3f}; kill -9 $!; wait $!;"
                               "true")
                assert ask(path) == b"ok\n"
                hark(running, "adopt", "foo.socket")
                assert is_harks(running) and ask(path) == b"ok\n"
                hark(running, "release", "--timeout=60", "foo.socket")
                assert_systemds(running)
        regular.check()


def test_release_is_killed():
    """kill -9 at any moment: hark or systemd serves; where neither could, the next call mends it.
    """
    moments = random.Random(815)
    with machine() as running:
        path = adopted(running)
        for _ in range(3 if SANITIZED else 6):
            delay = 1.0 + moments.uniform(0, 0.25)  # after the second in which it counts
            shell(running, f"{HARK} release foo.socket & sleep {delay:.3f}; kill -9 $!; wait $!;"
                           "true")
            hark(running, "adopt", "foo.socket")
            assert is_harks(running) and ask(path) == b"ok\n"
        hark(running, "release", "foo.socket")
        assert_systemds(running)


@pytest.mark.parametrize("verb", ["adopt", "release"])
def test_a_socket_that_nobody_serves(verb):
    """What removing the drop-in by hand makes of it: nobody accepts any more. Both verbs mend it.
    """
    with machine() as running:
        path = adopted(running)
        shell(running, f"rm {DROP_IN}; systemctl daemon-reload; systemctl stop hark@foo.service")
        assert state(running)["SubState"] == "running" and state(running)["Accept"] == "yes"
        with connect(path) as waiting:
            hark(running, verb, "foo.socket")
            assert waiting.recv(10) == b"ok\n"
        assert is_harks(running) == (verb == "adopt")
        assert ask(path) == b"ok\n"


def test_two_at_once():
    """adopt and release at the same time: one after the other."""
    with machine() as running:
        path = adopted(running)
        for _ in range(3):
            shell(running, f"{HARK} adopt foo.socket & {HARK} release foo.socket & wait")
            assert ask(path) == b"ok\n"
        hark(running, "release", "foo.socket")
        assert_systemds(running)


# ---- hark@.service ---------------------------------------------------------------------------


def test_hark_is_killed_again_and_again():
    """kill -9, eight times within seconds: served again at once, handlers live, and neither the
    service nor the socket ever fails. StartLimitIntervalSec=, Restart=, KillMode=."""
    with machine("slow") as running:
        path = adopted(running)
        clients = []
        try:
            for _ in range(8):
                clients.append(connect(path))
                assert clients[-1].recv(3) == b"up\n"
                kill_main(running)
            for client in clients:
                client.shutdown(socket.SHUT_WR)
                assert client.recv(100) == b"done\n"
        finally:
            for client in clients:
                client.close()
        wait_until(lambda: state(running)["SubState"] == "running", what="it is back")
        assert int(running.show("hark@foo.service", "NRestarts")) == 8


def test_restart_of_the_socket():
    """What upgrades of packages do: hark goes and comes with the socket, handlers live. BindsTo=,
    After=, RestartKillSignal=."""
    with machine("slow") as running:
        path = adopted(running)
        with connect(path) as client:
            assert client.recv(3) == b"up\n"
            before = main_pid(running)
            running.run("systemctl", "restart", "foo.socket")
            assert state(running)["SubState"] in ("listening", "running")
            with connect(path) as other:
                assert other.recv(3) == b"up\n"
            assert main_pid(running) not in ("0", before)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b"done\n"
        running.run("systemctl", "stop", "foo.socket")
        assert main_pid(running) == "0"


def test_restart_of_hark():
    """systemctl restart: handlers live."""
    with machine("slow") as running:
        path = adopted(running)
        with connect(path) as client:
            assert client.recv(3) == b"up\n"
            running.run("systemctl", "restart", "hark@foo.service")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b"done\n"


def test_stop_ends_the_handlers():
    """KillMode=process leaves that to hark, which does it in order."""
    with machine("slow") as running:
        path = adopted(running)
        with connect(path) as client:
            assert client.recv(3) == b"up\n"
            running.run("systemctl", "stop", "hark@foo.service")
            assert client.recv(100) == b""
        assert running.show("hark@foo.service", "Result") == "success"


def test_watchdog():
    """hark hangs: systemd ends it, and starts it again. With a shorter time than the unit's."""
    with machine(hark_more="WatchdogSec=1s\n") as running:
        path = adopted(running)
        before = main_pid(running)
        running.run("systemctl", "kill", "--kill-who=main", "-s", "STOP", "hark@foo.service")
        wait_until(lambda: main_pid(running) not in ("0", before), what="a new main process")
        assert ask(path) == b"ok\n"
        assert "watchdog" in running.journal("hark@foo.service").lower()


def test_settings_as_systemd_sees_them():
    """Those whose effect needs more than a machine of the tests has."""
    with machine("probe") as running:
        path = adopted(running)
        shown = shell(running, "systemctl show hark@foo.service")
        for line in ("Type=notify", "NotifyAccess=main", "OOMPolicy=continue", "TasksMax=infinity",
                     "TimeoutStopUSec=2min",
                     "WatchdogUSec=30s", "FileDescriptorStoreMax=64", "NonBlocking=yes",
                     "RuntimeDirectory=hark/foo", "RuntimeDirectoryPreserve=restart",
                     "Restart=always", "KillMode=process", "LimitNOFILE=524288"):
            assert f"\n{line}\n" in f"\n{shown}", line
        assert re.search(r"^ExecReload=.*kill -HUP \$MAINPID", shown, re.MULTILINE)
        limits = shell(running, f"cat /proc/{main_pid(running)}/limits")
        soft, hard = re.search(r"Max open files +(\d+) +(\d+)", limits).groups()
        assert soft == hard and int(soft) > 1024, "as high as this machine lets it be"
        flags = shell(running, f"cat /proc/{main_pid(running)}/fdinfo/3")
        listener = shell(running, f"readlink /proc/{main_pid(running)}/fd/3")
        assert listener.startswith("socket:"), listener
        assert int(re.search(r"flags:\s+(\d+)", flags)[1], 8) & 0o4000, "it is shared with systemd"
        assert shell(running, "test -d /run/hark/foo; echo $?") == "0\n"
        assert b'"environ"' in ask(path)


def test_reload():
    """systemctl reload: hark hears SIGHUP, and serves."""
    with machine() as running:
        path = adopted(running)
        running.run("systemctl", "reload", "hark@foo.service")
        assert ask(path) == b"ok\n"
        assert state(running)["SubState"] == "running"


# ---- The sandbox, and users ------------------------------------------------------------------


def test_sandboxed():
    """A handler is served by a hark without any rights; what needs some is refused."""
    with machine("probe", bar__socket="[Socket]\nListenStream=/test/bar\nAccept=yes\n",
                 bar_at___service="[Service]\nExecStart=/bin/cat\nUser=root\n") as running:
        running.run("systemctl", "start", "foo.socket", "bar.socket")
        hark(running, "adopt", "--sandboxed", "foo.socket")
        record = ask_probe(running.shared / "s")
        assert record["Seccomp"] == "2" and record["uid"] != 0
        pid = running.show("hark-sandboxed@foo.service", "MainPID")
        status = shell(running, f"cat /proc/{pid}/status")
        assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
        assert not re.search(r"^Uid:\s+0\b", status, re.MULTILINE)
        said = shell(running, "systemd-analyze security --no-pager hark-sandboxed@foo.service")
        assert float(re.search(r"exposure level .*: ([0-9.]+)", said)[1]) <= 3.0
        assert '"hark@' not in hark(running, "adopt", "foo.socket")
        hark(running, "release", "foo.socket")
        assert_systemds(running)
        said = hark(running, "adopt", "--sandboxed", "bar.socket", expect=78)
        assert "without --sandboxed" in said and "User=root" in said


@pytest.mark.needs("socat")
def test_user_manager():
    """The same for the units of a user's manager."""
    manager = """[Service]
User=nobody
Type=notify
Delegate=yes
RuntimeDirectory=user
Environment=XDG_RUNTIME_DIR=/run/user HOME=/test/home
ExecStart=/lib/systemd/systemd --user
"""
    with machine(manager__service=manager) as running:
        home = running.shared / "home"
        units = home / ".config/systemd/user"
        units.mkdir(parents=True)
        (units / "foo.socket").write_text("[Socket]\nListenStream=%t/s\nAccept=yes\n")
        (units / "foo@.service").write_text("[Service]\nExecStart=/hark/tests/helpers/tiny\n")
        (units / "hark@.service").write_text(unit("user/hark@.service"))
        shell(running, "chown -R nobody /test/home; systemctl start manager.service")
        user = ("setpriv --reuid=nobody --clear-groups env HOME=/test/home "
                "XDG_RUNTIME_DIR=/run/user ")
        client = "socat -u UNIX-CONNECT:/run/user/s -"
        shell(running, user + "systemctl --user start foo.socket")
        shell(running, user + f"{HARK} adopt --user foo.socket")
        assert shell(running, client) == "ok\n"
        text = (units / "foo.socket.d/hark.conf").read_text()
        assert text == TEXT
        active = user + "systemctl --user is-active hark@foo.service"
        assert shell(running, active) == "active\n"
        shell(running, user + f"{HARK} release --user foo.socket")
        assert not (units / "foo.socket.d").exists()
        assert shell(running, client) == "ok\n"
        shell(running, active, expect=3)


def test_without_systemd(tmp_path):
    """On a machine that systemd does not run: said, and nothing else."""
    command = ["unshare", "--mount", "sh", "-c",
               'mount -t tmpfs none /run && exec "$@"', "sh", str(BUILD / "src/cli/hark"), "adopt",
               "foo.socket"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False,
                            cwd=tmp_path)
    assert result.returncode == 1 and "does not run here" in result.stderr
