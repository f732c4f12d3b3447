"""The discrimination index: an event's type, path and simple facts → the few members that could care.

A member is filed once for each type and pattern: under the exact path, or the literal directory that the pattern begins
with. Members that share a place are told apart by the extension, else by an equality (`uid`, `tenant`, `attrs.mode` …),
else by a bound (`size > 10MB`), whichever they have. What is found still has to be tested; what is not found cannot
match (`tests/test_rules_index.py` holds it against trying each). One of 50,000 is added or removed in about 10 µs.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from automation.globs import Anchor

M = TypeVar("M", bound=Hashable)
Read = Callable[[Any], Any]
_MOST_ROUTES: Final = 50_000
_NUMBERS: Final = (int, float)  # a union made anew for each event would cost 0.1 µs


@dataclass(frozen=True, slots=True)
class Equality:
    """The field must have one of the values."""

    field: str
    read: Read
    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """The field must be a number above (`above`) or below `limit`, or equal to it."""

    field: str
    read: Read
    above: bool
    limit: float


Key = Equality | Bound | None
ANYWHERE: Final = (Anchor((), "", exact=False),)


class _Shelf(Generic[M]):
    """The members of one place."""

    __slots__ = ("bounds", "extensions", "plain", "values")

    def __init__(self) -> None:
        self.plain: dict[M, None] = {}
        self.extensions: dict[str, dict[M, None]] | None = None
        self.values: dict[str, tuple[Read, dict[str | int, dict[M, None]]]] | None = None
        self.bounds: dict[tuple[str, bool], tuple[Read, list[tuple[float, int, M]]]] | None = None

    @property
    def empty(self) -> bool:
        return not (self.plain or self.extensions or self.values or self.bounds)

    def add(self, member: M, extension: str, key: Key) -> None:
        if extension:
            self.extensions = {} if self.extensions is None else self.extensions
            self.extensions.setdefault(extension, {})[member] = None
        elif isinstance(key, Equality):
            self.values = {} if self.values is None else self.values
            table = self.values.setdefault(key.field, (key.read, {}))[1]
            for value in key.values:
                table.setdefault(value, {})[member] = None
        elif isinstance(key, Bound):
            self.bounds = {} if self.bounds is None else self.bounds
            limit = key.limit if key.above else -key.limit
            insort(self.bounds.setdefault((key.field, key.above), (key.read, []))[1], (limit, id(member), member))
        else:
            self.plain[member] = None

    def remove(self, member: M, extension: str, key: Key) -> None:
        if extension:
            _take_out(self.extensions, extension, member)
        elif isinstance(key, Equality):
            if self.values is not None and key.field in self.values:
                table = self.values[key.field][1]
                for value in key.values:
                    _take_out(table, value, member)
                if not table:
                    del self.values[key.field]
        elif isinstance(key, Bound):
            self._remove_bound(member, key)
        else:
            self.plain.pop(member, None)

    def _remove_bound(self, member: M, key: Bound) -> None:
        if self.bounds is None or (key.field, key.above) not in self.bounds:
            return
        found = self.bounds[key.field, key.above][1]
        at = bisect_left(found, (key.limit if key.above else -key.limit, id(member)))
        if at < len(found) and found[at][2] is member:
            del found[at]
        if not found:
            del self.bounds[key.field, key.above]

    def collect(self, path: str, subject: Any, found: list[M]) -> None:
        """Add what could care to `found`."""
        if self.plain:
            found += self.plain
        if self.extensions:
            dot = path.rfind(".")
            some = self.extensions.get(path[dot:]) if dot >= 0 else None  # none is filed under what holds a slash
            if some:
                found += some
        if self.values:
            for read, table in self.values.values():
                try:
                    some = table.get(read(subject))  # 1.0 finds 1
                except TypeError:  # an attribute may hold a list
                    continue
                if some:
                    found += some
        if self.bounds:
            for (_, above), (read, limits) in self.bounds.items():
                value = read(subject)
                if isinstance(value, _NUMBERS):
                    value = value if above else -value
                    for limit, _, member in limits:
                        if limit > value:
                            break
                        found.append(member)


class _Table(Generic[M]):
    """The members of one subscribed type. A place with one member, of any extension, holds it without a shelf."""

    __slots__ = ("directories", "everywhere", "exact", "heads")

    def __init__(self) -> None:
        self.directories: set[str] | None = None  # of the exact paths, once somebody has asked
        self.everywhere: _Shelf[M] = _Shelf()
        self.exact: dict[str, M | _Shelf[M]] = {}
        self.heads: dict[str, M | _Shelf[M]] = {}

    @property
    def empty(self) -> bool:
        return self.everywhere.empty and not self.exact and not self.heads


class _Route(Generic[M]):
    """What a type of event has to be looked up in: the places of its own table and of those that stand for it, as far
    as anything is there.
    """

    __slots__ = ("everywhere", "exact", "heads", "tables")

    def __init__(self, tables: tuple[_Table[M], ...]) -> None:
        self.tables: Final = tables
        self.exact: Final = tuple(table.exact for table in tables if table.exact)
        self.heads: Final = tuple(table.heads for table in tables if table.heads)
        self.everywhere: Final = tuple(table.everywhere for table in tables if not table.everywhere.empty)


class Index(Generic[M]):
    """Adding and removing take time in the length of the patterns, whatever the number of members."""

    def __init__(self) -> None:
        self.reroute: Callable[[], None] = lambda: None  # told when the set of wanted types changed
        self.reshape: Callable[[], None] = lambda: None  # told of each addition and removal
        self._tables: Final[dict[str, _Table[M]]] = {}
        self._routes: Final[dict[str, _Route[M]]] = {}
        self._depths: Final[list[bool]] = []  # by number of directories above: whether anything was ever filed there

    def add(self, member: M, types: Iterable[str], anchors: Iterable[Anchor] = ANYWHERE, key: Key = None) -> None:
        """File a member under dotted type names, each standing for all below it. Remove it by the same arguments."""
        self.reshape()
        for type_name in types:
            table = self._tables.get(type_name)
            if table is None:
                table = self._tables[type_name] = _Table()
                self._changed()
            for anchor in anchors:
                if not anchor.head:
                    if table.everywhere.empty:
                        self._routes.clear()
                    table.everywhere.add(member, anchor.extension, key)
                    continue
                places = table.exact if anchor.exact else table.heads
                table.directories = None
                name = "/".join(anchor.head)
                if not places:
                    self._routes.clear()
                if not anchor.exact:
                    self._depths.extend([False] * (len(anchor.head) - len(self._depths)))
                    self._depths[len(anchor.head) - 1] = True
                there = places.get(name)
                extension = "" if anchor.exact else anchor.extension
                if there is None and not extension:
                    places[name] = member
                    continue
                if type(there) is not _Shelf:
                    shelf: _Shelf[M] = _Shelf()
                    if there is not None:
                        shelf.plain[there] = None  # type: ignore[index]  # it is a member
                    places[name] = there = shelf
                there.add(member, extension, key)

    def remove(self, member: M, types: Iterable[str], anchors: Iterable[Anchor] = ANYWHERE, key: Key = None) -> None:
        """Forget a member that was added so."""
        self.reshape()
        for type_name in types:
            table = self._tables.get(type_name)
            if table is None:
                continue
            for anchor in anchors:
                if not anchor.head:
                    table.everywhere.remove(member, anchor.extension, key)
                else:
                    table.directories = None
                    _remove_from(table.exact if anchor.exact else table.heads, member, anchor, key)
            if table.empty:
                del self._tables[type_name]
                self._changed()

    def wants(self, type_name: str) -> bool:
        """Whether any member is filed under this type or a group that it belongs to."""
        route = self._routes.get(type_name)
        return bool((self._route(type_name) if route is None else route).tables)

    def find(self, type_name: str, path: str, subject: Any = None) -> list[M]:
        """The members that could care, each once, in no promised order; the keys read their fields from `subject`.

        Written out in one piece: it runs for each event that any member's type covers, 1 µs among 50,000 members.
        """
        route = self._routes.get(type_name)
        if route is None:
            route = self._route(type_name)
        found: list[M] = []
        if not route.tables:
            return found
        for places in route.exact:
            there = places.get(path)
            if there is not None:
                _gather(there, path, subject, found)
        if route.heads:
            at = path.find("/")
            for filed in self._depths:
                if at < 0:
                    break
                if filed:
                    head = path[:at]
                    for places in route.heads:
                        there = places.get(head)
                        if there is not None:
                            _gather(there, path, subject, found)
                at = path.find("/", at + 1)
        for shelf in route.everywhere:
            shelf.collect(path, subject, found)
        return found if len(found) < 2 else list(dict.fromkeys(found))

    def at(self, type_name: str, path: str) -> Iterator[M]:
        """The members that some event of this type at this path could concern, whatever their keys; some twice."""
        route = self._routes.get(type_name) or self._route(type_name)
        for table in route.tables:
            yield from _members(table.everywhere)
            yield from _members(table.exact.get(path))
            at = path.find("/") if table.heads else -1
            while at >= 0:
                yield from _members(table.heads.get(path[:at]))
                at = path.find("/", at + 1)

    def extensions(self, type_name: str) -> set[str] | None:
        """What paths end in, from the last dot on, that could concern a member wherever they are; None if any could."""
        route = self._routes.get(type_name) or self._route(type_name)
        found = set[str]()
        for shelf in route.everywhere:
            if shelf.plain or shelf.values or shelf.bounds:
                return None
            found.update(shelf.extensions or ())
        return found

    def within(self, type_name: str, directory: str) -> bool:
        """Whether any other path of a name in this directory could concern a member."""
        route = self._routes.get(type_name) or self._route(type_name)
        for table in route.tables:
            if table.directories is None:
                table.directories = {path.rpartition("/")[0] for path in table.exact}
            if directory in table.directories:
                return True
            head = directory if table.heads else ""
            while head:
                if head in table.heads:
                    return True
                head = head.rpartition("/")[0]
        return False

    def below(self, type_name: str, directory: str) -> list[M]:
        """The members filed at or below a directory: those that its removal or renaming would take their paths from."""
        route = self._routes.get(type_name) or self._route(type_name)
        found: list[M] = []
        for table in route.tables:
            for places in (table.exact, table.heads):
                for name, there in places.items():
                    if name == directory or name.startswith(directory + "/"):
                        found += _members(there)
        return list(dict.fromkeys(found))

    def _changed(self) -> None:
        self._routes.clear()
        self.reroute()

    def _route(self, type_name: str) -> _Route[M]:
        route = _Route(tuple(self._tables[name] for name in names_of(type_name) if name in self._tables))
        if len(self._routes) > _MOST_ROUTES:  # `user.*` may invent names without end
            self._routes.clear()
        self._routes[type_name] = route
        return route


def names_of(type_name: str) -> list[str]:
    """The names that stand for a type: `*`, its groups, itself."""
    names = ["*"]
    at = type_name.find(".")
    while at >= 0:
        names.append(type_name[:at])
        at = type_name.find(".", at + 1)
    return [*names, type_name]


def _gather(there: Any, path: str, subject: Any, found: list[Any]) -> None:
    if type(there) is _Shelf:
        there.collect(path, subject, found)
    else:
        found.append(there)


def _take_out(table: Any, name: Any, member: Any) -> None:
    members = None if table is None else table.get(name)
    if members is not None:
        members.pop(member, None)
        if not members:
            del table[name]


def _members(there: Any) -> list[Any]:
    if type(there) is not _Shelf:
        return [] if there is None else [there]
    found = [*there.plain]
    for some in (there.extensions or {}).values():
        found += some
    for _, values in (there.values or {}).values():
        found += [member for members in values.values() for member in members]
    for _, limits in (there.bounds or {}).values():
        found += [member for _, _, member in limits]
    return found


def _remove_from(places: dict[str, Any], member: Any, anchor: Anchor, key: Key) -> None:
    name = "/".join(anchor.head)
    there = places.get(name)
    if there is member:
        del places[name]
    elif type(there) is _Shelf:
        there.plain.pop(member, None)  # the first of a place stands there without its key
        there.remove(member, "" if anchor.exact else anchor.extension, key)
        if there.empty:
            del places[name]
