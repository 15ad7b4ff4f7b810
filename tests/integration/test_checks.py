# SPDX-License-Identifier: MIT
"""Conformance: the header alone, the exported symbols, the layers, the help, an installed hark."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from support import BUILD, SANITIZED, SOURCE, clean_environment, run_hark

HEADER = SOURCE / "src/libhark/hark.h"
SANITIZE = ["-fsanitize=address,undefined"] if SANITIZED else []

USER = """
#include <hark.h>
#include <hark.h>
int main(void)
{
    struct hark_listen_options options = HARK_LISTEN_OPTIONS_INIT;
    struct hark_listener *listener = 0;
    int r = hark_listen("@hark-out-of-tree", &options, &listener);
    if (r < 0)
        return 1;
    hark_listener_free(listener);
    return 0;
}
"""


def tool(*command: object, **env: str) -> str:
    """Runs a tool; fails with all that it said; returns its output."""
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False,
                            env=clean_environment(**env), timeout=100, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


def exported() -> set[str]:
    """What the shared library exports."""
    lines = tool("nm", "-D", "--defined-only", BUILD / "src/libhark/libhark.so").splitlines()
    names = {line.split()[2].split("@")[0] for line in lines if line.split()[1] in "TDBRV"}
    return {n for n in names if not n.startswith(("__asan", "__odr_asan", "_init", "_fini"))}


def declared() -> set[str]:
    """What the header declares as public."""
    return set(re.findall(r"HARK_PUBLIC[^;(]*?(hark_\w+)\(", HEADER.read_text()))


@pytest.mark.parametrize("compiler", [
    ["gcc", "-std=c11", "-x", "c"], ["gcc", "-std=c17", "-x", "c"],
    ["g++", "-std=c++17", "-x", "c++"], ["g++", "-std=c++11", "-x", "c++"]],
    ids=lambda words: words[1])
def test_header_alone(directory, compiler):
    """hark.h compiles as the only include, twice, strictly, without any feature macro."""
    source = directory / "user.c"
    source.write_text(USER)
    tool(*compiler, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion", "-Wshadow",
         "-fsyntax-only", f"-I{HEADER.parent}", source)


def test_exports_are_what_the_header_declares():
    """Nothing more and nothing less than hark.h leaves the library."""
    assert exported() == declared()


def test_exports_are_what_the_version_script_lists():
    """The map names every function; only wildcards would hide a mistake."""
    text = (SOURCE / "src/libhark/libhark.map").read_text()
    text = re.sub(r"/\*.*?\*/|#[^\n]*", "", text, flags=re.DOTALL)
    listed = set(re.findall(r"\b(hark_\w+);", text))
    assert listed == exported()


def test_every_function_has_its_manual_page():
    """Each exported function is a .Nm of a page in section 3, and no page names another."""
    pages = sorted((SOURCE / "man").glob("*.3"))
    assert pages, "no manual pages of section 3"
    named: set[str] = set()
    for page in pages:
        for match in re.finditer(r"^\.Nm (hark_\w+)", page.read_text(), re.MULTILINE):
            named.add(match[1])
    functions = exported()
    assert functions <= named, f"not in any page: {sorted(functions - named)}"
    groups = {page.stem for page in pages}
    assert named - functions <= groups, f"pages name what is not there: {named - functions}"


def test_manual_pages_are_clean():
    """mandoc has nothing to say about the pages."""
    pages = sorted((SOURCE / "man").glob("*.[1-8]"))
    assert pages, "no manual pages"
    tool("mandoc", "-T", "lint", "-W", "warning", *pages)


def test_manual_page_has_every_option():
    """hark(1) and --help agree on the long options."""
    options = set(re.findall(r"--([a-z][a-z-]+)", run_hark("activate", "--help").stdout))
    page = (SOURCE / "man/hark.1").read_text().replace("\\-", "-")
    missing = {o for o in options if not re.search(rf"(Fl -|--){o}\b", page)}
    assert not missing, f"not in hark(1): {missing}"


@pytest.mark.parametrize("layer", ["basic", "varlink", "libhark", "unit", "listener", "exec",
                                   "supervisor", "cli"])
def test_layers(directory, layer):
    """Each archive, whole, links with nothing but the layers below it."""
    archives = {"basic": BUILD / "src/basic/libbasic.a",
                "varlink": BUILD / "src/varlink/libvarlink.a",
                "libhark": BUILD / "src/libhark/libhark-static.a",
                "unit": BUILD / "src/unit/libunit.a",
                "listener": BUILD / "src/listener/liblistener.a",
                "exec": BUILD / "src/exec/libexec.a",
                "supervisor": BUILD / "src/supervisor/libsupervisor.a",
                "cli": BUILD / "src/cli/libcli.a"}  # without the verbs of libclient.a
    order = list(archives)
    below = [archives[name] for name in reversed(order[:order.index(layer)])]
    libraries = [] if layer == "basic" else ["-lsystemd"]
    if layer in ("varlink", "supervisor", "cli"):
        libraries.append("-ljansson")
    main = directory / "main.c"
    main.write_text("int main(void) { return 0; }\n")
    tool("gcc", *SANITIZE, "-o", directory / "whole", main, "-Wl,--no-undefined",
         "-Wl,--whole-archive", archives[layer], "-Wl,--no-whole-archive", *below, *libraries,
         "-pthread")


def test_includes_follow_the_layers():
    """No file includes a header of a layer above its own."""
    order = ["basic", "varlink", "libhark", "unit", "listener", "exec", "supervisor", "cli"]
    allowed = {layer: set(order[:i + 1]) for i, layer in enumerate(order)}
    for layer in ("libhark", "unit", "listener", "exec"):
        allowed[layer].remove("varlink")
    for layer, lower in allowed.items():
        for path in (SOURCE / "src" / layer).glob("*.[ch]"):
            for target in re.findall(r'#include "(\w+)/', path.read_text()):
                assert target in lower, f"{path} includes {target}/"


def test_every_file_has_its_licence():
    """An SPDX line at the top of each source file."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=SOURCE, capture_output=True, text=True,
                            check=False).stdout.split("\0")
    for name in listed:
        path = SOURCE / name
        if path.suffix in (".c", ".h", ".py", ".build", ".sh") and path.exists():
            head = path.read_text(errors="replace")[:300]
            assert "SPDX-License-Identifier: MIT" in head, name


def test_messages_go_where_they_belong():
    """Help on stdout within 80 columns; a mistake on stderr alone."""
    helped = run_hark("--help")
    assert helped.returncode == 0 and not helped.stderr
    assert max(map(len, helped.stdout.splitlines())) <= 80
    wrong = run_hark("--no-such-option")
    assert wrong.returncode == 64 and not wrong.stdout and "no-such-option" in wrong.stderr
    assert len(wrong.stderr.splitlines()) <= 3


def test_help_on_a_full_disk():
    """Help that cannot be written is a failure, not a silent success."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        result = subprocess.run([str(BUILD / "src/cli/hark"), "--help"], stdout=full,
                                stderr=subprocess.PIPE, check=False, env=clean_environment())
    assert result.returncode == 1


def test_install_and_build_against_it(directory):
    """meson install into a DESTDIR; a program outside the tree finds hark.pc, builds and runs."""
    root = directory / "root"
    tool("meson", "install", "--no-rebuild", "-C", BUILD, "--destdir", root,
         HOME=str(directory))
    installed = [p for p in root.rglob("*") if p.is_file() or p.is_symlink()]
    names = {p.name for p in installed}
    assert {"hark", "hark.h", "hark.pc", "libhark.so", "libhark.so.0"} <= names
    assert not any(p.is_absolute() and str(BUILD) in os.readlink(p)
                   for p in installed if p.is_symlink())
    pc_file = next(p for p in installed if p.name == "hark.pc")
    library = next(p for p in installed if p.name == "libhark.so").parent
    assert str(directory) not in pc_file.read_text()
    flags = tool("pkg-config", "--cflags", "--libs", "hark",
                 PKG_CONFIG_PATH=str(pc_file.parent), PKG_CONFIG_SYSROOT_DIR=str(root)).split()
    source = directory / "user.c"
    source.write_text(USER)
    program = directory / "user"
    tool("gcc", "-std=c11", *SANITIZE, "-o", program, source, *flags)
    tool(program, LD_LIBRARY_PATH=str(library))
    hark = Path(next(p for p in installed if p.name == "hark" and "bin" in str(p.parent)))
    assert tool(hark, "--version", LD_LIBRARY_PATH=str(library)).startswith("hark ")
