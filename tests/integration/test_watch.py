# SPDX-License-Identifier: MIT
"""The node disappears, or somebody takes its place, while hark serves."""

from __future__ import annotations

import os
import time

import pytest

from support import Foreign, ask, connect, drop_greeted, wait_until


def serves(path) -> bool:
    """Whether a connection to path is answered by hark."""
    try:
        return ask(path) == b"ok\n"
    except (FileNotFoundError, ConnectionRefusedError):
        return False


def try_connect(path):
    """A connection, or None while nobody listens (a node is bound a moment before it listens)."""
    try:
        return connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def test_removed_node_comes_back(activate, directory, helpers):
    """rm of the node: hark binds anew, without anybody asking, same mode."""
    path = directory / "s"
    with activate("-l", path, "-a", "--mode=0640", helpers / "tiny") as hark:
        assert ask(path) == b"ok\n"
        before = path.stat()
        for _ in range(3):
            path.unlink()
            wait_until(lambda: serves(path), what="the node comes back")
            assert path.stat().st_mode == before.st_mode
        assert hark.is_running()


def test_old_backlog_is_served(activate, directory, helpers):
    """Connections that waited in the old listener's backlog when the node went are served too."""
    path = directory / "s"
    with activate("-l", path, "-a", "--max-connections=1", helpers / "slow") as hark:
        first = connect(path)
        assert first.recv(3) == b"up\n"
        waiting = [connect(path) for _ in range(5)]
        path.unlink()
        fresh = wait_until(lambda: try_connect(path), what="the node comes back")
        first.close()
        pending = [*waiting, fresh]

        def all_served() -> bool:
            drop_greeted(pending, 0.02)
            return not pending

        wait_until(all_served, what="old and new connections are served")
        hark.notifications.wait_exits(7)


def test_removed_directory_entry_by_rename(activate, directory, helpers):
    """mv of the node is a removal as well."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny", extra_paths=[]) as hark:
        path.rename(directory / "moved")
        wait_until(lambda: path.exists() and serves(path), what="the node comes back")
        (directory / "moved").unlink(missing_ok=True)
        assert hark.is_running()


def test_running_program_keeps_the_old_listener(activate, directory, helpers):
    """Without -a, while the program runs: hark makes the new node, or says in STATUS what is."""
    path = directory / "s"
    with activate("-l", path, helpers / "slow", "--accept") as hark:
        assert ask(path) == b"up\n"
        path.unlink()

        def known() -> bool:
            hark.notifications.read()
            return path.exists() or any("old" in s or "removed" in s
                                        for s in hark.notifications.statuses)

        wait_until(known, what="hark notices")
        assert hark.is_running()


@pytest.mark.parametrize("kind", ["stream", "seqpacket", "dgram"])
def test_replaced_by_a_living_server(activate, directory, helpers, kind):
    """Another server took the path: hark leaves it alone, lets its handlers finish, says who it is,
    and ends with a failure."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "slow", check=False) as hark:
        client = connect(path)
        assert client.recv(3) == b"up\n"
        with Foreign(kind, path, "--steal") as thief:
            hark.notifications.wait_for(lambda: hark.notifications.has("STOPPING=1"),
                                        what="hark notices")
            assert hark.is_running(), "the handler was not waited for"
            inode = path.stat().st_ino
            client.close()
            assert hark.wait_exit() in (1, 69)
            assert str(thief.child.pid) in hark.stderr()
            assert str(path) in hark.stderr()
            assert path.stat().st_ino == inode
            if kind == "stream":
                assert ask(path) == b"foreign\n"
        hark.notifications.read()
        assert [e.status for e in hark.notifications.exits] == ["0"]


def test_replaced_by_a_dead_socket(activate, directory, helpers):
    """A dead node at our path is no server: hark takes the path back."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny") as hark:
        with Foreign("stream", path, "--steal"):
            pass  # gone at once, within the settle time
        wait_until(lambda: serves(path), what="hark serves at its path again")
        assert hark.is_running()


def test_directory_is_renamed(activate, directory, helpers):
    """The parent is renamed and a new one made in its place: noticed by the slow look."""
    parent = directory / "d"
    parent.mkdir()
    path = parent / "s"
    with activate("-l", path, "-a", helpers / "tiny", check=False) as hark:
        os.rename(parent, directory / "old")
        parent.mkdir()
        end = time.monotonic() + 60
        while not serves(path):
            assert time.monotonic() < end, f"not noticed\n{hark.stderr()}"
            time.sleep(0.1)
