"""Keeps the values of secrets out of what is written: logs, errors, results, traces."""

from __future__ import annotations

import base64
import json
import logging
import re
import weakref
from collections.abc import Iterable
from typing import Any, Final, Protocol, cast
from urllib.parse import quote, quote_plus

from automation import seals

SHORTEST: Final = 6  # characters; less would blacken ordinary words
_LINE: Final = 16  # a line of a longer secret (a key, say) that is hidden by itself too
_MOST: Final = 1000  # values, those of rotated secrets included
_ALTPHABETS: Final = (base64.b64encode, base64.urlsafe_b64encode)


class Redactor:
    """Replaces each known value by `[secret NAME]`: as it is, URL-encoded, in base64, as JSON or Python escape it."""

    def __init__(self) -> None:
        self._names: Final[dict[str, str]] = {}
        self._forms: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def learn(self, name: str, value: str) -> None:
        """Hide a value from now on."""
        if value in self._names or len(self._names) >= _MOST:
            return
        self._names[value] = name
        self._forms |= dict.fromkeys(_forms(value), name)
        if not self._forms:
            return
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    @property
    def known(self) -> bool:
        """Whether there is anything to hide."""
        return self._pattern is not None

    def text(self, text: str) -> str:
        """A text without any known value."""
        text = seals.shown(text)
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: f"[secret {self._forms[found[0]]}]", text)

    def value(self, value: Any) -> Any:
        """A plain JSON value without any known value in its texts and keys."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value


class Hiding(Protocol):
    """What takes something out of a text."""

    def text(self, text: str) -> str:
        """The text without it."""
        ...


def hide_in_logs(redactor: Hiding) -> None:
    """Let it change every line that the handlers of the root logger write, tracebacks too, as long as it lives."""
    for handler in logging.getLogger().handlers:
        formatter: object = handler.formatter
        if not isinstance(formatter, _Redacted):
            formatter = _Redacted(handler.formatter or logging.Formatter())
            handler.setFormatter(cast(logging.Formatter, formatter))
        formatter.add(redactor)


class _Redacted:
    """A formatter behind which nothing comes out that one of its redactors hides: each service has its own secrets."""

    def __init__(self, inner: logging.Formatter) -> None:
        self._inner: Final = inner
        self._redactors: tuple[weakref.ref[Hiding], ...] = ()  # replaced whole, since any thread may log

    def add(self, redactor: Hiding) -> None:
        self._redactors = (*(one for one in self._redactors if one() is not None), weakref.ref(redactor))

    def format(self, record: logging.LogRecord) -> str:
        line = self._inner.format(record)
        for reference in self._redactors:
            redactor = reference()
            if redactor is not None:
                line = redactor.text(line)
        return line


def _forms(value: str) -> Iterable[str]:
    """Every form in which a value may turn up."""
    pieces = {value, value.strip(), *(line.strip() for line in value.splitlines() if len(line.strip()) >= _LINE)}
    for piece in pieces:
        if len(piece) < SHORTEST:
            continue
        yield from {
            piece,
            quote(piece),
            quote(piece, safe=""),
            quote_plus(piece),
            json.dumps(piece)[1:-1],
            json.dumps(piece, ensure_ascii=False)[1:-1],
            repr(piece)[1:-1],
            *_within_base64(piece.encode()),
        }


def _within_base64(data: bytes) -> Iterable[str]:
    """What is the same in base64 wherever in a longer text the value stands: three alignments, in both alphabets."""
    for encode in _ALTPHABETS:
        for before in range(3):
            whole = encode(b"\0" * before + data).decode().rstrip("=")
            core = whole[-(-before * 8 // 6) : len(data + b"\0" * before) * 8 // 6]
            if len(core) >= SHORTEST:
                yield core
