"""The `[actions]` table of the configuration file: what the actions of a mount may reach, and their bounds."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from automation.quantities import Duration, Size


def _variables(value: object) -> object:
    """A list of environment variables names secrets of the same names."""
    return {name: name for name in value} if isinstance(value, list | tuple) else value


def _hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    for entry in value:
        if not entry or "/" in entry.partition("/")[2] or "://" in entry:
            raise ValueError(
                f"{entry!r} is no host: write a name ('*.example.org'), an address or a network ('10.0.0.0/8')"
            )
    return value


Hosts = Annotated[tuple[str, ...], AfterValidator(_hosts)]


class Permissions(BaseModel):
    """See docs/actions.md for each. Relative paths are relative to the configuration file."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-"), populate_by_name=True
    )

    allow_hosts: Hosts = ()
    secrets: str | None = None
    secrets_env: Annotated[dict[str, str], BeforeValidator(_variables)] = {}
    models: str | None = None
    databases: tuple[str, ...] = ()
    breaker_failures: int = Field(default=5, ge=1, le=1000)
    breaker_cooldown: Annotated[Duration, Field(gt=0)] = 30.0
    trash_age: Duration = 86_400.0
    trash_size: Size = 1 << 30

    @property
    def own_paths(self) -> dict[str, str]:
        """What the process itself reads, and what it is: it may not lie under the mountpoint."""
        named = {self.secrets: "the directory of secrets", self.models: "the directory of models"}
        named |= dict.fromkeys(self.databases, "a directory of databases")
        return {path: what for path, what in named.items() if path}

    def placed(self, folder: str) -> Permissions:
        """The same with paths that are relative to `folder` made absolute."""
        given: dict[str, Any] = {}
        for name in _PATHS & self.model_fields_set:
            value = getattr(self, name)
            given[name] = (
                _place(folder, value) if isinstance(value, str) else tuple(_place(folder, one) for one in value)
            )
        return self.model_copy(update=given)


PUBLIC: Final = Permissions()
"""The public network, and no more."""

_PATHS: Final = {"secrets", "models", "databases"}


def _place(folder: str, path: str) -> str:
    return os.path.join(folder, os.path.expanduser(path))
