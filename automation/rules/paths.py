"""Whether a path matches a list of globs: the common shapes by text operations, the rest by a regular expression.

The shapes cost 0.2 µs and 2 µs to make; a regular expression 0.6 µs, and about 150 µs and 2 KB to make, which is too
much for each of 50,000 rules. Both give the same answers (tests/test_rules_index.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from automation.globs import PathMatcher, expand

Test = Callable[[str], bool]
_SPECIAL: Final = frozenset("*?[{\\")


class _Shape:
    """`prefix`, then anything (below: in any directory), then `suffix`."""

    __slots__ = ("_below", "_length", "_prefix", "_suffix")

    def __init__(self, prefix: str, suffix: str, below: bool) -> None:
        self._prefix: Final = prefix
        self._suffix: Final = suffix
        self._below: Final = below
        self._length: Final = len(prefix) + len(suffix)

    def __call__(self, path: str) -> bool:
        start = len(self._prefix)
        return (
            len(path) >= self._length
            and path.startswith(self._prefix)
            and path.endswith(self._suffix)
            and (self._below or path.find("/", start) < 0)
        )


class _Any:
    """One of several."""

    __slots__ = ("_tests",)

    def __init__(self, tests: tuple[Test, ...]) -> None:
        self._tests: Final = tests

    def __call__(self, path: str) -> bool:
        for test in self._tests:  # noqa: SIM110 - half the time of any()
            if test(path):
                return True
        return False


def path_test(patterns: Iterable[str], exclude: Iterable[str] = ()) -> Test:
    """The test of `patterns` (none: everything) without what `exclude` matches; ValueError for a malformed pattern."""
    patterns = tuple(patterns)
    wanted = [p for p in patterns if not p.startswith("!")]
    unwanted = (*(p[1:] for p in patterns if p.startswith("!")), *exclude)
    include = _one(wanted or ["**"])
    if not unwanted:
        return include
    barred = _one(unwanted)
    return lambda path: include(path) and not barred(path)


def is_place(pattern: str) -> bool:
    """Whether a pattern is one path or all below one directory, so that the index's finding it is proof enough."""
    return (
        not pattern.startswith("!")
        and not _SPECIAL & set(pattern.removesuffix("**").rstrip("/"))
        and (not pattern.endswith("**") or pattern.endswith("/**"))
    )


def _one(patterns: Iterable[str]) -> Test:
    choices = [choice for pattern in patterns for choice in expand(pattern)]
    shapes = [_shape(choice) for choice in choices]
    found = tuple(shape for shape in shapes if shape is not None)
    if len(found) < len(shapes):
        return PathMatcher(choices)
    return found[0] if len(found) == 1 else _Any(found)


def _shape(pattern: str) -> Test | None:
    """`a/b`, `a/**`, `a/*`, `a/**/*.x`, `a/*.x`, `**/x`, and those without a directory; None for all else."""
    head, slash, tail = pattern.rpartition("/")
    if not _SPECIAL & set(pattern):
        return pattern.__eq__
    if tail == "**" and not _SPECIAL & set(head):
        return _Below(head + slash)
    if not _SPECIAL & set(head):
        return _wild(head + slash, tail, below=False)
    if head == "**" or (head.endswith("/**") and not _SPECIAL & set(head[:-3])):
        return _wild(head[:-2], tail, below=True)
    return None


def _wild(prefix: str, tail: str, *, below: bool) -> Test | None:
    """`*` and then plain text, in one directory or in any."""
    if not tail.startswith("*") or _SPECIAL & set(tail[1:]):
        return None
    return _Shape(prefix, tail[1:], below)


class _Below:
    """Whatever lies below a directory."""

    __slots__ = ("_prefix",)

    def __init__(self, prefix: str) -> None:
        self._prefix: Final = prefix

    def __call__(self, path: str) -> bool:
        return len(path) > len(self._prefix) and path.startswith(self._prefix)
