"""How times, amounts and tables look on an 80-column terminal."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from typing import Final

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def clock(ns: int) -> str:
    """Local date and time with its offset from UTC: `2026-11-23 14:05:09 +0100`."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(ns / 1e9))


def span(seconds: float) -> str:
    """A duration in its two largest units: `3d 4h`, `2m 5s`, `12.5 s`, `3.1 ms`."""
    if seconds < 0.9995:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    parts: list[str] = []
    for size, unit in _UNITS:
        if whole >= size or parts:
            parts.append(f"{whole // size}{unit}")
            whole %= size
    return " ".join(parts[:2])


def ago(ns: int | None) -> str:
    """How long ago: `2m 5s ago`, or `never`."""
    return "never" if not ns else f"{span(max(0.0, (time.time_ns() - ns) / 1e9))} ago"


def amount(number: float) -> str:
    """A count with thousands marked: `1,234,567`; one decimal below 100 where it is not whole."""
    return f"{number:,.1f}" if number < 100 and number != int(number) else f"{number:,.0f}"


def fit(text: str, width: int) -> str:
    """One printable line of at most `width` columns; what is cut is marked."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def paragraph(text: str) -> list[str]:
    """Indented lines of at most 80 columns that hold all of `text`."""
    return textwrap.wrap(fit(text, 2000), 80, initial_indent="  ", subsequent_indent="  ")


def table(rows: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """Left-aligned columns of these widths, two spaces apart; the last column is not padded."""
    return ["  ".join(fit(c, w).ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
