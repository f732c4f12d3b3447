"""What the native library answers by itself is as right as what Python answers: numbers, counts, listings."""

import contextlib
import errno
import os
import random
import re
import time
from pathlib import Path

import pytest

from tests.listening import Listener
from tests.mounting import Mount
from tests.patience import eventually
from tests.posix.children import together

pytestmark = pytest.mark.mount

CLIENTS = 4
STEPS = 1500
FINE = {"ENOENT", "EEXIST", "ENOTEMPTY", "ENOTDIR", "EISDIR", "EINVAL", "EXDEV", "EPERM"}  # of names that others took
CACHES = Path("/proc/sys/vm/drop_caches")


def metric(mount: Mount, name: str) -> float:
    """The value of one metric, 0 where there is none yet."""
    text = (mount.mountpoint / ".vexfs" / "metrics").read_text()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0


def counted(mount: Mount, kind: str) -> float:
    """How many events of a type there were."""
    return metric(mount, f'vexfs_events_total{{type="{kind}"}}')


def forget_all() -> None:
    """Have the kernel give back the names and inodes that nobody uses."""
    with contextlib.suppress(OSError):
        CACHES.write_text("2")


def churn(root: Path, seed: int) -> dict[str, int]:
    """Random calls on names that all clients share; how often each errno came that nobody foresaw."""
    dice, strange = random.Random(seed), dict[str, int]()

    def name() -> Path:
        return root / f"d{dice.randrange(3)}" / f"n{dice.randrange(12)}"

    def look(path: Path) -> None:
        for entry in os.scandir(path):
            with contextlib.suppress(FileNotFoundError):
                entry.stat(follow_symlinks=False)

    calls = [
        lambda: os.close(os.open(name(), os.O_CREAT | os.O_RDWR, 0o600)),
        lambda: os.rename(name(), name()),
        lambda: os.link(name(), name()),
        lambda: os.unlink(name()),
        lambda: os.mkdir(name()),
        lambda: os.rmdir(name()),
        lambda: os.stat(name()),
        lambda: name().write_bytes(b"text"),
        lambda: look(root / f"d{dice.randrange(3)}"),
        lambda: os.listdir(root / f"d{dice.randrange(3)}"),
    ]
    for step in range(STEPS):
        try:
            dice.choice(calls)()
        except OSError as error:
            code = errno.errorcode[error.errno or 0]
            if code not in FINE:
                strange[code] = strange.get(code, 0) + 1
        if seed == 0 and step % 500 == 250:
            forget_all()
    return strange


def test_inodes_outlive_no_lookup_and_no_lookup_outlives_its_inode(mount: Mount) -> None:
    """Four clients rename, link, unlink and list the same names while the kernel forgets: no ESTALE, no EIO, and when
    everything is gone the table is as it was.
    """
    root = mount.mountpoint / "churn"
    for number in range(3):
        (root / f"d{number}").mkdir(parents=True)
    forget_all()
    before = metric(mount, "vexfs_inodes")
    results = together([lambda seed=seed: churn(root, seed) for seed in range(CLIENTS)])
    assert results == [{}] * CLIENTS
    for directory in (root / f"d{number}" for number in range(3)):
        shown = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(directory)}
        behind = {
            entry.name: entry.stat(follow_symlinks=False)
            for entry in os.scandir(mount.source / directory.relative_to(mount.mountpoint))
        }
        assert {name: (one.st_size, one.st_mode, one.st_nlink) for name, one in shown.items()} == {
            name: (one.st_size, one.st_mode, one.st_nlink) for name, one in behind.items()
        }
        for entry in os.scandir(directory):
            os.rmdir(entry) if entry.is_dir(follow_symlinks=False) else os.unlink(entry)

    def forgotten() -> bool:
        forget_all()
        time.sleep(0.2)
        return metric(mount, "vexfs_inodes") <= before

    eventually(forgotten, "the end of inodes that the kernel has forgotten")


def test_what_nobody_hears_is_counted_one_by_one(mount: Mount) -> None:
    """Lookups of 300 names that the kernel has not seen, and 50 attributes asked for anew."""
    behind = mount.source / "counted"
    behind.mkdir()
    for number in range(300):
        (behind / f"f{number}").touch()
    directory = mount.mountpoint / "counted"
    os.stat(directory)
    lookups = counted(mount, "meta.lookup")
    for number in range(300):
        os.stat(directory / f"f{number}")
    asked = counted(mount, "meta.lookup") - lookups
    assert 300 <= asked <= 306  # and those of `counted`, `.vexfs` and `metrics`, where the kernel has forgotten them


def test_who_listens_hears_each_listing_and_lookup(mount: Mount) -> None:
    """With a reader of such events the library steps aside, and the kernel's memory of listings is not used."""
    directory = mount.mountpoint / "heard"
    directory.mkdir()
    for number in range(5):
        (directory / f"f{number}").touch()
    assert len(os.listdir(directory)) == len(os.listdir(directory)) == 5
    with Listener(mount.mountpoint, "dir.listed,meta.lookup") as listener:
        for _ in range(3):
            assert len(os.listdir(directory)) == 5
        (mount.source / "heard" / "new").touch()
        os.stat(directory / "new")
        events = [(event["type"], event["path"], event["pid"]) for event in listener.take()]
    assert events.count(("dir.listed", "heard", os.getpid())) == 3
    assert ("meta.lookup", "heard/new", os.getpid()) in events


def test_a_listing_that_the_kernel_keeps_follows_every_change(mount: Mount) -> None:
    """Changes through the mount show at once, those behind its back when the watch has seen them."""
    directory, behind = mount.mountpoint / "kept", mount.source / "kept"
    directory.mkdir()
    for number in range(10):
        (directory / f"f{number}").touch()
        assert len(os.listdir(directory)) == number + 1
    os.rename(directory / "f0", directory / "renamed")
    os.unlink(directory / "f1")
    assert set(os.listdir(directory)) == {"renamed", *(f"f{number}" for number in range(2, 10))}
    listed = counted(mount, "dir.listed")
    for _ in range(20):
        os.listdir(directory)
    assert counted(mount, "dir.listed") - listed <= 2  # the kernel remembered
    (behind / "foreign").touch()
    (behind / "f2").unlink()
    eventually(lambda: "foreign" in (names := os.listdir(directory)) and "f2" not in names)


def test_a_storm_of_requests_leaves_the_other_tasks_their_turn(mount: Mount) -> None:
    """Files are opened, closed and asked for without a pause for four seconds; the event loop is never late by half."""
    root = mount.mountpoint / "storm"
    root.mkdir()
    (root / "file").touch()

    def storm() -> int:
        end, count = time.monotonic() + 4, 0
        while time.monotonic() < end:
            os.close(os.open(root / "file", os.O_RDONLY))
            count += 1
        return count

    assert all(together([storm, storm]))
    assert metric(mount, 'vexfs_loop_lag_seconds{quantile="1"}') < 2
