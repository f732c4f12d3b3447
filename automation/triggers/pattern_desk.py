"""From the bus to matches: keeps the patterns of all definitions, feeds them, owns their time, tells of what they find.

    bus ─► accept (index, in `publish`) ─► queue ─► pattern set ─► pattern.matched ─► triggers ─► launcher
                                  deadlines ─►┘

The queue holds 65,536 events of those that some pattern could need; a full one drops the oldest, which the bus counts
and announces. A pattern that raises is disabled with its reason; the others never notice.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import trio

from automation.announcements import Announcements
from automation.bus import Bus
from automation.errors import CallerError
from automation.events import Cause, SemanticEvent
from automation.facts import target_of
from automation.index import Index
from automation.launcher import Launcher
from automation.makers import Maker
from automation.memory.desk import Rows, Step
from automation.memory.records import Records
from automation.patterns.appetite import Appetite, appetite_of
from automation.patterns.correlation import CorrelationDetector
from automation.patterns.detector import Detector
from automation.patterns.loading import Definition, detect
from automation.patterns.outcomes import Expired, Failed, Match, Outcome, Overflow, Steps
from automation.patterns.routing import PatternSet
from automation.triggers.on_pattern import MOST_SHOWN, OnPattern
from automation.turns import Turns

log: Final = logging.getLogger(__name__)

Names = Collection[str]
QUEUE: Final = 65_536
BATCH: Final = 256
RECHECK_SECONDS: Final = 300.0  # the wall clock may be set
RECENT: Final = 1024  # events, and outcomes, that `explain` can look back on


class _Kept:
    """A pattern that some definition holds; `appetite` is None while it is disabled."""

    __slots__ = ("appetite", "definition", "detector", "owner")

    def __init__(self, owner: str, definition: Definition) -> None:
        self.owner: Final = owner
        self.definition: Final = definition
        self.detector: Detector | CorrelationDetector | None = None
        self.appetite: Appetite | None = None


class PatternDesk:
    """`wall` is seconds since the epoch. An event at the end of a chain of `depth_limit` automations is part of no
    match and is announced once as `system.overload`.
    """

    def __init__(
        self,
        bus: Bus,
        launcher: Launcher,
        *,
        depth_limit: int,
        wall: Callable[[], float],
        capacity: int = QUEUE,
        records: Records | None = None,
        max_partials: int | None = None,
    ) -> None:
        self.paused = False
        self.records: Final = records or Records(wall=wall)
        self.set: Final = PatternSet() if max_partials is None else PatternSet(max_partials=max_partials)
        self.recent: Final[deque[SemanticEvent]] = deque(maxlen=RECENT)
        self.outcomes: Final[deque[Outcome]] = deque(maxlen=RECENT)
        self._bus: Final = bus
        self._launcher: Final = launcher
        self._depth_limit: Final = depth_limit
        self._wall: Final = wall
        self._kept: Final[dict[str, _Kept]] = {}
        self._triggers: Final[dict[str, list[OnPattern]]] = {}
        self._index: Final[Index[Appetite]] = Index()
        self._index.reshape = bus.reshape
        self._successes_only: Final[set[str]] = set()
        self._switched: Final = self.records.switches("pattern")
        self._earlier: dict[str, Sequence[Any]] = {}
        self._announcements: Final = Announcements(bus)
        self.subscription: Final = bus.subscribe(
            "patterns",
            accept=self._accepts,
            wants=self._wants,
            hears=self._hears,
            takes=self._takes,
            places=self._index,
            capacity=capacity,
        )
        self._turns: Final = Turns(bus, self.subscription)

    # What is kept

    def install(self, owner: str, patterns: Mapping[str, Definition]) -> None:
        """Keep the patterns of a definition, in place of those that it held before; what unchanged ones have seen
        stays. A name that another definition holds is left to that one.
        """
        for name in [n for n, kept in self._kept.items() if kept.owner == owner and patterns.get(n) != kept.definition]:
            self._drop(name)
        for name, definition in patterns.items():
            if name in self._kept:
                if self._kept[name].owner != owner:
                    log.warning("the pattern %s of %s is not used: %s holds it", name, owner, self._kept[name].owner)
                continue
            self._kept[name] = kept = _Kept(owner, definition)
            if self._switched.get(name, True):
                self._activate(name, kept)
        self._turns.wake()

    def remove(self, owner: str) -> None:
        """Forget the patterns of a definition, and what they have seen."""
        self.install(owner, {})

    def attach(self, trigger: OnPattern) -> None:
        """Let a trigger hear of its pattern's matches; the pattern may come later."""
        self._triggers.setdefault(trigger.pattern, []).append(trigger)
        self._hand_back(f"trigger {trigger.workflow} {trigger.number}", trigger)

    def detach(self, trigger: OnPattern) -> None:
        """Let a trigger hear nothing more."""
        left = [one for one in self._triggers.get(trigger.pattern, ()) if one is not trigger]
        if left:
            self._triggers[trigger.pattern] = left
        else:
            self._triggers.pop(trigger.pattern, None)

    def enable(self, name: str, enabled: bool) -> None:
        """Let a pattern look (again), with nothing seen so far, or no more. CallerError when there is none."""
        kept = self._find(name)
        self._switched[name] = enabled
        if not enabled:
            self._deactivate(name, kept)
        elif kept.appetite is None or name in self.set.failed:
            self._deactivate(name, kept)
            self._activate(name, kept)
        self._publish_definition(name, kept.owner, "enabled" if enabled else "disabled")

    def _activate(self, name: str, kept: _Kept) -> None:
        kept.detector = detect(kept.definition)
        self._hand_back(f"pattern {name}", kept.detector)
        kept.appetite = appetite_of(kept.definition, kept.detector)
        self.set.add(kept.detector)
        for types, anchors in kept.appetite.places():
            self._index.add(kept.appetite, types, anchors)
        if not kept.appetite.failures:
            self._successes_only.add(name)
        self._bus.reroute()

    def _deactivate(self, name: str, kept: _Kept) -> None:
        if kept.appetite is not None:
            self._forget(kept.appetite)
            self.set.remove(name)
            self._successes_only.discard(name)
            kept.detector = kept.appetite = None
            self._bus.reroute()

    def _ignore(self, name: str) -> None:
        """Ask the bus for nothing more on behalf of a pattern that failed."""
        appetite = self._kept[name].appetite
        if appetite is not None:
            self._forget(appetite)
            self._bus.reroute()

    def _forget(self, appetite: Appetite) -> None:
        for types, anchors in appetite.places():
            self._index.remove(appetite, types, anchors)

    def _drop(self, name: str) -> None:
        self._deactivate(name, self._kept.pop(name))

    # For people

    def names(self) -> list[str]:
        """Of every pattern."""
        return list(self._kept)

    def knows(self, name: str) -> bool:
        """Whether there is a pattern of that name."""
        return name in self._kept

    def enabled(self, name: str) -> bool:
        """Whether a pattern looks."""
        return self._find(name).appetite is not None and name not in self.set.failed

    def definition(self, name: str) -> Definition:
        """A pattern as it was loaded."""
        return self._find(name).definition

    def detector(self, name: str) -> Detector | CorrelationDetector | None:
        """What looks for a pattern, None while it is disabled."""
        return self._find(name).detector

    def appetite(self, name: str) -> Appetite | None:
        """What a pattern needs to see, None while it is disabled."""
        return self._find(name).appetite

    def triggers(self, name: str) -> tuple[OnPattern, ...]:
        """The triggers that wait for a pattern."""
        return tuple(self._triggers.get(name, ()))

    def status(self, name: str) -> dict[str, Any]:
        """Plain values about a pattern."""
        kept = self._find(name)
        fault = self.set.failed.get(name, "")
        state = "faulty" if fault else "enabled" if kept.detector is not None else "disabled"
        out: dict[str, Any] = {"name": name, "definition": kept.owner, "state": state}
        out |= {"fault": fault} if fault else {}
        out["starts"] = [f"{t.workflow} (trigger {t.number})" for t in self.triggers(name)]
        return out | (kept.detector.status() if kept.detector is not None else {})

    def _find(self, name: str) -> _Kept:
        kept = self._kept.get(name)
        if kept is None:
            raise CallerError(f"there is no pattern called {name!r}")
        return kept

    # Events and time

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        task_status.started()
        await self._turns.serve(self.step, self._deadline)

    def step(self) -> None:
        """Take a batch of events and, once the queue is empty, everything that is due."""
        batch = self.subscription.receive_nowait(self._bus.batch(BATCH))
        if self.paused:
            return
        now, wall = self.records.clock.now(), self._wall()
        deadline, last = self.set.deadline(), not self.subscription.ready
        if batch or (last and deadline is not None and deadline <= int(wall * 1e9)):
            with self.records.step("patterns", batch, now, wall):
                if last:
                    self.records.note("last")
                self._take(batch, now, wall, last)

    def _take(self, events: Sequence[SemanticEvent], now: float, wall: float, last: bool, without: Names = ()) -> None:
        """Take events; let time pass after the `last` of those that wait."""
        for event in events:
            self._feed(event, now, without)
        if last:
            self._tell(self.set.advance(int(wall * 1e9)), now)

    # Over restarts

    def parts(self) -> Iterator[tuple[str, Rows]]:
        """What patterns and triggers remember."""
        for name, kept in list(self._kept.items()):
            if kept.detector is not None:
                yield f"pattern {name}", kept.detector.rows
        for trigger in [one for found in self._triggers.values() for one in found]:
            yield f"trigger {trigger.workflow} {trigger.number}", trigger.rows

    def recall(self, parts: Mapping[str, Sequence[Any]]) -> None:
        """Patterns and triggers that come get back what they knew."""
        self._earlier = dict(parts)

    def replay(self, events: Sequence[SemanticEvent], step: Step, without: Names) -> None:
        """Take events as before."""
        names = {name.removeprefix("pattern ") for name in without}
        self._take(events, step.now, step.wall, "last" in step.notes, names)

    def recovered(self) -> None:
        """What nobody asked for is forgotten."""
        self._earlier = {}
        self._turns.wake()

    def _hand_back(self, name: str, one: Detector | CorrelationDetector | OnPattern) -> None:
        rows = self._earlier.pop(name, None)
        try:
            if rows and not one.resume(rows):
                log.info("the %s has changed: it begins anew", name)
        except Exception as error:
            log.warning("the %s cannot go on from the last mount: %r", name, error)

    def resume(self) -> None:
        """Look again, at what happens from now on."""
        self.paused = False
        self._turns.wake()

    def _feed(self, event: SemanticEvent, now: float, without: Names) -> None:
        if event.cause is not None and event.cause.depth >= self._depth_limit:
            self._announcements.depth(event, event.cause, self._depth_limit)
            return
        self.recent.append(event)
        outcomes = self.set.advance(event.ts)
        left_out = self._left_out(event)
        outcomes += self.set.feed(event, event.ts, without=left_out if not without else {*(left_out or ()), *without})
        if outcomes:
            self._tell(outcomes, now)

    def _left_out(self, event: SemanticEvent) -> set[str] | None:
        """A pattern is not told of its own matches; failed operations are for those that ask about `errno`."""
        if event.errno is not None:
            return self._successes_only
        return {str(event.attrs.get("pattern"))} if event.type.startswith("pattern.") else None

    def _tell(self, outcomes: list[Outcome], now: float) -> None:
        for outcome in outcomes:
            self.outcomes.append(outcome)
            match outcome:
                case Match():
                    self._matched(outcome, now)
                case Expired():
                    attrs = {"id": outcome.id, "deadline": outcome.deadline}
                    self._publish("pattern.expired", outcome.pattern, outcome.steps, attrs)
                case Failed():
                    owner = self._kept[outcome.pattern].owner
                    self._publish_definition(outcome.pattern, owner, "failed", outcome.reason)
                    self._ignore(outcome.pattern)
                case Overflow():
                    attrs = {"reason": "pattern", "pattern": outcome.pattern, "what": outcome.what}
                    attrs |= {"dropped": outcome.total}
                    self._announcements.overload(f"pattern {outcome.pattern}", "", attrs)

    def _matched(self, match: Match, now: float) -> None:
        self._publish("pattern.matched", match.pattern, match.steps, match_attrs(match))
        for trigger in self.triggers(match.pattern):
            try:
                firings = trigger.fire(match, now)
            except Exception:
                log.exception("the trigger %d of %s met a bug", trigger.number, trigger.workflow)
                continue
            for firing in firings:
                self._launcher.admit(firing)

    def _publish(self, type_name: str, pattern: str, steps: Steps, attrs: dict[str, Any]) -> None:
        if self._bus.heard(type_name):
            self._bus.publish(found_event(type_name, pattern, steps, attrs))
        else:
            self._bus.skip(type_name)

    def _publish_definition(self, name: str, owner: str, status: str, reason: str = "") -> None:
        attrs = {"name": name, "file": owner, "kind": "pattern", "status": status}
        self._bus.publish(SemanticEvent("system.definition", attrs=attrs | ({"reason": reason} if reason else {})))

    def _deadline(self) -> float:
        """In trio's time."""
        deadline = None if self.paused else self.set.deadline()
        if deadline is None:
            return float("inf")
        left = (deadline - int(self._wall() * 1e9)) / 1e9
        return trio.current_time() + min(RECHECK_SECONDS, max(0.0, left) + 0.001)

    # What is asked of the bus

    def _wants(self, type_name: str, path: str, maker: Maker) -> bool:
        return any(appetite.wants(type_name, path, maker) for appetite in self._index.find(type_name, path))

    def _hears(self, type_name: str) -> bool:
        return self._index.wants(type_name)

    def _takes(self, type_name: str, path: str, dest: str | None) -> bool:
        return not self.paused and bool(self._index.find(type_name, path))

    def _accepts(self, event: SemanticEvent) -> bool:
        return not self.paused and bool(self._index.find(event.type, event.path))


def found_event(
    type_name: str, pattern: str, steps: Steps, attrs: Mapping[str, Any], ts: int | None = None
) -> SemanticEvent:
    """The event that tells of a match or of a partial one that ran out of time; `attrs` holds its `id`."""
    events = [event for found in steps.values() for event in found]
    last = max(events, key=lambda event: event.seq)
    depth = max((event.cause.depth for event in events if event.cause is not None), default=0)
    shown = {
        name: [{"seq": event.seq, "type": event.type, "path": target_of(event)} for event in found[-MOST_SHOWN:]]
        for name, found in steps.items()
    }
    return SemanticEvent(
        type_name,
        target_of(last),
        inode=last.inode,
        size=last.size,
        pid=last.pid,
        uid=last.uid,
        gid=last.gid,
        comm=last.comm,
        tenant=last.tenant,
        cause=Cause(f"match {attrs['id'][:16]}", f"pattern {pattern}", depth + 1),
        attrs={"pattern": pattern, **attrs, "steps": shown},
        ts=ts,
    )


def match_attrs(match: Match) -> dict[str, Any]:
    """What `pattern.matched` says beside the pattern and the steps."""
    attrs = {"id": match.id, "confidence": round(match.confidence, 6), "on": match.on}
    return attrs | ({"values": dict(match.values)} if match.values else {})
