"""What tests of tenants' actions share: a tree of two users and root, which no thread or process may mix up."""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from automation.identity import Identity

ALICE = Identity(60001, 60001, (60010,))
BOB = Identity(60002, 60002)
SECRET = "the words of root\n"
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="acts as other users")


@contextmanager
def town(alice: Identity = ALICE) -> Iterator[Path]:
    """A directory that every user may enter: `top/alice`, `top/bob` and `top/root` belong to whom they are named after
    and hold a file that only its owner reads; `top/team` is for Alice's group, `top/open` for all, as /tmp is.
    """
    directory = Path(tempfile.mkdtemp(prefix="vexfs-town-"))
    directory.chmod(0o755)
    top = directory / "top"
    top.mkdir(mode=0o755)
    for name, uid in (("alice", alice.uid), ("bob", BOB.uid), ("root", 0)):
        home = top / name
        home.mkdir(mode=0o755)
        private = home / "private"
        private.write_text(SECRET if uid == 0 else f"the words of {name}\n")
        private.chmod(0o600)
        for path in (home, private):
            os.chown(path, uid, uid)
    (top / "team").mkdir()
    os.chown(top / "team", 0, ALICE.groups[0])
    (top / "team").chmod(0o770)
    (top / "open").mkdir()
    (top / "open").chmod(0o1777)
    outside = directory / "outside"
    outside.write_text(SECRET)
    outside.chmod(0o600)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def rights() -> list[str]:
    """The lines of /proc that tell what the calling thread acts with."""
    wanted = ("Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:")
    lines = Path(f"/proc/self/task/{threading.get_native_id()}/status").read_text().splitlines()
    return [line for line in lines if line.startswith(wanted)]


async def rights_of_threads(count: int = 12) -> list[list[str]]:
    """The same, of as many threads of trio's pool at a time, which are those that worked just now."""
    found: list[list[str]] = []
    meet = threading.Barrier(count)

    def look() -> None:
        meet.wait(60)
        found.append(rights())

    limiter = trio.CapacityLimiter(count)
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(lambda: trio.to_thread.run_sync(look, limiter=limiter))
    return found


def fingerprint(place: Path, alice: Identity = ALICE) -> dict[str, tuple[object, ...]]:
    """Everything in a town that is not Alice's: names, what they are, whose, and what is in them."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(place.rglob("*")):
        info = path.lstat()
        if info.st_uid == alice.uid or ".vexfs-tmp-trash" in path.parts:
            continue
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        attributes = tuple(os.listxattr(path, follow_symlinks=False))
        found[str(path.relative_to(place))] = (info.st_mode, info.st_uid, info.st_gid, info.st_ino, content, attributes)
    return found
