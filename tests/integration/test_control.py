# SPDX-License-Identifier: MIT
"""The control socket of hark run: what it tells, what it does, and that nobody can hurt by it."""

import os
import signal
import socket
import stat
import traceback
from pathlib import Path

import pytest

from support import (Control, ask, cause_until_told, connect, finish_load, is_listened_on, load,
                     wait_until)

PAIR = {"foo.socket": "[Socket]\nListenStream={directory}/s\nAccept=yes\nMaxConnections=7\n",
        "foo@.service": "[Service]\nStandardInput=socket\nExecStart=/bin/cat\n"}


def talk(directory):
    """A connection whose handler lives."""
    client = connect(directory / "s")
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    return client


def test_status(run, directory):
    with run(PAIR, "foo.socket") as hark, talk(directory) as client:
        status = hark.control("GetStatus").result()
        assert (status["name"], status["state"], status["pid"]) == ("foo", "serving", hark.pid)
        assert sorted(status["servers"]) == sorted(hark.servers())
        assert (status["running"], status["done"], status["failed"]) == (1, 0, 0)
        assert status["listeners"] == [{"unit": "foo", "socket": "foo.socket",
                                        "kind": "ListenStream", "passed": False,
                                        "address": str(directory / "s")}]
        unit = status["units"][0]
        assert (unit["name"], unit["running"], unit["limit"]) == ("foo", 1, 7)
        assert unit["p50_usec"] is None and unit["last_failure"] is None
        handler = hark.control("ListHandlers").result()["handlers"][0]
        assert (handler["unit"], handler["number"]) == ("foo", 0)
        assert handler["pid"] in hark.handlers() and handler["age_usec"] > 0
        os.kill(handler["pid"], signal.SIGSEGV)
        hark.notifications.wait_exits(1)
        unit = hark.control("GetStatus").result()["units"][0]
        assert (unit["running"], unit["done"], unit["failed"]) == (0, 1, 1)
        assert "SEGV" in unit["last_failure"] and unit["p99_usec"] >= unit["p50_usec"] > 0
        assert unit["run_time"][-1]["count"] == 1
        assert client.recv(1) == b""


def test_numbers_outlive_a_reload(run, directory):
    with run(PAIR, "foo.socket") as hark:
        talk(directory).close()
        hark.notifications.wait_exits(1)
        path = directory / "units/foo.socket"
        path.write_text(path.read_text().replace("=7", "=9"))
        hark.control("Reload").result()
        unit = hark.control("GetStatus").result()["units"][0]
        assert (unit["done"], unit["limit"]) == (1, 9)


def test_reload_says_why_not(run, directory):
    with run(PAIR, "foo.socket") as hark:
        (directory / "units/foo@.service").write_text("[Service]\nExecStart=cat\nNice=100\n")
        name, parameters = hark.control("Reload").error()
        assert name == "ReloadFailed"
        assert len(parameters["reasons"]) >= 1 and "foo@.service:3" in str(parameters["reasons"])
        talk(directory).close()


def test_exits_as_they_happen(run, directory):
    with run(PAIR, "foo.socket") as hark, hark.control("FollowExits", more=True) as follower:
        cause_until_told(follower.socket, lambda: talk(directory).close())
        answer = follower.answer()
        first = answer["parameters"]["exit"]["number"]
        for n in range(first, first + 3):
            one = answer["parameters"]["exit"]
            assert answer["continues"] and (one["unit"], one["number"]) == ("foo", n)
            assert (one["code"], one["status"], one["failed"]) == ("exited", "0", False)
            talk(directory).close()
            answer = follower.answer()


def test_a_follower_that_does_not_read(run, directory):
    """It is told how many it has missed, as soon as it reads, and goes on."""
    pair = {"foo.socket": "[Socket]\nListenStream={directory}/s\nAccept=yes\n",
            "foo@.service": "[Service]\nExecStart={helpers}/tiny\n"}
    with run(pair, "foo.socket") as hark, hark.control("FollowExits", more=True) as follower:
        total = cause_until_told(follower.socket, lambda: ask(directory / "s"))
        seen, lost = [follower.answer()["parameters"]["exit"]["number"]], 0

        def read_one():
            nonlocal lost
            found = follower.answer()["parameters"]
            lost += found["lost"] or 0
            if found["exit"] is not None:
                seen.append(found["exit"]["number"])

        for more in (4000, 4000):
            before = lost
            finish_load(load(directory / "s", more), hark.notifications)
            total += more
            hark.notifications.wait_exits(total)
            while len(seen) + lost < total - seen[0]:
                read_one()
            assert lost > before, "this is no test: all of them found room"
        assert len(set(seen)) == len(seen)
        ask(directory / "s")
        read_one()
        assert len(seen) + lost == total + 1 - seen[0] and seen[-1] == total


def test_kill_a_handler(run, directory):
    with run(PAIR, "foo.socket") as hark, talk(directory) as client:
        pid = hark.control("ListHandlers").result()["handlers"][0]["pid"]
        assert hark.control("KillHandler", pid=os.getpid()).error() == (
            "NoSuchHandler", {"pid": os.getpid()})
        hark.control("KillHandler", pid=pid, signal=9).result()
        assert client.recv(1) == b""
        assert hark.notifications.wait_exits(1)[0].status == "KILL"


def test_drain_and_stop(run, directory):
    with run(PAIR, "foo.socket") as hark, talk(directory) as client:
        hark.control("Drain").result()
        assert hark.control("GetStatus").result()["state"] == "draining"
        assert hark.control("Reload").error() == ("NotServing", {"state": "draining"})
        client.sendall(b"y")
        assert client.recv(1) == b"y"
        hark.control("Stop").result()
        assert hark.wait_exit() == 0
        assert not (directory / "runtime/control").exists()


def test_the_interface_is_described(run):
    with run(PAIR, "foo.socket") as hark:
        hark.control("GetStatus").result()
        path = hark.directory / "runtime/control"
        info = Control(path, "org.varlink.service.GetInfo", {}).result()
        assert info["interfaces"] == ["org.varlink.service", "org.hark.Supervisor"]
        text = Control(path, "org.varlink.service.GetInterfaceDescription",
                       {"interface": "org.hark.Supervisor"}).result()["description"]
        assert "method GetStatus() ->" in text and "error ReloadFailed" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_nobody_else_may(run, directory):
    with run(PAIR, "foo.socket") as hark:
        hark.control("GetStatus").result()
        path = directory / "runtime/control"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o666)  # even so
        (directory / "runtime").chmod(0o755)
        child = os.fork()
        if child == 0:
            try:
                os.setgid(65534)
                os.setuid(65534)
                with Control(path, "org.hark.Supervisor.Stop", {}) as call:
                    os._exit(0 if "PermissionDenied" in call.answer()["error"] else 1)
            except BaseException:
                traceback.print_exc()
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert hark.is_running()


def test_clients_that_do_not_read_or_do_not_end(run, directory):
    """Handlers are served meanwhile, and others are answered."""
    with run(PAIR, "foo.socket") as hark:
        hark.control("GetStatus").result()
        silent = [connect(directory / "runtime/control") for _ in range(200)]
        followers = [hark.control("FollowExits", more=True) for _ in range(3)]
        flood = connect(directory / "runtime/control")
        flood.setblocking(False)
        try:
            while True:
                flood.send(b'{"method":"org.hark.Supervisor.GetStatus"}\0' * 100)
        except (BlockingIOError, OSError):
            pass
        for _ in range(100):
            talk(directory).close()
        hark.notifications.wait_exits(100)
        assert hark.control("GetStatus").result()["done"] == 100
        for client in [*silent, flood]:
            client.close()
        for follower in followers:
            follower.socket.close()
        wait_until(lambda: hark.control("GetStatus").result()["running"] == 0)


def test_without_a_place_for_it(run, directory):
    """A warning, and hark serves."""
    (directory / "file").write_text("")
    with run(PAIR, "foo.socket", env={"RUNTIME_DIRECTORY": str(directory / "file/x")}) as hark:
        talk(directory).close()
        wait_until(lambda: "no control socket" in hark.stderr())


def test_a_name_that_is_taken(run, directory):
    with run(PAIR, "foo.socket") as first:
        first.control("GetStatus").result()
        other = {"bar.socket": "[Socket]\nListenStream={directory}/b\nAccept=yes\n",
                 "bar@.service": "[Service]\nStandardInput=socket\nExecStart=/bin/echo hi\n"}
        with run(other, "bar.socket") as second:
            assert ask(directory / "b") == b"hi\n"
            wait_until(lambda: "another hark's" in second.stderr())
        assert first.control("GetStatus").result()["name"] == "foo"


def test_its_own_place(run, directory):
    """--control=, --name=, and the default below $XDG_RUNTIME_DIR."""
    with run(PAIR, f"--control={directory}/c", "--name=web", "foo.socket"):
        wait_until(lambda: is_listened_on(directory / "c"))
        status = Control(directory / "c", "org.hark.Supervisor.GetStatus", {}).result()
        assert status["name"] == "web"
    assert not (directory / "c").exists()
    with run(PAIR, "--control=none", "foo.socket"):
        talk(directory).close()
        assert not (directory / "runtime").exists() or not list((directory / "runtime").iterdir())
    system = Path(f"/run/hark/{directory.name}")
    environment = {"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": str(directory)}
    with run(PAIR, f"--name={directory.name}", "foo.socket", env=environment):
        own = directory / "hark" / directory.name
        place = wait_until(lambda: next((p for p in (system, own)
                                         if (p / "control").exists()), None))
    assert not place.exists()


def test_a_stale_socket_is_replaced(run, directory):
    (directory / "runtime").mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(directory / "runtime/control"))
    with run(PAIR, "foo.socket"):
        wait_until(lambda: is_listened_on(directory / "runtime/control"))
