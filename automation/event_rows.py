"""Events as rows of plain values and back, for files that only VexFS reads: a quarter of the cost of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from automation.events import NO_ATTRS, Cause, SemanticEvent

Row = Sequence[Any]


def event_row(event: SemanticEvent) -> tuple[Any, ...]:
    """An event with its number, about 0.5 µs; reads the caller's name if nobody has yet."""
    cause, attrs = event.cause, event.attrs
    return (
        *(event.seq, event.ts, event.type, event.path, event.dest),
        *(event.inode, event.size, event.offset, event.length),
        *(event.pid, event.uid, event.gid, event.comm, event.tenant, event.errno),
        None if cause is None else (cause.run, cause.workflow, cause.depth),
        dict(attrs) if attrs else None,
    )


def read_row(row: Row) -> SemanticEvent:
    """The event of a row."""
    seq, ts, kind, path, dest, inode, size, offset, length, pid, uid, gid, comm, tenant, errno, cause, attrs = row
    event = SemanticEvent(
        kind,
        path,
        dest,
        inode=inode,
        size=size,
        offset=offset,
        length=length,
        pid=pid,
        uid=uid,
        gid=gid,
        comm=comm,
        tenant=tenant,
        cause=None if cause is None else Cause(*cause),
        errno=errno,
        attrs=NO_ATTRS if attrs is None else attrs,
        ts=ts,
    )
    event.seq = seq
    return event
