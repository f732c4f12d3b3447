"""The backing tree's system calls, all relative to descriptors: nothing here knows a path from the source's root.

Functions raise OSError as the kernel answers. An O_PATH descriptor is operated on through /proc/self/fd, whose magic
link leads to the object itself, a symbolic link included.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
from collections.abc import Callable
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)  # releases the GIL: what is called here may block
UTIME_NOW: Final = (1 << 30) - 1
UTIME_OMIT: Final = (1 << 30) - 2
AT_FDCWD: Final = -100
AT_EMPTY_PATH: Final = 0x1000
_DIOALIGN: Final = 0x2000
_STATX_BYTES: Final = 256


class _Timespec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def link_to(fd: int) -> str:
    """The magic link of a descriptor."""
    return f"/proc/self/fd/{fd}"


def open_path(dir_fd: int, name: bytes) -> tuple[int, os.stat_result]:
    """An O_PATH descriptor of `name`, a symbolic link not followed, and its status."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        return fd, os.fstat(fd)
    except BaseException:
        os.close(fd)
        raise


def open_links() -> int:
    """The directory of this process's magic links; a fork needs one of its own."""
    return os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def reopen(links: int, fd: int, flags: int) -> int:
    """A descriptor of the same object with `flags` (those of open(2), creation flags removed); 5 µs.

    `links` is that of `open_links`, which saves half the walk to the magic link.
    """
    flags &= ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
    return os.open(b"%d" % fd, flags | os.O_CLOEXEC, dir_fd=links)


def statx(fd: int, mask: int) -> bytes:
    """struct statx (linux/stat.h) of an object; which fields of `mask` are valid says its first word."""
    found = ctypes.create_string_buffer(_STATX_BYTES)
    _check(_libc.statx(fd, b"", AT_EMPTY_PATH, mask, found))
    return found.raw


def honour_direct(fd: int) -> int:
    """Drop O_DIRECT from a descriptor that the backing tree agreed to open with it: our buffers are not aligned.

    What offsets and lengths must be a multiple of there, 1 where everything goes.
    """
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_DIRECT)
    found = statx(fd, _DIOALIGN)
    return int.from_bytes(found[0x9C:0xA0], "little") or 1


def set_times(fd: int, atime_ns: int, mtime_ns: int) -> None:
    """utimensat(2); UTIME_NOW and UTIME_OMIT in place of nanoseconds mean what they say."""
    times = (_Timespec * 2)()
    for at, value in enumerate((atime_ns, mtime_ns)):
        if value in (UTIME_NOW, UTIME_OMIT):
            times[at].nsec = value
        else:
            times[at].sec, times[at].nsec = divmod(value, 1_000_000_000)
    _check(_libc.utimensat(AT_FDCWD, link_to(fd).encode(), times, 0))


def rename(old_fd: int, old: bytes, new_fd: int, new: bytes, flags: int) -> None:
    """renameat2(2)."""
    if flags:
        _check(_libc.renameat2(old_fd, old, new_fd, new, flags))
    else:
        os.rename(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)


def link(fd: int, dir_fd: int, name: bytes) -> None:
    """A hard link to the object itself."""
    os.link(link_to(fd), name, dst_dir_fd=dir_fd, follow_symlinks=True)


def has_default_acl(dir_fd: int) -> bool:
    """Whether new entries inherit an ACL, in which case the caller's umask does not count (acl(5)); 2 µs."""
    try:
        os.getxattr(link_to(dir_fd), "system.posix_acl_default")
    except OSError:
        return False
    return True


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2)."""
    _check(_libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


def drop_set_ids(fd: int, in_group: Callable[[int], bool], *, gid_only: bool = False) -> None:
    """Clear suid and sgid as the kernel does when a user without CAP_FSETID changes content.

    sgid goes where the group may execute, and where the caller is not `in_group` of the file.
    """
    status = os.fstat(fd)
    mode = status.st_mode
    if not stat.S_ISREG(mode) or not mode & (stat.S_ISUID | stat.S_ISGID):
        return
    kept = mode if gid_only else mode & ~stat.S_ISUID
    if (mode & stat.S_IXGRP and not gid_only) or (mode & stat.S_ISGID and not in_group(status.st_gid)):
        kept &= ~stat.S_ISGID
    if kept != mode:
        os.chmod(link_to(fd), stat.S_IMODE(kept))
