"""Write a file."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight, seen
from automation.actions.form import STRICT, Mode, TreePath
from automation.errors import WorldError
from automation.forms import also


class Write(BaseModel):
    """The whole content in one step, or `append` at the end. A content that is no text is written as JSON."""

    model_config = STRICT
    type: Literal["write"] = "write"
    path: TreePath
    content: Any = also("content", "text", "data")
    append: bool = False
    overwrite: bool = True
    mode: Mode | None = None
    parents: bool = True

    async def perform(self, context: ActionContext) -> Any:
        """`{path, written}`: where, and how many bytes."""
        data = as_bytes(self.content)
        path = await context.workspace.write(
            self.path,
            data,
            append=self.append,
            mode=self.mode,
            overwrite=self.overwrite,
            parents=self.parents,
            cause=context.cause,
            undo=context.undo,
        )
        return {"path": path, "written": len(data)}

    async def foresee(self, view: Foresight) -> Foreseen:
        """Where and how much would be written."""
        data, now = as_bytes(self.content), await seen(view, path=self.path)
        if now["path"] is not None and not self.overwrite and not self.append:
            raise WorldError(f"cannot write '{self.path}': file exists")
        if self.append and now["path"] is not None:
            view.workspace.made(self.path)
        else:
            view.workspace.put(self.path, data)
        return Foreseen({"path": self.path.strip("/"), "written": len(data)}, now)


def as_bytes(content: Any) -> bytes:
    """Text as UTF-8 (the bytes of a name that is not UTF-8 as they were), anything else as one line of JSON."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "surrogateescape")
