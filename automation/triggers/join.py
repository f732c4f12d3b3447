"""Several triggers as one: all of them, or some number of them, within a time of each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from automation.expressions import EvaluationError, compile_expression
from automation.facts import event_facts
from automation.triggers.firing import MOST_EVENTS, Firing
from automation.triggers.forms import Join

MOST_KEYS: Final = 10_000


class Joint:
    """Collects the firings of one workflow's triggers by the value of `by`, and lets one through that stands for all
    once enough different triggers have fired. Of one trigger the newest firing counts. At most 10,000 values wait; a
    full table gives up the oldest and counts it in `dropped`. `state` gives the shared state.
    """

    def __init__(self, form: Join, triggers: int, state: Callable[[], dict[str, Any]]) -> None:
        self.form: Final = form
        self.triggers: Final = triggers
        self.dropped = 0
        self._needed: Final = triggers if form.require == "all" else form.require
        self._state: Final = state
        self._by: Final = compile_expression(form.by) if form.by is not None else None
        self._held: Final[dict[str, dict[int, tuple[float, Firing]]]] = {}
        self._given_up: list[Firing] = []

    def __len__(self) -> int:
        return len(self._held)

    def offer(self, firing: Firing, now: float) -> Firing | None:
        """Take a firing; the joint one when it is the last that was missing. `now` in seconds of any steady clock."""
        key = self._key(firing)
        held = self._held.pop(key, {})
        for number, (when, one) in list(held.items()):
            late = self.form.within is not None and now - when > self.form.within
            if late or number == firing.trigger:
                del held[number]
                self._given_up.append(one)
        held[firing.trigger] = (now, firing)
        if len(held) >= self._needed:
            found = [one for _, one in held.values()]
            self._given_up += found
            return _joined(found, key)
        while len(self._held) >= MOST_KEYS:
            oldest = self._held.pop(next(iter(self._held)))
            self._given_up += [one for _, one in oldest.values()]
            self.dropped += 1
        self._held[key] = held
        return None

    def given_up(self) -> list[Firing]:
        """The firings that wait no more, since they were asked for last: joined, replaced, too old or too many."""
        gone, self._given_up = self._given_up, []
        return gone

    def status(self) -> dict[str, Any]:
        """Plain values for a person."""
        out: dict[str, Any] = {"require": self._needed, "of": self.triggers, "waiting": len(self._held)}
        return out | ({"dropped": self.dropped} if self.dropped else {})

    def _key(self, firing: Firing) -> str:
        if self._by is None:
            return ""
        try:
            value = self._by({"event": event_facts(firing.event), "state": self._state(), "vars": {}, "match": None})
        except EvaluationError:
            return ""
        return "" if value is None else str(value)


def _joined(firings: list[Firing], key: str) -> Firing:
    """One firing of several, in their order; the last one's event speaks for all."""
    last = firings[-1]
    merged: dict[str, Any] = {}
    for firing in firings:
        merged.update(firing.input)
    return Firing(
        last.workflow,
        last.trigger,
        "join",
        key or last.key,
        tuple(event for firing in firings for event in firing.events)[-MOST_EVENTS:],
        sum(firing.count for firing in firings),
        merged,
        match=next((firing.match for firing in reversed(firings) if firing.match is not None), None),
        waited=True,
    )
