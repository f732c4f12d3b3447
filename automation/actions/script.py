"""Run a script."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from automation.actions.foresight import Foreseen, Foresight, Scripting
from automation.actions.form import STRICT
from automation.errors import WorldError
from automation.forms import also
from automation.quantities import Duration
from automation.scripts.files import MOST_BYTES
from automation.scripts.languages import of_file, spelled

SCRIPTS: Final = ("script", "lua", "execute_script")
"""The names of the actions that run one."""

Seconds = Annotated[Duration, Field(gt=0, le=3600)]


class Script(BaseModel):
    """In a worker process without files or network; what the script wants done, it asks for (docs/scripts.md).

    The text is given, or a file of the workflows directory that has it. `function` names the function to call, without
    it the text itself is run. `timeout` bounds the script's own computing; what it waits for does not count. `fuel`
    bounds it for WebAssembly by instructions, the same on every machine.
    """

    model_config = STRICT
    type: Literal["script"] = "script"
    language: Annotated[str, AfterValidator(spelled)] | None = also("language", "script_language", default=None)
    script: str | None = also("script", "script_content", default=None, min_length=1, max_length=MOST_BYTES)
    file: str | None = Field(default=None, min_length=1)
    function: str | None = also("function", "entry", default=None)
    parameters: dict[str, Any] = {}
    timeout: Seconds = 5.0
    fuel: int | None = Field(default=None, ge=1, le=1 << 62)

    @model_validator(mode="after")
    def _one_text(self) -> Script:
        if (self.script is None) == (self.file is None):
            raise ValueError("give either 'script', the text, or 'file', its name in the workflows directory")
        if self.script is not None and self.language is None:
            raise ValueError("the 'language' of the script is missing: lua, javascript, python, wasm or sql")
        if self.language is None:
            of_file(str(self.file))
        if self.fuel is not None and (self.language or of_file(str(self.file))) != "wasm":
            raise ValueError("'fuel' is for WebAssembly; the time of other languages is bounded by 'timeout'")
        return self

    async def perform(self, context: Scripting) -> Any:
        """What the script returns, as JSON; null if nothing."""
        language = self.language or of_file(str(self.file))
        pool = context.scripts
        text = self.script if self.script is not None else await pool.text(str(self.file))
        arguments = {**context.variables, "parameters": self.parameters, "secrets": dict(context.references)}
        if language == "sql":
            arguments = {"parameters": self.parameters, "tables": await pool.tables()}
        number = itertools.count(1)  # a script that is tried again does the same in the same order
        return await pool.run(
            text,
            self.function,
            arguments,
            lambda raw: _effect(context, raw, str(next(number))),
            self.timeout,
            name=self.file or context.cause.workflow,
            language=language,
            fuel=self.fuel,
        )

    async def foresee(self, view: Foresight) -> Foreseen:
        """The script runs: what it asks for is foreseen one by one."""
        return Foreseen(await self.perform(view), read=True)


async def _effect(context: Scripting, raw: dict[str, Any], part: str) -> Any:
    """Have an action of a script done, as a step's would be."""
    from automation.actions.table import build_action, describe  # the table holds this action too

    if raw.get("type") in SCRIPTS:
        raise WorldError("a script cannot start another script")
    try:
        action = build_action(raw)
    except ValidationError as error:
        raise WorldError(describe(error)) from None
    return await context.effect(action, part)
