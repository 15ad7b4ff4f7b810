# SPDX-License-Identifier: MIT
"""Listeners that hark made are kept by the service manager: a hark that was killed gets them back.
The manager here is the test; test_fd_store_systemd.py has a real one."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import (Notify, ask, connect, finish_load, free_port, is_listened_on, load,
                     receive_all, wait_until)


class Store:
    """A manager's file descriptor store; outlives every hark."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, int]] = []
        self.stored: list[str] = []  # all names that were ever stored
        self.removed: list[str] = []

    def take(self, text: str, fds: list[int]) -> None:
        """What systemd does with a datagram."""
        lines = text.split("\n")
        names = [line.removeprefix("FDNAME=") for line in lines if line.startswith("FDNAME=")]
        if "FDSTORE=1" in lines:
            assert len(fds) == 1 and len(names) == 1 and "FDPOLL=0" in lines, (text, fds)
            self.stored.append(names[0])
            known = [fd for _, fd in self.kept if os.path.sameopenfile(fd, fds[0])]
            if known:
                os.close(fds[0])
            else:
                self.kept.append((names[0], fds[0]))
        elif "FDSTOREREMOVE=1" in lines:
            assert not fds and len(names) == 1, (text, fds)
            self.removed.append(names[0])
            for name, fd in self.kept:
                if name == names[0]:
                    os.close(fd)
            self.kept = [entry for entry in self.kept if entry[0] != names[0]]
        else:
            assert not fds, text

    def manager(self, directory: Path) -> Notify:
        """What hark notifies."""
        return StoringNotify(directory, self)

    def passing(self) -> dict:
        """For the next hark: what is kept, passed as systemd passes it."""
        return {"manager": self.manager, "check": False,
                "passed": ["--names=" + ":".join(name for name, _ in self.kept)],
                "pass_fds": [fd for _, fd in self.kept]}

    def names(self) -> list[str]:
        """Of what is kept."""
        return [name for name, _ in self.kept]

    def close(self) -> None:
        """All of it."""
        for _, fd in self.kept:
            os.close(fd)
        self.kept = []


class StoringNotify(Notify):
    """Gives descriptors to a store."""

    def __init__(self, directory: Path, store: Store) -> None:
        super().__init__(directory)
        self.store = store

    def _receive(self) -> bytes:
        data, fds, _, _ = socket.recv_fds(self.socket, 65536, 8)
        self.store.take(data.decode(), fds)
        return data


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty one."""
    made = Store()
    yield made
    made.close()


def pair(handler: str = "tiny", more: str = "", listen: str = "ListenStream={directory}/s",
         start: str = "", name: str = "foo") -> dict[str, str]:
    """A socket with Accept=yes and its template."""
    return {f"{name}.socket": f"[Unit]\n{start}\n[Socket]\n{listen}\nAccept=yes\n"
                              f"MaxConnections=1000\n{more}\n",
            f"{name}@.service": f"[Service]\nExecStart={{helpers}}/{handler}\n"}


def wait_kept(hark, store: Store, n: int) -> None:
    """So many, and hark has nothing more to say about them."""
    hark.notifications.wait_for(lambda: len(store.kept) == n, what=f"{n} kept: {store.names()}")


def test_killed_again_and_again_under_load(run, directory, store):
    """kill -9 while clients never stop: they wait while no hark is there, none is refused, none
    lost. The socket is the same all the time, its node and its lock are hark's again."""
    path = directory / "s"
    first = run(pair(), "foo.socket", manager=store.manager, check=False)
    with first:
        wait_kept(first, store, 1)
        node = path.stat().st_ino
        client = load(path, total=0, concurrency=8, timeout_ms=20000)
        try:
            first.kill()
            for _ in range(5):
                with run(pair(), "foo.socket", **store.passing()) as hark:
                    hark.notifications.wait_exits(50)
                    assert path.stat().st_ino == node
                    assert Path(f"{path}.lock").exists()
                    hark.kill()
        finally:
            client.send_signal(signal.SIGTERM)
            last = run(pair(), "foo.socket", **store.passing())
            with last:
                result = finish_load(client, last.notifications)
                last.terminate()
                assert last.wait_exit() == 0
    assert result["errors"] == 0 and result["good"] > 250, result
    assert len(store.stored) == 1  # never again what is kept already
    assert store.kept == []  # an orderly end leaves nothing


def test_who_came_meanwhile_is_served(run, directory, store):
    """A client that connects, and says something, while there is no hark."""
    path = directory / "s"
    with run(pair("obey"), "foo.socket", manager=store.manager, check=False) as hark:
        wait_kept(hark, store, 1)
        hark.kill()
        with connect(path) as client:
            client.sendall(b"exit 0\n")
            with run(pair("obey"), "foo.socket", **store.passing()):
                assert client.recv(100) == b"ok\n"


def test_handlers_live_on(run, directory, store):
    """Those of the hark that was killed."""
    path = directory / "s"
    with run(pair("slow"), "foo.socket", manager=store.manager, check=False) as hark:
        wait_kept(hark, store, 1)
        with connect(path) as old:
            assert old.recv(3) == b"up\n"
            hark.kill()
            with run(pair("slow"), "foo.socket", **store.passing()):
                with connect(path) as new:
                    assert new.recv(3) == b"up\n"
                    old.shutdown(socket.SHUT_WR)
                    assert receive_all(old) == b"done\n"


def test_of_every_kind(run, directory, store):
    """TCP, abstract, datagram, sequenced packets, FIFO; also of a service without Accept=."""
    port = free_port()
    listen = (f"ListenStream=127.0.0.1:{port}\nListenStream=@{directory.name}\n"
              "ListenSequentialPacket={directory}/q\nListenStream={directory}/s")
    units = pair(listen=listen)
    units |= {"bar.socket": "[Socket]\nListenFIFO={directory}/f\nListenDatagram={directory}/d\n"
                            f"ListenMessageQueue=/{directory.name}\nRemoveOnStop=yes\n"
                            "ListenNetlink=route 1\n",
              "bar.service": "[Service]\nExecStart=/bin/sh -c 'echo up >>{directory}/up; "
                             "exec sleep 1000'\n"}
    with run(units, "foo.socket", "bar.socket", manager=store.manager, check=False) as hark:
        wait_kept(hark, store, 8)
        hark.kill()
    writer = os.open(directory / "f", os.O_WRONLY | os.O_NONBLOCK)  # somebody has it open
    with run(units, "foo.socket", "bar.socket", **store.passing()) as hark:
        assert hark.stderr().count("going on with") == 8, hark.stderr()
        for address in (port, f"@{directory.name}", directory / "s"):
            assert ask(address) == b"ok\n"
        with connect(directory / "q", socket.SOCK_SEQPACKET) as client:
            assert client.recv(100) == b"ok\n"
        os.write(writer, b"x")
        os.close(writer)
        wait_until((directory / "up").exists, what="the service is started")
        assert len(store.stored) == 8 and not store.removed


def test_a_fifo_of_that_name(run, directory, store):
    """Another one is there now, so that the one that was kept would never be written to."""
    path = directory / "f"
    units = {"bar.socket": "[Socket]\nListenFIFO={directory}/f\n",
             "bar.service": "[Service]\nExecStart=/bin/sh -c 'cat <&3 >{directory}/read'\n"}
    with run(units, "bar.socket", manager=store.manager, check=False) as hark:
        wait_kept(hark, store, 1)
        hark.kill()
    path.unlink()
    with run(units, "bar.socket", **store.passing()) as hark:
        assert "cannot go on with" in hark.stderr()
        path.write_text("x")
        wait_until(lambda: (directory / "read").exists() and (directory / "read").read_text(),
                   what="what was written is read")
        wait_kept(hark, store, 1)
        assert len(store.removed) == 1 and len(store.stored) == 2


def test_only_what_hark_made(run, directory, store):
    """What was passed is its passer's. Nothing is stored for who has no unit, nor for a manager
    that says that the unit may store nothing."""
    path = directory / "s"
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(path))
        passed.listen()
        with run(pair(), "foo.socket", manager=store.manager, check=False,
                 passed=["--names=foo.socket"], pass_fds=[passed.fileno()]) as hark:
            assert ask(path) == b"ok\n"
            hark.terminate()
    path.unlink()
    with run(pair(), "foo.socket", manager=store.manager, env={"FDSTORE": "0"},
             check=False) as hark:
        assert ask(path) == b"ok\n"
        hark.terminate()
    assert not store.stored and not store.removed


def test_activate_stores_nothing(activate, directory, helpers, store):
    """It would not know what to do with them."""
    with activate("-l", directory / "s", "-a", helpers / "tiny", manager=store.manager) as hark:
        assert ask(directory / "s") == b"ok\n"
        hark.terminate()
    assert not store.stored


def test_nothing_of_the_start_is_done_again(run, directory, store):
    """Neither its commands nor its conditions: for clients the socket has never stopped. Its links
    are there, its end is as always."""
    more = ("ExecStartPre=/bin/sh -c 'echo pre >>{directory}/log'\n"
            "ExecStartPost=/bin/sh -c 'echo post >>{directory}/log'\n"
            "ExecStopPost=/bin/sh -c 'echo stopped >>{directory}/log'\n"
            "RemoveOnStop=yes\nSymlinks={directory}/link")
    units = pair(more=more, start="ConditionPathExists=!{directory}/up")
    log = directory / "log"
    with run(units, "foo.socket", manager=store.manager, check=False) as hark:
        wait_kept(hark, store, 1)
        hark.kill()
    (directory / "up").touch()
    with run(units, "foo.socket", **store.passing()) as hark:
        assert ask(directory / "link") == b"ok\n"
        assert log.read_text() == "pre\npost\n"
        hark.terminate()
    assert log.read_text() == "pre\npost\nstopped\n"
    for name in ("s", "s.lock", "link"):
        assert not os.path.lexists(directory / name), name
    assert not store.kept
    with run(units, "foo.socket", manager=store.manager, wait=False, check=False) as hark:
        assert hark.wait_exit() == 0
    assert "is not met" in hark.stderr()


def test_what_no_unit_wants_any_more(run, directory, store):
    """It is closed, with a line in the log, and forgotten by the manager; an address that has
    changed is another one."""
    old = pair(listen="ListenStream={directory}/s\nListenStream={directory}/old")
    new = pair(listen="ListenStream={directory}/s\nListenStream={directory}/new")
    with run(old, "foo.socket", manager=store.manager, check=False) as hark:
        wait_kept(hark, store, 2)
        before = store.names()
        assert all(name.startswith("hark-foo-") for name in before), before
        hark.kill()
    with run(new, "foo.socket", **store.passing()) as hark:
        assert ask(directory / "s") == b"ok\n" and ask(directory / "new") == b"ok\n"
        wait_kept(hark, store, 2)
        assert len(set(store.names()) & set(before)) == 1 and len(store.removed) == 1
        assert f"no unit wants a socket at \"{directory}/old\"" in hark.stderr()
        with pytest.raises(ConnectionRefusedError):
            connect(directory / "old")


def test_a_name_that_is_not_ours(run, directory, store):
    """Whatever begins with "hark-" is closed, not refused; but a unit may be called so."""
    path = directory / "s"
    with socket.socket(socket.AF_UNIX) as passed, socket.socket(socket.AF_UNIX) as other:
        passed.bind(str(path))
        passed.listen()
        with run(pair(name="hark-x"), "hark-x.socket", manager=store.manager, check=False,
                 passed=["--names=hark-x.socket:hark-y"],
                 pass_fds=[passed.fileno(), other.fileno()]) as hark:
            assert ask(path) == b"ok\n"
            assert "(\"hark-y\"): closing it" in hark.stderr()
            hark.notifications.wait_for(lambda: store.removed, what="it is forgotten")
            assert store.removed == ["hark-y"]
            assert not store.stored


def test_somebody_else_has_the_path(run, directory, store):
    """A living server has bound it meanwhile: what was kept is closed and forgotten, and hark
    fails as it does without a store. After a dead one it is made anew."""
    path = directory / "s"
    with run(pair(), "foo.socket", manager=store.manager, check=False) as hark:
        wait_kept(hark, store, 1)
        hark.kill()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        kept = store.passing()
        with run(pair(), "foo.socket", wait=False, **kept) as hark:
            assert hark.wait_exit() == 69
        assert "cannot go on with" in hark.stderr() and "making it anew" in hark.stderr()
        assert not store.kept and len(store.removed) == 1
        connect(path).close()
    with run(pair(), "foo.socket", manager=store.manager, check=False) as hark:
        wait_kept(hark, store, 1)
        hark.kill()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
    with run(pair(), "foo.socket", **store.passing()) as hark:
        assert ask(path) == b"ok\n"
        wait_kept(hark, store, 1)


def test_another_hark_has_it(run, directory, store, helpers):
    """A hark that was started meanwhile holds the lock: the one that was killed does not come
    back."""
    path = directory / "s"
    with run(pair(), "foo.socket", manager=store.manager, check=False) as hark:
        wait_kept(hark, store, 1)
        hark.kill()
        kept = store.passing()
        path.unlink()
        with run(pair(), "foo.socket", check=False, env={"RUNTIME_DIRECTORY": str(directory)}):
            with run(pair(), "foo.socket", wait=False, **kept) as late:
                assert late.wait_exit() == 69
            assert "cannot go on with" in late.stderr()
            assert not store.kept
            assert ask(path) == b"ok\n"


def test_its_node_was_removed(run, directory, store):
    """Who waits in it is served, and the path is there again, for a new socket that is kept in
    its place."""
    path = directory / "s"
    owner = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    units = pair(more=f"SocketMode=0640\nSocketUser={owner}")
    with run(units, "foo.socket", manager=store.manager, check=False) as hark:
        wait_kept(hark, store, 1)
        old = os.fstat(store.kept[0][1]).st_ino
        hark.kill()
        with connect(path) as client:
            path.unlink()
            with run(units, "foo.socket", **store.passing()) as hark:
                assert receive_all(client) == b"ok\n"
                wait_until(lambda: is_listened_on(path), what="it is bound anew")
                assert ask(path) == b"ok\n"
                assert stat.S_IMODE(path.stat().st_mode) == 0o640
                assert path.owner() == owner
                hark.notifications.wait_for(
                    lambda: store.kept and os.fstat(store.kept[0][1]).st_ino != old,
                    what="the new one is kept")
                assert len(store.kept) == 1


def reload(hark) -> None:
    """SIGHUP, to its end."""
    hark.renew(signal.SIGHUP)


def test_reload(run, directory, store):
    """What is new is kept, what is gone is forgotten, what stays is left alone; the next hark gets
    exactly that."""
    def units(*names: str) -> dict[str, str]:
        return pair(listen="\n".join(f"ListenStream={{directory}}/{name}" for name in names))

    with run(units("a", "b"), "foo.socket", manager=store.manager, check=False) as hark:
        wait_kept(hark, store, 2)
        run(units("b", "c", "d"), "foo.socket")
        reload(hark)
        wait_kept(hark, store, 3)
        assert len(store.stored) == 4 and len(store.removed) == 1
        hark.kill()
    with run(units("b", "c", "d"), "foo.socket", **store.passing()) as hark:
        for name in "bcd":
            assert ask(directory / name) == b"ok\n"
        assert hark.stderr().count("going on with") == 3
        assert len(store.stored) == 4 and len(store.removed) == 1


def test_upgrade(run, directory, store):
    """The next image knows what is kept: nothing is sent twice, and the end empties it."""
    with run(pair(), "foo.socket", manager=store.manager, check=False) as hark:
        wait_kept(hark, store, 1)
        for _ in range(2):
            before = len(hark.notifications.datagrams)
            os.kill(hark.pid, signal.SIGUSR2)
            hark.notifications.wait_for(lambda: "READY=1" in hark.notifications.datagrams[before:])
            assert ask(directory / "s") == b"ok\n"
        hark.kill()
        assert len(store.stored) == 1 and not store.removed
    with run(pair(), "foo.socket", **store.passing()) as hark:
        os.kill(hark.pid, signal.SIGUSR2)
        hark.notifications.wait_for(
            lambda: hark.notifications.datagrams.count("READY=1") == 2)
        hark.terminate()
    assert len(store.stored) == 1 and len(store.removed) == 1 and not store.kept


def test_a_start_that_fails(run, directory, store):
    """What comes back for one unit is closed when another cannot be started, and forgotten."""
    units = pair() | pair(name="bar", listen="ListenStream={directory}/bar")
    with run(units, "foo.socket", "bar.socket", manager=store.manager, check=False) as hark:
        wait_kept(hark, store, 2)
        hark.kill()
    units |= pair(name="bar", listen="ListenStream={directory}/new",
                  more="ExecStartPre=/bin/false")
    with run(units, "foo.socket", "bar.socket", wait=False, **store.passing()) as hark:
        assert hark.wait_exit() == 1
    assert not store.kept and len(store.stored) == 2
    with pytest.raises(ConnectionRefusedError):
        connect(directory / "s")
