"""Where the tests of real programs work: one mount on ext4 and one on tmpfs, native and without the native library."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mounting import filesystem, mounted, scratch


@dataclass(frozen=True, slots=True)
class Place:
    """A mount to work in: `path` on it, `backing` the same directory behind it, `native` with the native library."""

    path: Path
    backing: Path
    native: bool


SETTINGS = {
    "ext4": ("ext4", {}),
    "tmpfs": ("tmpfs", {}),
    "tmpfs-fallback": ("tmpfs", {"VEXFS_NO_NATIVE": "1"}),
}


@contextlib.contextmanager
def place(setting: str) -> Iterator[Place]:
    """A mount of a fresh filesystem, without automations."""
    kind, environment = SETTINGS[setting]
    with filesystem(kind) as root, scratch() as workflows:
        backing = root / "backing"
        backing.mkdir()
        with mounted(backing, arguments=("--workflows", str(workflows)), environment=environment) as mount:
            yield Place(mount.mountpoint, backing, native=not environment)


def below(where: Place, name: str) -> Place:
    """A directory of a test's own."""
    (where.path / name).mkdir()
    return Place(where.path / name, where.backing / name, where.native)
