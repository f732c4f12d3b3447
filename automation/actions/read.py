"""Read a file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from automation.actions.foresight import Foreseen, Foresight, Reading, looked
from automation.actions.form import STRICT, TreePath
from automation.quantities import Size


class Read(BaseModel):
    """A small file as text; one that is larger than `limit` is an error."""

    model_config = STRICT
    type: Literal["read"] = "read"
    path: TreePath
    limit: Annotated[Size, Field(le=1 << 20)] = 1 << 18

    async def perform(self, context: Reading) -> Any:
        """`{text, size}`; bytes that are not UTF-8 come as surrogate escapes, which `write` turns back."""
        data = await context.workspace.read(self.path, self.limit)
        return {"text": data.decode("utf-8", "surrogateescape"), "size": len(data)}

    async def foresee(self, view: Foresight) -> Foreseen:
        """It is done."""
        return await looked(self.perform(view), "text", "size")
