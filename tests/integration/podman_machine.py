# SPDX-License-Identifier: MIT
"""A real podman on this machine, without images: containers get an overlay of its own root.

Everything lives in a private mount and PID namespace of one process, so that the end of that
process is the end of every container, whatever happens to the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from support import (BUILD, DEADLINE, clean_environment, descendants, short_directory, wait_until)

# Runs as the first process of the namespaces; $1: the machine's directory. Ends with its stdin.
BEGIN = r"""
set -eu
umount -R /sys/fs/cgroup 2>/dev/null || :
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs "$1/layers"
cd "$1/layers"
mkdir upper work root storage run tmp
mknod upper/tmp c 0 0 # hides it: what the host does there meanwhile is not for containers
mknod upper/run c 0 0
mount -t overlay overlay -o "lowerdir=/,upperdir=upper,workdir=work" root
mkdir -p root/hark root/test root/run
mkdir -m 1777 root/tmp
touch "$1/begun"
cat >/dev/null
"""

# Control groups cannot be delegated on machines without systemd, so podman is told to leave them.
OPTIONS = ["--cgroups=disabled", "--network=none", "--log-driver=k8s-file",
           "--ulimit=nofile=1024:4096", "--ulimit=nproc=1000:1000"]


class Podman:
    """podman(…) runs it; /test inside a container is .shared outside, /hark the build."""

    def __init__(self) -> None:
        self.directory = short_directory()
        self.shared = self.directory / "shared"
        for name in ("layers", "shared"):
            (self.directory / name).mkdir()
        (self.directory / "shared").chmod(0o777)
        self.leader = 0

    def __enter__(self) -> "Podman":
        with open(self.directory / "log", "wb") as log:
            self.child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private",
                 "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh", "-c", BEGIN, "begin",
                 str(self.directory)],
                env=clean_environment(), stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            wait_until(lambda: (self.directory / "begun").exists() or self.child.poll() is not None,
                       what="the namespaces")
            assert self.child.poll() is None, (self.directory / "log").read_text()
            self.leader = next(p.pid for p in descendants(self.child.pid)
                               if p.ppid == self.child.pid)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *unused: Any) -> None:
        self.child.kill()  # takes the namespaces with it
        self.child.wait(DEADLINE)
        assert self.child.stdin
        self.child.stdin.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def command(self, *arguments: str) -> list[str]:
        """The command line of podman in its namespaces."""
        layers = self.directory / "layers"
        return ["nsenter", "-t", str(self.leader), "-m", "-p", "podman",
                "--root", f"{layers}/storage", "--runroot", f"{layers}/run", "--tmpdir",
                f"{layers}/tmp", "--cgroup-manager=cgroupfs", "--events-backend=none",
                "--storage-driver=vfs", *arguments]

    def run_command(self, *options: str, command: list[str]) -> list[str]:
        """The command line of `podman run`."""
        return self.command("run", *OPTIONS,
                            f"--mount=type=bind,src={self.shared},dst=/test",
                            f"--mount=type=bind,src={BUILD},dst=/hark,ro", *options,
                            "--rootfs", f"{self.directory}/layers/root:O", *command)

    def __call__(self, *arguments: str, check: bool = True,
                 env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs podman with these arguments to its end."""
        return self._call(self.command(*arguments), check, env or {})

    def run(self, *options: str, command: list[str], check: bool = True,
            env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """`podman run` to its end (of podman: with -d the container goes on)."""
        return self._call(self.run_command(*options, command=command), check, env or {})

    @staticmethod
    def _call(command: list[str], check: bool,
              env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(command, env=clean_environment() | env, stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=60, check=False,
                                start_new_session=True)
        if check:
            assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result

    def write_units(self, units: dict[str, str]) -> None:
        """Unit files in /test/units of the containers."""
        where: Path = self.shared / "units"
        where.mkdir(exist_ok=True)
        for name, text in units.items():
            (where / name).write_text(text)
        os.chmod(where, 0o755)
