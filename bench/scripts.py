"""What a script costs in each language, and what one that does not end costs: `python -m bench.scripts`.

By the clock, median and in brackets the least: a call of an idle worker, a call with one effect, the first call of all
(a worker is started), and a runaway with a deadline of 0.2 s together with the next call after it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from automation.actions import EFFECTS
from automation.errors import TimedOut
from automation.scripts.pool import ScriptPool

CALLS: Final = 200
STARTS: Final = 5
RUNAWAYS: Final = 5
DEADLINE: Final = 0.2
_EVENT: Final = {"event": {"path": "inbox/report.pdf", "size": 4096}, "state": {}, "steps": {}, "vars": {}}
_ASKING: Final = (
    '(module (import "vexfs" "effect" (func $effect (param i32 i32) (result i32))) (memory (export "memory") 1)'
    ' (data (i32.const 16) "{\\"type\\": \\"stat\\", \\"path\\": \\"a\\"}") (global $top (mut i32) (i32.const 4096))'
    ' (func (export "alloc") (param i32) (result i32) (global.get $top)'
    " (global.set $top (i32.add (global.get $top) (local.get 0))))"
    ' (func (export "run") (param i32 i32) (result i32) BODY))'
)
# language: a small call, a call with one effect, one that does not end
SCRIPTS: Final[dict[str, tuple[str, str, str]]] = {
    "lua": ("return event.path", "return stat('a')", "while true do end"),
    "javascript": ("event.path", "stat('a')", "while (true);"),
    "python": ("event['path']", "stat('a')", "while True: pass"),
    "wasm": (
        _ASKING.replace("BODY", "(i32.const 0)"),
        _ASKING.replace("BODY", "(call $effect (i32.const 16) (i32.const 29))"),
        _ASKING.replace("BODY", "(loop (br 0)) (i32.const 0)"),
    ),
    "sql": ("SELECT 1", "", "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"),
}


async def _stat(action: dict[str, Any]) -> Any:
    return {"exists": False}


async def _times(count: int, work: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
    """Median and least, in milliseconds."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        await work()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000, min(times) * 1000


async def measure(language: str) -> dict[str, tuple[float, float] | None]:
    """The times of one language; None where there is nothing to measure."""
    small, asking, endless = SCRIPTS[language]

    async def first() -> None:
        async with ScriptPool(EFFECTS) as pool:
            await pool.run(small, None, _EVENT, _stat, language=language)

    async with ScriptPool(EFFECTS) as pool:

        async def call(script: str, deadline: float = 5.0) -> None:
            await pool.run(script, None, _EVENT, _stat, deadline, language=language)

        async def runaway() -> None:
            try:
                await call(endless, DEADLINE)
            except TimedOut:
                await call(small)

        await call(small)
        return {
            "call": await _times(CALLS, lambda: call(small)),
            "with an effect": await _times(CALLS, lambda: call(asking)) if asking else None,
            "first": await _times(STARTS, first),
            "runaway": await _times(RUNAWAYS, runaway),
        }


async def main() -> None:
    """Print a table."""
    columns = ("call", "with an effect", "first", "runaway")
    print(f"{'ms':<12}" + "".join(f"{name:>20}" for name in columns))
    for language in SCRIPTS:
        found = await measure(language)
        print(f"{language:<12}" + "".join(f"{_shown(found[name]):>20}" for name in columns))


def _shown(value: tuple[float, float] | None) -> str:
    return "-" if value is None else f"{value[0]:.3g} ({value[1]:.3g})"


if __name__ == "__main__":
    trio.run(main)
