"""Files that are there before anything happens, as events: `backfill: existing`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Final

from automation.errors import WorldError
from automation.events import SemanticEvent
from automation.triggers.on_event import OnEvent
from automation.workspace import Workspace

log: Final = logging.getLogger(__name__)


async def existing(workspace: Workspace, trigger: OnEvent) -> AsyncGenerator[SemanticEvent, None]:
    """The regular files below the literal part of the trigger's patterns; whether they match is for the trigger to say.

    Each is an event of the first file type that the trigger asks for, with the file's own time, no number and
    `existing` in its attributes. A folder that is not there has no files.
    """
    for head in dict.fromkeys("/".join(anchor.head) for anchor in trigger.anchors):
        try:
            start = await workspace.stat(head)
            if start.type == "file":
                yield _event(trigger, head, start.size, start.mtime_ns)
                continue
            async with contextlib.aclosing(workspace.walk(head)) as found:
                async for entry in found:
                    if entry.type == "file":
                        yield _event(trigger, entry.path, entry.size, entry.mtime_ns)
        except WorldError as error:
            log.info("%s found nothing to begin with: %s", trigger.workflow, error)


def _event(trigger: OnEvent, path: str, size: int, mtime_ns: int) -> SemanticEvent:
    attrs = {"existing": True, "written": size > 0}
    return SemanticEvent(trigger.existing_type(), path, size=size, ts=mtime_ns, attrs=attrs)
