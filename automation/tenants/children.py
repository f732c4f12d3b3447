"""The commands of the operator's and of all tenants' automations, for the mount to ask who caused a request."""

from __future__ import annotations

from typing import Final

from automation.actions import Commands
from automation.events import Cause


class Children:
    """Asks them all; there are few whose commands run at the same time."""

    def __init__(self, own: Commands) -> None:
        self._all: Final[dict[str, Commands]] = {"": own}

    def join(self, tenant: str, commands: Commands) -> None:
        """Ask a tenant's too."""
        self._all[tenant] = commands

    def leave(self, tenant: str) -> None:
        """Ask a tenant's no more."""
        self._all.pop(tenant, None)

    @property
    def active(self) -> bool:
        """Whether a child may be running."""
        return any(one.active for one in self._all.values())

    def cause_of_session(self, sid: int) -> Cause | None:
        """The cause of the child that leads session `sid`."""
        found = (one.cause_of_session(sid) for one in self._all.values())
        return next((cause for cause in found if cause is not None), None)

    def cause_of_run(self, run: str) -> Cause | None:
        """The cause that the children of a run have, if it has any."""
        found = (one.cause_of_run(run) for one in self._all.values())
        return next((cause for cause in found if cause is not None), None)
