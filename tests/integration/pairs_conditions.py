# SPDX-License-Identifier: MIT
"""Pairs: Condition…= and Assert…=."""

from __future__ import annotations

from differential import Pair

LISTEN = "ListenStream=@dir@/s"
SERVE = "ExecStart=@probe@ --serve=3"
ASK = ("ask", "@dir@/s")

# What follows Condition or Assert, a value that is met, and one that is not. Not those of a
# container, where places differ: the one of systemd is one, the plain one is not.
KINDS = (
    ("Architecture", "native", "alpha"),
    ("CPUs", ">=1", ">=100000"),
    ("Capability", "CAP_CHOWN", "!CAP_CHOWN"),
    ("DirectoryNotEmpty", "/etc", "@dir@/nosuch"),
    ("Environment", "LANG=C.UTF-8", "NO_SUCH_VARIABLE"),
    ("FileIsExecutable", "/bin/sh", "/etc/passwd"),
    ("FileNotEmpty", "/etc/passwd", "@dir@/empty"),
    ("Group", "root", "other"),
    ("Host", "hark-*", "nosuch*"),
    ("KernelCommandLine", "!nosuchword", "nosuchword"),
    ("KernelVersion", ">=3", "<3"),
    ("Memory", ">=1M", ">=1000000G"),
    ("OSRelease", "ID=debian", "ID=nosuch"),
    ("PathExists", "/etc/passwd", "!/etc/passwd"),
    ("PathExistsGlob", "/etc/pass*", "/nosuch*"),
    ("PathIsDirectory", "/etc", "/etc/passwd"),
    ("PathIsMountPoint", "/proc", "/etc"),
    ("PathIsReadWrite", "/run", "/hark"),
    ("PathIsSymbolicLink", "/proc/self", "/etc/passwd"),
    ("User", "root", "plain"),
    ("Virtualization", "!wsl", "wsl"),
)


def unit(lines: str, text: str = LISTEN) -> str:
    """A socket unit with something in [Unit]."""
    return f"[Unit]\n{lines}\n[Socket]\n{text}\n"


def of_kind(name: str, met: str, unmet: str) -> list[Pair]:
    """Met, and listening; not met, and nothing but quiet; not met, and failed."""
    files = {"empty": ""}
    return [
        Pair(f"condition-{name.lower()}", unit(f"Condition{name}={met}\nAssert{name}={met}"),
             f"[Unit]\nCondition{name}={met}\n[Service]\n{SERVE}\n", client=[ASK], files=files,
             see={"start": "ok", "client 0": "served\n"}),
        Pair(f"condition-{name.lower()}-unmet", unit(f"Condition{name}={unmet}"), SERVE,
             records=0, files=files, look=["@dir@/s"],
             see={"start": "ok", "nodes @dir@/s": "missing"}),
        Pair(f"assert-{name.lower()}-unmet", unit(f"Assert{name}={unmet}"), SERVE,
             records=0, files=files, look=["@dir@/s"],
             see={"start": "failed", "nodes @dir@/s": "missing"}),
    ]


GROUPS = [
    Pair("condition-environment-of-manager", unit("ConditionEnvironment=container"), SERVE,
         records=0, look=["@dir@/s"], see={"nodes @dir@/s": "missing"},
         deviates={".*": "hark is the manager, and its environment is the one it was started with"}),
    Pair("condition-one-of", unit("ConditionPathExists=|/nosuch\nConditionPathExists=|/etc\n"
                                  "ConditionUser=root"), SERVE, client=[ASK],
         see={"client 0": "served\n"}),
    Pair("condition-none-of", unit("ConditionPathExists=|/nosuch\nConditionUser=|plain\n"
                                   "ConditionPathExists=/etc"), SERVE, records=0,
         look=["@dir@/s"], see={"nodes @dir@/s": "missing"}),
    Pair("condition-one-of-and-unmet", unit("ConditionPathExists=|/etc\nConditionUser=plain"),
         SERVE, records=0, look=["@dir@/s"], see={"nodes @dir@/s": "missing"}),
    Pair("condition-not", unit("ConditionPathExists=!/nosuch\nConditionPathExists=|!/nosuch"),
         SERVE, client=[ASK], see={"client 0": "served\n"}),
    Pair("condition-reset", unit("ConditionPathExists=/nosuch\nConditionUser=plain\n"
                                 "ConditionPathExists="), SERVE, client=[ASK],
         see={"client 0": "served\n"}),
    Pair("condition-specifier", unit("ConditionPathExists=!@dir@/%p\nConditionHost=%H"), SERVE,
         client=[ASK], see={"client 0": "served\n"}),
    Pair("condition-of-instance", f"{LISTEN}\nAccept=yes",
         "[Unit]\nConditionPathExists=@dir@/go\n[Service]\n"
         "ExecStart=@probe@ --say=3:hello\n",
         client=[ASK, ("write", "@dir@/go", ""), ASK],
         see={"client 0": "", "client 1": "done", "client 2": "hello\n"}),
    Pair("assert-of-instance", f"{LISTEN}\nAccept=yes",
         "[Unit]\nAssertPathExists=@dir@/go\n[Service]\nExecStart=@probe@ --say=3:hello\n",
         client=[ASK, ("write", "@dir@/go", ""), ASK],
         see={"client 0": "", "client 2": "hello\n"}),
    Pair("condition-before-commands", unit("ConditionPathExists=/nosuch",
                                           f"{LISTEN}\nExecStartPre=@probe@ pre\n"
                                           "ExecStopPost=@probe@ post"), SERVE, records=0,
         see={"start": "ok", "0 uid": None}),
]

PAIRS = [pair for row in KINDS for pair in of_kind(*row)] + GROUPS
