"""What is mounted, seen from outside: every answer is bounded in time, since a mount may hang."""

from __future__ import annotations

import os
from typing import Any

from automation.errors import CallerError, TimedOut, WorldError
from automation.terminal.place import control_of
from vexfs_fuse import mountinfo, mounting, unmounting


def overview() -> list[dict[str, Any]]:
    """All mounts of VexFS: mountpoint, source, pid (None when unknown) and state: "answers", "dead" or "hangs"."""
    entries = [entry for entry in mountinfo.mounts() if entry.ours]
    return [
        {
            "mountpoint": entry.mountpoint,
            "source": entry.source,
            "pid": unmounting.server_of(entry),
            "state": state(entry.mountpoint),
        }
        for entry in entries
    ]


def state(mountpoint: str) -> str:
    """ "answers", "dead" (its process is gone) or "hangs"."""
    try:
        return "answers" if mounting.answers(mountpoint) else "dead"
    except CallerError:
        return "hangs"


def table(reports: list[dict[str, Any]]) -> str:
    """The overview for a person."""
    if not reports:
        return "nothing is mounted"
    rows = [("MOUNTPOINT", "SOURCE", "PID", "STATE")]
    rows += [(shown(r["mountpoint"]), shown(r["source"]), str(r["pid"] or "-"), r["state"]) for r in reports]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])) for row in rows
    )


def page(path: str) -> str:
    """A mount's `/.vexfs/status`, or the caller's own. CallerError: no mount there; WorldError: it does not answer."""
    entry = unmounting.find(path)
    try:
        return mounting.within(mounting.PROBE_SECONDS, lambda: _text(entry.mountpoint))
    except PermissionError as error:
        raise CallerError(f"only the user who mounted {entry.mountpoint}, and root, may see its status") from error
    except FileNotFoundError as error:
        raise CallerError(f"you are neither a tenant of {entry.mountpoint} nor who mounted it") from error
    except TimedOut as error:
        raise WorldError(f"{entry.mountpoint} does not answer: {error}") from error
    except OSError as error:
        raise WorldError(f"{entry.mountpoint} does not answer: {error.strerror}") from error


def shown(text: str) -> str:
    """`text` with control characters and bytes that are not UTF-8 as escapes: a name cannot disturb a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _text(mountpoint: str) -> str:
    with open(os.path.join(control_of(mountpoint), "status"), encoding="utf-8", errors="replace") as file:
        return file.read()
