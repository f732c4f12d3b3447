"""`/.vexfs/analytics`: each stream, with what its windows came to."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, Final

from vexfs_fuse.control.folders import Collection
from vexfs_fuse.control.layout import clock, fit
from vexfs_fuse.control.switched import shown, switch, switched
from vexfs_fuse.control.texts import Text

if TYPE_CHECKING:
    from automation.analytics.desk import AnalyticsDesk
    from automation.analytics.stream import Row

BARS: Final = "▁▂▃▄▅▆▇█"
WIDTH: Final = 60  # windows in a sparkline
MOST_LINES: Final = 40


def current(rows: list[Row]) -> str:
    """The newest row of each key, one JSON object a line."""
    newest = {row.key: row for row in rows}
    return "".join(
        f"{json.dumps({'key': row.key, 'start': row.start, 'end': row.end, **row.values}, ensure_ascii=False)}\n"
        for row in newest.values()
    )


def history(rows: list[Row]) -> str:
    """Every row that is kept as CSV; times in seconds since the epoch."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["start", "end", "key", *names])
    for row in rows:
        values = [_cell(row.values.get(name)) for name in names]
        writer.writerow([f"{row.start / 1e9:.3f}", f"{row.end / 1e9:.3f}", row.key, *values])
    return out.getvalue()


def sparkline(rows: list[Row]) -> str:
    """A line for each key and measure: the last windows as bars from the least to the greatest, and both numbers."""
    lines: list[str] = []
    for key in dict.fromkeys(row.key for row in rows):
        ours = [row for row in rows if row.key == key][-WIDTH:]
        for name in ours[-1].values:
            numbers = [row.values.get(name) for row in ours]
            if any(isinstance(number, int | float) for number in numbers):
                lines.append(f"{fit(f'{key} {name}'.strip(), 28):<28}  {_bars(numbers)}")
    shown = lines[:MOST_LINES] + ([f"… and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else [])
    return "".join(
        f"{line}\n" for line in [f"until {clock(rows[-1].end)}" if rows else "no window has ended yet", *shown]
    )


def _bars(numbers: list[Any]) -> str:
    real = [number for number in numbers if isinstance(number, int | float)]
    low, high = min(real), max(real)
    step = (high - low) / (len(BARS) - 1) or 1.0
    drawn = "".join(BARS[round((n - low) / step)] if isinstance(n, int | float) else " " for n in numbers)
    return f"{drawn}  {low:.6g} … {high:.6g}, now {real[-1]:.6g}"


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


def analytics(desk: AnalyticsDesk) -> Collection:
    """By definition, then as they feed each other."""

    def rows(name: str) -> list[Row]:
        node = desk.node(name)
        return [] if node is None else list(node.rows)

    return switched(
        desk,
        {
            "value": lambda name: Text(lambda: current(rows(name))),
            "history.csv": lambda name: Text(lambda: history(rows(name))),
            "sparkline": lambda name: Text(lambda: sparkline(rows(name))),
            "status": lambda name: shown(lambda: desk.status(name)),
            "enabled": lambda name: switch(lambda: desk.enabled(name), lambda on: desk.enable(name, on)),
        },
    )
