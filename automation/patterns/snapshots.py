"""Partial matches as rows of plain values and back, so that they survive a restart. What they share stays shared.

("e", event) · ("n", label, number of its event, order, number of its parent or -1)
("p", key, runs, complete), where a run is [state, number of its node or -1, start, previous, order]
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Final

from automation.event_lines import read_event
from automation.event_rows import event_row, read_row
from automation.events import SemanticEvent
from automation.patterns.automaton import Automaton
from automation.patterns.matcher import Partition
from automation.patterns.runs import Node, Run

Frozen = list[tuple[Hashable, list[Run], list[Run]]]


def freeze(partitions: Mapping[Hashable, Partition]) -> Frozen:
    """What partitions hold now: runs and nodes never change, so the lists are all that must be copied."""
    return [(key, list(one.runs), list(one.complete)) for key, one in partitions.items()]


def partition_rows(frozen: Frozen, automaton: Automaton) -> Iterator[Any]:
    """The rows of partitions, what they need first."""
    states = {id(state): number for number, state in enumerate(automaton.states)}
    writer = _Writer()

    def runs(found: list[Run]) -> list[list[Any]]:
        return [[states[id(r.state)], writer.node(r.node), r.start, r.previous, r.order] for r in found]

    for key, live, complete in frozen:
        row = ("p", key, runs(live), runs(complete))
        yield from writer.take()
        yield row


def read_partitions(rows: Iterable[Any], automaton: Automaton) -> Iterator[tuple[Hashable, Partition]]:
    """The partitions that `partition_rows` wrote for the same automaton."""
    events: list[SemanticEvent] = []
    nodes: list[Node] = []

    def runs(found: list[list[int]]) -> list[Run]:
        return [Run(automaton.states[s], nodes[n] if n >= 0 else None, a, b, order) for s, n, a, b, order in found]

    for kind, *fields in rows:
        if kind == "e":
            events.append(read_row(fields[0]))
        elif kind == "n":
            label, event, order, parent = fields
            nodes.append(Node(label, events[event], order, nodes[parent] if parent >= 0 else None))
        else:
            partition = Partition()
            partition.runs, partition.complete = runs(fields[1]), runs(fields[2])
            yield fields[0], partition


def read_numbered(value: Mapping[str, Any]) -> SemanticEvent:
    """An event with the number that it had."""
    event = read_event(value)
    event.seq = int(value["seq"])
    return event


class _Writer:
    """Numbers nodes, parents before children, and events as they come; `take` gives the rows of the new ones."""

    def __init__(self) -> None:
        self._rows: list[Any] = []
        self._nodes: Final[dict[int, int]] = {}
        self._events: Final[dict[int, int]] = {}

    def take(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    def node(self, node: Node | None) -> int:
        path = []
        while node is not None and id(node) not in self._nodes:
            path.append(node)
            node = node.parent
        number = self._nodes[id(node)] if node is not None else -1
        for child in reversed(path):
            self._rows.append(("n", child.label, self._event(child.event), child.order, number))
            number = self._nodes[id(child)] = len(self._nodes)
        return number

    def _event(self, event: SemanticEvent) -> int:
        number = self._events.get(id(event))
        if number is None:
            number = self._events[id(event)] = len(self._events)
            self._rows.append(("e", event_row(event)))
        return number
