"""Where a mount's control files are for the caller."""

from __future__ import annotations

import os
from typing import Final

_CONTROL: Final = ".vexfs"


def control_of(mountpoint: str) -> str:
    """`/.vexfs` of the mount there, or where it has tenants what is the caller's own of it."""
    control = os.path.join(mountpoint, _CONTROL)
    own = os.path.join(control, "self")
    return own if os.path.lexists(own) else control
