# SPDX-License-Identifier: MIT
"""What every test needs: hark as a context manager, the reader of its reports, clients."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("HARK_BUILD_DIR", SOURCE / "build")).resolve()
HARK = BUILD / "src/cli/hark"
HELPERS = BUILD / "tests/helpers"
MUST_NOT_SKIP = os.environ.get("HARK_TESTS_MUST_NOT_SKIP") == "1"
SANITIZED = os.environ.get("HARK_TESTS_SANITIZED") == "1"

# A deadline is only ever met by something that is broken, so it is generous.
DEADLINE = 20.0

PR_SET_CHILD_SUBREAPER = 36
SYS_KCMP = {"x86_64": 312, "aarch64": 272}.get(os.uname().machine, -1)
KCMP_VM = 1
SYS_RT_SIGACTION = {"x86_64": 13, "aarch64": 134}.get(os.uname().machine, -1)
libc = ctypes.CDLL(None, use_errno=True)


# ---- waiting ---------------------------------------------------------------------------------


def wait_until(predicate: Callable[[], Any], timeout: float = DEADLINE, what: str = "") -> Any:
    """Returns the first true value of predicate(); fails the test when that takes too long."""
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what or predicate}")
        time.sleep(0.005)


# ---- processes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """One line of /proc/PID/stat."""

    pid: int
    command: str
    state: str
    ppid: int
    session: int
    start: int  # clock ticks since boot


def process(pid: int) -> Process | None:
    """What the kernel says of pid now, or None."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    command, rest = text[text.index("(") + 1:].rsplit(")", 1)
    fields = rest.split()
    return Process(pid, command, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def all_processes() -> dict[int, Process]:
    """Everything that runs, by pid."""
    found = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {p.pid: p for p in found if p}


def children_of(pid: int) -> list[Process]:
    """The living (not zombie) children of pid, by the kernel's own list where there is one."""
    try:
        pids = [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    found = (process(child) for child in pids)
    return [p for p in found if p and p.ppid == pid and p.state not in "ZX"]


def is_alive(pid: int) -> bool:
    """Whether pid exists and is not a zombie."""
    found = process(pid)
    return found is not None and found.state not in "ZX"


def same_memory(one: int, other: int) -> bool:
    """Whether two processes share their memory, as a vfork child does with its creator."""
    return libc.syscall(SYS_KCMP, one, other, KCMP_VM, 0, 0) == 0


def waits_on_main_stack(pid: int) -> bool:
    """Whether pid is in a system call that was made on its main stack."""
    try:
        words = Path(f"/proc/{pid}/syscall").read_text().split()
        maps = Path(f"/proc/{pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    match = re.search(r"^([0-9a-f]+)-([0-9a-f]+) .*\[stack\]$", maps, re.MULTILINE)
    if len(words) < 3 or not match:
        return False
    return int(match[1], 16) <= int(words[-2], 16) < int(match[2], 16)


def kill_quietly(pid: int, signal_number: int = signal.SIGKILL) -> None:
    """A signal to a process that may be gone."""
    try:
        os.kill(pid, signal_number)
    except ProcessLookupError:
        pass


def reset_internal_signals() -> None:
    """posix_spawn(3) leaves the two signals that libc keeps to itself ignored in what it starts,
    make(1)'s commands among them. What the tests start shall begin as from a shell."""
    for number in (32, 33):
        libc.syscall(SYS_RT_SIGACTION, number, bytes(64), None, 8)


def become_subreaper() -> None:
    """From now on whatever a test leaves behind becomes our child, where sweep() finds it."""
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def descendants(pid: int) -> list[Process]:
    """All processes below pid, zombies too."""
    by_parent: dict[int, list[Process]] = {}
    for found in all_processes().values():
        by_parent.setdefault(found.ppid, []).append(found)
    result: list[Process] = []
    queue = [pid]
    while queue:
        for child in by_parent.get(queue.pop(), []):
            result.append(child)
            queue.append(child.pid)
    return result


def sweep(before: set[int], grace: float = 2.0) -> list[str]:
    """Ends everything below us that was not there before; returns what had to be killed."""
    end = time.monotonic() + grace
    while True:
        left = []
        for found in descendants(os.getpid()):
            if found.pid in before:
                continue
            if found.state in "ZX":
                if found.ppid == os.getpid():
                    try:
                        os.waitpid(found.pid, os.WNOHANG)
                    except ChildProcessError:
                        pass
                continue
            left.append(found)
        if not left:
            return []
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    for found in left:
        kill_quietly(found.pid)
    wait_until(lambda: not any(is_alive(p.pid) for p in left), what="killed processes go away")
    for found in left:
        try:
            os.waitpid(found.pid, os.WNOHANG)
        except ChildProcessError:
            pass
    return [f"{p.command} (pid {p.pid}, state {p.state})" for p in left]


def clean_environment(**extra: str) -> dict[str, str]:
    """A small environment, the same wherever the tests run; sanitizers keep their settings."""
    result = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
              "HOME": "/root", "USER": "root", "TERM": "dumb", "LANG": "C.UTF-8"}
    for name in os.environ:
        if name.endswith("SAN_OPTIONS") or name.startswith("LLVM_"):
            result[name] = os.environ[name]
    return result | extra


def short_directory() -> Path:
    """A directory with a path short enough for any socket name; the caller removes it."""
    directory = Path(tempfile.mkdtemp(prefix="ht.", dir="/tmp"))
    directory.chmod(0o755)
    return directory


# ---- reports ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exit:
    """One X_HARK_EXIT= line."""

    program: str
    number: int
    pid: int
    code: str
    status: str
    runtime: int  # microseconds
    peer: str | None
    step: str | None
    error: str | None

    LINE = re.compile(r"^X_HARK_EXIT=(?P<program>.+)@(?P<number>\d+) pid=(?P<pid>\d+) "
                      r"code=(?P<code>exited|killed|dumped) status=(?P<status>\S+) "
                      r"runtime=(?P<runtime>\d+)us(?: peer=(?P<peer>\S+))?"
                      r"(?: step=(?P<step>.+?) error=(?P<error>.+))?$")

    @classmethod
    def parse(cls, line: str) -> "Exit":
        """Fails on a line that is not exactly as documented."""
        match = cls.LINE.match(line)
        assert match, f"not an exit record: {line!r}"
        return cls(match["program"], int(match["number"]), int(match["pid"]), match["code"],
                   match["status"], int(match["runtime"]), match["peer"], match["step"],
                   match["error"])


class Notify:
    """The other end of NOTIFY_SOCKET. Reads when asked to, never by itself: so a test can be the
    reader that does not read."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(self.path))
        self.datagrams: list[str] = []
        self.exits: list[Exit] = []
        self.statuses: list[str] = []
        self.lost = 0

    def close(self) -> None:
        """No more reports."""
        self.socket.close()
        self.path.unlink(missing_ok=True)

    def read(self, timeout: float = 0.0) -> int:
        """Takes everything that is there, after waiting at most timeout for the first."""
        if timeout > 0:
            select.select([self.socket], [], [], timeout)
        n = 0
        while True:
            try:
                data = self._receive()
            except BlockingIOError:
                return n
            n += 1
            self._take(data.decode())

    def _receive(self) -> bytes:
        """One datagram, without descriptors that came with it."""
        return self.socket.recv(65536)

    def _take(self, text: str) -> None:
        self.datagrams.append(text)
        for line in text.split("\n"):
            if line.startswith("X_HARK_EXIT="):
                self.exits.append(Exit.parse(line))
            elif line.startswith("X_HARK_LOST="):
                self.lost += int(line.removeprefix("X_HARK_LOST="))
            elif line.startswith("STATUS="):
                self.statuses.append(line.removeprefix("STATUS="))

    def wait_for(self, predicate: Callable[[], Any], timeout: float = DEADLINE,
                 what: str = "", alive: Callable[[], bool] | None = None) -> Any:
        """Reads until predicate() is true."""
        end = time.monotonic() + timeout
        while True:
            self.read()
            value = predicate()
            if value:
                return value
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(
                    f"not within {timeout} s: {what or predicate}; {len(self.exits)} exits, "
                    f"{self.lost} lost, last {self.datagrams[-3:]}")
            if alive is not None and not alive():
                self.read()
                value = predicate()
                assert value, f"the process ended before: {what or predicate}"
                return value
            self.read(min(left, 0.05))

    def has(self, line: str) -> bool:
        """Whether that line came in any datagram."""
        return any(line in text.split("\n") for text in self.datagrams)

    def wait_exits(self, n: int, timeout: float = DEADLINE) -> list[Exit]:
        """At least n exits."""
        self.wait_for(lambda: len(self.exits) >= n, timeout, f"{n} exits")
        return self.exits

    def wait_status(self, pattern: str, timeout: float = DEADLINE) -> str:
        """A STATUS= that matches."""
        def last_match() -> str | None:
            return next((s for s in reversed(self.statuses) if re.search(pattern, s)), None)
        return self.wait_for(last_match, timeout, f"STATUS matching {pattern}")


def cause_until_told(follower: Any, cause: Callable[[], Any]) -> int:
    """Causes exits until there is something to read: until it follows, they are nobody's. How many
    it took."""
    cause()
    n = 1
    while not select.select([follower], [], [], 0.05)[0]:
        cause()
        n += 1
    return n


def assert_each_once(exits: Sequence[Exit], n: int) -> None:
    """n exits, and no number twice."""
    numbers = [e.number for e in exits]
    assert len(set(numbers)) == len(numbers), f"{len(numbers) - len(set(numbers))} reported twice"
    assert len(numbers) == n, f"{len(numbers)} exits reported, not {n}"


# ---- control socket --------------------------------------------------------------------------


def is_listened_on(path: Path) -> bool:
    """A node that is bound may not listen yet."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


class Control:
    """One Varlink call."""

    def __init__(self, path: Path, method: str, parameters: dict[str, Any],
                 more: bool = False) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(str(path))
        self.rest = b""
        request = {"method": method, "parameters": parameters} | ({"more": True} if more else {})
        with contextlib.suppress(BrokenPipeError):  # it may have refused already
            self.socket.sendall(json.dumps(request).encode() + b"\0")

    def __enter__(self) -> "Control":
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        self.socket.close()

    def answer(self) -> dict[str, Any]:
        """The next one, as it is."""
        while b"\0" not in self.rest:
            data = self.socket.recv(65536)
            assert data, "the control socket was closed without an answer"
            self.rest += data
        text, _, self.rest = self.rest.partition(b"\0")
        return json.loads(text)

    def result(self) -> dict[str, Any]:
        """The parameters of an answer that is no error; the call is over."""
        with self:
            answer = self.answer()
        assert "error" not in answer, answer
        return answer["parameters"]

    def error(self) -> tuple[str, dict[str, Any]]:
        """Name and parameters of an error; the call is over."""
        with self:
            answer = self.answer()
        return answer["error"].removeprefix("org.hark.Supervisor."), answer["parameters"]


# ---- hark ------------------------------------------------------------------------------------


@dataclass
class Hark:
    """One running `hark activate`, or another verb that serves. Leaves the with block stopped, and
    fails if anything remains."""

    arguments: Sequence[str]
    directory: Path
    env: dict[str, str] = field(default_factory=dict)
    pass_fds: Sequence[int] = ()
    cwd: Path | None = None
    notify: bool = True
    wait: bool = True
    check: bool = True  # that node, lock file and processes are gone at the end
    passed: Sequence[str] | None = None  # options of pass-sockets; pass_fds become 3, 4, …
    preexec: Callable[[], None] | None = None
    extra_paths: list[Path] = field(default_factory=list)
    verb: str = "activate"
    program: Path | None = None  # another copy of hark
    manager: Callable[[Path], Notify] = Notify

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.stderr_path = self.directory / f"stderr.{time.monotonic_ns()}"
        self.returncode: int | None = None
        self.child: subprocess.Popen[bytes] | None = None
        self.killed = False

    # -- life

    def __enter__(self) -> "Hark":
        run = self.directory / f"n.{time.monotonic_ns()}"
        run.mkdir()
        self.notifications = self.manager(run)
        self.start()
        if self.wait:
            try:
                self.wait_ready()
            except BaseException:
                self.finish()
                raise
        return self

    def start(self) -> None:
        """Runs it; does not wait for anything."""
        command = [str(self.program or HARK), self.verb, *map(str, self.arguments)]
        if self.passed is not None:
            command = [str(HELPERS / "pass-sockets"), *self.passed,
                       *map(str, self.pass_fds), "--", *command]
        env = clean_environment() | self.env
        if self.verb == "run":  # a control socket of its own
            env.setdefault("RUNTIME_DIRECTORY", str(self.directory / "runtime"))
        if self.notify:
            env["NOTIFY_SOCKET"] = str(self.notifications.path)
        with open(self.stderr_path, "wb") as stderr:
            self.child = subprocess.Popen(
                command, env=env, pass_fds=self.pass_fds, cwd=self.cwd or self.directory,
                stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, preexec_fn=self.preexec)

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        self.finish(fail=kind is None and self.check)

    def finish(self, fail: bool = False) -> None:
        """Stops it, by force if need be; checks what is left."""
        assert self.child
        clean = not self.killed
        family = [p.pid for p in descendants(self.child.pid)]
        stuck = False
        autopsy = ""
        if self.child.poll() is None:
            # In this order: a SIGCONT after the end has begun would cancel the SIGSTOP by which
            # the leak checker stops the process it looks at.
            kill_quietly(self.child.pid, signal.SIGCONT)
            kill_quietly(self.child.pid, signal.SIGTERM)
            try:
                self._wait(DEADLINE)
            except AssertionError:
                stuck = True
                autopsy = self.autopsy()
                self.child.kill()
                self._wait(DEADLINE)
        self.returncode = self.child.returncode
        self.notifications.read()
        self.notifications.close()
        if fail:
            assert not stuck, f"SIGTERM did not stop hark\n{autopsy}{self.stderr()}"
            if clean:
                left = [pid for pid in family if is_alive(pid)]
                assert not left, f"hark left processes: {[process(p) for p in left]}"
                for path in self.paths():
                    assert not os.path.lexists(path), f"hark left {path}"
                    lock = f"{path}.lock"
                    assert not os.path.lexists(lock), f"hark left {lock}"
            assert "Sanitizer" not in self.stderr(), self.stderr()
            assert "runtime error" not in self.stderr(), self.stderr()

    def autopsy(self) -> str:
        """What hark and its processes are at, for a message about one that hangs."""
        lines = [f"told: {self.notifications.datagrams[-5:]}"]
        for found in [process(self.pid), *descendants(self.pid)]:
            if found is None:
                continue
            for name in ("wchan", "syscall", "stack"):
                try:
                    text = Path(f"/proc/{found.pid}/{name}").read_text().strip()
                except OSError as error:
                    text = error.strerror or ""
                lines.append(f"{found.pid} {found.command} {found.state} {name}: {text}")
        return "\n".join(lines) + "\n"

    def _wait(self, timeout: float) -> int:
        """Waits for the end and keeps reading, so that a slow reader is never the reason."""
        assert self.child
        self.notifications.wait_for(lambda: self.child.poll() is not None, timeout, "hark ends")
        return self.child.returncode

    def control(self, method: str, more: bool = False, **parameters: Any) -> "Control":
        """A call of its control socket, whose answers can be read."""
        path = Path(self.env.get("RUNTIME_DIRECTORY", self.directory / "runtime")) / "control"
        wait_until(lambda: is_listened_on(path), what="the control socket")
        return Control(path, f"org.hark.Supervisor.{method}", parameters, more)

    # -- what the test asks

    @property
    def pid(self) -> int:
        """The supervisor's."""
        assert self.child
        if self.passed is not None:
            return self.child.pid  # pass-sockets execs it
        return self.child.pid

    def stderr(self) -> str:
        """All that was printed so far."""
        return self.stderr_path.read_text(errors="replace")

    def is_running(self) -> bool:
        """Whether the supervisor has not ended."""
        return self.child is not None and self.child.poll() is None

    def wait_ready(self, timeout: float = DEADLINE) -> None:
        """READY=1; fails at once, with what hark said, when it ends before."""
        if not self.notify:
            wait_until(lambda: all(p.is_socket() for p in self.paths()), timeout, "the nodes")
            return
        try:
            self.notifications.wait_for(lambda: self.notifications.has("READY=1"), timeout,
                                        "READY=1", self.is_running)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.stderr()}") from None

    def wait_exit(self, timeout: float = DEADLINE) -> int:
        """The exit status, negative for a signal."""
        return self._wait(timeout)

    def terminate(self, signal_number: int = signal.SIGTERM, timeout: float = DEADLINE) -> int:
        """Sends one signal, waits for the end."""
        os.kill(self.pid, signal_number)
        return self._wait(timeout)

    def renew(self, signal_number: int) -> list[str]:
        """Reload or upgrade: what it told, up to the READY=1 that ends it, whatever came of it."""
        self.notifications.read()
        before = len(self.notifications.datagrams)
        os.kill(self.pid, signal_number)
        self.notifications.wait_for(lambda: "READY=1" in self.notifications.datagrams[before:])
        return self.notifications.datagrams[before:]

    def kill(self) -> None:
        """SIGKILL of the supervisor alone."""
        self.killed = True
        os.kill(self.pid, signal.SIGKILL)
        self._wait(DEADLINE)

    def paths(self) -> list[Path]:
        """The path listeners of the command line."""
        result = []
        words = [str(a) for a in self.arguments]
        for i, word in enumerate(words):
            address = None
            if word == "-l" and i + 1 < len(words):
                address = words[i + 1]
            elif word.startswith("--listen="):
                address = word.removeprefix("--listen=")
            if address and address.startswith("/"):
                result.append(Path(address))
        return result + self.extra_paths

    def servers(self) -> list[int]:
        """The fork servers. A child between vfork and exec has the same name: it shares the
        memory of a server that is older, or is a leftover of a dead one with its own session."""
        family = [p for p in children_of(self.pid) if p.command == "hark-server"]
        result = []
        for one in family:
            elder = any(o.pid != one.pid and (o.start, o.pid) < (one.start, one.pid)
                        and same_memory(o.pid, one.pid) for o in family)
            if not elder and one.session != one.pid and process(one.pid):
                result.append(one.pid)
        return result

    def killable_servers(self) -> list[int]:
        """Fork servers beyond doubt, for tests that kill them under load: they wait in a system
        call on the main stack. A child between vfork and exec, alone after its server's death,
        has a stack elsewhere; killing that would lose its connection by the test's own hand."""
        return [pid for pid in self.servers() if waits_on_main_stack(pid)]

    def handlers(self) -> list[int]:
        """Children of hark that are programs of their own: no fork servers, nor the short-lived
        process that binds a path."""
        return [p.pid for p in children_of(self.pid) if p.command not in ("hark", "hark-server")]


def write_units(where: Path, units: dict[str, str], directory: Path) -> None:
    """Unit files; names may be those of drop-ins ("foo.socket.d/x.conf")."""
    for name, text in units.items():
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{directory}", str(directory))
                        .replace("{helpers}", str(HELPERS)))


def run_hark(*arguments: str, timeout: float = DEADLINE, env: dict[str, str] | None = None,
             cwd: Path | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
    """hark for commands that end by themselves."""
    return subprocess.run([str(HARK), *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout, env=clean_environment() | (env or {}), cwd=cwd,
                          stdin=subprocess.DEVNULL, check=False, **more)


# ---- clients ---------------------------------------------------------------------------------


def connect(address: Path | str | int | tuple[Any, ...], kind: int = socket.SOCK_STREAM,
            timeout: float = DEADLINE) -> socket.socket:
    """A connected socket: a path, "@abstract", a port of 127.0.0.1, or (host, port)."""
    if isinstance(address, int):
        address = ("127.0.0.1", address)
    if isinstance(address, tuple):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        target: Any = address
    else:
        family = socket.AF_UNIX
        target = str(address)
        if target.startswith("@"):
            target = "\0" + target[1:]
    client = socket.socket(family, kind)
    client.settimeout(timeout)
    try:
        if family == socket.AF_UNIX and len(target) > 107:
            directory = os.open(os.path.dirname(target), os.O_PATH | os.O_DIRECTORY)
            try:
                client.connect(f"/proc/self/fd/{directory}/{os.path.basename(target)}")
            finally:
                os.close(directory)
        else:
            client.connect(target)
    except BaseException:
        client.close()
        raise
    return client


def receive_all(client: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    chunks = []
    while chunk := client.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


def ask(address: Path | str | int | tuple[Any, ...], send: bytes = b"",
        timeout: float = DEADLINE) -> bytes:
    """One connection: says something, returns the whole answer."""
    with connect(address, timeout=timeout) as client:
        if send:
            client.sendall(send)
        return receive_all(client)


def drop_greeted(pending: list[socket.socket], timeout: float) -> None:
    """Closes those clients whose handler has said that it is up, and takes them off the list."""
    for client in list(pending):
        client.settimeout(timeout)
        try:
            assert client.recv(3) == b"up\n"
        except TimeoutError:
            continue
        pending.remove(client)
        client.close()


def ask_probe(address: Path | str | int | tuple[Any, ...]) -> dict[str, Any]:
    """What a probe that serves this address saw."""
    return json.loads(ask(address))


def environment_of(record: dict[str, Any]) -> dict[str, str]:
    """The probe's environment; fails when a variable is there twice."""
    pairs = [entry.split("=", 1) for entry in record["environ"]]
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names), f"a variable twice: {names}"
    return dict(pairs)


def load(address: Path | str | int, total: int, concurrency: int = 16,
         **options: str | int) -> subprocess.Popen[str]:
    """The load client, started; finish_load() has its result."""
    command = [str(HELPERS / "load"), f"--total={total}", f"--concurrency={concurrency}"]
    command += [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    return subprocess.Popen([*command, str(address)], stdout=subprocess.PIPE, text=True,
                            env=clean_environment())


def finish_load(client: subprocess.Popen[str], notify: Notify | None = None,
                timeout: float = 120.0) -> dict[str, Any]:
    """Waits for the load client (reading reports meanwhile) and returns its counts."""
    try:
        if notify:
            notify.wait_for(lambda: client.poll() is not None, timeout, "the load client ends")
        output, _ = client.communicate(timeout=timeout)
    finally:
        if client.poll() is None:
            client.kill()
            client.communicate()
    return json.loads(output)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody uses now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


class Foreign:
    """A server that is not hark, bound to a path: tests/helpers/foreign.c."""

    def __init__(self, kind: str, path: Path, *options: str) -> None:
        self.child = subprocess.Popen([str(HELPERS / "foreign"), kind, str(path), *options],
                                      stdout=subprocess.PIPE, text=True)
        assert self.child.stdout
        assert self.child.stdout.readline() == "ready\n"

    def __enter__(self) -> "Foreign":
        return self

    def __exit__(self, *unused: Any) -> None:
        self.child.kill()
        self.child.communicate()


def which(command: str) -> str:
    """The absolute path of a program of the system; a test that needs it fails without."""
    found = shutil.which(command, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/git-core")
    return found or ""


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """The records that a probe with --to wrote."""
    for line in path.read_text().splitlines():
        yield json.loads(line)
