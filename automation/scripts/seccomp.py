"""A filter of system calls for a worker: it may compute, wait, use memory and talk over the pipes that it has.

Everything else answers EPERM, whoever asks: a hole in an interpreter then finds no call to go on with.
"""

from __future__ import annotations

import ctypes
import platform
import struct
from typing import Final

_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# read, write, waiting for what is open, memory, locks, signals' return, clocks, own usage and limits, random numbers,
# the end; and what a thread does when it begins (its number, CPUs, robust list, rseq): those of WASI may begin late
_CALLS: Final = {
    "x86_64": (
        *(0, 1, 9, 10, 11, 12, 13, 14, 15, 25, 28, 39),
        *(60, 96, 97, 98, 131, 160, 186, 201, 202, 204, 219, 228),
        *(231, 232, 273, 281, 302, 318, 334),
    ),
    "aarch64": (
        *(22, 63, 64, 93, 94, 98, 99, 113, 123, 128, 132, 134),
        *(135, 139, 163, 164, 165, 169, 172, 178, 214, 215, 216, 222),
        *(226, 233, 261, 278, 293),
    ),
}

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUALS: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050001  # SECCOMP_RET_ERRNO | EPERM
_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER: Final = 1
_ALL_THREADS: Final = 1  # SECCOMP_FILTER_FLAG_TSYNC


def refuse_system_calls() -> bool:
    """Install the filter for all threads; False where it is not known or not allowed. Needs no_new_privs."""
    machine = platform.machine()
    if machine not in _CALLS:
        return False
    code = _program(_ARCHITECTURES[machine], _CALLS[machine])
    text = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(_SECCOMP[machine], _SET_MODE_FILTER, _ALL_THREADS, program) == 0)


def _program(architecture: int, calls: tuple[int, ...]) -> bytes:
    """Load the architecture and compare it, load the number, and jump to `allow` at each number that is known."""
    steps = [(_LOAD, 0, 0, 4), (_EQUALS, 0, len(calls) + 1, architecture), (_LOAD, 0, 0, 0)]
    steps += [(_EQUALS, len(calls) - i, 0, number) for i, number in enumerate(calls)]
    steps += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
