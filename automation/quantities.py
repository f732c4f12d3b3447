"""Durations, sizes and comparisons as a person writes them: `90s`, `1h30m`, `10MB`, `> 5 MiB`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES: Final = {
    "": 1,
    "b": 1,
    "k": 10**3,
    "kb": 10**3,
    "m": 10**6,
    "mb": 10**6,
    "g": 10**9,
    "gb": 10**9,
    "t": 10**12,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_PART: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*\Z", re.IGNORECASE)
_COMPARISON: Final = re.compile(r"\s*(<=|>=|==|!=|<|>|=)\s*(.*)\Z", re.DOTALL)
_LONGEST: Final = 100 * 365 * 86400.0

_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}


def parse_duration(value: object) -> float:
    """Seconds of `5`, `0.5`, `"5s"`, `"250ms"`, `"1h30m"`; ValueError says what would be right."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        reason = f"a duration is a number of seconds or text such as '5s' or '1h30m', not {value!r}"
        raise ValueError(reason)  # noqa: TRY004 - pydantic reports a ValueError, a TypeError it lets through
    seconds = float(value) if isinstance(value, int | float) else _text_seconds(value)
    if not math.isfinite(seconds) or not 0 <= seconds <= _LONGEST:
        raise ValueError(f"a duration lies between 0 and 100 years, not {value!r}")
    return seconds


def _text_seconds(text: str) -> float:
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text):
        return float(text)
    total, at = 0.0, 0
    while at < len(text.rstrip()):
        part = _PART.match(text, at)
        if part is None or part[2].lower() not in _SECONDS:
            raise ValueError(f"{text!r} is no duration; write for instance '250ms', '5s', '10m', '1h30m' or '2d'")
        total += float(part[1]) * _SECONDS[part[2].lower()]
        at = part.end()
    if at == 0:
        raise ValueError("a duration is missing")
    return total


def parse_size(value: object) -> int:
    """Bytes of `4096`, `"10MB"` (10^6 each), `"64KiB"` (2^10 each); ValueError says what would be right."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match is None or match[2].lower() not in _BYTES:
        raise ValueError(f"{value!r} is no size; write for instance 4096, '10MB' or '64KiB'")
    return round(float(match[1]) * _BYTES[match[2].lower()])


def parse_size_test(value: object) -> list[tuple[str, int]]:
    """Comparisons of `"> 10MB"`, `">= 1KB, < 1GB"`, or a plain size (equal): pairs of operator and bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return [("==", parse_size(value))]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is no size comparison; write for instance '> 10MB' or '>= 1KB, < 1GB'")
    out = []
    for part in value.split(","):
        match = _COMPARISON.match(part)
        out.append((match[1], parse_size(match[2])) if match else ("==", parse_size(part)))
    return out


def compare(name: str, left: Any, right: Any) -> bool:
    """Whether `left` stands in relation `name` (`<`, `>=`, `==` …) to `right`."""
    return _OPERATORS[name](left, right)


Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=float | str)]
Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str)]
SizeTest = Annotated[list[tuple[str, int]], BeforeValidator(parse_size_test, json_schema_input_type=int | str)]
