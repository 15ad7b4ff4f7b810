# SPDX-License-Identifier: MIT
"""SIGHUP: the units are read again, and what they say then is served instead."""

import os
import re
import signal
import socket
import threading

import pytest

from support import (SANITIZED, ask, assert_each_once, children_of, connect, finish_load, load,
                     receive_all, wait_until, write_units)

ECHO = "/bin/cat"


def accept_pair(start, socket_more="", name="foo", at="{directory}/s"):
    """A socket with Accept=yes and its template."""
    return {f"{name}.socket": f"[Socket]\nListenStream={at}\nAccept=yes\nRemoveOnStop=yes\n"
                              f"{socket_more}\n",
            f"{name}@.service":
                f"[Service]\nStandardInput=socket\nExecStart={start}\n"}


class Reloader:
    """Rewrites the units of a running hark and has it read them."""

    def __init__(self, hark, directory, units_directory):
        self.hark, self.directory, self.where = hark, directory, units_directory

    def write(self, units):
        for name in [p.name for p in self.where.iterdir() if p.is_file()]:
            (self.where / name).unlink()
        write_units(self.where, units, self.directory)

    def reload(self, units=None):
        """True when it went well; waits for the end."""
        if units is not None:
            self.write(units)
        told = [text for text in self.hark.renew(signal.SIGHUP) if "RELOADING=1" in text]
        # None, if this reader was so slow that READY=1 overtook it.
        assert len(told) <= 1
        assert all(re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", text) for text in told)
        last = [line for line in self.hark.stderr().splitlines() if "reload" in line][-1]
        return last.endswith("hark: reloaded")


@pytest.fixture
def reloadable(run, directory):
    """Starts hark with units that can be changed."""
    def start(units, *arguments):
        names = arguments or ("foo.socket",)
        hark = run(units, *names)
        return hark, Reloader(hark, directory, directory / "units")
    return start


def talks(client, text=b"x"):
    """The echo at the other end lives."""
    client.sendall(text)
    return client.recv(len(text)) == text


def test_new_handlers_use_the_new_plan(reloadable, directory):
    hark, reloader = reloadable(accept_pair(ECHO))
    with hark, connect(directory / "s") as old:
        assert talks(old)
        node = os.stat(directory / "s").st_ino
        assert reloader.reload(accept_pair("/bin/echo new"))
        assert ask(directory / "s") == b"new\n"
        assert talks(old), "a handler did not outlive a reload"
        assert os.stat(directory / "s").st_ino == node, "an unchanged listener was made anew"
        old.close()
        exits = hark.notifications.wait_exits(2)
        assert sorted(e.number for e in exits) == [0, 1]
        assert {e.program for e in exits} == {"foo"}


def test_bad_units_change_nothing(reloadable, directory):
    hark, reloader = reloadable(accept_pair(ECHO))
    with hark:
        servers = hark.servers()
        bad = accept_pair(ECHO)
        bad["foo@.service"] += "NoSuchKey=1\n"
        assert not reloader.reload(bad)
        assert "foo@.service:4: error: " in hark.stderr()
        assert "everything stays as it was" in hark.stderr()
        assert hark.servers() == servers
        with connect(directory / "s") as client:
            assert talks(client)
        assert reloader.reload(accept_pair("/bin/echo good"))
        assert ask(directory / "s") == b"good\n"


def test_sockets_come_and_go(reloadable, directory):
    """A new unit's commands are run, a removed one's, too; its handlers end in their own time."""
    commands = ("ExecStartPre=/bin/touch {directory}/pre\n"
                "ExecStopPost=/bin/touch {directory}/post")
    first = accept_pair(ECHO)
    second = accept_pair(ECHO, commands, "bar", "{directory}/b")
    hark, reloader = reloadable({**first, **second}, "foo.socket", "bar.socket")
    with hark, connect(directory / "b") as client:
        assert talks(client) and (directory / "pre").exists()
        (directory / "pre").unlink()
        # The names on the command line stay: what is new comes by Sockets=, or under these names.
        moved = accept_pair(ECHO, commands, "bar", "{directory}/b2")
        assert reloader.reload({**first, **moved})
        assert not os.path.lexists(directory / "b") and not os.path.lexists(directory / "b.lock")
        wait_until(lambda: (directory / "post").exists())
        assert (directory / "pre").exists(), "a socket that starts has its commands run"
        with connect(directory / "b2") as other:
            assert talks(other)
        assert talks(client), "the handler of a socket that went"
        client.close()
        assert hark.notifications.wait_exits(2)[0].program == "bar"


def test_a_listener_more_and_less(reloadable, directory):
    hark, reloader = reloadable(accept_pair("/bin/echo hello"))
    with hark:
        for _ in range(2):
            assert reloader.reload(accept_pair("/bin/echo hello",
                                               "ListenStream={directory}/more"))
            assert ask(directory / "s") == ask(directory / "more") == b"hello\n"
            assert reloader.reload(accept_pair("/bin/echo hello"))
            assert ask(directory / "s") == b"hello\n"
            assert not os.path.lexists(directory / "more")


def test_a_new_address_that_is_taken(reloadable, directory):
    """Nothing changes, and it says who has it."""
    hark, reloader = reloadable(accept_pair(ECHO))
    with hark, socket.socket(socket.AF_UNIX) as other:
        other.bind(str(directory / "taken"))
        other.listen()
        assert not reloader.reload(accept_pair("/bin/echo new", "ListenStream={directory}/taken"))
        assert "taken" in hark.stderr() and f"pid {os.getpid()}" in hark.stderr()
        with connect(directory / "s") as client:
            assert talks(client)


def test_a_failing_command_of_a_new_socket(reloadable, directory):
    hark, reloader = reloadable(accept_pair(ECHO))
    with hark:
        moved = accept_pair(ECHO, "ExecStartPre=/bin/false", at="{directory}/t")
        assert not reloader.reload(moved)
        assert not os.path.lexists(directory / "t")
        with connect(directory / "s") as client:
            assert talks(client)


def test_the_limit_is_kept_over_a_reload(reloadable, directory):
    """Handlers of before count; more of them than the new limit are not ended."""
    hark, reloader = reloadable(accept_pair(ECHO, "MaxConnections=4"))
    with hark:
        clients = [connect(directory / "s") for _ in range(4)]
        assert all(talks(client) for client in clients)
        wait = "MaxConnections=2\n[X-Hark]\nOverflow=wait"
        assert reloader.reload(accept_pair(ECHO, wait))
        assert all(talks(client) for client in clients)
        waiting = connect(directory / "s")
        waiting.sendall(b"w")
        waiting.settimeout(0.3)
        for n in (1, 2):
            clients.pop().close()
            hark.notifications.wait_exits(n)
            with pytest.raises(TimeoutError):
                waiting.recv(1)
        clients.pop().close()
        waiting.settimeout(10)
        assert waiting.recv(1) == b"w"
        assert reloader.reload(accept_pair(ECHO, "MaxConnections=3"))
        clients.append(connect(directory / "s"))
        assert talks(clients[-1]) and talks(waiting) and talks(clients[0])
        for client in [waiting, *clients]:
            client.close()
        assert_each_once(hark.notifications.wait_exits(6), 6)


def test_a_limit_per_source_counts_handlers_of_before(reloadable, directory):
    """… also those that were started when there was none."""
    hark, reloader = reloadable(accept_pair(ECHO))
    with hark:
        with connect(directory / "s") as first:
            assert talks(first)
            assert reloader.reload(accept_pair(ECHO, "MaxConnectionsPerSource=1"))
            with connect(directory / "s") as second:
                assert receive_all(second) == b""
            assert talks(first)
        hark.notifications.wait_exits(1)
        with connect(directory / "s") as third:
            assert talks(third)


def test_a_running_service_stays(reloadable, directory):
    """Without accept: the program keeps its listener, the next one is of the new plan."""
    def pair(program):
        return {"foo.socket": "[Socket]\nListenStream={directory}/s\n",
                "foo.service": f"[Service]\nExecStart={program}\n"}
    serve = "/usr/bin/python3 -c \"import socket; l = socket.socket(fileno=3); " \
            "c = l.accept()[0]; c.sendall(b'%s'); c.recv(1); c.close()\""
    hark, reloader = reloadable(pair(serve % "old"))
    with hark:
        first = connect(directory / "s")
        assert first.recv(3) == b"old"
        assert reloader.reload(pair(serve % "new"))
        first.close()
        with connect(directory / "s") as second:
            assert second.recv(3) == b"new"
        exits = hark.notifications.wait_exits(2)
        assert [e.status for e in exits] == ["0", "0"]


def test_handlers_of_a_service_that_became_a_template(reloadable, directory):
    """Accept= changed: the program of before ends in its own time."""
    hark, reloader = reloadable({"foo.socket": "[Socket]\nListenStream={directory}/s\n",
                                 "foo.service": "[Service]\nExecStart=/bin/sleep 1000\n"})
    with hark:
        connect(directory / "s").close()
        sleeper = wait_until(hark.handlers)[0]
        assert reloader.reload(accept_pair("/bin/echo new"))
        wait_until(lambda: ask(directory / "s") == b"new\n")
        wait_until(lambda: hark.handlers() == [sleeper])
        assert reloader.reload(accept_pair("/bin/echo newer"))
        assert ask(directory / "s") == b"newer\n"
        os.kill(sleeper, signal.SIGKILL)
        hark.notifications.wait_for(
            lambda: [e for e in hark.notifications.exits if e.pid == sleeper])
        assert reloader.reload(accept_pair("/bin/echo newest"))
        assert ask(directory / "s") == b"newest\n"


def test_a_passed_listener_stays(run, directory):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "s"))
        listener.listen()
        hark = run(accept_pair("/bin/echo old"), "foo.socket", passed=["--names=foo.socket"],
                   pass_fds=[listener.fileno()])
        with hark:
            reloader = Reloader(hark, directory, directory / "units")
            assert ask(directory / "s") == b"old\n"
            assert reloader.reload(accept_pair("/bin/echo new"))
            assert ask(directory / "s") == b"new\n"


@pytest.mark.timeout(300)
def test_a_thousand_reloads_under_load(reloadable, directory):
    """No connection is lost, no exit, and no process is left; with slots that move, too."""
    def pair(i):
        limit = f"MaxConnections={100 + i % 3}\n[X-Hark]\nOverflow=wait"
        return accept_pair("{helpers}/tiny 0 1", limit)
    hark, reloader = reloadable(pair(0))
    n = int(os.environ.get("HARK_STRESS_RELOADS", "100" if SANITIZED else "1000"))
    total = 40 * n
    with hark, connect(directory / "s") as other:
        assert other.recv(3) == b"ok\n"
        client = load(directory / "s", total)
        for i in range(n):
            reloader.reload(pair(i // 2))
        result = finish_load(client, hark.notifications)
        assert result["errors"] == 0 and result["good"] == total, result
        assert_each_once(hark.notifications.wait_exits(total + 1), total + 1)
        assert len(children_of(hark.pid)) == len(hark.servers())
        assert "everything stays" not in hark.stderr()


def test_many_signals_at_once(reloadable, directory):
    """They are one reload, and perhaps one more."""
    hark, reloader = reloadable(accept_pair("/bin/echo old"))
    with hark:
        reloader.write(accept_pair("/bin/echo new"))
        threads = [threading.Thread(target=os.kill, args=(hark.pid, signal.SIGHUP))
                   for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: ask(directory / "s") == b"new\n")


def test_a_reload_while_draining(reloadable, directory):
    hark, reloader = reloadable(accept_pair(ECHO))
    with hark, connect(directory / "s") as client:
        assert talks(client)
        os.kill(hark.pid, signal.SIGQUIT)
        hark.notifications.wait_for(lambda: hark.notifications.has("STOPPING=1"))
        os.kill(hark.pid, signal.SIGHUP)
        assert talks(client)
        client.close()
        assert receive_all(client) == b"" if client.fileno() >= 0 else True
        assert hark.wait_exit() == 0
