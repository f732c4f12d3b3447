"""The mount with a fault in one handler at a time: `python faulty.py FAULTS mount.py's arguments`.

Every handler of the data tree raises a RuntimeError while the file FAULTS holds its name: what a bug in VexFS would do.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import mount
from vexfs_fuse import native, passthrough
from vexfs_fuse.attributes import Attributes
from vexfs_fuse.directories import Directories
from vexfs_fuse.files import Files
from vexfs_fuse.namespace import Namespace

FAULTS = Path(sys.argv[1])


def breakable(name: str, handler: Callable[..., Any]) -> Callable[..., Any]:
    """`handler`, which raises while FAULTS names it."""

    def call(*arguments: Any) -> Any:
        if FAULTS.read_text() == name:
            raise RuntimeError(f"a fault in {name}")
        return handler(*arguments)

    return call


# Functions that serve a handler of another name.
SERVED = {"make_directory": "mkdir", "opened": "open", "created": "create"}


def break_all() -> None:
    """Wrap the public methods of the families that serve the data tree, and the calls of the native library."""
    families: list[tuple[type, tuple[str, ...]]] = [
        (family, tuple(name for name in vars(family) if not name.startswith("_")))
        for family in (Namespace, Attributes, Files, Directories)
    ]
    for family, names in families:
        for name in names:
            setattr(family, name, breakable(SERVED.get(name, name), getattr(family, name)))
    native.Native.on_data = lambda self, told: None  # so that reads and writes come to their handlers
    passthrough.fallocate = breakable("fallocate", passthrough.fallocate)  # the first thing that the handler calls


if __name__ == "__main__":
    break_all()
    sys.exit(mount.main(sys.argv[2:]))
