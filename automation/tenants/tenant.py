"""One tenant: who belongs to it, where its territory is, as whom its actions run, and its limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from automation.identity import Identity
from automation.permissions import Permissions
from automation.tenants.forms import LimitsForm, TenantForm


@dataclass(frozen=True, slots=True)
class Tenant:
    """`identity` is whom its actions run as."""

    name: str
    uids: frozenset[int]
    gids: frozenset[int]
    paths: tuple[str, ...]
    identity: Identity
    limits: LimitsForm
    permissions: Permissions

    @property
    def uid(self) -> int:
        """The user that its actions run as."""
        return self.identity.uid

    @property
    def gid(self) -> int:
        """The group of that user."""
        return self.identity.gid

    def admits(self, uid: int, gid: int, groups: Collection[int] = ()) -> bool:
        """Whether this user may use what is the tenant's: a member by uid or group, or whom its actions run as."""
        return uid == self.uid or uid in self.uids or gid in self.gids or not self.gids.isdisjoint(groups)


def tenant_of(name: str, form: TenantForm) -> Tenant:
    """The tenant that a table declares; its groups are those of passwd now."""
    uid = form.uids[0] if form.run_as is None else form.run_as
    return Tenant(
        name,
        frozenset(form.uids),
        frozenset(form.gids),
        form.paths,
        Identity.of_user(uid),
        form.limits,
        Permissions(allow_hosts=form.allow_hosts, databases=form.databases, models=form.models),
    )


def tenants_of(forms: Mapping[str, TenantForm]) -> tuple[Tenant, ...]:
    """All of a configuration."""
    return tuple(tenant_of(name, form) for name, form in forms.items())
