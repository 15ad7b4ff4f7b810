# SPDX-License-Identifier: MIT
"""Varlink with systemd: our client asks systemd's services, systemd's clients ask our server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support import wait_until
from systemd_machine import SANITIZER_OPTIONS, Machine

pytestmark = [pytest.mark.root,
              pytest.mark.needs("systemd-nspawn", "unshare", "nsenter", "setpriv")]

CALL = "/hark/tests/helpers/varlink-call"
USERS = "/run/systemd/userdb/io.systemd.DynamicUser"  # of systemd's PID 1
JOURNAL = "/run/systemd/journal/io.systemd.journal"

DYNAMIC = """[Service]
DynamicUser=yes
User=hark-dynamic
ExecStart=sleep infinity
"""

SERVE = """[Service]
ExecStart=/hark/tests/helpers/varlink-serve {path}
StandardOutput=append:/test/{name}
StandardError=inherit
""" + SANITIZER_OPTIONS


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A systemd with a dynamic user, and with our server in two places of systemd's own."""
    units = {"dynamic.service": DYNAMIC,
             "users.service": SERVE.format(path="/run/systemd/userdb/org.example.hark",
                                           name="users"),
             "journal.service": SERVE.format(path=JOURNAL, name="journal")}
    with Machine(units) as running:
        yield running


def call(machine: Machine, *arguments: str) -> list[Any]:
    """What our client prints: for each answer its parameters, or its error and its parameters."""
    answers: list[Any] = []
    for line in machine.run(CALL, *arguments, check=False).splitlines():
        error, _, parameters = line.partition(" ") if line[0] != "{" else ("", "", line)
        answers.append((error, json.loads(parameters)) if error else json.loads(parameters))
    return answers


def said(machine: Machine, name: str) -> list[str]:
    """What our server has printed."""
    path = machine.shared / name
    return path.read_text().splitlines() if path.exists() else []


def test_our_client_introspects_systemd(machine):
    """GetInfo of PID 1, which older versions refuse to give: that is an answer too."""
    answer, = call(machine, USERS, "org.varlink.service.GetInfo")
    if isinstance(answer, tuple):
        assert answer[0] == "org.varlink.service.MethodNotImplemented"
        return
    assert "systemd" in answer["product"]
    assert {"org.varlink.service", "io.systemd.UserDatabase"} <= set(answer["interfaces"])
    described, = call(machine, USERS, "org.varlink.service.GetInterfaceDescription",
                      json.dumps({"interface": "org.varlink.service"}))
    assert "method GetInfo()" in described["description"]


def test_our_client_calls_systemd(machine):
    """A record, errors, and several answers to one call."""
    machine.run("systemctl", "start", "dynamic.service")
    question = {"service": "io.systemd.DynamicUser", "userName": "hark-dynamic"}
    method = "io.systemd.UserDatabase.GetUserRecord"
    answer, = call(machine, USERS, method, json.dumps(question))
    assert answer["record"]["userName"] == "hark-dynamic"
    uid = int(machine.run("stat", "-c", "%u", f"/proc/{machine.show('dynamic.service', 'MainPID')}"))
    assert answer["record"]["uid"] == uid
    question["userName"] = "hark-nobody"
    (error, _), = call(machine, USERS, method, json.dumps(question))
    assert error == "io.systemd.UserDatabase.NoRecordFound"
    (error, parameters), = call(machine, USERS, "io.systemd.UserDatabase.No")
    assert error == "org.varlink.service.MethodNotFound"
    del question["userName"]
    answers = call(machine, "--more", USERS, method, json.dumps(question))
    assert "hark-dynamic" in [a["record"]["userName"] for a in answers]
    assert call(machine, JOURNAL, "io.systemd.Journal.Synchronize") == [{}]


def test_systemd_asks_our_server_for_users(machine):
    """nss-systemd gets records from us: one by name, one by number, all, none."""
    machine.run("systemctl", "start", "users.service")
    wait_until(lambda: said(machine, "users"), what="our server listens")
    getent = ("getent", "-s", "passwd:systemd", "passwd")
    line = "hark-61002:x:61002:61002:a test:/tmp:/bin/sh\n"
    assert machine.run(*getent, "hark-61002") == line
    assert machine.run(*getent, "61002") == line
    assert machine.run(*getent, "hark-1", check=False) == ""
    lines = machine.run(*getent).splitlines()
    assert {"hark-61001", "hark-61002", "hark-61003"} <= {each.split(":")[0] for each in lines}
    assert {"user hark-61002", "user - more"} <= set(said(machine, "users"))


def test_systemd_asks_our_server_to_synchronize(machine):
    """journalctl --sync waits for our answer."""
    machine.run("systemctl", "start", "journal.service")
    wait_until(lambda: said(machine, "journal"), what="our server listens")
    machine.run("journalctl", "--sync")
    assert said(machine, "journal") == ["ready", "synchronize from uid 0"]
