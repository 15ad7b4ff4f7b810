# SPDX-License-Identifier: MIT
"""`hark run` as the first process of a real container, and of bare namespaces."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from podman_machine import Podman
from support import (DEADLINE, HARK, HELPERS, Notify, ask, clean_environment, connect,
                     environment_of, receive_all, wait_until, write_units)

pytestmark = [pytest.mark.root,
              pytest.mark.needs("podman", "crun", "unshare", "nsenter", "setpriv")]

RUN = ["/hark/src/cli/hark", "run", "--unit-path=/test/units", "foo.socket"]


def units(start: str, socket_more: str = "", service_more: str = "") -> dict[str, str]:
    """A pair that serves /test/s."""
    return {"foo.socket": f"[Socket]\nListenStream=/test/s\nSocketMode=0666\nAccept=yes\n"
                          f"{socket_more}\n",
            "foo@.service": f"[Service]\nExecStart={start}\nStandardInput=socket\n{service_more}\n"}


@pytest.fixture
def podman() -> Iterator[Podman]:
    """A podman of the test's own."""
    with Podman() as machine:
        yield machine


def is_served(path: Path) -> bool:
    """There is a short time between bind(2) and listen(2)."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def wait_serving(machine: Podman) -> Path:
    """The socket, once somebody listens."""
    path = machine.shared / "s"
    wait_until(lambda: is_served(path), what="hark listens")
    return path


def wait_checked(machine: Podman) -> None:
    """Until hark says itself that it serves; unlike wait_serving(), this starts no handler."""
    wait_until(lambda: machine("exec", "one", RUN[0], "status", "--check",
                               check=False).returncode == 0, what="hark serves")


def states(machine: Podman) -> str:
    """The end of /proc/PID/stat of each process in the container, from its state on."""
    return machine("exec", "one", "sh", "-c",
                   "for f in /proc/[0-9]*/stat; do cut -d')' -f2 <$f; done").stdout


def exit_code(machine: Podman, name: str) -> int:
    """What the container ended with."""
    return int(machine("inspect", "--format", "{{.State.ExitCode}}", name).stdout)


def test_serves_and_stops_in_time(podman):
    """As PID 1; `podman stop` is SIGTERM: handlers are told, hark ends with 0, long before the
    grace period is over."""
    podman.write_units(units("/bin/sh -c 'cat /proc/1/comm; trap \"echo told; exit 0\" TERM; "
                             "echo ready; while :; do sleep 0.05; done'"))
    podman.run("-d", "--name=one", command=RUN)
    with connect(wait_serving(podman)) as client:
        stream = client.makefile("r")
        assert [stream.readline(), stream.readline()] == ["hark\n", "ready\n"]
        began = time.monotonic()
        podman("stop", "-t", "30", "one")
        assert time.monotonic() - began < 15
        assert stream.read().endswith("told\n")
    assert exit_code(podman, "one") == 0
    assert 'listening on "/test/s"' in podman("logs", "one").stderr


def test_a_handler_that_stays_is_killed_after_the_timeout(podman):
    """--stop-timeout= is hark's own, shorter grace period."""
    podman.write_units(units("/bin/sh -c 'trap \"\" TERM; echo ready; while :; do sleep 1; done'"))
    podman.run("-d", "--name=one", command=[*RUN, "--stop-timeout=300ms"])
    with connect(wait_serving(podman)) as client:
        assert client.recv(6) == b"ready\n"
        podman("stop", "-t", "30", "one")
    assert exit_code(podman, "one") == 0
    assert "did not end in time" in podman("logs", "one").stderr


def test_orphans_are_reaped(podman):
    """What handlers leave behind comes to PID 1, at any rate, and no zombie stays."""
    podman.write_units(units("/bin/sh -c 'i=0; while [ $$i -lt 50 ]; do (sleep 0.1 &) ; "
                             "i=$$((i+1)); done; echo done'"))
    podman.run("-d", "--name=one", command=RUN)
    path = wait_serving(podman)
    for _ in range(4):
        assert ask(path) == b"done\n"
    wait_until(lambda: "Z" not in states(podman) and states(podman).count("\n") < 8,
               what="all are gone")


# Argument 1: how many daemons. Each waits until its parent is the first process, and says so.
DAEMONS = r"""
import os, sys
log = os.open("/test/adopted", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for i in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            while os.getppid() != 1:
                os.sched_yield()
            os.write(log, b".")
            os._exit(i % 3)
        os._exit(0)
    os.waitpid(child, 0)
print("done")
"""


def test_thousands_of_daemons_are_reaped(podman):
    """As fast as four handlers can leave them. Their exits count for no service."""
    (podman.shared / "daemons.py").write_text(DAEMONS)
    podman.write_units(units("/usr/bin/python3 -I -S /test/daemons.py 1500"))
    podman.run("-d", "--name=one", command=RUN)
    wait_checked(podman)
    clients = [connect(podman.shared / "s", timeout=60) for _ in range(4)]
    assert [receive_all(client) for client in clients] == [b"done\n"] * 4
    for client in clients:
        client.close()
    adopted = podman.shared / "adopted"
    wait_until(lambda: adopted.stat().st_size == 6000, what="all have been adopted")
    wait_until(lambda: "Z" not in states(podman) and states(podman).count("\n") < 8,
               what="all are gone")
    hark, = json.loads(podman("exec", "one", RUN[0], "status", "--json").stdout)
    assert [hark["done"], hark["failed"], hark["running"]] == [4, 0, 0]


def test_handlers_have_the_time_that_they_take(podman):
    """`podman stop` tells them, and waits until they have done what they have to."""
    podman.write_units(units("/bin/sh -c 'trap \"echo told; sleep 1.5; echo done; exit 0\" TERM; "
                             "echo ready; while :; do sleep 0.05; done'",
                             service_more="StandardError=journal"))
    podman.run("-d", "--name=one", command=[*RUN, "--stop-timeout=25s"])
    path = wait_serving(podman)
    clients = [connect(path) for _ in range(3)]
    streams = [client.makefile("r") for client in clients]
    assert [stream.readline() for stream in streams] == ["ready\n"] * 3
    podman("stop", "-t", "30", "one")
    assert [stream.read() for stream in streams] == ["told\ndone\n"] * 3
    assert exit_code(podman, "one") == 0
    assert "did not end in time" not in podman("logs", "one").stderr
    for client in clients:
        client.close()


def test_signals_are_for_hark_and_for_services(podman):
    """`podman kill`: SIGHUP reloads, SIGUSR1 goes on to what serves a socket by itself, SIGQUIT
    waits for it."""
    pair = units("/bin/sh -c 'read line; echo $$WORD; trap \"echo usr1; exit 0\" USR1; echo ready; "
                 "while :; do sleep 0.05; done'")
    service = pair.pop("foo@.service").replace("StandardInput=socket", "Environment=WORD={word}\n"
                                               "StandardInput=socket")
    pair["foo.socket"] = "[Socket]\nListenFIFO=/test/fifo\n"
    podman.write_units(pair | {"foo.service": service.format(word="old")
                               + "StandardOutput=append:/test/output\n"})
    output = podman.shared / "output"
    podman.run("-d", "--name=one", command=RUN)
    wait_checked(podman)
    podman.write_units({"foo.service": service.format(word="new")
                        + "StandardOutput=append:/test/output\n"})
    podman("kill", "--signal=HUP", "one")
    wait_until(lambda: "reloaded" in podman("logs", "one").stderr, what="it has been reloaded")
    (podman.shared / "fifo").write_text("go\n")
    wait_until(lambda: output.exists() and output.read_text() == "new\nready\n", what="it runs")
    podman("kill", "--signal=QUIT", "one")
    podman("kill", "--signal=USR1", "one")
    assert int(podman("wait", "one").stdout) == 0
    assert output.read_text() == "new\nready\nusr1\n"


@pytest.mark.parametrize("arguments, status, said", [
    (["--unit-path=/test/units"], 64, "units to serve are missing"),
    (["--unit-path=/test/units", "nosuch.socket"], 78, '"nosuch.socket"'),
    (["--unit-path=/test/units", "closed.socket"], 73, '"/proc/s"'),
    (["--unit-path=/test/units", "unmet.socket"], 0, "ConditionPathExists=/nowhere"),
], ids=["usage", "no such unit", "cannot listen", "condition"])
def test_exit_status(podman, arguments, status, said):
    """What the container ends with when it cannot serve, and the reason in its log."""
    podman.write_units(units("/bin/true") | {
        "closed.socket": "[Socket]\nListenStream=/proc/s\nService=foo.service\n",
        "unmet.socket": "[Unit]\nConditionPathExists=/nowhere\n[Socket]\nListenStream=/test/s\n"
                        "Service=foo.service\n",
        "foo.service": "[Service]\nExecStart=/bin/true\n"})
    result = podman.run("--rm", command=[*RUN[:2], *arguments], check=False)
    assert (result.returncode, said in result.stderr) == (status, True), result.stderr


def test_a_bad_unit_is_a_status_that_says_so(podman):
    """78, and the reason in the log."""
    podman.write_units(units("/bin/true", service_more="Restart=always"))
    result = podman.run("--rm", command=RUN, check=False)
    assert result.returncode == 78
    assert "foo@.service:4: error:" in result.stderr


def test_without_any_privilege(podman):
    """An arbitrary user without an entry in passwd, no capability, no new privileges, a read-only
    root."""
    podman.write_units(units("/bin/sh -c 'id -u; grep CapBnd /proc/self/status'",
                             service_more="Environment=HOME=/nowhere\nWorkingDirectory=/test"))
    podman.run("-d", "--name=one", "--user=12345:54321", "--cap-drop=all",
               "--security-opt=no-new-privileges", "--read-only", command=RUN)
    answer = ask(wait_serving(podman)).decode().split()
    assert answer == ["12345", "CapBnd:", "0" * 16]
    podman("stop", "-t", "10", "one")
    assert exit_code(podman, "one") == 0


def test_user_of_the_unit_in_a_container(podman):
    """User= by root of the container."""
    podman.write_units(units("/bin/sh -c 'id -u; echo $USER'", service_more="User=nobody"))
    podman.run("-d", "--name=one", command=RUN)
    assert ask(wait_serving(podman)) == b"65534\nnobody\n"


def test_sockets_that_podman_passes(podman):
    """LISTEN_FDS of the host's side arrive at hark, and LISTEN_PID is right for a handler."""
    listener = socket.socket(socket.AF_UNIX)
    path = podman.shared / "s"
    listener.bind(str(path))
    listener.listen(8)
    pair = units("/hark/tests/helpers/probe", "FileDescriptorName=web")
    pair["foo@.service"] = "[Service]\nExecStart=/hark/tests/helpers/probe\n"
    podman.write_units(pair)
    options = ["--names=web", str(listener.fileno()), "--",
               *podman.run_command("-d", "--name=one", command=RUN)]
    subprocess.run([str(HELPERS / "pass-sockets"), *options], pass_fds=[listener.fileno()],
                   env=clean_environment(), check=True, stdout=subprocess.DEVNULL,
                   stdin=subprocess.DEVNULL, timeout=60)
    listener.close()
    record = json.loads(ask(path))
    env = environment_of(record)
    assert env["LISTEN_FDS"] == "1" and env["LISTEN_PID"] == str(record["pid"])
    assert env["LISTEN_FDNAMES"] == "connection"
    podman("stop", "-t", "10", "one")
    assert path.is_socket(), "it is the passer's"


def test_ready_arrives_outside(podman):
    """--sdnotify=container: READY=1 goes through the container monitor."""
    podman.write_units(units("/bin/echo hello"))
    notify = Notify(podman.directory)
    podman.run("-d", "--name=one", "--sdnotify=container", command=RUN,
               env={"NOTIFY_SOCKET": str(notify.path)})
    notify.wait_for(lambda: notify.has("READY=1"), DEADLINE, "READY=1 from the container")
    assert ask(podman.shared / "s") == b"hello\n"
    podman("stop", "-t", "10", "one")
    notify.close()


def test_first_process_of_bare_namespaces(directory):
    """`unshare --pid --mount-proc`, without any container runtime: the end of hark ends all."""
    write_units(directory / "units", {
        "foo.socket": "[Socket]\nListenStream={directory}/s\nAccept=yes\n",
        "foo@.service": "[Service]\nExecStart=/bin/sh -c 'sleep 0.1 & cat /proc/1/comm; ls -d "
                        "/proc/[0-9]* 2>/dev/null | wc -l'\nStandardInput=socket\n"}, directory)
    with open(directory / "log", "wb") as log:
        child = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", str(HARK), "run",
             f"--unit-path={directory / 'units'}", "foo.socket"], stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, env=clean_environment())
    try:
        wait_until(lambda: is_served(directory / "s"))
        for _ in range(20):
            name, count = ask(directory / "s").decode().split()
            assert name == "hark" and int(count) < 40
        first = int(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()[0])
        os.kill(first, signal.SIGTERM)
        assert child.wait(DEADLINE) == 0
    finally:
        child.kill()
        child.wait()
