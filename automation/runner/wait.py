"""Steps that wait: for a time, until a time, or for an event. What they wait for outlives a restart."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import trio

from automation.backfill import existing
from automation.errors import TimedOut
from automation.events import SemanticEvent
from automation.facts import event_facts
from automation.quantities import parse_duration
from automation.runner.awaited import Listening
from automation.runner.plan import PlannedStep, WaitBody
from automation.runner.record import StepRecord
from automation.runner.scope import Scope
from automation.runner.walk import CONTROL, Walk
from automation.triggers.matching import Matcher


async def perform_wait(walk: Walk, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> Any:
    """`{until}` in ns since the epoch, or the event that came; `{timed_out: true}` when none did and may be none."""
    body = step.body
    assert isinstance(body, WaitBody)
    known, result = walk.recall(step, place, scope, record)
    if known:
        return result
    try:
        if body.event is None:
            result = {"until": await _sleep(walk, place, record, _wake_time(walk, body, place, scope))}
        else:
            result = await _event(walk, step, place, scope, record)
        walk.require(step, f"{place}!post", scope, result)
    except CONTROL:
        raise
    except Exception as error:
        raise walk.note_failure(step, place, error) from error
    walk.note_end(step, place, result)
    return result


def _wake_time(walk: Walk, body: WaitBody, place: str, scope: Scope) -> int:
    began = walk.history.start(place)
    if began is not None:
        return int(began.data["wake"])
    variables = walk.variables(scope)
    if body.seconds is not None:
        return walk.means.clock() + round(parse_duration(body.seconds.render(variables)) * 1e9)
    assert body.until is not None
    return time_of(body.until.render(variables))


def time_of(value: Any) -> int:
    """Nanoseconds since the epoch of an ISO 8601 time (local unless it names a zone), or of seconds since the epoch."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return round(value * 1e9)
    try:
        return round(datetime.datetime.fromisoformat(str(value)).timestamp() * 1e9)
    except ValueError:
        raise ValueError(f"{value!r} is no time; write for instance '2030-01-31T08:00' or seconds since 1970") from None


async def _sleep(walk: Walk, place: str, record: StepRecord, wake: int) -> int:
    if walk.history.start(place) is None:
        walk.history.note("timer", place, {"wake": wake})
    await walk.history.flush()
    if wake > walk.means.clock():
        await walk.rest(lambda: walk.means.timers.sleep_until(wake), record)
    return wake


async def _event(walk: Walk, step: PlannedStep, place: str, scope: Scope, record: StepRecord) -> Mapping[str, Any]:
    body = step.body
    assert isinstance(body, WaitBody) and body.event is not None
    listening, box = body.event, "" if body.from_start else place
    wake = None
    if body.timeout is not None:
        began = walk.history.start(place)
        wake = began.data["wake"] if began is not None else walk.means.clock() + round(body.timeout * 1e9)
        if began is None:
            walk.history.note("timer", place, {"wake": wake})
    matcher = listening.matcher(lambda: walk.variables(scope))

    def fits(_: int, event: SemanticEvent) -> bool:
        return matcher.matches(event) and listening.holds(event, walk.variables(scope))

    if not body.from_start:
        walk.listen(listening, place, scope)
    try:
        await walk.history.flush()
        look = partial(_look, walk, listening, matcher, box, fits) if body.existing else None
        found = await next_mail(walk, box, fits, wake, record, look)
    finally:
        if not body.from_start:
            walk.close(place)
    if found is not None:
        walk.history.note("decided", f"{place}!mail", {"value": {"box": box, "number": found[0]}})
        return event_facts(found[1])
    if body.fails:
        raise TimedOut(f"no such event came within {body.timeout:g} s")
    return {"timed_out": True}


async def _look(
    walk: Walk, listening: Listening, matcher: Matcher, box: str, fits: Callable[[int, SemanticEvent], bool]
) -> None:
    """Let the first file that is there already, and fits, come as mail."""
    workspace = walk.means.equipment.workspace
    files = existing(workspace, listening.anchors(matcher), listening.types, walk.run.workflow)
    async with contextlib.aclosing(files) as found:
        async for event in found:
            if fits(0, event):
                walk.mailbox(box).put(event)
                return


async def next_mail(
    walk: Walk,
    box: str,
    fits: Any,
    wake: int | None,
    record: StepRecord | None,
    look: Callable[[], Awaitable[None]] | None = None,
) -> tuple[int, SemanticEvent] | None:
    """The next event in a mailbox that fits, when it has come; None when none has until `wake`. `look` may put one
    there before anything is waited for.
    """
    mailbox = walk.mailbox(box)
    found = mailbox.take(fits)
    if found is None and look is not None:
        await look()
        found = mailbox.take(fits)

    async def until_it_comes() -> tuple[int, SemanticEvent] | None:
        while True:
            with trio.CancelScope() as scope:
                timer = None if wake is None else walk.means.timers.set(wake, scope.cancel)
                try:
                    await mailbox.more()
                finally:
                    if timer is not None:
                        timer.cancel()
            found = mailbox.take(fits)
            if found is not None or scope.cancelled_caught:
                return found

    if found is not None or (wake is not None and wake <= walk.means.clock()):
        return found
    return await walk.rest(until_it_comes, record)
