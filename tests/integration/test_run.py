# SPDX-License-Identifier: MIT
"""`hark run`: units without systemd. What a handler sees is compared with systemd's own in
test_differential.py; here is what hark does around it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import stat
import struct
import time
from pathlib import Path

import pytest

from support import (ask, ask_probe, connect, environment_of, finish_load, free_port, lines_of,
                     load, receive_all, run_hark, wait_until)

ACCEPT = """[Socket]
ListenStream={directory}/s
Accept=yes
{more}
"""
PROBE = """[Service]
ExecStart={helpers}/probe
{more}
"""


def accept_pair(socket_more: str = "", service_more: str = "",
                start: str = "{helpers}/probe") -> dict[str, str]:
    """foo.socket with Accept=yes and its template."""
    return {"foo.socket": ACCEPT.replace("{more}", socket_more),
            "foo@.service": f"[Service]\nExecStart={start}\n{service_more}\n"}


def service_pair(socket_text: str, service_text: str) -> dict[str, str]:
    """foo.socket and foo.service."""
    return {"foo.socket": f"[Socket]\n{socket_text}\n", "foo.service": f"[Service]\n{service_text}\n"}


def records(path: Path) -> list[dict]:
    """What the probe has written there so far."""
    return list(lines_of(path)) if path.exists() else []


def first_record(path: Path) -> dict:
    """Waits for it."""
    return wait_until(lambda: records(path))[0]


def is_served(path: Path) -> bool:
    """There is a short time between bind(2) and listen(2)."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def closed_at_once(client: socket.socket) -> bool:
    """The other side closed the connection without a word."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


# ---- Accept=yes ------------------------------------------------------------------------------


def test_a_connection_is_an_instance(run, directory):
    """Environment, name and reports of a handler."""
    with run(accept_pair(start="{helpers}/probe %i %I %n %N"), "foo.socket") as hark:
        record = ask_probe(directory / "s")
        assert record["argv"][1] == f"0-{os.getpid()}-{os.getuid()}"
        assert record["argv"][2] == record["argv"][1].replace("-", "/")
        assert record["argv"][3] == f"foo@{record['argv'][1]}.service"
        assert record["argv"][4] == f"foo@{record['argv'][1]}"
        env = environment_of(record)
        assert env["LISTEN_FDS"] == "1" and env["LISTEN_FDNAMES"] == "connection"
        assert "HARK" not in " ".join(env)
        one = hark.notifications.wait_exits(1)[0]
        assert (one.program, one.number, one.pid) == ("foo", 0, record["pid"])


def test_a_tcp_instance_names_both_ends(run, directory):
    """%i of TCP, and REMOTE_ADDR in the arguments."""
    port = free_port()
    units = accept_pair(start="{helpers}/probe %i ${REMOTE_ADDR}:${REMOTE_PORT} $NOTHING end")
    units["foo.socket"] = units["foo.socket"].replace("{directory}/s", f"127.0.0.1:{port}")
    with run(units, "foo.socket"), connect(port) as client:
        local = client.getsockname()[1]
        record = json.loads(receive_all(client))
        assert record["argv"][1:] == [f"0-127.0.0.1:{port}-127.0.0.1:{local}",
                                      f"127.0.0.1:{local}", "end"]


def test_overflow_is_closed_as_systemd_does(run, directory):
    """Beyond MaxConnections= a connection is accepted and closed; room is made by an exit."""
    pair = accept_pair("MaxConnections=2", start="/bin/cat", service_more="StandardInput=socket")
    with run(pair, "foo.socket") as hark:
        first, second = connect(directory / "s"), connect(directory / "s")
        for client in (first, second):
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        for _ in range(5):
            with connect(directory / "s") as third:
                assert closed_at_once(third)
        first.close()
        hark.notifications.wait_exits(1)
        with connect(directory / "s") as fourth:
            fourth.sendall(b"y")
            assert fourth.recv(1) == b"y"
        second.close()
        wait_until(lambda: "were refused" in hark.stderr(), what="a word about the refused")


def test_a_client_that_saw_the_end_of_one_handler_has_room(run, directory):
    """One connection after another with MaxConnections=1: the slot is free for the next. Not quite
    always on a busy machine, where the supervisor may be late."""
    pair = accept_pair("MaxConnections=1", start="{helpers}/tiny")
    with run(pair, "foo.socket") as hark:
        answers = [ask(directory / "s") for _ in range(200)]
        assert set(answers) == {b"ok\n"}, (answers.count(b""), hark.stderr())


def test_nobody_is_refused_because_hark_is_late(run, directory):
    """The slot of a handler that has ended is free as soon as hark has seen the end: who comes
    before waits for that, however long it takes. Nor does the fork server that did not get the
    slot refuse the connection before the child of the other one accepts it."""
    pair = accept_pair("MaxConnections=1", start="{helpers}/tiny")
    for _ in range(10):
        with run(pair, "--fork-servers=8", "foo.socket") as hark:
            os.kill(hark.pid, signal.SIGSTOP)
            assert ask(directory / "s") == b"ok\n"
            with connect(directory / "s") as client:
                client.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    client.recv(1)
                os.kill(hark.pid, signal.SIGCONT)
                client.settimeout(10)
                assert receive_all(client) == b"ok\n"
            assert "refused" not in hark.stderr()


def test_no_connection_below_the_limit_is_refused(run, directory):
    """Servers that want a slot for the same connection do not count it twice."""
    pair = accept_pair("MaxConnections=2", start="/bin/cat", service_more="StandardInput=socket")
    with run(pair, "foo.socket") as hark:
        for n in range(30):
            clients = [connect(directory / "s") for _ in range(2)]
            for client in clients:
                client.sendall(b"x")
                assert client.recv(1) == b"x", n
            for client in clients:
                client.close()
            hark.notifications.wait_exits(2 * (n + 1))
        assert "refused" not in hark.stderr()


def test_fork_servers_of_a_unit(run, directory):
    """ForkServers= of [X-Hark], unless the command line says so."""
    pair = accept_pair("[X-Hark]\nForkServers=3", start="{helpers}/tiny")
    with run(pair, "foo.socket") as hark:
        assert len(hark.servers()) == 3
        assert ask(directory / "s") == b"ok\n"
    with run(pair, "--fork-servers=1", "foo.socket") as hark:
        assert len(hark.servers()) == 1
        assert ask(directory / "s") == b"ok\n"


def test_a_handler_may_stay_with_its_fork_server(run, directory):
    """StayOnCPU= and StayInSession= of [X-Hark], in the service."""
    more = "[X-Hark]\nStayOnCPU=yes\nStayInSession=yes"
    pair = accept_pair(service_more=more)
    with run(pair, "foo.socket") as hark:
        record = ask_probe(directory / "s")
        assert len(record["affinity"]) == 1
        assert record["pgrp"] == record["pid"] != record["sid"] == os.getsid(hark.pid)


def test_overflow_may_wait(run, directory):
    """Overflow=wait of [X-Hark]: it stays in the backlog."""
    pair = accept_pair("MaxConnections=1\n[X-Hark]\nOverflow=wait", start="/bin/cat",
                       service_more="StandardInput=socket")
    with run(pair, "foo.socket"):
        first, second = connect(directory / "s"), connect(directory / "s")
        second.sendall(b"2")
        first.sendall(b"1")
        assert first.recv(1) == b"1"
        second.settimeout(0.2)
        with pytest.raises(TimeoutError):
            second.recv(1)
        first.close()
        second.settimeout(10)
        assert second.recv(1) == b"2"
        second.close()


def test_overflow_of_a_blocking_listener_that_was_passed(run, directory):
    """A shared listener that blocks: surplus connections are closed, and the servers still answer."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "s"))
    listener.listen(16)
    pair = accept_pair("MaxConnections=1\nFileDescriptorName=web", start="/bin/cat",
                       service_more="StandardInput=socket")
    with run(pair, "foo.socket", pass_fds=[listener.fileno()], passed=["--names=web"]) as hark:
        first = connect(directory / "s")
        first.sendall(b"1")
        assert first.recv(1) == b"1"
        for _ in range(20):
            with connect(directory / "s") as second:
                assert closed_at_once(second)
        first.close()
        hark.notifications.wait_exits(1)
        with connect(directory / "s") as third:
            third.sendall(b"3")
            assert third.recv(1) == b"3"
    listener.close()


def test_limit_per_user_on_a_unix_socket(run, directory):
    """MaxConnectionsPerSource= counts uids."""
    pair = accept_pair("MaxConnectionsPerSource=2\nSocketMode=0666", start="/bin/cat",
                       service_more="StandardInput=socket")
    with run(pair, "foo.socket") as hark:
        held = [connect(directory / "s") for _ in range(2)]
        for client in held:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        with connect(directory / "s") as third:
            assert closed_at_once(third)
        held.pop().close()
        hark.notifications.wait_exits(1)
        with connect(directory / "s") as fourth:
            fourth.sendall(b"y")
            assert fourth.recv(1) == b"y"
        held.pop().close()


def test_trigger_limit_pauses_and_goes_on(run, directory):
    """A limit that the unit sets holds connections back until its interval is over; nobody is
    refused, and the socket is never dead."""
    pair = accept_pair("TriggerLimitIntervalSec=1s\nTriggerLimitBurst=5", start="{helpers}/tiny")
    with run(pair, "foo.socket") as hark:
        began = time.monotonic()
        for _ in range(12):
            assert ask(directory / "s") == b"ok\n"
        assert time.monotonic() - began >= 1.5, "two intervals had to pass"
        assert "trigger or poll limit" in hark.stderr()


def test_poll_limit_is_of_one_listener(run, directory):
    """The other listener of the same unit is served meanwhile."""
    pair = accept_pair("ListenStream={directory}/t\nPollLimitIntervalSec=30s\nPollLimitBurst=3",
                       start="{helpers}/tiny")
    with run(pair, "foo.socket") as hark:
        for _ in range(3):
            assert ask(directory / "s") == b"ok\n"
        with connect(directory / "s") as waiting:
            waiting.settimeout(0.3)
            with pytest.raises(TimeoutError):
                waiting.recv(1)
            assert ask(directory / "t") == b"ok\n"
        assert "trigger or poll limit" in hark.stderr()


def test_no_limit_of_triggers_unless_the_unit_sets_one(run, directory):
    """systemd's default of 200 in 2 s would be a brake."""
    with run(accept_pair("MaxConnections=1000", start="{helpers}/tiny"), "foo.socket"):
        finish_load(load(directory / "s", 1000, 16))


# ---- Accept=no -------------------------------------------------------------------------------


def test_a_service_gets_all_descriptors_of_all_its_sockets(run, directory):
    """Two socket units, three listeners, one service: in their order, with their names."""
    units = {
        "one.socket": "[Socket]\nListenStream={directory}/a\nListenDatagram={directory}/b\n"
                      "FileDescriptorName=first\nService=both.service\n",
        "two.socket": "[Socket]\nListenFIFO={directory}/c\nService=both.service\n",
        "both.service": "[Service]\nExecStart={helpers}/probe --to={directory}/record\n",
    }
    with run(units, "one.socket", "two.socket"):
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", str(directory / "b"))
        record = first_record(directory / "record")
        env = environment_of(record)
        assert env["LISTEN_FDS"] == "3"
        assert env["LISTEN_FDNAMES"] == "first:first:two.socket"
        kinds = {entry["fd"]: entry["type"] for entry in record["fds"] if entry["fd"] >= 3}
        assert kinds == {3: "socket", 4: "socket", 5: "fifo"}


def test_sockets_of_a_service_are_brought_in(run, directory):
    """Sockets= of the service: the other socket listens, too, and is handed over."""
    units = {
        "one.socket": "[Socket]\nListenStream={directory}/a\n",
        "one.service": "[Service]\nExecStart={helpers}/probe --accept --to={directory}/one\n"
                       "Sockets=two.socket\n",
        "two.socket": "[Socket]\nListenStream={directory}/b\n",
        "two.service": "[Service]\nExecStart={helpers}/probe --accept --to={directory}/two\n",
    }
    with run(units, "one.socket"):
        record = json.loads(ask(directory / "a"))
        assert environment_of(record)["LISTEN_FDNAMES"] == "one.socket:two.socket"
        record = json.loads(ask(directory / "b"))
        assert environment_of(record)["LISTEN_FDNAMES"] == "two.socket"


def test_commands_of_a_oneshot_run_one_after_another(run, directory):
    """Each gets the sockets; the first that fails ends it, "-" goes on; then traffic starts it
    again."""
    service = ("Type=oneshot\n"
               "ExecStart={helpers}/probe --to={directory}/record 1\n"
               "ExecStart=-/bin/false\n"
               "ExecStart={helpers}/probe --accept --to={directory}/record 2\n"
               "ExecStart=/bin/false\n"
               "ExecStart={helpers}/probe --to={directory}/record never\n")
    with run(service_pair("ListenStream={directory}/s", service), "foo.socket") as hark:
        for round_ in range(2):
            ask(directory / "s")
            seen = wait_until(lambda: (r := records(directory / "record"))
                              and len(r) == 2 * (round_ + 1) and r)
            assert [r["argv"][-1] for r in seen[-2:]] == ["1", "2"]
            hark.notifications.wait_exits(4 * (round_ + 1))
        assert "never" not in (directory / "record").read_text()


def test_flush_pending_throws_away_what_the_service_left(run, directory):
    """Without it the traffic would start the service again and again."""
    service = "ExecStart=/bin/sh -c 'echo x >>{directory}/starts'\n"
    pair = service_pair("ListenDatagram={directory}/s\nFlushPending=yes", service)
    with run(pair, "foo.socket") as hark:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for n in (1, 2):
            client.sendto(b"1", str(directory / "s"))
            hark.notifications.wait_exits(n)
        time.sleep(0.2)
        assert (directory / "starts").read_text() == "x\nx\n"


def test_trigger_limit_of_a_service(run, directory):
    """A service that leaves its traffic is paused, and tried again."""
    service = "ExecStart=/bin/sh -c 'echo x >>{directory}/starts'\n"
    pair = service_pair("ListenStream={directory}/s\nTriggerLimitIntervalSec=1s\n"
                        "TriggerLimitBurst=3\nPollLimitBurst=0", service)
    with run(pair, "foo.socket") as hark, connect(directory / "s"):
        wait_until(lambda: "pausing for" in hark.stderr())
        assert (directory / "starts").read_text() == "x\n" * 3
        wait_until(lambda: (directory / "starts").read_text() == "x\n" * 6, what="it goes on")


@pytest.mark.parametrize("kind", ["fifo", "special", "netlink", "queue"])
def test_other_kinds_start_a_service(run, directory, kind):
    """Whatever is readable does."""
    listen = {"fifo": "ListenFIFO={directory}/fifo", "special": "ListenSpecial=/proc/self/mounts",
              "netlink": "ListenNetlink=route 1",
              "queue": f"ListenMessageQueue=/hark-{os.getpid()}\nRemoveOnStop=yes"}[kind]
    pair = service_pair(listen, "ExecStart=/bin/sh -c 'echo started >>{directory}/starts; exec sleep "
                        "60'\n")
    with run(pair, "foo.socket") as hark:
        if kind == "fifo":
            fd = os.open(directory / "fifo", os.O_WRONLY)
            os.write(fd, b"x")
            os.close(fd)
        elif kind == "netlink":
            os.close(os.open("/dev/null", os.O_RDONLY))
            assert hark.is_running()
            return
        elif kind == "queue":
            send_to_queue(f"/hark-{os.getpid()}")
        wait_until(lambda: (directory / "starts").exists(), what="it starts")


def send_to_queue(name: str) -> None:
    """mq_send(3), which Python does not have."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    queue = libc.mq_open(name.encode(), os.O_WRONLY)
    assert queue >= 0, os.strerror(ctypes.get_errno())
    assert libc.mq_send(queue, b"x", ctypes.c_size_t(1), 0) == 0
    os.close(queue)


# ---- The environment file --------------------------------------------------------------------


def test_environment_file_is_read_at_each_start(run, directory):
    """Changed between two connections; gone: they are closed, as with systemd, until it is back."""
    file = directory / "env"

    def change(text: str) -> None:
        (directory / "new").write_text(text)
        (directory / "new").rename(file)
    change("WORD=one\n")
    with run(accept_pair(service_more="EnvironmentFile={directory}/env"), "foo.socket") as hark:
        assert environment_of(ask_probe(directory / "s"))["WORD"] == "one"
        change("WORD=another\n")
        assert environment_of(ask_probe(directory / "s"))["WORD"] == "another"
        file.unlink()
        for _ in range(20):
            with connect(directory / "s") as client:
                assert closed_at_once(client)
        assert f'cannot start "foo": cannot read "{file}"' in hark.stderr()
        assert len(hark.stderr().splitlines()) < 10
        change("WORD=third\n")
        assert environment_of(ask_probe(directory / "s"))["WORD"] == "third"


def test_environment_file_of_a_service_that_is_missing(run, directory):
    """Its traffic waits, with a line that says for what, until it is there."""
    pair = service_pair("ListenStream={directory}/s", "EnvironmentFile={directory}/env\n"
                        "ExecStart={helpers}/probe --accept --to={directory}/record")
    with run(pair, "foo.socket") as hark, connect(directory / "s") as client:
        wait_until(lambda: f'cannot read "{directory}/env"' in hark.stderr())
        assert "foo.service:2: warning:" in hark.stderr()
        (directory / "env").write_text("WORD=now\n")
        assert environment_of(json.loads(receive_all(client)))["WORD"] == "now"
        assert len(hark.stderr().splitlines()) < 10


# ---- Commands of a socket --------------------------------------------------------------------


def commands(extra: str = "") -> str:
    """A socket whose commands write down what they are, and whether the node is there."""
    line = "/bin/sh -c 'echo {0} $(ls {{directory}} | grep -x s) >>{{directory}}/log'"
    return "ListenStream={directory}/s\nRemoveOnStop=yes\n" + "".join(
        f"Exec{key}={line.format(key).replace('{{', '{').replace('}}', '}')}\n"
        for key in ("StartPre", "StartPost", "StopPre", "StopPost")) + extra


def test_commands_run_around_the_listening(run, directory):
    """In the order of systemd.socket(5), with the node there or not."""
    with run(service_pair(commands(), "ExecStart=/bin/true"), "foo.socket") as hark:
        assert (directory / "log").read_text() == "StartPre\nStartPost s\n"
        assert hark.terminate() == 0
    assert (directory / "log").read_text() == "StartPre\nStartPost s\nStopPre s\nStopPost\n"


@pytest.mark.parametrize("key, expected", [
    ("StartPre", "StartPre\n"),
    ("StartPost", "StartPre\nStartPost s\nStopPre s\nStopPost\n"),
])
def test_a_failing_command_ends_the_start(run, directory, key, expected):
    """As systemd: after ExecStartPre= nothing more, after ExecStartPost= the commands of the stop."""
    pair = service_pair(commands(f"Exec{key}=/bin/false\n"), "ExecStart=/bin/true")
    with run(pair, "foo.socket", wait=False) as hark:
        assert hark.wait_exit() == 1
        assert f'Exec{key} of "foo.socket"' in hark.stderr()
    assert (directory / "log").read_text() == expected
    assert not (directory / "s").exists()


def test_a_failure_that_does_not_matter(run, directory):
    """The "-" in front."""
    pair = service_pair(commands("ExecStartPre=-/bin/false\n"), "ExecStart=/bin/true")
    with run(pair, "foo.socket"):
        assert (directory / "s").exists()


def test_a_command_that_hangs_is_stopped(run, directory):
    """TimeoutSec=."""
    pair = service_pair(commands("ExecStartPre=/bin/sleep 60\nTimeoutSec=300ms\n"),
                        "ExecStart=/bin/true")
    with run(pair, "foo.socket", wait=False) as hark:
        assert hark.wait_exit() == 1
        assert "did not end in time" in hark.stderr()


def test_a_stop_during_the_commands(run, directory):
    """SIGTERM while ExecStartPre= runs: an orderly end, and the command is told."""
    pair = service_pair("ListenStream={directory}/s\nExecStartPre=/bin/sh -c 'echo >{directory}/on; "
                        "exec sleep 60'\n", "ExecStart=/bin/true")
    with run(pair, "foo.socket", wait=False) as hark:
        wait_until(lambda: (directory / "on").exists())
        assert hark.terminate() == 0


# ---- Names in the file system ----------------------------------------------------------------


def test_names_modes_and_links(run, directory):
    """SocketMode, DirectoryMode, Symlinks, and what remains without RemoveOnStop=."""
    pair = service_pair("ListenStream={directory}/d/e/s\nSocketMode=0620\nDirectoryMode=0711\n"
                        "Symlinks={directory}/link\n", "ExecStart=/bin/true")
    with run(pair, "foo.socket") as hark:
        assert stat.S_IMODE((directory / "d/e/s").stat().st_mode) == 0o620
        assert stat.S_IMODE((directory / "d").stat().st_mode) == 0o711
        assert os.readlink(directory / "link") == str(directory / "d/e/s")
        hark.terminate()
    assert (directory / "d/e/s").is_socket(), "as systemd: it stays"
    assert not (directory / "d/e/s.lock").exists()
    with run(pair, "foo.socket"):
        connect(directory / "d/e/s").close()


def test_a_living_server_is_not_disturbed(run, directory):
    """Its node and its connections stay, hark says who it is and runs nothing."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(directory / "s"))
    server.listen(1)
    inode = (directory / "s").stat().st_ino
    pair = service_pair(commands(), "ExecStart=/bin/true")
    with run(pair, "foo.socket", wait=False) as hark:
        assert hark.wait_exit() == 69
        assert re.search(r"foo.socket:2: .*in use by .*pid", hark.stderr()), hark.stderr()
    assert (directory / "s").stat().st_ino == inode
    server.close()


def test_a_removed_socket_is_bound_anew_with_its_options(run, directory):
    """Mode and owner, too."""
    pair = accept_pair("SocketMode=0640", start="{helpers}/tiny")
    with run(pair, "foo.socket"):
        (directory / "s").unlink()
        wait_until(lambda: is_served(directory / "s"), what="it is there again")
        assert stat.S_IMODE((directory / "s").stat().st_mode) == 0o640
        assert ask(directory / "s") == b"ok\n"


# ---- Passed sockets --------------------------------------------------------------------------


def two_listeners(directory: Path) -> list[socket.socket]:
    """At a and b."""
    result = []
    for name in ("a", "b"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(directory / name))
        listener.listen(8)
        result.append(listener)
    return result


PASSED = {
    "one.socket": "[Socket]\nListenStream={directory}/a\nFileDescriptorName=same\nAccept=yes\n",
    "one@.service": "[Service]\nExecStart=/bin/echo one\nStandardInput=socket\n",
    "two.socket": "[Socket]\nListenStream={directory}/b\nFileDescriptorName=same\nAccept=yes\n"
                  "ExecStartPre=/bin/touch {directory}/ran\n",
    "two@.service": "[Service]\nExecStart=/bin/echo two\nStandardInput=socket\n",
}


@pytest.mark.parametrize("names", [["--names=same:same"], ["--names=two.socket:one.socket"], []])
def test_passed_sockets_go_to_their_units(run, directory, names):
    """By name, then by address; whoever passed them has run the commands."""
    listeners = two_listeners(directory)
    fds = [listeners[1].fileno(), listeners[0].fileno()]
    with run(PASSED, "one.socket", "two.socket", pass_fds=fds, passed=names):
        assert ask(directory / "a") == b"one\n"
        assert ask(directory / "b") == b"two\n"
    assert not (directory / "ran").exists()
    assert (directory / "a").is_socket(), "it is the passer's"
    for listener in listeners:
        listener.close()


def test_a_name_alone_will_do(run, directory):
    """Whoever passes a socket may see it at another path; FileDescriptorName= says whose it is."""
    listeners = two_listeners(directory)
    units = {name: text.replace("{directory}/a", "/elsewhere/a").replace("=same", f"={name[:3]}")
             for name, text in PASSED.items()}
    fds = [listener.fileno() for listener in listeners]
    with run(units, "one.socket", "two.socket", pass_fds=fds, passed=["--names=one:two"]):
        assert ask(directory / "a") == b"one\n"
        assert ask(directory / "b") == b"two\n"
    for listener in listeners:
        listener.close()


def test_a_passed_socket_that_nobody_wants(run, directory):
    """Is named, and nothing is served."""
    listeners = two_listeners(directory)
    fds = [listener.fileno() for listener in listeners]
    with run(PASSED, "one.socket", wait=False, pass_fds=fds, passed=["--names=same:other"]) as hark:
        assert hark.wait_exit() == 78
        assert re.search(rf'descriptor 4 \("other", a socket at "{directory}/b"\)', hark.stderr())
    for listener in listeners:
        listener.close()


def test_what_is_not_passed_is_made(run, directory):
    """One of two."""
    listeners = two_listeners(directory)
    listeners[1].close()
    (directory / "b").unlink()
    with run(PASSED, "one.socket", "two.socket", pass_fds=[listeners[0].fileno()],
             passed=["--names=same"]):
        assert ask(directory / "a") == b"one\n"
        assert ask(directory / "b") == b"two\n"
    assert (directory / "ran").exists()
    listeners[0].close()


# ---- What is not served ----------------------------------------------------------------------


def test_nothing_is_touched_by_bad_units(run, directory):
    """All faults of all units at once, with file and line, and what to do; no node, no command."""
    units = {"foo.socket": "[Socket]\nListenStream={directory}/s\nExecStartPre=/bin/touch "
                           "{directory}/ran\nBacklog=many\nNoSuchKey=1\n",
             "foo.service": "[Service]\nExecStart=/no/such/program\nUser=no-such-user\n"
                            "ProtectSystem=strict\nRestart=always\n"}
    with run(units, "foo.socket", wait=False) as hark:
        assert hark.wait_exit() == 78
        text = hark.stderr()
    for place in ("foo.socket:4", "foo.socket:5", "foo.service:2", "foo.service:3",
                  "foo.service:4", "foo.service:5"):
        assert f"{place}: error: " in text, f"{place} is not in:\n{text}"
    assert sorted(p.name for p in directory.iterdir() if p.name in ("s", "s.lock", "ran")) == []


def test_run_without_is_said_each_time(run, directory):
    """--ignore."""
    units = accept_pair(service_more="ProtectSystem=strict\nPrivateTmp=yes", start="{helpers}/tiny")
    with run(units, "--ignore=sandbox", "foo.socket") as hark:
        assert ask(directory / "s") == b"ok\n"
        assert '"foo@.service" runs without PrivateTmp, ProtectSystem' in hark.stderr()


def test_conditions_decide(run, directory):
    """A socket whose condition is not met is left out; a failed assertion is an error."""
    units = {"a.socket": "[Unit]\nConditionPathExists=/no/such\n[Socket]\n"
                         "ListenStream={directory}/a\nService=x.service\n",
             "b.socket": "[Socket]\nListenStream={directory}/b\nService=x.service\n",
             "c.socket": "[Unit]\nAssertPathExists=/no/such\n[Socket]\n"
                         "ListenStream={directory}/c\nService=x.service\n",
             "x.service": "[Service]\nExecStart={helpers}/probe --accept --to={directory}/record\n"}
    with run(units, "a.socket", "b.socket") as hark:
        assert not (directory / "a").exists()
        assert "ConditionPathExists=/no/such is not met" in hark.stderr()
        record = json.loads(ask(directory / "b"))
        assert environment_of(record)["LISTEN_FDNAMES"] == "b.socket"
    with run(units, "b.socket", "c.socket", wait=False) as hark:
        assert hark.wait_exit() == 78
        assert "AssertPathExists=/no/such is not met" in hark.stderr()


def test_condition_of_a_template_is_looked_at_for_each_connection(run, directory):
    """Not met: the connection is closed, and the socket goes on."""
    units = accept_pair(start="{helpers}/tiny")
    units["foo@.service"] = "[Unit]\nConditionPathExists={directory}/go\n" + units["foo@.service"]
    with run(units, "foo.socket"):
        with connect(directory / "s") as client:
            assert closed_at_once(client)
        (directory / "go").touch()
        assert ask(directory / "s") == b"ok\n"


def test_help_and_wrong_usage():
    """--help within 80 columns; a missing unit."""
    helped = run_hark("run", "--help")
    assert helped.returncode == 0 and max(map(len, helped.stdout.splitlines())) <= 80
    assert run_hark("run").returncode == 64
    missing = run_hark("run", "no-such-unit.socket")
    assert missing.returncode == 78 and "no-such-unit.socket" in missing.stderr


# ---- kill -9 ---------------------------------------------------------------------------------


def test_killed_servers_lose_no_connection(run, directory):
    """With everything that a unit can ask for on the way of a connection."""
    pair = accept_pair("MaxConnections=200\nMaxConnectionsPerSource=150\nReceiveBuffer=64K\n"
                       "KeepAlive=yes\n[X-Hark]\nOverflow=wait",
                       "Environment=WHO=%i\nLimitCORE=0\nLimitNOFILE=64\nUMask=0077\n"
                       "WorkingDirectory=/tmp\n", "{helpers}/tiny %i")
    with run(pair, "foo.socket") as hark:
        client = load(directory / "s", 4000, 16)
        while client.poll() is None:
            for pid in hark.killable_servers():
                os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.02)
        finish_load(client, hark.notifications)
