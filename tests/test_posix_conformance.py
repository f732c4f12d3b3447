"""The mount against the bare directory behind it: each check of `tests.posix` must observe the same on both."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.modes import mounted_in
from tests.mounting import filesystem, scratch
from tests.posix.catalogue import Check, checks
from tests.posix.children import ChildFailed, Failure, in_child
from tests.posix.exceptions import reason
from tests.posix.snapshot import snapshot

pytestmark = pytest.mark.mount

CHECKS = checks()
CHECK_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the checks run: the filesystem behind, and how the mount reads and writes."""

    filesystem: str
    mode: str


SETTINGS = {
    "ext4": Setting("ext4", "native"),
    "tmpfs": Setting("tmpfs", "native"),
    "ext4-traced": Setting("ext4", "traced"),
    "tmpfs-mixed": Setting("tmpfs", "mixed"),
    "tmpfs-fallback": Setting("tmpfs", "fallback"),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two places on one filesystem: `bare`, and `backing`, which `mount` shows."""

    setting: str
    bare: Path
    backing: Path
    mount: Path


@pytest.fixture(scope="module", params=SETTINGS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A fresh filesystem with a mount of one of its directories, once for all checks."""
    setting = SETTINGS[request.param]
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(filesystem(setting.filesystem))
        workflows = stack.enter_context(scratch())
        bare, backing = root / "bare", root / "backing"
        bare.mkdir()
        backing.mkdir()
        mount = stack.enter_context(mounted_in(setting.mode, backing, workflows))
        yield Pair(request.param, bare, backing, mount.mountpoint)


def observe(check: Check, directory: Path) -> object:
    """What the check returns, or where it failed; in a child, so that no check can disturb the next."""
    directory.mkdir(mode=0o755)

    def work() -> object:
        os.umask(0o022)
        os.chdir("/")
        return check(directory)

    try:
        return in_child(work, seconds=CHECK_SECONDS)
    except ChildFailed as failed:
        return failed.failure


@pytest.mark.parametrize("name", CHECKS)
def test_the_mount_observes_what_the_bare_directory_does(pair: Pair, name: str) -> None:
    """A check has the same outcome on the bare directory and on the mount, and leaves the same tree behind."""
    check = CHECKS[name]
    bare = observe(check, pair.bare / name)
    assert not isinstance(bare, Failure), f"the check fails on the bare directory: {bare}"
    mount = observe(check, pair.mount / name)
    trees = [snapshot(root / name) for root in (pair.bare, pair.backing, pair.mount)]
    expected = reason(name, pair.setting)
    if expected is not None and (bare, trees[0]) != (mount, trees[1]):
        pytest.xfail(expected)
    assert expected is None, f"{name} agrees now: take it out of the table of differences"
    assert mount == bare
    assert trees[1] == trees[0], "the backing directory holds something else than the bare one"
    assert trees[2] == trees[1], "the mount shows something else than its backing directory holds"
