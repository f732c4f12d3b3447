"""`/.vexfs/workflows`: the definition files and, for each workflow, a directory.

A file under a definition's name (`.yaml`, `.yml`, `.json` …) is the definition: creating, writing or renaming one
installs it, removing it uninstalls it. Anything else is scratch (`scratch.py`), which is what editors need:

* vim renames `x.yaml` to `x.yaml~` and writes a new `x.yaml`. The workflow keeps running meanwhile, also if the new
  text is refused, and is uninstalled only if the backup is removed while `x.yaml` is still missing.
* mv from another filesystem removes `x.yaml` before it copies. If the same process makes it anew and that is refused,
  what it had removed is put back.
* Others write `x.yaml.tmp` or `.x.yaml.1234` and rename it over `x.yaml`. The rename installs, or fails and changes
  nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from automation.errors import CallerError, VexError
from automation.library import is_definition
from vexfs_fuse.control.definition import Definition, decoded
from vexfs_fuse.control.nodes import Description, File, Handle, Node, Opening
from vexfs_fuse.control.scratch import FILES, Scratch
from vexfs_fuse.control.workflow import workflow_directory
from vexfs_fuse.errors import EISDIR, ENOENT, ENOTDIR, fail

if TYPE_CHECKING:
    from automation.library import Entry
    from automation.service import Service

_BACKUPS: Final = ("~", ".bak", ".orig")


def is_backup(name: str) -> bool:
    """Whether editors give this name to what they are about to replace."""
    return name.endswith(_BACKUPS) or name.startswith(".")


class Workflows:
    """Everything that is installed, and at most `FILES` scratch files, beyond which creating one is refused."""

    def __init__(self, service: Service) -> None:
        self._service: Final = service
        self._scratch: Final[dict[str, Scratch]] = {}
        self._vacated: Final[dict[str, str]] = {}  # definition file → the backup name that its text went to
        self._removed: tuple[str, int, bytes] | None = None  # the last definition removed, by which process, its text
        self._predecessors: Final[dict[str, bytes]] = {}  # definition file → the text that a refusal puts back

    def describe(self) -> Description:
        """Entries come and go."""
        return Description(0o700)

    def names(self) -> Iterable[str]:
        """Directories of workflows, then files."""
        entries = self._service.library.entries.values()
        directories = [e.name for e in entries]
        files = [e.file for e in entries if e.file not in self._vacated]
        return dict.fromkeys((*directories, *files, *self._scratch))

    def child(self, name: str) -> Node | None:
        """A file has precedence over a workflow that is called like it."""
        if name in self._scratch and not is_definition(name):
            return self._scratch[name]
        if name in self._scratch or self._installed(name) is not None:
            return self._definition(name)
        return workflow_directory(self._service, name) if name in self._service.library.entries else None

    def create(self, name: str, opening: Opening) -> tuple[File, Handle]:
        """A new file: under a definition's name it is installed when it is closed."""
        self._add_scratch(name, b"")
        if self._removed is not None and self._removed[:2] == (name, opening.pid):
            self._predecessors[name] = self._removed[2]
        file: File = self._definition(name) if is_definition(name) else self._scratch[name]
        return file, file.open(opening)

    async def unlink(self, name: str, pid: int) -> None:
        """Uninstall a definition, or drop a scratch file."""
        self._predecessors.pop(name, None)
        if name in self._scratch:
            del self._scratch[name]
            for file in [f for f, backup in self._vacated.items() if backup == name]:
                await self._uninstall(file)
        elif self._installed(name) is not None:
            self._removed = (name, pid, self._text(name))
            await self._uninstall(name)
        else:
            fail(EISDIR)

    async def rmdir(self, name: str) -> None:
        """Uninstall the workflow of that name."""
        if name in self._scratch or self._installed(name) is not None:
            fail(ENOTDIR)
        await self._service.library.uninstall(name)

    async def rename(self, old: str, new: str) -> None:
        """Install, uninstall, set aside or just rename, by what the two names say."""
        text = self._text(old)
        if new in self._service.library.entries and self._installed(new) is None:
            fail(EISDIR)
        if is_definition(new):
            await self._move_in(old, new, text)
        else:
            await self._move_out(old, new, text)

    async def _move_in(self, old: str, new: str, text: bytes) -> None:
        if old not in self._scratch:
            await self._rename_installed(old, new, text)
            return
        present = self._entry(new)
        if present is None or present.error is not None or present.text.encode() != text:
            await self._install(new, text)
        self._vacated.pop(new, None)
        del self._scratch[old]

    async def _rename_installed(self, old: str, new: str, text: bytes) -> None:
        """One workflow cannot be in two files, so it is away for a moment; a refusal puts it back."""
        entry = self._entry(old)
        if entry is None or entry.error is not None:
            raise CallerError(f"{old} is refused as it is; correct it before renaming it")
        await self._service.library.uninstall(entry.name)
        try:
            await self._install(new, text)
        except VexError:
            await self._install(old, text)
            raise

    async def _move_out(self, old: str, new: str, text: bytes) -> None:
        if old in self._scratch:
            self._scratch[new] = self._scratch.pop(old)
            for file in [f for f, backup in self._vacated.items() if backup == old]:
                self._vacated[file] = new
            return
        self._add_scratch(new, text)
        if is_backup(new):
            self._vacated[old] = new
        else:
            await self._uninstall(old)

    def _definition(self, name: str) -> Definition:
        async def install(text: bytes) -> None:
            self._scratch.pop(name, None)
            predecessor = self._predecessors.pop(name, None)
            try:
                await self._install(name, text)
            except VexError:
                if predecessor is not None:
                    await self._install(name, predecessor)
                raise

        return Definition(lambda: self._text(name), lambda: self._changed_ns(name), install)

    def _text(self, name: str) -> bytes:
        if name in self._scratch:
            return bytes(self._scratch[name].content)
        entry = self._installed(name)
        return fail(EISDIR) if entry is None else entry.text.encode()

    def _changed_ns(self, name: str) -> int:
        if name in self._scratch:
            return self._scratch[name].changed_ns
        entry = self._installed(name)
        return fail(ENOENT) if entry is None else entry.loaded_ns

    def _entry(self, file: str) -> Entry | None:
        return next((e for e in self._service.library.entries.values() if e.file == file), None)

    def _installed(self, file: str) -> Entry | None:
        return None if file in self._vacated else self._entry(file)

    async def _install(self, file: str, text: bytes) -> None:
        await self._service.library.install(file, decoded(text))
        self._vacated.pop(file, None)

    async def _uninstall(self, file: str) -> None:
        self._vacated.pop(file, None)
        entry = self._entry(file)
        if entry is not None:
            await self._service.library.uninstall(entry.name)

    def _add_scratch(self, name: str, content: bytes) -> None:
        if len(self._scratch) >= FILES and name not in self._scratch:
            raise CallerError(f"there are {FILES} files in workflows that are no definitions; remove some")
        self._scratch[name] = Scratch(content)
