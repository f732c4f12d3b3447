"""A partial match and the events that it holds.

Matches that share a beginning share its nodes: a node knows its event and its parent, so every partial match is a
leaf of a tree and a node lives as long as one of them needs it. This is the versioned match buffer of SASE without
the version numbers: an edge needs one only where a node may have several parents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from automation.events import SemanticEvent

if TYPE_CHECKING:
    from automation.patterns.automaton import State


class Node:
    """One matched event: `label` is its step's number, `order` its own in the stream, `parent` the one before it."""

    __slots__ = ("depth", "event", "label", "order", "parent")

    def __init__(self, label: int, event: SemanticEvent, order: int, parent: Node | None) -> None:
        self.label: Final = label
        self.event: Final = event
        self.order: Final = order
        self.parent: Final = parent
        self.depth: Final[int] = 1 if parent is None else parent.depth + 1


class Run:
    """A partial match: where it stands, its last node, and when (ns) its first and its last event were.

    `order` is the number of its first event in this pattern's stream, 0 before there is one; never changed once made.
    """

    __slots__ = ("node", "order", "previous", "start", "state")

    def __init__(self, state: State | Any, node: Node | None, start: int, previous: int, order: int) -> None:
        self.state: Final = state
        self.node: Final = node
        self.start: Final = start
        self.previous: Final = previous
        self.order: Final = order


def events_of(run: Run, label: int) -> list[SemanticEvent]:
    """The events that the step has matched so far, oldest first."""
    out, node = [], run.node
    while node is not None:
        if node.label == label:
            out.append(node.event)
        node = node.parent
    out.reverse()
    return out


def events_by_step(run: Run, labels: tuple[str, ...]) -> dict[str, list[SemanticEvent]]:
    """All matched events by step name, steps in the order in which they first matched."""
    path, node = [], run.node
    while node is not None:
        path.append(node)
        node = node.parent
    out: dict[str, list[SemanticEvent]] = {}
    for node in reversed(path):
        out.setdefault(labels[node.label], []).append(node.event)
    return out
