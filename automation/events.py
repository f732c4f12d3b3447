"""The semantic event: what one operation did, where, when and by whom.

Names are dotted, and a name stands for all below it: `file` covers `file.closed`. Each name has a numeric code and a
category in the taxonomy of the system that VexFS implements (`SemanticEventType` of the seed); names that the seed
does not know take codes from 0x80 upwards within their category.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

NO_ATTRS: Final[Mapping[str, Any]] = MappingProxyType({})


class Category(StrEnum):
    """The seed's event categories; the high byte of a code names one."""

    FILESYSTEM = "Filesystem"
    GRAPH = "Graph"
    VECTOR = "Vector"
    AGENT = "Agent"
    SYSTEM = "System"
    SEMANTIC = "Semantic"
    OBSERVABILITY = "Observability"


_CATEGORIES: Final = {
    0x01: Category.FILESYSTEM,
    0x02: Category.GRAPH,
    0x03: Category.VECTOR,
    0x04: Category.AGENT,
    0x05: Category.SYSTEM,
    0x06: Category.SEMANTIC,
    0x08: Category.OBSERVABILITY,
}


@dataclass(frozen=True, slots=True)
class EventType:
    """One entry of the taxonomy: its dotted name, numeric code and what it means in one line."""

    name: str
    code: int
    meaning: str

    @property
    def category(self) -> Category:
        """The category that the code's high byte names."""
        return _CATEGORIES[self.code >> 8]


_TABLE: Final = (
    ("file.created", 0x0101, "a regular file, fifo, socket or device came into being"),
    ("file.deleted", 0x0102, "a name of a file was removed"),
    ("file.read", 0x0103, "bytes were read"),
    ("file.written", 0x0104, "bytes were written"),
    ("file.renamed", 0x0105, "a file moved to another name"),
    ("file.attr.mode", 0x0106, "permission bits changed"),
    ("file.attr.owner", 0x0107, "owner or group changed"),
    ("file.truncated", 0x0108, "the size was set"),
    ("dir.created", 0x0109, "a directory came into being"),
    ("dir.deleted", 0x010A, "a directory was removed"),
    ("file.symlinked", 0x010B, "a symbolic link came into being"),
    ("file.linked", 0x010C, "a file got another name (hard link)"),
    ("file.opened", 0x0180, "a file was opened"),
    ("file.closed", 0x0181, "an open file was closed for good; says whether and how much was written"),
    ("file.replaced", 0x0182, "a new file took the name of an old one in one step (save by rename)"),
    ("file.attr.times", 0x0183, "access or modification time was set"),
    ("file.attr.xattr", 0x0184, "an extended attribute was set or removed"),
    ("file.allocated", 0x0185, "space was allocated, freed or a hole punched"),
    ("file.copied", 0x0186, "a range was copied from another file inside the kernel"),
    ("file.locked", 0x0187, "an advisory lock was taken or released"),
    ("file.attr.flags", 0x0188, "inode flags were set (chattr)"),
    ("dir.opened", 0x0192, "a directory was opened"),
    ("dir.closed", 0x0193, "an open directory was closed for good"),
    ("meta.poll", 0x01A6, "readiness was asked for"),
    ("dir.listed", 0x0190, "a directory was listed"),
    ("dir.renamed", 0x0191, "a directory moved to another name"),
    ("meta.lookup", 0x01A0, "a name was looked up"),
    ("meta.getattr", 0x01A1, "attributes were read"),
    ("meta.readlink", 0x01A2, "a symbolic link's target was read"),
    ("meta.statfs", 0x01A3, "the filesystem's totals were read"),
    ("meta.access", 0x01A4, "permission was asked for"),
    ("meta.xattr", 0x01A5, "an extended attribute was read or listed"),
    ("meta.flags", 0x01A7, "inode flags were read (lsattr)"),
    ("sync.flush", 0x01B0, "a descriptor was closed; others of the same open file may remain"),
    ("sync.fsync", 0x01B1, "a file or directory was written to stable storage"),
    ("graph.node.created", 0x0201, "a node of the provenance graph came into being"),
    ("graph.node.deleted", 0x0202, "a node was removed"),
    ("graph.node.updated", 0x0203, "a node changed"),
    ("graph.edge.created", 0x0204, "an edge came into being"),
    ("graph.edge.deleted", 0x0205, "an edge was removed"),
    ("graph.edge.updated", 0x0206, "an edge changed"),
    ("graph.property.set", 0x0207, "a property was set"),
    ("graph.property.deleted", 0x0208, "a property was removed"),
    ("graph.traversed", 0x0209, "the graph was walked"),
    ("graph.queried", 0x020A, "the graph was asked"),
    ("vector.created", 0x0301, "a vector was stored"),
    ("vector.deleted", 0x0302, "a vector was removed"),
    ("vector.updated", 0x0303, "a vector changed"),
    ("vector.searched", 0x0304, "vectors were searched"),
    ("agent.query", 0x0401, "an agent asked"),
    ("agent.decision", 0x0403, "an agent decided"),
    ("system.mounted", 0x0501, "the filesystem is mounted"),
    ("system.unmounted", 0x0502, "the filesystem is about to be unmounted"),
    ("system.state", 0x0580, "the system state or one of its variables changed"),
    ("system.overload", 0x0581, "a queue or limit was reached"),
    ("system.gap", 0x0582, "events were dropped for a reader; says how many"),
    ("system.schedule", 0x0583, "a scheduled time came"),
    ("system.definition", 0x0584, "a definition was loaded, changed, refused or removed"),
    ("system.breaker", 0x0585, "a circuit breaker opened, lets a probe through, or closed"),
    ("external.received", 0x0586, "a CloudEvent came from outside"),
    ("system.memory", 0x0587, "what detection remembers could not be read or written; says why"),
    ("pattern.matched", 0x0680, "a pattern matched"),
    ("pattern.expired", 0x0681, "a partial match ran out of time"),
    ("rule.fired", 0x0682, "a rule fired"),
    ("rule.denied", 0x0683, "a guard refused an operation"),
    ("machine.changed", 0x0684, "an instance of a machine changed its states"),
    ("user", 0x06F0, "an event that a user, script or workflow emitted"),
    ("workflow.started", 0x0880, "a run began"),
    ("workflow.step", 0x0881, "a step ended"),
    ("workflow.succeeded", 0x0882, "a run ended well"),
    ("workflow.failed", 0x0883, "a run ended in failure"),
    ("workflow.compensated", 0x0884, "a failed run was undone"),
    ("workflow.cancelled", 0x0885, "a run was cancelled"),
    ("workflow.compensation_failed", 0x088C, "a failed or cancelled run could not be undone; says what is left"),
    ("anomaly.detected", 0x0886, "a stream behaves unusually"),
    ("prediction.made", 0x0887, "a forecast was made"),
    ("model.version", 0x088A, "a model has a new version, or was rolled back to one"),
    ("model.adapted", 0x088B, "a value was moved by outcomes, or back by hand"),
    ("analytics.window", 0x0888, "a window of a stream ended"),
    ("analytics.trend", 0x0889, "a measure began to rise, to fall, or to do neither"),
)

EVENT_TYPES: Final[Mapping[str, EventType]] = MappingProxyType({row[0]: EventType(*row) for row in _TABLE})


def known(name: str) -> bool:
    """Whether `name` is a type, a group of types, or `user.*`."""
    return name in EVENT_TYPES or name.startswith("user.") or any(t.startswith(name + ".") for t in EVENT_TYPES)


def covers(name: str, type: str) -> bool:
    """Whether the dotted `name` stands for `type`: itself, or anything below it; `*` is everything."""
    return name == type or name == "*" or type.startswith(name + ".")


@dataclass(frozen=True, slots=True)
class Cause:
    """The automation that brought an event about: run identity, workflow name, and length of the chain (≥ 1)."""

    run: str
    workflow: str
    depth: int


class SemanticEvent:
    """One operation, finished. Immutable once published; about 0.6 µs to make (`bench/publish.py`).

    `path` and `dest` are relative to the mount, without a leading slash; bytes that are not UTF-8 appear as Python's
    surrogate escapes. `ts` is nanoseconds since the epoch, `seq` is given by the bus. `errno` is the name of the error
    of a failed operation, else None. `attrs` holds what only this type has, e.g. `written` on `file.closed`.
    """

    __slots__ = (
        "_comm",
        "attrs",
        "cause",
        "dest",
        "errno",
        "gid",
        "inode",
        "length",
        "offset",
        "path",
        "pid",
        "seq",
        "size",
        "tenant",
        "ts",
        "type",
        "uid",
    )

    def __init__(
        self,
        type: str,
        path: str = "",
        dest: str | None = None,
        *,
        inode: int = 0,
        size: int | None = None,
        offset: int | None = None,
        length: int | None = None,
        pid: int = 0,
        uid: int = 0,
        gid: int = 0,
        comm: str | Callable[[], str] = "",
        tenant: str = "",
        cause: Cause | None = None,
        errno: str | None = None,
        attrs: Mapping[str, Any] = NO_ATTRS,
        ts: int | None = None,
    ) -> None:
        self.seq = 0
        self.ts: Final = time.time_ns() if ts is None else ts
        self.type: Final = type
        self.path: Final = path
        self.dest: Final = dest
        self.inode: Final = inode
        self.size: Final = size
        self.offset: Final = offset
        self.length: Final = length
        self.pid: Final = pid
        self.uid: Final = uid
        self.gid: Final = gid
        self._comm = comm
        self.tenant = tenant
        self.cause: Final = cause
        self.errno: Final = errno
        self.attrs: Final = attrs

    @property
    def comm(self) -> str:
        """Name of the calling process, at most 15 bytes; resolved at the first reading where that is safe."""
        if not isinstance(self._comm, str):
            self._comm = self._comm()
        return self._comm

    def changed(self, **fields: Any) -> SemanticEvent:
        """The same event but for these fields; `seq` and `ts` are those of this one. About 2 µs."""
        copy = SemanticEvent.__new__(SemanticEvent)
        for name, value in zip(SemanticEvent.__slots__, _ALL_FIELDS(self), strict=True):
            setattr(copy, name, value)
        if not isinstance(copy._comm, str):
            copy._comm = lambda: self.comm  # asked for once, while the process is still there
        for name, value in fields.items():
            setattr(copy, name, value)
        return copy

    @property
    def code(self) -> int:
        """Numeric code in the seed's taxonomy; 0x06F0 for `user.*`."""
        return EVENT_TYPES.get(self.type, EVENT_TYPES["user"]).code

    @property
    def category(self) -> Category:
        """Category in the seed's taxonomy."""
        return _CATEGORIES[self.code >> 8]

    def as_dict(self) -> dict[str, Any]:
        """Plain values in a fixed order, without the fields that do not apply; the form of `/.vexfs/events`."""
        out: dict[str, Any] = {"seq": self.seq, "ts": self.ts, "type": self.type, "path": self.path}
        for name in ("dest", "inode", "size", "offset", "length", "pid", "uid", "gid", "comm", "tenant", "errno"):
            value = getattr(self, name)
            if value is not None and value != "":
                out[name] = value
        if self.cause is not None:
            out["cause"] = {"run": self.cause.run, "workflow": self.cause.workflow, "depth": self.cause.depth}
        if self.attrs:
            out["attrs"] = dict(self.attrs)
        out["code"] = self.code
        out["category"] = self.category.value
        return out

    def as_json(self) -> str:
        """`as_dict` as one line of ASCII JSON, without the newline."""
        return json.dumps(self.as_dict(), default=str, separators=(",", ":"))

    def __repr__(self) -> str:
        arrow = f" -> {self.dest!r}" if self.dest is not None else ""
        return f"<{self.seq} {self.type} {self.path!r}{arrow} pid={self.pid}>"


_ALL_FIELDS: Final = attrgetter(*SemanticEvent.__slots__)
