"""Workflows of the type event_driven: one long run for a key, which its events reach one by one."""

from __future__ import annotations

from typing import Any, Final

from automation.events import SemanticEvent
from automation.patterns.snapshots import read_numbered
from automation.runner.scope import Frontier, Scope
from automation.runner.wait import next_mail
from automation.runner.walk import Walk
from automation.triggers.firing_records import event_record

MOST_EVENTS: Final = 100_000  # all that a run did is looked at again when it is resumed


async def walk_events(walk: Walk, scope: Scope) -> Any:
    """The steps for the event that started the run, then for each that follows, until the lifetime ends: `{count,
    result}`, how many events there were and what the last one resulted in.
    """
    plan, count, event = walk.plan, 0, walk.run.firing.event
    results = scope.results
    for inner in plan.every_step():
        results.setdefault(inner.name, None)
    while True:
        walk.run.received = count + 1
        here = scope.with_event(event, results)
        result = await walk.sequence(plan.steps, f"event[{count}].", here, None)
        count += 1
        over = plan.until is not None and walk.holds(plan.until, f"event[{count}]!until", here, result=result)
        if over or count >= (plan.lifetime.count or MOST_EVENTS):
            return {"count": count, "result": result}
        following = await _following(walk, f"event[{count}]", scope)
        if following is None:
            return {"count": count, "result": result}
        event = following


async def _following(walk: Walk, place: str, scope: Scope) -> SemanticEvent | None:
    """The next event; None when none came in time."""
    mark, mailbox = f"{place}!next", walk.mailbox("")
    if not walk.history.decided(mark):
        if scope.frozen:
            raise Frontier
        wake = _idle_until(walk, place)
        await walk.history.flush()
        found = await next_mail(walk, "", lambda n, event: True, wake, None)
        taken = {"seen": mailbox.seen} | ({} if found is None else {"event": event_record(found[1])})
        walk.history.decide(mark, lambda: taken)
        await walk.means.turns.take()
        return None if found is None else found[1]
    taken = walk.history.decision(mark)
    mailbox.drop_before(taken["seen"])
    return read_numbered(taken["event"]) if "event" in taken else None


def _idle_until(walk: Walk, place: str) -> int | None:
    idle = walk.plan.lifetime.idle
    if idle is None:
        return None
    began = walk.history.start(place)
    wake = began.data["wake"] if began is not None else walk.means.clock() + round(idle * 1e9)
    if began is None:
        walk.history.note("timer", place, {"wake": wake})
    return int(wake)
