# SPDX-License-Identifier: MIT
"""The pairs in units/: they work as they are, with hark and with systemd. And hark-units(5), which
is made from the table of directives."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from support import (BUILD, SOURCE, clean_environment, connect, free_port, receive_all, run_hark,
                     wait_until)

UNITS = SOURCE / "units"
PAIRS = {"echo.socket": "echo@.service", "files.socket": "files.service",
         "notes.socket": "notes.service"}
PAGE = BUILD / "man/hark-units.5"


def test_every_file_is_tried_here():
    """No example without a test."""
    found = {path.name for path in UNITS.iterdir() if path.suffix in (".socket", ".service")}
    assert found == {*PAIRS, *PAIRS.values()}


@pytest.mark.root
@pytest.mark.parametrize("name", PAIRS)
def test_hark_would_run_it(name):
    """As it is: without any error or warning, and with nothing that is only run without."""
    report = json.loads(run_hark("check", "--json", str(UNITS / name)).stdout)
    assert report["runnable"] and report["problems"] == [], report["problems"]
    assert [pair["service"] for pair in report["pairs"]] == [PAIRS[name]]
    assert [unit["run_without"] for unit in report["units"]] == [[], []]


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("name", [*PAIRS, *PAIRS.values()])
def test_systemd_accepts_it(name):
    """systemd-analyze verify has nothing to say about the file."""
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", str(UNITS / name)],
                            capture_output=True, text=True, check=False, timeout=60,
                            env=clean_environment(), stdin=subprocess.DEVNULL)
    said = [line for line in (result.stdout + result.stderr).splitlines() if str(UNITS) in line]
    assert result.returncode == 0 and said == [], result.stderr


@pytest.fixture
def serve(run, directory):
    """serve("echo.socket", more): hark run of the example, at an address of the test's own. Only
    drop-ins say that; they end in .socket.d or .service.d."""
    def make(name: str, drop_ins: dict[str, str], *paths: Path):
        units = {f"{unit}.d/here.conf": text for unit, text in drop_ins.items()}
        return run(units, str(UNITS / name), extra_paths=list(paths))
    return make


def test_echo(serve, directory):
    """Each connection has its process; beyond the limit they wait."""
    here = "[Socket]\nListenStream=\nListenStream={directory}/s\nRemoveOnStop=yes\nMaxConnections=2\n"
    with serve("echo.socket", {"echo.socket": here}, directory / "s") as hark:
        clients = [connect(directory / "s") for _ in range(3)]
        for i, client in enumerate(clients[:2]):
            client.sendall(f"hello {i}\n".encode())
            assert client.recv(100) == f"hello {i}\n".encode()
        clients[2].sendall(b"late\n")
        for client in clients:
            client.shutdown(socket.SHUT_WR)
            rest = receive_all(client)
        assert rest == b"late\n"
        exits = hark.notifications.wait_exits(3)
        assert {(e.code, e.status) for e in exits} == {("exited", "0")}
        for client in clients:
            client.close()


@pytest.mark.root
def test_files(serve, directory):
    """The server is started by the first request, and serves the next ones, too."""
    port = free_port()
    (directory / "hello").write_text("from a file\n")
    drop_ins = {"files.socket": f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{port}\n",
                "files.service": "[Service]\nWorkingDirectory={directory}\n"}
    with serve("files.socket", drop_ins) as hark:
        assert not hark.handlers()
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/hello", timeout=20) as answer:
                assert answer.read() == b"from a file\n"
        (pid,) = hark.handlers()
        assert os.stat(f"/proc/{pid}").st_uid != 0, "it is not root"


def test_notes(serve, directory):
    """Datagrams become lines; an empty one ends the process, and the next one starts it again."""
    log = directory / "log"
    drop_ins = {"notes.socket": "[Socket]\nListenDatagram=\nListenDatagram={directory}/s\n",
                "notes.service": f"[Service]\nStandardOutput=append:{log}\n"}
    with serve("notes.socket", drop_ins, directory / "s") as hark:
        client = connect(directory / "s", socket.SOCK_DGRAM)
        client.send(b"one\n")
        client.send(b"two\n")
        wait_until(lambda: log.exists() and log.read_text() == "one\ntwo\n", what="two lines")
        client.send(b"")
        hark.notifications.wait_exits(1)
        client.send(b"three\n")
        wait_until(lambda: log.read_text() == "one\ntwo\nthree\n", what="a third line")
        client.close()


# ---- The manual ------------------------------------------------------------------------------


def page() -> str:
    """hark-units(5) as it was built."""
    if not PAGE.exists():
        pytest.skip("built without the manual")
    return PAGE.read_text()


@pytest.mark.needs("mandoc")
def test_the_manual_page_is_clean():
    """mandoc has nothing to say about it."""
    page()
    result = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(PAGE)],
                            capture_output=True, text=True, check=False, env=clean_environment())
    assert result.returncode == 0 and not result.stdout, result.stdout


def test_the_manual_has_every_directive():
    """Each entry of the table in the source is there, once."""
    table = (SOURCE / "src/unit/directive-table.c").read_text()
    names = re.findall(r'^ {4}(?:HONOURED|HARMLESS|REFUSED|UNLESS|SANDBOX)\(\s*"(\w+)"', table,
                       re.MULTILINE)
    section = page().split(".Sh DIRECTIVES")[1].split(".Sh DIFFERENCES")[0]
    listed = re.findall(r"^\.Li (\w+)(?: ,| Pq .*)?$", section, re.MULTILINE)
    assert len(names) > 400
    assert sorted(names) == sorted(name for name in listed if name != "sandbox")


def test_the_manual_has_every_option_of_run():
    """hark(1) and "hark run --help" agree."""
    options = set(re.findall(r"--([a-z][a-z-]+)", run_hark("run", "--help").stdout))
    text = (SOURCE / "man/hark.1").read_text().split(".Ss hark run\n")[1].split("\n.Ss ")[0]
    missing = {o for o in options - {"help", "version"} if not re.search(rf"Fl -{o}\b", text)}
    assert not missing, f"not in hark(1): {missing}"
