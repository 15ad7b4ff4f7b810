# SPDX-License-Identifier: MIT
"""Reading unit files as the real systemd does: names, load path, drop-ins, syntax, specifiers.

The oracle is `systemd-analyze verify`, which needs no running systemd: of an unknown key it says
the file, in the order read; with debug output it shows the description as it was understood.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support import HELPERS

TOOL = HELPERS / "unit-tool"
MAIN = "[Service]\nExecStart=/bin/true\n"
SPECIFIERS = "nNpPiIjJfyYtSCLETVduUgGhsHlqmbvaowWBAM"
needs_systemd = pytest.mark.skipif(
    not (shutil.which("systemd-analyze") and shutil.which("systemd-escape")),
    reason="needs the tools of systemd")


def run(*command: object, **env: str) -> subprocess.CompletedProcess[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "SYSTEMD_"))}
    return subprocess.run([str(c) for c in command], env={**environment, **env}, check=False,
                          timeout=60, stdin=subprocess.DEVNULL, capture_output=True)


def tool(*arguments: object, **env: str) -> list[str]:
    result = run(TOOL, *arguments, **env)
    assert result.returncode == 0, result.stderr
    return result.stdout.decode("utf-8", "surrogateescape").split("\n")[:-1]


def verify(unit: str, path: object) -> str:
    """All that the real systemd says of a unit, with debug output."""
    result = run("systemd-analyze", "verify", "--man=no", "--", unit, SYSTEMD_UNIT_PATH=str(path),
                 SYSTEMD_LOG_LEVEL="debug")
    return (result.stdout + result.stderr).decode("utf-8", "surrogateescape")


# ---- names -----------------------------------------------------------------------------------


def random_texts(seed: int, pieces: list[str], n: int) -> list[str]:
    generator = random.Random(seed)
    return ["".join(generator.choices(pieces, k=generator.randint(1, 12))) for _ in range(n)]


@needs_systemd
def test_escape_thousands_of_texts() -> None:
    texts = random_texts(1, [chr(c) for c in range(33, 127)] + ["/", ".", "ä", "€"], 3000)
    real = run("systemd-escape", "--", *texts).stdout.decode()
    assert tool("escape", *texts) == real.rstrip("\n").split(" ")
    assert tool("unescape", *tool("escape", *texts)) == texts


@needs_systemd
@pytest.mark.parametrize("verb, options, pieces", [
    ("unescape", ["-u"], ["a", "-", "\\x2d", "\\", "x", "\\x", "2", "\\x2f", "\\x2e", "."]),
    ("path-escape", ["-p"], ["a", "/", "/", ".", "..", "-", "\\", "b.c", " "]),
    ("path-unescape", ["-u", "-p"], ["a", "-", "b", "\\x2e", ".", "\\x2d", "\\", "\\x2f"]),
])
def test_escaping_one_by_one(verb: str, options: list[str], pieces: list[str]) -> None:
    texts = random_texts(2, pieces, 300)
    ours = tool(verb, *texts)
    for text, our in zip(texts, ours, strict=True):
        result = run("systemd-escape", *options, "--", text)
        assert our == (result.stdout.decode().rstrip("\n") if result.returncode == 0 else "?"), text


# ---- the load path ---------------------------------------------------------------------------


@needs_systemd
@pytest.mark.parametrize("environment", [
    {}, {"SYSTEMD_UNIT_PATH": ""}, {"SYSTEMD_UNIT_PATH": ":"},
    {"SYSTEMD_UNIT_PATH": "/a:/b:"},
    {"SYSTEMD_UNIT_PATH": "/a//b/:/c:/a/b"},
    {"SYSTEMD_UNIT_PATH": "relative:/c"},
])
def test_directories(environment: dict[str, str]) -> None:
    real = run("systemd-analyze", "unit-paths", **environment).stdout.decode().split()
    assert tool("directories", **environment) == real


@needs_systemd
@pytest.mark.parametrize("environment", [
    {}, {"XDG_RUNTIME_DIR": "/r"}, {"XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d"},
    {"XDG_CONFIG_DIRS": "/c1:/c2", "XDG_DATA_DIRS": "/d1:/usr/share:/d2", "XDG_RUNTIME_DIR": "/r"},
])
def test_user_directories(environment: dict[str, str]) -> None:
    real = run("systemd-analyze", "--user", "unit-paths", **environment).stdout.decode().split()
    # The real one leaves generated units out when it only lists.
    ours = [d for d in tool("directories", "user", **environment) if "/systemd/generator" not in d]
    assert ours == [d for d in real if "/systemd/generator" not in d]


def files_read(output: str) -> list[str]:
    return re.findall(r"^(/\S+):\d+: Unknown key 'Mark'", output, re.MULTILINE)


PLACES = ["a-b-c@.service.d", "a-b-c@x-y.service.d", "a-b-@.service.d", "a-b-@x-y.service.d",
          "a-b-.service.d", "a-@x-y.service.d", "a-@.service.d", "a-.service.d", "a.service.d",
          "service.d", "al-s@x-y.service.d", "al-s@.service.d",
          "al-@x-y.service.d", "al-.service.d", "socket.d", "-.service.d"]


@needs_systemd
@pytest.mark.parametrize("seed", range(40))
def test_drop_ins_in_any_place(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    directories = [tmp_path / "1", tmp_path / "2", tmp_path / "3"]
    for directory in directories:
        directory.mkdir()
    main = directories[generator.randrange(3)] / "a-b-c@.service"
    main.write_text(MAIN)
    (directories[generator.randrange(3)] / "al-s@.service").symlink_to(main)
    for _ in range(40):
        directory = generator.choice(directories) / generator.choice(PLACES)
        directory.mkdir(exist_ok=True)
        file = directory / f"{generator.randrange(25)}.conf"
        file.unlink(missing_ok=True)
        kind = generator.randrange(8)
        if kind == 0:
            file.write_text("")
        elif kind == 1:
            file.symlink_to("/dev/null")
        else:
            file.write_text("[Unit]\nMark=1\n")
    path = ":".join(str(d) for d in directories)
    for name in ("a-b-c@x-y.service", "al-s@x-y.service"):
        ours = tool("files", name, SYSTEMD_UNIT_PATH=path)
        assert ours[0] == str(main)
        assert ours[1:] == files_read(verify(name, path))


@needs_systemd
@pytest.mark.parametrize("dashes", ["a--b.service", "a-.service", "a--.service", "-a-b.service",
                                    "--.service", "a-b-@i-j.service", "a\\x2d-b.service"])
def test_names_with_odd_dashes(tmp_path: Path, dashes: str) -> None:
    (tmp_path / dashes).write_text(MAIN)
    stem = dashes.removesuffix(".service")
    names = {stem[:i] + tail for i in range(1, len(stem) + 1)
             for tail in ("", "@i-j", "@") if "@" not in stem[:i] or not tail}
    for number, name in enumerate(sorted(names)):
        (tmp_path / f"{name}.service.d").mkdir()
        (tmp_path / f"{name}.service.d/{number}.conf").write_text("[Unit]\nMark=1\n")
    assert tool("files", dashes, SYSTEMD_UNIT_PATH=str(tmp_path))[1:] == files_read(
        verify(dashes, tmp_path))


# ---- syntax ----------------------------------------------------------------------------------

PIECES = [b"Description=", b"Mark=", b"\n", b"\n", b"\n", b"\\\n", b"\\", b" ", b"\t", b"#", b";",
          b"a", b"b", b"\r", b"=", b"\r\n", b"\xef\xbb\xbf", b"[Unit]\n", b"[X-A]\n", b"[Service]\n",
          b"[", b"]", b"\xc3\xa4", b"\xff", b"\"", b"[Foo]\n"]
RARE = [b"[", b"\xff", b"\""]  # what ends the reading


def real_description(output: str) -> str | None:
    """The description as understood; None when the unit was not loaded."""
    if "failed to load properly" in output:
        return None
    found = re.search(r"^\t\tDescription: (.*)$", output, re.MULTILINE)
    return found[1] if found else None


@needs_systemd
@pytest.mark.parametrize("seed", range(20))
def test_random_syntax(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    unit = tmp_path / "x.service"
    for _ in range(20):
        weights = [0.1 if piece in RARE else 1 for piece in PIECES]
        pieces = generator.choices(PIECES, weights, k=generator.randint(1, 25))
        unit.write_bytes(MAIN.encode() + b"[Unit]\nDescription=first\n" + b"".join(pieces))
        output = verify("x.service", tmp_path)
        ours = tool("assignments", "x.service", SYSTEMD_UNIT_PATH=str(tmp_path))
        fatal = any(re.match(r"! (not UTF-8|a section header|bad character)", o) for o in ours)
        values = [o.split(" Unit Description=", 1)[1] for o in ours if " Unit Description=" in o]
        expected = None if fatal else (values[-1] or "x.service")
        assert expected == real_description(output), unit.read_bytes()


# ---- specifiers ------------------------------------------------------------------------------


@needs_systemd
@pytest.mark.parametrize("name", ["a-b@x-y.service", "a\\x2db-c.service", "a@x\\x20y@z.service",
                                  "a.b.service"])
def test_specifiers(tmp_path: Path, name: str) -> None:
    # Not a prefix with a dash at its end: %J of that aborts systemd 252 itself.
    main = tmp_path / re.sub("@.*(?=[.])", "@", name)
    letters = [f"<%{letter}>" for letter in SPECIFIERS] + ["<%->", "<%%>", "<%%%", "<%k>", "<%9>"]
    for text, our in zip(letters, tool("expand", name, main, *letters), strict=True):
        main.write_text(MAIN + f"[Unit]\nDescription=?\nDescription={text}\n")
        assert our == real_description(verify(name, tmp_path)), text
