# SPDX-License-Identifier: MIT
"""Values of unit files mean to hark what they mean to the installed systemd."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
from pathlib import Path

import pytest

from systemd_machine import Machine

UNITS = ["", "s", "sec", "second", "seconds", "m", "min", "minute", "minutes", "h", "hr", "hour",
         "hours", "d", "day", "days", "w", "week", "weeks", "M", "month", "months", "y", "year",
         "years", "ms", "msec", "us", "usec", "µs", "μs"]
NUMBERS = ["0", "1", "7", "1.5", ".5", "0.1234567", "+3", "90", "007", "1.999999999"]
INVALID = ["", " ", "s", "1.", "1.h", "1. 5h", "1.5.5", "infinity s", "inf", "1e3", "0x10", "1s,1",
           "3ns", "1 parsec", "5secs", "1hh", "+ 5", "1mon", "1S", "ms 5", "1\u00a0s"]
OUT_OF_RANGE = ["-5", "--5", "1d-1", "-0", "18446744073709551615us", "18446744073709551615",
                "9223372036854775807", "9223372036854775808us", "584555y", "300000y 300000y"]

pytestmark = pytest.mark.needs("systemd-analyze")


def valid_spans() -> list[str]:
    """Every unit with every number, and joined ones in all spellings."""
    spans = [f"{number}{blank}{unit}" for number, unit, blank
             in itertools.product(NUMBERS, UNITS, ["", " "])]
    chance = random.Random(1)
    for _ in range(200):
        parts = [chance.choice(NUMBERS) + chance.choice(["", " "]) + chance.choice(UNITS)
                 for _ in range(chance.randint(2, 5))]
        spans.append(" ".join(parts))
    spans += ["infinity", " infinity ", "1h30", "1s1", "5sec5", "1 .5h", "\t1m\t", "1h2m3s4ms5us",
              "9223372036854775807us", "292471y", "584542y"]
    return spans


def ask_systemd(spans: list[str]) -> list[str]:
    """What each span is in microseconds, "" for what is none."""
    result = subprocess.run(["systemd-analyze", "timespan", "--", *spans], capture_output=True,
                            text=True, check=False)
    values = re.findall(r"^ *[μu]s: (\d+)$", result.stdout, re.MULTILINE)
    if result.returncode == 0:
        assert len(values) == len(spans)
        return values
    if len(spans) == 1:
        return [""]
    middle = len(spans) // 2
    return ask_systemd(spans[:middle]) + ask_systemd(spans[middle:])


def ask_hark(helpers: Path, kind: str, values: list[str]) -> list[str]:
    """The result for each value, or the name of the error."""
    result = subprocess.run([helpers / "parse-value", kind], capture_output=True, text=True,
                            input="".join(v + "\n" for v in values), check=True)
    lines = [line.replace("infinity", str(2**64 - 1)) for line in result.stdout.splitlines()]
    assert len(lines) == len(values)
    return lines


def test_time_spans(helpers: Path) -> None:
    """Valid ones, hundreds of them."""
    spans = valid_spans()
    theirs, ours = ask_systemd(spans), ask_hark(helpers, "span", spans)
    different = [(s, t, o) for s, t, o in zip(spans, theirs, ours)
                 if t != o and (t or o.isdigit())]
    assert not different
    assert sum(1 for value in theirs if value) > 500


@pytest.mark.parametrize("span", INVALID)
def test_what_is_no_time_span(helpers: Path, span: str) -> None:
    """Neither takes it."""
    assert ask_systemd([span]) == [""]
    assert ask_hark(helpers, "span", [span]) == ["EINVAL"]


@pytest.mark.parametrize("span", OUT_OF_RANGE)
def test_time_spans_out_of_range(helpers: Path, span: str) -> None:
    """Neither takes it, and both know why."""
    assert ask_systemd([span]) == [""]
    assert ask_hark(helpers, "span", [span]) == ["ERANGE"]


def test_exit_statuses(helpers: Path) -> None:
    """The names of exit statuses are the same."""
    table = subprocess.run(["systemd-analyze", "exit-status"], capture_output=True, text=True,
                           check=True).stdout.splitlines()[1:]
    rows = [line.split()[:2] for line in table]
    assert len(rows) > 60
    assert ask_hark(helpers, "exit-status", [r[0] for r in rows]) == [r[1] for r in rows]


# Behind "ExecStart=/test/dump "; the variables are those of VARIABLES.
COMMAND_LINES = [
    r"a 'b c' \"d\"", r"$ONE ${ONE} x${ONE}y $WORDS b", r"${WORDS} $EMPTY b $UNSET c",
    r"x${EMPTY}${UNSET} ${UNSET} b", r"a$ONE $ONE-x $ z", r"$$ONE $$ $$$$ a$$b x$",
    r"${ONE:-x} ${ONE", r"${ONE$$ q", r"x$$${ONE}", r"'$ONE' \"${ONE}\"",
    r"$OPEN $BACKSLASH $DOLLAR ${DOLLAR}", r"\q \x41 \s\101 a\ b \u00e9", r"a \\; b",
    r"';' \;x \; y", r"x; y", r"'it''s' a\"b c\"d", r"${A${ONE}} ${A:${ONE}} ${}",
    r"\U00110000 \x00 \400 \ud800", r"'a\\' \\", r"@ - + ! :", r"# c",
    r"${ONE}${ONE} ${ ONE}", r"$ONE$ONE ${WORDS}x", r"\'a b\' '\'' \"\\\"\"", r"'' \"\" x",
]
VARIABLES = {"ONE": "1", "EMPTY": "", "WORDS": "a 'b c'  d", "OPEN": "a 'b",
             "BACKSLASH": "a\\ b\\n", "DOLLAR": "$ONE"}
ENVIRONMENT_FILE = (
    "A=1\nB=two words  \n C = x\t\nD=\nE='a b '\nF=\"c\nd\"  \nG='a'\"b\" 'c' d 'e'\nH=a\\ \n"
    "I=a\\\nb\nJ=it's \"x\"\n# x \\\nK=comment\nL=5\n1X=bad\nexport M=1\nN-O=1\n"
    "P=\"\\\"\\\\\\`\\$\\a\\\nq\"\nno assignment\n=Q=1\nR= \\ x\nA=again\nS=x # y\nT=\u00e9\nU=1\\")


def texts(output: bytes) -> list[str]:
    """What parse-value and the handler print, apart."""
    return output.decode(errors="surrogateescape").split("\0")[:-1]


def machine_units() -> dict[str, str]:
    """A unit for each command line, and one for the environment file."""
    def quoted(name: str, value: str) -> str:
        return '"%s=%s"' % (name, value.replace("\\", "\\\\"))
    environment = " ".join(quoted(n, v) for n, v in VARIABLES.items())
    units = {f"line-{i}.service": f"[Service]\nType=oneshot\nEnvironment={environment}\n"
             f"StandardOutput=truncate:/test/out-{i}\nExecStart=/test/dump {line}\n"
             for i, line in enumerate(COMMAND_LINES)}
    units["file.service"] = ("[Service]\nType=oneshot\nEnvironmentFile=/test/file\n"
                             "StandardOutput=truncate:/test/out-file\nExecStart=/usr/bin/env -0\n")
    return units


@pytest.mark.root
@pytest.mark.needs("systemd-nspawn", "unshare", "nsenter", "setpriv")
def test_command_lines_and_environment_files(helpers: Path, directory: Path) -> None:
    """A booted systemd executes, with the arguments and variables that hark would give."""
    with Machine(machine_units()) as machine:
        dump = machine.shared / "dump"
        dump.write_text("#!/bin/sh\n[ $# -eq 0 ] || printf '%s\\0' \"$@\"\n")
        dump.chmod(0o755)
        (machine.shared / "file").write_text(ENVIRONMENT_FILE)
        for i, line in enumerate(COMMAND_LINES):
            machine.run("systemctl", "start", f"line-{i}.service")
            ours = subprocess.run([helpers / "parse-value", "command", f"/test/dump {line}"],
                                  env=VARIABLES, capture_output=True, check=True).stdout
            assert texts(ours)[1:] == texts((machine.shared / f"out-{i}").read_bytes()), line
        machine.run("systemctl", "start", "file.service")
        theirs = texts((machine.shared / "out-file").read_bytes())
    (directory / "file").write_text(ENVIRONMENT_FILE)
    ours = texts(subprocess.run([helpers / "parse-value", "environment", directory / "file"],
                                capture_output=True, check=True).stdout)
    assert sorted(ours) == sorted(v for v in theirs if re.match("[A-Z]=", v))
    assert len(ours) == 16
