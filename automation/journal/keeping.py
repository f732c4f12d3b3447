"""The `[journal]` table of the configuration: how safely things are kept, and how long."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from automation.globs import compile_globs
from automation.journal.path_redaction import Mode
from automation.quantities import Size

Sync = Literal["full", "normal", "off"]
WhenFull = Literal["stop_automations", "stop_auditing"]
WhenLarge = Literal["prune", "stop"]


def _known_globs(rules: dict[str, Mode]) -> dict[str, Mode]:
    for glob in rules:
        compile_globs((glob,))
    return rules


class Keeping(BaseModel):
    """Finished runs stay readable for `retention_days`, the newest `retention_runs` of them at most; audit records for
    `retention_audit_days`. With `sync` `full` what is committed survives a power failure, with `normal` the end of the
    system, with `off` the end of the process. Of what each step of a run was given `step_inputs` characters are kept.

    A database of more than `max_bytes` gives up its oldest audit records, then its oldest finished runs; or, where
    `when_large` is `stop`, nothing before its time: it takes nothing more, as if the disk were full. While the disk
    takes nothing, `when_full` says whether automations wait or go on without being audited. `redact_paths` says by glob
    what is written in the place of a file's path.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-"), populate_by_name=True
    )

    sync: Sync = "full"
    retention_days: float = Field(default=30, ge=0)
    retention_runs: int = Field(default=10_000, ge=0, le=1_000_000)
    retention_audit_days: float = Field(default=90, ge=0)
    max_bytes: Annotated[Size, Field(ge=1 << 18)] | None = None
    when_large: WhenLarge = "prune"
    when_full: WhenFull = "stop_automations"
    step_inputs: Annotated[Size, Field(ge=0, le=16 << 20)] = 16 << 10
    redact_paths: Annotated[dict[str, Mode], AfterValidator(_known_globs)] = {}


DEFAULTS: Final = Keeping()
