"""The events that runs wait for: which they are, and the way from the bus to the mailboxes of the runs.

    bus ─► accept (routing index, in `publish`) ─► queue ─► ears ─► mailboxes

The queue holds 65,536 events of those that some run could want; a full one drops the oldest, which the bus counts and
announces.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import trio

from automation.bus import Bus
from automation.events import SemanticEvent
from automation.expressions import EvaluationError, Expression, compile_expression
from automation.facts import event_facts, target_of
from automation.globs import Anchor, compile_globs
from automation.index import ANYWHERE, Index
from automation.makers import Maker
from automation.step_forms import EventFilter
from automation.templates import pieces, write_out
from automation.triggers.forms import EventTrigger
from automation.triggers.matching import Matcher

log: Final = logging.getLogger(__name__)

SLICE: Final = 0.002  # seconds of delivering between two looks at requests


class Listening:
    """An event filter made ready. Patterns of paths may hold templates, whose values stand for themselves."""

    __slots__ = ("_fixed", "_form", "_parts", "types", "where")

    def __init__(self, form: EventFilter) -> None:
        self._form: Final = form
        self.types: Final = tuple(form.types)
        self.where: Final[Expression | None] = compile_expression(form.where) if form.where else None
        self._parts: Final = [pieces(text) for text in form.path or ()]
        plain = all(isinstance(part, str) for parts in self._parts for part in parts)
        self._fixed: Final = self._matcher(form.path) if plain else None

    @classmethod
    def of(cls, form: EventFilter) -> Listening:
        """Compile a filter."""
        return cls(form)

    @property
    def own(self) -> bool:
        """Whether the run's own effects count."""
        return self._form.own

    def matcher(self, variables: Callable[[], Mapping[str, Any]]) -> Matcher:
        """Tests everything but `where`; EvaluationError when a template of a path fails."""
        if self._fixed is not None:
            return self._fixed
        given = variables()
        paths = ["".join(p if isinstance(p, str) else _literal(write_out(p(given))) for p in ps) for ps in self._parts]
        return self._matcher(paths)

    def anchors(self, matcher: Matcher) -> tuple[Anchor, ...]:
        """Where the routing index files it."""
        return compile_globs(tuple(matcher.paths)).anchors if matcher.paths else ANYWHERE

    def _matcher(self, path: list[str] | None) -> Matcher:
        form = self._form
        trigger = EventTrigger.model_construct(
            types=form.types, path=path, source=form.source, written=form.written, uid=form.uid, comm=form.comm
        )
        return Matcher(trigger, {}, dict)

    def holds(self, event: SemanticEvent, variables: Mapping[str, Any]) -> bool:
        """Whether `where` holds, with `event` for the event; what cannot be evaluated does not hold."""
        if self.where is None:
            return True
        try:
            facts = event_facts(event, self.where.event_fields)
            return self.where({**variables, "event": facts}) is True
        except EvaluationError:
            return False


def _literal(text: str) -> str:
    return "".join(f"\\{char}" if char in "*?[]{}!\\," else char for char in text)


class Ear:
    """Hears for one run; `take` gets each event that its filter lets pass."""

    __slots__ = ("_matcher", "anchors", "take", "types")

    def __init__(self, listening: Listening, matcher: Matcher, take: Callable[[SemanticEvent], None]) -> None:
        self._matcher: Final = matcher
        self.types: Final = listening.types
        self.anchors: Final = listening.anchors(matcher)
        self.take: Final = take

    def may_mean(self, maker: Maker) -> bool:
        """Whether it may hear what this maker does."""
        return self._matcher.may_mean(maker)

    def hear(self, event: SemanticEvent) -> None:
        """Take the event or let it pass."""
        try:
            if self._matcher.matches(event):
                self.take(event)
        except Exception:  # a bug of ours must not make all others deaf
            log.exception("a run that heard %r met a bug", event)


class Mailroom:
    """Every ear of every run; an event finds those that could want it by type and path."""

    def __init__(self, bus: Bus) -> None:
        self._bus: Final = bus
        self._index: Final[Index[Ear]] = Index()
        self._ears: Final[set[Ear]] = set()
        self._types: Final[Counter[str]] = Counter()
        self.subscription: Final = bus.subscribe(
            "runs", accept=self._accepts, wants=self._wants, hears=self._index.wants, capacity=65_536
        )

    def __len__(self) -> int:
        return len(self._ears)

    def add(self, ear: Ear) -> None:
        """Let a run hear."""
        self._ears.add(ear)
        self._index.add(ear, ear.types, ear.anchors)
        new = [name for name in ear.types if not self._types[name]]
        self._types.update(ear.types)
        if new:
            self._bus.reroute()

    def remove(self, ear: Ear) -> None:
        """Let it hear no more."""
        self._ears.discard(ear)
        self._index.remove(ear, ear.types, ear.anchors)
        self._types.subtract(ear.types)
        if not all(self._types[name] for name in ear.types):
            self._bus.reroute()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver until cancelled."""
        task_status.started()
        while True:
            for event in await self.subscription.receive(256):
                found = self._index.find(event.type, target_of(event))
                if event.dest is not None:
                    found = list(dict.fromkeys([*found, *self._index.find(event.type, event.path)]))
                until = time.perf_counter() + SLICE
                for ear in found:
                    ear.hear(event)
                    if time.perf_counter() > until:
                        await self._bus.rest()
                        until = time.perf_counter() + SLICE

    def _wants(self, type_name: str, path: str, maker: Maker) -> bool:
        return any(ear.may_mean(maker) for ear in self._index.find(type_name, path))

    def _accepts(self, event: SemanticEvent) -> bool:
        if not self._index.wants(event.type):
            return False
        if event.dest is not None and self._index.find(event.type, event.dest):
            return True
        return bool(self._index.find(event.type, event.path))
