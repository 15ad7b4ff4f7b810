# SPDX-License-Identifier: MIT
"""The differential suite: one unit pair, run by systemd and by hark, must look the same.

A Pair is what is run; under_systemd(), under_hark() and standalone() run it and return what was
seen; normalise() takes away what may differ, and only that, each with its reason; differences()
compares. The pairs are in differential_pairs*.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import (BUILD, HARK, clean_environment, run_hark, short_directory, wait_until)
from systemd_machine import Machine

Seen = dict[str, Any]
Steps = Sequence[Sequence[str | int]]

AGENT = Path(__file__).with_name("differential_agent.py")
PROBE = "/hark/tests/helpers/probe"
USER_LINES = {
    "passwd": ["plain:x:4711:4711::/home/plain:/bin/bash", "homeless:x:4712:4711::/nowhere:/bin/sh",
               "nologin:x:4713:4713::/:/usr/sbin/nologin"],
    "group": ["plain:x:4711:", "nologin:x:4713:", "extra:x:4720:plain", "more:x:4721:",
              "other:x:4722:"],
}

# What both kinds of places get: users, and the machine's identity.
PREPARE = "\n".join(
    [f"echo '{line}' >>etc/{name}" for name, lines in USER_LINES.items() for line in lines]
    + ["mkdir -p home/plain", "chown 4711:4711 home/plain"])


# ---- pairs -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A .socket and a .service, their client, and what systemd is known to do with them.

    In all texts @name@ is the pair's name, @dir@ a directory of its own, @port@ a port of its own,
    @probe@ the probe with its log. A text of a unit without a section is that of [Socket] or
    [Service].
    """

    name: str
    socket: str
    service: str = "ExecStart=@probe@ --serve=3"
    client: Steps = ()
    records: int = 1  # how many lines the probes write before the pair is stopped
    see: Mapping[str, Any] = field(default_factory=dict)  # path in what was seen: value, or regex
    look: Sequence[str] = ()  # paths to look at, while it listens and after it was stopped
    read: Sequence[str] = ()  # files whose content is compared at the end
    files: Mapping[str, str] = field(default_factory=dict)  # below @dir@
    units: Mapping[str, str] = field(default_factory=dict)  # more units, drop-ins, "-> target"
    start: Sequence[str] = ("@name@.socket",)
    stop: Sequence[str] = ()  # more sockets to stop, that came by themselves
    queues: Sequence[str] = ()  # message queues to remove at the end
    hark_options: Sequence[str] = ()
    unordered: bool = False  # several socket units: systemd hashes them with a random seed
    deviates: Mapping[str, str] = field(default_factory=dict)  # regex of paths: why hark differs
    refused: str = ""  # hark refuses the units, for the reason that this regex finds in its words

    @property
    def is_accept(self) -> bool:
        """Accept=yes: the service is a template."""
        return re.search(r"^Accept=(yes|true|1|on)$", self.socket, re.MULTILINE) is not None

    def fill(self, text: str) -> str:
        """The text with its names in place."""
        return (text.replace("@probe@", f"{PROBE} --to=/test/p/{self.name}.log")
                .replace("@name@", self.name).replace("@dir@", f"/test/p/{self.name}")
                .replace("@port@", str(10000 + zlib.crc32(self.name.encode()) % 20000)))

    def all_units(self) -> dict[str, str]:
        """File names and texts."""
        def body(section: str, text: str) -> str:
            return text if text.startswith(("[", "-> ")) else f"[{section}]\n{text}\n"
        result = {}
        if self.socket:
            result[f"{self.name}.socket"] = body("Socket", self.socket)
        if self.service:
            kind = "@.service" if self.is_accept else ".service"
            result[f"{self.name}{kind}"] = body("Service", self.service)
        for name, text in self.units.items():
            section = "Socket" if ".socket" in name else "Service"
            result[name] = body(section, text)
        return {self.fill(name): self.fill(text) for name, text in result.items()}

    def keys(self) -> set[str]:
        """Every "Section.Key" that the units of the pair set."""
        result = set()
        section = ""
        for line in "\n".join(self.all_units().values()).splitlines():
            if match := re.fullmatch(r"\[(\w+)\]", line):
                section = match[1]
            elif match := re.match(r"[A-Z][A-Za-z0-9]+(?==)", line):
                result.add(f"{section}.{match[0]}")
        return result

    def job(self, side: str) -> dict[str, Any]:
        """As the agent takes it."""
        def each(texts: Sequence[str]) -> list[str]:
            return [self.fill(text) for text in texts]
        sockets = each(self.start) + each(self.stop)
        stems = {name.rsplit(".", 1)[0] for name in self.all_units()
                 if name.endswith(".service") and "/" not in name}
        return {"operation": "run", "side": side, "start": each(self.start), "sockets": sockets,
                "services": sorted(f"{s}*.service" if s.endswith("@") else f"{s}.service"
                                   for s in stems),
                "directory": f"/test/p/{self.name}", "log": f"/test/p/{self.name}.log",
                "files": {name: self.fill(text) for name, text in self.files.items()},
                "client": [[self.fill(w) if isinstance(w, str) else w for w in step]
                           for step in self.client],
                "records": self.records, "look": each(self.look), "read": each(self.read),
                "queues": each(self.queues), "hark_options": each(self.hark_options)}


# ---- places ------------------------------------------------------------------------------------


class Agent:
    """The connection to differential_agent.py in a place."""

    def __init__(self, path: Path) -> None:
        def connect() -> socket.socket | None:
            client = socket.socket(socket.AF_UNIX)
            try:
                client.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                client.close()
                return None
            return client
        self.client = wait_until(connect, what="the agent listens")
        self.client.settimeout(90)
        self.stream = self.client.makefile("rw")
        self.facts = self.ask({"operation": "facts"})

    def ask(self, job: Mapping[str, Any]) -> Seen:
        """One job; fails with what the agent says."""
        self.stream.write(json.dumps(job) + "\n")
        self.stream.flush()
        answer = json.loads(self.stream.readline())
        assert "failure" not in answer, answer["failure"]
        return answer

    def close(self) -> None:
        """No more jobs."""
        self.stream.close()
        self.client.close()


AGENT_UNIT = """[Service]
Environment=LC_ALL=C.UTF-8
ExecStart=/usr/bin/python3 /test/agent.py /test/agent
"""


class SystemdPlace:
    """A booted systemd with the units of all pairs."""

    def __init__(self, units: Mapping[str, str]) -> None:
        self.units = units
        self.known: dict[str, Seen] = {}  # by pair, of those that systemd has run
        self.machine = Machine({"agent.service": AGENT_UNIT})

    def __enter__(self) -> "SystemdPlace":
        shutil.copy(AGENT, self.machine.shared / "agent.py")
        self.machine.__enter__()
        try:
            self.machine.run("sh", "-ec", f"cd /\n{PREPARE}")
            self.machine.run("systemctl", "start", "agent.service")
            self.agent = Agent(self.machine.shared / "agent")
            self.agent.ask({"operation": "install", "units": self.units, "reload": True})
        except BaseException:
            self.machine.end()
            raise
        return self

    def __exit__(self, *raised: Any) -> None:
        self.agent.close()
        self.machine.__exit__(*raised)


# Runs as the first process of its namespaces. $1: the place's directory; the rest: the agent.
STANDALONE = r"""
set -eu
directory=$1
shift
mount -t tmpfs tmpfs "$directory/layers"
cd "$directory/layers"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=upper,workdir=work" root
cd root
rm -rf etc/systemd/system
mkdir -p etc/systemd/system test hark old dev proc sys run tmp
cp "$directory/machine-id" etc/machine-id
%s
mount --bind "$directory/shared" test
mount --bind -o ro "$BUILD" hark
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
pivot_root . old
cd /
umount -l old
setsid "$@" &
wait
""" % PREPARE


class StandalonePlace:
    """Plain namespaces over an overlay of this machine's root: no systemd anywhere.

    It has the identity and the resource limits of a machine with systemd, so that what follows
    from those does not have to be told apart.
    """

    def __init__(self, units: Mapping[str, str], like: SystemdPlace) -> None:
        self.units = units
        self.like = like
        self.directory = short_directory()

    def __enter__(self) -> "StandalonePlace":
        shared = self.directory / "shared"
        shared.mkdir()
        (self.directory / "layers").mkdir()
        shutil.copy(AGENT, shared / "agent.py")
        (self.directory / "machine-id").write_text(self.like.machine.run("cat", "/etc/machine-id"))
        limits = [f"--{name.removeprefix('RLIMIT_').lower()}={soft}:{hard}"
                  .replace("-1", "unlimited")
                  for name, (soft, hard) in self.like.agent.facts["limits"].items()]
        script = f"hostname {self.like.machine.name}\n{STANDALONE}"
        with open(self.directory / "log", "wb") as log:
            self.child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private",
                 "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child=KILL", "--mount-proc",
                 "sh", "-c", script, "standalone", str(self.directory), "prlimit", *limits,
                 "python3", "/test/agent.py", "/test/agent"],
                env=clean_environment(BUILD=str(BUILD)), cwd="/", stdin=subprocess.DEVNULL,
                stdout=log, stderr=log)
        try:
            self.agent = Agent(shared / "agent")
            self.agent.ask({"operation": "install", "units": self.units, "reload": False})
        except BaseException as error:
            text = (self.directory / "log").read_text(errors="replace")
            self._end()
            raise AssertionError(f"the place does not come up: {error}\n{text}") from None
        return self

    def _end(self) -> None:
        self.child.send_signal(signal.SIGKILL)  # takes the namespace with it
        self.child.wait(20)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __exit__(self, *unused: Any) -> None:
        self.agent.close()
        self._end()


def has_run() -> bool:
    """Whether this hark has the verb at all."""
    return HARK.exists() and run_hark("run", "--help").returncode == 0


# ---- the three sides -----------------------------------------------------------------------------


def under_systemd(place: SystemdPlace, pair: Pair) -> Seen:
    """What the pair does under systemd."""
    return normalise(pair, place.agent.ask(pair.job("systemd")), place.agent.facts)


def under_hark(place: SystemdPlace, pair: Pair) -> Seen:
    """What it does under hark, in the same machine, from the same files."""
    return normalise(pair, place.agent.ask(pair.job("hark")), place.agent.facts)


def standalone(place: StandalonePlace, pair: Pair) -> Seen:
    """What it does under hark where there is no systemd."""
    return normalise(pair, place.agent.ask(pair.job("hark")), place.agent.facts)


# ---- what may differ: all of it is here ----------------------------------------------------------

# Members of a probe's record that are not compared.
DROPPED = {
    "pid": "numbers of processes; leads_session and leads_group say what matters of them",
    "ppid": "the same",
    "pgrp": "the same",
    "sid": "the same",
    "SigQ": "counts the signals queued for all processes of the user",
}
LIMITS = ("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS",
          "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME")
FLAGS = {os.O_APPEND: "append", os.O_NONBLOCK: "nonblocking", os.O_ASYNC: "async",
         os.O_DIRECT: "direct", os.O_NOATIME: "noatime", os.O_DSYNC: "dsync", os.O_PATH: "path"}
ACCESS = {os.O_RDONLY: "read", os.O_WRONLY: "write", os.O_RDWR: "read and write"}

# The other end of a service's output under systemd, and what hark's own stderr is in these tests.
JOURNAL = "/run/systemd/journal/stdout"
LOG = {"log": "the journal, or hark's own stderr"}

# What there is only in a place with a journal: not compared with a place that has none.
OF_JOURNAL = re.compile(r"\d+ (env JOURNAL_STREAM|fd \d+ journal .*)")


def normalise(pair: Pair, seen: Seen, facts: Seen) -> Seen:
    """What was seen, without what may differ between two runs or between systemd and hark."""
    texts = Texts(seen, facts)
    result = {"start": seen["start"], "stop": seen["stop"], "nodes": seen["nodes"],
              "after": seen["after"], "files": texts.clean(seen["files"]),
              "client": texts.clean(seen["client"]),
              "records": [normal_record(record, texts) for record in seen["records"]]}
    for record in result["records"]:
        # Who holds the listener is to end when hark does, and so are the commands of the socket:
        # systemd never dies.
        if not has_connection(pair, record) and record["death_signal"] == signal.SIGTERM:
            record["death_signal"] = 0
    if pair.unordered:
        for record in result["records"]:
            sort_passed(record)
    if "missing" in seen:
        result["missing"] = seen["missing"]
    result["log"] = seen["log"]  # for messages only; differences() leaves it out
    return result


def has_connection(pair: Pair, record: Seen) -> bool:
    """Whether it is the handler of one connection."""
    return pair.is_accept and (record["env"].get("LISTEN_FDNAMES") == "connection"
                               or any(fd.get("type") == "socket" for fd in record["fd"].values()))


def sort_passed(record: Seen) -> None:
    """Puts the passed descriptors in the order of their names; those of one name keep theirs."""
    names = record["env"]["LISTEN_FDNAMES"].split(":")
    order = sorted(range(len(names)), key=lambda i: names[i])
    record["env"]["LISTEN_FDNAMES"] = ":".join(names[i] for i in order)
    record["fd"] |= {str(3 + to): record["fd"][str(3 + source)]
                     for to, source in enumerate(order)}
    record["same"] = {fd: other for fd, other in record["same"].items() if int(fd) < 3}


class Texts:
    """Numbers inside of texts."""

    def __init__(self, seen: Seen, facts: Seen) -> None:
        # The client's process: it is in the instance name of a Unix connection.
        rules = [(rf"\b(\d+)([-/]){facts['pid']}([-/])(\d+)\b", r"\1\2CLIENT\3\4")]
        # The client's port, in instance names, REMOTE_PORT= and addresses: the kernel picks it.
        rules += [(rf":{port}\b", f":PORT{i}") for i, port in enumerate(seen["ports"])]
        # %b: a container of systemd-nspawn has a boot id of its own.
        rules += [(facts["boot id"], "BOOT-ID"), (facts["boot id"].replace("-", ""), "BOOT-ID")]
        self.ports = {str(port): f"PORT{i}" for i, port in enumerate(seen["ports"])}
        self.rules = [(re.compile(pattern), text) for pattern, text in rules]

    def clean(self, value: Any) -> Any:
        """The same, in strings at any depth."""
        if isinstance(value, str):
            for pattern, text in self.rules:
                value = pattern.sub(text, value)
            return value
        if isinstance(value, list):
            return [self.clean(item) for item in value]
        if isinstance(value, dict):
            return {self.clean(name): self.clean(item) for name, item in value.items()}
        return value


def normal_record(record: Seen, texts: Texts) -> Seen:
    """One probe's."""
    result = {name: value for name, value in record.items() if name not in DROPPED}
    result["Groups"] = result["Groups"].strip()
    result["env"] = normal_environment(result.pop("environ"), record, texts)
    result["limits"] = dict(zip(LIMITS, map(str, result.pop("rlimits"))))
    fds = result.pop("fds")
    result["fd"] = {str(fd["fd"]): normal_descriptor(fd, texts) for fd in fds}
    # Numbers of inodes are not compared, but which descriptors have the same one is.
    result["same"] = {str(fd["fd"]): str(min(other["fd"] for other in fds
                                             if other["target"] == fd["target"])) for fd in fds}
    return texts.clean(result)


def normal_environment(variables: Sequence[str], record: Seen, texts: Texts) -> dict[str, str]:
    """By name: the order of the block means nothing to getenv(3), execve(2) hands it on as it is.
    A variable that is there twice is kept as that."""
    result: dict[str, str] = {}
    for variable in variables:
        name, value = variable.split("=", 1)
        # The probe's own pid is what must be in these.
        if name in ("LISTEN_PID", "SYSTEMD_EXEC_PID", "WATCHDOG_PID"):
            value = "PID" if value == str(record["pid"]) else value
        # Random for each start; 128 bits in hexadecimal.
        if name == "INVOCATION_ID" and re.fullmatch("[0-9a-f]{32}", value):
            value = "ID"
        # The device and inode of stdout or stderr, when that leads to the journal.
        if name == "JOURNAL_STREAM" and is_stream(value, record):
            value = "STREAM"
        if name == "REMOTE_PORT":
            value = texts.ports.get(value, value)
        result[name] = f"{result[name]} AND {value}" if name in result else value
    return dict(sorted(result.items()))


def is_stream(value: str, record: Seen) -> bool:
    """Whether JOURNAL_STREAM= tells the truth."""
    inode = value.split(":")[1]
    return any(fd["target"] == f"socket:[{inode}]" for fd in record["fds"] if fd["fd"] in (1, 2))


def normal_descriptor(fd: Seen, texts: Texts) -> Seen:
    """What a descriptor is good for."""
    # Without a journal a service writes where hark writes.
    if fd["target"].endswith(".log.hark"):
        return LOG
    if fd.get("peer") == JOURNAL:
        return LOG | {"journal": normal_descriptor(fd | {"peer": "journald"}, texts)}
    result = {name: value for name, value in fd.items() if name not in ("fd", "flags")}
    # O_LARGEFILE, O_NOFOLLOW and their like have no effect after open(2).
    result["access"] = ACCESS[fd["flags"] & os.O_ACCMODE]
    result["flags"] = " ".join(name for bit, name in FLAGS.items() if fd["flags"] & bit)
    # The name a memfd was given is for people.
    if result["target"].startswith("/memfd:"):
        result["target"] = "memfd"
    # Numbers of inodes.
    result["target"] = re.sub(r":\[\d+\]", ":", result["target"])
    # Not defined before the first packets, and a matter of timing after them.
    options = result.get("options", {})
    options.pop("TCP_QUICKACK", None)
    # On datagram sockets it lets a second server take the port; hark leaves it off on purpose.
    if fd.get("domain") in (socket.AF_INET, socket.AF_INET6) and \
            fd.get("socket_type") == socket.SOCK_DGRAM:
        options.pop("SO_REUSEADDR", None)
    return result


# ---- comparing -----------------------------------------------------------------------------------


def flatten(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """("0 env LANG", "C.UTF-8") and so on; an empty container is a leaf. records is left out of
    the paths."""
    if isinstance(value, (dict, list)) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            yield from flatten(item, path if name == "records" else (*path, str(name)))
    else:
        yield " ".join(path), value


def flat(seen: Seen) -> dict[str, Any]:
    """Everything that is compared, by its path."""
    return {path: value for path, value in flatten(seen) if path not in ("log", "")}


def check_facts(pair: Pair, seen: Seen) -> list[str]:
    """What is not as Pair.see says; None there: the path does not exist."""
    found = flat(seen)
    wrong = []
    if "missing" in seen:
        wrong.append(seen["missing"])
    for path, value in pair.see.items():
        path = pair.fill(path)
        is_there = found.get(path)
        if isinstance(value, re.Pattern):
            good = isinstance(is_there, str) and value.fullmatch(is_there) is not None
        else:
            good = is_there == (pair.fill(value) if isinstance(value, str) else value)
        if not good:
            wrong.append(f"{path}: {is_there!r}, not {value!r}")
    return wrong


def differences(pair: Pair, systemd: Seen, hark: Seen, has_journal: bool = True) -> list[str]:
    """One line for each path at which the two differ, without those the pair says deviate; one for
    all of a record that only one of them has. Of units that hark refuses there is nothing to
    compare, but it must say why, and must not have started anything."""
    if pair.refused:
        good = (hark["start"] == "failed" and not hark["records"]
                and re.search(pair.refused, hark["log"]))
        return [] if good else [f"hark does not refuse them for {pair.refused!r}"]
    def of_record(path: str, number: int) -> bool:
        first = path.split(" ", 1)[0]
        return first.isdigit() and int(first) >= number
    both = min(len(systemd["records"]), len(hark["records"]))
    theirs, ours = ({path: value for path, value in flat(seen).items()
                     if not of_record(path, both)
                     and (has_journal or not OF_JOURNAL.fullmatch(path))}
                    for seen in (systemd, hark))
    found = [(path, theirs.get(path, "nothing"), ours.get(path, "nothing"))
             for path in sorted(ours.keys() | theirs.keys())]
    for who, seen in (("systemd", systemd), ("hark", hark)):
        found += [(f"{i} record", f"{who} alone", " ".join(record["argv"]))
                  for i, record in enumerate(seen["records"]) if i >= both]
    return [f"{path}: systemd {one!r}, hark {other!r}" if not path.endswith(" record")
            else f"{path}: {one} has {other!r}"
            for path, one, other in found
            if one != other and not any(re.fullmatch(pair.fill(p), path) for p in pair.deviates)]
