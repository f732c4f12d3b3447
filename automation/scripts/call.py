"""One call of a script as its language sees it, inside the worker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from automation.scripts.api import Effects

MOST_RESULT: Final = 1 << 20  # bytes of JSON in a result or an effect
MOST_DEPTH: Final = 64
MOST_NOTES: Final = 1000  # lines printed in one call
MOST_NOTE_BYTES: Final = 64 << 10  # of all lines together
MOST_MESSAGE: Final = 4000  # characters of a failure's sentence
LEFT_OUT: Final = "(what was printed after this is left out)"


@dataclass(frozen=True, slots=True)
class Call:
    """A script and what it is given. `entry` names the function to call, None runs the text itself. `fuel` is how many
    instructions of WebAssembly it may take, None leaves it to the clock.
    """

    source: str
    name: str
    entry: str | None
    arguments: Mapping[str, Any]
    effects: Effects
    timeout: float
    fuel: int | None = None


class Answer(NamedTuple):
    """The result of an effect, or the sentence that says why there is none."""

    ok: bool
    value: Any


class Failure(Exception):  # noqa: N818 - what happened to a script, not to us
    """The script failed; the sentence names script and line where they are known."""


class Late(Exception):  # noqa: N818 - as above
    """The language stopped the script at its deadline by itself."""


class Sandbox(Protocol):
    """An interpreter for one call: nothing of a script outlives it."""

    def run(self, call: Call, outside: Outside) -> Any:
        """What the script returns, a JSON value. Failure or Late when it does not."""
        ...


class Language(Protocol):
    """A language within its worker, whose one argument is the memory of a script in bytes.

    Making it loads everything, `confine` puts up the walls, then `sandbox` makes one interpreter a call.
    """

    def confine(self) -> None:
        """From here on the process can compute and talk over its pipes, no more."""
        ...

    def sandbox(self) -> Sandbox:
        """A fresh interpreter."""
        ...


class Outside:
    """All that a script reaches of the world: one effect at a time, lines for the log, and the time that is left."""

    def __init__(self, timeout: float, exchange: Callable[[Any, list[dict[str, str]]], Answer]) -> None:
        self._exchange: Final = exchange
        self._end = time.monotonic() + timeout
        self._notes: list[dict[str, str]] = []
        self._lines = 0
        self._bytes = 0

    @property
    def left(self) -> float:
        """Seconds of computing that remain; waiting for effects does not count."""
        return max(0.0, self._end - time.monotonic())

    def ask(self, action: Any) -> Answer:
        """Have an action performed, and wait for it."""
        started = time.monotonic()
        answer = self._exchange(action, self.notes())
        self._end += time.monotonic() - started
        return answer

    def note(self, level: str, text: str) -> None:
        """Keep a line for the log, within the bounds of a call."""
        room = MOST_NOTE_BYTES - self._bytes
        if self._lines >= MOST_NOTES or room <= 0:
            return
        if self._lines == MOST_NOTES - 1 or len(text) >= room:
            text, self._bytes = LEFT_OUT, MOST_NOTE_BYTES
        self._lines += 1
        self._bytes += len(text)
        self._notes.append({"level": level, "message": text})

    def notes(self) -> list[dict[str, str]]:
        """The lines since the last time."""
        out, self._notes = self._notes, []
        return out


def handed_over(text: str) -> Any:
    """The value of JSON that a script made. ValueError when it is too large, too deep or no JSON."""
    if len(text) > MOST_RESULT:
        raise ValueError(f"the value is larger than {MOST_RESULT >> 20} MiB of JSON")
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None
    if not _shallow(value, MOST_DEPTH):
        raise ValueError("the value is nested too deeply")
    return value


def plain(value: Any) -> Any:
    """A Python value as JSON has it. ValueError when it is none, or too large or too deep."""
    try:
        text = json.dumps(value, allow_nan=False, default=_no_json)
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None
    except TypeError as error:
        raise ValueError(str(error)) from None
    return handed_over(text)


def _no_json(value: object) -> Any:
    raise ValueError(f"a {type(value).__name__} cannot be handed over")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON value")


def _shallow(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_shallow(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_shallow(item, depth - 1) for item in value)
    return True
