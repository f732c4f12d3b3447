"""What would act, on a virtual clock: event and pattern triggers, and rules, say what they would start. Nothing starts.

Time is that of the events (ns); settling, debouncing and cooldowns run by it. Schedules, scripts' definitions (`*.lua`)
and the shared state, which is empty, stay out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from automation.definitions import Workflow
from automation.errors import CallerError, DefinitionError
from automation.events import SemanticEvent
from automation.facts import target_of
from automation.loading import examine_source, most_telling
from automation.patterns.loading import SUFFIXES, Definition
from automation.patterns.outcomes import Match
from automation.rules.book import Book, check_books, examine_book, is_book, vocabulary
from automation.rules.checks import Moment
from automation.rules.rule import Shelf
from automation.rules.rule_set import RuleSet
from automation.sources import read_source
from automation.triggers import writers
from automation.triggers.factory import Fed, build
from automation.triggers.firing import Firing
from automation.triggers.index import Index
from automation.triggers.on_pattern import OnPattern
from automation.triggers.pattern_desk import found_event, match_attrs
from automation.triggers.pending import Pending

Record = dict[str, Any]
_NS: Final = 1_000_000_000


class Rehearsal:
    """The triggers of workflows and the rules of books; each call gives records, `at` is the number of the input."""

    def __init__(self, workflows: Iterable[Workflow] = (), books: Iterable[Book] = ()) -> None:
        self.patterns: Final[dict[str, Definition]] = {}
        self._writers: Final = writers.Writers()
        self._index: Final[Index[Fed]] = Index()
        self._by_pattern: Final[dict[str, list[OnPattern]]] = {}
        self._deadlines: Final[Pending[Fed]] = Pending(10_000_000)
        self._rules: Final = RuleSet()
        self._add_rules(list(books))
        for workflow in workflows:
            if workflow.enabled:
                self._add(workflow)

    def feed(self, event: SemanticEvent, at: int) -> list[Record]:
        """What an event starts at once."""
        if event.type in writers.TYPES:
            self._writers.note(event)
        triggers = self._index.find(event.type, target_of(event))
        if event.dest is not None:
            triggers = list(dict.fromkeys([*triggers, *self._index.find(event.type, event.path)]))
        now, out = event.ts / _NS, []
        for trigger in triggers:
            out += self._ask(trigger, lambda one: one.feed(event, now), event.ts, at)
        for fired in self._rules.feed(event, Moment({}, now), now):
            form = fired.rule.body.program.form
            shown = {"kind": "firing", "rule": fired.rule.name, "at": at, "ts": event.ts, "key": fired.key}
            shown |= {"event": event.seq, "type": event.type, "path": target_of(event)}
            shown |= {"otherwise": True} if fired.otherwise else {}
            out.append(shown | ({"workflow": form.workflow} if form.workflow is not None else {}))
        return out

    def matched(self, match: Match, ts: int, at: int) -> list[Record]:
        """What a match starts, by triggers on its pattern and by those on `pattern.matched`."""
        out = []
        for trigger in self._by_pattern.get(match.pattern, ()):
            out += [_run(firing, match.ts, at) for firing in trigger.fire(match, ts / _NS)]
        return out + self.feed(found_event("pattern.matched", match.pattern, match.steps, match_attrs(match), ts), at)

    def advance(self, ts: int, at: int) -> list[Record]:
        """What starts by the clock until `ts` (ns), in order."""
        out: list[Record] = []
        while (deadline := self._deadlines.deadline) is not None and deadline <= ts / _NS:
            for _, trigger in list(self._deadlines.due(deadline)):
                out += self._ask(trigger, lambda one: one.due(deadline), round(deadline * _NS), at)
        return out

    def _ask(self, trigger: Fed, question: Callable[[Fed], list[Firing]], ts: int, at: int) -> list[Record]:
        firings = question(trigger)
        key = f"{trigger.workflow}\0{trigger.number}"
        if trigger.deadline is not None:
            self._deadlines.put(key, trigger, trigger.deadline)
        elif key in self._deadlines:
            self._deadlines.pop(key)
        return [_run(firing, ts, at) for firing in firings]

    def _add(self, workflow: Workflow) -> None:
        self.patterns.update(workflow.every_pattern)
        for number in range(len(workflow.triggers)):
            trigger = build(workflow, number, state=dict, busy=self._writers.busy, now=0.0)
            if isinstance(trigger, Fed):
                self._index.add(trigger, trigger.types, trigger.anchors)
            elif isinstance(trigger, OnPattern):
                self._by_pattern.setdefault(trigger.pattern, []).append(trigger)

    def _add_rules(self, books: list[Book]) -> None:
        shelf = Shelf()
        words, _ = vocabulary(books)
        for book in books:
            source, _ = book.contents()
            for raw in source.value.get("rules", ()) if book.enabled else ():
                self._rules.add(shelf.rule(book.file, raw, words))


def _refuse(error: DefinitionError) -> None:
    raise error


def load_rehearsal(*paths: str, wrong: Callable[[DefinitionError], None] = _refuse) -> Rehearsal:
    """The workflows and books of files, or of the files directly in directories. What is wrong is told to `wrong` and
    left out; CallerError for what cannot be read.
    """
    workflows: list[Workflow] = []
    books: list[Book] = []
    for file in [file for path in paths for file in _files(path)]:
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CallerError(f"{file} cannot be read: {error}") from None
        source = read_source(file, text)
        if is_book(source):
            book, errors = examine_book(source, text)
            books += [book] if book is not None else []
        elif isinstance(source.value, Mapping) and "steps" in source.value:
            workflow, errors = examine_source(source)
            workflows += [workflow] if workflow is not None else []
        else:
            continue
        if errors:
            wrong(most_telling(errors))
    for one in check_books(books):
        wrong(one)
        books = [book for book in books if book.file != one.path]
    return Rehearsal(workflows, books)


def _files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path] if path.endswith(SUFFIXES) else []
    names = [name for name in sorted(os.listdir(path)) if name.endswith(SUFFIXES) and not name.startswith(".")]
    return [os.path.join(path, name) for name in names if not os.path.splitext(name)[0].endswith(".test")]


def _run(firing: Firing, ts: int, at: int) -> Record:
    """A would-be run; its events by number, the last 1,000."""
    out = {"kind": "run", "workflow": firing.workflow, "at": at, "ts": ts, "trigger": f"{firing.kind}#{firing.trigger}"}
    out |= {"key": firing.key, "event": firing.event.seq, "path": target_of(firing.event)}
    out |= {"events": [event.seq for event in firing.events], "count": firing.count}
    return out | ({"match": firing.match.id} if firing.match is not None else {})
