"""What expressions and templates see of an event: plain values, every field present."""

from __future__ import annotations

from typing import Any

from automation.events import SemanticEvent
from automation.expressions import split_path


def target_of(event: SemanticEvent) -> str:
    """Where the thing is after the event: the new name of a rename or link, otherwise the path."""
    return event.path if event.dest is None else event.dest


def event_facts(event: SemanticEvent) -> dict[str, Any]:
    """The event as a dict. Text that does not apply is empty, a number that does not apply is null.

    `target` is `target_of`; `dir`, `name`, `stem` and `suffix` are parts of it.
    """
    target = event.path if event.dest is None else event.dest
    directory, name, stem, suffix = split_path(target)
    cause = event.cause
    return {
        "seq": event.seq,
        "ts": event.ts,
        "type": event.type,
        "path": event.path,
        "dest": event.dest or "",
        "target": target,
        "dir": directory,
        "name": name,
        "stem": stem,
        "suffix": suffix,
        "inode": event.inode,
        "size": event.size,
        "offset": event.offset,
        "length": event.length,
        "pid": event.pid,
        "uid": event.uid,
        "gid": event.gid,
        "comm": event.comm,
        "tenant": event.tenant,
        "cause": None if cause is None else {"run": cause.run, "workflow": cause.workflow, "depth": cause.depth},
        "errno": event.errno or "",
        "attrs": dict(event.attrs),
        "code": event.code,
        "category": event.category.value,
    }
