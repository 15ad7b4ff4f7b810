#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The hands of the differential suite inside a place: a booted systemd, or plain namespaces.

Runs there as a process of its own, without pytest, and takes one job after another over a Unix
socket: starts the units of a pair under systemd or under hark, is the client of it, looks at nodes
and files, stops it, and sends back everything that was seen.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEADLINE = 8.0
UNITS = "/etc/systemd/system"
HARK = "/hark/src/cli/hark"

# hark's own environment: what PID 1 of the machine has as well, and what no handler may see.
OWN_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
                   "container": "systemd-nspawn", "HOME": "/root", "USER": "root",
                   "SECRET": "of hark"}

Job = dict[str, Any]


def wait_until(predicate: Callable[[], Any], what: str) -> Any:
    """Returns the first true value of predicate()."""
    end = time.monotonic() + DEADLINE
    while not (value := predicate()):
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.003)
    return value


def latin(data: bytes) -> str:
    """Bytes as JSON can carry them."""
    return data.decode("latin-1")


# ---- looking -----------------------------------------------------------------------------------


KINDS = {stat.S_IFSOCK: "socket", stat.S_IFIFO: "fifo", stat.S_IFDIR: "directory",
         stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFCHR: "character"}


def look(path: str) -> dict[str, Any] | str:
    """What a path is, without following it."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return "missing"
    result: dict[str, Any] = {"kind": KINDS[stat.S_IFMT(found.st_mode)], "uid": found.st_uid,
                              "gid": found.st_gid, "mode": f"{stat.S_IMODE(found.st_mode):04o}"}
    if stat.S_ISLNK(found.st_mode):
        result["leads to"] = os.readlink(path)
    return result


def queue_limits() -> dict[str, str]:
    """The backlog of every listener, by its address."""
    text = subprocess.run(["ss", "-Hltnx"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in text.splitlines()]
    return {row[4]: row[3] for row in rows if len(row) > 4}


def read_records(job: Job) -> list[dict[str, Any]]:
    """What the probes wrote so far."""
    return [json.loads(line) for line in Path(job["log"]).read_text().splitlines()]


def count_records(job: Job) -> int:
    """How many there are."""
    return Path(job["log"]).read_bytes().count(b"\n")


# ---- clients -----------------------------------------------------------------------------------


class Clients:
    """What the client of a pair does; each step has a result that is compared."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.open_ones: dict[str, socket.socket] = {}
        self.ports: list[int] = []

    def close(self) -> None:
        """Ends what is still open."""
        for one in self.open_ones.values():
            one.close()

    def run(self, step: list[Any]) -> str:
        """One step: the method of that name."""
        method = getattr(self, "do_" + step[0])
        try:
            result = method(*step[1:])
            return "done" if result is None else result
        except TimeoutError as error:
            return f"error: {error}"
        except OSError as error:
            return f"error: {os.strerror(error.errno)}"

    def connect(self, address: str, kind: int, source: str = "") -> socket.socket:
        """To a path, @name, HOST:PORT or [v6]:PORT."""
        protocol = 0
        if address.startswith("lite:"):
            protocol, address = 136, address.removeprefix("lite:")
        if address[0] in "/@":
            client = socket.socket(socket.AF_UNIX, kind)
            target: Any = address.replace("@", "\0", 1) if address[0] == "@" else address
        else:
            host, port = address.rsplit(":", 1)
            family = socket.AF_INET6 if host[0] == "[" else socket.AF_INET
            client = socket.socket(family, kind, protocol)
            target = (host.strip("[]"), int(port))
            if source:
                client.bind((source, 0))
        client.settimeout(DEADLINE)
        try:
            client.connect(target)
        except OSError:
            client.close()
            raise
        if client.family != socket.AF_UNIX:
            self.ports.append(client.getsockname()[1])
        return client

    @staticmethod
    def receive_all(client: socket.socket) -> str:
        """Up to the end of the connection; a reset counts as an end, for it is a matter of time
        whether one is seen."""
        data = b""
        try:
            while chunk := client.recv(65536):
                data += chunk
        except ConnectionResetError:
            pass
        return latin(data)

    def do_ask(self, address: str, text: str = "", source: str = "") -> str:
        """Says something, returns the whole answer."""
        with self.connect(address, socket.SOCK_STREAM, source) as client:
            try:
                client.sendall(text.encode())
            except (BrokenPipeError, ConnectionResetError):
                pass
            return self.receive_all(client)

    def do_ask_packet(self, address: str) -> str:
        """The answer over SEQPACKET; says nothing, for what the other side has not read when it
        closes is an error here."""
        with self.connect(address, socket.SOCK_SEQPACKET) as client:
            return self.receive_all(client)

    def do_open(self, key: str, address: str, source: str = "") -> str:
        """Connects and stays; returns the first line that comes."""
        client = self.open_ones[key] = self.connect(address, socket.SOCK_STREAM, source)
        try:
            return latin(client.recv(100))
        except ConnectionResetError:
            return ""

    def do_open_again(self, key: str, address: str, source: str = "") -> str:
        """The same after the end of another one, of which the client may know before the server:
        systemd keeps the connection until then, hark cannot."""
        end = time.monotonic() + 5
        n_ports = len(self.ports)
        while not (line := self.do_open(key, address, source)) and time.monotonic() < end:
            self.open_ones.pop(key).close()
            del self.ports[n_ports:]
        return line

    def do_join(self, key: str, address: str) -> None:
        """Connects and stays, without waiting for anything."""
        self.open_ones[key] = self.connect(address, socket.SOCK_STREAM)

    def do_finish(self, key: str) -> str:
        """Lets the handler of an open one end."""
        with self.open_ones.pop(key) as client:
            client.shutdown(socket.SHUT_WR)
            return self.receive_all(client)

    def do_send(self, address: str, text: str) -> None:
        """One datagram."""
        with self.connect(address, socket.SOCK_DGRAM) as client:
            client.sendall(text.encode())

    def do_fifo(self, path: str, text: str) -> None:
        """Writes into a FIFO that somebody has open."""
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.write(fd, text.encode())
        os.close(fd)

    def do_queue(self, name: str, text: str) -> None:
        """A message for a POSIX queue."""
        libc = ctypes.CDLL(None, use_errno=True)
        queue = libc.mq_open(name.encode(), os.O_WRONLY)
        if queue < 0 or libc.mq_send(queue, text.encode(), len(text), 0) < 0:
            raise OSError(ctypes.get_errno(), name)
        os.close(queue)

    def do_uevent(self, text: str) -> None:
        """What the kernel would say to NETLINK_KOBJECT_UEVENT listeners."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as sender:
            sender.sendto(text.encode(), (0, 1))

    def do_route(self) -> None:
        """Makes the kernel tell NETLINK_ROUTE listeners of a change of a device."""
        subprocess.run(["ip", "link", "set", "lo", "mtu", "60000"], check=True)
        subprocess.run(["ip", "link", "set", "lo", "mtu", "65536"], check=True)

    def do_write(self, path: str, text: str) -> None:
        """Changes a file."""
        Path(path).write_text(text)

    def do_remove(self, path: str) -> None:
        """A file or a directory goes."""
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def do_records(self, number: int) -> None:
        """Waits until the probes have written so many lines."""
        wait_until(lambda: count_records(self.job) >= number,
                   f"{count_records(self.job)} records, not {number}")

    def do_until(self, path: str, text: str) -> None:
        """Waits for a file to hold something."""
        wait_until(lambda: os.path.exists(path) and text in Path(path).read_text(),
                   f"{text!r} in {path}")

    def do_backlog(self, address: str) -> str:
        """The limit of a listener's queue."""
        return queue_limits().get(address, "none")


# ---- the two that are compared -------------------------------------------------------------------


class Systemd:
    """PID 1 of the machine."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.log = ""

    def call(self, *arguments: str) -> bool:
        """systemctl; whether it succeeded."""
        result = subprocess.run(["systemctl", *arguments], capture_output=True, text=True,
                                timeout=30, check=False)
        self.log += result.stderr
        return result.returncode == 0

    def start(self) -> str:
        """The socket units."""
        return "ok" if self.call("start", *self.job["start"]) else "failed"

    def stop(self) -> str:
        """The sockets first, so that nothing is activated again (and PID 1 does not have to
        flush what is readable for ever)."""
        self.call("stop", *self.job["sockets"])
        if self.job["services"]:
            self.call("stop", *self.job["services"])
        self.call("reset-failed")
        return "ok"


class Hark:
    """`hark run` of the same units."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.log = ""
        self.output = Path(job["log"] + ".hark")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify_path = job["log"] + ".notify"
        Path(self.notify_path).unlink(missing_ok=True)
        self.notify.bind(self.notify_path)
        self.notify.setblocking(False)

    def is_ready(self) -> bool:
        """READY=1 came."""
        try:
            while True:
                if b"READY=1" in self.notify.recv(65536).split(b"\n"):
                    return True
        except BlockingIOError:
            return False

    def start(self) -> str:
        """Until it listens, or has failed."""
        environment = OWN_ENVIRONMENT | {"NOTIFY_SOCKET": self.notify_path}
        for name in os.environ:
            if name.endswith("SAN_OPTIONS") or name.startswith("LLVM_"):
                environment[name] = os.environ[name]
        with open(self.output, "wb") as output:
            self.child = subprocess.Popen(  # pylint: disable=consider-using-with
                [HARK, "run", f"--unit-path={UNITS}", *self.job["hark_options"],
                 *self.job["start"]],
                env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True)
        wait_until(lambda: self.is_ready() or self.child.poll() is not None, "hark is ready")
        # Ended well before it was ready: a condition is not met, there is nothing to do.
        return "failed" if self.child.returncode else "ok"

    def stop(self) -> str:
        """SIGTERM, and force if that is not enough."""
        result = "ok"
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            while True:
                try:
                    self.child.wait(0.02)
                    break
                except subprocess.TimeoutExpired:
                    self.is_ready()  # reads what it reports
                    self.stopping = getattr(self, "stopping", time.monotonic())
                    if time.monotonic() - self.stopping > DEADLINE:
                        raise
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            result = "hark did not stop"
        self.notify.close()
        Path(self.notify_path).unlink(missing_ok=True)
        self.log = self.output.read_text(errors="replace")
        return result


# ---- jobs --------------------------------------------------------------------------------------


def prepare(job: Job) -> None:
    """The directory and files of the pair, as new."""
    directory = Path(job["directory"])
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, text in job["files"].items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name.endswith(".sh") else 0o644)
    log = Path(job["log"])
    log.write_text("")
    log.chmod(0o666)


def run_pair(job: Job) -> dict[str, Any]:
    """One pair on one side."""
    prepare(job)
    side = (Systemd if job["side"] == "systemd" else Hark)(job)
    clients = Clients(job)
    seen: dict[str, Any] = {"client": []}
    try:
        seen["start"] = side.start()
        seen["nodes"] = {path: look(path) for path in job["look"]}
        seen["client"] = [clients.run(step) for step in job["client"]]
        if seen["start"] == "ok":
            wait = clients.run(["records", job["records"]])
            if wait != "done":
                seen["missing"] = wait
    finally:
        seen["stop"] = side.stop()
        clients.close()
        for name in job["queues"]:
            ctypes.CDLL(None).mq_unlink(name.encode())
    seen["after"] = {path: look(path) for path in job["look"]}
    seen["files"] = {path: latin(Path(path).read_bytes()) if os.path.isfile(path) else "missing"
                     for path in job["read"]}
    seen["records"] = read_records(job)
    seen["ports"] = clients.ports
    seen["log"] = side.log
    shutil.rmtree(job["directory"], ignore_errors=True)
    return seen


def install_units(job: Job) -> dict[str, Any]:
    """Writes units, drop-ins and links ("-> target"); tells systemd, when there is one."""
    for name, text in job["units"].items():
        path = Path(UNITS) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            path.symlink_to(text.removeprefix("-> "))
        else:
            path.write_text(text)
    if job["reload"]:
        subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=30)
    return {}


def loopback_up() -> None:
    """As systemd does it when it boots."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sh22x", b"lo", 0x1 | 0x40)
        fcntl.ioctl(s, 0x8914, request)  # SIOCSIFFLAGS


def facts() -> dict[str, Any]:
    """What differs between places by their nature."""
    return {"pid": os.getpid(),
            "boot id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "limits": {name: resource.getrlimit(getattr(resource, name))
                       for name in dir(resource) if re.match(r"RLIMIT_(?!OFILE)", name)}}


OPERATIONS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "run": run_pair, "install": install_units, "facts": lambda job: facts()}


def main() -> None:
    """Serves one client at a time until it is ended."""
    loopback_up()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen()
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as stream:
            for line in stream:
                job = json.loads(line)
                try:
                    answer = OPERATIONS[job["operation"]](job)
                except Exception:  # pylint: disable=broad-except
                    answer = {"failure": traceback.format_exc()}
                stream.write(json.dumps(answer) + "\n")
                stream.flush()


if __name__ == "__main__":
    main()
