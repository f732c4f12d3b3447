"""What is made of the rows of two streams: joined rows, and how two measures go together."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, Final

from automation.analytics.forms import CorrelationForm, JoinForm
from automation.analytics.stream import Row
from automation.patterns.correlation import pearson, spearman

MOST_KEYS: Final = 10_000
MOST_WAITING: Final = 1000  # rows of a key


class Join:
    """Each row meets those of the other stream with its key whose end lies at most `within` away; the joined row has
    the values of both, `left_…` and `right_…`. Rows wait while a later one could still meet them.
    """

    def __init__(self, name: str, form: JoinForm) -> None:
        self.name: Final = name
        self.rows: Final[deque[Row]] = deque(maxlen=form.history)
        self.dropped = 0
        self._form: Final = form
        self._within: Final = round(form.within * 1e9)
        self._waiting: Final[OrderedDict[str, tuple[deque[Row], deque[Row]]]] = OrderedDict()

    def take(self, row: Row) -> list[Row]:
        """The rows that this one completes."""
        out: list[Row] = []
        for side, stream in enumerate((self._form.left, self._form.right)):
            if row.stream == stream:
                out += self._meet(row, side)
        self.rows.extend(out)
        return out

    def status(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"keys": len(self._waiting), "rows": len(self.rows)} | (
            {"dropped": self.dropped} if self.dropped else {}
        )

    def _meet(self, row: Row, side: int) -> list[Row]:
        waiting = self._waiting.get(row.key)
        if waiting is None:
            if len(self._waiting) >= MOST_KEYS:
                self._waiting.popitem(last=False)
                self.dropped += 1
            waiting = self._waiting[row.key] = (deque(maxlen=MOST_WAITING), deque(maxlen=MOST_WAITING))
        self._waiting.move_to_end(row.key)
        others = waiting[1 - side]
        while others and others[0].end < row.end - self._within:
            others.popleft()
        waiting[side].append(row)
        met = [other for other in others if abs(other.end - row.end) <= self._within]
        return [_joined(self.name, *((row, other) if side == 0 else (other, row))) for other in met]


def _joined(name: str, left: Row, right: Row) -> Row:
    values = {f"left_{k}": v for k, v in left.values.items()} | {f"right_{k}": v for k, v in right.values.items()}
    return Row(name, left.key, min(left.start, right.start), max(left.end, right.end), values)


class Correlation:
    """Pairs the two measures by key and end of window; after each pair a row with `coefficient`, `lag` and `pairs`,
    over the last `samples`. A lag of n pairs the left value with the right one n windows later; the lag whose
    coefficient is strongest is reported.
    """

    def __init__(self, name: str, form: CorrelationForm) -> None:
        self.name: Final = name
        self.rows: Final[deque[Row]] = deque(maxlen=form.history)
        self._form: Final = form
        self._sides: Final = [side.rpartition(".")[::2] for side in (form.left, form.right)]
        self._open: Final[OrderedDict[str, tuple[OrderedDict[int, float], OrderedDict[int, float]]]] = OrderedDict()
        self._pairs: Final[dict[str, deque[tuple[float, float]]]] = {}

    def take(self, row: Row) -> list[Row]:
        """The coefficient after the pair that this row completes."""
        out: list[Row] = []
        for side, (stream, measure) in enumerate(self._sides):
            value = row.values.get(measure)
            if row.stream == stream and isinstance(value, int | float):
                out += self._pair(row, side, float(value))
        self.rows.extend(out)
        return out

    def status(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"keys": len(self._open), "rows": len(self.rows)}

    def _pair(self, row: Row, side: int, value: float) -> list[Row]:
        if row.key not in self._open and len(self._open) >= MOST_KEYS:
            gone, _ = self._open.popitem(last=False)
            self._pairs.pop(gone, None)
        sides = self._open.setdefault(row.key, (OrderedDict(), OrderedDict()))
        self._open.move_to_end(row.key)
        other = sides[1 - side].pop(row.end, None)
        if other is None:
            sides[side][row.end] = value
            while len(sides[side]) > MOST_WAITING:
                sides[side].popitem(last=False)
            return []
        most = self._form.samples + self._form.lags
        pairs = self._pairs.setdefault(row.key, deque(maxlen=most))
        pairs.append((value, other) if side == 0 else (other, value))
        return self._coefficient(row, list(pairs))

    def _coefficient(self, row: Row, pairs: list[tuple[float, float]]) -> list[Row]:
        method = pearson if self._form.method == "pearson" else spearman
        best: tuple[float, int, int] | None = None
        for lag in range(self._form.lags + 1):
            left = [pair[0] for pair in pairs[: len(pairs) - lag]][-self._form.samples :]
            right = [pair[1] for pair in pairs[lag:]][-self._form.samples :]
            if len(left) < self._form.samples:
                break
            found = method(left, right)
            if found is not None and (best is None or abs(found) > abs(best[0]) + 1e-12):
                best = (found, lag, len(left))
        if best is None:
            return []
        values = {"coefficient": best[0], "lag": best[1], "pairs": best[2]}
        return [Row(self.name, row.key, row.start, row.end, values)]
