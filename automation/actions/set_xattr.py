"""Set or remove an extended attribute."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight, seen
from automation.actions.form import STRICT, TreePath
from automation.actions.write import as_bytes


class SetXattr(BaseModel):
    """A name without a dot-separated namespace is put under `user.`; a `value` of null removes the attribute."""

    model_config = STRICT
    type: Literal["set_xattr"] = "set_xattr"
    path: TreePath
    name: str = Field(min_length=1, max_length=255)
    value: str | int | float | bool | None

    async def perform(self, context: ActionContext) -> Any:
        """`{name, value}` as set; `value` is null if it was removed."""
        name = self._full_name
        if self.value is None:
            await context.workspace.removexattr(self.path, name, cause=context.cause, undo=context.undo)
        else:
            await context.workspace.setxattr(
                self.path, name, as_bytes(_text(self.value)), cause=context.cause, undo=context.undo
            )
        return {"name": name, "value": self.value}

    async def foresee(self, view: Foresight) -> Foreseen:
        """The name and value that would be set."""
        await view.workspace.stat(self.path)
        return Foreseen({"name": self._full_name, "value": self.value}, await seen(view, path=self.path))

    @property
    def _full_name(self) -> str:
        return self.name if self.name.split(".")[0] in _NAMESPACES else f"user.{self.name}"


_NAMESPACES = frozenset(("user", "trusted", "security", "system"))


def _text(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
