"""The watch for users without privileges: inotify on the directories that the kernel knows."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from automation.bus import Bus, Subscription
from vexfs_fuse.backing import Backing
from vexfs_fuse.cache import KernelCache
from vexfs_fuse.callers import Callers
from vexfs_fuse.handles import Opener
from vexfs_fuse.inodes import Inodes
from vexfs_fuse.observer import Observer
from vexfs_fuse.watch import Watch
from vexfs_fuse.watch_inotify import Directories

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
ME = Opener(os.getpid(), 0, 0)


@dataclass(frozen=True, slots=True)
class Rig:
    """A backing tree with its watch, without a kernel in front."""

    root: Path
    backing: Backing
    cache: KernelCache
    watch: Watch
    heard: Subscription
    failures: list[str]

    def events(self) -> list[tuple[str, str]]:
        """(type, path) of what the watch has told of."""
        return [(event.type, event.path) for event in self.heard.receive_nowait()]


@contextlib.contextmanager
def rig(root: Path) -> Iterator[Rig]:
    """The root is known to the kernel, and nothing else."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    bus = Bus()
    callers = Callers(None)
    backing = Backing(Inodes(fd, 1000), Observer(bus, callers), None)
    cache, failures = KernelCache(backing.inodes), list[str]()
    watch = Watch(backing, cache, Directories(backing, cache, failures.append))
    try:
        yield Rig(root, backing, cache, watch, bus.subscribe("test"), failures)
    finally:
        watch.close()
        callers.close()
        backing.inodes.close()
        os.close(fd)


@contextlib.contextmanager
def tiny_queue() -> Iterator[None]:
    """The kernel keeps no more than four notifications for whoever begins to watch now."""
    limit = QUEUE.read_text()
    QUEUE.write_text("4")
    try:
        yield
    finally:
        QUEUE.write_text(limit)


async def test_others_changes_are_events(tmp_path):
    """What is made, written, renamed and removed by others in a known directory is told, without a process."""
    with rig(tmp_path) as rigged:
        (tmp_path / "f").write_text("x")
        await rigged.watch.look()
        (tmp_path / "f").rename(tmp_path / "g")
        (tmp_path / "g").unlink()
        await rigged.watch.look()
        events = rigged.heard.receive_nowait()
    assert [(event.type, event.path, event.dest) for event in events] == [
        ("file.created", "f", None),
        ("file.written", "f", None),
        ("file.closed", "f", None),
        ("file.renamed", "f", "g"),
        ("file.deleted", "g", None),
    ]
    assert {(event.pid, event.uid, event.attrs["origin"]) for event in events} == {(0, -1, "backing")}


async def test_a_directory_is_watched_from_when_the_kernel_knows_it(tmp_path):
    """Changes in a directory that nobody looked into are not told; those in one that somebody did are."""
    (tmp_path / "d").mkdir()
    with rig(tmp_path) as rigged:
        (tmp_path / "d" / "early").touch()
        rigged.backing.enter(rigged.backing.inodes.root, b"d")
        (tmp_path / "d" / "late").touch()
        await rigged.watch.look()
        told = rigged.events()
    assert ("file.created", "d/late") in told
    assert ("file.created", "d/early") not in told


async def test_our_own_doing_is_recognised_by_its_events(tmp_path):
    """A change that the mount announced, or that an automation made, is not told a second time."""
    with rig(tmp_path) as rigged:
        (tmp_path / "ours").touch()
        rigged.backing.observer.emit("file.created", rigged.backing.inodes.root, ME, name=b"ours")
        (tmp_path / "automated").touch()
        rigged.cache.entry("", "automated")
        (tmp_path / "theirs").touch()
        rigged.heard.receive_nowait()
        await rigged.watch.look()
        told = rigged.events()
    assert {path for _, path in told} == {"theirs"}


async def test_moves_across_the_border(tmp_path):
    """What is moved in from an unwatched place is created and complete, what is moved out is deleted."""
    (tmp_path / "source").mkdir()
    with rig(tmp_path / "source") as rigged:
        (tmp_path / "f").write_text("x")
        (tmp_path / "f").rename(tmp_path / "source" / "f")
        await rigged.watch.look()
        (tmp_path / "source" / "f").rename(tmp_path / "f")
        await rigged.watch.look()
        assert rigged.events() == [("file.created", "f"), ("file.closed", "f"), ("file.deleted", "f")]


async def test_the_kernel_is_told_what_to_forget(tmp_path):
    """A change of a known object is submitted to the kernel's cache, by name and by content."""
    (tmp_path / "f").write_text("x")
    with rig(tmp_path) as rigged:
        inode, _ = rigged.backing.enter(rigged.backing.inodes.root, b"f")
        (tmp_path / "f").write_text("more")
        await rigged.watch.look()
        assert rigged.cache.pending == {(inode.ino, b"")}
        (tmp_path / "g").touch()
        await rigged.watch.look()
        assert {(1, b"g"), (1, b"")} <= rigged.cache.pending


@pytest.mark.skipif(not os.access(QUEUE, os.W_OK), reason="sets the kernel's limit")
async def test_an_overflow_is_a_gap(tmp_path):
    """Where the kernel drops notifications there is one gap event, and everything is to be forgotten."""
    with tiny_queue(), rig(tmp_path) as rigged:
        for number in range(10):
            (tmp_path / str(number)).touch()
        await rigged.watch.look()
        told = rigged.heard.receive_nowait()
        assert [event.attrs["queue"] for event in told if event.type == "system.gap"] == [
            "fs.inotify.max_queued_events"
        ]


async def test_too_few_watches_are_told_once(tmp_path, monkeypatch):
    """When a directory cannot be watched any more, that is said once, and the rest goes on."""
    for name in "abc":
        (tmp_path / name).mkdir()
    with rig(tmp_path) as rigged:
        root = rigged.backing.inodes.root
        monkeypatch.setattr("vexfs_fuse.watch_inotify._libc.inotify_add_watch", lambda *_: -1)
        for name in (b"a", b"b", b"c"):
            rigged.backing.enter(root, name)
        assert len(rigged.failures) == 1
        assert "max_user_watches" in rigged.failures[0]
        (tmp_path / "f").touch()
        await rigged.watch.look()
        assert ("file.created", "f") in rigged.events()
