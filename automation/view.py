"""What SQL scripts see: the tables `events`, `runs`, `steps` and `state`, copies made for each script."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import trio

from automation.bus import Bus, Subscription
from automation.events import SemanticEvent
from automation.runner import Run
from automation.state import State

KEPT: Final = 10_000  # events
_RUNS_AT_ONCE: Final = 20
_SQL: Final = re.compile(r"\bsql\b", re.IGNORECASE)
_EVENT: Final = (
    *("seq", "ts", "type", "path", "dest", "inode", "size", "offset", "length"),
    *("pid", "uid", "gid", "comm", "tenant", "cause", "attrs"),
)
_RUN: Final = ("id", "workflow", "status", "trigger", "started_ns", "ended_ns", "path", "error", "input", "output")
_STEP: Final = ("run", "name", "action", "status", "attempts", "started_ns", "ended_ns", "result", "error")

Tables = dict[str, dict[str, Any]]


class View:
    """The last 10,000 events, kept while some definition has an SQL script (`keep`), the runs in memory, the state.

    Keeping asks for no reads and writes to be traced.
    """

    def __init__(self, bus: Bus, state: State, runs: Callable[[], Mapping[str, Run]]) -> None:
        self._bus: Final = bus
        self._state: Final = state
        self._runs: Final = runs
        self._events: Final[deque[SemanticEvent]] = deque(maxlen=KEPT)
        self._subscription: Subscription | None = None
        self._users: Final[set[str]] = set()

    def keep(self, name: str, text: str) -> None:
        """Remember events from here on if the text of the definition `name` speaks of SQL; empty when it is gone."""
        self._users.discard(name)
        if _SQL.search(text):
            self._users.add(name)
        if self._users and self._subscription is None:
            self._subscription = self._bus.subscribe(
                "sql", accept=self._note, wants=lambda kind, path, maker: False, capacity=1
            )
        elif not self._users and self._subscription is not None:
            self._subscription.close()
            self._subscription = None
            self._events.clear()

    def _note(self, event: SemanticEvent) -> bool:
        self._events.append(event)
        return False

    async def tables(self) -> Tables:
        """Each table as `{columns, rows}`; the loop is not held up by it."""
        events, runs = list(self._events), []
        for i, run in enumerate(list(self._runs().values())):
            runs.append(run.as_dict())
            if i % _RUNS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        return {
            "events": await trio.to_thread.run_sync(lambda: _table(_EVENT, map(SemanticEvent.as_dict, events))),
            "runs": _table(_RUN, ({**run, "path": run["event"]["path"]} for run in runs)),
            "steps": _table(_STEP, ({**step, "run": run["id"]} for run in runs for step in run["steps"])),
            "state": _table(("path", "value"), _leaves("", self._state.get(""))),
        }


def _table(columns: tuple[str, ...], items: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"columns": columns, "rows": [[item.get(name) for name in columns] for item in items]}


def _leaves(path: str, value: Any) -> Iterator[dict[str, Any]]:
    """Each value of the state that is no object, with its dotted path."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}" if path else name, inner)
    else:
        yield {"path": path, "value": value}
