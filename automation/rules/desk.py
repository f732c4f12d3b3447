"""From the bus to firings: keeps the books, feeds the detector, starts what rules ask for.

    bus ─► accept (index, in `publish`) ─► queue ─► rule set ─► rule.fired ─► launcher
                       proactive rules' deadlines ─►┘

The queue holds 65,536 events of those that some rule could want; a full one drops the oldest, which the bus counts and
announces. Books change in one step: what is new is filed beforehand, a few hundred rules at a time, and what is old is
taken out afterwards.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import trio

from automation.announcements import Announcements
from automation.bus import Bus
from automation.definitions import Workflow
from automation.errors import CallerError, DefinitionError
from automation.events import Cause, SemanticEvent
from automation.expressions import nearest
from automation.guards.guard import Guard
from automation.guards.guards import Guards
from automation.launcher import Launcher
from automation.makers import Maker
from automation.memory.desk import Rows, Step
from automation.memory.records import Records
from automation.rules.book import Book, check_book, vocabulary
from automation.rules.checks import Moment, Standing, nowhere
from automation.rules.rule import PREFIX, Rule, Shelf
from automation.rules.rule_set import Fired, RuleSet
from automation.rules.vocabulary import Vocabulary, names_in
from automation.state import State
from automation.triggers.firing import Firing
from automation.triggers.pending import Pending
from automation.turns import Turns

log: Final = logging.getLogger(__name__)

QUEUE: Final = 65_536
BATCH: Final = 256
SLICE: Final = 0.001  # seconds of filing rules between two looks at requests
PAUSE_EVERY: Final = 1000  # rules that are asked whether they remember anything, between two looks at requests
RECENT: Final = 1024  # events that some rule was asked about, kept for `explain`
PORTION: Final = 200  # rules taken out between two looks at requests: about 2 ms


class RuleDesk:
    """Owns time for the rules. `wall` is seconds since the epoch. An event at the end of a chain of `depth_limit`
    automations fires nothing and is announced once as `system.overload`.
    """

    def __init__(
        self,
        bus: Bus,
        launcher: Launcher,
        state: State,
        guards: Guards,
        *,
        depth_limit: int = 8,
        wall: Callable[[], float] = time.time,
        records: Records | None = None,
    ) -> None:
        self.paused = False
        self.standing: Standing = nowhere  # where machines stand, once there are any
        self.records: Final = records or Records(wall=wall)
        self.guards: Final = guards
        self.set: Final = RuleSet()
        self.recent: Final[deque[SemanticEvent]] = deque(maxlen=RECENT)
        self.books: Final[dict[str, Book]] = {}
        self.words = Vocabulary()
        self._bus: Final = bus
        self._launcher: Final = launcher
        self._state: Final = state
        self._depth_limit: Final = depth_limit
        self._wall: Final = wall
        self._shelf: Final = Shelf()
        self._by_book: Final[dict[str, list[Rule]]] = {}
        self._prepared: dict[str, list[Rule]] = {}
        self._gone: Final[deque[Rule]] = deque()
        self._candidates: Final[dict[int, list[Rule]]] = {}  # of the events that wait, by number
        self._deadlines: Final[Pending[Rule]] = Pending(10_000_000)
        self._announcements: Final = Announcements(bus)
        self._switched: Final = self.records.switches("rule")
        self._earlier: dict[str, Sequence[Any]] = {}
        self.set.index.reroute = bus.reroute
        self.set.index.reshape = bus.reshape
        self.set.on_fault = self._faulty
        self.subscription: Final = bus.subscribe(
            "rules",
            accept=self._accepts,
            wants=self._wants,
            hears=self._hears,
            places=self.set.index,
            capacity=QUEUE,
        )
        self._turns: Final = Turns(bus, self.subscription)

    # Books

    def check(self, book: Book, pending: Iterable[Book] = ()) -> list[DefinitionError]:
        """Everything that is wrong with a book beside those that are loaded, and those that come with it."""
        files = {one.file: one for one in (*self.books.values(), *pending)}
        others = [one for one in files.values() if one.file != book.file]
        words, errors = vocabulary([*others, book])
        own = [error for error in errors if error.path == book.file]
        taken = {name: one.file for one in others for name in (*one.rule_names, *one.guard_names)}
        return own or check_book(book, words, taken)

    async def prepare(self, book: Book) -> None:
        """File what is new in a book, letting requests pass in between; `install` makes it take effect."""
        words, _ = vocabulary([*(one for one in self.books.values() if one.file != book.file), book])
        self._abandon(self._prepared.pop(book.file, []))  # what was never installed
        prepared: list[Rule] = []
        present = {rule.name: rule for rule in self._by_book.get(book.file, ())}
        source, _ = book.contents()
        try:
            until = time.perf_counter() + SLICE
            for raw in source.value.get("rules", ()):
                prepared.append(self._filed(book.file, raw, words, present))
                if self._bus.pace is not None:  # the first event must not pay for compiling all rules
                    prepared[-1].body.compile()
                if time.perf_counter() > until:
                    await trio.lowlevel.checkpoint()
                    until = time.perf_counter() + SLICE
        except ValueError:  # what it needs may come with the next file; `install` will see
            self._abandon(prepared)
        else:
            self._prepared[book.file] = prepared

    def install(self, book: Book) -> None:
        """Let a book take effect, in place of what its file held before. Rules that say the same as before go on as
        they are, with all that they remember.
        """
        old = self.books.get(book.file)
        self.books[book.file] = book
        self._refresh(book)
        self._follow(old, book)

    def remove(self, book: Book) -> None:
        """Let what a file holds take effect no more."""
        old = self.books.pop(book.file, None)
        if old is None:
            return
        self._retire(self._by_book.pop(book.file, []), [])
        self.guards.switch([g for g in self.guards.guards.values() if g.file == book.file], [])
        self._follow(old, None)

    def _use(self, book: Book) -> None:
        self.words, _ = vocabulary(self.books.values())
        source, form = book.contents()
        guards = [Guard(one, book.file, self.words) for one in (*form.guards, *form.system.guards(book.name))]
        rules = self._prepared.pop(book.file, None)
        if rules is None:
            rules = []
            present = {rule.name: rule for rule in self._by_book.get(book.file, ())}
            try:
                for raw in source.value.get("rules", ()):
                    rules.append(self._filed(book.file, raw, self.words, present))
            except ValueError:
                self._abandon(rules)
                raise
        for rule in rules:
            rule.enabled = self._switched.get(rule.name, rule.enabled)
        for guard in guards:
            guard.enabled = self._switched.get(guard.name, guard.enabled)
        old, self._by_book[book.file] = self._by_book.get(book.file, []), rules
        self._retire(old, rules)
        self.guards.switch([g for g in self.guards.guards.values() if g.file == book.file], guards)

    def _abandon(self, rules: list[Rule]) -> None:
        """Take filed rules that never took effect out of the index again, in time."""
        self._gone.extend(rule for rule in rules if self.set.rules.get(rule.name) is not rule)
        self._turns.wake()

    def _filed(self, file: str, raw: Mapping[str, Any], words: Vocabulary, present: Mapping[str, Rule]) -> Rule:
        rule = self._shelf.rule(file, raw, words)
        old = present.get(rule.name)
        if old is not None and old.same(rule):
            old.enabled = rule.enabled
            return old
        self.set.file(rule)
        return rule

    def _retire(self, old: list[Rule], new: list[Rule]) -> None:
        kept = set(new)
        gone = [rule for rule in old if rule not in kept]
        self.set.switch(gone, new)
        for rule in gone:
            self._launcher.remove(rule.workflow)
            self._launcher.remove(f"{rule.workflow}/otherwise")
            self._deadlines.pop(rule.name)
        now = self.records.clock.now()
        known = set(old)
        for rule in new:
            if rule not in known:
                self._schedule(rule, now)
                self._hand_back(rule)
        self._gone.extend(gone)
        if len(self._gone) <= PORTION:
            self._sweep()
        self._turns.wake()

    def _sweep(self) -> None:
        for _ in range(min(PORTION, len(self._gone))):
            self.set.discard(self._gone.popleft())

    def _follow(self, old: Book | None, new: Book | None) -> None:
        """Lists or macros changed: the books that use them are filed anew."""
        names: set[str] = set()
        for book in (old, new):
            if book is not None:
                names |= book.lists.keys() | book.macros.keys()
        changed = {name for name in names if old is None or new is None or _meaning(old, name) != _meaning(new, name)}
        if not changed:
            return
        self.words, _ = vocabulary(self.books.values())
        related = self._related(changed)
        for book in self.books.values():
            if book is not new and book.words_used & related:
                self._refresh(book)

    def _refresh(self, book: Book) -> None:
        try:
            self._use(book)
        except (ValueError, DefinitionError) as error:
            reason = f"what {book.file} says rests on another file: {error}"
            log.warning("%s", reason)
            for rule in self._by_book.get(book.file, []):
                rule.fault, rule.live = reason, False
            self._publish(book.name, book.file, "refused", reason)
        book.forget()

    def _related(self, changed: set[str]) -> set[str]:
        """The changed names, and those whose meaning rests on them."""
        related = set(changed)
        for _ in range(16):
            more = {name for name, items in self.words.lists.items() if names_in(list(items)) & related}
            more |= {name for name, text in self.words.macros.items() if names_in(text) & related}
            if more <= related:
                break
            related |= more
        return related

    # Single rules and guards

    def enable(self, name: str, enabled: bool) -> None:
        """Let a rule or guard act (again), or no more, until it is said anew; CallerError when there is none."""
        self._switched[name] = enabled
        one = self.find(name)
        if isinstance(one, Rule):
            self.set.enable(one, enabled)
        else:
            self.guards.enable(one, enabled)
        self._publish(name, one.file, "enabled" if enabled else "disabled")

    def find(self, name: str) -> Rule | Guard:
        """The rule or guard of that name."""
        found = self.set.rules.get(name) or self.guards.guards.get(name)
        if found is None:
            raise CallerError(f"there is no rule or guard called {name!r}")
        return found

    def workflow(self, name: str) -> Workflow:
        """The actions of a rule as a workflow; CallerError when there is no such rule, or it has none of its own."""
        one = self.set.rules.get(name)
        found = None if one is None else one.plan()
        if found is None:
            raise CallerError(f"there is no rule {name!r} with actions{nearest(name, self.set.rules)}")
        return found

    def knows(self, name: str) -> bool:
        """Whether there is a rule or guard of that name."""
        return name in self.set.rules or name in self.guards.guards

    def names(self) -> list[str]:
        """Of all rules, then of all guards."""
        return [*self.set.rules, *self.guards.guards]

    def status(self, name: str) -> dict[str, Any]:
        """Plain values about a rule or guard."""
        one = self.find(name)
        return self.set.status(one) if isinstance(one, Rule) else one.status()

    def definition(self, name: str) -> Mapping[str, Any]:
        """What its file says of a rule or guard."""
        one = self.find(name)
        try:
            return self.books[one.file].definition_of(name)
        except KeyError:  # a guard that a system state has
            return one.form.model_dump(exclude_defaults=True) if isinstance(one, Guard) else {}

    def _faulty(self, rule: Rule) -> None:
        self._publish(rule.name, rule.file, "failed", rule.fault)

    def _publish(self, name: str, file: str, status: str, reason: str = "") -> None:
        attrs = {"name": name, "file": file, "kind": "rule", "status": status}
        self._bus.publish(SemanticEvent("system.definition", attrs=attrs | ({"reason": reason} if reason else {})))

    # Events and time

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        task_status.started()
        await self._turns.serve(self.step, self._deadline)

    def step(self) -> None:
        """Take a batch of events and everything that is due; for tests that drive the desk by hand."""
        self._sweep()
        batch = self.subscription.receive_nowait(self._bus.batch(BATCH))
        if self.paused:
            return
        now, wall, deadline = self.records.clock.now(), self._wall(), self._deadlines.deadline
        if batch or (deadline is not None and deadline <= now):
            with self.records.step("rules", batch, now, wall):
                self._take(batch, now, wall)

    def _take(self, events: Sequence[SemanticEvent], now: float, wall: float, without: Collection[str] = ()) -> None:
        moment = Moment(
            self._state.view(), wall, self.standing
        )  # nothing that fires here takes effect before we return
        self.recent.extend(events)
        for event in events:
            self._feed(event, moment, now, without)
        self._due(now, moment, without)

    def _feed(self, event: SemanticEvent, moment: Moment, now: float, without: Collection[str] = ()) -> None:
        if event.cause is not None and event.cause.depth >= self._depth_limit:
            self._announcements.depth(event, event.cause, self._depth_limit)
            return
        candidates = self._candidates.pop(event.seq, None)
        if without:
            found = self.set.index.find(event.type, event.path if event.dest is None else event.dest, event)
            candidates = [rule for rule in found if rule.name not in without]
        for fired in self.set.feed(event, moment, now, candidates):
            self._fire(fired)

    # Over restarts

    def parts(self) -> Iterator[tuple[str, Rows] | None]:
        """What rules remember that have anything to remember."""
        for number, rule in enumerate(list(self.set.rules.values())):
            if rule.record is not None or rule.name in self._deadlines:
                yield rule.name, partial(self._rows, rule)
            elif number % PAUSE_EVERY == 0:
                yield None

    def _rows(self, rule: Rule) -> Iterator[Any]:
        yield {"says": rule.fingerprint, "due": self._deadlines.when(rule.name), **rule.recorded().as_dict()}

    def recall(self, parts: Mapping[str, Sequence[Any]]) -> None:
        """Rules that come get back what they knew."""
        self._earlier = dict(parts)

    def replay(self, events: Sequence[SemanticEvent], step: Step, without: Collection[str]) -> None:
        """Take events as before."""
        self._take(events, step.now, step.wall, without)

    def recovered(self) -> None:
        """What nobody asked for is forgotten."""
        self._earlier = {}
        self._turns.wake()

    def install_plan(self, workflow: str) -> bool:
        """Let the launcher know what a rule of this mount does; whether there is such a rule."""
        name = workflow.removeprefix(PREFIX).removesuffix("/otherwise")
        rule = self.set.rules.get(name) if workflow.startswith(PREFIX) else None
        plan = None if rule is None else rule.plan(otherwise=workflow.endswith("/otherwise"))
        if plan is not None:
            self._launcher.install(plan)
        return plan is not None

    def _hand_back(self, rule: Rule) -> None:
        rows = self._earlier.pop(rule.name, None)
        if not rows or rows[0]["says"] != rule.fingerprint:
            return
        rule.recorded().take(rows[0])
        if rule.body.every is not None and rows[0]["due"] is not None:
            self._deadlines.put(rule.name, rule, rows[0]["due"])

    def _fire(self, fired: Fired) -> None:
        rule, event = fired.rule, fired.event
        form = rule.body.program.form
        self._bus.publish(fired_event(fired))
        path = event.path if event.dest is None else event.dest
        key = fired.key or path
        if form.workflow is not None:
            self._launcher.admit(Firing(form.workflow, 0, "rule", key, (event,)))
            return
        workflow = rule.plan(otherwise=fired.otherwise)
        if workflow is not None:
            if not self._launcher.knows(workflow.name):
                self._launcher.install(workflow)
            self._launcher.admit(Firing(workflow.name, 0, "rule", key, (event,)))

    def _schedule(self, rule: Rule, now: float) -> None:
        if rule.body.every is not None:
            self._deadlines.put(rule.name, rule, now + rule.body.every)

    def _due(self, now: float, moment: Moment, without: Collection[str]) -> None:
        for _, rule in list(self._deadlines.due(now)):
            self._schedule(rule, now)
            if rule.live and rule.name not in without:
                attrs = {"rule": rule.name, "every": rule.body.every}
                event = SemanticEvent("system.schedule", attrs=attrs, ts=round(moment.wall * 1e9))
                fired = self.set.ask(rule, event, "", moment, now)
                if fired is not None:
                    self._fire(fired)

    def _deadline(self) -> float:
        """In trio's time; now, while there are rules to take out."""
        if self._gone:
            return trio.current_time()
        deadline = None if self.paused else self._deadlines.deadline
        return float("inf") if deadline is None else self.records.clock.in_trio(deadline)

    def resume(self) -> None:
        """Fire again, for what happens from now on."""
        self.paused = False
        self._turns.wake()

    def _wants(self, type_name: str, path: str, maker: Maker) -> bool:
        """Whether a rule may ask for such events here, of this maker."""
        return any(
            rule.live and rule.test(path) and rule.may_mean(maker) for rule in self.set.index.at(type_name, path)
        )

    def _hears(self, type_name: str) -> bool:
        return self.set.index.wants(type_name)

    def _accepts(self, event: SemanticEvent) -> bool:
        """Called in `publish`: whether any rule could want the event. About 1 µs when none does."""
        if self.paused:
            return False
        candidates = self.set.index.find(event.type, event.path if event.dest is None else event.dest, event)
        if not candidates:
            return False
        if len(self._candidates) > 2 * QUEUE:  # what the queue dropped is never asked for
            self._candidates.clear()
        self._candidates[event.seq] = candidates
        return True


def fired_event(fired: Fired, ts: int | None = None) -> SemanticEvent:
    """The event that tells of a firing."""
    rule, event = fired.rule, fired.event
    form = rule.body.program.form
    depth = (event.cause.depth if event.cause is not None else 0) + 1
    attrs: dict[str, Any] = {"rule": rule.name, "type": form.type, "priority": form.priority, "event": event.seq}
    attrs |= {"trigger": event.type} | ({"key": fired.key} if fired.key else {})
    attrs |= {"otherwise": True} if fired.otherwise else {}
    return SemanticEvent(
        "rule.fired",
        event.path if event.dest is None else event.dest,
        pid=event.pid,
        uid=event.uid,
        gid=event.gid,
        comm=event.comm,
        cause=Cause(f"rule {event.seq}", rule.workflow, depth),
        attrs=attrs,
        ts=ts,
    )


def _meaning(book: Book, name: str) -> Any:
    return book.lists.get(name), book.macros.get(name)
