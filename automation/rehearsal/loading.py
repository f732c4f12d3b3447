"""Files and directories → what acts in a rehearsal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from automation.definitions import Workflow
from automation.errors import CallerError, DefinitionError
from automation.library import DECLARING, examine_files, is_definition
from automation.loading import most_telling
from automation.machines.machine import Machine
from automation.machines.thresholds import Threshold, ThresholdsForm
from automation.patterns.collection import patterns_of
from automation.patterns.loading import Definition
from automation.provenance.forms import ProvenanceForm
from automation.provenance.needs import patterns, unmet
from automation.rules.book import Book, check_books, is_book
from automation.sources import read_source

_WHOLE: Final = (*DECLARING, ".scxml")


@dataclass(slots=True)
class Ensemble:
    """Everything but patterns that definitions hold, and by name the patterns inside of them."""

    workflows: list[Workflow] = field(default_factory=list)
    books: list[Book] = field(default_factory=list)
    machines: list[Machine] = field(default_factory=list)
    thresholds: Sequence[Threshold] | None = None
    patterns: dict[str, Definition] = field(default_factory=dict)
    provenance: ProvenanceForm | None = None
    asked: list[str] = field(default_factory=list)  # the places that conditions ask about


def _refuse(error: DefinitionError) -> None:
    raise error


def load_ensemble(*paths: str, wrong: Callable[[DefinitionError], None] = _refuse) -> Ensemble:
    """The definitions in files, or in the files directly in directories. What is wrong is told to `wrong` and left out;
    CallerError for what cannot be read. Files that hold patterns alone are passed over.
    """
    out = Ensemble()
    files = [file for path in paths for file in _files(path)]
    for _, definition, errors in examine_files([file for file in files if _acts(file)]):
        if errors:
            wrong(most_telling(errors))
        elif definition is not None and getattr(definition, "enabled", True):
            _add(out, definition)
    for error in check_books(out.books):
        wrong(error)
        out.books = [book for book in out.books if book.file != error.path]
    _ask(out, files)
    return out


def _ask(out: Ensemble, files: list[str]) -> None:
    """What conditions ask the graph of provenance; DefinitionError where there is none."""
    for file in files:
        text = Path(file).read_text(encoding="utf-8")
        error = unmet(file, text, None) if out.provenance is None else None
        if error is not None:
            raise error
        out.asked += patterns(file, text, None)


def _add(out: Ensemble, definition: object) -> None:
    out.patterns |= patterns_of(definition)
    match definition:
        case Workflow():
            out.workflows.append(definition)
        case Book():
            out.books.append(definition)
        case Machine():
            out.machines.append(definition)
        case ProvenanceForm():
            out.provenance = definition
        case ThresholdsForm():
            out.thresholds = definition.thresholds


def _acts(file: str) -> bool:
    """Whether a file holds more than patterns."""
    if file.endswith(_WHOLE):
        return True
    try:
        source = read_source(file, Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"{file} cannot be read: {error}") from None
    value: Any = source.value
    return is_book(source) or (isinstance(value, Mapping) and bool(value.keys() & {"steps", "kind"}))


def _files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path] if is_definition(os.path.basename(path)) else []
    return [os.path.join(path, name) for name in sorted(os.listdir(path)) if is_definition(name)]
