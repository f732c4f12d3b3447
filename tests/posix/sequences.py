"""Random sequences of operations on a small tree: what each answers, and what is left in the end.

A seed decides everything, so that bare directory and mount go through the same sequence; states that no table of single
calls reaches come up here.
"""

import hashlib
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

from tests.posix.calls import attempt, renameat2, shape
from tests.posix.children import ALICE, CAROL, as_user, together

NAMES = ("a", "b", "c", "d")


class Walk:
    """One sequence: a random generator, a directory, a few open descriptors, and the answers so far."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.directory = directory
        self.fds: list[int] = []
        self.answers: list[object] = []

    def path(self) -> Path:
        """A path of one to three names; that anything is there is chance."""
        depth = self.chance.choice((1, 1, 1, 2, 2, 3))
        return self.directory.joinpath(*(self.chance.choice(NAMES) for _ in range(depth)))

    def run(self, steps: int, operations: tuple[Callable[["Walk"], object], ...]) -> object:
        """Do `steps` random operations; a digest of the answers, which in full would be too long to compare by eye."""
        for _ in range(steps):
            operation = self.chance.choice(operations)
            self.answers.append((operation.__name__, attempt(operation, self)))
        for fd in self.fds:
            os.close(fd)
        return self.answers[-5:], hashlib.sha256(repr(self.answers).encode()).hexdigest()


def opening(walk: Walk) -> object:
    """Open or create."""
    flags = walk.chance.choice((os.O_RDONLY, os.O_WRONLY, os.O_RDWR))
    for flag in (os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_NOFOLLOW, os.O_DIRECTORY):
        flags |= flag if walk.chance.random() < 0.25 else 0
    fd = os.open(walk.path(), flags | os.O_NONBLOCK, walk.chance.choice((0o644, 0o600, 0o777)))
    walk.fds.append(fd)
    return stat.S_IFMT(os.fstat(fd).st_mode)


def closing(walk: Walk) -> object:
    """Close the oldest."""
    return os.close(walk.fds.pop(0)) if walk.fds else None


def writing(walk: Walk) -> object:
    """Write somewhere."""
    at, data = walk.chance.randrange(9000), walk.chance.randbytes(walk.chance.randrange(3000))
    return os.pwrite(walk.chance.choice(walk.fds), data, at) if walk.fds else None


def reading(walk: Walk) -> object:
    """Read somewhere."""
    at, size = walk.chance.randrange(9000), walk.chance.randrange(5000)
    return hashlib.md5(os.pread(walk.chance.choice(walk.fds), size, at)).hexdigest() if walk.fds else None


def resizing(walk: Walk) -> object:
    """Truncate by path or descriptor."""
    size = walk.chance.randrange(10_000)
    if walk.fds and walk.chance.random() < 0.5:
        return os.ftruncate(walk.chance.choice(walk.fds), size)
    return os.truncate(walk.path(), size)


def making(walk: Walk) -> object:
    """Make a directory, link, symbolic link or fifo."""
    path = walk.path()
    call = walk.chance.choice((os.mkdir, os.mkdir, lambda to: os.symlink(walk.chance.choice(NAMES), to)))
    return call(path)


def linking(walk: Walk) -> object:
    """Link."""
    return os.link(walk.path(), walk.path(), follow_symlinks=False)


def renaming(walk: Walk) -> object:
    """Rename in one of the three ways."""
    return renameat2(walk.path(), walk.path(), walk.chance.choice((0, 0, 1, 2)))


def removing(walk: Walk) -> object:
    """Unlink or rmdir."""
    return walk.chance.choice((os.unlink, os.rmdir))(walk.path())


def changing(walk: Walk) -> object:
    """Change mode, owner, times or an extended attribute."""
    path = walk.path()
    return walk.chance.choice(
        (
            lambda: os.chmod(path, walk.chance.choice((0o644, 0o755, 0o4755, 0o2755, 0o000))),
            lambda: os.lchown(path, walk.chance.choice((0, 5)), walk.chance.choice((0, 6))),
            lambda: os.utime(path, ns=(walk.chance.randrange(10**18), walk.chance.randrange(10**18))),
            lambda: os.setxattr(path, f"user.{walk.chance.choice(NAMES)}", walk.chance.randbytes(20)),
            lambda: os.removexattr(path, f"user.{walk.chance.choice(NAMES)}"),
        )
    )()


def asking(walk: Walk) -> object:
    """Ask for attributes, a listing, a link's target or an attribute's value."""
    path = walk.path()
    return walk.chance.choice(
        (
            lambda: shape(path),
            lambda: os.stat(path).st_mode,
            lambda: sorted(os.listdir(path)),
            lambda: os.readlink(path),
            lambda: os.getxattr(path, f"user.{walk.chance.choice(NAMES)}"),
            lambda: shape(walk.chance.choice(walk.fds)) if walk.fds else None,
        )
    )()


TREE = (opening, opening, closing, making, making, linking, renaming, renaming, removing, changing, asking, asking)
DATA = (opening, closing, writing, writing, reading, reading, resizing, asking, removing, renaming)


def check_tree_1(directory: Path) -> object:
    """300 operations on names, first sequence."""
    return Walk(directory, 101).run(300, TREE)


def check_tree_2(directory: Path) -> object:
    """300 operations on names, second sequence."""
    return Walk(directory, 102).run(300, TREE)


def check_tree_3(directory: Path) -> object:
    """300 operations on names, third sequence."""
    return Walk(directory, 103).run(300, TREE)


def check_tree_4(directory: Path) -> object:
    """300 operations on names, fourth sequence."""
    return Walk(directory, 104).run(300, TREE)


def check_data_1(directory: Path) -> object:
    """300 operations on contents, first sequence."""
    return Walk(directory, 201).run(300, DATA)


def check_data_2(directory: Path) -> object:
    """300 operations on contents, second sequence."""
    return Walk(directory, 202).run(300, DATA)


def check_data_3(directory: Path) -> object:
    """300 operations on contents, third sequence."""
    return Walk(directory, 203).run(300, DATA)


def check_both(directory: Path) -> object:
    """400 operations of all kinds."""
    return Walk(directory, 301).run(400, TREE + DATA)


def check_as_user(directory: Path) -> object:
    """300 operations by an unprivileged user, in a tree that root has begun."""
    directory.chmod(0o777)
    result = [Walk(directory, 401).run(100, TREE)]
    result.append(as_user(ALICE, lambda: Walk(directory, 402).run(300, TREE + DATA)))
    return result


def check_as_member(directory: Path) -> object:
    """The same in a sticky set-gid directory, by a member of its group."""
    os.chown(directory, 0, CAROL.groups[0])
    directory.chmod(0o3775)
    result = [Walk(directory, 501).run(100, TREE)]
    result.append(as_user(CAROL, lambda: Walk(directory, 502).run(300, TREE + DATA)))
    return result


def check_several_at_once(directory: Path) -> object:
    """Four processes, each in its own subdirectory, do not disturb each other."""
    for number in range(4):
        (directory / str(number)).mkdir()
    works = [
        lambda number=number: Walk(directory / str(number), 600 + number).run(150, TREE + DATA) for number in range(4)
    ]
    return together(works)
