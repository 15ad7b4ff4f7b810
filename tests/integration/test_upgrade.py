# SPDX-License-Identifier: MIT
"""SIGUSR2: the hark that is installed now takes the place of the one that runs."""

import os
import shutil
import signal
import socket
from pathlib import Path

import pytest

import support
from support import (SANITIZED, ask, assert_each_once, children_of, connect, finish_load, load,
                     process, wait_until)

ECHO = "/bin/cat"


def accept_pair(start, socket_more="", name="foo"):
    """A socket with Accept=yes and its template."""
    return {f"{name}.socket": f"[Socket]\nListenStream={{directory}}/s\nAccept=yes\n"
                              f"RemoveOnStop=yes\n{socket_more}\n",
            f"{name}@.service": f"[Service]\nStandardInput=socket\nExecStart={start}\n"}


@pytest.fixture
def installed(directory):
    """A copy of hark that can be replaced."""
    (directory / "bin").mkdir()
    return Path(shutil.copy2(support.HARK, directory / "bin/hark"))


def replace(program, text=None):
    """Installs another one, as package managers do: by a rename."""
    new = program.with_name("new")
    if text is None:
        shutil.copy2(support.HARK, new)
    else:
        new.write_text(text)
        new.chmod(0o755)
    new.rename(program)


def upgrade(hark):
    """To its end."""
    hark.renew(signal.SIGUSR2)


def talks(client, text=b"x"):
    """The echo at the other end lives."""
    client.sendall(text)
    return client.recv(len(text)) == text


def test_everything_goes_on(run, directory, installed):
    """The process, the socket and its lock, running handlers, their numbers and their reports."""
    with run(accept_pair(ECHO, "MaxConnections=3"), "foo.socket", program=installed) as hark, \
            connect(directory / "s") as old:
        assert talks(old)
        node, lock = (os.stat(directory / name).st_ino for name in ("s", "s.lock"))
        with connect(directory / "s") as other:
            assert talks(other)
        hark.notifications.wait_exits(1)
        replace(installed)
        image = os.stat(f"/proc/{hark.pid}/exe").st_ino
        upgrade(hark)
        assert "has taken over" in hark.stderr(), hark.stderr()
        assert os.stat(f"/proc/{hark.pid}/exe").st_ino != image
        assert (os.stat(directory / "s").st_ino, os.stat(directory / "s.lock").st_ino) == (
            node, lock)
        assert talks(old)
        status = hark.control("GetStatus").result()
        assert (status["running"], status["done"], status["failed"]) == (1, 1, 0)
        assert status["units"][0]["done"] == 1
        with connect(directory / "s") as new:
            assert talks(new) and talks(old)
        old.close()
        assert_each_once(hark.notifications.wait_exits(3), 3)
    assert hark.returncode == 0 and not (directory / "s").exists()


def test_the_limit_counts_on(run, directory, installed):
    pair = accept_pair(ECHO, "MaxConnections=2\n[X-Hark]\nOverflow=wait")
    with run(pair, "foo.socket", program=installed) as hark:
        clients = [connect(directory / "s") for _ in range(2)]
        assert all(talks(client) for client in clients)
        upgrade(hark)
        third = connect(directory / "s")
        third.sendall(b"3")
        third.settimeout(0.3)
        with pytest.raises(TimeoutError):
            third.recv(1)
        clients.pop().close()
        third.settimeout(10)
        assert third.recv(1) == b"3"
        clients.pop().close()
        third.close()
        assert_each_once(hark.notifications.wait_exits(3), 3)


@pytest.mark.parametrize("text, why", [
    ("#!/bin/sh\nexit 3\n", "says no, with status 3"),
    ("#!/bin/sh\nkill -9 $$\n", "was killed by signal 9"),
    ("not a program", "says no")])
def test_a_new_program_that_is_broken(run, directory, installed, text, why):
    """The old one goes on, and says why."""
    with run(accept_pair(ECHO), "foo.socket", program=installed) as hark, \
            connect(directory / "s") as client:
        assert talks(client)
        servers = hark.servers()
        replace(installed, text)
        upgrade(hark)
        assert "cannot upgrade" in hark.stderr() and why in hark.stderr()
        assert hark.servers() == servers and talks(client)
        replace(installed)
        upgrade(hark)
        assert "has taken over" in hark.stderr() and talks(client)


def test_units_that_are_bad_by_now(run, directory, installed):
    with run(accept_pair(ECHO), "foo.socket", program=installed) as hark:
        (directory / "units/foo@.service").write_text("[Service]\nNonsense=1\n")
        upgrade(hark)
        assert "cannot upgrade" in hark.stderr() and "Nonsense" in hark.stderr()
        with connect(directory / "s") as client:
            assert talks(client)


def test_the_new_one_reads_the_units_anew(run, directory, installed):
    """As a reload: sockets come and go, handlers of what is gone are reported under its name."""
    with run(accept_pair(ECHO), "foo.socket", program=installed) as hark, \
            connect(directory / "s") as client:
        assert talks(client)
        for name, text in accept_pair("/bin/echo new").items():
            (directory / "units" / name).write_text(
                text.replace("{directory}/s", f"{directory}/t"))
        upgrade(hark)
        assert ask(directory / "t") == b"new\n" and talks(client)
        client.close()
        hark.notifications.wait_exits(2)


def test_a_running_service_stays(run, directory, installed):
    """Without accept: it is not started a second time, and again when it has ended."""
    pair = {"foo.socket": "[Socket]\nListenStream={directory}/s\n",
            "foo.service": "[Service]\nExecStart=/bin/sleep 1000\n"}
    with run(pair, "foo.socket", program=installed) as hark:
        connect(directory / "s").close()
        first = wait_until(hark.handlers)
        upgrade(hark)
        assert hark.handlers() == first
        os.kill(first[0], signal.SIGKILL)
        second = wait_until(lambda: [pid for pid in hark.handlers() if pid != first[0]])
        assert len(second) == 1
        os.kill(second[0], signal.SIGKILL)


def test_a_passed_listener(run, directory, installed):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "s"))
        listener.listen()
        with run(accept_pair(ECHO), "foo.socket", passed=["--names=foo.socket"],
                 pass_fds=[listener.fileno()], program=installed) as hark:
            for _ in range(2):
                upgrade(hark)
                with connect(directory / "s") as client:
                    assert talks(client)


def test_what_hark_was_given(run, directory, installed):
    """Limits and affinity of handlers are those of the first start."""
    with run(accept_pair("/bin/grep -E Cpus_allowed_list|open.files /proc/self/status "
                         "/proc/self/limits"), "foo.socket", program=installed) as hark:
        before = ask(directory / "s")
        assert before
        upgrade(hark)
        assert ask(directory / "s") == before
        assert hark.notifications.wait_exits(2)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_node_that_is_bound_anew(run, directory, installed):
    """It has the unit's owner also after an upgrade."""
    with run(accept_pair(ECHO, "SocketUser=nobody"), "foo.socket", program=installed) as hark:
        upgrade(hark)
        (directory / "s").unlink()
        node = wait_until(lambda: (directory / "s").exists() and (directory / "s").stat())
        assert node.st_uid == 65534
        wait_until(lambda: "bound it anew" in hark.stderr())


def test_commands_are_not_run_again(run, directory, installed):
    more = ("ExecStartPre=/bin/sh -c 'echo pre >>{directory}/log'\n"
            "ExecStopPost=/bin/sh -c 'echo post >>{directory}/log'\nSymlinks={directory}/link")
    with run(accept_pair(ECHO, more), "foo.socket", program=installed) as hark:
        upgrade(hark)
        with connect(directory / "link") as client:
            assert talks(client)
    assert (directory / "log").read_text() == "pre\npost\n"
    assert not os.path.lexists(directory / "link")


@pytest.mark.timeout(300)
def test_upgrades_under_load(run, directory, installed):
    """No connection is lost, no exit, and no process is left."""
    pair = accept_pair("{helpers}/tiny 0 1", "MaxConnections=200\n[X-Hark]\nOverflow=wait")
    n, total = (8, 2000) if SANITIZED else (40, 20000)
    with run(pair, "foo.socket", program=installed) as hark:
        client = load(directory / "s", total)
        for _ in range(n):
            replace(installed)
            upgrade(hark)
        result = finish_load(client, hark.notifications)
        errors = [line for line in hark.stderr().splitlines() if "listening" not in line]
        assert result["errors"] == 0 and result["good"] == total, (result, errors)
        assert_each_once(hark.notifications.wait_exits(total), total)
        assert len(children_of(hark.pid)) == len(hark.servers())
        assert "cannot upgrade" not in hark.stderr()
        counts = []
        for _ in range(3):
            hark.control("GetStatus").result()  # it is made after READY=1
            counts.append(len(os.listdir(f"/proc/{hark.pid}/fd")))
            upgrade(hark)
        assert max(counts) - min(counts) < 3, counts


def test_a_stop_while_it_checks(run, directory, installed):
    with run(accept_pair(ECHO), "foo.socket", program=installed) as hark:
        replace(installed, "#!/bin/sh\nexec sleep 1000\n")
        os.kill(hark.pid, signal.SIGUSR2)
        checker = wait_until(lambda: [p.pid for p in children_of(hark.pid)
                                      if p.command == "sleep"])[0]
        assert hark.terminate() == 0
        assert process(checker) is None
