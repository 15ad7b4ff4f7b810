# SPDX-License-Identifier: MIT
"""The library as others see it: its ABI, its manual, and builds that use it from outside."""

from __future__ import annotations

import re
from pathlib import Path

from support import BUILD, SANITIZED, SOURCE
from test_checks import HEADER, tool

LIBRARY = BUILD / "src/libhark/libhark.so"

# What programs that were linked with libhark.so.0 rely on: names may be added here, but none may go
# as long as the soname stays, nor may a number below change.
SYMBOLS = set("""
hark_address_holder hark_address_state hark_connect hark_forkserver_call hark_forkserver_fork
hark_forkserver_free hark_forkserver_from_fd hark_forkserver_kill hark_forkserver_kill_all
hark_forkserver_pid hark_forkserver_spawn hark_forkserver_start hark_forkserver_stop
hark_forkserver_stop_server hark_listen hark_listener_address hark_listener_adopt
hark_listener_check hark_listener_directory hark_listener_disown hark_listener_fd hark_listener_free
hark_listener_from_fd hark_listener_lock_fd hark_listener_name hark_listener_rebind
hark_listener_type hark_listener_was_passed hark_lockfile_adopt hark_lockfile_check
hark_lockfile_close hark_lockfile_commit hark_lockfile_commit_to hark_lockfile_disown
hark_lockfile_fd hark_lockfile_free hark_lockfile_hold hark_lockfile_holder hark_lockfile_path
hark_lockfile_reopen hark_lockfile_stream hark_lockfile_target hark_passed_fds hark_passed_free
hark_receive_fds hark_send_fds
""".split())

# Offsets on a machine with 64-bit pointers. Structures with a size member may grow at their end.
LAYOUT = {
    "hark_holder": "pid 0 uid 4 foreign 8 command 9",
    "hark_listen_options":
        "size 0 type 8 backlog 12 mode 16 owner 20 group 24 lock_timeout_ms 28 flags 32 name 40 "
        "protocol 48 directory_mode 52 prepare 56 userdata 64",
    "hark_passed": "fd 0 name 8",
    "hark_limit": "resource 0 soft 8 hard 16",
    "hark_identity": "uid 0 gid 4 groups 8 n_groups 16",
    "hark_spawn":
        "size 0 program 8 arguments 16 environment 24 directory 32 fds 40 n_fds 48 limits 56 "
        "n_limits 64 identity 72",
    "hark_child": "pid 0 socket_fd 4 exit_fd 8",
    "hark_exit":
        "pid 0 code 4 status 8 error 12 user_usec 16 system_usec 24 max_rss_kib 32",
}
SIZES = {"hark_holder": 44, "hark_listen_options": 72, "hark_passed": 16, "hark_limit": 24,
         "hark_identity": 24, "hark_spawn": 80, "hark_child": 12, "hark_exit": 40}
NUMBERS = {
    "HARK_LOCKFILE_FOLLOW": 1, "HARK_LOCKFILE_APPEND": 2, "HARK_LOCKFILE_FSYNC": 4,
    "HARK_LOCKFILE_IDENTIFY": 8, "HARK_LISTEN_NONBLOCK": 1, "HARK_LISTEN_MKDIR": 2,
    "HARK_LISTEN_KEEP_NAME": 4, "HARK_LISTEN_ONE_THREAD": 8, "HARK_LISTENER_IN_PLACE": 0,
    "HARK_LISTENER_REMOVED": 1, "HARK_LISTENER_REPLACED": 2,
    "HARK_CHILD_SOCKET": 1, "HARK_CHILD_EXIT": 2, "HARK_CHILD_CONNECTION": 4,
    "HARK_CONNECT_NONBLOCK": 1, "HARK_CONNECT_AWAIT_NAME": 2,
    "HARK_CONNECT_AWAIT_LISTENER": 4, "HARK_ADDRESS_FREE": 0, "HARK_ADDRESS_DEAD": 1,
    "HARK_ADDRESS_IN_USE": 2, "HARK_ADDRESS_NO_SOCKET": 3, "HARK_ADDRESS_UNKNOWN": 4,
    "HARK_SPAWN_FDS_MAX": 249, "HARK_SPAWN_LIMITS_MAX": 32,
    "HARK_SPAWN_GROUPS_MAX": 256, "HARK_FDS_MAX": 253,
}


def test_soname():
    """Programs ask for libhark.so.0, and the library for nothing but libc and libsystemd."""
    dynamic = tool("readelf", "-dW", LIBRARY)
    assert re.findall(r"\(SONAME\).*\[(.*)\]", dynamic) == ["libhark.so.0"]
    needed = {n.split(".so")[0] for n in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)}
    if not SANITIZED:
        assert needed <= {"libc", "libsystemd"}


def test_symbols_keep_their_version():
    """Each function is there, under the version it had from the start; and it is in the list."""
    lines = tool("nm", "-D", "--defined-only", "--with-symbol-versions", LIBRARY).splitlines()
    found = {line.split()[2] for line in lines if " T " in line and "hark_" in line}
    assert found == {f"{name}@@LIBHARK_0" for name in SYMBOLS}


def test_layout(directory):
    """Structures and numbers are what earlier programs were compiled with."""
    header = HEADER.read_text()
    public = set(re.findall(r"^struct (hark_\w+) \{", header, re.MULTILINE))
    assert public == set(LAYOUT) == set(SIZES)
    enumerators = set(re.findall(r"^    (HARK_\w+)(?: = [^,]+)?,", header, re.MULTILINE))
    assert enumerators <= set(NUMBERS), f"not in the list: {enumerators - set(NUMBERS)}"
    checks = [f"CHECK(sizeof(struct {name}) == {size});" for name, size in SIZES.items()]
    for name, members in LAYOUT.items():
        words = members.split()
        for member, offset in zip(words[::2], words[1::2]):
            checks.append(f"CHECK(offsetof(struct {name}, {member}) == {offset});")
    checks += [f"CHECK({name} == {number});" for name, number in NUMBERS.items()]
    source = directory / "layout.c"
    source.write_text("#include <hark.h>\n"
                      "#define CHECK(what) _Static_assert(what, #what)\n" + "\n".join(checks))
    tool("gcc", "-std=c11", "-fsyntax-only", f"-I{HEADER.parent}", source)


def test_manual_pages_show_the_prototypes(directory):
    """Every synopsis declares what hark.h declares: the compiler compares."""
    declarations = []
    for page in sorted((SOURCE / "man").glob("hark_*.3")):
        text = page.read_text()
        synopsis = text[text.index(".Sh SYNOPSIS"):text.index(".Sh DESCRIPTION")]
        for match in re.finditer(r"^\.Ft (.*)\n\.Fo (\w+)\n((?:\.Fa .*\n)*)\.Fc", synopsis,
                                 re.MULTILINE):
            arguments = [a.strip('"') for a in re.findall(r"\.Fa (.*)", match[3])]
            result = match[1].strip('"')
            declarations.append(f"{result} {match[2]}({', '.join(arguments) or 'void'});")
    assert {re.sub(r".*?(hark_\w+)\(.*", r"\1", d.split("(")[0] + "(") for d in declarations} \
        == SYMBOLS
    source = directory / "synopsis.c"
    source.write_text("#include <hark.h>\n" + "\n".join(declarations) + "\n")
    tool("gcc", "-std=c11", "-Werror", "-fsyntax-only", f"-I{HEADER.parent}", source)


def make_user_project(directory: Path) -> Path:
    """A project that has hark as a subproject, and a program in C and one in C++."""
    project = directory / "project"
    (project / "subprojects").mkdir(parents=True)
    (project / "subprojects/hark").symlink_to(SOURCE)
    for name in ("only-once.c", "cplusplus-user.cc"):
        (project / name).write_text((SOURCE / "tests/examples" / name).read_text())
    (project / "meson.build").write_text(
        "project('user', 'c', 'cpp', default_options: ['c_std=c11', 'cpp_std=c++17'])\n"
        "hark = dependency('hark', fallback: 'hark',"
        " default_options: ['tests=false', 'man=false'])\n"
        "executable('once', 'only-once.c', dependencies: hark)\n"
        "executable('plus', 'cplusplus-user.cc', dependencies: hark)\n")
    return project


def test_meson_subproject(directory):
    """Another project uses the tree as it is; only what the library needs is built for that."""
    project = make_user_project(directory)
    build = directory / "build"
    tool("meson", "setup", "--wrap-mode=forcefallback", build, project, HOME=str(directory))
    tool("ninja", "-C", build, "once", "plus", HOME=str(directory))
    assert "alone" in tool(build / "once", directory / "lock")
    tool(build / "plus")
    assert not (build / "subprojects/hark/src/cli/hark").exists()


def test_static_archive_is_enough(directory):
    """Everything that the library is made of links into one program, without the shared object."""
    source = directory / "once.c"
    source.write_text((SOURCE / "tests/examples/only-once.c").read_text())
    sanitize = ["-fsanitize=address,undefined"] if SANITIZED else []
    tool("gcc", "-std=gnu11", *sanitize, f"-I{HEADER.parent}", "-o", directory / "once", source,
         BUILD / "src/libhark/libhark-static.a", BUILD / "src/basic/libbasic.a", "-lsystemd")
    assert "alone" in tool(directory / "once", directory / "lock")
