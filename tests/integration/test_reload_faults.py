# SPDX-License-Identifier: MIT
"""What once went wrong with reloads."""

import os
import shutil
import signal
import socket

import pytest

from support import Hark, ask, connect, receive_all, wait_until
from test_reload import ECHO, Reloader, accept_pair, reloadable, talks  # noqa: F401

SAY = ("/usr/bin/python3 -c \"import socket; l = socket.socket(fileno=3); "
       "c = l.accept()[0]; c.sendall(b'%s'); c.close()\"")


def service_pair(socket_name, service, program, more="", at="{directory}/s", socket_more=""):
    """A socket and a service of another name."""
    return {f"{socket_name}.socket":
                f"[Socket]\nListenStream={at}\nService={service}.service\n{socket_more}\n",
            f"{service}.service": f"[Service]\n{more}ExecStart={program}\n"}


def quiet(hark: Hark) -> None:
    """Everything that was started has ended."""
    wait_until(lambda: not hark.handlers())


def test_a_listener_gets_another_service(reloadable, directory):  # noqa: F811
    hark, reloader = reloadable(service_pair("foo", "a", SAY % "old"))
    with hark:
        assert ask(directory / "s") == b"old"
        hark.notifications.wait_exits(1)
        assert reloader.reload(service_pair("foo", "b", SAY % "new"))
        assert ask(directory / "s") == b"new"
        assert "cannot" not in hark.stderr()


def test_two_sockets_swap_their_services(reloadable, directory):  # noqa: F811
    def units(one, other):
        return {**service_pair("foo", one, SAY % one, at="{directory}/1"),
                **service_pair("bar", other, SAY % other, at="{directory}/2")}
    hark, reloader = reloadable(units("a", "b"), "foo.socket", "bar.socket")
    with hark:
        assert (ask(directory / "1"), ask(directory / "2")) == (b"a", b"b")
        hark.notifications.wait_exits(2)
        assert reloader.reload(units("b", "a"))
        assert (ask(directory / "1"), ask(directory / "2")) == (b"b", b"a")


def test_a_limit_that_comes_back(reloadable, directory):  # noqa: F811
    """Lowered below what lives, and raised again: slots are not closed for ever."""
    wait = "\n[X-Hark]\nOverflow=wait"
    hark, reloader = reloadable(accept_pair(ECHO, "MaxConnections=4"))
    with hark:
        clients = [connect(directory / "s") for _ in range(4)]
        assert all(talks(client) for client in clients)
        assert reloader.reload(accept_pair(ECHO, "MaxConnections=2" + wait))
        assert reloader.reload(accept_pair(ECHO, "MaxConnections=4" + wait))
        while clients:
            clients.pop().close()
        hark.notifications.wait_exits(4)
        clients = [connect(directory / "s") for _ in range(4)]
        assert all(talks(client) for client in clients)


def test_slots_that_cannot_be_divided(reloadable, directory):  # noqa: F811
    """A limit that is all there is, beside a unit that leaves: served, by as many servers."""
    hark, reloader = reloadable({"foo.socket": "[Socket]\nListenStream={directory}/s\n",
                                 "foo.service": "[Service]\nExecStart=/bin/sleep 1000\n"})
    with hark:
        connect(directory / "s").close()
        wait_until(hark.handlers)
        servers = len(hark.servers())
        reloader.write(accept_pair("/bin/echo x", "MaxConnections=65536"))
        for _ in range(8):
            os.kill(hark.pid, signal.SIGHUP)
        wait_until(lambda: ask(directory / "s") == b"x\n")
        wait_until(lambda: hark.control("GetStatus").result()["state"] == "serving")
        assert len(hark.servers()) == servers


def test_numbers_of_a_unit_that_comes_back(reloadable, directory):  # noqa: F811
    hark, reloader = reloadable(accept_pair(ECHO))
    service = {"foo.socket": "[Socket]\nListenStream={directory}/s\nRemoveOnStop=yes\n",
               "foo.service": "[Service]\nExecStart=/bin/sleep 1000\n"}
    with hark:
        first = connect(directory / "s")
        assert talks(first)
        assert reloader.reload(service) and reloader.reload(accept_pair(ECHO))
        second = connect(directory / "s")
        assert talks(second) and talks(first)
        first.close()
        second.close()
        exits = hark.notifications.wait_exits(2)
        assert len({(e.program, e.number) for e in exits}) == 2


def test_numbers_when_accept_goes_to_and_fro(reloadable, directory):  # noqa: F811
    """None comes twice, though nothing of before is left."""
    hark, reloader = reloadable(accept_pair("/bin/echo a"))
    service = {"foo.socket": "[Socket]\nListenStream={directory}/s\nRemoveOnStop=yes\n",
               "foo.service": f"[Service]\nExecStart={SAY % 'b'}\n"}
    with hark:
        assert ask(directory / "s") == b"a\n"
        hark.notifications.wait_exits(1)
        assert reloader.reload(service)
        assert ask(directory / "s") == b"b"
        hark.notifications.wait_exits(2)
        assert reloader.reload(accept_pair("/bin/echo a"))
        assert ask(directory / "s") == b"a\n"
        exits = hark.notifications.wait_exits(3)
        assert [e.number for e in exits] == [0, 1, 2]


def test_a_unit_that_leaves_is_told_of_while_it_has_handlers(reloadable, directory):  # noqa: F811
    hark, reloader = reloadable(accept_pair(ECHO))

    def units():
        return {(unit["name"], unit["accept"], unit["leaving"])
                for unit in hark.control("GetStatus").result()["units"]}

    with hark:
        assert reloader.reload(service_pair("foo", "a", "/bin/sleep 1000"))
        assert units() == {("a", False, False)}
        connect(directory / "s").close()
        sleeper = wait_until(hark.handlers)[0]
        assert reloader.reload(accept_pair(ECHO))
        assert units() == {("foo", True, False), ("a", False, True)}
        os.kill(sleeper, signal.SIGKILL)
        wait_until(lambda: units() == {("foo", True, False)})


def test_the_answer_is_of_the_right_reload(reloadable, directory):  # noqa: F811
    """Who asks while one is under way is told of the next, which reads what is there now."""
    hark, reloader = reloadable(accept_pair("/bin/echo a"))
    with hark:
        os.mkfifo(directory / "hold")
        slow = "ExecStartPre=/bin/sh -c 'read x <{directory}/hold'"
        reloader.write(accept_pair("/bin/echo b", slow, at="{directory}/t"))
        first = hark.control("Reload")
        wait_until(lambda: hark.control("GetStatus").result()["state"] == "reloading")
        bad = accept_pair("/bin/echo c")
        bad["foo@.service"] += "Nonsense=1\n"
        reloader.write(bad)
        second = hark.control("Reload")
        wait_until(lambda: hark.control("GetStatus").result()["state"] == "reloading")
        (directory / "hold").write_text("go\n")
        assert first.result() == {}
        name, parameters = second.error()
        assert name == "ReloadFailed" and "Nonsense" in str(parameters)


def test_fewer_programs(reloadable, directory):  # noqa: F811
    """The one that runs is beyond the list of now, and no other is started after it."""
    many = "Type=oneshot\n" + "ExecStart=/bin/true\n" * 7
    hark, reloader = reloadable(service_pair("foo", "a", "/bin/sleep 1000", many))
    with hark:
        connect(directory / "s").close()
        hark.notifications.wait_exits(7)
        sleeper = wait_until(hark.handlers)[0]
        assert reloader.reload(service_pair("foo", "a", SAY % "new"))
        os.kill(sleeper, signal.SIGKILL)
        hark.notifications.wait_exits(8)
        assert ask(directory / "s") in (b"new", b"")
        assert hark.is_running()


def test_a_oneshot_that_leaves(reloadable, directory):  # noqa: F811
    """What was to run after the program that runs is not tried."""
    two = "Type=oneshot\nExecStart=/bin/sleep 1000\n"
    hark, reloader = reloadable(service_pair("foo", "b", "/bin/true", two))
    with hark:
        connect(directory / "s").close()
        sleeper = wait_until(hark.handlers)[0]
        assert reloader.reload(service_pair("foo", "c", "/bin/true"))
        os.kill(sleeper, signal.SIGTERM)
        hark.notifications.wait_for(
            lambda: [e for e in hark.notifications.exits if e.pid == sleeper])
        quiet(hark)
        assert "cannot start" not in hark.stderr()


def test_links_follow_their_node(reloadable, directory):  # noqa: F811
    def units(node):
        return accept_pair("/bin/echo a", "ListenStream=@{directory}/x\nSymlinks={directory}/link",
                           at="{directory}/" + node)
    hark, reloader = reloadable(units("s"))
    with hark:
        assert ask(directory / "link") == b"a\n"
        assert reloader.reload(units("t"))
        assert ask(directory / "link") == b"a\n"


def test_a_reload_that_fails_leaves_the_links(reloadable, directory):  # noqa: F811
    def units(node, more=""):
        return accept_pair("/bin/echo a", "Symlinks={directory}/link\n" + more,
                           at="{directory}/" + node)
    hark, reloader = reloadable(units("s"))
    with hark:
        assert not reloader.reload(units("t", "ExecStartPost=/bin/false"))
        assert ask(directory / "link") == b"a\n"
        assert not os.path.lexists(directory / "t")


def test_a_socket_under_another_name(reloadable, directory):  # noqa: F811
    """It is another unit: its commands and links are its own, the listener stays."""
    def units(name):
        return {"foo.socket": "[Socket]\nListenStream={directory}/s\n",
                "foo.service": f"[Service]\nSockets=foo.socket {name}.socket\n"
                               f"ExecStart={SAY % 'x'}\n",
                f"{name}.socket": "[Socket]\nListenStream={directory}/t\nService=foo.service\n"
                                  "Symlinks={directory}/link\nRemoveOnStop=yes\n"
                                  f"ExecStartPre=/bin/touch {{directory}}/pre-{name}\n"
                                  f"ExecStopPost=/bin/touch {{directory}}/post-{name}\n"}
    hark, reloader = reloadable(units("bar"))
    with hark:
        node = os.stat(directory / "t").st_ino
        assert reloader.reload(units("baz"))
        assert (directory / "pre-baz").exists() and os.stat(directory / "link").st_ino == node
        wait_until((directory / "post-bar").exists)
        assert os.readlink(directory / "link") == str(directory / "t")


def test_commands_of_a_passed_socket(run, directory):
    """They are the passer's, after a reload, too."""
    more = "ExecStopPost=/bin/touch {directory}/stopped"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "s"))
        listener.listen()
        with run(accept_pair("/bin/echo old", more), "foo.socket", passed=["--names=foo.socket"],
                 pass_fds=[listener.fileno()]) as hark:
            assert Reloader(hark, directory, directory / "units").reload(
                accept_pair("/bin/echo new", more))
            assert hark.terminate() == 0
        assert not (directory / "stopped").exists()


@pytest.mark.parametrize("line", ["ListenNetlink=kobject-uevent 0", "ListenFIFO={directory}/f",
                                  "ListenMessageQueue=/hark-test-{name}"])
def test_the_same_address_twice(reloadable, directory, line):  # noqa: F811
    line = line.replace("{name}", directory.name)

    def units(seconds):
        return service_pair("foo", "a", "/bin/sleep 1000",
                            socket_more=f"{line}\n{line}\nTimeoutSec={seconds}\nRemoveOnStop=yes")
    hark, reloader = reloadable(units(5))
    with hark:
        for seconds in (6, 7):
            assert reloader.reload(units(seconds))


def test_a_child_that_stands_still(reloadable, directory):  # noqa: F811
    """A program that waits for its standard input, with memory of its own, holds up no reload."""
    os.mkfifo(directory / "fifo")

    def units(limit):
        return {**accept_pair("/bin/echo a", f"MaxConnections={limit}"),
                "bar.socket": "[Socket]\nListenStream={directory}/b\n",
                "bar.service": "[Service]\nStandardInput=file:{directory}/fifo\n"
                               "ExecStart=/bin/sleep 1000\n"}
    hark, reloader = reloadable(units(4), "foo.socket", "bar.socket")
    with hark:
        connect(directory / "b").close()
        wait_until(lambda: [h for h in hark.control("ListHandlers").result()["handlers"]
                            if h["step"] == "standard input"])
        assert reloader.reload(units(5))
        assert ask(directory / "s") == b"a\n"
        waker = os.open(directory / "fifo", os.O_RDWR | os.O_NONBLOCK)
        wait_until(hark.handlers)
        os.close(waker)


@pytest.mark.parametrize("reloads,age", [(1, 0), (1, 500_000), (3, 0)])
def test_why_a_child_that_stood_still_has_failed(reloadable, directory,  # noqa: F811
                                                 reloads, age):
    """It writes that where the slots were before, however long it has stood there."""
    os.mkfifo(directory / "fifo")
    shutil.copy("/bin/sleep", directory / "program")
    wait = "StandardInput=file:{directory}/fifo\n"

    def units(limit):
        return {**accept_pair("/bin/echo a", f"MaxConnections={limit}"),
                **service_pair("bar", "bar", "{directory}/program 1000", wait, "{directory}/1"),
                **service_pair("baz", "baz", "{directory}/program 1000", wait, "{directory}/2")}

    hark, reloader = reloadable(units(4), "foo.socket", "bar.socket", "baz.socket")
    with hark:
        for name in "12":
            connect(directory / name).close()
        found = wait_until(lambda: len(h := [
            h for h in hark.control("ListHandlers").result()["handlers"]
            if h["step"] == "standard input" and h["age_usec"] >= age]) == 2 and h)
        killed, failed = (h["pid"] for h in found)
        for n in range(reloads):
            assert reloader.reload(units(5 + n))

        def end_of(pid):
            return hark.notifications.wait_for(
                lambda: next((e for e in hark.notifications.exits if e.pid == pid), None))

        os.kill(killed, signal.SIGKILL)
        assert end_of(killed).status == "KILL"
        (directory / "program").unlink()
        waker = os.open(directory / "fifo", os.O_RDWR | os.O_NONBLOCK)
        end = end_of(failed)
        os.close(waker)
        assert (end.status, end.step, end.error) == ("203", "exec", "ENOENT")
        assert f"(pid {killed}) was killed by KILL in its set-up: standard input" in hark.stderr()


def test_a_manager_that_did_not_read(reloadable):  # noqa: F811
    """The last word is READY=1, whatever it missed."""
    hark, _ = reloadable(accept_pair("/bin/echo a"))
    with hark:
        notifications = hark.notifications
        notifications.read()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    filler.sendto(b"FILL=1", str(notifications.path))
        for n in (1, 2):
            os.kill(hark.pid, signal.SIGHUP)
            wait_until(lambda n=n: hark.stderr().count("hark: reloaded") >= n)
        notifications.wait_for(lambda: notifications.has("READY=1") and [
            text for text in notifications.datagrams if text.startswith(("READY", "RELOADING"))
        ][-1] == "READY=1" and hark.control("GetStatus").result()["state"] == "serving")


def test_an_address_that_is_taken_holds_up_nobody(reloadable, directory):  # noqa: F811
    """A reload that fails for it does not keep slots from being freed."""
    one = "MaxConnections=1"
    hark, reloader = reloadable(accept_pair("/bin/echo a", one))
    with hark, socket.socket(socket.AF_UNIX) as other:
        other.bind(str(directory / "taken"))
        other.listen()
        reloader.write(accept_pair("/bin/echo a", one + "\nListenStream={directory}/taken"))
        for n in range(300):
            if n == 100:
                os.kill(hark.pid, signal.SIGHUP)
            with connect(directory / "s") as client:
                assert receive_all(client) == b"a\n", n
        wait_until(lambda: "everything stays" in hark.stderr())


def test_relative_paths(run, directory, monkeypatch):
    """Of units, and of their directory, as at the start, wherever hark has gone since."""
    monkeypatch.chdir(directory)
    with run(accept_pair("/bin/echo old"), "units/foo.socket", cwd=directory) as hark:
        assert ask(directory / "s") == b"old\n"
        assert Reloader(hark, directory, directory / "units").reload(accept_pair("/bin/echo new"))
        assert ask(directory / "s") == b"new\n"


def test_two_units_with_the_same_address(reloadable, directory):  # noqa: F811
    """A FIFO may be listened to by two: each goes on with its own."""
    def units(seconds):
        more = f"ListenFIFO={{directory}}/f\nTimeoutSec={seconds}\nRemoveOnStop=yes"
        return {**service_pair("foo", "a", "/bin/sleep 1000", at="{directory}/1", socket_more=more),
                **service_pair("bar", "b", "/bin/sleep 1000", at="{directory}/2", socket_more=more)}
    hark, reloader = reloadable(units(5), "foo.socket", "bar.socket")
    with hark:
        assert reloader.reload(units(6)) and reloader.reload(units(7))


def test_an_answer_that_waits_when_hark_stops(reloadable, directory):  # noqa: F811
    """Also who waits for the next reload is told that there is none."""
    hark, reloader = reloadable(accept_pair("/bin/echo a"))
    with hark:
        reloader.write(accept_pair("/bin/echo b", "ExecStartPre=/bin/sleep 1000",
                                   at="{directory}/t"))
        first = hark.control("Reload")
        wait_until(lambda: hark.control("GetStatus").result()["state"] == "reloading")
        second = hark.control("Reload")
        hark.control("GetStatus").result()
        os.kill(hark.pid, signal.SIGTERM)
        assert first.error()[0] == second.error()[0] == "ReloadFailed"
        assert hark.wait_exit() == 0
