"""Does anyone want the reads and writes of this path? Decides between a native and a traced open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol

from automation.bus import Bus
from automation.globs import PathMatcher, compile_globs
from automation.makers import ANYBODY, Maker
from vexfs_fuse.handles import DATA, Handles, Opener

Policy = Literal["auto", "native", "traced"]
Policies = Policy | Mapping[str, Policy]  # one for all paths, or by glob: the first that matches decides, else auto


def maker_of(opener: Opener, name: Callable[[], str | None] | None = None) -> Maker:
    """Who will read and write what this one opens. Root may have become another user by then. `name` gives that of its
    program, as long as it will be the same.
    """
    comm = None if opener.caller is None else opener.caller.comm()
    return Maker(opener.uid or None, opener.gid if opener.uid else None, comm or None, name)


class Guards(Protocol):
    """What is asked of the guards."""

    def concerns(self, operation: str, path: str) -> bool:
        """Whether such an operation on this path may have to be judged."""
        ...


class Interest:
    """Asks the bus, whose subscriptions answer from their routing index, unless the policy `io` decides."""

    def __init__(self, bus: Bus, io: Policies = "auto", guards: Guards | None = None, *, flushes: bool = False) -> None:
        table = {"**": io} if isinstance(io, str) else io
        self._bus: Final = bus
        self._table: Final[list[tuple[PathMatcher, Policy]]] = [
            (compile_globs((glob,)), policy) for glob, policy in table.items() if table != {"**": "auto"}
        ]
        self._guards: Final = guards
        self._flushes: Final = flushes  # whether every flush must be seen

    @property
    def forced(self) -> tuple[str, ...]:
        """Types of events that have to be seen whoever listens: a policy, or locks that are shared, may ask for it."""
        flushes = self._flushes or self._bus.heard("sync.flush.writer")
        return (*(DATA if self._table else ()), *(("sync.flush",) if flushes else ()))

    def in_data(self, path: str, tenant: str | None = None, maker: Maker = ANYBODY) -> bool:
        """Whether each read and write must be seen, of those that `tenant` makes (None: anybody), and this maker."""
        for matches, policy in self._table:
            if matches(path):
                if policy != "auto":
                    return policy == "traced"
                break
        return self.listened(path, tenant, maker)

    def listened(self, path: str, tenant: str | None = None, maker: Maker = ANYBODY) -> bool:
        """Whether anybody listens to such reads or writes, whatever the policy says."""
        wanted = self._bus.wanted
        return wanted("file.written", path, tenant, maker) or wanted("file.read", path, tenant, maker)

    def unseen(self, handles: Handles) -> list[str]:
        """Paths of the files that are open natively although somebody listens to their reads or writes by now."""
        owner = None if self._bus.downstream is None else self._bus.downstream.owner
        found = dict[str, None]()
        for file in (one for one in handles.all() if one.native):
            path, who = file.inode.path(), file.who
            tenant = "" if owner is None else owner(path, who.uid, who.gid)
            if path not in found and self.listened(path, tenant, maker_of(who)):
                found[path] = None
        return list(found)

    def judged(self, path: str) -> bool:
        """Whether a guard may have to judge each write: then all of them must come through us, mapped ones too."""
        return self._guards is not None and self._guards.concerns("write", path)

    def unjudged(self, handles: Handles) -> list[str]:
        """Paths of the files that are open natively for writing although a guard judges their writes by now: it came
        later, or they were renamed to where it guards.
        """
        writers = {file.inode.path(): None for file in handles.all() if file.native and file.writable}
        return [path for path in writers if self.judged(path)]

    def in_listings(self, path: str, tenant: str | None = None) -> bool:
        """Whether each listing of the directory must be seen, not only those that the kernel does not remember."""
        return self._bus.wanted("dir.listed", path, tenant)

    def in_flush(self, path: str, tenant: str | None = None, *, writer: bool = False) -> bool:
        """Whether the close of each descriptor must be seen, not only that of the last: of a `writer`, who may be a
        child of the one that opened the file, is asked as `sync.flush.writer`.
        """
        wanted = self._bus.wanted
        flushes = self._flushes or wanted("sync.flush", path, tenant)
        return flushes or (writer and wanted("sync.flush.writer", path, tenant))
