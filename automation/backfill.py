"""Files that are there before anything happens, as events: `backfill: existing` of triggers, `existing` of waits."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Iterable
from typing import Final

from automation.errors import WorldError
from automation.events import EVENT_TYPES, SemanticEvent
from automation.globs import Anchor
from automation.workspace import Workspace

log: Final = logging.getLogger(__name__)


async def existing(
    workspace: Workspace, anchors: Iterable[Anchor], types: Iterable[str], workflow: str
) -> AsyncGenerator[SemanticEvent, None]:
    """The regular files below the literal part of patterns; whether they match is for the workflow to say.

    Each is an event of the first file type among `types`, else a `file.closed`, with the file's own time, no number and
    `existing` in its attributes. A folder that is not there has no files.
    """
    shown = next((name for name in types if name in EVENT_TYPES and name.startswith("file.")), "file.closed")
    heads = dict.fromkeys("/".join(anchor.head) for anchor in anchors)
    for head in dict.fromkeys(part for one in heads for part in workspace.territory.within(one)):
        try:
            start = await workspace.stat(head)
            if start.type == "file":
                yield _event(shown, head, start.size, start.mtime_ns)
                continue
            async with contextlib.aclosing(workspace.walk(head)) as found:
                async for entry in found:
                    if entry.type == "file":
                        yield _event(shown, entry.path, entry.size, entry.mtime_ns)
        except WorldError as error:
            log.info("%s found nothing to begin with: %s", workflow, error)


def _event(type_name: str, path: str, size: int, mtime_ns: int) -> SemanticEvent:
    attrs = {"existing": True, "written": size > 0}
    return SemanticEvent(type_name, path, size=size, ts=mtime_ns, attrs=attrs)
