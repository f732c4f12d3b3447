"""The rules of books in a rehearsal: reactive ones by events, proactive ones by the clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from automation.events import SemanticEvent
from automation.rehearsal.records import Record, fired
from automation.rehearsal.world import NS, World
from automation.rules.book import Book, vocabulary
from automation.rules.checks import Moment, Standing
from automation.rules.desk import fired_event
from automation.rules.rule import Rule, Shelf
from automation.rules.rule_set import Fired, RuleSet
from automation.triggers.pending import Pending


class Rules:
    """A rule that names a workflow says so; what its own actions would do is for the runner to say."""

    def __init__(self, books: Iterable[Book], world: World, standing: Standing) -> None:
        self._world: Final = world
        self._standing: Final = standing
        self._set: Final = RuleSet()
        self._deadlines: Final[Pending[Rule]] = Pending(10_000_000)
        books, shelf = list(books), Shelf()
        words, _ = vocabulary(books)
        for book in books:
            source, _ = book.contents()
            for raw in source.value.get("rules", ()) if book.enabled else ():
                self._set.add(shelf.rule(book.file, raw, words))

    def begin(self, ts: int) -> None:
        """Proactive rules begin at their `every` after this."""
        for rule in self._set.rules.values():
            self._schedule(rule, ts / NS)

    def feed(self, event: SemanticEvent, at: int) -> list[Record]:
        """What an event makes fire."""
        now = event.ts / NS
        moment = Moment(self._world.state.view(), now, self._standing)
        return [self._tell(one, event.ts, at) for one in self._set.feed(event, moment, now)]

    def deadline(self) -> int | None:
        """When a proactive rule is due next (ns)."""
        deadline = self._deadlines.deadline
        return None if deadline is None else round(deadline * NS)

    def advance(self, ts: int, at: int) -> list[Record]:
        """What fires by the clock until `ts` (ns), in order."""
        out: list[Record] = []
        while (deadline := self._deadlines.deadline) is not None and round(deadline * NS) <= ts:
            for _, rule in list(self._deadlines.due(deadline)):
                self._schedule(rule, deadline)
                attrs = {"rule": rule.name, "every": rule.body.every}
                event = SemanticEvent("system.schedule", attrs=attrs, ts=round(deadline * NS))
                moment = Moment(self._world.state.view(), deadline, self._standing)
                one = self._set.ask(rule, event, "", moment, deadline)
                out += [self._tell(one, event.ts, at)] if one is not None and rule.live else []
        return out

    def _schedule(self, rule: Rule, now: float) -> None:
        if rule.body.every is not None:
            self._deadlines.put(rule.name, rule, now + rule.body.every)

    def _tell(self, one: Fired, ts: int, at: int) -> Record:
        self._world.publish(fired_event(one, ts))
        return fired(one, ts, at)
