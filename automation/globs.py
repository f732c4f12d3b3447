"""Path globs: a list of patterns → a matcher, and the literal ends by which the routing index files it.

`*` and `?` stay within one name, `[abc]`, `[a-z]`, `[!a]` are one character, `**` crosses any number of directories,
`{a,b}` is a choice (nested ones too), `\\` takes the next character literally, and a pattern that begins with `!`
excludes. A leading `/` means nothing: every pattern starts at the root of the mount; one that ends in `/` is everything
below. Hidden names are names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MOST_CHOICES: Final = 1000
_SPECIAL: Final = frozenset("*?[")
_DIRECTORIES: Final = "(?:[^/]+/)*"  # zero or more whole directories


@dataclass(frozen=True, slots=True)
class Anchor:
    """What is literal about one pattern: its leading directories, its final extension, or the whole of it.

    A path can only match if it equals `"/".join(head)` (`exact`), or lies below it and, where `extension` is not
    empty, its last name ends in that extension (from the last dot on).
    """

    head: tuple[str, ...]
    extension: str
    exact: bool


class PathMatcher:
    """Whether a path matches one of the patterns and none of the exclusions; ValueError for a malformed pattern."""

    __slots__ = ("_exclude", "_include", "anchors", "patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns: Final = tuple(patterns)
        wanted = [choice for p in self.patterns if not p.startswith("!") for choice in expand(p)]
        unwanted = [choice for p in self.patterns if p.startswith("!") for choice in expand(p[1:])]
        if not wanted:
            wanted = ["**"]
        self.anchors: Final = tuple(dict.fromkeys(anchor_of(pattern) for pattern in wanted))
        self._include = re.compile("|".join(_regex(pattern) for pattern in wanted), re.DOTALL).fullmatch
        self._exclude = (
            re.compile("|".join(_regex(pattern) for pattern in unwanted), re.DOTALL).fullmatch if unwanted else None
        )

    def __call__(self, path: str) -> bool:
        return self._include(path) is not None and (self._exclude is None or self._exclude(path) is None)


@lru_cache(maxsize=4096)
def compile_globs(patterns: tuple[str, ...]) -> PathMatcher:
    """The matcher of `patterns`, shared between equal lists."""
    return PathMatcher(patterns)


def expand(pattern: str) -> list[str]:
    """Every choice of a brace list: `a.{b,c}` → `a.b`, `a.c`; braces without a comma stand for themselves."""
    if not pattern.strip("/"):
        raise ValueError(f"the pattern {pattern!r} is empty")
    out = _expand(pattern.lstrip("/"), 0)
    return list(dict.fromkeys(f"{choice.rstrip('/')}/**" if choice.endswith("/") else choice for choice in out))


def _expand(pattern: str, depth: int) -> list[str]:
    if depth > 50:
        raise ValueError("brace lists are nested too deeply")
    found = _brace(pattern)
    if found is None:
        return [pattern]
    start, end, parts = found
    tails = _expand(pattern[end:], depth + 1)
    middles = [choice for part in parts for choice in _expand(part, depth + 1)]
    if len(middles) * len(tails) > MOST_CHOICES:
        raise ValueError(f"the brace lists of one pattern make more than {MOST_CHOICES} choices")
    return [pattern[:start] + middle + tail for middle in middles for tail in tails]


def _brace(pattern: str) -> tuple[int, int, list[str]] | None:
    """The first brace list: where it starts, where it ends, and its parts."""
    for start, end in _braces(pattern):
        parts = _split(pattern[start + 1 : end - 1])
        if len(parts) > 1:
            return start, end, parts
    return None


def _braces(pattern: str) -> list[tuple[int, int]]:
    open_at: list[int] = []
    out: list[tuple[int, int]] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif char == "{":
            open_at.append(at)
        elif char == "}" and open_at:
            out.append((open_at.pop(), at + 1))
        at += 1
    if open_at:
        raise ValueError(f"'{{' without '}}' in the pattern {pattern!r}; write '\\{{' for a literal brace")
    return sorted(out)


def _split(text: str) -> list[str]:
    parts, depth, begin, at = [], 0, 0, 0
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 1
        elif char in "{}":
            depth += 1 if char == "{" else -1
        elif char == "," and depth == 0:
            parts.append(text[begin:at])
            begin = at + 1
        at += 1
    parts.append(text[begin:])
    return parts


def _regex(pattern: str) -> str:
    """A regular expression for one pattern without brace lists."""
    out, at, end = "", 0, len(pattern)
    while at < end:
        char = pattern[at]
        if char == "*" and pattern.startswith("**", at):
            stop = at
            while stop < end and pattern[stop] == "*":
                stop += 1
            own_name = at == 0 or pattern[at - 1] == "/"
            if own_name and pattern.startswith("/", stop):
                if not out.endswith(_DIRECTORIES):  # "**/**/" says no more than "**/" and costs a lot to match
                    out += _DIRECTORIES
                stop += 1
            elif own_name and stop == end:
                out += ".+"
            else:
                out += ".*"
            at = stop
        elif char == "*":
            out += "[^/]*"
            at += 1
        elif char == "?":
            out += "[^/]"
            at += 1
        elif char == "[":
            text, at = _char_class(pattern, at)
            out += text
        elif char == "\\" and at + 1 < end:
            out += re.escape(pattern[at + 1])
            at += 2
        else:
            out += re.escape(char)
            at += 1
    return f"(?:{out})"


def _char_class(pattern: str, at: int) -> tuple[str, int]:
    end = at + 1
    if pattern[end : end + 1] in ("!", "^"):
        end += 1
    end = pattern.find("]", end + 1)  # a bracket that comes first is a member
    if end < 0:
        raise ValueError(f"'[' without ']' in the pattern {pattern!r}; write '\\[' for a literal bracket")
    body = pattern[at + 1 : end]
    negated = body[0] in "!^"
    body = body[1:] if negated else body
    if "/" in body:
        raise ValueError(f"'[{body}]' in the pattern {pattern!r} holds '/', which no name contains")
    for low, high in re.findall(r"(.)-(.)", body, re.DOTALL):
        if low > high:
            raise ValueError(f"the range '{low}-{high}' in the pattern {pattern!r} runs backwards")
    safe = re.sub(r"([\\\[\]^&~|])", r"\\\1", body)
    return (f"[^/{safe}]" if negated else f"[{safe}]"), end + 1


def _literal(text: str) -> str | None:
    """The text itself with its escapes removed, or None when it holds a wildcard."""
    out, at = "", 0
    while at < len(text):
        if text[at] in _SPECIAL:
            return None
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        out += text[at]
        at += 1
    return out


def anchor_of(pattern: str) -> Anchor:
    """The literal ends of one pattern that has no brace lists."""
    names = pattern.split("/")
    head: list[str] = []
    for name in names:
        plain = _literal(name)
        if plain is None:
            break
        head.append(plain)
    if len(head) == len(names):
        return Anchor(tuple(head), "", exact=True)
    return Anchor(tuple(head), _extension(names[-1]), exact=False)


def _extension(name: str) -> str:
    """The literal extension at the end of a wildcard name, `.gz` of `*.tar.gz`; empty when there is none."""
    tail = name
    for char in "*?]":
        tail = tail[tail.rfind(char) + 1 :]
    if "\\" in tail or "[" in tail:
        return ""
    dot = tail.rfind(".")
    return tail[dot:] if dot >= 0 else ""
