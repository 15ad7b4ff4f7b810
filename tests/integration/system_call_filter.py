# SPDX-License-Identifier: MIT
"""seccomp(2) filters as service managers and container runtimes give them: calls that fail. For
root only, in a process that is to become hark."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence

from support import libc

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, IF_EQUAL, AND, RETURN = 0x20, 0x15, 0x54, 0x06  # bpf(2), classic
NUMBER, FIRST_ARGUMENT = 0, 16  # in struct seccomp_data

MACHINE = {"x86_64": 0, "aarch64": 1}.get(os.uname().machine)


def number(x86_64: int, aarch64: int) -> int:
    """Of a call on this machine."""
    return -1 if MACHINE is None else (x86_64, aarch64)[MACHINE]


SYS_ACCEPT4 = number(288, 242)
SYS_CLONE, SYS_CLONE3 = number(56, 220), 435
SYS_CLOSE_RANGE = 436
# Most of systemd's group @resources.
SET_RESOURCES = (number(141, 140), number(160, 164), number(203, 122), number(314, 274))


def install(instructions: Sequence[tuple[int, int, int, int]]) -> None:
    """From now on, for this process and all that come from it."""
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    filters = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        """struct sock_fprog"""
        _fields_ = [("n", ctypes.c_ushort), ("filters", ctypes.c_void_p)]

    what = Program(len(instructions), ctypes.addressof(filters))
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(what), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP")


def forbid(calls: Sequence[int], error: int) -> None:
    """These calls fail."""
    install([(LOAD, 0, 0, NUMBER),
             *((IF_EQUAL, len(calls) - i, 0, call) for i, call in enumerate(calls)),
             (RETURN, 0, 0, ALLOW),
             (RETURN, 0, 0, ERRNO | error)])


def forbid_clone(flags: int, error: int) -> None:
    """clone(2) with all of these flags fails; clone3(2) is not there, as in many a container: libc
    then uses clone(2)."""
    install([(LOAD, 0, 0, NUMBER),
             (IF_EQUAL, 4, 0, SYS_CLONE3),
             (IF_EQUAL, 0, 4, SYS_CLONE),
             (LOAD, 0, 0, FIRST_ARGUMENT),  # its lower half
             (AND, 0, 0, flags),
             (IF_EQUAL, 2, 1, flags),  # to the last but one
             (RETURN, 0, 0, ERRNO | errno.ENOSYS),
             (RETURN, 0, 0, ALLOW),
             (RETURN, 0, 0, ERRNO | error)])
