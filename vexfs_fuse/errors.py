"""Every exception that meets the kernel becomes an errno here; no other module of VexFS names one."""

from __future__ import annotations

import errno
import logging
from typing import Final, NoReturn

import pyfuse3

from automation.errors import VexError

log: Final = logging.getLogger(__name__)

EACCES: Final = errno.EACCES
EAGAIN: Final = errno.EAGAIN
EBADF: Final = errno.EBADF
EBUSY: Final = errno.EBUSY
EDEADLK: Final = errno.EDEADLK
EEXIST: Final = errno.EEXIST
EINTR: Final = errno.EINTR
EINVAL: Final = errno.EINVAL
EIO: Final = errno.EIO
EISDIR: Final = errno.EISDIR
ELOOP: Final = errno.ELOOP
EMFILE: Final = errno.EMFILE
ENODATA: Final = errno.ENODATA
ENODEV: Final = errno.ENODEV
ENOENT: Final = errno.ENOENT
ENOSPC: Final = errno.ENOSPC
ENOSYS: Final = errno.ENOSYS
ENOTCONN: Final = errno.ENOTCONN
ENOTDIR: Final = errno.ENOTDIR
ENOTEMPTY: Final = errno.ENOTEMPTY
ENOTSUP: Final = errno.ENOTSUP
ENOTTY: Final = errno.ENOTTY
EPERM: Final = errno.EPERM
EROFS: Final = errno.EROFS
ESTALE: Final = errno.ESTALE
EXDEV: Final = errno.EXDEV


def name_of(code: int) -> str:
    """`ENOENT` for 2; the number itself where it has no name."""
    return errno.errorcode.get(code, str(code))


def code_named(name: str) -> int:
    """2 for `ENOENT`; EPERM for a name that the system does not know."""
    code: int = getattr(errno, name, errno.EPERM)
    return code


def code_of(error: Exception) -> int:
    """The errno that the kernel gets for `error`; what nobody foresaw is EIO, logged with its traceback."""
    if isinstance(error, pyfuse3.FUSEError | OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, VexError):
        return EINVAL
    log.error("a handler raised %r", error, exc_info=error)
    return EIO


def fail(code: int) -> NoReturn:
    """Answer the request with errno `code`."""
    raise pyfuse3.FUSEError(code)
