# SPDX-License-Identifier: MIT
"""kill -9 and pauses at any moment: no connection is lost, every exit is told exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest

from support import (HELPERS, SANITIZED, ask, assert_each_once, connect, drop_greeted, finish_load,
                     is_alive, kill_quietly, load, receive_all, wait_until)


@pytest.mark.timeout(300)
def test_a_thousand_kills_under_load(activate, directory, helpers):
    """Random SIGKILLs of fork servers while sixteen clients are at it: every connection gets its
    full answer, and every exit is reported once."""
    kills = 150 if SANITIZED else 1000
    path = directory / "s"
    with activate("-l", path, "-a", "--fork-servers=3", helpers / "tiny") as hark:
        chance = random.Random(directory.name)
        client = load(path, total=0, concurrency=16, timeout_ms=20000)
        killed = 0
        end = time.monotonic() + 240
        while killed < kills:
            assert time.monotonic() < end, f"only {killed} servers could be killed"
            hark.notifications.read()
            servers = hark.killable_servers()
            if servers:
                kill_quietly(chance.choice(servers))
                killed += 1
            pause = time.monotonic() + chance.random() * 0.02
            while time.monotonic() < pause:  # who does not read is sent less at last
                hark.notifications.read(pause - time.monotonic())
        client.terminate()
        result = finish_load(client, hark.notifications)
        assert result["errors"] == 0, result
        assert result["good"] > kills
        exits = hark.notifications.wait_exits(result["good"])
        hark.notifications.read(0.5)
        assert_each_once(exits, result["good"])
        assert {(e.code, e.status) for e in exits} == {("exited", "0")}
        assert hark.notifications.lost == 0
        wait_until(lambda: len(hark.servers()) == 3, what="three servers again")
        assert ask(path) == b"ok\n"
        print(f"{killed} kills, {result['good']} connections, {result['seconds']:.1f} s")


def test_servers_come_back(activate, directory, helpers):
    """All fork servers at once, again and again: new ones, and service."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny") as hark:
        expected = len(hark.servers())
        for _ in range(20):
            for pid in hark.killable_servers():
                kill_quietly(pid)
            assert ask(path) == b"ok\n"
        wait_until(lambda: len(hark.servers()) == expected, what="as many as before")


def test_handlers_survive_their_server(activate, directory, helpers):
    """A handler's server is gone: the handler lives on, its exit is reported with its status."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "obey") as hark:
        clients = [connect(path) for _ in range(8)]
        wait_until(lambda: len(hark.handlers()) == 8, what="eight handlers")
        handlers = set(hark.handlers())
        for pid in hark.servers():
            kill_quietly(pid)
        assert ask(path, b"exit 1\n") == b"ok\n"
        assert handlers <= set(hark.handlers())
        for n, client in enumerate(clients):
            client.sendall(f"exit {10 + n}\n".encode())
            assert client.recv(10) == b"ok\n"
            client.close()
        exits = hark.notifications.wait_exits(9)
        assert_each_once(exits, 9)
        assert sorted(int(e.status) for e in exits) == [1, *range(10, 18)]


def test_kill_between_wakeup_and_accept(activate, directory, helpers):
    """One connection, no further traffic, and a server that is killed just then: the sibling serves
    it. The delay between connect and kill wanders over the window."""
    rounds = 300 if SANITIZED else 2000
    path = directory / "s"
    with activate("-l", path, "-a", "--fork-servers=2", helpers / "tiny") as hark:
        chance = random.Random(directory.name)
        for n in range(rounds):
            servers = wait_until(hark.killable_servers, what="a server")
            victim = chance.choice(servers)
            pause = chance.random() * 0.0003
            with connect(path) as client:
                start = time.perf_counter()
                while time.perf_counter() - start < pause:
                    pass
                kill_quietly(victim)
                assert client.recv(10) == b"ok\n", f"round {n}"
            hark.notifications.read()
        exits = hark.notifications.wait_exits(rounds)
        hark.notifications.read(0.3)
        assert_each_once(exits, rounds)


def test_paused_server(activate, directory, helpers):
    """A server is paused by SIGSTOP: the one waiting connection is served by its sibling, without
    further traffic."""
    rounds = 60 if SANITIZED else 200
    path = directory / "s"
    with activate("-l", path, "-a", "--fork-servers=2", helpers / "tiny") as hark:
        chance = random.Random(directory.name)
        for n in range(rounds):
            servers = wait_until(hark.killable_servers, what="a server")
            victim = chance.choice(servers)
            if n % 2:
                kill_quietly(victim, signal.SIGSTOP)
            with connect(path, timeout=5) as client:
                if n % 2 == 0:
                    kill_quietly(victim, signal.SIGSTOP)
                assert client.recv(10) == b"ok\n", f"round {n}"
            kill_quietly(victim, signal.SIGCONT)
            hark.notifications.read()
        assert_each_once(hark.notifications.wait_exits(rounds), rounds)


def test_kill_while_at_the_limit(activate, directory, helpers):
    """All slots are taken, servers are killed, handlers end: the waiting ones are served."""
    path = directory / "s"
    with activate("-l", path, "-a", "--max-connections=2", helpers / "slow") as hark:
        for _ in range(20):
            clients = [connect(path) for _ in range(4)]
            wait_until(lambda: len(hark.handlers()) == 2, what="two handlers")
            for pid in hark.killable_servers():
                kill_quietly(pid)
            pending = list(clients)

            def one_more(pending=pending) -> bool:
                drop_greeted(pending, 0.01)
                return not pending

            wait_until(one_more, what="all four are served in turn")
            hark.notifications.read()
        hark.notifications.wait_exits(80)
        hark.notifications.read(0.2)
        assert_each_once(hark.notifications.exits, 80)


def test_supervisor_killed(activate, directory, helpers):
    """kill -9 of the supervisor: servers go at once, handlers finish, the next start takes over."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "slow") as first:
        client = connect(path)
        assert client.recv(3) == b"up\n"
        servers, handlers = first.servers(), first.handlers()
        assert servers and len(handlers) == 1
        first.kill()
        wait_until(lambda: not any(is_alive(pid) for pid in servers), what="the servers end")
        assert is_alive(handlers[0])
        with activate("-l", path, "-a", helpers / "tiny"):
            assert ask(path) == b"ok\n"
            assert is_alive(handlers[0])
        client.close()
        wait_until(lambda: not is_alive(handlers[0]), what="the old handler finishes")


def test_supervisor_killed_under_load(activate, directory, helpers):
    """The same, many times, under load: the next start always succeeds at once."""
    path = directory / "s"
    for _ in range(15):
        with activate("-l", path, "-a", helpers / "tiny") as hark:
            client = load(path, total=0, concurrency=4, timeout_ms=2000)
            hark.notifications.wait_exits(50)
            servers = hark.servers()
            hark.kill()
            client.terminate()
            finish_load(client)
            wait_until(lambda s=servers: not any(is_alive(p) for p in s), what="servers end")
    with activate("-l", path, "-a", helpers / "tiny"):
        assert ask(path) == b"ok\n"


def test_program_with_the_listener_goes_with_hark(activate, directory, helpers):
    """Without -a: the program holds the listener, so it must not outlive hark."""
    path = directory / "s"
    with activate("-l", path, helpers / "slow", "--accept") as first:
        assert ask(path) == b"up\n"
        program = first.handlers()[0]
        first.kill()
        wait_until(lambda: not is_alive(program), what="the program ends")
    with activate("-l", path, "-a", helpers / "tiny"):
        assert ask(path) == b"ok\n"


def test_paused_handler(activate, directory, helpers):
    """A paused handler does not keep anybody else from being served."""
    path = directory / "s"
    with activate("-l", path, "-a", "--fork-servers=1", helpers / "slow") as hark:
        with connect(path) as one:
            assert one.recv(3) == b"up\n"
            os.kill(hark.handlers()[0], signal.SIGSTOP)
            with connect(path) as two:
                assert two.recv(3) == b"up\n"
            os.kill(hark.handlers()[0], signal.SIGCONT)
            for pid in hark.handlers():
                kill_quietly(pid, signal.SIGCONT)
        hark.notifications.wait_exits(2)


def freeze_next_handler(server: int, calls: int) -> "subprocess.Popen[str]":
    """A tracer that stops the server's next child for good after so many of its system calls."""
    tracer = subprocess.Popen([HELPERS / "freeze-handler", str(server), str(calls)],
                              stdout=subprocess.PIPE, text=True)
    assert tracer.stdout and tracer.stdout.readline() == "ready\n"
    return tracer


@pytest.mark.parametrize("calls", range(6))
def test_half_made_handler_is_killed(activate, directory, helpers, calls):
    """Somebody stops a handler before it is its program, and with it its fork server: after a second
    it is killed and the step is reported; nobody else had to wait, the server goes on."""
    path = directory / "s"
    with activate("-l", path, "-a", "--fork-servers=1", "--max-connections=4",
                  helpers / "tiny") as hark:
        server, = hark.servers()
        with freeze_next_handler(server, calls) as tracer, connect(path) as client:
            tracer.wait(timeout=20)
            assert tracer.returncode == 0
            begin = time.monotonic()
            answer = receive_all(client)
            assert time.monotonic() - begin < 15
            # Before accept(2) the connection was still in the backlog, and the next child has it.
            assert answer in (b"", b"ok\n")
            if answer == b"":
                end, = hark.notifications.wait_exits(1)
                assert (end.code, end.status) == ("killed", "KILL")
                assert "in its set-up" in hark.stderr()
            assert "did not become its program within 1 s" in hark.stderr()
        assert hark.servers() == [server], "the server itself was spared"
        assert ask(path) == b"ok\n"


def test_frozen_handler_does_not_stop_the_siblings(activate, directory, helpers):
    """While one server stands still for its frozen child, the other serves everybody."""
    path = directory / "s"
    with activate("-l", path, "-a", "--fork-servers=2", helpers / "tiny") as hark:
        tracers = []
        server = hark.servers()[0]
        tracers.append(freeze_next_handler(server, 1))
        clients = [connect(path) for _ in range(40)]
        answers = [receive_all(client) for client in clients]
        assert answers.count(b"ok\n") >= 39
        for client in clients:
            client.close()
        for tracer in tracers:
            tracer.kill() if tracer.poll() is None else None
            tracer.wait(timeout=20)
            tracer.stdout.close()
        assert ask(path) == b"ok\n"
