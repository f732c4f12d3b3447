"""The exception tree: every error says whose fault it is.

VexError
├── CallerError        the person or program that asked: a bad option, command or control write
├── DefinitionError    the author of a workflow, rule or pattern; knows file, line and field
├── WorldError         something outside: a missing file, a refused connection, a full disk
│   ├── TimedOut       the world took longer than was allowed
│   ├── QuotaExceeded  a tenant used as much as it may for now
│   ├── CircuitOpen    a destination that keeps failing is left alone for a while
│   └── BulkheadFull   too many runs of this kind go on and wait
└── InternalError      ours: a bug in VexFS; logged with its traceback
"""

from __future__ import annotations


class VexError(Exception):
    """Root of everything that VexFS raises on purpose; `str()` is one sentence for a person."""


class CallerError(VexError):
    """The request cannot be done as asked."""


class DefinitionError(VexError):
    """A definition is wrong.

    `path` is the file as the user named it, `line` is 1-based (None when unknown), `field` is the dotted
    name of the field (empty for the whole file), `reason` says what is wrong and what would be right.
    """

    def __init__(self, path: str, line: int | None, field: str, reason: str) -> None:
        self.path, self.line, self.field, self.reason = path, line, field, reason
        where = path if line is None else f"{path}:{line}"
        super().__init__(f"{where}: {field}: {reason}" if field else f"{where}: {reason}")


class WorldError(VexError):
    """Something outside VexFS failed; trying again later may help.

    `kind` is the class by which `retry` rules name it where that is narrower than its type: `http_503`, say.
    """

    kind = ""


class TimedOut(WorldError):  # noqa: N818 - it reads as what happened
    """An effect did not finish in the time that its definition allows."""


class CircuitOpen(WorldError):  # noqa: N818 - it reads as what happened
    """The destination failed too often; nothing was sent to it."""

    kind = "circuit_open"


class QuotaExceeded(WorldError):  # noqa: N818 - it reads as what happened
    """So much may be used for now; later there is more."""

    kind = "quota_exceeded"


class BulkheadFull(WorldError):  # noqa: N818 - as above
    """A bulkhead turned the run away."""

    kind = "bulkhead_full"


class InternalError(VexError):
    """A bug in VexFS."""
