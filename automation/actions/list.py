"""List a directory."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from automation.actions.foresight import Foreseen, Foresight, Reading, looked
from automation.actions.form import STRICT
from automation.actions.stat import plain
from automation.errors import WorldError


class List(BaseModel):
    """The entries of a directory in the order of their names; more than `limit` are an error."""

    model_config = STRICT
    type: Literal["list"] = "list"
    path: str = ""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000

    async def perform(self, context: Reading) -> Any:
        """`{entries}`: for each what `stat` gives, and its `name`."""
        found = await context.workspace.listdir(self.path)
        if len(found) > self.limit:
            raise WorldError(f"'{self.path}' has {len(found)} entries, more than the {self.limit} allowed here")
        return {"entries": [{"name": one.path.rpartition("/")[2], **plain(one.as_dict())} for one in found]}

    async def foresee(self, view: Foresight) -> Foreseen:
        """It is done."""
        return await looked(self.perform(view), "entries")
