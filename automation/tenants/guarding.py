"""The guards of the operator, for every request, and of each tenant, for what is its own.

A tenant's guards see neither requests elsewhere nor the other name of one that crosses its border.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from automation.events import SemanticEvent
from automation.guards.guards import ALLOWED, Guards, Verdict
from automation.tenants.owners import Owners
from automation.tenants.share import Share

LONGEST: Final = 1.0  # seconds that a request waits for guards that compute too much


class TenantGuards:
    """What the mount asks in place of one `Guards`. `active` is false while nobody has a live guard.

    What a tenant's guards compute is a share of its own: beyond it, requests for what is the tenant's wait.
    """

    def __init__(self, own: Guards, owners: Owners) -> None:
        self.active = False
        self._own: Final = own
        self._owners: Final = owners
        self._guards: Final[dict[str, Guards]] = {}
        self._live: Final[dict[str, Guards]] = {}  # those of tenants that are active
        self._shares: Final[dict[str, Share]] = {}
        self._told: Final[list[Callable[[bool], None]]] = []
        own.on_switch(lambda active: self._settle())

    def join(self, tenant: str, guards: Guards, share: float) -> None:
        """Ask a tenant's guards about what is its own."""
        self._guards[tenant] = guards
        self._shares[tenant] = Share(share)
        guards.on_switch(partial(self._switched, tenant))

    def leave(self, tenant: str) -> None:
        """Ask a tenant's guards no more."""
        self._guards.pop(tenant, None)
        self._live.pop(tenant, None)
        self._settle()

    def on_switch(self, told: Callable[[bool], None]) -> None:
        """Call `told` with `active` now and whenever it may have changed."""
        self._told.append(told)
        told(self.active)

    def concerns(self, operation: str, path: str) -> bool:
        """Whether a guard may have to judge such an operation here, by whomever."""
        if self._own.concerns(operation, path):
            return True
        if not self._live:
            return False
        owner = self._owners.of_path(path)
        asked = self._live.values() if not owner else (self._live[owner],) if owner in self._live else ()
        return any(guards.concerns(operation, path) for guards in asked)

    def judge(self, request: SemanticEvent, *, inside: bool = False) -> Verdict:
        """What becomes of a request; `inside` also asks those who guard something below it."""
        verdict = self._own.judge(request, inside=inside)
        if verdict.errno or not self._live:
            return verdict
        wait, marks = verdict.wait, [verdict.mark] if verdict.mark else []
        for tenant, path, dest in self._sides(request, inside=inside):
            guards = self._live.get(tenant)
            if guards is None:
                continue
            share, began = self._shares[tenant], time.thread_time()
            found = guards.judge(request.changed(tenant=tenant, path=path, dest=dest), inside=inside)
            share.spend(time.thread_time() - began)
            if found.errno:
                return found
            wait = max(wait, found.wait, min(share.wait, LONGEST))
            marks += [found.mark] if found.mark else []
        return Verdict(wait=wait, mark=",".join(marks)) if wait or marks else ALLOWED

    def _sides(self, request: SemanticEvent, *, inside: bool) -> list[tuple[str, str, str | None]]:
        """Each tenant that it concerns, with the names that it may see."""
        owners, path, dest = self._owners, request.path, request.dest
        here = owners.of(path, request.uid, request.gid)
        there = here if dest is None else owners.of(dest, request.uid, request.gid)
        sides = [(here, path, dest if there == here else None)]
        if dest is not None and there != here:
            sides.append((there, dest, None))
        if inside and not owners.of_path(path):
            sides += [(tenant, path, None) for tenant in owners.below(path) if tenant not in (here, there)]
        return sides

    def _switched(self, tenant: str, active: bool) -> None:
        if tenant in self._guards and active:
            self._live[tenant] = self._guards[tenant]
        else:
            self._live.pop(tenant, None)
        self._settle()

    def _settle(self) -> None:
        self.active = self._own.active or bool(self._live)
        for told in self._told:
            told(self.active)
