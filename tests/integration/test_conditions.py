# SPDX-License-Identifier: MIT
"""Conditions mean to hark what they mean to the installed systemd."""

from __future__ import annotations

import itertools
import os
import platform
import random
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("systemd-analyze", "systemd-detect-virt")

# $USER would be believed by systemd-analyze.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ONE": "1", "EMPTY": "", "TWO": "a b"}
RELEASE = platform.release()
NODE = platform.node()
OPERATORS = ["", "=", "==", "!=", "<>", "<", "<=", ">", ">=", "$=", "!$="]

# The key behind "Condition", and parameters for it; "@" is the test's directory.
CONDITIONS: dict[str, list[str]] = {
    "PathExists": ["/", "/etc", "/none", "@/dangling", "@/loop", "@/full/x", "@/d/", "@//d/./x",
                   "@/d/../d", "relative", " /etc", "@/" + "n" * 256],
    "PathExistsGlob": ["@/*", "@/d/*", "@/e/*", "@/e/.*", "@/.h*", "@/{x,d}", "@/[a-d]", "@/none*",
                       "@/loop/*", "@/full/*", "@/dangling", "@/\\d", "@/[", "~root"],
    "PathIsDirectory": ["@", "@/link", "@/full", "@/none", "@/dangling"],
    "PathIsSymbolicLink": ["@", "@/link", "@/link/", "@/dangling", "@/full", "@/none"],
    "PathIsMountPoint": ["/", "/proc", "/proc/", "/proc/self", "@", "@/none", "@/to-proc",
                         "/proc/sys", "/dev/pts"],
    "PathIsReadWrite": ["/", "@", "@/none", "/proc", "/sys"],
    "DirectoryNotEmpty": ["@", "@/d", "@/e", "@/link", "@/none", "@/full"] +
                         [f"@/only/{i}" for i in range(10)],
    "FileNotEmpty": ["@/full", "@/empty", "@/d", "@/none", "@/link", "/proc/cmdline"],
    "FileIsExecutable": ["@/full", "@/run", "@/d", "@/none", "/bin/sh"],
    "Host": [NODE, NODE.upper(), NODE[:1] + "*", "*", "none", "?*", "[", "0" * 32, "!x", "|x"],
    "Architecture": ["native", "x86-64", "arm64", "x86", "s390x", "riscv64"],
    "KernelCommandLine": ["quiet", "no-such", "a=b", "root", "init"],
    "KernelVersion": [op + blank + version for op, blank, version in
                      itertools.product(OPERATORS, ["", " "], [RELEASE, "4", "999", "6.*"])] +
                     [">3 <999", ">3 >999", "<999 $=*", "'>= 3' \"<999\"", "lt4", "*", "?.*"],
    "Environment": ["ONE", "ONE=1", "ONE=2", "EMPTY", "EMPTY=", "TWO=a b", "TW", "NONE", "PATH"],
    "User": ["root", "0", "nobody", "65534", "daemon", "1", "@system", "no-such-user", "00", "+0"],
    "Group": ["root", "0", "nogroup", "65534", "daemon", "1", "no-such-group", "00"],
    "CPUs": [op + count for op, count in
             itertools.product(OPERATORS[:9], ["1", " 2", "0x4", "100000", "+1", "010"])] +
            [str(os.cpu_count()), f"={len(os.sched_getaffinity(0))}"],
    "Memory": [op + size for op, size in
               itertools.product(OPERATORS[:9], ["1", " 64M", "1000T", "1G 512M", "1.5G"])],
    "OSRelease": ["ID" + op + value for op, value in
                  itertools.product(OPERATORS[1:], ["debian", "d*", "none", "a"])] +
                 ["VERSION_ID" + op + value for op, value in
                  itertools.product(OPERATORS[1:], ["1", "12", "12.0", "999"])] +
                 ["NONE" + op + "1" for op in OPERATORS[1:]] +
                 ["ID!=x ID!=y", "ID!=x ID=y", "'ID!=x y'", "\"NAME!=x\""],
    "Capability": ["CAP_CHOWN", "cap_sys_admin", "CAP_CHECKPOINT_RESTORE", "0", "40", "41", "63",
                   "CAP_BPF", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_READ"],
    "Virtualization": ["yes", "no", "1", "off", "vm", "container", "private-users", "docker",
                       "podman", "kvm", "qemu", "systemd-nspawn", "lxc", "container-other",
                       "vm-other", "oracle", "wsl"],
}

# What systemd only finds out when it evaluates, or takes for false, is an error to hark at once.
FAULTS = ["KernelVersion=>3 < 999", "KernelVersion=>", "KernelVersion='6", "OSRelease=ID",
          "OSRelease=ID=", "OSRelease=\"ID= x\"", "CPUs=x", "CPUs=-1", "CPUs=$=1", "Memory=x",
          "Memory=1X", "Capability=CHOWN", "Capability=64", "Virtualization=no-such",
          "Virtualization=google", "Architecture=no-such", "Group=@system", "Host=!"]


@pytest.fixture
def tree(directory: Path) -> Path:
    """The files that the conditions are about."""
    (directory / "d").mkdir()
    (directory / "d/x").write_text("")
    (directory / "e").mkdir()
    (directory / "full").write_text("x")
    (directory / "empty").write_text("")
    (directory / "run").write_text("")
    (directory / "run").chmod(0o701)
    for name, target in {"link": "d", "dangling": "none", "loop": "loop",
                         "to-proc": "/proc"}.items():
        (directory / name).symlink_to(target)
    for i, name in enumerate([".hidden", "a~", "a.bak", "a.dpkg-new", "a.rpmsave", "lost+found",
                              "a.swp", "a.conf", "bak", "a.bak.x"]):
        (directory / f"only/{i}").mkdir(parents=True)
        (directory / f"only/{i}" / name).write_text("")
    directory.chmod(0o755)
    return directory


def ask_systemd(assignments: list[str], prefix: list[str]) -> str:
    """"succeeded", "failed", "unknown" for an error in evaluation, "refused" for one in reading;
    of the last condition that was evaluated."""
    text = subprocess.run([*prefix, "systemd-analyze", "condition", *assignments],
                          capture_output=True, text=True, env=ENVIRONMENT, check=False).stderr
    if "ignoring" in text:
        return "refused"
    if "Couldn't determine" in text:
        return "unknown"
    match = re.findall(r"^(?:Conditions|Asserts) (succeeded|failed)\.$", text, re.MULTILINE)
    return "failed" if "failed" in match else match[-1]


def ask_hark(helpers: Path, units: list[list[str]], prefix: list[str]) -> list[str]:
    """The same for many."""
    result = subprocess.run([*prefix, helpers / "evaluate-conditions"], capture_output=True,
                            text=True, env=ENVIRONMENT, check=True,
                            input="".join("\t".join(unit) + "\n" for unit in units))
    lines = [line.split()[0] for line in result.stdout.splitlines()]
    assert len(lines) == len(units)
    return lines


def differences(helpers: Path, units: list[list[str]],
                prefix: list[str] | None = None) -> list[tuple[list[str], str, str]]:
    """Units that are not the same to both."""
    prefix = prefix or []
    with ThreadPoolExecutor(8) as pool:
        theirs = list(pool.map(lambda unit: ask_systemd(unit, prefix), units))
    return [(unit, t, o) for unit, t, o in zip(units, theirs, ask_hark(helpers, units, prefix))
            if t != o]


def all_conditions(tree: Path) -> list[list[str]]:
    """Plain and negated ones, and assertions of some."""
    found = []
    for key, parameters in CONDITIONS.items():
        for parameter in parameters:
            if re.search("Path|File|Directory", key):
                parameter = parameter.replace("@", str(tree), 1)
            found += [[f"Condition{key}={parameter}"], [f"Condition{key}=!{parameter}"]]
        found.append([f"Assert{key}={parameter}"])
    return found


def test_single_conditions(helpers: Path, tree: Path) -> None:
    """Each kind, hundreds of parameters."""
    units = all_conditions(tree)
    assert len(units) > 600
    assert not differences(helpers, units)


@pytest.mark.root
@pytest.mark.needs("setpriv")
def test_for_another_user(helpers: Path, tree: Path) -> None:
    """The user is that of the process, whatever it may do."""
    prefix = ["setpriv", "--reuid=1", "--regid=1", "--groups=1,12345"]
    units = [unit for unit in all_conditions(tree)
             if re.match(r"Condition(User|Group|Capability|PathIs|Directory|File|Virt)", unit[0])]
    units += [["ConditionGroup=12345"], ["ConditionGroup=12346"]]
    # systemd takes what it may not look at for a filled directory.
    units = [unit for unit in units if str(tree) in unit[0] or "Path" not in unit[0]]
    # The helper's directory may be closed to others.
    copy = tree / "evaluate-conditions"
    copy.write_bytes((helpers / "evaluate-conditions").read_bytes())
    copy.chmod(0o755)
    assert not differences(tree, units, prefix)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(helpers: Path, fault: str) -> None:
    """To systemd they are not met, or unknown; hark says so when it reads the unit."""
    assert ask_hark(helpers, [[f"Condition{fault}"], [f"Assert{fault}"]], []) == ["refused"] * 2
    if fault != "Host=!":
        assert ask_systemd([f"Condition{fault}"], []) in ("failed", "unknown")


def test_several_conditions(helpers: Path) -> None:
    """All plain ones, and one of those with "|"; an empty one takes all before it away."""
    parts = ["ConditionPathExists=/", "ConditionPathExists=/none", "ConditionPathExists=|/",
             "ConditionPathExists=|!/", "AssertHost=| ! none", "AssertHost=|none",
             "ConditionUser=", "AssertUser="]
    units = [list(unit) for n in (1, 2) for unit in itertools.product(parts, repeat=n)]
    chance = random.Random(1)
    units += [chance.choices(parts, k=chance.randint(3, 6)) for _ in range(150)]
    # systemd-analyze says nothing of a group that is empty.
    units = [[*unit, "ConditionPathExists=/etc", "AssertPathExists=/etc"] for unit in units]
    assert not differences(helpers, units)


def test_versions(helpers: Path) -> None:
    """In pairs, as the kernel's could be."""
    versions = ["", "1", "01", "1.0", "1.1", "1-1", "1~rc1", "1^post", "1a", "a1", "1_1", "1.a",
                "10", "9", "1..1", "1.-1", "~", "~~", "^", ".", "1+b", "1.10", "1.9", "1.1~", "A",
                "a", "ab", RELEASE, "1~", "-", "1-", "1.1.1", "1-1.1", "é1", "1.01.1"]
    pairs = random.Random(1).sample(list(itertools.product(versions, repeat=2)), 500)
    with ThreadPoolExecutor(8) as pool:
        theirs = list(pool.map(lambda pair: subprocess.run(
            ["systemd-analyze", "compare-versions", *pair], capture_output=True,
            check=False).returncode, pairs))
    ours = subprocess.run([helpers / "evaluate-conditions", "versions"], capture_output=True,
                          text=True, check=True,
                          input="".join(f"{a} {b}\n" for a, b in pairs)).stdout.split()
    expected = [{0: "0", 11: "1", 12: "-1"}[code] for code in theirs]
    assert [(p, t, o) for p, t, o in zip(pairs, expected, ours, strict=True) if t != o] == []


# Makes a host look like another one, in a mount namespace.
HOSTS = {
    "none": "",
    "said": "echo lxc >/run/systemd/container",
    "said-unknown": "echo new-manager >/run/systemd/container",
    "said-openvz": "echo openvz >/run/systemd/container",
    "manager": "mkdir /run/host; echo podman >/run/host/container-manager; "
               "echo lxc >/run/systemd/container",
    "podman": "touch /run/.containerenv",
    "wsl": "echo 4.4.0-Microsoft >f; mount --bind f /proc/sys/kernel/osrelease",
    "uml": "printf 'vendor_id\\t: User Mode Linux\\n' >f; mount --bind f /proc/cpuinfo",
    "oracle": "echo VirtualBox >/sys/class/dmi/id/product_name",
    "qemu": "echo QEMU >/sys/class/dmi/id/sys_vendor",
    "xen": "echo 'Xen HVM' >/sys/class/dmi/id/bios_vendor",
    "parallels": "echo Parallels >/sys/class/dmi/id/board_vendor",
    "amazon": "echo 'Amazon EC2' >/sys/class/dmi/id/sys_vendor; "
              "echo c5.large >/sys/class/dmi/id/product_name",
    "amazon-metal": "echo 'Amazon EC2' >/sys/class/dmi/id/sys_vendor; "
                    "echo c5.metal >/sys/class/dmi/id/product_name",
    "cgroup2": "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup",
    "no-cgroup": "umount -R /sys/fs/cgroup",
}
HOST = r"""
set -eu
cd "$1"
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd
mount -t tmpfs none /sys/class
mkdir -p /sys/class/dmi/id
eval "$3"
systemd-detect-virt -c || :
systemd-detect-virt -v || :
"$2" ''
"""


@pytest.mark.root
@pytest.mark.needs("unshare")
@pytest.mark.parametrize("name", HOSTS)
def test_other_hosts(helpers: Path, directory: Path, name: str) -> None:
    """What systemd-detect-virt finds, containers and machines."""
    lines = subprocess.run(["unshare", "-m", "sh", "-c", HOST, "sh", directory,
                            helpers / "evaluate-conditions", HOSTS[name]],
                           capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[:2] == lines[2:]


@pytest.mark.needs("unshare")
def test_private_users(helpers: Path) -> None:
    """A user namespace is one to both."""
    units = [[f"ConditionVirtualization={sign}private-users"] for sign in ("", "!")]
    assert ask_hark(helpers, units, ["unshare", "-U"]) == ["succeeded", "failed"]
    assert not differences(helpers, units, ["unshare", "-r"])
