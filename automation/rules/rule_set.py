"""The detector: events in, firings out; no clock, no task, no file.

A candidate from the index is tested cheapest first: live, path, own effect, fields, conditions, exceptions, cooldown,
rate.
A rule that raises is switched off after `max_failures` (5 unless it says otherwise); the others never notice.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from automation.events import SemanticEvent
from automation.index import Index
from automation.rules.checks import Moment
from automation.rules.rule import Program, Record, Rule

log: Final = logging.getLogger(__name__)

MOST_KEYS: Final = 10_000
HOUR: Final = 3600.0
NOTED: Final = 1024  # decisions that are remembered, of all rules together


class Fired(NamedTuple):
    """A rule's firing: by which event, for which key; `otherwise` when a feedback loop's conditions ceased to hold."""

    rule: Rule
    event: SemanticEvent
    key: str
    otherwise: bool = False


class RuleSet:
    """Every loaded rule by name. Each keeps at most 10,000 keys of cooldowns and of feedback; the oldest go first."""

    def __init__(self) -> None:
        self.on_fault: Callable[[Rule], None] = lambda rule: None
        self.index: Final[Index[Rule]] = Index()
        self.notes: Final[deque[tuple[Rule, SemanticEvent, str]]] = deque(maxlen=NOTED)  # for explain
        self._rules: Final[dict[str, Rule]] = {}

    @property
    def rules(self) -> Mapping[str, Rule]:
        """By name, disabled ones too."""
        return MappingProxyType(self._rules)

    # What is loaded

    def add(self, rule: Rule) -> None:
        """Load a rule, in place of its namesake."""
        old = self._rules.get(rule.name)
        self.file(rule)
        self.switch([old] if old else [], [rule])
        if old is not None:
            self.discard(old)

    def remove(self, name: str) -> None:
        """Unload a rule; an unknown name is no error."""
        rule = self._rules.get(name)
        if rule is not None:
            self.switch([rule], [])
            self.discard(rule)

    def file(self, rule: Rule) -> None:
        """Put a rule into the index, where it does nothing yet."""
        self.index.add(rule, rule.body.types, rule.anchors, rule.body.key)

    def discard(self, rule: Rule) -> None:
        """Take a rule that is live no more out of the index."""
        self.index.remove(rule, rule.body.types, rule.anchors, rule.body.key)

    def switch(self, gone: Iterable[Rule], came: Iterable[Rule]) -> None:
        """Let filed rules take effect and others cease to, in one step."""
        for rule in gone:
            rule.live = False
            if self._rules.get(rule.name) is rule:
                del self._rules[rule.name]
        for rule in came:
            self._rules[rule.name] = rule
            rule.live = rule.enabled and not rule.fault

    def enable(self, rule: Rule, enabled: bool) -> None:
        """Let a rule fire (again), after a fault too, or no more."""
        rule.enabled = enabled
        if enabled:
            rule.fault = ""
            if rule.record is not None:
                rule.record.failures = 0
        rule.live = enabled and not rule.fault

    # What happens

    def feed(
        self, event: SemanticEvent, moment: Moment, now: float, candidates: list[Rule] | None = None
    ) -> list[Fired]:
        """The firings that an event brings about, the highest priority first; `now` in seconds of any steady clock.
        `candidates` are given where they have been asked for before.
        """
        path = event.path if event.dest is None else event.dest
        if candidates is None:
            candidates = self.index.find(event.type, path, event)
        if not candidates:
            return []
        fired = []
        for rule in candidates:
            if rule.live:
                ask = self._ask if rule.found else self.ask
                one = ask(rule, event, path, moment, now)
                if one is not None:
                    fired.append(one)
        if len(fired) > 1:
            fired.sort(key=lambda one: one.rule.body.program.priority)
        return fired

    def ask(self, rule: Rule, event: SemanticEvent, path: str, moment: Moment, now: float) -> Fired | None:
        """Whether one rule fires; under 5 µs without CEL (`bench/rules.py`)."""
        try:
            if (rule.paths or rule.exclude) and not rule.test(path):
                return None
        except Exception as error:
            self._failed(rule, error)
            return None
        return self._ask(rule, event, path, moment, now)

    def _ask(self, rule: Rule, event: SemanticEvent, path: str, moment: Moment, now: float) -> Fired | None:
        """`ask`, for a path that is one of the rule's."""
        try:
            program = rule.body.program
            if event.cause is not None and not program.own and self._own(rule, event.cause.workflow):
                rule.recorded().suppressed["own"] += 1
                self.notes.append((rule, event, "own"))
                return None
            if event.errno is not None and not program.failed:
                return None
            if program.fields is not None and not program.fields(event, moment):
                return None
            holds = program.check is None or program.check(event, moment)
            if program.feedback:
                one = self._feed_back(rule, program, event, moment, now, holds)
                if one is not None:
                    self.notes.append((rule, event, "otherwise" if one.otherwise else "fired"))
                return one
            if not holds or (program.exceptions and self._silenced(rule, program, event, moment)):
                return None
            key = program.key(event, moment)
            if not self._admitted(rule, program, key, event, now):
                return None
            self.notes.append((rule, event, "fired"))
            return Fired(rule, event, key)
        except Exception as error:
            self._failed(rule, error)
            return None

    @staticmethod
    def _own(rule: Rule, workflow: str) -> bool:
        """Whether a workflow that caused an event acts for the rule."""
        return workflow in (rule.workflow, rule.body.program.form.workflow)

    def _feed_back(
        self, rule: Rule, program: Program, event: SemanticEvent, moment: Moment, now: float, holds: bool
    ) -> Fired | None:
        """Fire at the change: when the conditions come to hold for a key, and when they cease to."""
        key = program.key(event, moment)
        record = rule.recorded()
        if holds is (key in record.holding):
            return None
        if holds and self._silenced(rule, program, event, moment):
            return None
        if holds and not self._admitted(rule, program, key, event, now):
            return None
        if not holds:
            record.holding.discard(key)
            return Fired(rule, event, key, otherwise=True) if program.form.otherwise else None
        if len(record.holding) >= MOST_KEYS:
            record.holding.pop()
        record.holding.add(key)
        return Fired(rule, event, key)

    def _silenced(self, rule: Rule, program: Program, event: SemanticEvent, moment: Moment) -> bool:
        for name, silences in program.exceptions:
            if silences(event, moment):
                rule.recorded().suppressed[f"exception {name}"] += 1
                self.notes.append((rule, event, f"exception {name}"))
                return True
        return False

    def _admitted(self, rule: Rule, program: Program, key: str, event: SemanticEvent, now: float) -> bool:
        form, record = program.form, rule.recorded()
        if form.cooldown is not None and now < record.cool_until.get(key, float("-inf")):
            record.suppressed["cooldown"] += 1
            self.notes.append((rule, event, f"cooldown of the key {key!r}" if key else "cooldown"))
            return False
        if form.max_per_hour is not None:
            while record.recent and record.recent[0] <= now - HOUR:
                record.recent.popleft()
            if len(record.recent) >= form.max_per_hour:
                record.suppressed["max_per_hour"] += 1
                self.notes.append((rule, event, f"max_per_hour, {form.max_per_hour}"))
                return False
            record.recent.append(now)
        if form.cooldown is not None:
            _cool(record, key, now + form.cooldown, now)
        record.fired += 1
        record.last_fired_ns = event.ts
        return True

    def _failed(self, rule: Rule, error: Exception) -> None:
        record = rule.recorded()
        record.failures += 1
        try:
            limit = rule.body.program.form.max_failures
        except Exception:
            limit = 1  # what cannot be compiled will not be the next time either
        if record.failures < limit:
            log.info("rule %s failed (%d of %d): %s", rule.name, record.failures, limit, error)
            return
        rule.live = False
        rule.fault = f"it failed {record.failures} times, the last time with: {error}"
        log.warning("rule %s is disabled: %s", rule.name, rule.fault)
        self.on_fault(rule)

    def status(self, rule: Rule) -> dict[str, Any]:
        """Plain values for a person."""
        record = rule.record or Record()
        state = "faulty" if rule.fault else "enabled" if rule.enabled else "disabled"
        out: dict[str, Any] = {"name": rule.name, "file": rule.file, "state": state, "fired": record.fired}
        out |= {"failures": record.failures, "suppressed": dict(record.suppressed)}
        if record.last_fired_ns:
            out["last_fired_ns"] = record.last_fired_ns
        return out | ({"fault": rule.fault} if rule.fault else {})


def _cool(record: Record, key: str, until: float, now: float) -> None:
    cooling = record.cool_until
    if len(cooling) >= MOST_KEYS and key not in cooling:
        for name in [name for name, end in cooling.items() if end <= now] or [next(iter(cooling))]:
            del cooling[name]
    cooling[key] = until
