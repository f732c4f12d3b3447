"""The routing index: an event's type and path → the few subscribers that could care.

One trie of directory names for each subscribed type; at the node where a pattern's literal part ends, subscribers are
filed by the literal extension that the pattern ends in. An event walks the tries of its type and the groups above it.
Measured on 1,000 and 50,000 subscribers that do not match: `bench/route.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from automation.globs import Anchor

T = TypeVar("T")
ANYWHERE: Final = (Anchor((), "", exact=False),)


class _Node(Generic[T]):
    """One directory name: what lies below, who wants exactly this path, who wants what is below by extension."""

    __slots__ = ("below", "children", "exact")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.exact: dict[T, None] = {}
        self.below: dict[str, dict[T, None]] = {}

    @property
    def empty(self) -> bool:
        return not (self.children or self.exact or self.below)


class Index(Generic[T]):
    """Add and remove take time in the length of the patterns, whatever the number of subscribers."""

    def __init__(self) -> None:
        self._tries: Final[dict[str, _Node[T]]] = {}
        self._routes: Final[dict[str, tuple[_Node[T], ...]]] = {}
        self._members: Final[dict[T, list[tuple[str, Anchor]]]] = {}

    def __len__(self) -> int:
        return len(self._members)

    def add(self, subscriber: T, types: Iterable[str], anchors: Iterable[Anchor] = ANYWHERE) -> None:
        """File a subscriber (hashable) under dotted type names, each standing for all below it, and anchors."""
        places = [(type_name, anchor) for type_name in dict.fromkeys(types) for anchor in anchors]
        for type_name, anchor in places:
            node = self._trie(type_name)
            for name in anchor.head:
                node = node.children.setdefault(name, _Node())
            (node.exact if anchor.exact else node.below.setdefault(anchor.extension, {}))[subscriber] = None
        self._members[subscriber] = self._members.get(subscriber, []) + places

    def remove(self, subscriber: T) -> None:
        """Forget a subscriber; does nothing for a stranger."""
        for type_name, anchor in self._members.pop(subscriber, ()):
            trie = self._tries.get(type_name)
            if trie is None:
                continue
            _take_out(trie, subscriber, anchor)
            if trie.empty:
                del self._tries[type_name]
                self._routes.clear()

    def wants(self, type_name: str) -> bool:
        """Whether any subscriber wants events of this type."""
        routes = self._routes.get(type_name)
        return bool(self._route(type_name) if routes is None else routes)

    def find(self, type_name: str, path: str) -> list[T]:
        """The subscribers that could want an event of this type at this path; each once, in no promised order."""
        routes = self._routes.get(type_name)
        if routes is None:
            routes = self._route(type_name)
        if not routes:
            return []
        names = path.split("/")
        last = names[-1]
        dot = last.rfind(".")
        extension = last[dot:] if dot >= 0 else ""
        found: list[T] = []
        for trie in routes:
            node = trie
            for name in names:
                if node.below:
                    _collect(node.below, extension, found)
                inner = node.children.get(name)
                if inner is None:
                    break
                node = inner
            else:
                found += node.exact
        return found if len(found) < 2 else list(dict.fromkeys(found))

    def _trie(self, type_name: str) -> _Node[T]:
        trie = self._tries.get(type_name)
        if trie is None:
            trie = self._tries[type_name] = _Node()
            self._routes.clear()
        return trie

    def _route(self, type_name: str) -> tuple[_Node[T], ...]:
        names = ["*"]
        at = type_name.find(".")
        while at >= 0:
            names.append(type_name[:at])
            at = type_name.find(".", at + 1)
        routes = tuple(self._tries[name] for name in (*names, type_name) if name in self._tries)
        if len(self._routes) > 10_000:  # `user.*` may invent names without end
            self._routes.clear()
        self._routes[type_name] = routes
        return routes


def _collect(below: dict[str, dict[T, None]], extension: str, found: list[T]) -> None:
    anything = below.get("")
    if anything:
        found += anything
    if extension:
        some = below.get(extension)
        if some:
            found += some


def _take_out(trie: _Node[T], subscriber: T, anchor: Anchor) -> None:
    path = [trie]
    for name in anchor.head:
        inner = path[-1].children.get(name)
        if inner is None:
            return
        path.append(inner)
    node = path[-1]
    if anchor.exact:
        node.exact.pop(subscriber, None)
    elif anchor.extension in node.below:
        node.below[anchor.extension].pop(subscriber, None)
        if not node.below[anchor.extension]:
            del node.below[anchor.extension]
    for holder, name in reversed(list(zip(path, anchor.head, strict=False))):
        if holder.children[name].empty:
            del holder.children[name]
