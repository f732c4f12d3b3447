"""Steps at the same time: each as soon as those that it depends on are done and there is room."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import trio

from automation.runner.history import Doubled, Unrecorded
from automation.runner.plan import ParallelBody, PlannedStep
from automation.runner.record import StepRecord
from automation.runner.scope import Frontier, Scope, StepFailed
from automation.runner.walk import Walk

Branch = Callable[[Scope], Awaitable[None]]


class Gathering:
    """`branches` (by number) at most `most` at a time, each after those in `after`. Failing fast, the first failure
    cancels the others, and that is recorded: they are not taken up again. Collecting, all that do not depend on a
    failed one are done first.
    """

    def __init__(
        self,
        walk: Walk,
        place: str,
        scope: Scope,
        branches: Sequence[Branch],
        *,
        most: int,
        collects: bool,
        after: Mapping[int, Sequence[int]],
        dropped: Callable[[int], None] = lambda i: None,
    ) -> None:
        self._walk: Final = walk
        self._mark: Final = f"{place}!failed"
        self._scope: Final = scope
        self._branches: Final = branches
        self._most: Final = most
        self._collects: Final = collects
        self._dropped: Final = dropped
        self._missing: Final = {i: len(after.get(i, ())) for i in range(len(branches))}
        self._followers: Final[dict[int, list[int]]] = {}
        for i, earlier in after.items():
            for j in earlier:
                self._followers.setdefault(j, []).append(i)
        self._ready: Final = [i for i in range(len(branches)) if not self._missing[i]]
        self._next = 0
        self._running = 0
        self.failures: Final[list[StepFailed]] = []
        self._stop: Unrecorded | Doubled | None = None
        self._frontier = False

    async def carry_out(self) -> None:
        """Return when all is done; StepFailed with the first failure, or Frontier."""
        scope = self._scope
        if self._walk.history.decided(self._mark) and not self._collects:
            scope = scope.as_frozen()
        if scope.frozen:
            await self._look_back(scope)
        else:
            await self._all_at_once()
        if self._stop is not None:
            raise self._stop
        if self.failures:
            raise self.failures[0]
        if self._frontier:
            raise Frontier

    async def _look_back(self, scope: Scope) -> None:
        """One after the other: nothing of it takes time."""
        while self._next < len(self._ready):
            self._next += 1
            await self._one(self._ready[self._next - 1], scope)
        decided = self._walk.history.decision(self._mark)
        if decided is not None and not self._collects:
            self.failures[:] = [StepFailed(decided["step"], decided["error"], decided["class"])]

    async def _all_at_once(self) -> None:
        """The part that this branch of the run has among its busy ones goes to the first that is launched, and comes
        back from the last that ends.
        """
        if not self._branches:
            return
        self._walk.busy -= 1
        async with trio.open_nursery() as nursery:
            self._launch(nursery)

    def _launch(self, nursery: trio.Nursery) -> None:
        while self._next < len(self._ready) and self._running < self._most:
            self._running += 1
            self._walk.busy += 1
            nursery.start_soon(self._branch, nursery, self._ready[self._next])
            self._next += 1

    async def _branch(self, nursery: trio.Nursery, number: int) -> None:
        try:
            await self._one(number, self._scope)
            if self._stop is not None or (self.failures and not self._collects):
                nursery.cancel_scope.cancel()
        finally:
            self._running -= 1
            if not nursery.cancel_scope.cancel_called:
                self._launch(nursery)
            if self._running:
                self._walk.busy -= 1
                self._walk.lull()

    async def _one(self, number: int, scope: Scope) -> None:
        try:
            await self._branches[number](scope)
        except StepFailed as failure:
            self._fail(number, failure)
        except Frontier:
            self._frontier = True
        except (Unrecorded, Doubled) as error:
            self._stop = error
        else:
            self._release(number)

    def _fail(self, number: int, failure: StepFailed) -> None:
        self.failures.append(failure)
        if self._collects:
            self._drop(number)
        elif not self._scope.frozen and len(self.failures) == 1:
            mark = {"step": failure.name, "error": failure.text, "class": failure.kind}
            self._walk.history.decide(self._mark, lambda: mark)

    def _release(self, number: int) -> None:
        for follower in self._followers.get(number, ()):
            self._missing[follower] -= 1
            if not self._missing[follower]:
                self._ready.append(follower)

    def _drop(self, number: int) -> None:
        for follower in self._followers.get(number, ()):
            if self._missing[follower] > 0:
                self._missing[follower] = -1
                self._dropped(follower)
                self._drop(follower)


async def graph(
    walk: Walk,
    steps: tuple[PlannedStep, ...],
    prefix: str,
    scope: Scope,
    holder: StepRecord | None,
    *,
    most: int,
    collects: bool,
) -> dict[str, Any]:
    """Steps by their `depends_on`; results by name."""
    numbers = {step.name: i for i, step in enumerate(steps)}
    after = {i: [numbers[name] for name in step.depends_on] for i, step in enumerate(steps) if step.depends_on}

    def branch(step: PlannedStep) -> Branch:
        async def carry_out(scope: Scope) -> None:
            await walk.step(step, prefix, scope, holder)

        return carry_out

    def dropped(number: int) -> None:
        for inner in steps[number].every():
            scope.results[inner.name] = None

    gathering = Gathering(
        walk,
        prefix.removesuffix("."),
        scope,
        [branch(step) for step in steps],
        most=most,
        collects=collects,
        after=after,
        dropped=dropped,
    )
    await gathering.carry_out()
    return {step.name: scope.results.get(step.name) for step in steps}


async def perform_parallel(walk: Walk, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> Any:
    """The results of its steps by name."""
    body = step.body
    assert isinstance(body, ParallelBody)
    results = await graph(walk, body.steps, f"{place}.", scope, record, most=body.most, collects=body.collects)
    walk.require(step, f"{place}!post", scope, results)
    return results
