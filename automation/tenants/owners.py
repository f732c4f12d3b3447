"""Whose an event is: by where it happens, else by who does it, else nobody's.

A dictionary for each directory that leads to a territory, so the cost grows with how deep those lie, not with how many
tenants there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from automation.identity import Territory
from automation.tenants.tenant import Tenant


class Owners:
    """Territories do not overlap, and no uid or gid is in two tenants; the configuration sees to it."""

    def __init__(self, tenants: Iterable[Tenant]) -> None:
        self._tree: Final[dict[str, Any]] = {}  # by name: the tenant, or what lies below
        self._deepest = 0
        self._uids: Final[dict[int, str]] = {}
        self._gids: Final[dict[int, str]] = {}
        for tenant in tenants:
            for path in tenant.paths:
                self._settle(path, tenant.name)
            self._uids.update(dict.fromkeys(tenant.uids, tenant.name))
            self._gids.update(dict.fromkeys(tenant.gids, tenant.name))

    def _settle(self, path: str, name: str) -> None:
        *above, last = path.split("/")
        node = self._tree
        for part in above:
            node = node.setdefault(part, {})
        node[last] = name
        self._deepest = max(self._deepest, len(above) + 1)

    def of(self, path: str, uid: int, gid: int) -> str:
        """The tenant's name, empty for nobody."""
        found: Any = self._tree
        if found:
            for part in path.split("/", self._deepest):
                found = found.get(part)
                if found is None:
                    break
                if type(found) is str:
                    return found
        return self._uids.get(uid) or self._gids.get(gid, "")

    def of_path(self, path: str) -> str:
        """Whose territory a path lies in."""
        return self.of(path, -1, -1)

    def of_caller(self, uid: int, gid: int) -> str:
        """Whose a user is, outside all territories."""
        return self._uids.get(uid) or self._gids.get(gid, "")

    def below(self, path: str) -> list[str]:
        """The tenants that have territories below a directory that is nobody's."""
        node: Any = self._tree
        for part in path.split("/") if path else ():
            node = node.get(part) if isinstance(node, dict) else None
        found: dict[str, None] = {}
        todo = [node]
        while todo:
            one = todo.pop()
            if isinstance(one, dict):
                todo += one.values()
            elif one:
                found[one] = None
        return list(found)


def territory(tenant: Tenant, tenants: Iterable[Tenant]) -> Territory:
    """Where a tenant's actions may reach: its directories, or, where it has none, all that is nobody's."""
    if tenant.paths:
        return Territory(tenant.paths)
    return Territory(excluded=[path for other in tenants for path in other.paths])
