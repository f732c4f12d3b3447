"""What most directories of the tree are: fixed files about one subject, or an entry for each thing that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Generic, TypeVar

from vexfs_fuse.control.nodes import Description, Node

Subject = TypeVar("Subject")


class Folder(Generic[Subject]):
    """`files` makes each entry from the subject when it is asked for."""

    def __init__(
        self,
        files: Mapping[str, Callable[[Subject], Node]],
        subject: Subject,
        describe: Callable[[], Description] = lambda: Description(0o500),
    ) -> None:
        self._files: Final = files
        self._subject: Final = subject
        self._describe: Final = describe

    def describe(self) -> Description:
        """Fixed entries."""
        return self._describe()

    def names(self) -> Iterable[str]:
        """Each file."""
        return self._files

    def child(self, name: str) -> Node | None:
        """Each file."""
        make = self._files.get(name)
        return None if make is None else make(self._subject)


class Collection:
    """Entries come and go; `find` may know names that `names` does not list."""

    def __init__(self, names: Callable[[], Iterable[str]], find: Callable[[str], Node | None]) -> None:
        self._names: Final = names
        self._find: Final = find

    def describe(self) -> Description:
        """Listable by the owner."""
        return Description(0o500)

    def names(self) -> Iterable[str]:
        """Those that there are."""
        return self._names()

    def child(self, name: str) -> Node | None:
        """By name."""
        return self._find(name)
