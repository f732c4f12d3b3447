"""The `[tenants.NAME]` tables of the configuration: who is a tenant, where, and within which limits."""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from automation.journal.keeping import WhenLarge
from automation.permissions import Hosts
from automation.quantities import Size

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z")
_MOST_ID: Final = 2**32 - 2
_CONFIG: Final = ConfigDict(
    extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-"), populate_by_name=True
)


def _user(value: object) -> int:
    """The number of a user by name or number."""
    return _named(value, "user", lambda name: pwd.getpwnam(name).pw_uid)


def _group(value: object) -> int:
    return _named(value, "group", lambda name: grp.getgrnam(name).gr_gid)


def _named(value: object, what: str, find: Callable[[str], int]) -> int:
    if isinstance(value, str) and not value.isdecimal():
        try:
            return find(value)
        except KeyError:
            raise ValueError(f"there is no {what} {value!r}") from None
    return _number(value, what)


def _number(value: object, what: str) -> int:
    if isinstance(value, str):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_ID:
        raise ValueError(f"{value!r} is no {what}: give a name or a number")
    return value


def _known(uid: int) -> int:
    """A user that has an entry in passwd, from which its groups come."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise ValueError(f"there is no user {uid}: its groups would not be known") from None
    return uid


def _territory(path: str) -> str:
    """A directory in the mount, without slashes around it."""
    plain = path.strip("/")
    parts = plain.split("/")
    if not plain or ".." in parts or "." in parts or "" in parts or parts[0].startswith(".vexfs"):
        raise ValueError(f"{path!r} is no directory below the mount's root: write 'teams/a', for instance")
    return plain


User = Annotated[int, BeforeValidator(_user)]
Group = Annotated[int, BeforeValidator(_group)]
RunAs = Annotated[int, BeforeValidator(_user), AfterValidator(_known)]
Territory = Annotated[str, AfterValidator(_territory)]


class LimitsForm(BaseModel):
    """How much a tenant may have; docs/tenants.md says what happens at each limit. CPU is of any hour, calls are of any
    minute, memory and journal are bytes.
    """

    model_config = _CONFIG

    events_per_second: float = Field(default=1000, gt=0)
    loop_share: float = Field(default=0.1, gt=0, le=1)
    rules: int = Field(default=1000, ge=0)
    partial_matches: int = Field(default=10_000, ge=1)
    concurrent_runs: int = Field(default=64, ge=1, le=100_000)
    cpu_seconds: float = Field(default=1800, gt=0)
    memory: Size = 256 << 20
    http_calls: int = Field(default=600, ge=0)
    journal: Annotated[Size, Field(ge=1 << 18)] = 64 << 20
    journal_full: WhenLarge = "prune"


class TenantForm(BaseModel):
    """One tenant: by uid, gid or directories in the mount; `run_as` is whom its actions run as, else the first uid.
    Directories of databases and models are relative to the configuration file.
    """

    model_config = _CONFIG

    uids: tuple[User, ...] = ()
    gids: tuple[Group, ...] = ()
    paths: tuple[Territory, ...] = ()
    run_as: RunAs | None = None
    allow_hosts: Hosts = ()
    databases: tuple[str, ...] = ()
    models: str | None = None
    limits: LimitsForm = LimitsForm()

    def placed(self, folder: str) -> TenantForm:
        """The same with paths that are relative to `folder` made absolute."""
        databases = tuple(os.path.join(folder, os.path.expanduser(path)) for path in self.databases)
        models = None if self.models is None else os.path.join(folder, os.path.expanduser(self.models))
        return self.model_copy(update={"databases": databases, "models": models})

    @property
    def own_paths(self) -> dict[str, str]:
        """What the process itself reads: it may not lie under the mountpoint."""
        return {path: "a tenant's directory" for path in (*self.databases, self.models) if path}

    @model_validator(mode="after")
    def _whole(self) -> TenantForm:
        if not (self.uids or self.gids or self.paths):
            raise ValueError("it needs uids, gids or paths: nothing would be its own")
        if self.run_as is None and not self.uids:
            raise ValueError("it needs run-as, the user that its actions run as, since it has no uids")
        if self.run_as is None:
            _known(self.uids[0])
        return self


def bad_name(name: str) -> str:
    """Why a tenant cannot be called so; empty when it can."""
    return "" if NAME.match(name) else "a tenant's name is of a-z, 0-9, '_', '-' and '.', at most 64 of them"


def conflict(forms: Mapping[str, TenantForm]) -> tuple[tuple[str, str], str] | None:
    """The first thing that two tenants cannot both have: the tenant and field that come later, and why."""
    for field in ("uids", "gids"):
        having: dict[int, str] = {}
        for name, form in forms.items():
            for one in getattr(form, field):
                if having.setdefault(one, name) != name:
                    return (name, field), f"{field[:-1]} {one} is the tenant {having[one]}'s already"
    places: dict[str, str] = {}
    for name, form in forms.items():
        for path in form.paths:
            for other, owner in places.items():
                if _overlap(path, other):
                    return (name, "paths"), f"'{path}' and '{other}' of the tenant {owner} overlap"
            places[path] = name
    return None


def _overlap(one: str, other: str) -> bool:
    return os.path.commonpath((one, other)) in (one, other)
