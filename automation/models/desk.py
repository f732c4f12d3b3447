"""From runs to models: examples in, versions kept, predictions out where a workflow asks for them.

    bus ─► the ends of runs of the workflows that models name ─► queue ─► learners ─► versions
                                                   the action `predict` ◄─┘└─► prediction.made, model.version

The queue holds 8,192 ends of runs; a full one drops the oldest, which the bus counts and announces. river is imported
and what was kept is read in a thread; ends of runs wait meanwhile. When the store cannot be written, models go on, and
the reason is in their status. After a kill, what was learnt since the last version is lost.
"""

from __future__ import annotations

import importlib
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import trio

from automation.bus import Bus
from automation.errors import CallerError, VexError, WorldError
from automation.events import Cause, SemanticEvent
from automation.expressions import compile_expression
from automation.models.forms import LABELS, ModelForm
from automation.models.learner import LIBRARIES, Learner
from automation.models.store import LIVE, Shelf, Version
from automation.runner.record import Run
from automation.switches import Switches
from automation.turns import Turns

log: Final = logging.getLogger(__name__)

OUTCOMES: Final = {
    "workflow.succeeded": True,
    "workflow.failed": False,
    "workflow.compensated": False,
    "workflow.compensation_failed": False,
}
QUEUE: Final = 8192
BATCH: Final = 64
MOST_LABELLED: Final = 1000  # runs of which is known that they were examples
ANSWERS: Final = {"yes": True, "no": False}
Find = Callable[[str], Awaitable[Run]]


class _Kept:
    """A model; `learner` is None until it is read, and while it cannot be."""

    def __init__(self, form: ModelForm) -> None:
        self.form: Final = form
        self.learner: Learner | None = None
        self.on = True
        self.version = 0
        self.versions: list[Version] = []
        self.labelled: dict[str, None] = {}
        self.skipped = 0
        self.note = ""
        self.last: dict[str, Any] | None = None
        self.read: Final = trio.Event()
        self.turn: Final = trio.Lock()  # of making a version, or going back to one


class ModelDesk:
    """`find_run` gives a run by its identity (CallerError for none); `wall` is seconds since the epoch."""

    def __init__(
        self,
        bus: Bus,
        shelf: Shelf,
        *,
        wall: Callable[[], float],
        switches: Switches | None = None,
    ) -> None:
        self._bus: Final = bus
        self._shelf: Final = shelf
        self.find_run: Find = _no_run
        self.hides: Callable[[Any], Any] = lambda value: value  # takes paths out that must not be written
        self._wall: Final = wall
        self._switches: Final = switches or Switches("model")
        self._kept: Final[dict[str, _Kept]] = {}
        self.subscription: Final = bus.subscribe(
            "models",
            OUTCOMES,
            accept=self._accepts,
            wants=lambda type_name, path, maker: False,
            hears=lambda type_name: bool(self._kept),
            capacity=QUEUE,
        )
        self._turns: Final = Turns(bus, self.subscription)

    # What is kept

    def install(self, form: ModelForm) -> None:
        """Keep a model; one of an unchanged definition goes on."""
        kept = self._kept.get(form.name)
        if kept is None or kept.form != form:
            kept = self._kept[form.name] = _Kept(form)
            kept.on = self._switches.get(form.name, True)
            self._bus.reroute()
            self._turns.wake()

    def remove(self, name: str) -> None:
        """Use it no more; its versions stay."""
        if self._kept.pop(name, None) is not None:
            self._bus.reroute()

    def names(self) -> list[str]:
        """As they were loaded."""
        return list(self._kept)

    def knows(self, name: str) -> bool:
        """Whether there is one of that name."""
        return name in self._kept

    def enabled(self, name: str) -> bool:
        """Whether it learns and answers."""
        return self._find(name).on

    def enable(self, name: str, on: bool) -> None:
        """Let it learn and answer, or no more; CallerError for none."""
        self._find(name).on = on
        self._switches[name] = on

    def status(self, name: str) -> dict[str, Any]:
        """Plain values about a model."""
        kept = self._find(name)
        form, learner = kept.form, kept.learner
        state = "disabled" if not kept.on else "loading" if learner is None else "enabled"
        out: dict[str, Any] = {"name": name, "state": state if not kept.note or learner else "faulty"}
        out |= {"workflow": form.workflow, "label": form.label, "algorithm": form.algorithm, "version": kept.version}
        if learner is not None:
            out |= learner.figures()
            out |= {} if learner.ready else {"warm_up": f"{form.warm_up - learner.examples} examples to go"}
            out["weights"] = learner.weights()
        out |= {"skipped": kept.skipped} if kept.skipped else {}
        out |= {"note": kept.note} if kept.note else {}
        return out | ({"last": kept.last} if kept.last is not None else {})

    def versions(self, name: str) -> list[dict[str, Any]]:
        """The versions that are kept, oldest first."""
        kept = self._find(name)
        return [
            {"version": one.number, "current": one.number == kept.version, "at": one.at, **one.figures}
            for one in kept.versions
        ]

    def version(self, name: str) -> int:
        """The version that it was last at; 0 before the first."""
        return self._find(name).version

    def last(self, name: str) -> dict[str, Any] | None:
        """The last prediction that was asked for by hand."""
        return self._find(name).last

    def _find(self, name: str) -> _Kept:
        kept = self._kept.get(name)
        if kept is None:
            raise CallerError(f"there is no model called {name!r}")
        return kept

    async def _whole(self, name: str) -> tuple[_Kept, Learner]:
        """A model that has been read."""
        kept = self._find(name)
        await kept.read.wait()
        if kept.learner is None:
            raise CallerError(f"the model {name!r} cannot be used: {kept.note}")
        return kept, kept.learner

    # By hand

    async def try_out(self, name: str, line: str) -> None:
        """Predict for the features of a JSON object; nothing hears of it."""
        kept, learner = await self._whole(name)
        try:
            features = json.loads(line)
            probability = learner.probability(features if isinstance(features, dict) else {})
        except ValueError as error:
            shown = ", ".join(f'"{one}": …' for one in kept.form.features)
            raise CallerError(f"{error}; write the features as JSON: {{{shown}}}") from None
        kept.last = {"features": features} | _answer(kept, learner, probability)

    async def approve(self, name: str, line: str) -> None:
        """Learn from `RUN yes` or `RUN no`."""
        kept, _ = await self._whole(name)
        run_id, answer = answered(line)
        if kept.form.label != "approval":
            raise CallerError(f"the model {name!r} learns from outcomes; one that is told has `label: approval`")
        if not kept.on:
            raise CallerError(f"the model {name!r} is disabled")
        if run_id in kept.labelled:
            raise CallerError(f"the model {name!r} has learnt from the run {run_id} already")
        run = await self.find_run(run_id)
        if run.workflow != kept.form.workflow:
            raise CallerError(
                f"{run_id} is a run of {run.workflow}; the model learns from those of {kept.form.workflow}"
            )
        try:
            self._learn(kept, run, answer)
        except ValueError as error:
            raise CallerError(f"the run {run_id} is no example: {error}") from None
        await self._keep_if_due(kept)

    async def change_version(self, name: str, line: str) -> None:
        """`snapshot` makes a version of what it is now; a number rolls back to that version."""
        kept, _ = await self._whole(name)
        if line == "snapshot":
            async with kept.turn:
                await self._snapshot(kept)
            return
        if not line.isdecimal() or int(line) == LIVE:
            raise CallerError(f"write the number of a version, or 'snapshot', not {line!r}")
        async with kept.turn:
            await self._roll_back(kept, int(line))

    async def _roll_back(self, kept: _Kept, number: int) -> None:
        name = kept.form.name
        try:
            body = await self._shelf.do(lambda store: store.body(name, number))
            if body is None:
                raise CallerError(f"the model {name!r} has no version {number}; see `versions`")
            kept.learner = await trio.to_thread.run_sync(Learner.restored, kept.form, body)
        except (ValueError, sqlite3.Error, OSError) as error:
            raise CallerError(f"version {number} of {name!r} cannot be used: {error}") from None
        old, kept.version = kept.version, number
        self._tell(kept, kept.learner, old, "rolled back")
        await self._keep(kept, kept.learner, LIVE)

    # For workflows

    async def predict(
        self, name: str, features: Mapping[str, Any] | None, variables: Mapping[str, Any], cause: Cause
    ) -> dict[str, Any]:
        """`{label, probability, confidence, version}`; the label is null while the model is disabled or warms up.
        WorldError where there is no such model, or the features are no good.
        """
        try:
            kept, learner = await self._whole(name)
            found = features if features is not None else evaluated(kept.form, variables)
            given = {name: self.hides(value) for name, value in found.items()}
            answer = _answer(kept, learner, learner.probability(given))
        except (ValueError, VexError) as error:
            raise WorldError(f"the model {name!r} cannot answer: {error}") from None
        if answer["label"] is not None:
            attrs = {"model": name, "method": kept.form.algorithm, "prediction_type": kept.form.label, **answer}
            self._bus.publish(SemanticEvent("prediction.made", cause=cause, attrs=attrs))
        return answer

    # Learning

    def _accepts(self, event: SemanticEvent) -> bool:
        workflow = event.attrs.get("workflow")
        return not event.attrs.get("dry_run") and any(
            kept.form.workflow == workflow and kept.form.label == "outcome" for kept in self._kept.values()
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then keep every model as it is."""
        task_status.started()
        try:
            while True:
                for kept in list(self._kept.values()):
                    if not kept.read.is_set():
                        await self._read(kept)
                for event in self.subscription.receive_nowait(BATCH):
                    await self._take(event)
                await self._bus.rest()
                if all(kept.read.is_set() for kept in self._kept.values()):
                    await self._turns.wait()
        finally:
            with trio.CancelScope(shield=True):
                for kept in self._kept.values():
                    if kept.learner is not None and kept.learner.examples:
                        await self._keep(kept, kept.learner, LIVE)

    async def _take(self, event: SemanticEvent) -> None:
        for kept in list(self._kept.values()):
            ours = kept.form.workflow == event.attrs.get("workflow") and kept.form.label == "outcome"
            if not ours or kept.learner is None or not kept.on:
                continue
            try:
                run = await self.find_run(event.attrs["run"])
                self._learn(kept, run, OUTCOMES[event.type])
            except (ValueError, VexError) as error:
                kept.skipped += 1
                kept.note = f"the run {event.attrs.get('run')} was no example: {error}"
            except Exception as error:
                log.exception("the model %s met a bug", kept.form.name)
                kept.on, kept.note = False, f"it raised {error!r}"
            else:
                await self._keep_if_due(kept)

    def _learn(self, kept: _Kept, run: Run, label: bool) -> None:
        if run.id in kept.labelled or kept.learner is None:
            return
        found = evaluated(kept.form, {"event": run.event, "run": run.facts(), "input": run.input})
        kept.learner.learn({name: self.hides(value) for name, value in found.items()}, label)
        kept.labelled[run.id] = None
        while len(kept.labelled) > MOST_LABELLED:
            del kept.labelled[next(iter(kept.labelled))]

    # Keeping

    async def _read(self, kept: _Kept) -> None:
        """Import river, and have back what was learnt."""
        name = kept.form.name
        try:
            await trio.to_thread.run_sync(lambda: [importlib.import_module(one) for one in LIBRARIES])
            kept.versions = await self._shelf.do(lambda store: store.versions(name))
            numbers = [LIVE, *(one.number for one in reversed(kept.versions))]
            kept.learner = await self._newest(kept, numbers)
        except (sqlite3.Error, OSError) as error:
            log.warning("the model %s cannot be read: %s", name, error)
            kept.note, kept.learner = f"what it had learnt cannot be read: {error}", Learner(kept.form)
        except Exception as error:
            log.exception("the model %s cannot be used", name)
            kept.note = f"it raised {error!r}"
        kept.read.set()

    async def _newest(self, kept: _Kept, numbers: list[int]) -> Learner:
        """The newest state that is whole and of this definition; else a new learner."""
        for number in numbers:
            try:
                body = await self._shelf.do(lambda store, number=number: store.body(kept.form.name, number))  # type: ignore[misc]
                if body is None:
                    continue
                learner: Learner = await trio.to_thread.run_sync(Learner.restored, kept.form, body)
            except (ValueError, KeyError, TypeError) as error:
                kept.note = f"{f'version {number}' if number else 'the last state'} is not used: {error}"
                continue
            kept.version = number or body["version"]
            kept.labelled = dict.fromkeys(body["labelled"])
            return learner
        return Learner(kept.form)

    async def _keep_if_due(self, kept: _Kept) -> None:
        if kept.learner is not None and kept.learner.examples % kept.form.snapshot_every == 0:
            async with kept.turn:
                await self._snapshot(kept)

    async def _snapshot(self, kept: _Kept) -> None:
        learner = kept.learner
        assert learner is not None
        number = max((one.number for one in kept.versions), default=0) + 1
        version = await self._keep(kept, learner, number)
        kept.versions = [*kept.versions, version][-kept.form.versions :]
        old, kept.version = kept.version, number
        self._tell(kept, learner, old, "snapshot")

    async def _keep(self, kept: _Kept, learner: Learner, number: int) -> Version:
        version = Version(number, round(self._wall() * 1e9), learner.figures())
        body = {**learner.export(), "version": number or kept.version, "labelled": list(kept.labelled)}
        name, most = kept.form.name, kept.form.versions
        try:
            await self._shelf.do(lambda store: store.keep(name, version, body, most))
        except (sqlite3.Error, OSError) as error:
            log.warning("the model %s cannot be written: %s", name, error)
            kept.note = f"version {number} is not on disk: {error}"
        return version

    def _tell(self, kept: _Kept, learner: Learner, old: int, reason: str) -> None:
        attrs = {"model": kept.form.name, "old": old, "new": kept.version, "reason": reason, **learner.figures()}
        self._bus.publish(SemanticEvent("model.version", attrs=attrs))


async def _no_run(run_id: str) -> Run:
    raise CallerError(f"there is no run {run_id}")


def evaluated(form: ModelForm, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The features of an event and a run; ValueError where an expression fails."""
    return {name: compile_expression(source)(variables) for name, source in form.features.items()}


def answered(line: str) -> tuple[str, bool]:
    """The run, or nothing, and the answer of `RUN yes`; CallerError says how it is written."""
    run_id, _, word = line.strip().rpartition(" ")
    answer = ANSWERS.get(word.lower())
    if answer is None:
        raise CallerError(f"write 'RUN yes' or 'RUN no', not {line!r}")
    return run_id.strip(), answer


def _answer(kept: _Kept, learner: Learner, probability: float) -> dict[str, Any]:
    if not kept.on or not learner.ready:
        return {"label": None, "probability": None, "confidence": 0.0, "version": kept.version}
    label = LABELS[kept.form.label][probability >= 0.5]
    sure = round(max(probability, 1 - probability), 6)
    return {"label": label, "probability": round(probability, 6), "confidence": sure, "version": kept.version}
