"""`/.vexfs/analytics`: each stream, with what its windows came to."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from automation.errors import CallerError
from vexfs_fuse.control.handles import Snapshot
from vexfs_fuse.control.layout import clock, fit
from vexfs_fuse.control.nodes import Description, Handle, Opening
from vexfs_fuse.control.switched import Enabled, Shown, Switched
from vexfs_fuse.errors import ENOENT, fail

if TYPE_CHECKING:
    from automation.analytics.desk import AnalyticsDesk
    from automation.analytics.stream import Row

BARS: Final = "▁▂▃▄▅▆▇█"
WIDTH: Final = 60  # windows in a sparkline
MOST_LINES: Final = 40


class StreamFile:
    """A text made of the rows of a stream."""

    def __init__(self, desk: AnalyticsDesk, name: str, render: Callable[[list[Row]], str]) -> None:
        self._desk: Final = desk
        self._name: Final = name
        self._text: Final = render

    def describe(self) -> Description:
        """Readable by the owner."""
        return Description(0o400)

    def open(self, opening: Opening) -> Handle:
        """A snapshot."""
        return Snapshot(self._render)

    def _render(self) -> bytes:
        try:
            node = self._desk.node(self._name)
        except CallerError:
            fail(ENOENT)
        return self._text(list(node.rows) if node is not None else []).encode("utf-8", "backslashreplace")


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


def analytics(desk: AnalyticsDesk) -> Switched:
    """By definition, then as they feed each other."""
    return Switched(
        desk,
        {
            "value": lambda name: StreamFile(desk, name, current),
            "history.csv": lambda name: StreamFile(desk, name, history),
            "sparkline": lambda name: StreamFile(desk, name, sparkline),
            "status": lambda name: Shown(lambda: desk.status(name)),
            "enabled": lambda name: Enabled(desk, name, desk.enabled),
        },
    )
