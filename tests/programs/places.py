"""Where the tests of real programs work: a mount on ext4 or tmpfs in each of the modes."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.modes import mounted_in
from tests.mounting import filesystem, scratch


@dataclass(frozen=True, slots=True)
class Place:
    """A mount to work in: `path` on it, `backing` the same directory behind it, `native` with the native library."""

    path: Path
    backing: Path
    native: bool


SETTINGS = {
    "ext4": ("ext4", "native"),
    "tmpfs-traced": ("tmpfs", "traced"),
    "ext4-mixed": ("ext4", "mixed"),
    "tmpfs-fallback": ("tmpfs", "fallback"),
}


@contextlib.contextmanager
def place(setting: str) -> Iterator[Place]:
    """A mount of a fresh filesystem, without automations."""
    kind, mode = SETTINGS[setting]
    with filesystem(kind) as root, scratch() as workflows:
        backing = root / "backing"
        backing.mkdir()
        with mounted_in(mode, backing, workflows) as mount:
            yield Place(mount.mountpoint, backing, native=mode != "fallback")


def below(where: Place, name: str) -> Place:
    """A directory of a test's own."""
    (where.path / name).mkdir()
    return Place(where.path / name, where.backing / name, where.native)
