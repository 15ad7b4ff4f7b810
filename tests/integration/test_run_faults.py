# SPDX-License-Identifier: MIT
"""`hark run`: faults that a review found, so that they stay mended. Each test fails on what was
there before."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import (Hark, ask, children_of, connect, environment_of, free_port, is_alive,
                     kill_quietly, lines_of, receive_all, run_hark, wait_until)

CAT = "ExecStart=/bin/cat\nStandardInput=socket"


def accept_pair(socket_more: str = "", service_text: str = CAT) -> dict[str, str]:
    """foo.socket with Accept=yes and its template."""
    return {"foo.socket": f"[Socket]\nListenStream={{directory}}/s\nAccept=yes\n{socket_more}\n",
            "foo@.service": f"[Service]\n{service_text}\n"}


def service_pair(socket_more: str, service_text: str) -> dict[str, str]:
    """foo.socket and foo.service."""
    return {"foo.socket": f"[Socket]\nListenStream={{directory}}/s\n{socket_more}\n",
            "foo.service": f"[Service]\n{service_text}\n"}


def text_of(path: Path) -> str:
    """What is in a file so far."""
    return path.read_text() if path.exists() else ""


def records(path: Path) -> list[dict]:
    """What the probe has written there, when it has."""
    return wait_until(lambda: list(lines_of(path)) if text_of(path) else [])


def descriptors(record: dict) -> dict[int, str]:
    """Number and type of what the probe found beyond the standard three."""
    return {entry["fd"]: entry["type"] for entry in record["fds"] if entry["fd"] >= 3}


def echoes(client: socket.socket, word: bytes) -> bool:
    """Whether a cat is at the other end."""
    client.sendall(word)
    return client.recv(len(word)) == word


def script(*steps: str) -> str:
    """A command line of steps; {log} appends the next word to a file, {hang} waits for "go"."""
    text = "; ".join(steps)
    text = text.replace("{log}", "echo >>{directory}/log")
    return f"/bin/sh -c '{text}'".replace("{hang}", "while [ ! -e {directory}/go ]; do "
                                          "sleep 0.02; done")


def cpu_seconds(pid: int) -> float:
    """Processor time that pid has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def few_descriptors(pid: int, soft: int) -> Iterator[None]:
    """pid can open no more meanwhile."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def passed_listener(path: Path) -> socket.socket:
    """As a manager would pass it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)
    return listener


# ---- Starting --------------------------------------------------------------------------------


def test_two_services_share_passed_listeners(run, directory):
    """Both name both; the descriptors are so low that they are in the way of what a program gets.
    The second service found its own closed, and no server came up."""
    service = ("[Service]\nSockets=a.socket b.socket\n"
               "ExecStart={helpers}/probe --accept-any --to={directory}/of-%p\n")
    units = {"a.socket": "[Socket]\nListenStream={directory}/a\n", "a.service": service,
             "b.socket": "[Socket]\nListenStream={directory}/b\n", "b.service": service}
    listeners = [passed_listener(directory / name) for name in "ab"]
    with run(units, "a.socket", "b.socket", passed=[],
             pass_fds=[listener.fileno() for listener in listeners]):
        for name in "ab":
            assert ask(directory / name) == b"served\n"
            record = records(directory / f"of-{name}")[0]
            assert descriptors(record) == {3: "socket", 4: "socket"}
            names = environment_of(record)["LISTEN_FDNAMES"].split(":")
            assert sorted(names) == ["a.socket", "b.socket"]
    for listener in listeners:
        listener.close()


def test_a_condition_is_looked_at_once_per_start(run, directory):
    """Not again for the second program, when the first has made it untrue."""
    pair = service_pair("", "Type=oneshot\nExecStart=/bin/touch {directory}/flag\n"
                        "ExecStart=/bin/touch {directory}/second")
    pair["foo.service"] = "[Unit]\nConditionPathExists=!{directory}/flag\n" + pair["foo.service"]
    with run(pair, "foo.socket") as hark, connect(directory / "s"):
        wait_until(lambda: (directory / "flag").exists())
        wait_until(lambda: (directory / "second").exists(), what="the second program runs")
        wait_until(lambda: "not started: one of its conditions" in hark.stderr(),
                   what="the next start asks again")


def test_a_stream_of_a_skipped_socket_is_an_error(run, directory):
    """Without that socket the plan is another, and its faults count: the program was given a
    socket as standard input that nobody had asked for."""
    units = {
        "a.socket": "[Socket]\nListenStream={directory}/a\n",
        "a.service": "[Service]\nSockets=a.socket b.socket\nStandardInput=fd:bname\n"
                     "StandardOutput=null\nExecStart=/bin/touch {directory}/ran\n",
        "b.socket": "[Unit]\nConditionPathExists=/no/such\n[Socket]\nFileDescriptorName=bname\n"
                    "ListenStream={directory}/b\nService=a.service\n",
    }
    with run(units, "a.socket", "b.socket", wait=False) as hark:
        assert hark.wait_exit() == 78
        assert "a.service:3: error: " in hark.stderr()
        assert "nothing was started" in hark.stderr()
    assert not (directory / "a").exists() and not (directory / "ran").exists()


def test_a_start_that_fails_leaves_the_links_of_others_alone(run, directory):
    """A TCP port is shared, a path is not; the link is that of the one which lives."""
    pair = accept_pair("ReusePort=yes\nRemoveOnStop=yes\nSymlinks={directory}/link")
    pair["foo.socket"] = pair["foo.socket"].replace(
        "ListenStream=", f"ListenStream=127.0.0.1:{free_port()}\nListenStream=", 1)
    with run(pair, "foo.socket"):
        assert os.path.lexists(directory / "link")
        with run(pair, "foo.socket", wait=False) as second:
            assert second.wait_exit() == 69
        assert os.readlink(directory / "link") == str(directory / "s")
        with connect(directory / "link") as client:
            assert echoes(client, b"x")
    assert not os.path.lexists(directory / "link")


def test_a_regular_file_cannot_be_waited_for(run, directory):
    """ListenSpecial= of one: the message says which."""
    pair = {"foo.socket": "[Socket]\nListenSpecial=/etc/passwd\n",
            "foo.service": "[Service]\nExecStart=/bin/true\n"}
    with run(pair, "foo.socket", wait=False) as hark:
        assert hark.wait_exit() not in (0, -signal.SIGKILL)
        assert '"/etc/passwd"' in hark.stderr()


# ---- What programs are given -----------------------------------------------------------------


def test_nothing_of_the_starter_is_handed_on(run, directory):
    """Descriptors that it left open reach neither commands nor handlers, of either kind."""
    units = accept_pair("ExecStartPre={helpers}/probe --to={directory}/pre\n"
                        "ExecStartPost={helpers}/probe --to={directory}/post",
                        "ExecStart={helpers}/probe --to={directory}/handler")
    units["bar.socket"] = "[Socket]\nListenStream={directory}/t\n"
    units["bar.service"] = ("[Service]\n"
                            "ExecStart={helpers}/probe --accept --to={directory}/service\n")
    with open("/etc/passwd", "rb") as low:
        high = fcntl.fcntl(low, fcntl.F_DUPFD, 200)
        with run(units, "foo.socket", "bar.socket", pass_fds=[low.fileno(), high]):
            ask(directory / "s")
            ask(directory / "t")
            seen = {name: descriptors(records(directory / name)[0])
                    for name in ("pre", "post", "handler", "service")}
        os.close(high)
    assert seen == {"pre": {}, "post": {}, "handler": {3: "socket"}, "service": {3: "socket"}}


def test_a_file_of_each_connection(run, directory):
    """StandardError= with %i: such a file was never opened, and nobody served."""
    pair = accept_pair(service_text="ExecStart=/bin/sh -c 'echo said >&2; echo hello'\n"
                       "StandardInput=socket\nStandardError=append:{directory}/log-%i")
    with run(pair, "foo.socket"):
        for _ in range(3):
            assert ask(directory / "s") == b"hello\n"
        logs = sorted(directory.glob("log-*"))
        assert [path.name.split("-")[1] for path in logs] == ["0", "1", "2"]
        assert [path.read_text() for path in logs] == ["said\n"] * 3


def test_a_fifo_of_each_connection_is_refused(run, directory):
    """Opening it may keep a server waiting: said before anything is served."""
    os.mkfifo(directory / "fifo")
    pair = accept_pair(service_text=CAT + "\nStandardError=append:{directory}/fifo")
    with run(pair, "foo.socket", wait=False) as hark:
        assert hark.wait_exit() == 78
        assert "foo@.service:4: error: " in hark.stderr() and "StandardError" in hark.stderr()
    checked = run_hark("check", f"--unit-path={directory / 'units'}", "foo.socket")
    assert checked.returncode == 78
    assert "foo@.service:4: error: " in checked.stdout and "regular file" in checked.stdout
    assert not (directory / "s").exists()


def test_a_service_may_wait_for_the_reader_of_a_fifo(run, directory):
    """As long as it takes, while nobody else waits for it; it was killed after a second."""
    os.mkfifo(directory / "fifo")
    pair = service_pair("FlushPending=yes", "ExecStart=/bin/echo hello\n"
                        "StandardOutput=append:{directory}/fifo")
    with run(pair, "--fork-servers=1", "foo.socket") as hark, connect(directory / "s"):
        wait_until(lambda: len(children_of(hark.pid)) > 1, what="it is on its way")
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            hark.notifications.read(0.1)
            assert hark.notifications.exits == [], hark.stderr()
        reader = os.open(directory / "fifo", os.O_RDONLY)
        one = hark.notifications.wait_exits(1)[0]
        assert (one.code, one.status) == ("exited", "0")
        assert os.read(reader, 100) == b"hello\n"
        os.close(reader)


# ---- Limits ----------------------------------------------------------------------------------


def test_the_trigger_limit_counts_connections(run, directory):
    """Not how often a server looked for a slot: fifteen are served without a pause, by a limit of
    twenty, while only one at a time may be."""
    pair = accept_pair("MaxConnections=1\nTriggerLimitIntervalSec=60s\nTriggerLimitBurst=20\n"
                       "[X-Hark]\nOverflow=wait")
    with run(pair, "--fork-servers=2", "foo.socket") as hark:
        clients = [connect(directory / "s") for _ in range(15)]
        for client in clients:
            assert echoes(client, b"x")
            client.close()
        assert "limit" not in hark.stderr()


def test_the_poll_limit_says_that_it_pauses(run, directory):
    """A listener that is not looked at is no riddle."""
    pair = service_pair("PollLimitIntervalSec=30s\nPollLimitBurst=2\nTriggerLimitIntervalSec=0",
                        "ExecStart=/bin/true")
    with run(pair, "foo.socket") as hark, connect(directory / "s"):
        wait_until(lambda: "poll limit" in hark.stderr())
        assert f'"{directory}/s" has reached its poll limit: not looked at for ' in hark.stderr()


@pytest.fixture
def limited(run, directory) -> Iterator[tuple]:
    """start(pair) is a Hark of a user whom nobody else is, with one server; limit(hark, n) sets how
    many processes that user may have."""
    user = 1_000_000 + os.getpid()
    directory.chmod(0o777)

    def become() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (1000, 1000))
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)

    def start(pair: dict[str, str]) -> Hark:
        return run(pair, "--fork-servers=1", "foo.socket", preexec=become, notify=False,
                   extra_paths=[directory / "s"])

    def limit(hark: Hark, n: int) -> None:
        # They are there when the sockets are. As that user: root may lack CAP_SYS_RESOURCE.
        for pid in wait_until(hark.servers, what="a server"):
            subprocess.run(["prlimit", f"--pid={pid}", f"--nproc={n}:1000"], user=user, group=user,
                           extra_groups=[], check=True)
    yield start, limit
    directory.chmod(0o755)


@pytest.mark.root
@pytest.mark.needs("prlimit")
def test_a_connection_is_served_when_there_may_be_processes_again(limited, directory):
    """clone(2) says EAGAIN for a while. Each attempt took a slot that was never given back."""
    start, limit = limited
    with start(accept_pair("MaxConnections=3\nRemoveOnStop=yes\n[X-Hark]\nOverflow=wait")) as hark:
        limit(hark, 1000)
        with connect(directory / "s") as client:
            assert echoes(client, b"1")
        wait_until(lambda: not hark.handlers(), what="its end")
        limit(hark, 1)
        with connect(directory / "s") as client:
            wait_until(lambda: "Resource temporarily unavailable" in hark.stderr(),
                       what="a word about it")
            assert not hark.handlers()
            limit(hark, 1000)
            assert echoes(client, b"2")
            with connect(directory / "s") as second, connect(directory / "s") as third:
                assert echoes(second, b"3") and echoes(third, b"4")


@pytest.mark.root
@pytest.mark.needs("prlimit")
def test_a_service_is_started_when_there_may_be_processes_again(limited, directory):
    """It counted as running for ever."""
    start, limit = limited
    pair = service_pair("RemoveOnStop=yes", "ExecStart={helpers}/probe --accept-any "
                        "--to={directory}/record")
    with start(pair) as hark:
        limit(hark, 1)
        with connect(directory / "s") as client:
            wait_until(lambda: "Resource temporarily unavailable" in hark.stderr(),
                       what="a word about it")
            assert not (directory / "record").exists()
            limit(hark, 1000)
            assert receive_all(client) == b"served\n"
        assert ask(directory / "s") == b"served\n"


def test_a_back_off_ends_in_time(run, directory):
    """Whatever else the server is told meanwhile: it is asked to start a service all the time."""
    units = accept_pair()
    units["bar.socket"] = ("[Socket]\nListenStream={directory}/t\nTriggerLimitIntervalSec=0\n"
                           "PollLimitIntervalSec=0\n")
    units["bar.service"] = "[Service]\nExecStart=/bin/true\n"
    with run(units, "--fork-servers=1", "foo.socket", "bar.socket") as hark:
        with connect(directory / "t"), connect(directory / "s") as first:
            assert echoes(first, b"1")
            hark.notifications.wait_exits(3)
            with few_descriptors(hark.servers()[0], 4):
                second = connect(directory / "s")
                wait_until(lambda: '"foo" for a moment' in hark.stderr(), what="it backs off")
            n = len(hark.notifications.wait_exits(len(hark.notifications.exits) + 3))
            assert echoes(second, b"2")
            second.close()
            hark.notifications.wait_exits(n + 3)


def test_a_server_without_descriptors_does_not_spin(run, directory):
    """A connection that it can neither serve nor close waits, and it waits with it."""
    pair = accept_pair()
    pair["foo@.service"] = "[Unit]\nConditionPathExists={directory}/go\n" + pair["foo@.service"]
    with run(pair, "--fork-servers=1", "foo.socket") as hark:
        server = hark.servers()[0]
        with few_descriptors(server, 3):
            client = connect(directory / "s")
            before = cpu_seconds(server)
            time.sleep(1)
            used = cpu_seconds(server) - before
        assert used < 0.7, f"{used} s of one: it spins"
        assert receive_all(client) == b"", "it is refused at last"
        client.close()


# ---- Stopping --------------------------------------------------------------------------------


def test_a_drain_stays_one_when_a_command_cannot_be_run(run, directory):
    """SIGQUIT, and ExecStopPre= has lost its EnvironmentFile=: handlers finish all the same."""
    (directory / "env").write_text("A=1\n")
    pair = accept_pair("EnvironmentFile={directory}/env\nExecStopPre=/bin/true")
    with run(pair, "foo.socket") as hark:
        client = connect(directory / "s")
        assert echoes(client, b"1")
        (directory / "env").unlink()
        os.kill(hark.pid, signal.SIGQUIT)
        hark.notifications.wait_status("[Dd]raining")
        for _ in range(10):
            assert echoes(client, b"2")
            hark.notifications.read(0.05)
        assert not any("topping" in status for status in hark.notifications.statuses)
        client.close()
        hark.wait_exit()
        one = hark.notifications.exits[0]
        assert (one.code, one.status) == ("exited", "0")
        assert f'cannot read "{directory}/env"' in hark.stderr()


def test_a_stop_is_one_when_commands_cannot_be_run(run, directory):
    """SIGTERM with two such sockets: each asked for a stop of its own."""
    (directory / "env").write_text("A=1\n")
    more = "EnvironmentFile={directory}/env\nExecStopPre=/bin/true"
    units = accept_pair(more)
    units["bar.socket"] = units["foo.socket"].replace("/s\n", "/t\n")
    units["bar@.service"] = units["foo@.service"]
    with run(units, "foo.socket", "bar.socket") as hark:
        with connect(directory / "s") as client:
            assert echoes(client, b"1")
            (directory / "env").unlink()
            hark.terminate()
        hark.notifications.read()
        told = [text for text in hark.notifications.datagrams if "STOPPING=1" in text]
        assert len(told) == 1
        assert hark.stderr().count("cannot run ExecStopPre") == 2


@pytest.mark.parametrize("key", ["StartPre", "StartPost"])
def test_a_stop_waits_for_the_command_that_runs(run, directory, key):
    """It is told, ends as it likes, and only then the next one runs."""
    command = script('trap "{log} told" TERM', "{log} begin", "{hang}", "{log} end")
    pair = service_pair(f"Exec{key}={command}\nExecStopPre={script('{log} stop-pre')}\n"
                        f"ExecStopPost={script('{log} stop-post')}\nRemoveOnStop=yes",
                        "ExecStart=/bin/true")
    with run(pair, "foo.socket", wait=False) as hark:
        wait_until(lambda: "begin" in text_of(directory / "log"))
        os.kill(hark.pid, signal.SIGTERM)
        wait_until(lambda: "told" in text_of(directory / "log"))
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert hark.is_running(), "it did not wait"
            assert text_of(directory / "log") == "begin\ntold\n"
            hark.notifications.read(0.05)
        (directory / "go").touch()
        assert hark.wait_exit() == 0
    assert text_of(directory / "log") == "begin\ntold\nend\nstop-post\n"
    assert not (directory / "s").exists()


@pytest.mark.parametrize("key", ["StartPre", "StartPost"])
def test_a_stop_kills_the_command_that_does_not_end(run, directory, key):
    """After TimeoutSec=; then ExecStopPost=."""
    command = script('trap "" TERM', "{log} begin $$$$", "{hang}")
    pair = service_pair(f"Exec{key}={command}\nExecStopPost={script('{log} stop-post')}\n"
                        "TimeoutSec=4s", "ExecStart=/bin/true")
    with run(pair, "foo.socket", wait=False) as hark:
        pid = int(wait_until(lambda: text_of(directory / "log").split())[1])
        assert hark.terminate() == 0
        assert not is_alive(pid)
    assert text_of(directory / "log").split() == ["begin", str(pid), "stop-post"]


def test_a_second_request_ends_a_command_that_hangs(run, directory):
    """Without a timeout nothing else would but SIGKILL."""
    pair = accept_pair(f"TimeoutSec=infinity\nExecStopPre={script('{log} begin', '{hang}')}")
    with run(pair, "foo.socket") as hark:
        os.kill(hark.pid, signal.SIGTERM)
        wait_until(lambda: text_of(directory / "log"))
        hark.terminate()
        assert "0 handlers" not in hark.stderr()


def test_names_are_not_mended_while_stopping(run, directory):
    """ExecStopPre= may remove the node, and a successor may have it: this is an orderly stop."""
    command = script("rm {directory}/s", "{log} gone", "{hang}")
    with run(accept_pair(f"ExecStopPre={command}"), "foo.socket") as hark:
        os.kill(hark.pid, signal.SIGTERM)
        wait_until(lambda: text_of(directory / "log"))
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert not (directory / "s").exists(), "nobody accepts there any more"
            hark.notifications.read(0.05)
        successor = passed_listener(directory / "s")
        hark.notifications.read(0.3)
        (directory / "go").touch()
        assert hark.wait_exit() == 0
        assert "anew" not in hark.stderr() and "taken over" not in hark.stderr()
    with connect(directory / "s"):
        successor.accept()[0].close()
    successor.close()


# ---- kill -9 ---------------------------------------------------------------------------------


def test_a_service_does_not_outlive_hark(run, directory):
    """It holds the listener: the next start would find the address in use."""
    pair = service_pair("", "ExecStart=" + script('trap "{log} told; exit" TERM', "{log} up $$$$",
                                                  "{hang}"))
    with run(pair, "foo.socket") as hark, connect(directory / "s"):
        pid = int(wait_until(lambda: text_of(directory / "log").split())[1])
        hark.kill()
        try:
            wait_until(lambda: not is_alive(pid), what="the service ends")
        finally:
            kill_quietly(pid)
        assert text_of(directory / "log").split() == ["up", str(pid), "told"]
    (directory / "log").unlink()
    with run(pair, "foo.socket"), connect(directory / "s"):
        wait_until(lambda: "up" in text_of(directory / "log"), what="it is served again")


def test_each_program_runs_once_per_round(run, directory):
    """A server's death says nothing of a request that another one has: a third was asked as well,
    and a program ran twice, in the place of the next. The moment is rare: this is no proof."""
    programs = "".join(f"ExecStart={script(f'{{log}} {n}')}\n" for n in range(5))
    pair = service_pair("TriggerLimitIntervalSec=0\nPollLimitIntervalSec=0", "Type=oneshot\n"
                        + programs + "ExecStart={helpers}/probe --to=/dev/null --accept-any")
    rounds = 60
    chance = random.Random(18)
    with run(pair, "--fork-servers=2", "foo.socket") as hark:
        for _ in range(rounds):
            slow, other = wait_until(lambda: len(s := hark.killable_servers()) == 2 and s)
            os.kill(slow, signal.SIGSTOP)  # what it was asked waits until hark replaces it
            client = connect(directory / "s")
            hark.notifications.read(chance.random() * 0.02)
            if other in hark.killable_servers():
                kill_quietly(other)
            assert receive_all(client) == b"served\n"
            client.close()
        hark.notifications.wait_exits(6 * rounds)
        assert "".join(text_of(directory / "log").split()) == "01234" * rounds


# ---- hark check and options ------------------------------------------------------------------


def test_check_sees_drop_ins_of_an_alias_beside_the_unit(directory):
    """Also when the unit is named by a path that begins with a dot."""
    (directory / "f.socket").write_text("[Socket]\nListenStream=/run/f\n")
    (directory / "f.service").write_text("[Service]\nExecStart=/bin/true\n")
    (directory / "g.socket").symlink_to("f.socket")
    (directory / "g.socket.d").mkdir()
    (directory / "g.socket.d/more.conf").write_text("[Socket]\nBacklog=17\n")
    for name in (directory / "f.socket", "./f.socket"):
        checked = run_hark("check", str(name), cwd=directory)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert f"{directory}/g.socket.d/more.conf" in checked.stdout
        assert "Backlog=17" in checked.stdout


@pytest.mark.parametrize("verb", ["run", "check"])
@pytest.mark.parametrize("key", ["ListenStream", "Accept"])
def test_what_is_honoured_cannot_be_ignored(directory, verb, key):
    """Nor when a key of [X-Hark] has the same name."""
    (directory / "f.socket").write_text("[Socket]\nListenStream={directory}/s\nAccept=no\n")
    (directory / "f.service").write_text("[Service]\nExecStart=/no/such\n")
    result = run_hark(verb, f"--ignore={key}", f"--unit-path={directory}", "f.socket")
    assert result.returncode == 64
    assert f'cannot ignore "{key}": only what hark refuses' in result.stderr


def test_commands_can_use_the_sockets(run, directory):
    """PassFileDescriptorsToExec=: with the variables of sd_listen_fds(3), once there are any."""
    pair = service_pair(
        "ListenStream={directory}/t\nListenFIFO={directory}/f\nFileDescriptorName=web\n"
        "PassFileDescriptorsToExec=yes\nExecStartPre={helpers}/probe --to={directory}/pre\n"
        "ExecStartPost={helpers}/probe --to={directory}/post", "ExecStart=/bin/true")
    with run(pair, "foo.socket"):
        before, after = records(directory / "pre")[0], records(directory / "post")[0]
    assert descriptors(before) == {}
    assert not [name for name in environment_of(before) if name.startswith("LISTEN_")]
    assert descriptors(after) == {3: "socket", 4: "socket", 5: "fifo"}
    env = environment_of(after)
    assert (env["LISTEN_FDS"], env["LISTEN_FDNAMES"]) == ("3", "web:web:web")
    assert env["LISTEN_PID"] == str(after["pid"])


def test_a_service_that_waits_for_its_output_can_be_ended(run, directory):
    """Before its exec, too: by a stop, and by the death of hark; the next one serves then."""
    os.mkfifo(directory / "fifo")
    pair = service_pair("ListenStream={directory}/t\nPollLimitBurst=0",
                        "ExecStart=/bin/echo hello\nStandardOutput=append:{directory}/fifo")
    with run(pair, "foo.socket") as hark, connect(directory / "t"):
        wait_until(lambda: set(children_of_hark(hark)) - set(hark.servers()), what="the child")
        began = time.monotonic()
        assert hark.terminate() == 0
        assert time.monotonic() - began < 20
    with run(pair, "foo.socket") as hark, connect(directory / "t"):
        child = wait_until(lambda: set(children_of_hark(hark)) - set(hark.servers()),
                           what="the child").pop()
        hark.kill()
        wait_until(lambda: not is_alive(child), what="the child has heard of it")
    with run(pair, "foo.socket"):
        connect(directory / "t").close()


def children_of_hark(hark: Hark) -> list[int]:
    """All its children's pids."""
    return [found.pid for found in children_of(hark.pid)]


def test_a_passed_socket_of_a_skipped_unit_is_let_go(run, directory):
    """Its condition is not met: hark does not hold it, so that clients are not left waiting."""
    listeners = []
    for name in ("a", "b"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(directory / name))
        listener.listen(8)
        listeners.append(listener)
    units = {"a.socket": "[Unit]\nConditionPathExists=/no/such\n[Socket]\nAccept=yes\n"
                         "ListenStream={directory}/a\n",
             "a@.service": f"[Service]\n{CAT}\n",
             "b.socket": "[Socket]\nListenStream={directory}/b\nAccept=yes\n",
             "b@.service": f"[Service]\n{CAT}\n"}
    fds = [listener.fileno() for listener in listeners]
    with run(units, "a.socket", "b.socket", pass_fds=fds, passed=[]):
        for listener in listeners:
            listener.close()
        connect(directory / "b").close()
        with pytest.raises(ConnectionRefusedError):
            connect(directory / "a")
