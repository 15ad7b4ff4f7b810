# SPDX-License-Identifier: MIT
"""What hark writes: entries with fields and a catalog in a real journal, plain lines elsewhere, and
the level from which on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import (BUILD, HELPERS, SANITIZED, SOURCE, Hark, ask, clean_environment, connect,
                     finish_load, load, run_hark, wait_until)
from systemd_machine import SANITIZER_OPTIONS, Machine

IDS = SOURCE / "src/supervisor/message-ids.h"
CATALOG = SOURCE / "src/supervisor/hark.catalog"

with_systemd = [pytest.mark.root,
                pytest.mark.needs("systemd-nspawn", "unshare", "nsenter", "setpriv")]

HARK_SERVICE = """[Service]
Type=notify
ExecStart=/hark/src/cli/hark run --unit-path=/test/units {options} foo.socket
""" + SANITIZER_OPTIONS

FOO_SOCKET = """[Socket]
ListenStream=/test/s
SocketMode=0666
Accept=yes
{more}
"""

FOO_SERVICE = """[Service]
ExecStart=/hark/tests/helpers/{program}
{more}
"""


def message_ids() -> dict[str, str]:
    """Name to id, as the header has them."""
    text = IDS.read_text().replace("\\\n", " ")
    found = re.findall(r"#define MESSAGE_(\w+)\s+SD_ID128_MAKE\(([^)]*)\)", text)
    return {name: re.sub(r"[,\s]", "", digits) for name, digits in found}


def catalog_entries() -> dict[str, str]:
    """Id to headers and text, as the catalog has them."""
    lines = [line for line in CATALOG.read_text().split("\n") if not line.startswith("#")]
    parts = re.split(r"^-- (.*)$", "\n".join(lines), flags=re.MULTILINE)
    assert parts[0].strip() == ""
    assert len(set(parts[1::2])) == len(parts[1::2]), "an id twice"
    return dict(zip(parts[1::2], parts[2::2]))


# ---- ids and texts ---------------------------------------------------------------------------


def test_every_id_has_its_text():
    """Header and catalog have the same ids, in the same order, and each only once."""
    ids, entries = message_ids(), catalog_entries()
    assert len(ids) >= 15
    assert len(set(ids.values())) == len(ids)
    assert list(ids.values()) == list(entries)
    assert IDS.read_text().count("#define MESSAGE_") == len(ids), "one is not understood"


def test_texts_are_complete():
    """Each has its headers and a text, and no field in it that hark does not write."""
    written = set(re.findall(r'\{"(\w+)", ', (SOURCE / "src/supervisor/log.c").read_text()))
    assert {"MESSAGE", "MESSAGE_ID", "HARK_UNIT", "ERRNO"} <= written
    for identifier, entry in catalog_entries().items():
        assert re.fullmatch(r"[0-9a-f]{32}", identifier)
        headers, text = entry.strip().split("\n\n", 1)
        names = [line.split(": ")[0] for line in headers.split("\n")]
        assert names == ["Subject", "Defined-By", "Support", "Documentation"], identifier
        assert len(text) > 100
        assert set(re.findall(r"@(\w+)@", entry)) <= written
        assert entry.count("@") % 2 == 0


def test_manual_page_has_every_field():
    """The fields that hark writes are those of hark(1)."""
    written = set(re.findall(r'\{"(HARK_\w+)", ', (SOURCE / "src/supervisor/log.c").read_text()))
    described = set(re.findall(r"\b(HARK_[A-Z_]+)", (SOURCE / "man/hark.1").read_text()))
    assert written and written == described


def test_catalog_is_installed_where_journalctl_looks():
    """lib/systemd/catalog, below the prefix."""
    result = subprocess.run(["meson", "introspect", "--installed", str(BUILD)], text=True,
                            capture_output=True, check=True, env=clean_environment(),
                            stdin=subprocess.DEVNULL, timeout=60)
    places = [place for source, place in json.loads(result.stdout).items()
              if source.endswith("/hark.catalog")]
    assert len(places) == 1 and places[0].endswith("/lib/systemd/catalog/hark.catalog"), places


# ---- in a real journal -----------------------------------------------------------------------


class Journal(Machine):
    """A systemd whose hark.service runs `hark run foo.socket`, of a pair in /test/units."""

    def __init__(self, program: str, options: str = "", socket: str = "",
                 service: str = "") -> None:
        super().__init__({"hark.service": HARK_SERVICE.format(options=options)})
        units = self.shared / "units"
        units.mkdir()
        (units / "foo.socket").write_text(FOO_SOCKET.format(more=socket))
        (units / "foo@.service").write_text(FOO_SERVICE.format(program=program, more=service))

    def __enter__(self) -> "Journal":
        super().__enter__()
        try:
            self.run("systemctl", "start", "hark.service")
        except BaseException:
            self.end()
            raise
        return self

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.shared / "s"

    def entries(self, name: str) -> list[dict[str, Any]]:
        """All entries of hark.service with the id of that name."""
        self.run("journalctl", "--sync")
        text = self.run("journalctl", "-u", "hark.service", "-o", "json", "--no-pager",
                        f"MESSAGE_ID={message_ids()[name]}", check=False)
        return [json.loads(line) for line in text.splitlines()]

    def wait_entry(self, name: str) -> dict[str, Any]:
        """The first of them."""
        return wait_until(lambda: self.entries(name), what=f"an entry {name}")[0]

    def explained(self) -> str:
        """journalctl -x of hark.service."""
        (self.shared / "hark.catalog").write_text(CATALOG.read_text())
        self.run("mkdir", "-p", "/usr/local/lib/systemd/catalog")
        self.run("cp", "/test/hark.catalog", "/usr/local/lib/systemd/catalog/")
        self.run("journalctl", "--update-catalog")
        self.run("journalctl", "--sync")
        return self.run("journalctl", "-x", "-u", "hark.service", "--no-pager")


def fields_of(entry: dict[str, Any]) -> dict[str, str]:
    """Those that hark made, but for the message."""
    return {name: value for name, value in entry.items()
            if name.startswith("HARK_") or name in ("PRIORITY", "ERRNO")}


class TestJournal:
    """Entries of a real journald."""

    pytestmark = with_systemd

    def test_failed_handlers(self, hark):
        """A status and a signal: what the message says in words, the fields say for programs, and
        the catalog explains it with them."""
        with Journal("obey") as machine:
            assert ask(machine.socket, b"exit 3\n") == b"ok\n"
            wait_until(lambda: len(machine.entries("HANDLER_FAILED")) == 1)
            assert ask(machine.socket, b"signal 11\n") == b"ok\n"
            wait_until(lambda: len(machine.entries("HANDLER_FAILED")) == 2)
            exited, killed = machine.entries("HANDLER_FAILED")
            pid = exited["HARK_HANDLER_PID"]
            assert exited["MESSAGE"] == f'"foo@0" (pid {pid}) exited with status 3'
            assert int(exited["HARK_RUNTIME_USEC"]) > 0
            for entry in (exited, killed):
                assert entry["SYSLOG_IDENTIFIER"] == "hark"
                assert entry["_COMM"] == "hark" and entry["_TRANSPORT"] == "journal"
            known = {"HARK_HANDLER_PID", "HARK_RUNTIME_USEC"}
            peer = "unix:pid=0,uid=0"  # from another pid namespace
            assert {k: v for k, v in fields_of(exited).items() if k not in known} == {
                "PRIORITY": "4", "HARK_UNIT": "foo", "HARK_INSTANCE": "0", "HARK_PEER": peer,
                "HARK_EXIT_CODE": "exited", "HARK_EXIT_STATUS": "3"}
            assert {k: v for k, v in fields_of(killed).items() if k not in known} == {
                "PRIORITY": "4", "HARK_UNIT": "foo", "HARK_INSTANCE": "1", "HARK_PEER": peer,
                "HARK_EXIT_CODE": "killed", "HARK_EXIT_STATUS": "SEGV"}
            text = machine.explained()
            assert "Subject: A handler of foo has failed" in text
            assert f"The process with pid {pid}, instance 0 of foo, has failed:" in text
            assert "killed, with status or signal SEGV, after " in text
            assert 'listening on "/test/s"' in text, "lines without fields are there too"

    def test_refused_connections(self, hark):
        """More than MaxConnections=: who it was for, and what can be done."""
        with Journal("slow", socket="MaxConnections=1") as machine:
            with connect(machine.socket) as client:
                assert client.recv(3) == b"up\n"
                assert ask(machine.socket) == b"", "closed without an answer"
                entry = machine.wait_entry("CONNECTIONS_REFUSED")
                assert fields_of(entry) == {"PRIORITY": "4", "HARK_UNIT": "foo"}
            assert "Subject: Connections to foo were refused" in machine.explained()

    def test_listener_and_fork_server(self, hark):
        """A removed socket and a killed fork server."""
        with Journal("tiny", options="--fork-servers=1") as machine:
            pid = machine.show("hark.service", "MainPID")
            server = machine.run("cat", f"/proc/{pid}/task/{pid}/children").strip()
            machine.run("sh", "-c", f"kill -KILL {server}")
            entry = machine.wait_entry("FORK_SERVER_LOST")
            assert fields_of(entry) == {"PRIORITY": "4", "HARK_FORK_SERVER_PID": server,
                                        "HARK_EXIT_CODE": "killed", "HARK_EXIT_STATUS": "KILL"}
            assert ask(machine.socket) == b"ok\n"
            machine.socket.unlink()
            entry = machine.wait_entry("LISTENER_BOUND_ANEW")
            assert fields_of(entry) == {"PRIORITY": "5", "HARK_UNIT": "foo.socket",
                                        "HARK_LISTENER": "/test/s"}
            assert ask(machine.socket) == b"ok\n"
            text = machine.explained()
            assert "The socket /test/s was removed, and bound anew" in text
            assert f"pid {server}, has ended:" in text

    def test_what_cannot_be_started(self, hark):
        """A missing file, which only the fork server knows of, and a missing program: the step."""
        machine = Journal("obey", service="ExecStart=\nExecStart=/test/program\n"
                                          "EnvironmentFile=/test/env\n")
        (machine.shared / "env").write_text("A=1\n")
        shutil.copy(HELPERS / "tiny", machine.shared / "program")
        with machine:
            assert ask(machine.socket) == b"ok\n"
            (machine.shared / "program").unlink()
            assert ask(machine.socket) == b""
            entry = machine.wait_entry("HANDLER_FAILED")
            assert (entry["HARK_EXIT_STATUS"], entry["HARK_STEP"], entry["ERRNO"]) == (
                "203", "exec", "2")
            (machine.shared / "env").unlink()
            assert ask(machine.socket) == b""
            entry = machine.wait_entry("UNIT_NOT_STARTED")
            assert fields_of(entry) == {"PRIORITY": "3", "HARK_UNIT": "foo", "ERRNO": "2"}
            assert "/test/env" in entry["MESSAGE"]
            assert "Subject: foo cannot be started" in machine.explained()

    def test_journal_that_does_not_read(self, hark):
        """journald is stopped, and there is more to log than its queue takes: hark goes on, and
        logs again when journald does."""
        total = 1200 if SANITIZED else 3000
        with Journal("tiny", options="--report=exits") as machine:
            machine.run("systemctl", "kill", "--kill-who=main", "-s", "STOP",
                        "systemd-journald.service")
            try:
                result = finish_load(load(machine.socket, total), timeout=60)
                assert result["errors"] == 0, result
                machine.wait_show("hark.service", "StatusText", f"0 running, {total} done")
            finally:
                machine.run("systemctl", "kill", "--kill-who=main", "-s", "CONT",
                            "systemd-journald.service")
            before = len(machine.entries("HANDLER_ENDED"))
            lines = machine.run("journalctl", "-u", "hark.service", "-o", "cat",
                                "_TRANSPORT=stdout").splitlines()
            assert any("exited with status 0" in line for line in lines), \
                "its queue was never full: this shows nothing"

            def goes_on():
                """Its queue may be full for a while still, and the entry be a line then."""
                assert ask(machine.socket) == b"ok\n"
                return len(machine.entries("HANDLER_ENDED")) > before

            wait_until(goes_on, what="entries go on")


# ---- elsewhere -------------------------------------------------------------------------------


def test_plain_lines_elsewhere(activate, directory, helpers):
    """Standard error is a file, whatever JOURNAL_STREAM is left over from a parent."""
    status = os.stat("/dev/null")
    for env in ({}, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}):
        with activate("-l", directory / "s", "-a", helpers / "obey", env=env) as hark:
            assert ask(directory / "s", b"exit 3\n") == b"ok\n"
            line = r'^hark: "obey@0" \(pid \d+\) exited with status 3$'
            wait_until(lambda h=hark, p=line: re.search(p, h.stderr(), re.MULTILINE))
            assert not re.search(r"^<|MESSAGE|HARK_", hark.stderr(), re.MULTILINE)


def test_what_is_left_out_is_counted(activate, directory, helpers):
    """More failures than are written: the rest is counted, at the latest when hark ends."""
    total = 60
    with activate("-l", directory / "s", "-a", helpers / "obey") as hark:
        for _ in range(total):
            assert ask(directory / "s", b"exit 3\n") == b"ok\n"
        hark.notifications.wait_exits(total)
        hark.terminate()
        written = len(re.findall("exited with status 3$", hark.stderr(), re.MULTILINE))
        counts = re.findall(r"^hark: (\d+) more failures not shown$", hark.stderr(), re.MULTILINE)
        assert written + sum(map(int, counts)) == total
        assert counts, "all of them were written: this shows nothing"


# ---- levels ----------------------------------------------------------------------------------

PAIR = {"foo.socket": "[Socket]\nListenStream={directory}/s\nAccept=yes\n",
        "foo@.service": "[Service]\nExecStart={helpers}/obey\n"}


@pytest.fixture(params=["run", "activate"])
def serve(request, activate, run, directory, helpers):
    """serve("--option", env={…}): hark with either verb, a handler of which has failed."""
    def make(*options: str, env: dict[str, str] | None = None) -> str:
        hark: Hark
        if request.param == "run":
            hark = run(PAIR, *options, "foo.socket", env=env or {})
        else:
            hark = activate(*options, "-l", directory / "s", "-a", helpers / "obey", env=env or {})
        with hark:
            assert ask(directory / "s", b"exit 3\n") == b"ok\n"
            hark.notifications.wait_exits(1)
        return hark.stderr()
    return make


def seen(text: str) -> set[str]:
    """The levels of the lines that are there."""
    patterns = {"debug": r"^hark: fork server 0: pid \d+", "info": "^hark: listening on",
                "warning": "exited with status 3$"}
    return {name for name, p in patterns.items() if re.search(p, text, re.MULTILINE)}


def test_levels(serve):
    """--log-level, and what it is without; by name and number."""
    assert seen(serve()) == {"info", "warning"}
    assert seen(serve("--log-level=debug")) == {"debug", "info", "warning"}
    assert seen(serve("--log-level=7")) == {"debug", "info", "warning"}
    assert seen(serve("--log-level=notice")) == {"warning"}
    assert serve("--log-level=3") == ""


def test_level_of_the_environment(serve):
    """SYSTEMD_LOG_LEVEL as with systemd's own tools: the option is stronger, nonsense is said."""
    assert seen(serve(env={"SYSTEMD_LOG_LEVEL": "debug"})) == {"debug", "info", "warning"}
    assert serve(env={"SYSTEMD_LOG_LEVEL": "3"}) == ""
    assert seen(serve("--log-level=info", env={"SYSTEMD_LOG_LEVEL": "3"})) == {"info", "warning"}
    wrong = serve(env={"SYSTEMD_LOG_LEVEL": "loud"})
    assert seen(wrong) == {"info", "warning"}
    assert 'hark: cannot use SYSTEMD_LOG_LEVEL="loud"' in wrong


@pytest.mark.parametrize("verb", ["run", "activate"])
@pytest.mark.parametrize("level", ["", "8", "-1", "error", "Debug"])
def test_wrong_levels(verb, level):
    """A mistake on the command line: nothing is started."""
    result = run_hark(verb, f"--log-level={level}", "x")
    assert result.returncode == 64
    assert '--log-level takes emerg' in result.stderr and f'not "{level}"' in result.stderr
