"""Every conformance check by name: a literal table of the families, in the order in which they run."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

Check = Callable[[Path], object]

FAMILIES: Final = (
    "symlinks",
    "naming",
    "listing",
    "data",
    "appending",
    "direct",
    "unnamed",
    "sparse",
    "mapping",
    "locking",
    "flocking",
    "orphans",
    "specials",
    "large",
    "allocation",
    "copying",
    "totals",
    "syncing",
    "pathfds",
    "status",
    "executing",
    "watching",
    "badcalls",
    "sequences",
    "opening",
    "creating",
    "renaming",
    "exchanging",
    "linking",
    "unlinking",
    "directories",
    "modes",
    "owners",
    "truncation",
    "times",
    "xattrs",
    "permissions",
    "inheriting",
    "privileges",
)


def checks() -> Mapping[str, Check]:
    """`family.check` → the function, in a fixed order."""
    found: dict[str, Check] = {}
    for family in FAMILIES:
        module = importlib.import_module(f"tests.posix.{family}")
        for name, value in vars(module).items():
            if name.startswith("check_"):
                found[f"{family}.{name.removeprefix('check_')}"] = value
    return found
