# SPDX-License-Identifier: MIT
"""`hark activate`: options, what a handler is given, messages and exit statuses."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import sys
import time
from pathlib import Path

import pytest

from support import (SYS_RT_SIGACTION, ask, ask_probe, connect, environment_of, free_port, libc,
                     lines_of, receive_all, run_hark, wait_until)

IGNORE = (1).to_bytes(8, sys.byteorder) + bytes(56)  # the kernel's structure with SIG_IGN

LISTEN_VARIABLES = {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}


def descriptors(record):
    """The probe's descriptors by number."""
    return {entry["fd"]: entry for entry in record["fds"]}


# ---- per connection --------------------------------------------------------------------------


def test_accept_hands_over_one_connection(activate, directory, helpers):
    """-a: the connection is descriptor 3, announced as sd_listen_fds(3) expects it."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "probe", "one", "two words") as hark:
        record = ask_probe(path)
        env = environment_of(record)
        assert env["LISTEN_FDS"] == "1"
        assert env["LISTEN_PID"] == str(record["pid"])
        assert env["LISTEN_FDNAMES"] == "connection"
        assert record["argv"] == [str(helpers / "probe"), "one", "two words"]
        assert record["ppid"] == hark.pid
        fds = descriptors(record)
        assert set(fds) == {0, 1, 2, 3}
        assert fds[3]["type"] == "socket" and not fds[3]["listening"] and not fds[3]["cloexec"]
        assert not fds[3]["flags"] & os.O_NONBLOCK
        assert fds[0]["target"] == "/dev/null"
        assert fds[2]["target"] == str(hark.stderr_path)


def test_inetd_makes_the_connection_stdio(activate, directory, helpers):
    """-a --inetd: stdin and stdout are the connection, and no LISTEN_ variable says otherwise."""
    path = directory / "s"
    with activate("-l", path, "-a", "--inetd", helpers / "probe", "--stdout") as hark:
        record = ask_probe(path)
        fds = descriptors(record)
        assert set(fds) == {0, 1, 2}
        assert fds[0]["type"] == fds[1]["type"] == "socket"
        assert fds[0]["target"] == fds[1]["target"]
        assert fds[2]["target"] == str(hark.stderr_path)
        assert not LISTEN_VARIABLES & set(environment_of(record))


def test_environment_is_small(activate, directory, helpers):
    """Only TERM, PATH, USER, HOME of hark's environment reach a handler; nothing of notify."""
    path = directory / "s"
    secret = {"SECRET": "1", "WATCHDOG_USEC": "60000000", "LD_BIND_NOW": "1", "LOGNAME": "x"}
    with activate("-l", path, "-a", helpers / "probe", env=secret):
        env = environment_of(ask_probe(path))
        assert set(env) == {"TERM", "PATH", "USER", "HOME"} | LISTEN_VARIABLES
        assert env["TERM"] == "dumb" and env["HOME"] == "/root"


def test_setenv(activate, directory, helpers):
    """-E NAME=VALUE sets, -E NAME passes hark's own, a later one wins, PATH can be replaced."""
    path = directory / "s"
    options = ["-E", "A=1", "--setenv=B=two words", "-E", "PASSED", "-E", "A=3", "-E", "PATH=/x",
               "-E", "EMPTY=", "-E", "EQUALS=a=b"]
    with activate("-l", path, "-a", *options, helpers / "probe", env={"PASSED": "p"}):
        env = environment_of(ask_probe(path))
        assert env["A"] == "3" and env["B"] == "two words" and env["PASSED"] == "p"
        assert env["PATH"] == "/x" and env["EMPTY"] == "" and env["EQUALS"] == "a=b"


def test_setenv_cannot_fake_the_protocol(activate, directory, helpers):
    """LISTEN_FDS and LISTEN_PID come last: each is there once, and true."""
    path = directory / "s"
    with activate("-l", path, "-a", "-E", "LISTEN_FDS=7", "-E", "LISTEN_PID=1",
                  helpers / "probe"):
        record = ask_probe(path)
        env = environment_of(record)
        assert env["LISTEN_FDS"] == "1" and env["LISTEN_PID"] == str(record["pid"])


def test_handler_state(activate, directory, helpers):
    """Default signals, empty mask, a session of its own, hark's directory, umask, limits, CPUs,
    whatever hark itself was started with."""
    path = directory / "s"

    def spoil() -> None:
        for number in (signal.SIGPIPE, signal.SIGUSR1, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
        # What posix_spawn(3) leaves behind in everything it starts, make(1)'s commands among them.
        for number in (32, 33):
            assert libc.syscall(SYS_RT_SIGACTION, number, IGNORE, None, 8) == 0
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})
        os.umask(0o027)

    with activate("-l", path, "-a", helpers / "probe", preexec=spoil) as hark:
        record = ask_probe(path)
        assert int(record["SigBlk"], 16) == 0
        assert int(record["SigIgn"], 16) == 0
        assert int(record["SigPnd"], 16) == 0
        assert record["sid"] == record["pgrp"] == record["pid"]
        assert record["ppid"] == hark.pid
        assert record["cwd"] == str(directory)
        assert record["Umask"] == "0027"
        assert record["affinity"] == sorted(os.sched_getaffinity(0))
        assert record["uid"] == record["euid"] == os.getuid()
        limits = [list(resource.getrlimit(i)) for i in range(len(record["rlimits"]))]
        infinite = 2**64 - 1
        for got, expected in zip(record["rlimits"], limits):
            assert [v % (infinite + 1) for v in got] == [v % (infinite + 1) for v in expected]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_inherited_descriptors_stay_with_hark(activate, directory, helpers):
    """A descriptor that hark inherited by accident does not reach a handler."""
    path = directory / "s"
    with open("/etc/passwd", "rb") as stray:
        with activate("-l", path, "-a", helpers / "probe", pass_fds=[stray.fileno()]):
            assert set(descriptors(ask_probe(path))) == {0, 1, 2, 3}


def test_every_handler_sees_all_cpus(activate, directory, helpers):
    """Fork servers may be pinned; a handler never is, from its first instruction."""
    path = directory / "s"
    expected = sorted(os.sched_getaffinity(0))
    with activate("-l", path, "-a", helpers / "probe"):
        for _ in range(200):
            assert ask_probe(path)["affinity"] == expected


def test_a_handler_may_stay_with_its_fork_server(activate, directory, helpers):
    """On its CPU and in its session; it still leads a process group, and hark stops that."""
    path = directory / "s"
    cpus = os.sched_getaffinity(0)
    options = "--stay-on-cpu", "--stay-in-session"
    with activate("-l", path, "-a", *options, helpers / "probe") as hark:
        for _ in range(20):
            record = ask_probe(path)
            assert len(record["affinity"]) == 1
            assert set(record["affinity"]) <= cpus
            assert record["pgrp"] == record["pid"]
            assert record["sid"] == os.getsid(hark.pid)
    for option, (n, is_leader) in zip(options, ((1, True), (len(cpus), False))):
        with activate("-l", path, "-a", option, helpers / "probe"):
            record = ask_probe(path)
            assert len(record["affinity"]) == n
            assert (record["sid"] == record["pid"]) == is_leader
    with activate("-l", path, "-a", "--inetd", "--stay-in-session", "/bin/sh", "-c",
                  "trap 'wait; echo ended' TERM; sh -c 'echo started; exec sleep 1000' & wait"
                  ) as hark:
        with connect(path) as client:
            assert client.recv(8) == b"started\n"
            hark.terminate()
            assert receive_all(client) == b"ended\n"


def test_program_is_looked_up_in_path(activate, directory):
    """A name without slash is found in PATH; argv[0] stays as written."""
    path = directory / "s"
    script = 'printf "%s" "$0"'
    with activate("-l", path, "-a", "--inetd", "sh", "-c", script):
        assert ask(path) == b"sh"


def test_many_at_once(activate, directory, helpers):
    """Handlers run side by side."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "slow") as hark:
        clients = [connect(path) for _ in range(20)]
        for client in clients:
            assert client.recv(3) == b"up\n"
        assert len(hark.handlers()) == 20
        for client in clients:
            client.close()
        exits = hark.notifications.wait_exits(20)
        assert {(e.code, e.status) for e in exits} == {("exited", "0")}


def test_max_connections_waits_in_the_backlog(activate, directory, helpers):
    """At the limit a connection waits, is not refused, and is served as soon as another ends."""
    path = directory / "s"
    with activate("-l", path, "-a", "--max-connections=3", helpers / "slow") as hark:
        clients = [connect(path) for _ in range(6)]
        wait_until(lambda: len(hark.handlers()) == 3, what="three handlers")
        served: list[socket.socket] = []
        waiting = list(clients)

        def newly_served():
            for client in list(waiting):
                client.settimeout(0.02)
                try:
                    assert client.recv(3) == b"up\n"
                except TimeoutError:
                    continue
                waiting.remove(client)
                served.append(client)
            return served

        wait_until(lambda: len(newly_served()) >= 3, what="three are served")
        newly_served()
        assert len(served) == 3 and len(hark.handlers()) == 3
        for n in range(1, 4):
            served[n - 1].close()
            wait_until(lambda n=n: len(newly_served()) == 3 + n, what="the next is served")
            assert len(hark.handlers()) <= 3
        for client in clients:
            client.close()
        hark.notifications.wait_exits(6)


# ---- kinds of address ------------------------------------------------------------------------


def test_several_listeners(activate, directory, helpers):
    """-l is repeatable; each is served."""
    paths = [directory / name for name in "abc"]
    options = [word for path in paths for word in ("-l", path)]
    with activate(*options, "-a", helpers / "tiny") as hark:
        for path in paths:
            assert ask(path) == b"ok\n"
        hark.notifications.wait_exits(3)


def test_seqpacket(activate, directory, helpers):
    """--seqpacket -a: message boundaries are there."""
    path = directory / "s"
    with activate("-l", path, "--seqpacket", "-a", helpers / "obey") as hark:
        with connect(path, socket.SOCK_SEQPACKET) as client:
            client.send(b"exit 4\n")
            assert client.recv(100) == b"ok\n"
            assert client.recv(100) == b""
        hark.notifications.wait_exits(1)
        assert hark.notifications.exits[0].status == "4"


def test_abstract(activate, directory, helpers):
    """@name: no node, no lock file."""
    name = f"@hark-test-{os.getpid()}-{directory.name}"
    with activate("-l", name, "-a", helpers / "tiny"):
        assert ask(name) == b"ok\n"
        assert not any(p.name.endswith(".lock") for p in directory.iterdir())


def test_relative_path(activate, directory, helpers):
    """A relative path is relative to where hark was started."""
    with activate("-l", "./rel.sock", "-a", helpers / "tiny",
                  extra_paths=[directory / "rel.sock"]):
        assert ask(directory / "rel.sock") == b"ok\n"


def test_path_longer_than_the_kernel_allows(activate, directory, helpers):
    """A path too long for sun_path works all the same."""
    deep = directory / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)
    path = deep / "s"
    with activate("-l", path, "-a", helpers / "tiny"):
        assert path.is_socket()
        assert ask(path) == b"ok\n"


def test_ipv4(activate, helpers):
    """HOST:PORT, REMOTE_ADDR and REMOTE_PORT as systemd sets them, the peer in the report."""
    port = free_port()
    with activate("-l", f"127.0.0.1:{port}", "-a", helpers / "probe") as hark:
        with connect(port) as client:
            mine = client.getsockname()[1]
            env = environment_of(json.loads(receive_all(client)))
        assert env["REMOTE_ADDR"] == "127.0.0.1" and env["REMOTE_PORT"] == str(mine)
        hark.notifications.wait_exits(1)
        assert hark.notifications.exits[0].peer == f"127.0.0.1:{mine}"


def test_ipv6(activate, helpers):
    """[HOST]:PORT."""
    port = free_port("::1")
    with activate("-l", f"[::1]:{port}", "-a", "--inetd", helpers / "probe", "--stdout") as hark:
        with connect(("::1", port)) as client:
            mine = client.getsockname()[1]
            env = environment_of(json.loads(receive_all(client)))
        assert env["REMOTE_ADDR"] == "::1" and env["REMOTE_PORT"] == str(mine)
        hark.notifications.wait_exits(1)
        assert hark.notifications.exits[0].peer == f"[::1]:{mine}"


def test_port_alone_serves_both_families(activate, helpers):
    """PORT listens on IPv6 and IPv4; an IPv4 peer is named as such."""
    port = free_port()
    with activate("-l", port, "-a", helpers / "probe"):
        assert environment_of(ask_probe(port))["REMOTE_ADDR"] == "127.0.0.1"
        assert environment_of(ask_probe(("::1", port)))["REMOTE_ADDR"] == "::1"


def test_unix_peer_is_reported(activate, directory, helpers):
    """The peer of a Unix socket is a process and a user; no REMOTE_ variables then."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "probe") as hark:
        env = environment_of(ask_probe(path))
        assert not {"REMOTE_ADDR", "REMOTE_PORT"} & set(env)
        hark.notifications.wait_exits(1)
        assert hark.notifications.exits[0].peer == f"unix:pid={os.getpid()},uid={os.getuid()}"


def test_mode(activate, directory, helpers):
    """--mode= is exact, whatever the umask."""
    path = directory / "s"
    with activate("-l", path, "-a", "--mode=0666", helpers / "tiny",
                  preexec=lambda: os.umask(0o077)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666


@pytest.mark.root
def test_owner(activate, directory, helpers):
    """--owner=USER:GROUP, by name and by number; the mode goes with it."""
    for text, expected in (("nobody:daemon", (65534, 1)), ("65534", None), ("1:2", (1, 2))):
        path = directory / "s"
        with activate("-l", path, "-a", f"--owner={text}", "--mode=0620", helpers / "tiny"):
            status = path.stat()
            assert status.st_uid == (expected[0] if expected else 65534)
            if expected:
                assert status.st_gid == expected[1]
            assert stat.S_IMODE(status.st_mode) == 0o620


# ---- one program for all listeners -----------------------------------------------------------


def test_program_gets_the_listeners(activate, directory, helpers):
    """Without -a the program gets all listeners from 3 on, in the order of the command line, with
    their names, and is started again when it has ended and there is traffic again."""
    one, two, log = directory / "a", directory / "b", directory / "log"
    with activate("-l", one, "-l", two, "--fdname=first:second", helpers / "probe",
                  f"--to={log}", "--accept") as hark:
        assert not log.exists(), "the program was started without traffic"
        for _ in range(3):
            record = json.loads(ask(one))
            env = environment_of(record)
            assert env["LISTEN_FDS"] == "2" and env["LISTEN_PID"] == str(record["pid"])
            assert env["LISTEN_FDNAMES"] == "first:second"
            fds = descriptors(record)
            assert set(fds) == {0, 1, 2, 3, 4}
            assert fds[3]["listening"] and fds[4]["listening"]
            assert not fds[3]["cloexec"] and not fds[4]["cloexec"]
            assert not fds[3]["flags"] & os.O_NONBLOCK
            assert record["ppid"] == hark.pid
        hark.notifications.wait_exits(3)
        assert len(list(lines_of(log))) == 3


def test_one_name_for_all(activate, directory, helpers):
    """A single --fdname= goes for every listener."""
    one, two = directory / "a", directory / "b"
    with activate("-l", one, "-l", two, "--fdname=x", helpers / "probe", "--accept"):
        assert environment_of(json.loads(ask(one)))["LISTEN_FDNAMES"] == "x:x"


def test_no_second_program_while_one_runs(activate, directory, helpers):
    """While the program holds the listeners, hark stays away from them."""
    path = directory / "s"
    with activate("-l", path, helpers / "slow", "--accept") as hark:
        for _ in range(50):
            assert ask(path) == b"up\n"
        assert len(hark.handlers()) == 1


def test_once(activate, directory, helpers):
    """--once: hark ends with the program's own status."""
    path = directory / "s"
    with activate("-l", path, "--once", helpers / "probe", "--accept", "--exit=7") as hark:
        ask(path)
        assert hark.wait_exit() == 7


def test_once_with_a_signal(activate, directory):
    """--once, and the program is killed: 128 + signal."""
    path = directory / "s"
    with activate("-l", path, "--once", "/bin/sh", "-c", "kill -USR1 $$") as hark:
        with connect(path):
            assert hark.wait_exit() == 128 + signal.SIGUSR1


def test_datagram_wait_style(activate, directory, helpers):
    """-d --inetd: the socket itself is stdin; when the program ends, hark watches again."""
    path, log = directory / "s", directory / "log"
    with activate("-l", path, "-d", "--inetd", helpers / "probe", f"--to={log}",
                  "--receive=0") as hark:
        for n in range(1, 4):
            with connect(path, socket.SOCK_DGRAM) as client:
                client.send(f"hello {n}".encode())
            hark.notifications.wait_exits(n)
        records = list(lines_of(log))
        assert [r["received"] for r in records] == ["hello 1", "hello 2", "hello 3"]
        for record in records:
            fds = descriptors(record)
            assert set(fds) == {0, 1, 2}
            assert fds[0]["socket_type"] == socket.SOCK_DGRAM
            assert not LISTEN_VARIABLES & set(environment_of(record))


def test_datagram_as_descriptor_3(activate, directory, helpers):
    """-d without --inetd: the socket is 3, with LISTEN_FDS."""
    path, log = directory / "s", directory / "log"
    with activate("-l", path, "-d", helpers / "probe", f"--to={log}", "--receive=3") as hark:
        with connect(path, socket.SOCK_DGRAM) as client:
            client.send(b"x")
        hark.notifications.wait_exits(1)
        record = next(lines_of(log))
        assert record["received"] == "x"
        assert environment_of(record)["LISTEN_FDS"] == "1"


def test_udp(activate, directory, helpers):
    """-d on an IPv4 address is UDP."""
    port, log = free_port(), directory / "log"
    with activate("-l", f"127.0.0.1:{port}", "-d", helpers / "probe", f"--to={log}",
                  "--receive=3") as hark:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"u", ("127.0.0.1", port))
        hark.notifications.wait_exits(1)
        assert next(lines_of(log))["received"] == "u"


# ---- what does not work, and how it says so --------------------------------------------------


def test_program_removed_later(activate, directory, helpers):
    """The program goes away while hark serves: each connection ends, each failure is reported with
    step and reason, the listener lives on, and all is well when the program is back."""
    path, program = directory / "s", directory / "program"
    shutil.copy(helpers / "tiny", program)
    with activate("-l", path, "-a", program) as hark:
        assert ask(path) == b"ok\n"
        hark.notifications.wait_exits(1)  # exits are reported in the order in which they are seen
        program.unlink()
        for _ in range(3):
            assert ask(path) == b""
        exits = hark.notifications.wait_exits(4)
        for failed in exits[1:]:
            assert (failed.code, failed.status) == ("exited", "203")
            assert failed.step and failed.error in ("2", "ENOENT", "No such file or directory")
        shutil.copy(helpers / "tiny", program)
        assert ask(path) == b"ok\n"
        status = hark.notifications.wait_status(r"5 done, 3 failed")
        assert "last failure: program@" in status


def test_program_loses_its_permission(activate, directory, helpers):
    """The same with a program that is no longer executable."""
    path, program = directory / "s", directory / "program"
    shutil.copy(helpers / "tiny", program)
    with activate("-l", path, "-a", program) as hark:
        program.chmod(0o644)
        assert ask(path) == b""
        failed = hark.notifications.wait_exits(1)[0]
        assert failed.status == "203"
        assert failed.error in ("13", "EACCES", "Permission denied")
        program.chmod(0o755)
        assert ask(path) == b"ok\n"


@pytest.mark.parametrize("program", ["/nonexistent/program", "no-such-program", "/etc/passwd",
                                     "/tmp"])
def test_program_missing_at_start(directory, program):
    """Found at the start: 203, and no socket is made."""
    path = directory / "s"
    result = run_hark("activate", "-l", path, "-a", program)
    assert result.returncode == 203
    assert f'"{program}"' in result.stderr
    assert not path.exists() and not Path(f"{path}.lock").exists()


@pytest.mark.parametrize("arguments", [
    ["activate"],
    ["activate", "-a", "/bin/true"],
    ["activate", "-l"],
    ["activate", "-l", "{path}"],
    ["activate", "--no-such-option", "-l", "{path}", "/bin/true"],
    ["activate", "-l", "not an address:x", "/bin/true"],
    ["activate", "-l", "127.0.0.1:99999", "/bin/true"],
    ["activate", "-l", "", "/bin/true"],
    ["activate", "-l", "{path}", "-d", "-a", "/bin/true"],
    ["activate", "-l", "{path}", "-d", "--seqpacket", "/bin/true"],
    ["activate", "-l", "{path}", "--mode=9", "/bin/true"],
    ["activate", "-l", "{path}", "--mode=", "/bin/true"],
    ["activate", "-l", "{path}", "--owner=no-such-user-here", "/bin/true"],
    ["activate", "-l", "{path}", "--max-connections=0", "-a", "/bin/true"],
    ["activate", "-l", "{path}", "--max-connections=x", "-a", "/bin/true"],
    ["activate", "-l", "{path}", "--fork-servers=0", "-a", "/bin/true"],
    ["activate", "-l", "{path}", "--stop-timeout=soon", "/bin/true"],
    ["activate", "-l", "{path}", "--lock-timeout=-1", "/bin/true"],
    ["activate", "-l", "{path}", "--report=some", "/bin/true"],
    ["activate", "-l", "{path}", "-E", "=x", "/bin/true"],
    ["no-such-verb"],
    ["--no-such-option"],
    [],
])
def test_usage(directory, arguments):
    """A mistake in the command line: 64, a message on stderr, nothing on stdout, no socket."""
    path = directory / "s"
    result = run_hark(*[a.format(path=path) for a in arguments], cwd=directory)
    assert result.returncode == 64, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("hark: ") or "hark" in result.stderr
    assert not path.exists() and list(directory.iterdir()) == []


def test_unknown_option_is_named(directory):
    """The message says what was not understood."""
    result = run_hark("activate", "--no-such-option", "-l", directory / "s", "/bin/true")
    assert "no-such-option" in result.stderr


def test_options_end_at_the_program(activate, directory, helpers):
    """What follows the program is the program's own, also when it looks like an option."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "probe", "-l", "/x", "--help", "-a",
                  extra_paths=[]) as hark:
        hark.arguments = ["-l", path]
        assert ask_probe(path)["argv"][1:] == ["-l", "/x", "--help", "-a"]


def test_missing_directories_are_made(activate, directory, helpers):
    """Missing parents are made with mode 0755, as the original does it."""
    path = directory / "new" / "er" / "s"
    with activate("-l", path, "-a", helpers / "tiny"):
        assert ask(path) == b"ok\n"
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


def test_cannot_listen_below_a_file(directory):
    """73, what failed first and the system's reason last; nothing made."""
    (directory / "file").write_text("")
    path = directory / "file" / "s"
    result = run_hark("activate", "-l", path, "-a", "/bin/true")
    assert result.returncode == 73
    assert f'"{path}' in result.stderr
    assert result.stderr.rstrip().splitlines()[0].endswith("Not a directory")


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_something_else_at_the_path(directory, kind):
    """A file, a directory or a symbolic link at the path is never touched."""
    path = directory / "s"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(directory / "elsewhere")
    before = path.lstat()
    result = run_hark("activate", "-l", path, "-a", "/bin/true")
    assert result.returncode == 73
    assert str(path) in result.stderr
    after = path.lstat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_port_in_use(directory):
    """69, and the address is in the message."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run_hark("activate", "-l", address, "-a", "/bin/true")
    assert result.returncode == 69
    assert address in result.stderr


def test_second_hark_at_the_same_path(activate, directory, helpers):
    """69 for the second, which names the holder; the first does not even see a connection."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny") as hark:
        result = run_hark("activate", "-l", path, "-a", "--lock-timeout=0", "/bin/true")
        assert result.returncode == 69
        assert str(path) in result.stderr and str(hark.pid) in result.stderr
        assert ask(path) == b"ok\n"
        exits = hark.notifications.wait_exits(1)
        assert [e.number for e in exits] == [exits[0].number] and len(exits) == 1


def test_nothing_half_made(directory):
    """One listener of two cannot be made: the other is taken down again."""
    good, bad = directory / "good", directory / "file" / "bad"
    (directory / "file").write_text("")
    result = run_hark("activate", "-l", good, "-l", bad, "-a", "/bin/true")
    assert result.returncode == 73
    assert [p.name for p in directory.iterdir()] == ["file"]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["activate", "--help"],
                                       ["activate", "-h"]])
def test_help(arguments):
    """Help is on stdout, fits a terminal, and is a success."""
    result = run_hark(*arguments)
    assert result.returncode == 0 and result.stderr == ""
    assert "activate" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    if "activate" in arguments:
        for option in ("--listen", "--datagram", "--seqpacket", "--accept", "--inetd", "--setenv",
                       "--fdname", "--mode", "--owner", "--lock-timeout", "--max-connections",
                       "--fork-servers", "--once", "--stop-timeout", "--report"):
            assert option in result.stdout


@pytest.mark.parametrize("arguments", [["--version"], ["activate", "--version"]])
def test_version(arguments):
    """hark X.Y.Z"""
    result = run_hark(*arguments)
    assert result.returncode == 0
    assert re.match(r"hark \d+\.\d+\.\d+", result.stdout)


def test_fork_servers_option(activate, directory, helpers):
    """--fork-servers=N: so many, named so; the default is one per CPU."""
    path = directory / "s"
    for options, expected in (([], len(os.sched_getaffinity(0))), (["--fork-servers=3"], 3)):
        with activate("-l", path, "-a", *options, helpers / "tiny") as hark:
            assert len(hark.servers()) == expected
            assert ask(path) == b"ok\n"


def test_fork_servers_hold_only_what_they_need(activate, directory, helpers):
    """No lock file, no notify socket, none of its sibling's sockets in a fork server."""
    path = directory / "s"
    with activate("-l", path, "-a", helpers / "tiny") as hark:
        ask(path)
        for server in hark.servers():
            targets = [os.readlink(entry) for entry in Path(f"/proc/{server}/fd").iterdir()]
            assert not any(".lock" in target for target in targets), targets
            assert len(targets) <= 12, targets
            assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1


def test_idle_means_idle(activate, directory, helpers):
    """Without traffic nothing wakes up: context switches stand still."""
    path = directory / "s"

    def switches(pids: list[int]) -> int:
        total = 0
        for pid in pids:
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    total += int(line.split()[1])
        return total

    with activate("-l", path, "-a", helpers / "tiny") as hark:
        ask(path)
        hark.notifications.wait_exits(1)
        pids = [hark.pid, *hark.servers()]
        state = {"before": switches(pids)}

        def settled() -> bool:
            """A second in which nothing happened."""
            time.sleep(1.0)
            now = switches(pids)
            quiet = now == state["before"]
            state["before"] = now
            return quiet

        wait_until(settled, 10, "hark falls asleep")
