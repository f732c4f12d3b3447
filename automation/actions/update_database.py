"""One statement on a database."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import trio
from pydantic import BaseModel, Field, field_validator, model_validator

from automation.actions import databases
from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight
from automation.actions.form import STRICT, Breaker
from automation.errors import TimedOut, WorldError
from automation.quantities import Duration


class UpdateDatabase(BaseModel):
    """On a `sqlite` file in an allowed place or a `postgresql` server, by DSN.

    `sql` is never a template: values go as `parameters`, in order (`?`, with PostgreSQL `%s`) or by name (`:name`,
    with PostgreSQL `%(name)s`). The statement is a transaction of its own.
    """

    SECRETS: ClassVar = frozenset({"postgresql", "parameters"})

    model_config = STRICT
    type: Literal["update_database"] = "update_database"
    sqlite: str | None = Field(default=None, min_length=1)
    postgresql: str | None = Field(default=None, min_length=1)
    sql: str = Field(min_length=1, max_length=1 << 16)
    parameters: list[Any] | dict[str, Any] = []
    create: bool = False
    max_rows: Annotated[int, Field(ge=0, le=10_000)] = 1000
    timeout: Annotated[Duration, Field(gt=0)] = 30.0
    breaker: Breaker | None = None

    @field_validator("sql")
    @classmethod
    def _no_template(cls, sql: str) -> str:
        if "{{" in sql:
            raise ValueError("templates in SQL are refused: write a placeholder and give the value in 'parameters'")
        return sql

    @model_validator(mode="after")
    def _one_database(self) -> UpdateDatabase:
        if (self.sqlite is None) == (self.postgresql is None):
            raise ValueError("give either 'sqlite' or 'postgresql'")
        return self

    async def perform(self, context: ActionContext) -> Any:
        """`{rows, changed, truncated}`."""
        statement = databases.Statement(self.sql, self.parameters, self.timeout, self.max_rows)
        limits = self.breaker.thresholds if self.breaker else None
        if self.sqlite is not None:
            path = await self._find(self.sqlite, context)
            async with context.breakers.guard(f"sqlite {self.sqlite}", limits):
                answer = await trio.to_thread.run_sync(
                    context.databases.on_sqlite, path, statement, limiter=context.threads
                )
        else:
            dsn = self.postgresql or ""
            name, password = databases.server(dsn)
            if password:
                context.secrets.redactor.learn("password", password)
            context.web.count()
            if context.databases.identity is not None:
                dsn = await databases.pinned(dsn, context.web.hosts)
            async with context.breakers.guard(name, limits):
                answer = await self._on_server(databases.Postgres(dsn, statement), name, context)
        return {"rows": answer.rows, "changed": answer.changed, "truncated": answer.truncated}

    async def foresee(self, view: Foresight) -> Foreseen:
        """Nothing is asked: no rows."""
        return Foreseen({"rows": [], "changed": None, "truncated": False})

    async def _find(self, name: str, context: ActionContext) -> str:
        find = partial(context.databases.place, name, create=self.create)
        try:
            return await trio.to_thread.run_sync(find, limiter=context.threads)
        except OSError as error:
            raise WorldError(f"cannot reach the database '{name}': {error.strerror}") from None

    async def _on_server(self, task: databases.Postgres, name: str, context: ActionContext) -> databases.Answer:
        run = partial(context.databases.on_server, task)
        try:
            with trio.fail_after(self.timeout + 1):  # the server's own limit comes first, if it is there at all
                return await trio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=context.threads)
        except trio.TooSlowError:
            raise TimedOut(f"{name} took longer than {self.timeout:g} s") from None
        except trio.Cancelled:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await trio.to_thread.run_sync(task.cancel, abandon_on_cancel=True)
            raise
