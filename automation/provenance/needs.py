"""What the conditions of a definition need: a definition of kind `provenance`, and which places it is to keep."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from automation.errors import DefinitionError
from automation.provenance.forms import ProvenanceForm
from automation.provenance.lineage import FUNCTIONS, needs
from automation.sources import Source, read_source

_DECLARING: Final = (".lua", ".js")


def patterns(file: str, text: str, definition: Any) -> list[str]:
    """The places that its conditions ask about."""
    return sorted({one for _, _, some in needs(_source(file, text, definition).value) for one in some})


def unmet(file: str, text: str, definition: Any) -> DefinitionError | None:
    """The error of a definition that asks the graph, where nothing is tracked; None for one that does not."""
    source = _source(file, text, definition)
    for place, name, _ in needs(source.value):
        reason = (
            f"{name}() asks the graph of provenance, which needs a definition of kind 'provenance', and none is loaded"
        )
        return DefinitionError(file, source.line(place), ".".join(map(str, place)), reason)
    return None


def unmet_in(loaded: Mapping[str, Any], paths: Iterable[str]) -> Iterator[DefinitionError]:
    """The same for files (by path) of whole directories."""
    whole = {os.path.normpath(path) for path in paths}
    tracked = {os.path.dirname(file) for file, one in loaded.items() if isinstance(one, ProvenanceForm) and one.enabled}
    for file, definition in loaded.items():
        folder = os.path.dirname(file)
        if os.path.normpath(folder) in whole and folder not in tracked:
            error = unmet(file, Path(file).read_text(encoding="utf-8"), definition)
            if error is not None:
                yield error


def _source(file: str, text: str, definition: Any) -> Source:
    if not any(name in text for name in FUNCTIONS):
        return Source(file, None, {})
    if file.endswith(".scxml"):
        return Source(file, text, {})
    if file.endswith(_DECLARING):
        return Source(file, None if definition is None else definition.model_dump(), {})
    return read_source(file, text)
