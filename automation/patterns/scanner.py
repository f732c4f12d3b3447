"""Reading a text character by character, for grammars whose parts (conditions, globs) bring their own syntax."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

_SPACE: Final = re.compile(r"(?:\s|#[^\n]*)*")
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_STRING: Final = re.compile(r'"(?:\\.|[^"\\])*"')
_TYPE: Final = re.compile(r"\*|[A-Za-z0-9_]\w*(?:-\w+)*(?:\.\w+(?:-\w+)*)*(?:\.\*)?")
_DURATION: Final = re.compile(r"\d[\w.]*(?:\s+\d+[a-z]+)*")
_QUOTED: Final = re.compile(r"""("|')(?:\\.|(?!\1)[^\\])*\1""", re.DOTALL)


class PatternSyntaxError(ValueError):
    """The text is no pattern; `line` and `column` (from 1) say where."""

    def __init__(self, reason: str, text: str, at: int) -> None:
        self.line: Final = text.count("\n", 0, at) + 1
        self.column: Final = at - text.rfind("\n", 0, at)
        super().__init__(f"{reason} (line {self.line}, column {self.column})")


class Scanner:
    """A position in a text, and what can be read there. Every reader skips space and comments first."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.at = 0

    def condition(self, end: str = ")") -> str:
        """A condition's text, up to `end` or a bracket that it did not open."""
        start = self.skip()
        self.scan(lambda: self.peek(")") or self.peek(end))
        text = self.text[start : self.at].strip()
        if not text:
            raise self.wrong("a condition is expected")
        return text

    def expressions(self, ends: tuple[str, ...]) -> list[str]:
        """Comma-separated expressions, up to one of the words `ends` or the end."""
        out = []
        while True:
            start = self.skip()
            self.scan(lambda: self.peek(",") or self._ends_expression(start, ends))  # noqa: B023 - called in this round
            out.append(self.text[start : self.at].strip())
            if not out[-1]:
                raise self.wrong("a field is expected, for instance 'by path'")
            if not self.sign(","):
                return out

    def _ends_expression(self, start: int, ends: tuple[str, ...]) -> bool:
        """Whether one of the words comes next and is no operand: not first, nor after an operator, nor `event.x`."""
        before = self.text[start : self.at]
        if not before[-1:].isspace() or before.rstrip()[-1:] in "+-*/%<>=&|!(,":
            return False
        match = _NAME.match(self.text, self.skip())
        return match is not None and match[0] in ends and self.text[match.end() : match.end() + 1] not in (*".([",)

    def scan(self, stop: Callable[[], bool]) -> None:
        """Move to where `stop` holds, outside quotes and brackets."""
        depth = 0
        while self.at < len(self.text):
            if depth == 0 and (stop() or self.at >= len(self.text)):  # looking for an end passes space
                return
            match = _QUOTED.match(self.text, self.at)
            if match:
                self.at = match.end()
                continue
            char = self.text[self.at]
            depth += (char in "([{") - (char in ")]}")
            self.at += 1
        if depth:
            raise self.wrong("a bracket is not closed")

    def types(self) -> list[str]:
        """Event types joined by `|`."""
        out = [self.pattern(_TYPE, "an event type, for instance file.closed")]
        while self.sign("|"):
            out.append(self.pattern(_TYPE, "an event type"))
        return out

    def duration(self) -> str:
        """The text of a duration."""
        return self.pattern(_DURATION, "a duration such as 10m")

    def bracketed(self) -> str | None:
        """A duration in square brackets, None if there is none."""
        if not self.sign("["):
            return None
        text = self.duration()
        self.expect("]")
        return text

    def name(self, what: str) -> str:
        """An identifier, or any name in double quotes."""
        return self.string(what) if self.peek('"') else self.pattern(_NAME, what)

    def string(self, what: str) -> str:
        """What double quotes hold, with JSON's escapes."""
        quoted = self.pattern(_STRING, what)
        try:
            value: str = json.loads(quoted, strict=False)
        except ValueError:
            raise self.wrong(f"{quoted} is no text; write a backslash as '\\\\'") from None
        return value

    def pattern(self, pattern: re.Pattern[str], what: str) -> str:
        """What `pattern` matches; `what` names it in the complaint."""
        match = pattern.match(self.text, self.skip())
        if match is None:
            raise self.wrong(f"{what} is expected")
        self.at = match.end()
        return match[0]

    def skip(self) -> int:
        """Pass space and comments; returns the position."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at

    def ended(self) -> bool:
        """Whether nothing is left."""
        return self.skip() >= len(self.text)

    def peek(self, sign: str) -> bool:
        """Whether `sign` comes next."""
        return self.text.startswith(sign, self.skip())

    def sign(self, sign: str) -> bool:
        """Pass `sign` if it comes next."""
        found = self.peek(sign)
        self.at += len(sign) if found else 0
        return found

    def expect(self, sign: str) -> None:
        """Pass `sign`, which must come next."""
        if not self.sign(sign):
            raise self.wrong(f"{sign!r} is expected")

    def peek_word(self, word: str) -> bool:
        """Whether `word` comes next."""
        match = _NAME.match(self.text, self.skip())
        return match is not None and match[0] == word

    def word(self, *words: str) -> str | None:
        """Pass and return one of `words` if it comes next."""
        match = _NAME.match(self.text, self.skip())
        if match is None or match[0] not in words:
            return None
        self.at = match.end()
        return match[0]

    def need(self, word: str) -> None:
        """Pass `word`, which must come next."""
        if self.word(word) is None:
            raise self.wrong(f"{word!r} is expected")

    def wrong(self, reason: str) -> PatternSyntaxError:
        """A complaint about this place."""
        return PatternSyntaxError(reason, self.text, min(self.at, len(self.text)))
