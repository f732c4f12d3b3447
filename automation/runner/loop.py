"""Loops: for each item of a list, one after the other or several at once; or while a condition holds."""

from __future__ import annotations

from typing import Any, Final

from automation.runner.parallel import Branch, Gathering
from automation.runner.plan import LoopBody, PlannedStep
from automation.runner.record import StepRecord
from automation.runner.scope import Scope
from automation.runner.walk import Walk

MOST_RESULTS: Final = 1000


class LoopError(ValueError):
    """A loop does not work with what it is given."""


async def perform_loop(walk: Walk, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> Any:
    """`{count, results}`: how many iterations there were, and what the first 1,000 of them resulted in."""
    body = step.body
    assert isinstance(body, LoopBody)
    round_ = _Round(walk, body, place, record)
    if body.items is None:
        await round_.while_it_holds(scope)
    else:
        await round_.for_each(scope)
    result = {"count": round_.count, "results": [round_.results.get(i) for i in range(min(round_.count, MOST_RESULTS))]}
    walk.require(step, f"{place}!post", scope, result)
    return result


class _Round:
    """One execution of a loop."""

    def __init__(self, walk: Walk, body: LoopBody, place: str, record: StepRecord) -> None:
        self._walk: Final = walk
        self._body: Final = body
        self._place: Final = place
        self._record: Final = record
        self._names: Final = [inner.name for step in body.steps for inner in step.every()]
        self.count = 0
        self.results: Final[dict[int, Any]] = {}

    async def for_each(self, scope: Scope) -> None:
        """Over a list that is worked out, and recorded, before anything is done."""
        items = self._walk.decide(f"{self._place}!items", scope, lambda: self._items(scope))
        if self._body.most > 1:
            await self._several(items, scope)
        else:
            for i, item in enumerate(items):
                self._publish(scope, await self._iteration(item, i, scope))
                await self._walk.means.turns.take()
        self.count = len(items)

    async def while_it_holds(self, scope: Scope) -> None:
        """`while` is asked before an iteration, `until` after it."""
        body, walk, seen = self._body, self._walk, scope
        while True:
            i = self.count
            if body.goes_on is not None and not walk.holds(body.goes_on, f"{self._place}!while[{i}]", seen):
                return
            if i >= body.limit:
                raise LoopError(f"the loop went on after its limit of {body.limit}")
            seen = await self._iteration(None, i, scope)
            self.count += 1
            self._publish(scope, seen)
            await walk.means.turns.take()
            if body.until is not None and walk.holds(body.until, f"{self._place}!until[{i}]", seen):
                return

    def _items(self, scope: Scope) -> list[Any]:
        given = self._body.items
        items = given if isinstance(given, list) else given(self._walk.variables(scope)) if given is not None else []
        if not isinstance(items, list):
            raise LoopError(f"'for_each' needs a list, not {str(items)[:60]!r}")
        if len(items) > self._body.limit:
            raise LoopError(f"the list has {len(items)} items, more than the limit of {self._body.limit}")
        return items

    async def _iteration(self, item: Any, index: int, scope: Scope) -> Scope:
        inner = scope.iteration(item, index, self._body.alias)
        result = await self._walk.sequence(self._body.steps, f"{self._place}[{index}].", inner, self._record)
        if index < MOST_RESULTS:
            self.results[index] = result
        return inner

    def _publish(self, scope: Scope, inner: Scope) -> None:
        """Let what follows see the results of an iteration."""
        for name in self._names:
            if name in inner.results:
                scope.results[name] = inner.results[name]

    async def _several(self, items: list[Any], scope: Scope) -> None:
        last: dict[int, Scope] = {}

        def branch(index: int, item: Any) -> Branch:
            async def carry_out(scope: Scope) -> None:
                last[index] = await self._iteration(item, index, scope)

            return carry_out

        gathering = Gathering(
            self._walk,
            self._place,
            scope,
            [branch(i, item) for i, item in enumerate(items)],
            most=self._body.most,
            collects=self._body.collects,
            after={},
        )
        await gathering.carry_out()
        if last:
            self._publish(scope, last[max(last)])
