"""`-o` as mount(8), fstab and FUSE programs know it: what goes to the kernel, what is ours, what only fstab reads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from automation import configuration
from automation.configuration import Settings
from automation.errors import CallerError

SUBTYPE: Final = "vexfs"
FSTYPE: Final = f"fuse.{SUBTYPE}"

# For libfuse, which gives them to the kernel or to fusermount3.
FLAGS: Final = frozenset(
    """ro rw suid nosuid dev nodev exec noexec async sync atime noatime dirsync allow_other allow_root
    default_permissions auto_unmount""".split()  # noqa: SIM905 - one name per line would fill a page
)
# `subtype` may only be ours: mount(8) adds it, and the clean-up of dead mounts knows us by it.
VALUED: Final = frozenset({"fsname", "subtype", "max_read"})
# Of meaning to fstab, systemd and mount(8), or without meaning on FUSE; accepted, so that any fstab line works.
IGNORED: Final = frozenset(
    """defaults auto noauto user nouser users owner group _netdev nofail relatime norelatime strictatime lazytime
    nolazytime diratime nodiratime silent loud nonempty""".split()  # noqa: SIM905
)
IGNORED_PREFIXES: Final = ("x-", "X-", "comment=")
OURS: Final = frozenset(Settings.model_fields) - {"source", "mountpoint", "options"}


@dataclass(frozen=True, slots=True)
class MountOptions:
    """`-o`, sorted out: `fuse` for libfuse, `settings` for us, `config` the file with more of them; `nonempty` allows a
    mountpoint that holds something.
    """

    fuse: frozenset[str]
    settings: Settings
    config: str | None = None
    nonempty: bool = False

    def for_libfuse(self, source: str) -> frozenset[str]:
        """`fuse` as pyfuse3 takes it, with `source` as the name of the filesystem where none was given."""
        named = any(option.startswith("fsname=") for option in self.fuse)
        return frozenset(_escaped(option) for option in (self.fuse if named else {*self.fuse, f"fsname={source}"}))


def parse(options: Iterable[str]) -> MountOptions:
    """Sort out `-o`; each item may itself be a comma-separated list, and of opposites the later one wins.

    Besides the names above, every setting may be written here (`workflows=/etc/vexfs/workflows,show_control`), which
    is how fstab gives them. Raises CallerError for an option that nobody knows, with the nearest that somebody does.
    """
    fuse: dict[str, str] = {}
    ours: dict[str, str | bool] = {}
    config: str | None = None
    nonempty = False
    for option in _split(options):
        name, given, value = option.partition("=")
        plain = name.replace("-", "_")
        if (not given and name in FLAGS) or (given and name in VALUED):
            fuse.pop(_opposite(name), None)
            fuse[name] = option
        elif name in IGNORED or option.startswith(IGNORED_PREFIXES):
            nonempty |= name == "nonempty"
        elif plain in OURS:
            ours[plain] = value if given else True
        elif plain == "config" and given:
            config = value
        elif plain == "foreground":
            ours["background"] = False
        else:
            raise CallerError(f"-o {option}: {_why_not(name, bool(given))}")
    if fuse.get("subtype", f"subtype={SUBTYPE}") != f"subtype={SUBTYPE}":
        raise CallerError(f"-o {fuse['subtype']}: the subtype of a VexFS mount is {SUBTYPE}")
    fuse.pop("subtype", None)
    most = fuse.get("max_read", "max_read=0").partition("=")[2]
    if not (most.isascii() and most.isdecimal()) or int(most) >= 1 << 32:
        raise CallerError(f"-o max_read={most}: give a number of bytes")
    return MountOptions(frozenset(fuse.values()), configuration.parse(ours, "-o {}"), config, nonempty)


def _split(options: Iterable[str]) -> list[str]:
    """Items between commas; `\\,` is a comma inside a value."""
    joined = ",".join(options).replace("\\,", "\0")
    return [item.replace("\0", ",") for item in joined.split(",") if item]


def _escaped(option: str) -> str:
    """libfuse splits at commas, so they are escaped; pyfuse3 takes ASCII only, so the rest is written as in URLs."""
    name, given, value = option.partition("=")
    plain = "".join(c if c.isascii() and c.isprintable() else quote(os.fsencode(c)) for c in value)
    return name + given + plain.replace("\\", "\\\\").replace(",", "\\,")


def _opposite(name: str) -> str:
    pairs = {"ro": "rw", "rw": "ro", "sync": "async", "async": "sync"}
    return pairs.get(name) or (name.removeprefix("no") if name.startswith("no") else f"no{name}")


def _why_not(name: str, given: bool) -> str:
    if name in FLAGS:
        return f"{name} takes no value"
    if name in VALUED:
        return f"give {name} a value, as in {name}=..."
    known = (*FLAGS, *VALUED, *IGNORED, *OURS, "config")
    return f"there is no such mount option{configuration.suggest(name, known)}"
