"""Which errors are worth another try, and when."""

from __future__ import annotations

import random
import re
from typing import Final

from automation.errors import DefinitionError, InternalError, TimedOut, VexError, WorldError
from automation.step_forms import Retry

CLASSES: Final = {
    "world": "something outside failed: a missing file, a refused connection, a full disk, a time limit",
    "timeout": "a time limit was reached",
    "circuit_open": "a destination that keeps failing is left alone for a while",
    "bulkhead_full": "a sub-workflow found no room in its bulkhead",
    "quota_exceeded": "a tenant has used what it may for now",
    "http": "a web service answered with an error",
    "http_4xx": "the answer was 400 to 499; a number such as http_429 names one",
    "http_5xx": "the answer was 500 to 599; a number such as http_503 names one",
    "condition": "a precondition or postcondition did not hold",
    "interrupted": "a step that is done at most once was under way when the mount ended",
    "workflow": "a sub-workflow failed",
    "definition": "the definition does not work with these values: a template, a parameter",
    "internal": "a bug in VexFS",
    "any": "all of them",
}
"""Every class of errors that `retry.on` and `retry.not_on` may name."""

_WORLDLY: Final = ("timeout", "http", "circuit_open", "bulkhead_full", "quota_exceeded")  # each is one of `world`
_NUMBER: Final = re.compile(r"http_(\d)\d\d")


class ConditionFailed(VexError):  # noqa: N818 - it reads as what happened
    """A precondition or postcondition does not hold."""


class Interrupted(VexError):  # noqa: N818
    """A step that is done at most once was under way when the mount ended."""


class WorkflowFailed(VexError):  # noqa: N818
    """A sub-workflow did not succeed."""


def known(name: str) -> bool:
    """Whether there is such a class of errors."""
    return name in CLASSES or _NUMBER.fullmatch(name) is not None


def class_of(error: BaseException) -> str:
    """The narrowest class of an error."""
    kind = getattr(error, "kind", "")
    if isinstance(kind, str) and kind:
        return kind
    table: tuple[tuple[type[BaseException], str], ...] = (
        (TimedOut, "timeout"),
        (WorldError, "world"),
        (ConditionFailed, "condition"),
        (Interrupted, "interrupted"),
        (WorkflowFailed, "workflow"),
        (DefinitionError, "definition"),
        (InternalError, "internal"),
        (VexError, "definition"),
        (ValueError, "definition"),
    )
    return next((name for kind_of, name in table if isinstance(error, kind_of)), "internal")


def is_worth(retry: Retry, name: str) -> bool:
    """Whether an error of this class is tried again."""
    classes = {name, *_above(name)}
    return not classes.isdisjoint(retry.on) and classes.isdisjoint(retry.not_on)


def _above(name: str) -> tuple[str, ...]:
    number = _NUMBER.fullmatch(name)
    if number is not None:
        return (f"http_{number[1]}xx", "http", "world", "any")
    if name in ("http_4xx", "http_5xx"):
        return ("http", "world", "any")
    return ("world", "any") if name in _WORLDLY else ("any",)


def delay_before(retry: Retry, attempt: int, dice: random.Random) -> float:
    """Seconds to wait before `attempt` (the second try is 2): exponential, bounded, spread by the jitter."""
    try:
        delay = min(retry.max_delay, retry.backoff * retry.factor ** (attempt - 2))
    except OverflowError:
        delay = retry.max_delay
    return delay * (1 + retry.jitter * dice.uniform(-1, 1))
