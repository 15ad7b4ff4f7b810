# SPDX-License-Identifier: MIT
"""A real podman on this machine, without a registry: containers get an overlay of its own root, or
an image that is built from a few of its files.

Everything lives in a private mount and PID namespace of one process, so that the end of that
process is the end of every container, whatever happens to the tests.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support import (BUILD, DEADLINE, clean_environment, descendants, short_directory, wait_until)

# Runs as the first process of the namespaces; $1: the machine's directory, $2: its name. Ends with
# its stdin. Pods make control groups: in one of the machine's own, which they take for the root. It
# must have a controller there, or podman 4.3 turns on "+", of none.
BEGIN = r"""
set -eu
umount -R /sys/fs/cgroup 2>/dev/null || :
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || :
done
group=/sys/fs/cgroup/$2
mkdir "$group"
mount --bind "$group" /sys/fs/cgroup
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

# $1: the machine's name. What has just been killed may keep its group for a moment.
REMOVE_GROUPS = r"""
umount -R /sys/fs/cgroup 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup
[ -d "/sys/fs/cgroup/$1" ] || exit 0
find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} \; 2>/dev/null
[ ! -d "/sys/fs/cgroup/$1" ]
"""

# Control groups cannot be delegated on machines without systemd, so podman is told to leave them.
# Where there is a systemd, it is not to run health checks for these containers.
ENVIRONMENT = {"DISABLE_HC_SYSTEMD": "true"}
OPTIONS = ["--cgroups=disabled", "--network=none", "--log-driver=k8s-file",
           "--ulimit=nofile=1024:4096", "--ulimit=nproc=1000:1000"]


class Podman:
    """podman(…) runs it; /test inside a container is .shared outside, /hark the build."""

    def __init__(self) -> None:
        self.directory = short_directory()
        self.shared = self.directory / "shared"
        self.name = f"hark-{os.getpid()}-{time.monotonic_ns():x}"
        for name in ("layers", "shared"):
            (self.directory / name).mkdir()
        (self.directory / "shared").chmod(0o777)
        self.leader = 0

    def __enter__(self) -> "Podman":
        with open(self.directory / "log", "wb") as log:
            self.child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private",
                 "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh", "-c", BEGIN, "begin",
                 str(self.directory), self.name],
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
        wait_until(lambda: subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", REMOVE_GROUPS, "sh",
             self.name], check=False).returncode == 0, what="the machine's control groups go")
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

    def run_image(self, *options: str, image: str, arguments: Sequence[str] = (),
                  **how: Any) -> subprocess.CompletedProcess[str]:
        """`podman run` of an image that is here."""
        return self("run", *OPTIONS, "--pull=never", *options, image, *arguments, **how)

    def import_base(self, image: str, programs: Sequence[str], files: Sequence[Path]) -> None:
        """An image of these programs of this machine, with what they and files are linked with."""
        root = self.directory / "base"
        for name in ("bin", "lib", "lib64", "sbin"):
            (root / "usr" / name).mkdir(parents=True)
            (root / name).symlink_to(f"usr/{name}")
        for name in ("dev", "etc", "proc", "run", "sys", "tmp"):
            (root / name).mkdir()
        paths = [found for name in programs if (found := shutil.which(name))]
        assert len(paths) == len(programs)
        listed = subprocess.run(["ldd", *paths, *map(str, files)], capture_output=True, text=True,
                                check=True, env=clean_environment())
        libraries = sorted(set(re.findall(r"(/\S+) \(0x", listed.stdout)))
        subprocess.run(["cp", "-L", "--parents", *paths, *libraries, str(root)], check=True)
        archive = self.directory / "base.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        # What it does as the first container of a pod.
        idle = json.dumps(["/bin/sh", "-c", "trap exit TERM; sleep infinity & wait"])
        self("import", f"--change=CMD {idle}", str(archive), image)

    @staticmethod
    def _call(command: list[str], check: bool,
              env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(command, env=clean_environment() | ENVIRONMENT | env,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                timeout=60, check=False, start_new_session=True)
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
