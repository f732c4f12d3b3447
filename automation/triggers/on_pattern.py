"""The pattern trigger: which matches of its pattern fire."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from automation.expressions import EvaluationError, compile_expression
from automation.facts import event_facts, target_of
from automation.patterns.outcomes import Match
from automation.triggers.firing import MOST_EVENTS, Firing
from automation.triggers.forms import PatternTrigger
from automation.triggers.on_event import MOST_COOLING

MOST_SHOWN: Final = 100
MOST_NOTES: Final = 64


class OnPattern:
    """One pattern trigger of one workflow; `pattern` is the name of what it waits for. What matched and did not fire
    is counted in `suppressed`; `notes` says of the last matches what became of them.
    """

    def __init__(
        self,
        workflow: str,
        number: int,
        form: PatternTrigger,
        *,
        variables: Mapping[str, Any],
        state: Callable[[], dict[str, Any]],
    ) -> None:
        self.workflow: Final = workflow
        self.number: Final = number
        self.form: Final = form
        self.pattern: Final = form.pattern_name(workflow, number)
        self.fired = 0
        self.suppressed: Final[Counter[str]] = Counter()
        self.notes: Final[deque[tuple[Match, str]]] = deque(maxlen=MOST_NOTES)
        self.last_error = ""
        self._key: Final = compile_expression(form.key)
        self._variables: Final = dict(variables)
        self._state: Final = state
        self._cool_until: Final[dict[str, float]] = {}

    def fire(self, match: Match, now: float) -> list[Firing]:
        """The firing that a match makes, if it makes one; `now` in seconds of any steady clock."""
        key = self._key_of(match)
        why = self._held_back(match, key, now)
        self.notes.append((match, f"not fired: {why}" if why else "fired"))
        if why:
            self.suppressed[why] += 1
            return []
        self.fired += 1
        events = match.events
        return [
            Firing(
                self.workflow,
                self.number,
                "pattern",
                key,
                tuple(events[-MOST_EVENTS:]),
                max(1, len(events)),
                match=match,
            )
        ]

    def status(self) -> dict[str, Any]:
        """Plain values for a person."""
        out = {"type": "pattern", "pattern": self.pattern, "fired": self.fired, "waiting": 0}
        out |= {"suppressed": dict(self.suppressed)}
        return out | ({"last_error": self.last_error} if self.last_error else {})

    def rows(self) -> Iterator[Any]:
        """What it remembers, in one row."""
        cooling, counts = dict(self._cool_until), dict(self.suppressed)
        yield {"form": self.form.model_dump_json(), "fired": self.fired, "suppressed": counts, "cooling": cooling}

    def resume(self, rows: Sequence[Any]) -> bool:
        """Go on from what another remembered; False if that was another trigger."""
        kept = rows[0]
        if kept["form"] != self.form.model_dump_json():
            return False
        self.fired = kept["fired"]
        self.suppressed.update(kept["suppressed"])
        self._cool_until.update(kept["cooling"])
        return True

    def _held_back(self, match: Match, key: str, now: float) -> str:
        if match.confidence < self.form.confidence_threshold:
            return "confidence"
        if not self.form.own and any(e.cause is not None and e.cause.workflow == self.workflow for e in match.events):
            return "own"
        if self.form.cooldown is not None:
            if now < self._cool_until.get(key, float("-inf")):
                return "cooldown"
            self._cool(key, now, self.form.cooldown)
        return ""

    def _key_of(self, match: Match) -> str:
        last = match.events[-1]
        if self.form.key == "event.target":
            return target_of(last)
        variables = {"event": event_facts(last), "state": self._state(), "vars": self._variables}
        try:
            return str(self._key({**variables, "match": match_facts(match)}))
        except EvaluationError as error:
            self.last_error = str(error)
            return ""

    def _cool(self, key: str, now: float, cooldown: float) -> None:
        if len(self._cool_until) >= MOST_COOLING and key not in self._cool_until:
            over = [name for name, until in self._cool_until.items() if until <= now]
            for name in over or [next(iter(self._cool_until))]:
                del self._cool_until[name]
        self._cool_until[key] = now + cooldown


def match_facts(match: Match) -> dict[str, Any]:
    """What templates see as `match`: the last 100 events of each step, and the last 100 distinct targets of all."""
    paths = list(dict.fromkeys(target_of(event) for event in match.events))
    return {
        "id": match.id,
        "pattern": match.pattern,
        "confidence": match.confidence,
        "ts": match.ts,
        "on": match.on,
        "count": len(match.events),
        "steps": {name: [event_facts(event) for event in events[-MOST_SHOWN:]] for name, events in match.steps.items()},
        "paths": paths[-MOST_SHOWN:],
        "values": dict(match.values),
    }
