"""Partial matches as JSON values and back, so that they survive a restart. Shared events and nodes stay shared."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from automation.event_lines import read_event
from automation.events import SemanticEvent
from automation.patterns.automaton import Automaton
from automation.patterns.matcher import Partition
from automation.patterns.runs import Node, Run


def write_partitions(partitions: Mapping[Hashable, Partition], automaton: Automaton) -> dict[str, Any]:
    """`events`, `nodes` [label, event, order, parent or -1], and `partitions` with runs [state, node, start, previous,
    order], all by index.
    """
    states = {id(state): number for number, state in enumerate(automaton.states)}
    writer = _Writer()

    def rows(runs: list[Run]) -> list[list[Any]]:
        return [[states[id(r.state)], writer.node(r.node), r.start, r.previous, r.order] for r in runs]

    out = [
        {"key": _write_key(key), "runs": rows(partition.runs), "complete": rows(partition.complete)}
        for key, partition in partitions.items()
    ]
    return {"events": writer.events, "nodes": writer.nodes, "partitions": out}


def read_partitions(snapshot: Mapping[str, Any], automaton: Automaton) -> Iterator[tuple[Hashable, Partition]]:
    """The partitions that `write_partitions` wrote for the same automaton."""
    events = [read_numbered(event) for event in snapshot["events"]]
    nodes: list[Node] = []
    for label, event, order, parent in snapshot["nodes"]:
        nodes.append(Node(label, events[event], order, nodes[parent] if parent >= 0 else None))

    def runs(rows: list[list[int]]) -> list[Run]:
        return [Run(automaton.states[s], nodes[n] if n >= 0 else None, a, b, order) for s, n, a, b, order in rows]

    for value in snapshot["partitions"]:
        partition = Partition()
        partition.runs, partition.complete = runs(value["runs"]), runs(value["complete"])
        yield _read_key(value["key"]), partition


def read_numbered(value: Mapping[str, Any]) -> SemanticEvent:
    """An event with the number that it had."""
    event = read_event(value)
    event.seq = int(value["seq"])
    return event


class _Writer:
    """Numbers nodes, parents before children, and events as they come."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.nodes: list[list[int]] = []
        self._known: dict[int, int] = {}
        self._event_numbers: dict[int, int] = {}

    def node(self, node: Node | None) -> int:
        path = []
        while node is not None and id(node) not in self._known:
            path.append(node)
            node = node.parent
        number = self._known[id(node)] if node is not None else -1
        for child in reversed(path):
            self.nodes.append([child.label, self._event(child.event), child.order, number])
            number = self._known[id(child)] = len(self.nodes) - 1
        return number

    def _event(self, event: SemanticEvent) -> int:
        number = self._event_numbers.get(id(event))
        if number is None:
            number = self._event_numbers[id(event)] = len(self.events)
            self.events.append(event.as_dict())
        return number


def _write_key(key: Hashable) -> Any:
    return {"all": list(key)} if isinstance(key, tuple) else key


def _read_key(value: Any) -> Hashable:
    return tuple(value["all"]) if isinstance(value, dict) else value
