"""`/.vexfs/ctl`: commands, one a line."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from automation.errors import CallerError
from vexfs_fuse.control.handles import CommandLines
from vexfs_fuse.control.layout import clock, fit
from vexfs_fuse.control.nodes import Description, Handle, Opening

if TYPE_CHECKING:
    from automation.service import Service

HELP: Final = """\
Write one command a line, for instance: echo pause > ctl

pause             stop reacting to events; runs that have begun go on
resume            react again
reload            read the workflow definitions again
enable NAME       let a workflow, rule or guard act
disable NAME      stop it from acting
run [--dry-run] NAME [JSON]  start a run now, with that input
cancel ID         cancel a run
retry ID          start a failed run again, with the same event and input
rollback NAME [N]  put an earlier version of a definition back
quit              unmount

A command that cannot be done fails the write with "Invalid argument"; error says why.
"""


_OPERATORS: Final = frozenset({"quit"})  # commands that concern the mount, and all tenants
_OWN: Final = 100  # answers that a descriptor remembers


class Ctl:
    """Written: commands of the service. Read: the list of them, and what the last five that were done answered, the
    newest at the end, for `tail -n 1`; on a descriptor that has written, what its own commands answered, a line each.
    A tenant's has no `quit`.
    """

    def __init__(self, service: Service) -> None:
        self._service: Final = service
        self._answers: Final[deque[str]] = deque(maxlen=5)

    def describe(self) -> Description:
        """Readable and writable by the owner."""
        return Description(0o600, len(self._render()))

    def open(self, opening: Opening) -> Handle:
        """Commands are done as who opened the file."""

        own: list[str] = []

        async def do(line: str) -> None:
            word = line.partition(" ")[0]
            if self._service.tenant is not None and word in _OPERATORS:
                raise CallerError(f"{word!r} concerns the whole mount: only who mounted it, and root, may say it")
            answer = await self._service.command(line, opening.uid)
            own.append(f"{answer}\n")
            del own[:-_OWN]
            self._answers.append(f"{clock(time.time_ns())} uid {opening.uid} {fit(line, 200)}: {answer}\n")

        async def render() -> bytes:
            return "".join(own).encode(errors="backslashreplace") or self._render()

        return CommandLines(render, do)

    def _render(self) -> bytes:
        answers = ["\nDone, newest last:\n", *self._answers] if self._answers else []
        return "".join([*self._help(), *answers]).encode(errors="backslashreplace")

    def _help(self) -> Iterator[str]:
        for line in HELP.splitlines(keepends=True):
            if self._service.tenant is None or line.partition(" ")[0] not in _OPERATORS:
                yield line
