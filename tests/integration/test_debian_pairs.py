# SPDX-License-Identifier: MIT
"""Pairs of socket and service as Debian ships them, run by hark, used by their own clients. Where
hark runs one only without some keys, the test names exactly these."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from debian_pairs import HOST, OTHER, PLACES, Pair
from support import clean_environment, wait_until

pytestmark = [pytest.mark.root, pytest.mark.needs("nsenter", "dpkg")]

CURL = ["curl", "-sS", "--max-time", "60"]

# What hark leaves to a container: the whole confinement of uuidd.
SANDBOX_OF_UUIDD = ["ProtectSystem", "ProtectHome", "PrivateDevices", "PrivateUsers",
                    "ProtectKernelTunables", "ProtectKernelModules", "ProtectControlGroups",
                    "MemoryDenyWriteExecute", "ReadWritePaths", "SystemCallFilter"]


@pytest.fixture
def pair(hark: Path, directory: Path) -> Callable[..., Pair]:
    """pair(package, socket unit, …, without=[key, …]) makes a Pair, for a with statement."""
    assert hark.exists()

    def make(package: str, *units: str, without: Sequence[str] = (), **options: Any) -> Pair:
        for unit in units:
            if not any((place / unit).exists() for place in PLACES):
                pytest.skip(f"needs {package}: see tests/setup")
        return Pair(units, directory, package=package, ignore=without, **options)
    return make


# ---- Accept=yes ------------------------------------------------------------------------------


@pytest.mark.needs("micro-httpd", "curl")
def test_micro_httpd(pair):
    """A file, a listing, and what is not there, each from a process of its own."""
    with pair("micro-httpd", "micro-httpd.socket") as hark:
        hark.write("/var/www/html/hello.txt", "hello from a file\n" * 1000)
        page = hark.inside(*CURL, f"http://{HOST}/hello.txt")
        assert page == "hello from a file\n" * 1000
        assert "hello.txt" in hark.inside(*CURL, f"http://{HOST}/")
        code = hark.inside(*CURL, "-o", "/dev/null", "-w", "%{http_code}", f"http://{HOST}/none")
        assert code == "404"
        hark.ended_well(3, other="1")  # the unit has ExecStart=-


def decoded(text: str) -> dict:
    """base64url without its padding, JSON inside."""
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


@pytest.mark.needs("jose", "curl")
def test_tang(pair, directory):
    """Keys are advertised, and the server's half of a key exchange fits the client's half."""
    with pair("tang", "tangd.socket") as hark:
        advertised = json.loads(hark.inside(*CURL, f"http://{HOST}/adv"))
        keys = {key["alg"]: key for key in decoded(advertised["payload"])["keys"]}
        assert set(keys) == {"ECMR", "ES512"}
        theirs, ours = directory / "theirs.jwk", directory / "ours.jwk"
        theirs.write_text(json.dumps(keys["ECMR"]))
        hark.inside("jose", "jwk", "gen", "-i", '{"alg":"ECMR"}', "-o", ours)
        public = hark.inside("jose", "jwk", "pub", "-i", ours)
        thumbprint = hark.inside("jose", "jwk", "thp", "-i", theirs)
        answer = json.loads(hark.inside(*CURL, "-H", "Content-Type: application/jwk+json",
                                        "--data-binary", "@-",
                                        f"http://{HOST}/rec/{thumbprint.strip()}", text=public))
        exchanged = json.loads(hark.inside("jose", "jwk", "exc", "-l", ours, "-r", theirs))
        assert (answer["x"], answer["y"]) == (exchanged["x"], exchanged["y"])
        hark.ended_well(2)
        assert all(key.stat().st_uid != 0 for key in hark.root("/var/lib/tang").iterdir())


@pytest.mark.needs("nyancat-server", "socat")
def test_nyancat(pair):
    """The cat flies to two at once, until they have seen enough; telnet's words come first."""
    with pair("nyancat-server", "nyancat-server.socket") as hark:
        viewers = [subprocess.Popen(hark.words("socat", "-u", f"TCP4:{HOST}:23", "-"),
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    env=clean_environment()) for _ in range(2)]
        try:
            for viewer in viewers:
                assert viewer.stdout
                sight = viewer.stdout.read(6_000)
                assert sight.startswith(b"\xff") and b"Nyanyanyanyan" in sight
            assert len(hark.handlers()) == 2
        finally:
            for viewer in viewers:
                viewer.kill()
                viewer.communicate()
        hark.ended_well(2)


@pytest.mark.needs("oidentd", "socat", "setpriv")
def test_oidentd(pair):
    """Who holds the other end of a connection? The server tells, having looked at the kernel's."""
    with pair("oidentd", "oidentd.socket") as hark:
        answers = [hark.talk(f"TCP4:{HOST}:113", "7001, 7000\r\n")]
        assert answers[0].startswith("7001,7000:ERROR:")

        def known() -> bool:
            answers.append(hark.talk(f"TCP4:{HOST}:113", "7001, 7000\r\n"))
            return ":ERROR:" not in answers[-1]
        user = ["setpriv", "--reuid=games", "--regid=games", "--clear-groups"]
        ends = []
        try:
            for address in ("TCP4-LISTEN:7000,reuseaddr",
                            f"TCP4:{HOST}:7000,sourceport=7001,retry=1000,interval=0.01"):
                ends.append(subprocess.Popen(hark.words(*user, "socat", address, "PIPE"),
                                             stdin=subprocess.DEVNULL, env=clean_environment()))
            wait_until(known, what="the two are connected")
        finally:
            for end in ends:
                end.kill()
                end.communicate()
        assert answers[-1] == "7001,7000:USERID:UNIX:games\r\n"
        hark.ended_well(len(answers))


@pytest.mark.needs("csync2")
def test_csync2(pair, directory):
    """Two hosts of a cluster: what changed at one is brought to the other; then it is removed."""
    with pair("csync2", "csync2.socket") as hark:
        hark.write("/etc/csync2.cfg", f"nossl * *;\ngroup test {{ host {HOST}; host {OTHER};\n"
                                      "key /etc/csync2.key; include /run/data; }\n")
        hark.inside("csync2", "-k", "/etc/csync2.key")
        other = directory / "other"
        other.mkdir()
        hark.root("/run/data").mkdir()
        # The other host sees files of its own at that place.
        sync = ["unshare", "--mount", "sh", "-ec", f"mount --bind {other} /run/data; "
                f"csync2 -N {OTHER} -x"]
        (other / "file").write_bytes(os.urandom(300_000))
        hark.inside(*sync)
        assert hark.root("/run/data/file").read_bytes() == (other / "file").read_bytes()
        (other / "file").unlink()
        (other / "second").write_text("two\n")
        hark.inside(*sync)
        assert [p.name for p in hark.root("/run/data").iterdir()] == ["second"]
        hark.ended_well(2)


@pytest.mark.needs("leafnode", "socat")
def test_leafnode(pair):
    """A reader of news looks around."""
    with pair("leafnode", "leafnode.socket") as hark:
        text = hark.talk(f"TCP4:{HOST}:119", "MODE READER\r\nHELP\r\nLIST\r\nGROUP no.such\r\n"
                                             "QUIT\r\n")
        lines = text.split("\r\n")
        assert lines[0].startswith("200 Leafnode NNTP") and HOST in lines[0]
        assert " XOVER <Range>" in lines
        assert [line[:3] for line in lines if line[:3].isdigit()] == ["200", "200", "100", "215",
                                                                      "411", "205"]
        hark.ended_well(1)


@pytest.mark.needs("gophernicus", "curl")
def test_gophernicus(pair, directory):
    """A menu and a file."""
    with pair("gophernicus", "gophernicus.socket", without=["SuccessExitStatus"]) as hark:
        # /srv is not among the places that a Pair may change
        hark.write("/etc/default/gophernicus", f"OPTIONS=-r {directory} -h {HOST}\n")
        (directory / "hello.txt").write_text("hello, burrow\n")
        (directory / "hello.txt").chmod(0o644)
        menu = hark.inside(*CURL, f"gopher://{HOST}/1/")
        assert "hello.txt" in menu
        assert hark.inside(*CURL, f"gopher://{HOST}/0/hello.txt") == "hello, burrow\r\n"
        hark.ended_well(2)


@pytest.mark.needs("tinysshd", "tinysshd-makekey", "ssh", "ssh-keygen")
def test_tinysshd(pair, directory):
    """ssh: a command, its status, its output, and a lot of data there and back."""
    without = ["ExecStartPre", "KillMode", "SuccessExitStatus"]
    with pair("tinysshd", "tinysshd.socket", without=without) as hark:
        hark.inside("rm", "-rf", "/etc/tinyssh/sshkeydir")
        hark.inside("tinysshd-makekey", "-q", "/etc/tinyssh/sshkeydir")  # as ExecStartPre= does
        home = "/var/lib/hark-test"
        with hark.root("/etc/passwd").open("a") as users:
            users.write(f"hark-test:*:64999:64999::{home}:/bin/sh\n")
        hark.inside("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "key")
        hark.write(f"{home}/.ssh/authorized_keys", (directory / "key.pub").read_text(), 0o600)
        hark.inside("chown", "-R", "64999:64999", home)
        ssh = ["ssh", "-F", "none", "-i", directory / "key", "-o", "BatchMode=yes", "-o",
               "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={directory}/known", "-o",
               "LogLevel=ERROR", "-o", "ConnectTimeout=30", f"hark-test@{HOST}"]
        assert hark.inside(*ssh, "id -u; echo hello; exit 7", status=7) == "64999\nhello\n"
        data = "0123456789abcde\n" * 100_000
        assert hark.inside(*ssh, "cat", text=data) == data
        hark.ended_well(2)


# ---- Accept=no -------------------------------------------------------------------------------

CGI = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
echo "$REQUEST_METHOD $QUERY_STRING by $(id -un)"
cat
"""


@pytest.mark.needs("fcgiwrap", "cgi-fcgi")
def test_fcgiwrap(pair):
    """A CGI program behind FastCGI; the socket is for its own user and group."""
    with pair("fcgiwrap", "fcgiwrap.socket") as hark:
        node = hark.root("/run/fcgiwrap.socket").stat()
        owner = hark.inside("id", "-u", "www-data").strip()
        assert (node.st_mode & 0o777, str(node.st_uid)) == (0o660, owner)
        hark.write("/var/lib/cgi/test", CGI, 0o755)
        request = {"SCRIPT_FILENAME": "/var/lib/cgi/test", "REQUEST_METHOD": "POST"}
        for n in range(5):
            env = request | {"QUERY_STRING": f"n={n}", "CONTENT_LENGTH": "6"}
            answer = hark.inside("cgi-fcgi", "-bind", "-connect", "/run/fcgiwrap.socket",
                                 text="posted", env=env)
            assert answer.endswith(f"\r\n\r\nPOST n={n} by www-data\nposted"), answer
        hark.stops_well()


@pytest.mark.needs("beanstalkd", "socat")
def test_beanstalkd(pair):
    """A job from one client to another through one service."""
    with pair("beanstalkd", "beanstalkd.socket") as hark:
        address = "TCP4:127.0.0.1:11300"
        assert hark.talk(address, "put 0 0 60 5\r\nhello\r\nquit\r\n") == "INSERTED 1\r\n"
        assert hark.talk(address, "reserve\r\ndelete 1\r\nquit\r\n") == \
            "RESERVED 1 5\r\nhello\r\nDELETED\r\n"
        statistics = hark.talk(address, "stats\r\nquit\r\n")
        assert "total-jobs: 1\n" in statistics and "total-connections: 3\n" in statistics
        hark.stops_well("killed", "TERM")


@pytest.mark.needs("uuidd", "uuidgen")
def test_uuidd(pair):
    """UUIDs of both kinds, none twice; the clock's state is written by the daemon's user."""
    with pair("uuid-runtime", "uuidd.socket", without=SANDBOX_OF_UUIDD) as hark:
        assert hark.root("/run/uuidd/request").stat().st_mode & 0o777 == 0o666
        assert uuid.UUID(hark.inside("uuidd", "--random").strip()).version == 4
        ids = {hark.inside("uuidd", "--time").strip() for _ in range(10)}
        ids.add(hark.inside("uuidgen", "--time").strip())
        assert len(ids) == 11 and {uuid.UUID(one).version for one in ids} == {1}
        block = hark.inside("uuidd", "--random", "--uuids", 20).splitlines()
        found = [uuid.UUID(line.strip()) for line in block if len(line.strip()) == 36]
        assert len(set(found)) == 20
        hark.stops_well()


@pytest.mark.needs("podman", "crun", "curl")
def test_podman(pair):
    """The API of podman: it ends when idle, and is there again for the next request."""
    with pair("podman", "podman.socket", without=["Delegate", "KillMode"]) as hark:
        # podman keeps its storage in overlays, which cannot lie in the one that is /var here
        hark.root("/var/lib/containers").mkdir(exist_ok=True)
        hark.inside("mount", "-t", "tmpfs", "tmpfs", "/var/lib/containers")
        request = [*CURL, "--unix-socket", "/run/podman/podman.sock"]
        assert hark.inside(*request, "http://d/v4.0.0/libpod/_ping") == "OK"
        version = json.loads(hark.inside(*request, "http://d/v4.0.0/libpod/version"))
        assert version["Components"][0]["Name"] == "Podman Engine"
        hark.ended_well(1)
        images = hark.inside(*request, "http://d/v4.0.0/libpod/images/json")
        assert json.loads(images) == []
        assert len(hark.handlers()) == 1
        assert hark.terminate() == 0
        assert [(e.code, e.status) for e in hark.notifications.exits] == [("exited", "0")] * 2


@pytest.mark.needs("gpg-agent", "gpg-connect-agent", "ssh-add")
def test_gpg_agent(pair):
    """Units of a user: four sockets of one service, which tells them apart by their names."""
    kinds = ["", "-extra", "-browser", "-ssh"]
    with pair("gpg-agent", *[f"gpg-agent{kind}.socket" for kind in kinds], user=True) as hark:
        sockets = hark.root("/run/user/0/gnupg")
        assert sockets.stat().st_mode & 0o777 == 0o700
        home = {"GNUPGHOME": "/root/.gnupg", "HOME": "/root"}
        hark.inside("mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", "/root")

        def ask(kind: str, *questions: str) -> list[str]:
            path = f"/run/user/0/gnupg/S.gpg-agent{kind}"
            return hark.inside("gpg-connect-agent", "--no-autostart", "--raw-socket", path,
                               *questions, "/bye", env=home).splitlines()

        pid = ask("", "GETINFO pid")[0]
        assert [f"D {one}" for one in hark.handlers()] == [pid]
        assert ask("", "GETINFO restricted")[0].startswith("ERR")
        for kind in (".extra", ".browser"):
            assert ask(kind, "GETINFO restricted") == ["OK"]
        keys = hark.inside("ssh-add", "-l", status=1,
                           env={"SSH_AUTH_SOCK": "/run/user/0/gnupg/S.gpg-agent.ssh"})
        assert keys == "The agent has no identities.\n"
        assert ask("", "GETINFO pid")[0] == pid
        hark.stops_well()
