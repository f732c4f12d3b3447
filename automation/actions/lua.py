"""The short form of a script in Lua."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from automation.actions.foresight import Foreseen, Foresight, Scripting
from automation.actions.form import STRICT
from automation.actions.script import Script, Seconds
from automation.forms import also
from automation.scripts.files import MOST_BYTES


class Lua(BaseModel):
    """`script` with `language: lua` and its text."""

    model_config = STRICT
    type: Literal["lua"] = "lua"
    script: str = also("script", "script_content", min_length=1, max_length=MOST_BYTES)
    entry: str | None = also("entry", "function", default=None)
    parameters: dict[str, Any] = {}
    timeout: Seconds = 5.0

    async def perform(self, context: Scripting) -> Any:
        """What the script returns, as JSON; null if nothing."""
        return await self._script().perform(context)

    async def foresee(self, view: Foresight) -> Foreseen:
        """As for any script."""
        return await self._script().foresee(view)

    def _script(self) -> Script:
        return Script(
            language="lua",
            script=self.script,
            function=self.entry,
            parameters=self.parameters,
            timeout=self.timeout,
        )
