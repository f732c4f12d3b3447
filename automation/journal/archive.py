"""All runs that anybody can still look at: those in the runner's memory, and finished ones out of the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from automation.errors import CallerError
from automation.journal.recall import Kinds, history, recalled
from automation.runner.ledger import Ledger, StoredRun, Summary
from automation.runner.plan import Plan
from automation.runner.record import Run, StepRecord


class Runs(Protocol):
    """What is asked of the runner."""

    @property
    def runs(self) -> Mapping[str, Run]: ...
    @property
    def ledger(self) -> Ledger: ...


class Archive:
    """Lists without asking the disk; a single run is read when it is asked for."""

    def __init__(self, runner: Runs) -> None:
        self._runner: Final = runner

    def ids(self) -> Iterator[str]:
        """Newest first."""
        known = self._runner.ledger.known
        yield from (run_id for run_id in reversed(list(self._runner.runs)) if run_id not in known)
        yield from reversed(list(known))

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._runner.runs or run_id in self._runner.ledger.known

    def summary(self, run_id: str) -> Summary | None:
        """A run in a line; None when there is none."""
        run = self._runner.runs.get(run_id)
        if run is None:
            return self._runner.ledger.known.get(run_id)
        return Summary(run.workflow, run.created_ns, run.status, run.ended_ns)

    def summaries(self, workflow: str) -> Iterator[tuple[str, Summary]]:
        """The runs of one workflow, newest first."""
        for run_id in self.ids():
            summary = self.summary(run_id)
            if summary is not None and summary.workflow == workflow:
                yield run_id, summary

    def error(self, run_id: str) -> str:
        """What went wrong, where that is in memory."""
        run = self._runner.runs.get(run_id)
        return "" if run is None else run.error

    async def run(self, run_id: str) -> Run:
        """One run, as it is now; CallerError when there is none."""
        run, _ = await self._look(run_id)
        return run

    async def known(self, run_id: str) -> Run:
        """One run as memory has it, else as it was recorded; CallerError when there is none."""
        live = self._runner.runs.get(run_id)
        return live if live is not None else await self.run(run_id)

    async def trace(self, run_id: str) -> dict[str, Any]:
        """Everything about a run in plain values: `events` that caused it, `steps`, and `records`, all that was written
        about it.
        """
        run, stored = await self._look(run_id)
        events = [event.as_dict() for event in run.firing.events]
        return run.as_dict() | {"events": events, "records": history(stored) if stored is not None else []}

    async def _look(self, run_id: str) -> tuple[Run, StoredRun | None]:
        stored = await self._runner.ledger.load(run_id)
        live = self._runner.runs.get(run_id)
        if stored is None:
            if live is None:
                raise CallerError(f"there is no run {run_id}")
            return live, None
        run = recalled(stored, _kinds(stored.run.definition))
        if live is None:
            return run, stored
        known = {step.place: step for step in _every(run.steps)}
        for step in _every(live.steps):  # what was recalled after a restart happened before it
            before = known.get(step.place)
            if before is None or not 0 < before.started_ns < step.started_ns:
                continue
            if 0 < before.ended_ns < step.started_ns:
                step.ended_ns, step.input = before.ended_ns, before.input
            step.started_ns = before.started_ns
        return live, stored


def _every(steps: Iterable[StepRecord]) -> Iterator[StepRecord]:
    for step in steps:
        yield step
        yield from _every(step.steps or ())


def _kinds(definition: str) -> Kinds:
    """The steps of a definition by their segments in places; none where this version cannot read it any more."""
    try:
        plan = Plan.parse(definition)
    except (ValueError, KeyError):
        return {}
    every = [one for step in (*plan.steps, *plan.compensation) for one in step.every()]
    return {step.segment: (step.name, step.kind) for step in every}
