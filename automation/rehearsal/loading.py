"""Files and directories → what acts in a rehearsal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from automation.definitions import Workflow
from automation.errors import DefinitionError
from automation.library import examine_files, files_of
from automation.loading import most_telling
from automation.machines.machine import Machine
from automation.machines.thresholds import Threshold, ThresholdsForm
from automation.patterns.collection import check_names, patterns_of
from automation.patterns.loading import Definition
from automation.provenance.forms import ProvenanceForm
from automation.provenance.needs import patterns, unmet
from automation.rules.book import Book, check_books


@dataclass(slots=True)
class Ensemble:
    """Everything that definitions hold; patterns by name."""

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
    DefinitionError for the first pattern that is, or has the name of another, CallerError for what cannot be read.
    """
    out = Ensemble()
    files = [file for path in paths for file in files_of(path)]
    found: dict[str, object] = {}
    for file, definition, errors in examine_files(files):
        if errors:
            _tell(most_telling(errors), wrong)
        elif definition is not None and getattr(definition, "enabled", True):
            found[file] = definition
            _add(out, definition)
    for error in check_names(found, ()):
        raise error
    for error in check_books(out.books):
        wrong(error)
        out.books = [book for book in out.books if book.file != error.path]
    _ask(out, files)
    return out


def _tell(error: DefinitionError, wrong: Callable[[DefinitionError], None]) -> None:
    if error.field.startswith("pattern"):
        raise error
    wrong(error)


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
