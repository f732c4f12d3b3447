"""The files that live, by inode and by every name, and the labels of directories. Bounded."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Final

MOST_FILES: Final = 200_000
MOST_GONE: Final = 10_000
MOST_HANDS: Final = 16


class Agent:
    """A process or run: what it has read, newest last, the labels of all that it ever read, and the pipes that lead to
    it.
    """

    __slots__ = ("id", "inputs", "marks", "name", "piped", "read", "reads", "seen")

    def __init__(self, id: int, name: str, seen: int) -> None:
        self.id: Final = id
        self.name = name
        self.seen = seen
        self.marks = 0
        self.read = 0  # how much, so far
        self.inputs: tuple[int, ...] = ()
        self.piped = False  # whether all of them are known
        self.reads: Final[dict[int, int]] = {}  # version → its labels


class File:
    """`marks` are the bits of its labels; `hands` who has touched it, newest last: names of programs and workflows, and
    users by number. `writing` are those who have it open for writing: the kernel tells of a close a little later, and
    what they write may be read before. `pending` is the number of the version that they make, if anybody read it;
    `closers` have closed a descriptor of it.
    """

    __slots__ = ("closers", "hands", "id", "inode", "marks", "paths", "pending", "version", "writing")

    def __init__(self, id: int, inode: int, path: str, version: int = 0, marks: int = 0) -> None:
        self.id: Final = id
        self.inode: Final = inode
        self.paths: Final = [path] if path else []
        self.version = version
        self.marks = marks
        self.hands: tuple[str | int, ...] = ()
        self.writing: list[Agent] = []
        self.closers: list[Agent] = []
        self.pending = 0

    @property
    def path(self) -> str:
        """The newest name, empty when it has none any more."""
        return self.paths[-1] if self.paths else ""

    @property
    def labelled(self) -> int:
        """The bits of its labels, and those of who writes it at the moment."""
        marks = self.marks
        for agent in (*self.writing, *self.closers):
            marks |= agent.marks
        return marks

    def touch(self, name: str, uid: int) -> None:
        """Somebody had to do with it."""
        hands = self.hands
        if name not in hands:
            hands = (*hands, name)
        if uid not in hands:
            hands = (*hands, uid)
        self.hands = hands[-MOST_HANDS:]


class Files:
    """At most `MOST_FILES`, of which the one that was longest not heard of goes; a name that nothing goes by any more
    is remembered for a while. `changed` are those that are not as they were when it was last emptied.
    """

    def __init__(self) -> None:
        self.by_inode: Final[OrderedDict[int, File]] = OrderedDict()
        self.by_path: Final[dict[str, File]] = {}
        self.changed: Final[dict[int, File]] = {}
        self._gone: Final[OrderedDict[str, File]] = OrderedDict()
        self._marked: Final[dict[str, Counter[int]]] = {}  # by directory, how many names in it have each set of labels

    def add(self, file: File) -> None:
        """A file that is not known yet."""
        while len(self.by_inode) >= MOST_FILES:
            self.forget(next(iter(self.by_inode.values())))
        self.by_inode[file.inode] = self.changed[file.id] = file
        for path in file.paths:
            self._enter(path, file)

    def forget(self, file: File) -> None:
        """It lives no more, or is one too many."""
        self.by_inode.pop(file.inode, None)
        self.changed[file.id] = file
        for path in list(file.paths):
            self.unname(file, path)

    def name(self, file: File, path: str) -> None:
        """It goes by one name more, which may have been that of another."""
        other = self.by_path.get(path)
        if other is file:
            return
        if other is not None:
            self.unname(other, path)
        file.paths.append(path)
        self._enter(path, file)
        self.changed[file.id] = file

    def unname(self, file: File, path: str) -> None:
        """It goes by this name no more."""
        if path not in file.paths:
            return
        file.paths.remove(path)
        self.changed[file.id] = file
        if self.by_path.get(path) is file:
            del self.by_path[path]
            self._count(path, file.marks, -1)
            self._gone[path] = file
            self._gone.move_to_end(path)
            while len(self._gone) > MOST_GONE:
                self._gone.popitem(last=False)

    def mark(self, file: File, marks: int) -> None:
        """Its labels are these from now on."""
        if file.marks != marks:
            for path in file.paths:
                self._count(path, file.marks, -1)
                self._count(path, marks, 1)
            file.marks = marks
            self.changed[file.id] = file

    def lives(self, file: File) -> bool:
        """Whether it is known and there."""
        return self.by_inode.get(file.inode) is file

    def at(self, path: str) -> File | None:
        """What goes by a name, or did last."""
        return self.by_path.get(path) or self._gone.get(path)

    def marks_in(self, directory: str) -> int:
        """The labels of all files in a directory, however deep."""
        marks = 0
        for one in self._marked.get(directory, ()):
            marks |= one
        return marks

    def below(self, directory: str) -> Iterator[tuple[str, File]]:
        """The names in a directory, however deep: takes 10 ms for 200,000 files, so only when one is renamed."""
        start = f"{directory}/"
        yield from [(path, file) for path, file in self.by_path.items() if path.startswith(start)]

    def _enter(self, path: str, file: File) -> None:
        self.by_path[path] = file
        self._gone.pop(path, None)
        self._count(path, file.marks, 1)

    def _count(self, path: str, marks: int, by: int) -> None:
        if not marks:
            return
        end = path.rfind("/")
        while True:
            directory = path[:end] if end > 0 else ""
            counts = self._marked.setdefault(directory, Counter())
            counts[marks] += by
            if counts[marks] <= 0:
                del counts[marks]
                if not counts:
                    del self._marked[directory]
            if not directory:
                return
            end = directory.rfind("/")
