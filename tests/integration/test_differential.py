# SPDX-License-Identifier: MIT
"""The same unit pair under systemd, under hark beside it, and under hark where there is no systemd:
a probe writes down all that a process can see, and nothing may differ. See differential.py."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from differential import (Pair, Seen, StandalonePlace, SystemdPlace, check_facts, differences,
                          has_run, standalone, under_hark, under_systemd)
from differential_pairs import NOT_COMPARED, PAIRS
from support import SOURCE

pytestmark = [pytest.mark.root, pytest.mark.timeout(120),
              pytest.mark.needs("systemd-nspawn", "unshare", "nsenter", "setpriv", "ss", "ip")]


@pytest.fixture(scope="module")
def units() -> dict[str, str]:
    """The units of all pairs."""
    result: dict[str, str] = {}
    for pair in PAIRS:
        for name, text in pair.all_units().items():
            assert name not in result, f"two pairs have {name}"
            result[name] = text
    return result


@pytest.fixture(scope="module")
def machine(units: dict[str, str]) -> Iterator[SystemdPlace]:
    """A booted systemd; hark runs in it, too."""
    with SystemdPlace(units) as place:
        yield place


@pytest.fixture(scope="module")
def plain(units: dict[str, str], machine: SystemdPlace) -> Iterator[StandalonePlace]:
    """Namespaces without systemd."""
    with StandalonePlace(units, machine) as place:
        yield place


def known_of(machine: SystemdPlace, pair: Pair) -> Seen:
    """What systemd does with a pair, asked once."""
    if pair.name not in machine.known:
        machine.known[pair.name] = under_systemd(machine, pair)
    return machine.known[pair.name]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_systemd(pair: Pair, machine: SystemdPlace) -> None:
    """systemd does with the pair what we think it does: else the comparison shows nothing."""
    seen = known_of(machine, pair)
    wrong = check_facts(pair, seen)
    assert not wrong, "\n".join([*wrong, seen["log"]])


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_same(pair: Pair, machine: SystemdPlace, plain: StandalonePlace) -> None:
    """hark does with it what systemd does, with systemd around and without."""
    if not has_run():
        pytest.skip("this hark has no `run`")
    expected = known_of(machine, pair)
    problems = []
    for place, seen in (("beside systemd", under_hark(machine, pair)),
                        ("standalone", standalone(plain, pair))):
        lines = differences(pair, expected, seen, has_journal=place != "standalone")
        if lines:
            problems += [f"{place}:", *lines, seen["log"]]
    assert not problems, "\n".join(problems)


def honoured_keys() -> set[str]:
    """"Section.Key" for what the table of directives says that hark honours, without its own."""
    text = (SOURCE / "src/unit/directive-table.c").read_text()
    sections = {"SECTION_SOCKET": ["Socket"], "SECTION_SERVICE": ["Service"],
                "SOCKET_SERVICE": ["Socket", "Service"], "SECTION_UNIT": ["Unit"]}
    return {f"{section}.{key}"
            for key, where in re.findall(r'^    HONOURED\("(\w+)", (\w+)', text, re.MULTILINE)
            for section in sections.get(where, [])}


def test_every_honoured_key_is_in_a_pair() -> None:
    """A key that hark honours is compared, or there is a reason why it cannot be."""
    compared: set[str] = set().union(*(pair.keys() for pair in PAIRS))
    assert honoured_keys() - compared == set(NOT_COMPARED)


def test_every_pair_says_what_systemd_does() -> None:
    """So that a pair whose key systemd ignores is noticed."""
    assert [pair.name for pair in PAIRS if not pair.see] == []
    assert len({pair.name for pair in PAIRS}) == len(PAIRS)
