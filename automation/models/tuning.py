"""Values that outcomes move, within the bounds of their definition: backoffs, cooldowns, sensitivities of anomalies.

    workflow.step of a step that was tried again, ends of runs ─► queue ─┐
    RUN yes|no in /.vexfs/models/NAME/approve ───────────────────────────┴► a step up or down ─► model.adapted, target

A backoff goes up when a retry failed, down when the first one did it; a cooldown up when a run failed, down when one
succeeded. A sensitivity goes up when a person says that the anomaly was none, down when it was one. The queue holds
8,192 events; a full one drops the oldest.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final

import trio

from automation.bus import Bus
from automation.errors import CallerError
from automation.events import SemanticEvent
from automation.models.desk import OUTCOMES, Find, answered
from automation.models.forms import AdaptiveForm
from automation.models.store import MOST_CHANGES, Change, Shelf
from automation.switches import Switches
from automation.turns import Turns

log: Final = logging.getLogger(__name__)

QUEUE: Final = 8192
Tune = Callable[[str, str, float | None], None]


class _Kept:
    """An adaptive value; `read` once what it was moved to is known."""

    def __init__(self, form: AdaptiveForm) -> None:
        self.form: Final = form
        self.value = form.start
        self.changes: list[Change] = []
        self.outcomes = {"better": 0, "worse": 0}
        self.note = ""
        self.read: Final = trio.Event()


class TuningDesk:
    """`tune` sets the sensitivity of a stream's measure (None: as it is defined); `find` gives a run by its name."""

    def __init__(
        self,
        bus: Bus,
        shelf: Shelf,
        find: Find,
        tune: Tune,
        *,
        wall: Callable[[], float],
        switches: Switches | None = None,
    ) -> None:
        self._bus: Final = bus
        self._shelf: Final = shelf
        self._find_run: Final = find
        self._tune: Final = tune
        self._wall: Final = wall
        self._switches: Final = switches or Switches("adaptive")
        self._kept: Final[dict[str, _Kept]] = {}
        self.subscription: Final = bus.subscribe(
            "adaptive",
            ("workflow.step", *OUTCOMES),
            accept=self._accepts,
            wants=lambda type_name, path, maker: False,
            hears=self._hears,
            capacity=QUEUE,
        )
        self._turns: Final = Turns(bus, self.subscription)

    def install(self, form: AdaptiveForm) -> None:
        """Adapt as this definition says, beginning where an earlier one of that name had come to."""
        kept = self._kept.get(form.name)
        if kept is None or kept.form != form:
            if kept is not None:
                self._loosen(kept)
            self._kept[form.name] = _Kept(form)
            self._bus.reroute()
            self._turns.wake()

    def remove(self, name: str) -> None:
        """The value is what its own definition says again."""
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._loosen(kept)
            self._bus.reroute()

    def names(self) -> list[str]:
        """As they were loaded."""
        return list(self._kept)

    def knows(self, name: str) -> bool:
        """Whether there is one of that name."""
        return name in self._kept

    def enabled(self, name: str) -> bool:
        """Whether it has a say."""
        self._find(name)
        return self._switches.get(name, True)

    def enable(self, name: str, on: bool) -> None:
        """Let it have a say, or let the value be what its own definition says; CallerError for none."""
        kept = self._find(name)
        self._switches[name] = on
        self._apply(kept)

    def status(self, name: str) -> dict[str, Any]:
        """Plain values."""
        kept, form = self._find(name), self._find(name).form
        out: dict[str, Any] = {"name": name, "state": "enabled" if self.enabled(name) else "disabled"}
        out |= {"target": form.target, "value": kept.value, "min": form.min, "max": form.max, "step": form.step}
        out |= {"outcomes": dict(kept.outcomes), "changes": len(kept.changes)}
        return out | ({"note": kept.note} if kept.note else {})

    def changes(self, name: str) -> list[dict[str, Any]]:
        """Every change that is kept, oldest first."""
        return [
            {"change": one.number, "at": one.at, "old": one.old, "new": one.new, "reason": one.reason}
            for one in self._find(name).changes
        ]

    def backoff(self, workflow: str, step: str) -> float | None:
        """The seconds that were learnt for a step's retries; None where nothing is adapted."""
        return next((kept.value for kept in self._live() if _is_retry(kept.form, workflow, step)), None)

    def cooldown(self, workflow: str) -> float | None:
        """The seconds that were learnt for the event triggers of a workflow; None where nothing is adapted."""
        return next((kept.value for kept in self._live() if _is_cooldown(kept.form, workflow)), None)

    def _live(self) -> Iterator[_Kept]:
        return (kept for name, kept in self._kept.items() if self._switches.get(name, True))

    # By hand

    async def approve(self, name: str, line: str) -> None:
        """`RUN yes` or `RUN no`: whether what started the run was an anomaly; without RUN, the last one."""
        kept = self._find(name)
        await kept.read.wait()
        run_id, right = answered(line)
        target = kept.form.anomaly
        if target is None:
            raise CallerError(f"{name!r} goes by how runs end; only the sensitivity of an anomaly is told yes or no")
        if not self.enabled(name):
            raise CallerError(f"{name!r} is disabled")
        if run_id:
            run = await self._find_run(run_id)
            if not any(_is_about(event, target.stream, target.measure) for event in run.firing.events):
                raise CallerError(f"{run_id} was not started by an anomaly of {target.stream}.{target.measure}")
        about = f"the anomaly of {run_id}" if run_id else "the last anomaly"
        said = f"{about} was {'right' if right else 'a false alarm'}"
        await self._move(kept, -1 if right else 1, said)

    async def revert(self, name: str, line: str) -> None:
        """`undo` takes the last change back, a number goes back to what was before that change."""
        kept = self._find(name)
        await kept.read.wait()
        wanted = str(kept.changes[-1].number) if line == "undo" and kept.changes else line
        change = next((one for one in kept.changes if str(one.number) == wanted), None)
        if change is None:
            raise CallerError(f"there is no change {line!r} of {name!r}: write 'undo' or the number of one")
        await self._set(kept, change.old, f"back by hand to before change {change.number}")

    # Outcomes

    def _accepts(self, event: SemanticEvent) -> bool:
        tried = event.type != "workflow.step" or event.attrs.get("attempts", 1) > 1
        return tried and not event.attrs.get("dry_run")

    def _hears(self, type_name: str) -> bool:
        forms = [kept.form for kept in self._kept.values()]
        steps = type_name == "workflow.step"
        return any((form.retry if steps else form.cooldown) is not None for form in forms)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started once what values were moved to is known."""
        await self._read_all()
        task_status.started()
        while True:
            if all(kept.read.is_set() for kept in self._kept.values()):
                await self._turns.wait()
            await self._read_all()
            for event in self.subscription.receive_nowait():
                await self._take(event)
            await self._bus.rest()

    async def _take(self, event: SemanticEvent) -> None:
        for kept in list(self._live()):
            judged = _judged(kept.form, event)
            if judged is not None:
                await self._move(kept, *judged)

    async def _move(self, kept: _Kept, direction: int, reason: str) -> None:
        kept.outcomes["better" if direction < 0 else "worse"] += 1
        moved = kept.value + direction * kept.form.step
        await self._set(kept, moved, reason)

    async def _set(self, kept: _Kept, value: float, reason: str) -> None:
        form, old = kept.form, kept.value
        new = round(min(form.max, max(form.min, value)), 9)
        if new == old:
            return
        number = kept.changes[-1].number + 1 if kept.changes else 1
        change = Change(number, round(self._wall() * 1e9), old, new, reason)
        kept.value, kept.changes = new, [*kept.changes, change][-MOST_CHANGES:]
        self._apply(kept)
        attrs = {"model": form.name, "target": form.target, "change": number, "old": old, "new": new, "reason": reason}
        self._bus.publish(SemanticEvent("model.adapted", attrs=attrs))
        try:
            await self._shelf.do(lambda store: store.change(form.name, change))
        except (sqlite3.Error, OSError) as error:
            log.warning("the change of %s cannot be written: %s", form.name, error)
            kept.note = f"change {number} is not on disk: {error}"

    async def _read_all(self) -> None:
        for kept in list(self._kept.values()):
            if not kept.read.is_set():
                await self._read(kept)

    async def _read(self, kept: _Kept) -> None:
        form = kept.form
        try:
            kept.changes = await self._shelf.do(lambda store: store.changes(form.name))
        except (sqlite3.Error, OSError) as error:
            log.warning("the changes of %s cannot be read: %s", form.name, error)
            kept.note = f"what it was moved to cannot be read: {error}"
        if kept.changes:
            kept.value = min(form.max, max(form.min, kept.changes[-1].new))
        kept.read.set()
        self._apply(kept)

    def _apply(self, kept: _Kept) -> None:
        target = kept.form.anomaly
        if target is not None and self._kept.get(kept.form.name) is kept:
            self._tune(target.stream, target.measure, kept.value if self.enabled(kept.form.name) else None)

    def _loosen(self, kept: _Kept) -> None:
        if kept.form.anomaly is not None:
            self._tune(kept.form.anomaly.stream, kept.form.anomaly.measure, None)

    def _find(self, name: str) -> _Kept:
        kept = self._kept.get(name)
        if kept is None:
            raise CallerError(f"nothing adaptive is called {name!r}")
        return kept


def _judged(form: AdaptiveForm, event: SemanticEvent) -> tuple[int, str] | None:
    """Up or down, and why; None for what does not concern the value."""
    attrs = event.attrs
    workflow, run = str(attrs.get("workflow")), attrs.get("run")
    if event.type in OUTCOMES:
        if not _is_cooldown(form, workflow):
            return None
        return (-1, f"{run} succeeded") if OUTCOMES[event.type] else (1, f"{run} failed")
    well = attrs.get("status") == "succeeded"
    if not _is_retry(form, workflow, str(attrs.get("step"))) or not (well or attrs.get("status") == "failed"):
        return None
    failed = attrs["attempts"] - 1 - well
    if not failed:
        return -1, f"the first retry succeeded in {run}"
    return 1, f"{failed} {'retry' if failed == 1 else 'retries'} failed in {run}"


def _is_retry(form: AdaptiveForm, workflow: str, step: str) -> bool:
    return form.retry is not None and (form.retry.workflow, form.retry.step) == (workflow, step)


def _is_cooldown(form: AdaptiveForm, workflow: str) -> bool:
    return form.cooldown is not None and form.cooldown.workflow == workflow


def _is_about(event: SemanticEvent, stream: str, measure: str) -> bool:
    attrs = event.attrs
    there = f"{attrs.get('definition')}.{attrs.get('stream')}"
    return event.type == "anomaly.detected" and there == stream and attrs.get("measure") == measure
