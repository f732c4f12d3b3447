"""Run a program."""

from __future__ import annotations

import resource
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, Field, model_validator

from automation.actions.commands import KEPT_OUTPUT
from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight
from automation.actions.form import STRICT
from automation.actions.write import as_bytes
from automation.errors import WorldError
from automation.forms import also
from automation.quantities import Duration, Size

_TAIL = 2000  # characters of stderr in the error


class Limits(BaseModel):
    """Bounds of a process: seconds of CPU, address space in bytes, open files, its user's processes, bytes a file."""

    model_config = STRICT
    cpu: Annotated[int, Field(ge=1)] | None = None
    memory: Annotated[Size, Field(ge=1)] | None = None
    files: Annotated[int, Field(ge=3)] | None = None
    processes: Annotated[int, Field(ge=0)] | None = None
    file_size: Annotated[Size, Field(ge=0)] | None = None

    @property
    def given(self) -> dict[int, int]:
        """By the kernel's numbers."""
        return {_NUMBERS[name]: value for name, value in self if value is not None}


_NUMBERS: Final = {
    "cpu": resource.RLIMIT_CPU,
    "memory": resource.RLIMIT_AS,
    "files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
    "file_size": resource.RLIMIT_FSIZE,
}


class Command(BaseModel):
    """A list of words runs as it is, without a shell.

    With `shell: true` the first word is a shell script, and the others are its `$1`, `$2` …: the safe way to hand it
    a file name. The working directory is the mount, `cwd` is relative to it.
    """

    SECRETS: ClassVar = frozenset({"env", "stdin"})

    model_config = STRICT
    type: Literal["command"] = "command"
    argv: list[str] | str = also("argv", "command", "run", min_length=1)
    shell: bool = False
    env: dict[str, str] = {}
    cwd: str = ""
    stdin: str = ""
    timeout: Annotated[Duration, Field(gt=0)] | None = None
    exit_codes: list[int] = [0]
    output_limit: Annotated[Size, Field(ge=1, le=16 << 20)] = KEPT_OUTPUT
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _words(self) -> Command:
        if isinstance(self.argv, str) and not self.shell:
            raise ValueError("give the command as a list of words, or say 'shell: true'")
        if not self.argv[0]:
            raise ValueError("the first word names the program and may not be empty")
        return self

    async def perform(self, context: ActionContext) -> Any:
        """`{exit_code, stdout, stderr, truncated, seconds}`; another exit code than expected is an error."""
        words = [self.argv] if isinstance(self.argv, str) else self.argv
        argv = ["/bin/sh", "-c", words[0], "vexfs", *words[1:]] if self.shell else words
        done = await context.commands.run(
            argv,
            cause=context.cause,
            cwd=self.cwd,
            env=self.env,
            stdin=as_bytes(self.stdin),
            timeout=self.timeout,
            environment=context.secrets.environment(),
            limits=self.limits.given,
            output=self.output_limit,
        )
        stderr = done.stderr.decode("utf-8", "replace")
        if done.exit_code not in self.exit_codes:
            how = f"exit code {done.exit_code}" if done.exit_code >= 0 else f"signal {-done.exit_code}"
            said = str(context.secrets.redact(stderr)).strip()[-_TAIL:]
            raise WorldError(f"'{words[0]}' ended with {how}{': ' if said else ''}{said}")
        return {
            "exit_code": done.exit_code,
            "stdout": done.stdout.decode("utf-8", "replace"),
            "stderr": stderr,
            "truncated": done.stdout_bytes > len(done.stdout) or done.stderr_bytes > len(done.stderr),
            "seconds": round(done.seconds, 3),
        }

    async def foresee(self, view: Foresight) -> Foreseen:
        """Nothing is run: the exit code is the first that is expected, the output is not known."""
        fields = ("stdout", "stderr", "truncated", "seconds")
        return Foreseen({"exit_code": (self.exit_codes or [0])[0], **dict.fromkeys(fields)})
