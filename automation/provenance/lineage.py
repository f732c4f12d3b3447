"""What conditions may ask the graph of provenance: the functions of CEL, and the graph that answers them.

    labels(path)            the labels of the file at a path; of a directory, those of all files in it
    derived_from(path, p)   whether the file was made, over any number of steps, from one that was at a path like `p`,
                            or was there itself
    process_labels(pid)     the labels of what a process has read
    has_read(pid, p)        whether a process has read such a file, or one that is derived from such
    touched_by(path, who)   whether a program or workflow of such a name, or a user by number, has read, written or
                            moved the file

All are answered from memory, in about a microsecond, from what the tracker keeps for each file. That is possible since
`p` is a text in quotes: the tracker knows beforehand which places are asked about.
"""

from __future__ import annotations

import html
import re
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final, Protocol

from automation.globs import compile_globs


class Lineage(Protocol):
    """Answers; a path is as events have it. ValueError where nothing is tracked."""

    def labels(self, path: str) -> list[str]:
        """Sorted."""
        ...

    def derived_from(self, path: str, pattern: str) -> bool:
        """See above."""
        ...

    def process_labels(self, pid: int) -> list[str]:
        """Sorted."""
        ...

    def has_read(self, pid: int, pattern: str) -> bool:
        """See above."""
        ...

    def touched_by(self, path: str, who: str | int) -> bool:
        """See above."""
        ...


LINEAGE: Final[ContextVar[Lineage | None]] = ContextVar("lineage", default=None)
"""The graph of the mount, or the rehearsal, in whose tasks a condition is judged."""

FUNCTIONS: Final = ("labels", "derived_from", "process_labels", "has_read", "touched_by")
_PLACES: Final = ("derived_from", "has_read")
_PROSE: Final = ("description", "metadata")
_TOKENS: Final = re.compile(
    r"""(?P<text>[rR]?(?:"{3}.*?"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))"""
    r"""|(?P<call>(?<![\w.])(?:labels|derived_from|process_labels|has_read|touched_by)\s*\()|(?P<open>[(\[{])"""
    r"""|(?P<close>[)\]}])|(?P<comma>,)|(?P<other>\s+|\w+|.)""",
    re.DOTALL,
)


def asked() -> Lineage:
    """The graph to ask; ValueError where there is none."""
    lineage = LINEAGE.get()
    if lineage is None:
        raise ValueError("no provenance is tracked")
    return lineage


def places(source: str) -> list[str]:
    """The patterns that an expression asks about; ValueError for one that is not a text in quotes, or malformed."""
    out = []
    for name, arguments in calls(source):
        if name in _PLACES:
            if len(arguments) != 2 or not _is_text(arguments[1]):
                raise ValueError(f"{name} needs its pattern as a text in quotes, for instance {name}(…, 'secret/**')")
            out.append(normal(_text(arguments[1])))
    return out


def calls(source: str) -> list[tuple[str, list[str]]]:
    """Which functions of provenance an expression calls, and the texts of their arguments."""
    if not any(name in source for name in FUNCTIONS):
        return []
    done: list[tuple[str, list[str]]] = []
    stack: list[tuple[str, list[str]]] = []  # what is open, and the arguments so far
    for token in _TOKENS.finditer(source):
        text, kind = token[0], token.lastgroup
        if kind in ("call", "open"):
            stack.append((text[:-1].strip(), [""]))
        elif kind == "close" and stack:
            name, arguments = stack.pop()
            if name:
                done.append((name, [one.strip() for one in arguments]))
            if stack:
                stack[-1][1][-1] += f"{name}({','.join(arguments)})"
        elif kind == "comma" and stack:
            stack[-1][1].append("")
        elif stack:
            stack[-1][1][-1] += text
    return done


def normal(pattern: str) -> str:
    """A pattern as places are known by: `/secret` is the directory and all in it. ValueError for a malformed one."""
    bare = pattern.strip("/")
    if not re.search(r"[*?\[{]", bare):
        bare = f"{{{bare},{bare}/**}}" if bare else "**"
    compile_globs((bare,))
    return bare


def needs(value: Any) -> Iterator[tuple[tuple[str | int, ...], str, list[str]]]:
    """Where in the plain values of a definition, or in the text of a statechart, the functions are used: the place,
    the first function, and the patterns.
    """
    todo: deque[tuple[tuple[str | int, ...], Any]] = deque([((), value)])
    while todo:
        place, one = todo.popleft()
        if isinstance(one, dict):
            todo += [((*place, key), inner) for key, inner in one.items() if key not in _PROSE]
        elif isinstance(one, list | tuple):
            todo += [((*place, i), inner) for i, inner in enumerate(one)]
        elif isinstance(one, str):
            for text in _expressions(one):
                found = calls(text)
                if found:
                    yield place, found[0][0], places(text)


def _expressions(text: str) -> list[str]:
    if text.lstrip().startswith("<"):  # a statechart in SCXML
        return [html.unescape(text)]
    return re.findall(r"\{\{(.*?)\}\}", text, re.DOTALL) if "{{" in text else [text]


def _is_text(argument: str) -> bool:
    token = _TOKENS.fullmatch(argument)
    return token is not None and token.lastgroup == "text"


def _text(argument: str) -> str:
    raw = argument[0] in "rR"
    bare = argument[1:] if raw else argument
    quotes = 3 if bare[:3] in ('"""', "'''") else 1
    inner = bare[quotes:-quotes]
    return inner if raw else re.sub(r"\\(.)", r"\1", inner)
