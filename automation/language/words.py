"""A sentence → its clauses, each a list of words; what stands between quotes, a size, a time, a name is one word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from automation.errors import CallerError

MOST: Final = 1000  # characters
_SMALL: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER: Final = r"(?:\d+(?:\.\d+)?|" + "|".join(_SMALL) + ")"
_BYTES: Final = r"(?:bytes?|[kmgt]i?b|kilobytes?|megabytes?|gigabytes?|terabytes?)"  # decimal unless it says KiB
_UNIT: Final = r"(?:ms|milliseconds?|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|weeks?|[smhd])"
_ORDINAL: Final = r"\d{1,2}(?:st|nd|rd|th)(?!\w)"
_PLAIN: Final = r"[a-z]+\d*(?:-[a-z]+\d*)*"
_PATTERNS: Final = (
    ("text", r'"[^"]*"|“[^”]*”'),
    ("url", r"https?://[^\s\"]+?(?=[,;.!]*(?:\s|$))"),
    ("clock", r"\d{1,2}:\d{2}(?:\s*[ap]m)?(?![\w:-])|\d{1,2}\s*[ap]m(?![\w-])|(?:noon|midnight)(?![\w-])"),
    ("percent", r"\d+(?:\.\d+)?\s*(?:%|percent(?!\w))"),
    ("size", rf"{_NUMBER}\s*{_BYTES}(?![\w-])"),
    ("span", rf"{_NUMBER}[\s-]*{_UNIT}(?![\w-])|(?:half\s+an|an|a)\s+{_UNIT}(?![\w-])"),
    ("stop", r"[,;]|[.!](?=\s*$)"),
    ("number", rf"-?\d+(?:\.\d+)?(?![\w./-])|(?:{'|'.join(_SMALL)})(?![\w-])"),
    ("word", rf"{_ORDINAL}|{_PLAIN}(?=[,;]|[.!]?\s|[.!]?$)"),
    ("name", r"[^\s,;\"“”]+?(?=[,;]|[.!]?\s|[.!]?$)"),
)
_WORD: Final = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _PATTERNS), re.IGNORECASE)
_BETWEEN: Final = frozenset(("and", "then"))


@dataclass(frozen=True, slots=True)
class Word:
    """One word as it was written. `kind` is `word` for a plain one."""

    kind: str
    text: str

    @property
    def plain(self) -> str:
        """For comparing: small letters."""
        return self.text.lower()

    @property
    def value(self) -> str:
        """Without its quotes."""
        return self.text[1:-1] if self.kind == "text" else self.text


def cut(sentence: str) -> list[Word]:
    """The words of a sentence, commas and semicolons among them. CallerError when a quotation does not end."""
    if len(sentence) > MOST:
        raise CallerError(f"a sentence has {MOST} characters at most")
    found = list(_words(sentence.strip()))
    return found[:-1] if found and found[-1].text in (".", "!") else found


def _words(text: str) -> Iterator[Word]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _WORD.match(text, at)
        if match is None:
            raise CallerError(f"{text[at : at + 20]!r} is no word; a quotation ends with the mark that it began with")
        yield Word(str(match.lastgroup), " ".join(match[0].split()) if match.lastgroup != "text" else match[0])
        at = match.end()


def pieces(words: list[Word]) -> list[list[Word]]:
    """What lies between commas, semicolons, `and` and `then`."""
    out: list[list[Word]] = [[]]
    for word in words:
        if word.kind == "stop" or (word.kind == "word" and word.plain in _BETWEEN):
            out.append([])
        else:
            out[-1].append(word)
    return [piece for piece in out if piece]


def shown(words: list[Word]) -> str:
    """As a person wrote them, more or less."""
    return " ".join(word.text for word in words)


def literal(word: Word) -> Any:
    """The value that a word stands for: a percentage is a fraction, a quoted word stays a text."""
    if word.kind == "percent":
        return round(float(word.text.rstrip("%").lower().removesuffix("percent")) / 100, 6)
    if word.kind == "number":
        value = number(word.text)
        return int(value) if value.is_integer() else value
    if word.kind == "word" and word.plain in ("true", "false"):
        return word.plain == "true"
    return word.value


def number(text: str) -> float:
    """What a number says, in digits or as a word up to twelve."""
    small = text.lower()
    return float(_SMALL.index(small) + 1) if small in _SMALL else float(text)


def quantity(text: str) -> tuple[float, str]:
    """Number and unit of a size or a span; `an hour` is one, `half an hour` the half."""
    small = text.lower()
    if small.startswith("half"):
        return 0.5, small.split()[-1]
    if small.split()[0] in ("a", "an"):
        return 1.0, small.split()[-1]
    match = re.match(rf"({_NUMBER})[\s-]*(.*)", small)
    assert match is not None  # the pattern of the word saw to it
    return number(match[1]), match[2]
