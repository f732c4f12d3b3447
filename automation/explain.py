"""Why a workflow's triggers, a pattern or a rule did or did not fire: for the last events, what failed first.

Kept all the time are the last 1,024 events that triggers and patterns were asked about, and the last decisions, for
under 0.3 µs an event (`tests/test_explain_events.py`). From the first reading about a definition on, for ten minutes,
further events of its types are kept too, wherever they happen: those show a glob that is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, Protocol

from automation.bus import Bus, Subscription
from automation.dispatcher import Dispatcher
from automation.errors import CallerError
from automation.events import SemanticEvent, covers
from automation.explain_reasons import pattern_reason, rule_reason, trigger_reason
from automation.facts import target_of
from automation.machines.host import Machines
from automation.makers import ANYBODY
from automation.patterns.correlation import CorrelationDetector
from automation.patterns.detector import Detector
from automation.patterns.model import Pattern
from automation.patterns.outcomes import Expired, Match
from automation.provenance.lineage import LINEAGE, Lineage
from automation.rules.checks import Moment
from automation.rules.desk import RuleDesk
from automation.rules.rule import Rule
from automation.state import State
from automation.terminal.mount import ControlFiles
from automation.triggers.on_event import OnEvent
from automation.triggers.on_pattern import OnPattern

SHOWN: Final = 25  # events of each trigger, partial matches and outcomes of a pattern
KEPT: Final = 256
WATCHES: Final = 16
WATCH_SECONDS: Final = 600


class Definitions(Protocol):
    """What is asked of the service."""

    @property
    def bus(self) -> Bus: ...
    @property
    def state(self) -> State: ...
    @property
    def dispatcher(self) -> Dispatcher: ...
    @property
    def rules(self) -> RuleDesk: ...
    @property
    def machines(self) -> Machines: ...
    @property
    def provenance(self) -> Lineage: ...


class _Watch:
    """The last 256 events of some types, everywhere, until `until_ns`; asks for no reads or writes to be traced."""

    def __init__(self, bus: Bus, name: str, types: tuple[str, ...]) -> None:
        self.types: Final = types
        self.events: Final[deque[SemanticEvent]] = deque(maxlen=KEPT)
        self.until_ns = 0
        self._subscription: Final[Subscription] = bus.subscribe(
            f"explain:{name}", types, accept=self._keep, wants=lambda kind, path, maker: False, capacity=1
        )

    def _keep(self, event: SemanticEvent) -> bool:
        self.events.append(event)
        if event.ts > self.until_ns:
            self.close()
        return False

    @property
    def closed(self) -> bool:
        return self._subscription.closed

    def close(self) -> None:
        self._subscription.close()


class Explainer:
    """Explains what a service has loaded; at most 16 definitions are watched at once."""

    def __init__(self, service: Definitions) -> None:
        self._service: Final = service
        self._watches: Final[dict[str, _Watch]] = {}

    def names(self) -> list[str]:
        """Workflows that react, then patterns, then rules and guards; each once."""
        service = self._service
        return list(
            dict.fromkeys((*service.dispatcher.names, *service.dispatcher.patterns.names(), *service.rules.names()))
        )

    def knows(self, name: str) -> bool:
        """Whether there is something to explain."""
        service = self._service
        return bool(
            name in service.dispatcher.names or service.dispatcher.patterns.knows(name) or service.rules.knows(name)
        )

    def explain(self, name: str) -> dict[str, Any]:
        """All that is known about a name, as plain values; CallerError when it stands for nothing."""
        service = self._service
        LINEAGE.set(service.provenance)
        out: dict[str, Any] = {"name": name}
        if name in service.dispatcher.names:
            out["triggers"] = self._workflow(name)
        if service.dispatcher.patterns.knows(name):
            out["pattern"] = self._pattern(name)
        if service.rules.knows(name):
            out["rule"] = self._rule(name)
        if len(out) == 1:
            raise CallerError(f"there is no workflow, pattern or rule called {name!r} that reacts")
        return out

    def _workflow(self, name: str) -> list[dict[str, Any]]:
        triggers = self._service.dispatcher.triggers(name)
        types = [kind for one in triggers if isinstance(one, OnEvent) for kind in one.form.types]
        events = self._events(f"workflow {name}", types, self._service.dispatcher.recent)
        out = []
        for number, trigger in enumerate(triggers):
            shown: dict[str, Any] = {"trigger": number}
            shown |= {"type": "manual"} if trigger is None else trigger.status()
            if isinstance(trigger, OnEvent):
                shown["events"] = [_line(event, self._fate(trigger, event)) for event in events[-SHOWN:]]
            elif isinstance(trigger, OnPattern):
                shown |= self._match_fates(trigger)
            out.append(shown)
        return out

    def _fate(self, trigger: OnEvent, event: SemanticEvent) -> str:
        for noted, said in reversed(trigger.notes):
            if any(one is event for one in noted):
                return said
        reason = trigger_reason(trigger, event, self._service.state.view(), trigger.variables)
        return f"not: {reason}" if reason else trigger.waiting(event) or "matched, before this trigger was loaded"

    def _match_fates(self, trigger: OnPattern) -> dict[str, Any]:
        patterns = self._service.dispatcher.patterns
        if not patterns.knows(trigger.pattern):
            return {"problem": f"there is no pattern called {trigger.pattern!r}"}
        notes = list(trigger.notes)[-SHOWN:]
        shown = [
            f"{match.id[:16]} {_when(match.ts)} confidence {match.confidence:.3f}: {said}" for match, said in notes
        ]
        return {"matches": shown, "see": f"explain/{trigger.pattern}"}

    def _pattern(self, name: str) -> dict[str, Any]:
        desk = self._service.dispatcher.patterns
        out = desk.status(name)
        definition, detector, appetite = desk.definition(name), desk.detector(name), desk.appetite(name)
        found = [one for one in desk.outcomes if isinstance(one, Match | Expired) and one.pattern == name]
        if isinstance(detector, Detector):
            out["stands"] = detector.standing(SHOWN)
        out["found"] = [
            f"{one.id[:16]} {_when(one.ts if isinstance(one, Match) else one.deadline)}"
            f" {'matched' if isinstance(one, Match) else 'ran out of time'}: {_steps(one)}"
            for one in found[-SHOWN:]
        ]
        if appetite is None or isinstance(detector, CorrelationDetector) or not isinstance(definition, Pattern):
            return out
        types = [kind for kinds, _ in appetite.interests for kind in kinds or ("*",)]
        recent = [event for event in desk.recent if appetite.wants(event.type, event.path, ANYBODY)]
        used = {
            event.seq: f"used by {one.id[:16]}" for one in found for events in one.steps.values() for event in events
        }
        held = {
            seq: f"held as {step}"
            for one in (detector.standing(KEPT) if detector is not None else ())
            for step, seqs in one["has"].items()
            for seq in seqs
        }
        events = self._events(f"pattern {name}", types, recent)[-SHOWN:]
        out["events"] = [
            _line(event, held.get(event.seq) or used.get(event.seq) or "not: " + pattern_reason(definition, event))
            for event in events
        ]
        return out

    def _rule(self, name: str) -> dict[str, Any]:
        rule = self._service.rules.find(name)
        out = self._service.rules.status(name)
        if isinstance(rule, Rule):
            moment = Moment(self._service.state.view(), time.time(), self._service.machines.holds)
            rules = self._service.rules
            fates = {event.seq: fate for one, event, fate in rules.set.notes if one is rule and event.seq}
            recent = [e for e in rules.recent if any(covers(kind, e.type) for kind in rule.body.types)]
            events = self._events(f"rule {name}", rule.body.types, recent)[-SHOWN:] if rule.body.types else []
            out["events"] = [_line(e, _rule_fate(fates.get(e.seq, ""), rule, e, moment)) for e in events]
            if rule.body.every is not None:
                times = [(event.ts, fate) for one, event, fate in rules.set.notes if one is rule]
                out["looked"] = [f"{_when(ts)} {_noted(fate)}" for ts, fate in times[-SHOWN:]]
        return out

    def _events(self, name: str, types: Iterable[str], recent: Iterable[SemanticEvent]) -> list[SemanticEvent]:
        """What is known of the types, oldest first; from now on more is."""
        wanted = tuple(dict.fromkeys(types))
        watch = self._watches.get(name)
        if watch is None or watch.closed or watch.types != wanted:
            if watch is not None:
                self._watches.pop(name).close()
            while len(self._watches) >= WATCHES:
                self._watches.pop(next(iter(self._watches))).close()
            watch = self._watches[name] = _Watch(self._service.bus, name, wanted)
        watch.until_ns = time.time_ns() + WATCH_SECONDS * 10**9
        return sorted({event.seq: event for event in (*recent, *watch.events)}.values(), key=lambda event: event.seq)


def _rule_fate(noted: str, rule: Rule, event: SemanticEvent, moment: Moment) -> str:
    if noted:
        return _noted(noted)
    if reason := rule_reason(rule, event, moment):
        return f"not: {reason}"
    if not rule.live:
        return f"not: {rule.fault or 'it is disabled'}"
    return "holds, as it did before" if rule.body.program.feedback else "fits, but the rule was not there or off then"


def _noted(fate: str) -> str:
    return {"fired": "fired", "otherwise": "fired: otherwise"}.get(fate, f"not fired: {fate}")


def _line(event: SemanticEvent, fate: str) -> str:
    return f"{event.seq} {_when(event.ts)} {event.type} {target_of(event)}: {fate}"


def _steps(one: Match | Expired) -> str:
    return ", ".join(f"{name} {[event.seq for event in events][-SHOWN:]}" for name, events in one.steps.items())


def _when(ns: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(ns / 1e9)) + f".{ns // 1_000_000 % 1000:03d}"


def main(argv: list[str] | None = None) -> int:
    """`vexfs explain`: shows `/.vexfs/explain/NAME`, or the names; 1 if the mount does not know it, 2 without one."""
    parser = argparse.ArgumentParser(prog="vexfs explain", description="why something did or did not fire")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    parser.add_argument("name", nargs="?", metavar="NAME", help="a workflow, pattern or rule (default: list them)")
    arguments = parser.parse_args(argv)
    try:
        folder = os.path.join(ControlFiles(arguments.mountpoint).path, "explain")
        if arguments.name is None:
            print("\n".join(os.listdir(folder)))
            return 0
        with open(os.path.join(folder, arguments.name), encoding="utf-8") as file:
            sys.stdout.write(file.read())
    except CallerError as error:
        print(f"vexfs explain: {error}", file=sys.stderr)
        return 2
    except FileNotFoundError:
        told = f"there is no workflow, pattern or rule called {arguments.name!r} that reacts"
        print(f"vexfs explain: {told}; without a name all are listed", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"vexfs explain: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0
