"""What the tracker finds out: small rows, numbered over all mounts, for the store and for the events of the graph."""

from __future__ import annotations

from typing import NamedTuple

from automation.events import SemanticEvent


class NewFile(NamedTuple):
    """A file has come to be known, at a path."""

    id: int
    path: str
    ts: int


class NewVersion(NamedTuple):
    """A file has content that it had not before. `maker` is the process or run, 0 when that is not known; `before` the
    version that it revises, 0 for none; `sources` the versions that the maker had read, up to its read number `upto`.
    """

    id: int
    file: int
    path: str
    maker: int
    before: int
    labels: str
    ts: int
    upto: int = 0
    sources: tuple[int, ...] = ()


class NewAgent(NamedTuple):
    """A process or run; `number` is its pid or identity. Told again when a process becomes another program."""

    id: int
    kind: str
    number: str
    name: str
    uid: int
    ts: int
    again: bool = False


class Read(NamedTuple):
    """An agent has read a version, as the `number`-th that it read: a source of what it makes from then on."""

    agent: int
    number: int
    version: int
    ts: int


class Act(NamedTuple):
    """An agent has `renamed`, `linked` or `invalidated` a file, or `started` by a version."""

    kind: str
    agent: int
    target: int
    ts: int


class Again(NamedTuple):
    """What an agent has done before, it has done again: so often now. `kind` is `used` or that of an `Act`."""

    kind: str
    agent: int
    target: int
    times: int
    ts: int


class Named(NamedTuple):
    """A file goes by a path from `ts` on, or no more."""

    file: int
    path: str
    ts: int
    gone: bool = False


class Moved(NamedTuple):
    """A directory goes by another name."""

    path: str
    before: str


class Labelled(NamedTuple):
    """A file with labels is at a path: it came there, or a version of it was made there. Or it has lost `labels`."""

    path: str
    labels: tuple[str, ...]
    version: int
    event: SemanticEvent
    lost: bool = False


Fact = NewFile | NewVersion | NewAgent | Read | Act | Again | Named | Moved | Labelled
