# SPDX-License-Identifier: MIT
"""Boots a real systemd as PID 1, over an overlay of this machine's root, in a fraction of a second.

Everything lives in a private mount and PID namespace of one process, so that the end of that
process is the end of the machine, whatever happens to the tests.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from support import (BUILD, SANITIZED, Notify, clean_environment, descendants, kill_quietly,
                     short_directory, wait_until)

# For the [Service] of programs that may be sanitized. The leak checker stops the process that it
# looks at by a SIGSTOP and waits for that; systemd sends SIGCONT after SIGTERM, which cancels it.
SANITIZER_OPTIONS = ("Environment=ASAN_OPTIONS=detect_leaks=0:exitcode=86"
                     " UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:exitcode=86\n")

# Runs as the first process of the namespaces. $1: the machine's directory, $2: its name, the
# rest: options of systemd-nspawn.
BOOT = r"""
set -eu
directory=$1 name=$2
shift 2
umount -R /sys/fs/cgroup 2>/dev/null || :
mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup/$name
mkdir "$group" "$group/boot"
echo $$ >"$group/boot/cgroup.procs"

mount -t tmpfs tmpfs "$directory/layers"
cd "$directory/layers"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=upper,workdir=work" root
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn

cd root
rm -rf etc/systemd/system etc/systemd/*-generators usr/lib/systemd/system-generators \
    usr/lib/systemd/system/*.target.wants etc/fstab var/log/journal etc/machine-id etc/hostname
mkdir -p etc/systemd/system/sysinit.target.wants etc/systemd/system/sockets.target.wants \
    etc/systemd/journald.conf.d test hark
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
for unit in dev-mqueue.mount systemd-journald.service; do
    ln -s /usr/lib/systemd/system/$unit etc/systemd/system/sysinit.target.wants/$unit
done
for unit in systemd-journald.socket systemd-journald-dev-log.socket; do
    ln -s /usr/lib/systemd/system/$unit etc/systemd/system/sockets.target.wants/$unit
done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' \
    >etc/systemd/system/test.target
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' \
    >etc/systemd/journald.conf.d/test.conf
cp "$directory"/units/* etc/systemd/system/ 2>/dev/null || :
cd /

status=0
SYSTEMD_SECCOMP=0 systemd-nspawn --register=no --keep-unit --quiet \
    --directory="$directory/layers/root" --link-journal=no --resolv-conf=off --timezone=off \
    --notify-ready=yes --machine="$name" --hostname="$name" --console=read-only --boot \
    --capability=all --private-network "$@" \
    systemd.unit=test.target systemd.show_status=no || status=$?
echo $$ >/sys/fs/cgroup/cgroup.procs
find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || :
exit $status
"""


class Machine:
    """A booted systemd; units is a dict of file name to text. /test inside is .shared outside."""

    def __init__(self, units: dict[str, str]) -> None:
        self.directory = short_directory()
        self.name = f"hark-{os.getpid()}-{time.monotonic_ns():x}"
        self.shared = self.directory / "shared"
        self.log = self.directory / "log"
        for name in ("layers", "units", "shared"):
            (self.directory / name).mkdir()
        for name, text in units.items():
            (self.directory / "units" / name).write_text(text)
        self.notify = Notify(self.directory)
        self.leader = 0

    def __enter__(self) -> "Machine":
        env = clean_environment(NOTIFY_SOCKET=str(self.notify.path))
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private",
                 "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh", "-c", BOOT, "boot",
                 str(self.directory), self.name, f"--bind={self.shared}:/test",
                 f"--bind-ro={BUILD}:/hark"],
                env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.notify.wait_for(lambda: self.notify.has("READY=1"), 30, "systemd boots",
                                 lambda: self.child.poll() is None)
            self.leader = self._find_leader()
        except BaseException as error:
            text = self.log.read_text(errors="replace")
            self.end()
            raise AssertionError(f"systemd did not boot: {error}\n{text}") from None
        return self

    def _find_leader(self) -> int:
        """PID 1 inside: the deepest of our processes that is the first of a PID namespace."""
        best = (0, 0)
        for found in descendants(self.child.pid):
            text = Path(f"/proc/{found.pid}/status").read_text()
            match = re.search(r"^NSpid:\s+(.*)$", text, re.MULTILINE)
            pids = match[1].split() if match else []
            if pids and pids[-1] == "1":
                best = max(best, (len(pids), found.pid))
        assert best[1], "the machine's first process cannot be found"
        return best[1]

    def __exit__(self, kind: Any, *unused: Any) -> None:
        try:
            if SANITIZED and kind is None:
                self._check_sanitizers()
        finally:
            self.end()

    def _check_sanitizers(self) -> None:
        """What a service found wrong with itself would only be in the journal."""
        said = self.journal("*")
        assert not re.search(r"Sanitizer:|runtime error:", said), said[-10000:]

    def end(self) -> None:
        """Powers it off, by force if need be, and removes what is left of it."""
        if self.leader and self.child.poll() is None:
            kill_quietly(self.leader, signal.SIGRTMIN + 4)  # orderly: poweroff.target
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                pass
        if self.child.poll() is None:
            self.child.kill()  # takes the namespace with it
            self.child.wait(20)
        self.notify.close()
        self._remove_cgroups()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _remove_cgroups(self) -> None:
        """After a hard end the empty groups are still there."""
        script = ("umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 cgroup2 /sys/fs/cgroup;"
                  '[ -d "/sys/fs/cgroup/$1" ] || exit 0;'
                  'find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} \\; 2>/dev/null;'
                  '[ ! -d "/sys/fs/cgroup/$1" ]')
        end = time.monotonic() + 5
        while subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                              script, "sh", self.name], check=False).returncode != 0:
            assert time.monotonic() < end, "the machine's control groups stay"
            time.sleep(0.05)

    def run(self, *command: str, check: bool = True, timeout: float = 30) -> str:
        """Runs a command inside; returns what it printed."""
        script = ('group=/proc/$1/root/sys/fs/cgroup/$2/payload/exec; leader=$3; shift 3;'
                  'mkdir -p "$group"; echo $$ >"$group/cgroup.procs";'
                  'exec nsenter -t "$leader" -m -u -i -n -p -C env -i'
                  ' PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 SYSTEMD_COLORS=0'
                  ' SYSTEMD_PAGER= "$@"')
        outer = next(p.pid for p in descendants(self.child.pid) if p.ppid == self.child.pid)
        result = subprocess.run(
            ["sh", "-c", script, "sh", str(outer), self.name, str(self.leader), *command],
            env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout, start_new_session=True, check=False)
        if check:
            assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result.stdout

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def wait_show(self, unit: str, name: str, pattern: str) -> str:
        """Waits for a property to match."""
        def current() -> str | None:
            value = self.show(unit, name)
            return value if re.search(pattern, value) else None
        return wait_until(current, what=f"{name} of {unit} matches {pattern}")

    def journal(self, unit: str) -> str:
        """All messages of a unit, its own and systemd's about it."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "-u", unit, "-o", "cat", "--no-pager")
