"""The results as one table: medians, ratios to the bare directory and to each peer, and the bars."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.samples import Cell, Results

_RATIOS: Final = (
    ("vexfs", "native"),
    ("vexfs", "minimal"),
    ("vexfs", "bindfs"),
    ("vexfs", "mergerfs"),
    ("vexfs", "passthrough_ll"),
    ("vexfs", "passthrough_hp"),
    ("vexfs+rules", "vexfs"),
    ("vexfs+rules", "native"),
    ("vexfs traced", "passthrough_ll"),
)
_WARM: Final = ("stat ", "open ", "list ")
_CHANGES: Final = ("create ", "rename ", "unlink ")
PEERS: Final = ("bindfs", "mergerfs", "passthrough_ll", "passthrough_hp")


@dataclass(frozen=True, slots=True)
class Bar:
    """What must hold: `ours` is at least `least` times `peer`, in each cell of a group, or in those whose name begins
    with one of `cells`; with `mean`, in their geometric mean.
    """

    meaning: str
    group: str
    ours: str
    peer: str
    least: float
    cells: tuple[str, ...] = ("",)
    mean: bool = False


BARS: Final = (
    Bar("data at least that of bindfs", "io", "vexfs", "bindfs", 1.0, mean=True),
    Bar("metadata at least 0.8 of passthrough_ll", "metadata", "vexfs", "passthrough_ll", 0.8, mean=True),
    Bar("automations cost metadata under 5 %", "metadata", "vexfs+rules", "vexfs", 0.95, mean=True),
    Bar("automations cost data under 5 %", "io", "vexfs+rules", "vexfs", 0.95, mean=True),
    Bar("data on ext4 at least 0.95 of the directory's", "disk", "vexfs+rules", "native", 0.95),
    Bar("data on tmpfs at least 0.90 of the directory's", "io", "vexfs+rules", "native", 0.90),
    Bar("4 KiB random writes ten times bindfs's", "io", "vexfs+rules", "bindfs", 10.0, ("randwrite 4k",)),
    Bar("warm stat, open and listing within 1.2 of native", "metadata", "vexfs+rules", "native", 1 / 1.2, _WARM),
    Bar("create, rename, unlink like passthrough_ll", "metadata", "vexfs+rules", "passthrough_ll", 1.0, _CHANGES),
    *(Bar(f"workloads like {peer}", "workloads", "vexfs+rules", peer, 1.0) for peer in PEERS),
    Bar("traced data at least 0.8 of passthrough_ll's", "traced", "vexfs traced", "passthrough_ll", 0.8),
)


def verdicts(results: Results) -> list[dict[str, Any]]:
    """Each bar with the geometric mean of its ratios, and the cells that are below it."""
    return [verdict for bar in BARS if (verdict := _verdict(results, bar)) is not None]


def _verdict(results: Results, bar: Bar) -> dict[str, Any] | None:
    ratios = {
        cell.name: ratio
        for cell in results.cells(bar.group)
        if cell.name.startswith(bar.cells) and (ratio := results.ratio(cell, bar.ours, bar.peer)) is not None
    }
    if not ratios:
        return None
    mean = geometric(ratios.values())
    below = {name: round(ratio, 2) for name, ratio in ratios.items() if ratio < bar.least}
    met = mean >= bar.least if bar.mean else not below
    return {"bar": bar.meaning, "least": round(bar.least, 2), "mean": round(mean, 3), "met": met, "below": below}


def geometric(ratios: Iterable[float]) -> float:
    """Their mean."""
    logarithms = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logarithms) / len(logarithms))


def _rows(results: Results, group: str) -> list[list[str]]:
    """One group's table, its head first."""
    systems = results.systems(group)
    ratios = [(ours, peer) for ours, peer in _RATIOS if ours in systems and peer in systems]
    head = [group, "unit", *systems, *(f"{ours}/{peer}" for ours, peer in ratios)]
    rows = []
    for cell in results.cells(group):
        medians = [_number(results.median(cell, system)) for system in systems]
        quotients = [results.ratio(cell, ours, peer) for ours, peer in ratios]
        rows.append([cell.name, cell.unit, *medians, *("-" if q is None else f"{q:.2f}" for q in quotients)])
    return [head, *rows]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def markdown(results: Results, facts: Mapping[str, Any]) -> str:
    """The tables for docs/benchmarks.md."""
    lines = [setting(facts), ""]
    for group in results.groups:
        head, *rows = _rows(results, group)
        lines += [_pipes(head), _pipes(["---", "---", *["---:"] * (len(head) - 2)]), *map(_pipes, rows), ""]
    lines += [f"- {line}" for line in _sentences(results)]
    return "\n".join(lines).rstrip() + "\n"


def text(results: Results, facts: Mapping[str, Any]) -> str:
    """The same for a terminal."""
    lines = [setting(facts), ""]
    for group in results.groups:
        rows = _rows(results, group)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += [*(_columns(row, widths) for row in rows), ""]
    return "\n".join([*lines, *_sentences(results)]) + "\n"


def as_json(results: Results, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Everything, every sample included."""
    document = {
        "machine": dict(facts),
        "settings": dict(settings),
        "bars": verdicts(results),
        "cells": [_cell(results, cell) for group in results.groups for cell in results.cells(group)],
        "failures": [{"what": f.what, "system": f.system, "reason": f.reason} for f in results.failures],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _cell(results: Results, cell: Cell) -> dict[str, Any]:
    systems = [system for system in results.systems(cell.group) if results.values(cell, system)]
    ratios = {f"{ours}/{peer}": results.ratio(cell, ours, peer) for ours, peer in _RATIOS}
    return {
        "group": cell.group,
        "name": cell.name,
        "unit": cell.unit,
        "higher_is_better": cell.higher,
        "median": {system: _rounded(results.median(cell, system)) for system in systems},
        "samples": {system: [_rounded(value) for value in results.values(cell, system)] for system in systems},
        "ratios": {name: _rounded(ratio) for name, ratio in ratios.items() if ratio is not None},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def setting(facts: Mapping[str, Any]) -> str:
    """When, where and on what it was measured, in one paragraph."""
    kind = "virtual CPUs" if facts["virtual"] else "CPUs"
    return (
        f"{facts['taken'][:10]}, commit {facts['commit']}: {facts['cpus']} {kind} ({facts['cpu']}), "
        f"Linux {facts['kernel']}, "
        f"Python {facts['python']}, libfuse {facts['libfuse']}, {facts['bindfs']}, on {facts['backing_filesystem']}, "
        f"{facts['user']}. Medians; ratios above 1 are better, whatever the unit."
    )


def _sentences(results: Results) -> list[str]:
    out = []
    for verdict in verdicts(results):
        below = ", ".join(f"{name} {ratio}" for name, ratio in verdict["below"].items())
        state = "met" if verdict["met"] else "MISSED"
        out.append(
            f"{state}: {verdict['bar']}: mean ratio {verdict['mean']:.2f}" + (f"; below: {below}" if below else "")
        )
    return out + [f"not measured: {f.what} on {f.system}: {f.reason}" for f in results.failures]


def _pipes(row: Sequence[str]) -> str:
    return "| " + " | ".join(row) + " |"


def _columns(row: Sequence[str], widths: Sequence[int]) -> str:
    first = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
    return "  ".join(first + [value.rjust(width) for value, width in zip(row[2:], widths[2:], strict=True)]).rstrip()
