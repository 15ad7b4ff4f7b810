# SPDX-License-Identifier: MIT
"""Completions for bash, zsh and fish: the verbs and options of --help, no more and no less."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from support import HARK, SOURCE, clean_environment, run_hark, which, write_units

BASH = SOURCE / "completions/hark.bash"
ZSH = SOURCE / "completions/_hark"
FISH = SOURCE / "completions/hark.fish"


def verbs() -> list[str]:
    """All that --help lists."""
    text = run_hark("--help").stdout
    found = re.findall(r"^  ([a-z]+) ", text[text.index("Verbs:"):text.index("Options:")],
                       re.MULTILINE)
    assert "run" in found and "status" in found
    return found


VERBS = verbs() if HARK.exists() else []


def options(verb: str) -> dict[str, bool]:
    """The long options of a verb, and whether each must have a value."""
    helped = run_hark(verb, "--help")
    assert helped.returncode == 0 and not helped.stderr
    found = re.findall(r"^ +(?:-\w, )?--([a-z][a-z-]*)(=?)", helped.stdout, re.MULTILINE)
    assert ("help", "") in found
    return {name: bool(value) for name, value in found}


def letters(verb: str) -> set[str]:
    """The short options of a verb."""
    return set(re.findall(r"^ +-(\w)\b", run_hark(verb, "--help").stdout, re.MULTILINE))


def tool(*command: object, **env: str) -> str:
    """Runs a tool that must have nothing to say on standard error."""
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False,
                            env=clean_environment(**env), timeout=60, stdin=subprocess.DEVNULL)
    assert result.returncode == 0 and not result.stderr, f"{command}\n{result.stderr}"
    return result.stdout


def ask_bash(*words: str, cwd: Path | None = None, **env: str) -> list[str]:
    """What bash offers in place of the last word, where no more than the file was read."""
    script = ('source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hark; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    command = f"cd {cwd} && {script}" if cwd else script
    return [line for line in tool("bash", "-uc", command, BASH, *words, **env).splitlines() if line]


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_narrow(verb):
    """Help fits a terminal."""
    for line in run_hark(*([verb] if verb else []), "--help").stdout.splitlines():
        assert len(line) <= 80, line


@pytest.mark.parametrize("verb", VERBS)
def test_manual_page(verb):
    """hark(1) has each option in the verb's own section."""
    page = (SOURCE / "man/hark.1").read_text()
    sections = re.findall(rf"^\.Ss hark ([^\n]*\b{verb}\b[^\n]*)\n(.*?)(?=^\.S[hs] )", page,
                          re.MULTILINE | re.DOTALL)
    assert len(sections) == 1, verb
    described = set(re.findall(r"^\.It Fl (?:\w , Fl )?-([a-z-]+)", sections[0][1], re.MULTILINE))
    assert described - {"help", "version"} == set(options(verb)) - {"help", "version"}


# ---- bash ------------------------------------------------------------------------------------


def test_bash_verbs():
    """All verbs, and those that begin like what was typed."""
    assert set(ask_bash("hark", "")) == {*VERBS, "--help", "--version"}
    assert ask_bash("hark", "sta") == ["status"]


@pytest.mark.parametrize("verb", VERBS)
def test_bash_options(verb):
    """Each option, with "=" where it must have a value."""
    expected = {f"--{name}{'=' if value else ''}" for name, value in options(verb).items()}
    assert set(ask_bash("hark", verb, "--")) == expected
    assert ask_bash("hark", verb, "--vers") == ["--version"]


def test_bash_values(directory):
    """Values of options come as bash divides words, and as it does not."""
    assert ask_bash("hark", "run", "--report", "=") == ["exits", "failures", "none"]
    assert ask_bash("hark", "run", "--report", "=", "e") == ["exits"]
    assert ask_bash("hark", "run", "--report=f") == ["failures"]
    assert ask_bash("hark", "run", "--report", "n") == ["none"]
    assert ask_bash("hark", "kill", "--signal", "=", "TER") == ["TERM"]
    assert ask_bash("hark", "kill", "-s", "SIGTER") == ["SIGTERM"]
    (directory / "here").mkdir()
    (directory / "file").touch()
    assert ask_bash("hark", "run", "--unit-path", "=", f"{directory}/") == [f"{directory}/here"]


def test_bash_units(directory):
    """Sockets by their files, and by their names in the load path."""
    write_units(directory / "units", {"here-h.socket": "", "here-h.service": ""}, directory)
    assert ask_bash("hark", "run", "here", cwd=directory / "units") == ["here-h.socket"]
    assert ask_bash("hark", "check", f"{directory}/units/h") == [f"{directory}/units/here-h.socket"]
    assert "here-h.socket" in ask_bash("hark", "adopt", "here-",
                                       SYSTEMD_UNIT_PATH=f"{directory}/units")


def test_bash_names(directory):
    """The names of those that have a control socket."""
    place = directory / "hark/completed-hark"
    place.mkdir(parents=True)
    (directory / "hark/completed-not").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "control"))
        for verb in ("status", "reload", "drain", "stop"):
            assert ask_bash("hark", verb, "completed", XDG_RUNTIME_DIR=str(directory)) == [
                "completed-hark"]


def test_bash_program():
    """After the program of activate, options are its own."""
    assert "cat" in ask_bash("hark", "activate", "-a", "-l", "/x", "cat")
    assert ask_bash("hark", "activate", "-a", "-l", "/x", "--acc") == ["--accept"]
    assert ask_bash("hark", "activate", "-a", "-l", "/x", "cat", "--acc") == []
    assert ask_bash("hark", "activate", "--mode", "=", "0600", "--acc") == ["--accept"]


# ---- zsh -------------------------------------------------------------------------------------


def zsh_function(name: str) -> str:
    """The text of a function, with the arrays that it uses in the place of their names."""
    text = ZSH.read_text()
    arrays = dict(re.findall(r"^(_hark_\w+)=\((.*?)^\)", text, re.MULTILINE | re.DOTALL))
    body = re.search(rf"^{name}\(\) \{{\n(.*?)^\}}", text, re.MULTILINE | re.DOTALL)
    assert body, f"no function {name}"
    return re.sub(r"\$(_hark_\w+)", lambda match: arrays[match[1]], body[1])


def long_options(text: str) -> set[str]:
    """Those in a text."""
    return set(re.findall(r"--([a-z][a-z-]*[a-z])", text))


@pytest.mark.parametrize("verb", VERBS)
def test_zsh_options(verb):
    """Each option; and those that an option excludes exist."""
    text = re.sub(r"\[[^\]]*\]", "", zsh_function(f"_hark_{verb}"))  # without descriptions
    assert long_options(re.sub(r"'\([^()']*\)", "'", text)) == set(options(verb))
    assert long_options(text) == set(options(verb))
    assert set(re.findall(r"\{-(\w)\+?,", text)) == letters(verb)


def test_zsh_verbs():
    """The list that is described, and a function for each."""
    assert set(re.findall(r"^        '(\w+):", ZSH.read_text(), re.MULTILINE)) == set(VERBS)
    for verb in VERBS:
        zsh_function(f"_hark_{verb}")
    assert ZSH.read_text().startswith("#compdef hark\n")


def test_syntax():
    """The shells that are here read them without a word."""
    tool("bash", "-n", BASH)
    for shell, path in (("zsh", ZSH), ("fish", FISH)):
        if which(shell):
            tool(shell, "-n", path)


# ---- fish ------------------------------------------------------------------------------------


def fish_lines(verb: str) -> Iterable[str]:
    """The lines that are for a verb."""
    for line in FISH.read_text().splitlines():
        match = re.match(r"complete -c hark(?: -n '__hark_verb ([a-z ]+)')? ", line)
        if match and "__hark_needs_verb" not in line:
            if match[1] is None or verb in match[1].split():
                yield line


@pytest.mark.parametrize("verb", VERBS)
def test_fish_options(verb):
    """Each option, with a value where it must have one."""
    lines = list(fish_lines(verb))
    offered = {}
    for line in lines:
        if match := re.search(r" -l ([a-z-]+)", line):
            assert match[1] not in offered, line
            offered[match[1]] = " -x" in line or " -r" in line
    assert offered == options(verb)
    assert {m[1] for m in (re.search(r" -s (\w) ", line) for line in lines) if m} == letters(verb)


def test_fish_verbs():
    """Each verb once; no line is for what is no verb."""
    text = FISH.read_text()
    assert sorted(re.findall(r"__hark_needs_verb -a (\w+)", text)) == sorted(VERBS)
    named = {word for words in re.findall(r"'__hark_verb ([a-z ]+)'", text)
             for word in words.split()}
    assert named == set(VERBS)


def test_fish_offers(directory):
    """Where there is a fish, it offers what the file says."""
    if not which("fish"):
        return  # its lines are held against --help above
    def ask(line: str) -> list[str]:
        text = tool("fish", "--no-config", "-c", f"source {FISH}; complete -C '{line}'",
                    HOME=str(directory))
        return [word.split("\t")[0] for word in text.splitlines()]
    assert set(ask("hark ")) >= set(VERBS)
    assert set(ask("hark status --")) == {f"--{name}" for name in options("status")}
    assert ask("hark run --report=e") == ["--report=exits"]
