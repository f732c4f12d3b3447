"""The async door to the backing tree."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

import trio

from automation.errors import WorldError
from automation.events import Cause, SemanticEvent
from automation.identity import EVERYWHERE, Identity, Territory, acting
from automation.workspace import beneath, changes, copying, removal, stats, undoing
from automation.workspace.beneath import Root
from automation.workspace.reasons import reason
from automation.workspace.stats import FileStat
from automation.workspace.trail import KernelCache, Trail
from automation.workspace.trash import Trash
from automation.workspace.watching import Progress, watching

T = TypeVar("T")
Undo = list[dict[str, Any]]

READ_LIMIT: Final = 16 << 20
_THREADS: Final = 8  # of our own, so that slow effects never take the filesystem's
_CHUNK: Final = 1 << 20


class Reading:
    """An open file: `size` bytes when it was opened; `chunks` reads them in turn."""

    def __init__(self, fd: int, path: str, limiter: trio.CapacityLimiter) -> None:
        self.path: Final = path
        self.size: Final = os.fstat(fd).st_size
        self._fd: Final = fd
        self._limiter: Final = limiter

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """At most `size` bytes in pieces of up to 1 MiB; WorldError when the file became shorter."""
        at = 0
        while at < self.size:
            count = min(_CHUNK, self.size - at)
            data = await trio.to_thread.run_sync(os.pread, self._fd, count, at, limiter=self._limiter)
            if not data:
                raise WorldError(f"cannot read '{self.path}': it became shorter meanwhile")
            at += len(data)
            yield data


class Workspace:
    """Reads and changes the tree under `root_fd`, which it borrows; call from the trio thread.

    Paths are relative to the mount (a leading slash means nothing) and resolved beneath the root only; `..`,
    `/.vexfs` and links that lead out are refused. The work happens in at most 8 threads and stops between pieces when
    cancelled; a file is replaced whole or not at all. Afterwards the kernel is told what to forget, then events with
    the `cause` are published, as for an ordinary program. Everything that fails is a WorldError with one sentence.

    With an `identity` the kernel judges every access as one of that user's; outside the `territory` everything is
    refused, by whatever link it is reached. With a list as `undo`, an effect adds to it what `undo` needs to take it
    back, and what it deletes or replaces is kept in the trash for that.
    """

    def __init__(
        self,
        root_fd: int,
        publish: Callable[[SemanticEvent], None],
        forget: KernelCache,
        trash: Trash | None = None,
        *,
        identity: Identity | None = None,
        territory: Territory = EVERYWHERE,
    ) -> None:
        self.trash: Final = trash or Trash(root_fd)
        self._root: Final = Root(root_fd, territory, identity)
        self._publish: Final = publish
        self._cache: Final = forget
        self._limiter: Final = trio.CapacityLimiter(_THREADS)

    @property
    def root_fd(self) -> int:
        """The directory that everything is beneath."""
        return self._root.fd

    @property
    def territory(self) -> Territory:
        """What may be touched of it."""
        return self._root.territory

    async def read(self, path: str, limit: int = READ_LIMIT) -> bytes:
        """The content of a file of at most `limit` bytes; a larger one is an error."""
        async with self.reading(path) as file:
            if file.size > limit:
                raise WorldError(f"cannot read '{path}': it has {file.size} bytes, more than the {limit} allowed here")
            async with aclosing(file.chunks()) as chunks:
                return b"".join([chunk async for chunk in chunks])

    @asynccontextmanager
    async def reading(self, path: str) -> AsyncIterator[Reading]:
        """A file held open, to be read piece by piece."""

        def opened() -> int:
            with beneath.place(self._root, path, follow=True) as at:
                return copying.open_file(at)

        fd = await self._ask(f"read '{path}'", opened)
        try:
            yield Reading(fd, path, self._limiter)
        finally:
            os.close(fd)

    async def write(
        self,
        path: str,
        data: bytes,
        *,
        append: bool = False,
        mode: int | None = None,
        overwrite: bool = True,
        parents: bool = False,
        cause: Cause | None = None,
        undo: Undo | None = None,
    ) -> str:
        """Write a whole file in one step, or `append` in place; the path without symbolic links.

        A new file has mode 0644; a replaced one hands on its mode, owner and attributes unless `mode` is given.
        """

        def work(trail: Trail) -> str:
            if parents:
                changes.make_parents(self._root, path, trail)
            if append:
                return changes.append_file(self._root, path, data, mode, trail)
            return changes.write_file(self._root, path, data, mode, overwrite=overwrite, trail=trail)

        return await self._change(f"write '{path}'", work, cause, undo)

    async def copy(
        self,
        source: str,
        target: str,
        *,
        overwrite: bool = False,
        recursive: bool = False,
        parents: bool = False,
        cause: Cause | None = None,
        undo: Undo | None = None,
        progress: Progress | None = None,
    ) -> tuple[str, int]:
        """Copy with mode, owner, times, attributes and holes, complete or not at all; path and size of the copy.

        A target that ends with `/` is a directory to copy into. Directories need `recursive`.
        """

        def work(trail: Trail) -> tuple[str, int]:
            there = _into(source, target)
            if parents:
                changes.make_parents(self._root, there, trail)
            check = watching(progress, lambda: stats.weigh(self._root, source))
            return changes.copy(
                self._root, source, there, overwrite=overwrite, recursive=recursive, check=check, trail=trail
            )

        return await self._change(f"copy '{source}' to '{target}'", work, cause, undo)

    async def move(
        self,
        source: str,
        target: str,
        *,
        overwrite: bool = False,
        parents: bool = False,
        cause: Cause | None = None,
        undo: Undo | None = None,
        progress: Progress | None = None,
    ) -> str:
        """Rename, across filesystems by copy and removal; the new path. A target that ends with `/` is a directory."""

        def work(trail: Trail) -> str:
            there = _into(source, target)
            if parents:
                changes.make_parents(self._root, there, trail)
            check = watching(progress, lambda: stats.weigh(self._root, source))
            return changes.move(self._root, source, there, overwrite=overwrite, check=check, trail=trail)

        return await self._change(f"move '{source}' to '{target}'", work, cause, undo)

    async def delete(
        self,
        path: str,
        *,
        recursive: bool = False,
        keep: bool = True,
        cause: Cause | None = None,
        undo: Undo | None = None,
    ) -> int:
        """Remove a name, with `recursive` a whole directory, for good unless `keep`; the number of names removed."""

        def work(trail: Trail) -> int:
            if not keep:
                trail.keep_nothing()
            with beneath.place(self._root, path) as at:
                return removal.remove(at, recursive=recursive, check=trio.from_thread.check_cancelled, trail=trail)

        return await self._change(f"delete '{path}'", work, cause, undo)

    async def mkdir(
        self,
        path: str,
        *,
        parents: bool = False,
        mode: int | None = None,
        cause: Cause | None = None,
        undo: Undo | None = None,
    ) -> bool:
        """Make a directory (mode 0755 unless given); False if it was there already."""
        return await self._change(
            f"make the directory '{path}'",
            lambda trail: changes.make_directories(self._root, path, mode, parents=parents, trail=trail),
            cause,
            undo,
        )

    async def chmod(self, path: str, mode: int, *, cause: Cause | None = None, undo: Undo | None = None) -> int:
        """Set the permission bits; the bits before."""
        _, before = await self._change(
            f"set the mode of '{path}'", lambda trail: changes.change_mode(self._root, path, mode, trail), cause, undo
        )
        return before

    async def setxattr(
        self, path: str, name: str, value: bytes, *, cause: Cause | None = None, undo: Undo | None = None
    ) -> None:
        """Set an extended attribute such as `user.checksum`."""
        await self._change(
            f"set the attribute {name} of '{path}'",
            lambda trail: changes.change_xattr(self._root, path, name, value, trail),
            cause,
            undo,
        )

    async def removexattr(self, path: str, name: str, *, cause: Cause | None = None, undo: Undo | None = None) -> None:
        """Remove an extended attribute."""
        await self._change(
            f"remove the attribute {name} of '{path}'",
            lambda trail: changes.change_xattr(self._root, path, name, None, trail),
            cause,
            undo,
        )

    async def chown(
        self, path: str, uid: int, gid: int, *, cause: Cause | None = None, undo: Undo | None = None
    ) -> tuple[int, int]:
        """Set user and group, -1 for neither; those before."""
        return await self._change(
            f"set the owner of '{path}'",
            lambda trail: changes.change_owner(self._root, path, uid, gid, trail),
            cause,
            undo,
        )

    async def link(
        self,
        target: str,
        path: str,
        *,
        symbolic: bool = False,
        overwrite: bool = False,
        parents: bool = False,
        cause: Cause | None = None,
        undo: Undo | None = None,
    ) -> str:
        """One more name for a file, or with `symbolic` a link that holds the text `target`; its path."""

        def work(trail: Trail) -> str:
            if parents:
                changes.make_parents(self._root, path, trail)
            make = changes.symlink if symbolic else changes.link
            return make(self._root, target, path, overwrite=overwrite, trail=trail)

        return await self._change(f"link '{path}' to '{target}'", work, cause, undo)

    async def undo(self, records: Sequence[Mapping[str, Any]], *, cause: Cause | None = None) -> int:
        """Take effects back, the last one first; how many. WorldError names all that could not be, the rest is done."""

        def work(trail: Trail) -> list[str]:
            return undoing.undo(self._root, records, self.trash, trail)

        failures = await self._change("undo", work, cause)
        if failures:
            raise WorldError(f"could not be undone: {'; '.join(failures)}")
        return len(records)

    async def change(
        self,
        what: str,
        work: Callable[[Root, Trail], T],
        *,
        cause: Cause | None = None,
        undo: Undo | None = None,
    ) -> T:
        """Any other change: `work` gets the root and the trail, in a thread; `what` completes "cannot …"."""
        return await self._change(what, lambda trail: work(self._root, trail), cause, undo)

    async def stat(self, path: str, *, follow: bool = True) -> FileStat:
        """What is known of a name; the empty path is the root."""
        return await self._ask(f"look at '{path}'", lambda: stats.stat_path(self._root, path, follow=follow))

    async def exists(self, path: str) -> bool:
        """Whether the name exists; a dangling symbolic link does."""
        try:
            await self.stat(path, follow=False)
        except WorldError as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                return False
            raise
        return True

    async def listdir(self, path: str = "") -> list[FileStat]:
        """The entries of a directory in the order of their names, without `/.vexfs` and unfinished files of ours."""
        return await self._ask(f"list '{path}'", lambda: stats.list_directory(self._root, path))

    async def walk(self, path: str = "") -> AsyncGenerator[FileStat, None]:
        """Everything below a directory, each directory before what is in it; symbolic links are not followed.

        Close it (`contextlib.aclosing`) when leaving early. What vanishes meanwhile is left out, and what the user of
        the identity may not read.
        """
        pending = [path]
        first = True
        while pending:
            try:
                entries = await self.listdir(pending.pop())
            except WorldError as error:
                closed = isinstance(error.__cause__, PermissionError) and self._root.identity is not None
                if first or not (closed or isinstance(error.__cause__, FileNotFoundError | NotADirectoryError)):
                    raise
                continue
            first = False
            for entry in entries:
                yield entry
            pending += [entry.path for entry in reversed(entries) if entry.type == "dir"]

    async def checksum(self, path: str, algorithm: str = "sha256") -> str:
        """The hexadecimal digest of a file's content; any algorithm of fixed length that hashlib has."""

        def work() -> str:
            digest = hashlib.new(algorithm, usedforsecurity=False)
            with beneath.place(self._root, path, follow=True) as at:
                fd = copying.open_file(at)
            with open(fd, "rb", buffering=0) as stream:
                while chunk := stream.read(_CHUNK):
                    trio.from_thread.check_cancelled()
                    digest.update(chunk)
            return digest.hexdigest()

        return await self._ask(f"read '{path}'", work)

    async def _ask(self, what: str, work: Callable[[], T]) -> T:
        def as_whom() -> T:
            with acting(self._root.identity):
                return work()

        try:
            return await trio.to_thread.run_sync(as_whom, limiter=self._limiter)
        except (OSError, ValueError) as error:
            raise WorldError(f"cannot {what}: {reason(error)}") from error

    async def _change(self, what: str, work: Callable[[Trail], T], cause: Cause | None, undo: Undo | None = None) -> T:
        trail = Trail(cause, self.trash if undo is not None else None, self._root.identity)

        def done() -> T:
            try:
                return work(trail)
            finally:
                if trail.undo and undo is not None:
                    self.trash.purge()

        try:
            return await self._ask(what, done)
        finally:
            if undo is not None:
                undo += trail.undo
            trail.tell(self._publish, self._cache)  # what was done before an error was done


def _into(source: str, target: str) -> str:
    return f"{target}{source.rstrip('/').rpartition('/')[2]}" if target.endswith("/") else target
