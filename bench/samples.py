"""One measured value, and the median of many."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Cell:
    """What was measured: `group` is metadata, io or engine; `higher` says which way is better."""

    group: str
    name: str
    unit: str
    higher: bool = True


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one cell on one system."""

    cell: Cell
    system: str
    value: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A measurement that could not be taken, and why."""

    what: str
    system: str
    reason: str


class Results:
    """All samples of a run, in the order in which cells first appeared; `systems` are the columns, in their order."""

    def __init__(self, systems: Sequence[str]) -> None:
        self.failures: Final[list[Failure]] = []
        self._systems: Final = tuple(systems)
        self._values: Final[dict[Cell, dict[str, dict[int, float]]]] = {}

    def add(self, samples: Iterable[Sample], round: int) -> None:
        """Take the samples of a round."""
        for sample in samples:
            self._values.setdefault(sample.cell, {}).setdefault(sample.system, {})[round] = sample.value

    def cells(self, group: str) -> list[Cell]:
        """What was measured of a group."""
        return [cell for cell in self._values if cell.group == group]

    @property
    def groups(self) -> list[str]:
        """The groups of which something was measured."""
        return list(dict.fromkeys(cell.group for cell in self._values))

    def systems(self, group: str) -> list[str]:
        """Those of which something was measured in a group."""
        return [s for s in self._systems if any(s in self._values[cell] for cell in self.cells(group))]

    def values(self, cell: Cell, system: str) -> list[float]:
        """Every sample, in the order of the rounds."""
        return list(self._values.get(cell, {}).get(system, {}).values())

    def median(self, cell: Cell, system: str) -> float | None:
        """The median of the samples, None without any."""
        values = self.values(cell, system)
        return statistics.median(values) if values else None

    def ratio(self, cell: Cell, system: str, peer: str) -> float | None:
        """How `system` does against `peer`, above 1 is better; the median over rounds of the ratio within a round.

        Samples of a round were taken within seconds of each other, so what disturbs the machine for longer cancels out.
        """
        ours, theirs = self._values[cell].get(system, {}), self._values[cell].get(peer, {})
        pairs = [(ours[i], theirs[i]) for i in ours if i in theirs and ours[i] > 0 and theirs[i] > 0]
        quotients = [a / b if cell.higher else b / a for a, b in pairs]
        return statistics.median(quotients) if quotients else None
