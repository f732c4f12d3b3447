"""Run a Lua script."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from automation.actions.foresight import Foreseen, Foresight, Scripting
from automation.actions.form import STRICT, also
from automation.errors import WorldError
from automation.quantities import Duration


class Lua(BaseModel):
    """In a worker process without files or network; what the script wants done, it asks for (docs/lua.md).

    `timeout` bounds the script's own computing; what it waits for does not count.
    """

    model_config = STRICT
    type: Literal["lua"] = "lua"
    script: str = also("script", "script_content", min_length=1, max_length=1 << 20)
    entry: str | None = None
    parameters: dict[str, Any] = {}
    timeout: Annotated[Duration, Field(gt=0, le=3600)] = 5.0
    script_language: Literal["lua"] = "lua"

    async def perform(self, context: Scripting) -> Any:
        """What the script returns, as JSON; null if nothing."""
        from automation.actions.table import build_action, describe  # the table holds this action too

        async def effect(raw: dict[str, Any]) -> Any:
            if raw.get("type") in ("lua", "execute_script"):
                raise WorldError("a script cannot start another script")
            try:
                action = build_action(raw)
            except ValidationError as error:
                raise WorldError(describe(error)) from None
            return await context.effect(action)

        arguments = {**context.variables, "parameters": self.parameters}
        name = context.cause.workflow
        return await context.scripts.run(self.script, self.entry, arguments, effect, self.timeout, name=name)

    async def foresee(self, view: Foresight) -> Foreseen:
        """The script runs: what it asks for is foreseen one by one."""
        return Foreseen(await self.perform(view), read=True)
