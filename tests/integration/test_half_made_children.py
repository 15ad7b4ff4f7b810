# SPDX-License-Identifier: MIT
"""A child that does not become its program stops nobody: whoever stops it and wherever, whatever it
waits for, whatever it may not have. The others are served meanwhile, and the step is told."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support import (HELPERS, SANITIZED, Hark, ask, ask_probe, children_of, connect, free_port,
                     libc, receive_all, wait_until)
from system_call_filter import SYS_ACCEPT4, SYS_CLOSE_RANGE, forbid, forbid_clone

NOBODY_ELSE = 1_100_000 + os.getpid()  # a user without any other process
CLONE_VM, CLONE_FILES, CLONE_VFORK, CLONE_PARENT = 0x100, 0x400, 0x4000, 0x8000


def two_units(service: str, socket_more: str = "") -> dict[str, str]:
    """bad.socket with that service, and good.socket, which is as simple as can be."""
    return {"bad.socket": f"[Socket]\nListenStream={{directory}}/bad\nAccept=yes\n{socket_more}\n",
            "bad@.service": f"[Service]\nExecStart={{helpers}}/tiny\n{service}\n",
            "good.socket": "[Socket]\nListenStream={directory}/good\nAccept=yes\n",
            "good@.service": "[Service]\nExecStart={helpers}/tiny\n"}


def stuck_steps(hark: Hark) -> list[str]:
    """The last steps of those that were killed for being too slow, as far as hark told them."""
    return re.findall(r"did not become its program within 1 s; its last step was: (.+)",
                      hark.stderr())


def answers(path: Path) -> bool:
    """Whether one connection is served by tiny; it waits as long as need be."""
    try:
        return ask(path) == b"ok\n"
    except TimeoutError:
        return False


@contextmanager
def helper(*command: object) -> Iterator[subprocess.Popen[str]]:
    """A test program that has said that it is ready; ends with the block."""
    child = subprocess.Popen([str(HELPERS / str(command[0])), *map(str, command[1:])], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout and child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.communicate()


# ---- A mount that died -----------------------------------------------------------------------


def enter_mounts(pid: int) -> None:
    """The mount namespace of another process, for a child of ours."""
    fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    if libc.setns(fd, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def dying_mount(run, directory: Path, bad: str) -> Iterator[tuple[Hark, Callable[[str], None]]]:
    """hark in the mount namespace of a file system at {directory}/m, and how to let that die: "i",
    it ignores whoever asks; "s", it swallows requests, and SIGKILL does not end who asks."""
    (directory / "m").mkdir()
    with helper("dead-mount", directory / "m") as file_system:
        def die(how: str) -> None:
            file_system.stdin.write(how)
            file_system.stdin.flush()

        with run(two_units(bad), "--fork-servers=2", "bad.socket", "good.socket",
                 preexec=lambda: enter_mounts(file_system.pid)) as hark:
            assert ask(directory / "bad") == b"ok\n" and ask(directory / "good") == b"ok\n"
            try:
                yield hark, die
            finally:
                file_system.kill()  # whoever is still in there is let go by that
                file_system.wait()


@pytest.mark.root
@pytest.mark.parametrize("how", ["ignores", "swallows"])
@pytest.mark.parametrize("key,step", [
    ("StandardError=append:{directory}/m/file", "standard error"),
    ("WorkingDirectory={directory}/m/d", "working directory")])
def test_a_dead_mount(run, directory, key, step, how):
    """Standard error or the working directory lies on a file system that does not answer any more:
    the step is told, and the other unit is served."""
    with dying_mount(run, directory, key) as (hark, die), ExitStack() as clients:
        die(how[0])
        for _ in range(4):  # more than there are servers
            clients.enter_context(connect(directory / "bad"))
        wait_until(lambda: stuck_steps(hark), what="the step is told")
        for _ in range(3):
            assert answers(directory / "good"), hark.autopsy()
        assert set(stuck_steps(hark)) == {step}


@pytest.mark.root
def test_a_reload_while_a_mount_is_dead(run, directory):
    """Slots are divided anew though a child cannot even be killed; the others are served all the
    while, and what became of that child is told when the mount lets go of it."""
    with dying_mount(run, directory, "WorkingDirectory={directory}/m/d") as (hark, die):
        def stuck_children() -> list[int]:
            return [h["pid"] for h in hark.control("ListHandlers").result()["handlers"]
                    if h["unit"] == "bad"]

        hark.notifications.wait_exits(2)
        die("s")
        with connect(directory / "bad"):
            child = wait_until(stuck_children)[0]
            for limit in (5, 6):
                path = directory / "units/good.socket"
                path.write_text(f"[Socket]\nListenStream={directory}/good\nAccept=yes\n"
                                f"MaxConnections={limit}\n")
                with hark.control("Reload") as reload:
                    while not select.select([reload.socket], [], [], 0.01)[0]:
                        assert answers(directory / "good"), hark.autopsy()
                    reload.result()
                assert answers(directory / "good"), hark.autopsy()
                assert child in stuck_children()
    assert f"(pid {child}) was killed by KILL in its set-up: working directory" in hark.stderr()


@pytest.mark.root
@pytest.mark.parametrize("key", [
    "EnvironmentFile={directory}/m/file",
    "[Unit]\nConditionPathExists={directory}/m/file"])
def test_a_dead_mount_before_there_is_a_child(run, directory, key):
    """What a server itself looks at for each connection keeps nobody else waiting for ever."""
    with dying_mount(run, directory, key) as (hark, die), ExitStack() as clients:
        die("i")
        for _ in range(4):
            clients.enter_context(connect(directory / "bad"))
        for _ in range(3):
            assert answers(directory / "good"), hark.autopsy()


@pytest.mark.root
def test_a_new_server_while_a_mount_is_dead(run, directory):
    """A server that is replaced finds the same dead mount when it prepares."""
    with dying_mount(run, directory, "StandardError=append:{directory}/m/file") as (hark, die):
        die("i")
        for pid in hark.servers():
            os.kill(pid, signal.SIGKILL)
        for _ in range(3):
            assert answers(directory / "good"), hark.autopsy()


# ---- Files that block ------------------------------------------------------------------------


@pytest.mark.parametrize("key,step,text", [
    ("StandardInput=file:{directory}/file", "standard input", "in"),
    ("StandardOutput=append:{directory}/file", "standard output", "out"),
    ("StandardError=truncate:{directory}/file", "standard error", "error")])
def test_a_file_that_became_a_fifo(run, directory, key, step, text):
    """Nobody has the other end open, and open(2) waits for somebody: the child is killed, the other
    unit is served meanwhile, and when it is a file again all is well."""
    file = directory / "file"
    file.write_text(text)
    with run(two_units(key), "--fork-servers=2", "bad.socket", "good.socket") as hark:
        assert ask(directory / "bad") == b"ok\n"
        file.unlink()
        os.mkfifo(file)
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(directory / "bad")) for _ in range(3)]
            for _ in range(3):
                assert answers(directory / "good"), hark.autopsy()
            assert [receive_all(client) for client in clients] == [b""] * 3
        exits = hark.notifications.wait_for(
            lambda: [e for e in hark.notifications.exits if e.status == "KILL"][2:])
        assert {(e.program, e.code) for e in exits} == {("bad", "killed")}
        assert set(stuck_steps(hark)) == {step}
        assert f"was killed by KILL in its set-up: {step}" in hark.stderr()
        file.unlink()
        file.write_text(text)
        assert ask(directory / "bad") == b"ok\n"


def test_a_pause_of_hark_is_not_the_childs(run, directory):
    """A machine or a container that stood still for seconds: a child that is half-made when it goes
    on has its second still, and its connection is served."""
    file = directory / "file"
    file.write_text("in")
    with run(two_units("StandardInput=file:{directory}/file"), "bad.socket",
             "good.socket") as hark:
        assert ask(directory / "bad") == b"ok\n"
        servers = hark.servers()
        file.unlink()
        os.mkfifo(file)
        with connect(directory / "bad") as client:
            wait_until(lambda: [p for p in children_of(hark.pid) if p.pid not in servers])
            os.kill(hark.pid, signal.SIGSTOP)
            time.sleep(1.5)
            os.kill(hark.pid, signal.SIGCONT)
            hark.control("GetStatus").result()  # it runs, and has seen what time it is
            os.close(os.open(file, os.O_WRONLY))
            assert receive_all(client) == b"ok\n"
        assert not stuck_steps(hark)


# ---- Stopped by somebody ---------------------------------------------------------------------


# As many steps as one plan can have.
EVERYTHING = """User={user}
Group={user}
SupplementaryGroups=daemon
Nice=3
OOMScoreAdjust=100
LimitNOFILE=512
UMask=0077
WorkingDirectory=/
NoNewPrivileges=yes
StandardInput=null
StandardOutput=append:{directory}/out
StandardError=append:{directory}/error
Environment=CONNECTION=%i
""".replace("{user}", str(NOBODY_ELSE))
STEPS = {"accept", "connection options", "new session", "umask", "standard input",
         "standard output", "standard error", "oom score", "nice", "cpu affinity", "environment",
         "resource limits", "group", "descriptors", "user", "working directory",
         "no new privileges", "signal mask", "exec"}


class Held:
    """The next child of one fork server, kept at the entry of one of its system calls."""

    def __init__(self, server: int, calls: int, directory: Path) -> None:
        self.server, self.calls = server, calls
        self.output = directory / f"held.{time.monotonic_ns()}"
        with open(self.output, "wb") as stdout:
            self.child = subprocess.Popen([HELPERS / "hold-child", str(server), str(calls)],
                                          stdout=stdout)
        wait_until(self.has_begun, what="it traces")

    def has_begun(self) -> bool:
        """Whether it waits for the server's next child."""
        assert self.child.poll() is None, self.output.read_text()
        return "ready\n" in self.output.read_text()

    def words(self) -> list[str]:
        """What it has said since."""
        return self.output.read_text().split()[1:]

    def end(self) -> None:
        """Lets go of everybody."""
        self.child.kill()
        self.child.wait()


def hold_some(hark: Hark, path: Path, stack: ExitStack, first: int, n: int) -> list[Held]:
    """Children at the calls first, first + 1, …, each of another server, all at the same time."""
    servers = wait_until(lambda: len(hark.servers()) > n and hark.killable_servers()[:n])
    held = [Held(server, first + i, hark.directory) for i, server in enumerate(servers)]
    for i in range(n):
        stack.callback(lambda i=i: held[i].end())

    pending: list[socket.socket] = []

    def connect_more() -> bool:
        for i, one in enumerate(held):
            if one.words()[:1] == ["lost"]:  # a sibling was faster
                one.end()
                held[i] = Held(one.server, one.calls, hark.directory)
        if all(one.words() and one.words()[0] != "lost" for one in held):
            return True
        pending[:] = [client for client in pending if not select.select([client], [], [], 0)[0]]
        while len(pending) < 3 * n:  # at once, or one server that is not traced takes them all
            pending.append(stack.enter_context(connect(path)))
        return False

    wait_until(connect_more, what="each server has created a child")
    return held


def step_of(hark: Hark, one: Held) -> str:
    """The step that hark tells of a child which was held, and killed for it."""
    pid = int(one.words()[1])
    wait_until(lambda: "ended" in one.words(), what="it is killed")
    told = wait_until(lambda: re.search(
        rf"handler with pid {pid}: it did not become its program within 1 s; "
        r"its last step was: (exec)\n"
        rf"|\(pid {pid}\) was killed by KILL in its set-up: (.+)\n", hark.stderr()),
        what=f"the step of {pid} is told")
    return told[1] or told[2]


@pytest.mark.root
def test_stopped_at_each_call(run, directory):
    """One child after another, at each of its system calls from its first to execve(2). The other
    unit is served meanwhile; each is killed, its step is told, and the servers are spared."""
    at_once, first, seen = 5, 0, set()  # no more at once: hark tells five in five seconds
    through = False
    while not through:
        with run(two_units(EVERYTHING, "Priority=1"), f"--fork-servers={at_once + 1}", "bad.socket",
                 "good.socket") as hark:
            servers = set(hark.servers())
            with ExitStack() as stack:
                for one in hold_some(hark, directory / "bad", stack, first, at_once):
                    assert answers(directory / "good"), hark.autopsy()
                    if one.words()[0] == "through":
                        through = True
                    else:
                        seen.add(step_of(hark, one))
                assert set(hark.servers()) == servers
                assert ask(directory / "bad") == b"ok\n"
        first += at_once
        assert first < 200
    assert seen == STEPS
    print(f"fewer than {first} calls")


ATTACKED = f"User={NOBODY_ELSE}\nGroup={NOBODY_ELSE}\n"


@pytest.mark.root
def test_stopped_by_the_handlers_user(run, directory):
    """A process of the handlers' user stops all processes of that user, without a pause, while
    others want to be served: in the windows, too, in which a server stands still for a child."""
    wanted = 3
    with run(two_units(ATTACKED), "--fork-servers=2", "bad.socket", "good.socket") as hark, \
            ExitStack() as stack:
        servers = set(hark.servers())
        assert ask(directory / "bad") == b"ok\n"
        with helper("send-signals", NOBODY_ELSE, int(signal.SIGSTOP), -1):
            rounds = 0
            while len(stuck_steps(hark)) < wanted:
                client = stack.enter_context(connect(directory / "bad"))
                client.shutdown(1)
                assert answers(directory / "good"), hark.autopsy() + hark.stderr()
                hark.notifications.read()
                rounds += 1
                if len(hark.handlers()) > 50:  # stopped as programs, which is their user's business
                    for pid in hark.handlers():
                        end_of_user(pid)
                assert rounds < 20000, hark.stderr()
        for pid in hark.handlers():
            end_of_user(pid)
        assert set(stuck_steps(hark)) <= {"user", "working directory", "signal mask", "exec"}
        assert set(hark.servers()) == servers
        assert ask(directory / "bad") == b"ok\n"
        print(f"{len(stuck_steps(hark))} of {rounds} stopped at {set(stuck_steps(hark))}")


def end_of_user(pid: int) -> None:
    """SIGKILL to a process of the attacker."""
    try:
        if Path(f"/proc/{pid}").stat().st_uid == NOBODY_ELSE:
            os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        pass


@pytest.mark.root
def test_all_signals_by_the_handlers_user(run, directory):
    """The same with every other signal, SIGKILL too: handlers may die of it, hark does not."""
    numbers = ",".join(str(n) for n in range(1, 65) if n != signal.SIGSTOP)
    with run(two_units(ATTACKED), "--fork-servers=2", "bad.socket", "good.socket") as hark:
        servers = set(hark.servers())
        with helper("send-signals", NOBODY_ELSE, numbers, -1):
            for _ in range(100 if SANITIZED else 400):
                assert ask(directory / "bad") in (b"ok\n", b"")
                assert answers(directory / "good"), hark.autopsy()
                hark.notifications.read()
        assert set(hark.servers()) == servers
        assert ask(directory / "bad") == b"ok\n"


# ---- What a child, or its creator, may not do ------------------------------------------------


def cpu_seconds(pid: int) -> float:
    """Processor time that pid has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def assert_still_waits(hark: Hark, client: socket.socket) -> None:
    """A second later as well, and nobody was busy with that."""
    family = [hark.pid, *hark.servers()]
    before = sum(map(cpu_seconds, family))
    client.settimeout(1)
    with pytest.raises(TimeoutError):
        client.recv(10)
    assert sum(map(cpu_seconds, family)) - before < 0.7, "somebody spins"
    assert len(family) == 3 and hark.is_running()
    assert len(hark.stderr().splitlines()) < 20
    assert hark.terminate() == 0


@pytest.mark.root
@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS, errno.ENOMEM, errno.EINVAL])
@pytest.mark.parametrize("flags", [CLONE_PARENT, CLONE_VM | CLONE_VFORK])
def test_a_filter_forbids_the_clone_flags(activate, helpers, flags, error):
    """No child can be created: hark says why, nobody spins, the connection is neither lost nor
    closed, and hark can be stopped as ever."""
    port = free_port()
    with activate("-l", f"127.0.0.1:{port}", "-a", "--fork-servers=2", helpers / "tiny",
                  preexec=lambda: forbid_clone(flags, error)) as hark, connect(port) as client:
        wait_until(lambda: os.strerror(error) in hark.stderr(), what="a word about it")
        assert_still_waits(hark, client)


@pytest.mark.root
def test_a_filter_forbids_the_clone_flags_of_a_service(run):
    """The same of a program that is to accept by itself."""
    port = free_port()
    units = {"foo.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\n",
             "foo.service": "[Service]\nExecStart={helpers}/slow --accept\n"}
    with run(units, "--fork-servers=2", "foo.socket",
             preexec=lambda: forbid_clone(CLONE_PARENT, errno.EPERM)) as hark, \
            connect(port) as client:
        wait_until(lambda: 'cannot start "foo": ' in hark.stderr(), what="a word about it")
        assert_still_waits(hark, client)


@pytest.mark.root
@pytest.mark.parametrize("condition", ["", "ConditionPathExists=!/"])
@pytest.mark.parametrize("error", [errno.EPERM, errno.EACCES, errno.ENOSYS])
def test_a_rule_forbids_to_accept(run, directory, error, condition):
    """A filter, or a security module: the connection is still there then, so whoever takes it for
    one that is gone tries for ever, be it to serve it or to close it."""
    units = {"foo.socket": "[Socket]\nListenStream={directory}/s\nAccept=yes\n",
             "foo@.service": f"[Unit]\n{condition}\n[Service]\nExecStart={{helpers}}/tiny\n"}
    with run(units, "--fork-servers=2", "foo.socket",
             preexec=lambda: forbid([SYS_ACCEPT4], error)) as hark, \
            connect(directory / "s") as client:
        wait_until(lambda: f"cannot accept a connection: {os.strerror(error)}" in hark.stderr(),
                   what="a word about it")
        assert_still_waits(hark, client)
        assert os.strerror(errno.ENOBUFS) not in hark.stderr()


@pytest.mark.root
@pytest.mark.parametrize("needs_child", [False, True])
def test_a_filter_forbids_the_child_that_binds(activate, directory, helpers, needs_child):
    """A node gets its owner by a short-lived process, and without it hark says so and ends; its
    mode alone takes none."""
    path = directory / "s"
    options = ["--owner=nobody"] if needs_child else []
    with activate("-l", path, *options, "-a", helpers / "tiny", wait=False,
                  preexec=lambda: forbid_clone(CLONE_FILES | CLONE_VFORK, errno.EPERM)) as hark:
        if not needs_child:
            hark.wait_ready()
            assert ask(path) == b"ok\n"
        else:
            assert hark.wait_exit() > 0
            assert f'cannot listen on "{path}": ' in hark.stderr()
            assert "Operation not permitted" in hark.stderr()


@pytest.mark.root
@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
def test_a_filter_does_not_know_close_range(activate, directory, helpers, error):
    """As that of a container runtime from before Linux 5.9: what hark was given by accident reaches
    no handler all the same."""
    with open("/etc/passwd", "rb") as stray, \
            activate("-l", directory / "s", "-a", helpers / "probe", pass_fds=[stray.fileno()],
                     preexec=lambda: forbid([SYS_CLOSE_RANGE], error)):
        assert {fd["fd"] for fd in ask_probe(directory / "s")["fds"]} == {0, 1, 2, 3}


@pytest.mark.root
def test_a_server_cannot_be_set_up(activate, directory, helpers):
    """Whatever it is: it is told, and tried again with pauses."""
    with activate("-l", directory / "s", "-a", "--fork-servers=2", helpers / "tiny", wait=False,
                  preexec=lambda: forbid([SYS_CLOSE_RANGE], errno.EINVAL)) as hark:
        wait_until(lambda: f"cannot set up a fork server: {os.strerror(errno.EINVAL)}"
                   in hark.stderr(), what="a word about it")
        assert hark.is_running()
        assert hark.terminate() == 0


LIMITS = {
    "LimitAS=64K": ("killed|exited", r"\w+"),
    "LimitSTACK=1": ("killed|exited", r"\w+"),
    "LimitDATA=0": ("killed|exited", r"\w+"),
    "LimitNOFILE=0": ("exited", "202"),
    "LimitNOFILE=3": ("exited", "202"),
    "LimitNPROC=0": ("exited", "0|203"),
    "LimitFSIZE=0": ("exited", "0"),
    "LimitCPU=0": ("killed|exited", r"\w+"),
    "LimitMEMLOCK=0": ("exited", "0"),
    "LimitSIGPENDING=0": ("exited", "0"),
}


@pytest.mark.root
@pytest.mark.parametrize("limit", LIMITS)
def test_limits_with_which_no_program_runs(run, directory, limit):
    """The child fails, says at what if it can, and its creator keeps its own limits."""
    rounds = 20
    more = ATTACKED if limit.startswith("LimitNPROC=") else ""  # it does not count for root
    with run(two_units(f"{limit}\n{more}"), "--fork-servers=1", "bad.socket",
             "good.socket") as hark:
        server, = hark.servers()
        limits = Path(f"/proc/{server}/limits").read_text()
        for _ in range(rounds):
            ask_or_reset(directory / "bad")
            assert answers(directory / "good"), hark.autopsy()
        hark.notifications.wait_exits(2 * rounds)
        ends = {(e.code, e.status, e.step) for e in hark.notifications.exits if e.program == "bad"}
        code, status = LIMITS[limit]
        assert all(re.fullmatch(code, e[0]) and re.fullmatch(status, e[1]) for e in ends), ends
        assert hark.servers() == [server]
        assert Path(f"/proc/{server}/limits").read_text() == limits
        print(limit, ends)


def ask_or_reset(path: Path) -> bytes:
    """What is answered; a handler that never reads resets the connection."""
    try:
        return ask(path)
    except ConnectionResetError:
        return b""


def test_more_arguments_than_execve_takes(run, directory):
    """One variable of more than 128 KiB; and many that are too many together."""
    (directory / "env").write_text(f"A={'x' * 200_000}\n")
    with run(two_units("EnvironmentFile={directory}/env"), "--fork-servers=1", "bad.socket",
             "good.socket") as hark:
        for _ in range(5):
            assert ask_or_reset(directory / "bad") == b""
            assert answers(directory / "good"), hark.autopsy()
        (directory / "env").write_text("".join(f"A{i}={'x' * 60_000}\n" for i in range(60)))
        for _ in range(5):
            assert ask_or_reset(directory / "bad") == b""
            assert answers(directory / "good"), hark.autopsy()
        exits = hark.notifications.wait_exits(20)
        assert {(e.code, e.status, e.step, e.error) for e in exits if e.program == "bad"} == \
            {("exited", "203", "exec", "E2BIG")}
        (directory / "env").write_text("A=1\n")
        assert ask(directory / "bad") == b"ok\n"
