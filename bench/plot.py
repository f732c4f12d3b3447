"""A chart of speeds as an SVG file: groups of horizontal bars on a logarithmic axis, where 1 is the bare directory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

_COLOURS: Final = ("#1b6ca8", "#c8553d", "#e09f3e", "#7a9e7e", "#6c5b7b", "#999999")
_LEFT, _WIDTH, _BAR, _GAP, _TOP = 220, 560, 9, 10, 46
_LEAST: Final = 0.01  # where the axis begins; what is less is drawn as a sliver
_MOST: Final = 2.0
_TICKS: Final = (0.01, 0.1, 0.25, 0.5, 1.0, 2.0)

Rows = Sequence[tuple[str, Sequence[float | None]]]


def svg(rows: Rows, systems: Sequence[str]) -> str:
    """`rows` are a meaning and a speed for each of `systems`; None is left out."""
    step = len(systems) * _BAR + _GAP
    height = _TOP + len(rows) * step + 26
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 60}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="{height}" fill="white"/>',
        *_legend(systems),
        *_axis(height),
    ]
    for number, (meaning, shares) in enumerate(rows):
        lines += _bars(_TOP + number * step, meaning, shares)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _at(share: float) -> float:
    clipped = min(max(share, _LEAST * 1.03), _MOST)
    return math.log(clipped / _LEAST) / math.log(_MOST / _LEAST) * _WIDTH


def _legend(systems: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(systems):
        x = 10 + number * 140
        yield f'<rect x="{x}" y="8" width="11" height="11" fill="{_COLOURS[number % len(_COLOURS)]}"/>'
        yield f'<text x="{x + 16}" y="18">{escape(name)}</text>'


def _axis(height: int) -> Iterator[str]:
    for tick in _TICKS:
        x = _LEFT + _at(tick)
        colour = "#333" if tick == 1 else "#ddd"
        yield f'<line x1="{x:.1f}" y1="{_TOP - 10}" x2="{x:.1f}" y2="{height - 20}" stroke="{colour}"/>'
        yield f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">{tick:g}</text>'


def _bars(top: int, meaning: str, shares: Sequence[float | None]) -> Iterator[str]:
    middle = top + len(shares) * _BAR / 2 + 4
    yield f'<text x="{_LEFT - 8}" y="{middle:.1f}" text-anchor="end">{escape(meaning)}</text>'
    for number, share in enumerate(shares):
        if share is None:
            continue
        y, width = top + number * _BAR, _at(share)
        colour = _COLOURS[number % len(_COLOURS)]
        yield f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 1}" fill="{colour}"/>'
        yield f'<text x="{_LEFT + width + 3:.1f}" y="{y + _BAR - 1}" font-size="8" fill="#555">{share:.2f}</text>'
