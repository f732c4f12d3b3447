"""What most files of the tree are: a text to read, or one to read and commands to write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from automation.errors import CallerError
from vexfs_fuse.control.handles import CommandLines, Snapshot
from vexfs_fuse.control.nodes import Description, Handle, Opening
from vexfs_fuse.errors import ENOENT, fail


class Text:
    """What `render` gives, at once or after a wait. CallerError says that what it is about is gone, unless it `refuses`
    what cannot be answered.
    """

    def __init__(
        self,
        render: Callable[[], str | Awaitable[str]],
        describe: Callable[[], Description] = lambda: Description(0o400),
        *,
        refuses: bool = False,
    ) -> None:
        self._render: Final = render
        self._refuses: Final = refuses
        self._describe: Final = describe

    def describe(self) -> Description:
        """Readable by the owner."""
        return self._describe()

    def open(self, opening: Opening) -> Handle:
        """A snapshot."""
        return Snapshot(lambda: _rendered(self._render, refuses=self._refuses))


class Commands:
    """Each line that is written is given to `execute`, with the user who opened the file; `blank` ones too, or not."""

    def __init__(
        self,
        render: Callable[[], str],
        execute: Callable[[str, int], Awaitable[object]],
        describe: Callable[[], Description] = lambda: Description(0o600),
        *,
        blank: bool = False,
    ) -> None:
        self._render: Final = render
        self._execute: Final = execute
        self._describe: Final = describe
        self._blank: Final = blank

    def describe(self) -> Description:
        """Readable and writable by the owner."""
        return self._describe()

    def open(self, opening: Opening) -> Handle:
        """A snapshot to read, lines to write."""
        return CommandLines(
            lambda: _rendered(self._render), lambda line: self._execute(line, opening.uid), blank=self._blank
        )


async def _rendered(render: Callable[[], str | Awaitable[str]], *, refuses: bool = False) -> bytes:
    try:
        text = render()
        if not isinstance(text, str):
            text = await text
    except CallerError:
        if refuses:
            raise
        fail(ENOENT)
    return text.encode(errors="backslashreplace")
