# SPDX-License-Identifier: MIT
"""Programs that were written for inetd or systemd, run by hark, used by their own clients."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support import Hark, ask, clean_environment, free_port, wait_until, which


def command(*arguments: object, cwd: Path | None = None, timeout: float = 60,
            **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a client; fails with all that it said."""
    result = subprocess.run([str(a) for a in arguments], cwd=cwd, env=clean_environment(**env),
                            stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=timeout, check=False)
    assert result.returncode == 0, f"{arguments}: {result.stdout}{result.stderr}"
    return result


@pytest.mark.needs("git", "git-daemon")
def test_git_daemon(activate, directory):
    """git daemon --inetd: clone, then push refused, several clones side by side."""
    work, bare = directory / "work", directory / "served" / "project.git"
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    command("git", "init", "-q", "-b", "main", work)
    for n in range(20):
        (work / f"file{n}").write_text(f"content {n}\n" * 100)
    command("git", "add", ".", cwd=work)
    command("git", *identity, "commit", "-q", "-m", "first", cwd=work)
    bare.parent.mkdir()
    command("git", "clone", "-q", "--bare", work, bare)
    port = free_port()
    with activate("-l", f"127.0.0.1:{port}", "-a", "--inetd", "-E", f"HOME={directory}",
                  which("git"), "daemon", "--inetd", "--export-all",
                  f"--base-path={bare.parent}", bare.parent) as hark:
        url = f"git://127.0.0.1:{port}/project.git"
        clones = [subprocess.Popen(["git", "clone", "-q", url, str(directory / f"clone{n}")],
                                   env=clean_environment(), stderr=subprocess.PIPE)
                  for n in range(5)]
        for clone in clones:
            _, message = clone.communicate(timeout=60)
            assert clone.returncode == 0, message
        head = command("git", "rev-parse", "HEAD", cwd=work).stdout
        for n in range(5):
            assert command("git", "rev-parse", "HEAD", cwd=directory / f"clone{n}").stdout == head
            assert (directory / f"clone{n}" / "file19").read_text() == "content 19\n" * 100
        exits = hark.notifications.wait_exits(5)
        assert {e.status for e in exits} == {"0"}


@pytest.mark.root
@pytest.mark.needs("sshd", "ssh", "ssh-keygen")
def test_sshd(activate, directory):
    """sshd -i with keys and a configuration of its own: a command, its status, and its output."""
    for name in ("host", "user"):
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name)
    authorized = directory / "authorized_keys"
    shutil.copy(directory / "user.pub", authorized)
    authorized.chmod(0o600)
    config = directory / "sshd_config"
    config.write_text(f"HostKey {directory}/host\nAuthorizedKeysFile {authorized}\n"
                      "PermitRootLogin yes\nStrictModes no\nUsePAM no\nPidFile none\n"
                      "PasswordAuthentication no\nLogLevel VERBOSE\n")
    privilege_separation = Path("/run/sshd")
    privilege_separation.mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    with activate("-l", f"127.0.0.1:{port}", "-a", "--inetd", which("sshd"), "-i", "-e", "-f",
                  config) as hark:
        ssh = ["ssh", "-F", "none", "-i", directory / "user", "-p", port, "-o", "BatchMode=yes",
               "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={directory}/known",
               "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=30",
               f"{getpass.getuser()}@127.0.0.1"]
        for n in range(3):
            result = subprocess.run([str(w) for w in [*ssh, f"echo hello {n}; exit {n}"]],
                                    capture_output=True, text=True, timeout=60, check=False,
                                    env=clean_environment(), stdin=subprocess.DEVNULL)
            assert result.returncode == n, result.stderr + hark.stderr()
            assert result.stdout == f"hello {n}\n"
        data = os.urandom(3_000_000)
        result = subprocess.run([str(w) for w in [*ssh, "cat"]], input=data, timeout=60,
                                capture_output=True, check=False, env=clean_environment())
        assert result.stdout == data
        hark.notifications.wait_exits(4)


@pytest.mark.needs("rsync")
def test_rsync(activate, directory):
    """rsync --daemon: a tree there and back, on a socket that hark accepts from."""
    module, source, back = (directory / name for name in ("module", "source", "back"))
    module.mkdir()
    (source / "deep" / "er").mkdir(parents=True)
    for n in range(50):
        (source / "deep" / f"f{n}").write_bytes(os.urandom(10_000))
    config = directory / "rsyncd.conf"
    owner = "uid = 0\ngid = 0\n" if os.geteuid() == 0 else ""
    config.write_text(f"use chroot = no\n{owner}log file = {directory}/rsync.log\n"
                      f"[data]\npath = {module}\nread only = no\n")
    port = free_port()
    with activate("-l", f"127.0.0.1:{port}", "-a", "--inetd", which("rsync"), "--daemon",
                  f"--config={config}") as hark:
        url = f"rsync://127.0.0.1:{port}/data/"
        command("rsync", "-a", f"{source}/", url)
        command("rsync", "-a", url, f"{back}/")
        command("diff", "-r", source, back)
        exits = hark.notifications.wait_exits(2)
        assert {e.code for e in exits} == {"exited"}


@pytest.mark.needs("socat")
def test_socat_as_client(activate, directory):
    """A plain shell handler with socat on the other side, over all kinds of socket."""
    path, seqpacket, abstract = directory / "s", directory / "q", f"@hark-socat-{directory.name}"
    port = free_port()
    handler = ["/bin/sh", "-c", "read line; echo \"you said $line\""]
    with activate("-l", path, "-l", abstract, "-l", f"127.0.0.1:{port}", "-a", "--inetd",
                  *handler) as hark:
        for target in (f"UNIX-CONNECT:{path}", f"ABSTRACT-CONNECT:{abstract[1:]}",
                       f"TCP4:127.0.0.1:{port}"):
            result = subprocess.run(["socat", "-t20", "-", target], input="hello\n", text=True,
                                    capture_output=True, timeout=60, check=False)
            assert result.stdout == "you said hello\n", result.stderr
        hark.notifications.wait_exits(3)
    # a shell reads byte by byte, which a message does not survive
    echo = [which("dd"), "bs=100", "count=1", "status=none"]
    with activate("-l", seqpacket, "--seqpacket", "-a", "--inetd", *echo):
        result = subprocess.run(["socat", "-t20", "-", f"UNIX-CONNECT:{seqpacket},type=5"],
                                input="hello\n", text=True, capture_output=True, timeout=60,
                                check=False)
        assert result.stdout == "hello\n", result.stderr


DBUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>systemd:</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""


@pytest.mark.needs("dbus-daemon", "dbus-send")
def test_dbus_daemon(activate, directory):
    """dbus-daemon --address=systemd: is started by the first client and takes LISTEN_FDS."""
    path, config = directory / "bus", directory / "bus.conf"
    config.write_text(DBUS_CONFIG)
    with activate("-l", path, which("dbus-daemon"), f"--config-file={config}",
                  "--address=systemd:", "--nofork", "--nopidfile") as hark:
        assert not hark.handlers()
        for _ in range(3):
            result = command("dbus-send", f"--bus=unix:path={path}", "--print-reply",
                             "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.ListNames")
            assert "org.freedesktop.DBus" in result.stdout
        assert len(hark.handlers()) == 1


def test_hark_below_hark(hark, directory, helpers):
    """hark is itself a program that takes LISTEN_FDS: here from another hark."""
    path = directory / "s"
    with Hark(["-l", str(path), str(hark), "activate", "-a", str(helpers / "tiny")], directory):
        for _ in range(5):
            assert wait_until(lambda: ask(path) == b"ok\n", what="served through two harks")
