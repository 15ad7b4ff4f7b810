# SPDX-License-Identifier: MIT
"""hark status, reload, drain, stop and kill: a running hark is asked over its control socket."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import (DEADLINE, HARK, ask, cause_until_told, clean_environment, connect,
                     finish_load, is_alive, load, run_hark, wait_until, write_units)

CAT = "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n"
FALSE = "[Service]\nExecStart=/bin/false\nStandardInput=socket\n"


def accepting(path: str, more: str = "") -> str:
    """A socket unit with a process for each connection."""
    return f"[Socket]\nListenStream={{directory}}/{path}\nAccept=yes\n{more}"


PAIRS = {"echo.socket": accepting("e", "ListenStream={directory}/a second one\n"
                                       "MaxConnections=7\n"), "echo@.service": CAT,
         "bad.socket": accepting("b"), "bad@.service": FALSE}


@pytest.fixture(name="served")
def fixture_served(run, directory) -> Iterator[Any]:
    """A hark that serves PAIRS, called "served", with its control socket in the directory."""
    with run(PAIRS, "echo.socket", "bad.socket", "--name=served",
             f"--control={directory}/control") as hark:
        wait_until(lambda: check(directory / "control") == 0, what="the control socket")
        yield hark


@pytest.fixture(name="status")
def fixture_status(directory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """status("--json", …) asks the hark of the directory."""
    def make(*options: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return run_hark("status", *options, f"{directory}/control", **more)
    return make


def answer(directory: Path) -> dict[str, Any]:
    """What the hark of the directory says of itself."""
    result = run_hark("status", "--json", f"{directory}/control")
    assert result.returncode == 0 and not result.stderr, result.stderr
    [only] = json.loads(result.stdout)
    return only


def unit_of(directory: Path, name: str) -> dict[str, Any]:
    """One unit of the answer."""
    return next(u for u in answer(directory)["units"] if u["name"] == name)


def wait_running(directory: Path, n: int) -> None:
    """So many handlers of echo."""
    wait_until(lambda: unit_of(directory, "echo")["running"] == n, what=f"{n} handlers")


def wait_done(directory: Path, n: int) -> None:
    """So many have ended, of all units."""
    wait_until(lambda: answer(directory)["done"] >= n, what=f"{n} done")


def handlers(directory: Path) -> list[dict[str, Any]]:
    """Those that run."""
    result = run_hark("status", "--json", "--handlers", f"{directory}/control")
    return json.loads(result.stdout)[0]["handlers"]


# ---- a terminal ------------------------------------------------------------------------------


class Terminal:
    """hark on a terminal of its own."""

    def __init__(self, *arguments: object, columns: int = 100, rows: int = 30, **env: str) -> None:
        self.text = ""
        pid, self.fd = pty.fork()
        if pid == 0:
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(0, termios.TIOCSWINSZ, size)
            os.execve(HARK, ["hark", *map(str, arguments)],
                      clean_environment(TERM="xterm", **env))
        self.pid = pid

    def read(self, timeout: float) -> bool:
        """More of what it prints; False when there is none in the time, or will be none."""
        if not select.select([self.fd], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.text += data.decode()
        return bool(data)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Until it has printed that."""
        end = time.monotonic() + DEADLINE
        while not (found := re.search(pattern, self.text, re.DOTALL)):
            assert time.monotonic() < end and self.read(DEADLINE), \
                f"no {pattern!r} in {self.text!r}"
        return found

    def finish(self) -> int:
        """Its exit status, as waitpid(2) has it, and all that it has printed."""
        while self.read(DEADLINE):
            pass
        os.close(self.fd)
        return os.waitpid(self.pid, 0)[1]


def on_terminal(*arguments: object, **more: Any) -> str:
    """All that hark prints on a terminal."""
    terminal = Terminal(*arguments, **more)
    assert terminal.finish() == 0, terminal.text
    return terminal.text


def without_styles(text: str) -> str:
    """As it is read."""
    return re.sub(r"\033\[[0-9;]*m", "", text).replace("\r\n", "\n")


# ---- the table -------------------------------------------------------------------------------


def rows_of(text: str) -> dict[str, dict[str, str]]:
    """The rows of a table by unit; what a row has below a heading."""
    lines = text.splitlines()
    top = next(i for i, line in enumerate(lines) if line.startswith("  UNIT"))
    found = {}
    for line in lines[top + 1:]:
        words = re.split(r" {2,}", line.strip())
        if line.startswith("  ") and len(words) > 2:
            found[words[0]] = dict(zip(re.split(r" {2,}", lines[top].strip()), words))
    return found


def test_table(served, status, directory):
    """Listeners, counts and the last failure of each unit, one row each."""
    with connect(directory / "e"), connect(directory / "a second one"):
        wait_running(directory, 2)
        assert ask(directory / "b") == b""
        wait_done(directory, 1)
        result = status()
    assert result.returncode == 0 and not result.stderr
    first = result.stdout.splitlines()[0]
    assert re.fullmatch(rf"served: serving, up \d+ s \(pid {served.pid}, \d+ fork servers?, "
                        r"hark [\d.]+\)", first)
    rows = rows_of(result.stdout)
    assert rows["echo"] == {"UNIT": "echo", "ADDRESS": f"{directory}/e", "RUNNING": "2/7",
                            "TOTAL": "2", "FAILED": "0", "REFUSED": "0", "RATE": "-", "P50": "-",
                            "P99": "-"}
    assert f"{directory}/a second one\n" in result.stdout
    assert rows["bad"]["FAILED"] == rows["bad"]["TOTAL"] == "1"
    assert re.search(r" (µs|ms|s)$", rows["bad"]["P99"])
    assert re.search(r"^  last failure: bad@\d+ \(pid \d+\) exited with status 1$", result.stdout,
                     re.MULTILINE)
    assert "\033" not in result.stdout


def test_refused_is_counted(served, status, directory):
    """Beyond MaxConnections= connections are closed, and shown."""
    with contextlib.ExitStack() as clients:
        for _ in range(7):
            clients.enter_context(connect(directory / "e"))
        wait_running(directory, 7)
        assert ask(directory / "e") == b""
        row = rows_of(status().stdout)["echo"]
        assert (row["RUNNING"], row["REFUSED"]) == ("7/7", "1")


def test_handlers(served, status, directory):
    """Each handler with its pid and its peer."""
    with connect(directory / "e"):
        wait_running(directory, 1)
        [found] = handlers(directory)
        assert found["unit"] == "echo" and is_alive(found["pid"])
        line = status("--handlers").stdout.splitlines()[-1]
        assert re.fullmatch(rf"  echo@{found['number']} +{found['pid']} +[\d.]+ \S+ +"
                            rf"unix:pid={os.getpid()},uid={os.getuid()}", line)
    wait_running(directory, 0)
    assert handlers(directory) == []
    assert "HANDLER" not in status("--handlers").stdout


def test_json_is_the_answer(served, directory):
    """The object of each hark, with the members of the interface."""
    found = answer(directory)
    assert (found["name"], found["state"], found["pid"]) == ("served", "serving", served.pid)
    assert sorted(found["servers"]) == sorted(served.servers())
    assert {listener["address"] for listener in found["listeners"]} == {
        f"{directory}/{name}" for name in ("e", "a second one", "b")}
    assert {"name", "accept", "leaving", "running", "limit", "done", "failed", "refused", "rate",
            "p50_usec", "p99_usec", "last_failure", "run_time", "run_time_total_usec"} <= set(
                found["units"][0])


@pytest.mark.parametrize("columns", [36, 50, 64, 80, 132])
def test_fits_the_terminal(served, directory, columns):
    """No line is wider than the terminal, and the unit stays."""
    text = without_styles(on_terminal("status", "--handlers", directory / "control",
                                      columns=columns))
    assert max(map(len, text.splitlines())) <= columns
    assert "  echo " in text and "RUNNING" in text
    assert ("P99" in text) == (columns >= 64)


def test_width_of_a_pipe(served, status, directory):
    """COLUMNS counts where there is no terminal, and else nothing is cut."""
    assert f"{directory}/a second one" in status().stdout
    narrow = status(env={"COLUMNS": "50"}).stdout
    assert max(map(len, narrow.splitlines())) <= 50


def test_styles(served, directory):
    """On a terminal only, and not where they are unwanted or there is no way."""
    assert "\033[" in on_terminal("status", directory / "control")
    assert "\033" not in on_terminal("status", directory / "control", NO_COLOR="1")
    assert "\033[" in on_terminal("status", directory / "control", NO_COLOR="")
    terminal = Terminal("status", directory / "control")
    assert terminal.finish() == 0
    assert without_styles(terminal.text).startswith("served: serving")


# ---- watching --------------------------------------------------------------------------------


def test_watch_on_a_terminal(served, directory):
    """Drawn in place, new numbers as they come, and the cursor comes back."""
    terminal = Terminal("status", "--watch=100ms", directory / "control", NO_COLOR="1")
    terminal.wait_for(r"\033\[\?25l\033\[Hserved: .* 0/7 ")
    with connect(directory / "e"):
        terminal.wait_for(r"\033\[Hserved: [^H]* 1/7 ")
        terminal.wait_for(r"1/7.*\033\[H.* 1/7")
    os.write(terminal.fd, b"\x03")
    assert os.waitstatus_to_exitcode(terminal.finish()) == 0
    assert terminal.text.endswith("\033[?25h") or terminal.text.endswith("^C\033[?25h")


def test_watch_is_no_higher_than_the_terminal(served, directory):
    """What does not fit is cut, so that nothing scrolls."""
    terminal = Terminal("status", "--watch=100ms", directory / "control", NO_COLOR="1", rows=4)
    found = terminal.wait_for(r"\033\[H([^…]*\033\[J…).*\033\[H")
    assert found[1].count("\n") == 3
    os.kill(terminal.pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(terminal.finish()) == -signal.SIGTERM
    assert terminal.text.endswith("\033[?25h")


def test_watch_survives_hark(served, directory):
    """It says that hark is gone, and goes on."""
    terminal = Terminal("status", "--watch=100ms", directory / "control", NO_COLOR="1")
    terminal.wait_for("served: serving")
    assert served.terminate() == 0
    terminal.wait_for("no hark .* runs here")
    os.write(terminal.fd, b"\x03")
    assert os.waitstatus_to_exitcode(terminal.finish()) == 0


@contextlib.contextmanager
def reading(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """hark in the background, its output in a pipe."""
    with subprocess.Popen([HARK, *map(str, arguments)], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE, env=clean_environment()) as process:
        try:
            yield process
        finally:
            process.kill()


def test_watch_in_a_pipe(served, directory):
    """A block after the other, without anything for a terminal."""
    with reading("status", "--watch=100ms", directory / "control") as process:
        assert process.stdout
        text = ""
        while text.count("served: serving") < 3:
            text += process.stdout.readline()
    assert "\033" not in text and "\n\nserved: serving" in text


def test_watch_of_nothing(directory):
    """A name that is mistyped is not watched for ever."""
    result = run_hark("status", "--watch", f"{directory}/control")
    assert result.returncode == 69 and "no hark" in result.stderr


# ---- exits as they happen --------------------------------------------------------------------


def first_exit(process: subprocess.Popen[str], path: Path) -> str:
    """The first line of one that follows."""
    assert process.stdout
    cause_until_told(process.stdout, lambda: ask(path))
    return process.stdout.readline()


def test_follow(served, directory):
    """One line for each, at once; the end of hark is the end."""
    with reading("status", "--follow", directory / "control") as process:
        assert process.stdout and process.stderr
        first = first_exit(process, directory / "b")
        assert re.fullmatch(r"\d\d:\d\d:\d\d bad@\d+ \(pid \d+\) exited with status 1 after "
                            r"[\d.]+ (µs|ms|s), peer unix:pid=\d+,uid=\d+\n", first)
        ask_and_close(directory / "e")
        while not re.search(r" echo@\d+ .* exited with status 0 after ", process.stdout.readline()):
            pass
        assert served.terminate() == 0
        assert process.wait(DEADLINE) == 0
        assert process.stderr.read().endswith("has ended\n")


def ask_and_close(path: Path) -> None:
    """A connection that says nothing."""
    with connect(path) as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b""


@pytest.mark.parametrize("is_json", [False, True])
def test_follow_without_reading(served, directory, is_json):
    """How many it has missed is said, and it goes on."""
    options = ["--json"] if is_json else []
    with reading("status", "--follow", *options, directory / "control") as process:
        assert process.stdout
        line = first_exit(process, directory / "b")
        os.kill(process.pid, signal.SIGSTOP)
        finish_load(load(directory / "b", 4000, expect=""), served.notifications)
        os.kill(process.pid, signal.SIGCONT)
        lost = r'"lost": ?[1-9]' if is_json else r'hark ".*": \d+ exits were left out, '
        while not re.search(lost, line):
            line = process.stdout.readline()
            assert line, "it has ended"
        ask_and_close(directory / "e")
        while "echo" not in line:
            line = process.stdout.readline()
            assert line, "it has ended"


def test_follow_as_json(served, directory):
    """The same for programs, a line each."""
    with reading("status", "--follow", "--json", directory / "control") as process:
        found = json.loads(first_exit(process, directory / "b"))
    assert found["exit"]["unit"] == "bad" and found["exit"]["failed"] is True
    assert (found["exit"]["code"], found["exit"]["status"]) == ("exited", "1")


# ---- OpenMetrics -----------------------------------------------------------------------------

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"'
NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
SUFFIXES = {"gauge": [""], "counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}


def parse_openmetrics(text: str) -> Samples:
    """Fails on what OpenMetrics 1.0 does not allow, as far as it is about these types."""
    assert text.endswith("# EOF\n") and text.count("# EOF") == 1
    families: dict[str, dict[str, str]] = {}
    samples: Samples = {}
    current, has_samples = "", False
    for line in text.split("\n")[:-2]:
        if match := re.fullmatch(rf"# (TYPE|HELP|UNIT) ({NAME}) (\S.*)", line):
            kind, name, value = match.groups()
            if name != current:
                assert name not in families, f"{name} comes in pieces"
                families[name] = {}
                current, has_samples = name, False
            assert not has_samples and kind not in families[name], line
            families[name][kind] = value
            continue
        match = re.fullmatch(rf"({NAME})\{{((?:{LABEL},?)*)\}} ({NUMBER}|\+Inf|-Inf|NaN)", line)
        assert match, f"no line of OpenMetrics: {line!r}"
        suffix = match[1].removeprefix(current)
        assert match[1].startswith(current) and suffix in SUFFIXES[families[current]["TYPE"]], line
        labels = re.findall(LABEL, match[2])
        assert match[2] == ",".join(f'{k}="{v}"' for k, v in labels), line
        assert len(dict(labels)) == len(labels), f"a label twice: {line}"
        key = (match[1], frozenset(labels))
        assert key not in samples, f"a sample twice: {line}"
        samples[key] = float(match.groups()[-1])
        has_samples = True
    for name, family in families.items():
        assert "TYPE" in family and "HELP" in family, name
        assert "UNIT" not in family or name.endswith("_" + family["UNIT"]), name
        assert name.endswith("_seconds") == ("UNIT" in family), name
    check_histograms(families, samples)
    return samples


def check_histograms(families: dict[str, dict[str, str]], samples: Samples) -> None:
    """Buckets grow, in both ways, up to the count."""
    for name in (n for n, family in families.items() if family["TYPE"] == "histogram"):
        counts = {labels: v for (n, labels), v in samples.items() if n == f"{name}_count"}
        for labels, count in counts.items():
            buckets = [(float(dict(found)["le"]), value) for (n, found), value in samples.items()
                       if n == f"{name}_bucket" and labels < found]
            assert buckets == sorted(buckets) and len({le for le, _ in buckets}) == len(buckets)
            assert [value for _, value in buckets] == sorted(value for _, value in buckets)
            assert buckets[-1] == (float("inf"), count)
            assert (f"{name}_sum", labels) in samples


def metrics(path: Path, **more: Any) -> Callable[..., float]:
    """What hark says to Prometheus: value("hark_up", hark="served")."""
    result = run_hark("status", "--openmetrics", str(path), **more)
    samples = parse_openmetrics(result.stdout)
    return lambda name, **labels: samples[name, frozenset(labels.items())]


def test_openmetrics(served, directory):
    """Strictly what the specification says, and the same numbers as in the answer."""
    before = time.time()
    with connect(directory / "e"):
        wait_running(directory, 1)
        for _ in range(3):
            ask(directory / "b")
        wait_done(directory, 3)
        value = metrics(directory / "control")
    assert value("hark_up", hark="served") == 1
    assert value("hark_listeners", hark="served") == 3
    assert value("hark_fork_servers", hark="served") == len(served.servers())
    assert before - 60 < value("hark_start_time_seconds", hark="served") <= time.time()
    assert value("hark_handlers_running", hark="served", unit="echo") == 1
    assert value("hark_handlers_limit", hark="served", unit="echo") == 7
    bad = {"hark": "served", "unit": "bad"}
    assert value("hark_handlers_total", **bad, result="failure") == 3
    assert value("hark_handlers_total", **bad, result="success") == 0
    assert value("hark_connections_refused_total", **bad) == 0
    found = unit_of(directory, "bad")
    assert value("hark_handler_run_time_seconds_count", **bad) == 3
    assert value("hark_handler_run_time_seconds_sum", **bad) == pytest.approx(
        found["run_time_total_usec"] / 1e6)
    for bucket in found["run_time"]:
        le = repr(bucket["up_to_usec"] / 1e6)
        assert value("hark_handler_run_time_seconds_bucket", **bad, le=le) == bucket["count"]


def test_openmetrics_of_one_that_hangs(served, directory):
    """It is not up, and nothing else is said of it."""
    os.kill(served.pid, signal.SIGSTOP)
    result = run_hark("status", "--openmetrics", "--timeout=200ms", f"{directory}/control")
    os.kill(served.pid, signal.SIGCONT)
    assert result.returncode == 1 and "within 0.2 s" in result.stderr
    samples = parse_openmetrics(result.stdout)
    assert list(samples.values()) == [0]


# ---- probes ----------------------------------------------------------------------------------


def check(path: Path, *options: str) -> int:
    """The exit status of --check, which prints nothing."""
    result = run_hark("status", "--check", *options, str(path))
    assert not result.stdout and not result.stderr
    return result.returncode


def test_check(served, directory):
    """0 while it serves; 1 when it hangs, drains, or is gone."""
    control = directory / "control"
    assert check(control) == 0
    os.kill(served.pid, signal.SIGSTOP)
    assert check(control, "--timeout=200ms") == 1
    os.kill(served.pid, signal.SIGCONT)
    assert check(control) == 0
    with connect(directory / "e"):
        wait_running(directory, 1)
        assert run_hark("drain", str(control)).returncode == 0
        wait_until(lambda: check(control) == 1, what="draining")
    assert served.wait_exit() == 0
    assert check(control) == 1


# ---- telling hark what to do -----------------------------------------------------------------


def tell(*arguments: object) -> None:
    """A verb that succeeds in silence."""
    result = run_hark(*map(str, arguments))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_reload(served, directory):
    """When it returns, the units are those of the files."""
    write_units(directory / "units", {"echo.socket": accepting("new", "MaxConnections=9\n")},
                directory)
    tell("reload", directory / "control")
    assert unit_of(directory, "echo")["limit"] == 9
    assert {x["address"] for x in answer(directory)["listeners"]} == {f"{directory}/new",
                                                                      f"{directory}/b"}
    assert connect(directory / "new").close() is None


def test_reload_is_refused(served, directory):
    """The reasons are those of hark check, and everything is as before."""
    write_units(directory / "units", {"echo.socket": accepting("e", "MaxConnections=many\n")},
                directory)
    result = run_hark("reload", f"{directory}/control")
    assert result.returncode == 1 and not result.stdout
    assert "has refused to reload, and goes on as it was" in result.stderr
    assert f"{directory}/units/echo.socket:4" in result.stderr and "many" in result.stderr
    assert unit_of(directory, "echo")["limit"] == 7
    ask_and_close(directory / "e")


def test_drain(served, directory):
    """Handlers finish, then hark ends."""
    with connect(directory / "e") as client:
        wait_running(directory, 1)
        tell("drain", directory / "control")
        wait_until(lambda: not (directory / "e.lock").exists(), what="no listener")
        assert answer(directory)["state"] == "draining"
        client.sendall(b"still there\n")
        assert client.recv(20) == b"still there\n"
    assert served.wait_exit() == 0


def test_stop(served, directory):
    """Handlers are ended, then hark ends."""
    with connect(directory / "e") as client:
        wait_running(directory, 1)
        tell("stop", directory / "control")
        assert client.recv(20) == b""
        assert served.wait_exit() == 0


def test_kill(served, directory):
    """The signal that was said, or SIGTERM; to handlers only."""
    for options, name in (["--signal=USR1"], "USR1"), (["-s", "sigkill"], "KILL"), ([], "TERM"):
        with connect(directory / "e") as client:
            wait_running(directory, 1)
            [found] = handlers(directory)
            tell("kill", *options, found["pid"], directory / "control")
            assert client.recv(10) == b""
            exits = wait_until(lambda pid=found["pid"]: [
                e for e in served.notifications.exits if e.pid == pid]
                or served.notifications.read(0.05) and None)
            assert (exits[0].code, exits[0].status) == ("killed", name)
        wait_running(directory, 0)
    for pid in (served.pid, os.getpid(), served.servers()[0]):
        result = run_hark("kill", str(pid), f"{directory}/control")
        assert result.returncode == 1 and f"no handler with pid {pid}" in result.stderr


# ---- finding ---------------------------------------------------------------------------------


@contextlib.contextmanager
def named(run: Callable[..., Any], directory: Path, name: str) -> Iterator[Any]:
    """A hark whose name leads to its socket where XDG_RUNTIME_DIR is the directory."""
    pair = {f"{name}.socket": accepting(name), f"{name}@.service": CAT}
    control = directory / "hark" / name / "control"
    with run(pair, f"{name}.socket", f"--control={control}") as hark:
        wait_until(lambda: check(control) == 0, what="the control socket")
        yield hark


def test_by_name(run, directory):
    """In the user's directory, and in that of a service by what it calls itself."""
    with named(run, directory, "by-name"):
        env = {"XDG_RUNTIME_DIR": str(directory)}
        assert run_hark("status", "by-name", env=env).stdout.startswith("by-name: serving")
        env = {"RUNTIME_DIRECTORY": f"{directory}/hark/by-name:/nowhere"}
        assert run_hark("status", "by-name", env=env).stdout.startswith("by-name: serving")
        result = run_hark("status", "by-no-name", env=env)
        assert result.returncode == 69 and not result.stdout
        assert 'no hark "by-no-name" runs here' in result.stderr


def test_of_one_that_was_killed(run, directory):
    """Its socket is there still, but nobody listens."""
    with named(run, directory, "dead") as hark:
        hark.kill()
        result = run_hark("status", "dead", env={"XDG_RUNTIME_DIR": str(directory)})
        assert result.returncode == 69 and "does not run any more" in result.stderr


def alone(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """hark where no other hark runs but those of the directory."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh",
         str(HARK), *arguments], capture_output=True, text=True, check=False, timeout=DEADLINE,
        env=clean_environment(XDG_RUNTIME_DIR=str(directory)), stdin=subprocess.DEVNULL)


@pytest.mark.root
@pytest.mark.needs("unshare")
def test_without_a_name(run, directory):
    """status shows all; the others want to know which where there are several."""
    for verb in ("status", "reload", "stop"):
        result = alone(directory, verb)
        assert result.returncode == 69 and "no hark runs here" in result.stderr
    with named(run, directory, "one") as one, named(run, directory, "two") as two:
        with named(run, directory, "dead") as dead:
            dead.kill()
        shown = alone(directory, "status")
        assert shown.returncode == 0 and not shown.stderr
        assert re.findall(r"^(\w+): serving", shown.stdout, re.MULTILINE) == ["one", "two"]
        assert "\n\ntwo: " in shown.stdout
        assert [x["name"] for x in json.loads(alone(directory, "status", "--json").stdout)] == [
            "one", "two"]
        parse_openmetrics(alone(directory, "status", "--openmetrics").stdout)
        assert alone(directory, "status", "--check").returncode == 0
        for verb in ("reload", "drain", "stop"):
            refused = alone(directory, verb)
            assert refused.returncode == 64 and '"one", "two"' in refused.stderr
        with connect(directory / "two"):
            pid = wait_until(lambda: next((h["pid"] for x in json.loads(alone(
                directory, "status", "--json", "--handlers").stdout) for h in x["handlers"]), None))
            result = alone(directory, "kill", str(pid))
            assert (result.returncode, result.stderr) == (0, "")
        assert alone(directory, "stop", "--all").returncode == 0
        assert one.wait_exit() == 0 and two.wait_exit() == 0


@pytest.mark.root
def test_of_another_user(served, directory):
    """It is said who may."""
    result = run_hark("status", f"{directory}/control", user=65534, group=65534)
    assert result.returncode == 1 and not result.stdout
    assert "only root and its user, root, may" in result.stderr


@pytest.mark.parametrize("arguments", [
    ["status", "--jsn"], ["status", "a", "b"], ["status", ""], ["status", "--watch=0"],
    ["status", "--watch", "--json"], ["status", "--json", "--check"], ["status", "--timeout=x"],
    ["status", "--follow", "--watch"], ["status", "--follow", "--handlers"], ["reload", "a", "b"],
    ["stop", "--all", "a"], ["kill"], ["kill", "none"], ["kill", "0"], ["kill", "-s", "NOT", "1"]],
    ids=" ".join)
def test_usage(arguments):
    """What makes no sense is 64, and told on standard error."""
    result = run_hark(*arguments)
    assert result.returncode == 64 and not result.stdout
    assert f'"hark {arguments[0]} --help" lists the options' in result.stderr


# ---- what is no hark, or a strange one -------------------------------------------------------


@contextlib.contextmanager
def pretend(path: Path, answers: dict[str, Any]) -> Iterator[None]:
    """Something that answers each method with what it is given: a message, or bytes."""
    def serve(client: socket.socket) -> None:
        with client:
            data = b""
            while chunk := client.recv(65536):
                data += chunk
                while b"\0" in data:
                    message, data = data.split(b"\0", 1)
                    method = json.loads(message)["method"].rsplit(".", 1)[1]
                    reply = answers.get(method, {"parameters": {}})
                    client.sendall(reply if isinstance(reply, bytes)
                                   else json.dumps(reply).encode() + b"\0")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                serve(listener.accept()[0])

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(DEADLINE)


EVIL = "\033[31m\u202eevil\r\n\u0085\""
STRANGE = {
    "name": EVIL, "state": EVIL, "version": EVIL, "pid": -1, "uptime_usec": "none", "servers": {},
    "last_failure": EVIL, "listeners": [{"unit": EVIL, "kind": EVIL, "address": EVIL}, 7, None],
    "units": [{"name": EVIL, "rate": 1e300, "running": 2 ** 62, "done": 2 ** 62, "failed": -5,
               "p50_usec": 2 ** 63 - 1, "run_time": [{"up_to_usec": 2 ** 62}, "x"]}, [],
              {"name": EVIL, "run_time": 5}]}


@pytest.mark.parametrize("option", ["--handlers", "--json", "--openmetrics", "--follow"])
def test_strange_answers(directory, option):
    """Whatever the other side says, no more than characters reach the terminal."""
    strange_exit = {"exit": {name: EVIL for name in ("unit", "code", "status", "peer", "step",
                                                     "error")}, "lost": 2 ** 60}
    with pretend(directory / "s", {
            "GetStatus": {"parameters": STRANGE},
            "ListHandlers": {"parameters": {"handlers": [{"unit": EVIL, "peer": EVIL}, 3]}},
            "FollowExits": {"parameters": strange_exit}}):
        result = run_hark("status", option, f"{directory}/s")
    assert result.returncode == 0, result.stderr
    assert "evil" in result.stdout
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", result.stdout + result.stderr)
    if option == "--openmetrics":
        parse_openmetrics(result.stdout)


@pytest.mark.parametrize(("reply", "status", "text"), [
    (b"HTTP/1.1 400 Bad Request\r\n\0", 1, "is not hark"),
    (b"[]\0", 1, "is not hark"),
    ({"error": "org.varlink.service.MethodNotFound", "parameters": {}}, 1, "of a version that"),
    ({"error": "org.hark.Supervisor.NotServing", "parameters": {"state": "draining"}}, 1,
     "it is draining"),
    ({"error": "org.example.\033[31mEvil", "parameters": {}}, 1, "has answered org.example.?[31m"),
    ({"error": "org.hark.Supervisor.ReloadFailed", "parameters": {"reasons": [EVIL, 7]}}, 1,
     "?[31m?evil???"),
], ids=["http", "list", "method", "state", "error", "reasons"])
def test_strange_errors(directory, reply, status, text):
    """Each becomes a message."""
    with pretend(directory / "s", {"Reload": reply}):
        result = run_hark("reload", f"{directory}/s")
    assert result.returncode == status and not result.stdout
    assert text in result.stderr and "\033" not in result.stderr


def test_units_of_one_name(directory):
    """After a reload there may be several: their numbers are added, each sample comes once."""
    buckets = [{"up_to_usec": 1000, "count": 2}, {"up_to_usec": 2500, "count": 3}]
    unit = {"name": "echo", "running": 1, "done": 3, "failed": 1, "refused": 4, "limit": 7,
            "run_time": buckets, "run_time_total_usec": 1500000}
    both = {"name": "h", "state": "serving", "units": [unit, {**unit, "leaving": True}],
            "listeners": [{"unit": "echo.socket", "kind": "ListenStream", "address": "/x"}]}
    with pretend(directory / "s", {"GetStatus": {"parameters": both}}):
        value = metrics(directory / "s")
        table = run_hark("status", f"{directory}/s").stdout
    labels = {"hark": "h", "unit": "echo"}
    assert value("hark_handlers_running", **labels) == 2
    assert value("hark_handlers_total", **labels, result="success") == 4
    assert value("hark_handler_run_time_seconds_bucket", **labels, le="0.0025") == 6
    assert value("hark_handler_run_time_seconds_sum", **labels) == 3
    assert re.search(r"^  echo +/x ", table, re.MULTILINE)
    assert re.search(r"^  echo \(leaving\) +1/7 ", table, re.MULTILINE)
