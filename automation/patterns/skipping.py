"""After a match: which other partial and complete matches it rules out.

Matches are settled in the order of their first events (among equals, the one completed first); a complete match waits
while a run that began earlier lives. It then rules out what began before the event that matching goes on from.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from automation.patterns.runs import Run

if TYPE_CHECKING:
    from automation.patterns.matcher import Partition


class Strategy(StrEnum):
    """Where matching goes on after a match."""

    NONE = "none"  # everywhere: every combination is a match
    NEXT = "next"  # at the event after the match's first
    PAST_LAST = "past_last"  # at the event after the match's last: no event is used twice
    TO_FIRST = "to_first"  # at the first event of a step
    TO_LAST = "to_last"  # at the last event of a step


class SkipError(ValueError):
    """A match has no event to skip to, or skipping would come back to where the match began."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A strategy; `to` names the step of TO_FIRST and TO_LAST, `strict` makes a match without it an error."""

    strategy: Strategy = Strategy.NONE
    to: str = ""
    strict: bool = False

    @property
    def skips(self) -> bool:
        """Whether a match can rule out others at all."""
        return self.strategy is not Strategy.NONE

    def release(self, partition: Partition, labels: tuple[str, ...]) -> list[Run]:
        """Take the settled matches out of the partition; SkipError where `strict` forbids what happens."""
        out = []
        while partition.complete:
            match = min(partition.complete, key=lambda run: run.order)
            if partition.runs and partition.runs[0].order < match.order:
                break
            partition.complete.remove(match)
            resume = self._resume(match, labels)
            if resume is not None:
                partition.runs = [run for run in partition.runs if run.order >= resume]
                partition.complete = [run for run in partition.complete if run.order >= resume]
            out.append(match)
        return out

    def _resume(self, match: Run, labels: tuple[str, ...]) -> int | None:
        """Number of the event from which a match may still begin; None rules nothing out."""
        if match.node is None:
            return None
        match self.strategy:
            case Strategy.NEXT:
                return match.order + 1
            case Strategy.PAST_LAST:
                return match.node.order + 1
        target = self._target(match, labels)
        if self.strict and target is None:
            raise SkipError(f"cannot skip to {self.to!r}: the match has no such event")
        if self.strict and target == match.order:
            raise SkipError(f"cannot skip to {self.to!r}: it is the first event of the match")
        return target

    def _target(self, match: Run, labels: tuple[str, ...]) -> int | None:
        found, node = None, match.node
        while node is not None:
            if labels[node.label] == self.to:
                found = node.order
                if self.strategy is Strategy.TO_LAST:
                    break
            node = node.parent
        return found
