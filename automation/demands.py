"""What a definition needs of events that is not told unless somebody asks for it; see `Bus.details`."""

from __future__ import annotations

import re
from typing import Final

from automation.analytics.forms import Analytics
from automation.definitions import Workflow
from automation.library import Definition
from automation.machines.machine import Machine
from automation.rules.book import Book

TOOK: Final = re.compile(r"\battrs\.took\b")


def demands(text: str, definition: Definition) -> frozenset[str]:
    """Of a definition that is loaded from this text."""
    found = {"took"} if TOOK.search(text) else set()
    return frozenset(found | ({"failed"} if _fails(definition) else set()))


def _fails(definition: Definition) -> bool:
    """Whether operations that failed count for it."""
    match definition:
        case Workflow():
            return any(getattr(trigger, "failed", False) for trigger in definition.triggers)
        case Analytics():
            return any(stream.failed for stream in definition.streams.values())
        case Machine() | Book():
            return definition.failed
    return False
