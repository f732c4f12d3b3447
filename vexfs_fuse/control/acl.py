"""An access control list as the kernel asks for it (acl(5), linux/posix_acl_xattr.h)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

NAME: Final = b"system.posix_acl_access"
_VERSION: Final = 2
_OWNER, _USER, _OWNING_GROUP, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_NOBODY: Final = 0xFFFFFFFF
_ENTRY: Final = struct.Struct("<HHI")


def access_acl(rights: int, users: Iterable[int], groups: Iterable[int]) -> bytes:
    """The owner, these users and these groups have `rights` (0 to 7), nobody else has any."""
    entries = [
        (_OWNER, rights, _NOBODY),
        *((_USER, rights, uid) for uid in sorted(users)),
        (_OWNING_GROUP, 0, _NOBODY),
        *((_GROUP, rights, gid) for gid in sorted(groups)),
        (_MASK, rights, _NOBODY),
        (_OTHER, 0, _NOBODY),
    ]
    return struct.pack("<I", _VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries)
