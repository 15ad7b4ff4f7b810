# SPDX-License-Identifier: MIT
"""Fixtures. Each test has a directory with a short path, and must leave no process behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import support


@pytest.fixture(scope="session", autouse=True)
def subreaper() -> None:
    """What a test's processes leave behind becomes a child of the test process, which starts
    them with nothing ignored that a shell would not ignore."""
    support.become_subreaper()
    support.reset_internal_signals()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of the test's own with a short path."""
    path = support.short_directory()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_leftovers(directory: Path) -> Iterator[None]:
    """Fails the test that leaves a process, after ending that."""
    before = {p.pid for p in support.descendants(os.getpid())}
    yield
    left = support.sweep(before)
    assert not left, f"processes left behind: {left}"


@pytest.fixture(scope="session")
def hark() -> Path:
    """The program under test."""
    assert support.HARK.exists(), f"{support.HARK} is missing: build first, or set HARK_BUILD_DIR"
    return support.HARK


@pytest.fixture(scope="session")
def helpers() -> Path:
    """The directory of the test programs."""
    return support.HELPERS


@pytest.fixture
def activate(hark: Path, directory: Path) -> Callable[..., support.Hark]:
    """activate("-l", path, …) makes a Hark, to be used in a with statement."""
    def make(*arguments: object, **options: Any) -> support.Hark:
        return support.Hark([str(a) for a in arguments], directory, **options)
    return make


def pytest_configure(config: pytest.Config) -> None:
    """Markers that say what a test needs beyond an ordinary user and a build."""
    config.addinivalue_line("markers", "root: needs root")
    config.addinivalue_line("markers", "needs(*programs): needs these programs")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what cannot run here, and says why; in CI that is a failure."""
    reason = None
    if item.get_closest_marker("root") and os.geteuid() != 0:
        reason = "needs root"
    for marker in item.iter_markers("needs"):
        missing = [name for name in marker.args if not support.which(name)]
        if missing:
            reason = f"needs {', '.join(missing)}: see tests/setup"
    if reason and support.MUST_NOT_SKIP:
        pytest.fail(f"must not be skipped here: {reason}", pytrace=False)
    if reason:
        pytest.skip(reason)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A skip from inside a test is a failure in CI as well."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and support.MUST_NOT_SKIP and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"must not be skipped here: {report.longrepr}"


@pytest.fixture
def run(hark: Path, directory: Path) -> Callable[..., support.Hark]:
    """run({"foo.socket": text, …}, "foo.socket", …) writes the units and makes a Hark that serves
    them. {directory} and {helpers} in a text are the test's and the test programs' directory."""
    def make(units: dict[str, str], *arguments: object, **options: Any) -> support.Hark:
        support.write_units(directory / "units", units, directory)
        return support.Hark([f"--unit-path={directory / 'units'}", *map(str, arguments)], directory,
                            verb="run", **options)
    return make
