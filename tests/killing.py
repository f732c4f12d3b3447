"""A mount killed in the midst of operations, and what must be left of them."""

import contextlib
import errno
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from tests.modes import mounted_in
from tests.posix.children import Child
from tests.posix.snapshot import snapshot

_NAMES = ("a", "b", "c", "d/a", "d/b", "e", "e/f", "e/g")
_GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.EINTR)
_SECONDS = 0.5


class Work:
    """Operations, the same for the same seed, each with one system call that changes something (or fails)."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root = root
        self._dice = random.Random(seed)
        (root / "d").mkdir()

    def __iter__(self) -> Iterator[None]:
        """Does one at each step. Raises OSError once the mount is gone."""
        operations = (self._create, self._write, self._append, self._truncate, self._rename, self._unlink, self._link)
        operations += (self._directory, self._chmod, self._xattr, self._write, self._append, self._create)
        while True:
            operation, path, other = self._dice.choice(operations), self._path(), self._path()
            size = self._dice.randrange(20_000)
            try:
                operation(path, other, self._dice.randbytes(size))
            except OSError as error:
                if error.errno in _GONE:
                    raise
            yield

    def _path(self) -> Path:
        return self._root / self._dice.choice(_NAMES)

    def _create(self, path: Path, other: Path, data: bytes) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))

    def _write(self, path: Path, other: Path, data: bytes) -> None:
        fd = os.open(path, os.O_WRONLY)
        try:
            os.pwrite(fd, data, len(data) // 2)
        finally:
            os.close(fd)

    def _append(self, path: Path, other: Path, data: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, data[:1000])
        finally:
            os.close(fd)

    def _truncate(self, path: Path, other: Path, data: bytes) -> None:
        os.truncate(path, len(data))

    def _rename(self, path: Path, other: Path, data: bytes) -> None:
        path.rename(other)

    def _unlink(self, path: Path, other: Path, data: bytes) -> None:
        path.unlink()

    def _link(self, path: Path, other: Path, data: bytes) -> None:
        os.link(path, other) if len(data) % 2 else os.symlink("a", other)

    def _directory(self, path: Path, other: Path, data: bytes) -> None:
        path.mkdir() if len(data) % 2 else path.rmdir()

    def _chmod(self, path: Path, other: Path, data: bytes) -> None:
        os.chmod(path, 0o600 | len(data) % 64, follow_symlinks=True)

    def _xattr(self, path: Path, other: Path, data: bytes) -> None:
        os.setxattr(path, "user.mark", data[:20])


def _until_it_ends(root: Path, seed: int) -> int:
    """How many operations were completed."""
    done = 0
    with contextlib.suppress(OSError):
        for _ in Work(root, seed):
            done += 1
    return done


def _states(bare: Path, seed: int, done: int) -> list[object]:
    """What a plain directory holds after `done` operations, and after one more."""
    states = []
    for number, _ in enumerate(Work(bare, seed), 1):
        if number >= done:
            states.append(snapshot(bare))
        if number > done:
            return states


def kill_in_the_middle(mode: str, root: Path, seed: int) -> int:
    """SIGKILL to the mount while a process works on it; how many operations that had completed.

    The backing directory holds what the last of them left (the one that was cut off may have been done); a new mount on
    the same mountpoint clears the dead one away, shows the same, and works.
    """
    source, bare, none = root / "source", root / "bare", root / "none"
    for directory in (source, bare, none):
        directory.mkdir()
    with mounted_in(mode, source, none, exit_code=None) as mount:
        worker = Child(lambda: _until_it_ends(mount.mountpoint, seed))
        time.sleep(_SECONDS)
        mount.process.kill()
        mount.process.wait()
        done = worker.result()
        left = snapshot(source)
        assert left in _states(bare, seed, done), f"after {done} operations of seed {seed}: {left}"
        with mounted_in(mode, source, none, mountpoint=mount.mountpoint) as again:
            assert snapshot(again.mountpoint) == left
            (again.mountpoint / "new").write_text("text")
            assert (source / "new").read_text() == "text"
    return done
