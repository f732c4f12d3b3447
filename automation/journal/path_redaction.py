"""Keeps the paths of some files out of the audit trail and the log, by rule.

    redact-paths = { "private/**" = "hash", "**/*.key" = "mask", "home/*" = "parent" }

| by | `private/plans/q3.odt` is written as |
|---|---|
| `hash` | `private/#5c1e…/#88ab…`: for each name that is covered a keyed hash of the path up to it |
| `mask` | `[masked]` |
| `parent` | `private/[masked]`: the nearest directory that the rule does not cover |

With `hash` the same file is always the same, a directory is found by its path, and nobody reads a name without the key.
The first rule that matches counts; what lies below a matching directory matches. In texts (errors, inputs, log lines) a
path is found where it stands as a word, in quotes, or as the rest of a line that a rule's literal beginning starts; the
names of files seen lately are found as words too.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from automation.globs import compile_globs

Mode = Literal["hash", "mask", "parent"]

MASK: Final = "[masked]"
KEY: Final = "journal.key"
MOST_KNOWN: Final = 10_000
SHORTEST: Final = (
    3  # characters of a name that is hidden wherever it is a word; shorter ones where they are all there is
)
# What is no name of a file, whatever files are called so.
_VOCABULARY: Final = frozenset(
    {"action", "answer", "kind", "machine", "mode", "operation", "pattern", "policy", "priority", "rule", "run"}
    | {"status", "step", "trigger", "type", "workflow"}
)
_WORD: Final = re.compile(r"[^\s'\"]+")
_QUOTED: Final = re.compile(r"'([^'\n]+)'|\"([^\"\n]+)\"")
_TOKEN: Final = re.compile(r"#[0-9a-f]{16}|\[masked\]")
_BEFORE, _AFTER = "([{<=", ":,;.)]}>!?"


class PathRedactor:
    """`rules` by glob; `places` are the directories by which a path of the mount may be named from outside."""

    def __init__(self, rules: Mapping[str, Mode], key: bytes, places: Iterable[str] = ()) -> None:
        """ValueError for a malformed glob."""
        self._rules: Final = [(compile_globs((glob,)), mode) for glob, mode in rules.items()]
        self._key: Final = key
        self._places: Final = sorted((f"{place.rstrip('/')}/" for place in places), key=len, reverse=True)
        self._names: Final[OrderedDict[str, str]] = OrderedDict()  # of files that were seen, and what stands for each
        self._spaced: Final[OrderedDict[str, None]] = OrderedDict()  # paths and names that are more than a word
        heads = {"/".join(anchor.head) for matcher, _ in self._rules for anchor in matcher.anchors if not anchor.exact}
        begins = "|".join(re.escape(head) for head in sorted(heads - {""}, key=len, reverse=True))
        self._rest: Final = (
            re.compile(rf"(?<![\w.-])({begins})/(?!#[0-9a-f]{{16}}|\[masked\])[^\n]+") if begins else None
        )

    def path(self, path: str) -> str:
        """What is written for a path of the mount."""
        found = self._covered(path)
        if found is None:
            return path
        depth, mode = found
        names = path.split("/")
        if mode == "hash":
            return "/".join(self._hashed(names, depth))
        return MASK if mode == "mask" else "/".join([*names[:depth], MASK])

    def see(self, path: str) -> str:
        """`path`, and its names are hidden from now on wherever they stand."""
        found = self._covered(path)
        if found is None:
            return path
        names, depth = path.split("/"), found[0]
        shown = self._hashed(names, depth) if found[1] == "hash" else [MASK] * len(names)
        for name, token in zip(names[depth:], shown[depth:], strict=True):
            for one in {name, name.rpartition(".")[0]} - {""}:
                _put(self._names, one, token)
                if _WORD.fullmatch(one) is None:
                    _put(self._spaced, one, None)
        if _WORD.fullmatch(path) is None:
            _put(self._spaced, path, None)
        return self.path(path)

    def covers(self, path: str) -> bool:
        """Whether a path is one of those."""
        return self._covered(path) is not None

    def value(self, value: Any) -> Any:
        """A JSON value without such paths in its texts and keys."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(name) if isinstance(name, str) else name: item
                if name in _VOCABULARY and isinstance(item, str)
                else self.value(item)
                for name, item in value.items()
            }
        return [self.value(item) for item in value] if isinstance(value, list | tuple) else value

    def text(self, text: str) -> str:
        """A text without such paths."""
        whole = self._within(text)
        if whole is not None:
            return whole
        for one in sorted((one for one in self._spaced if one in text), key=len, reverse=True):
            text = text.replace(one, self._names.get(one) or self.path(one))
        text = _QUOTED.sub(self._quoted, text)
        text = _WORD.sub(self._word, text)
        return text if self._rest is None else self._rest.sub(rf"\1/{MASK}", text)

    def alternatives(self, path: str) -> list[str]:
        """Everything that may stand for a path that is asked for, whatever the rules were."""
        names = path.split("/")
        return [path, *("/".join(self._hashed(names, depth)) for depth in range(len(names)))]

    def _covered(self, path: str) -> tuple[int, Mode] | None:
        """The number of names before the first that is covered, and how; None for what stands for a path already."""
        names = path.split("/")
        for matcher, mode in self._rules:
            for depth in range(len(names)):
                if matcher("/".join(names[: depth + 1])):
                    return None if all(map(_TOKEN.fullmatch, names[depth:])) else (depth, mode)
        return None

    def _hashed(self, names: list[str], depth: int) -> list[str]:
        return [
            name if at < depth or _TOKEN.fullmatch(name) else self._token("/".join(names[: at + 1]))
            for at, name in enumerate(names)
        ]

    def _token(self, text: str) -> str:
        data = text.encode("utf-8", "surrogateescape")
        return f"#{hmac.new(self._key, data, hashlib.sha256).hexdigest()[:16]}"

    def _within(self, text: str) -> str | None:
        """What stands for a text that is a path, from outside or within, or a name; None when it is neither."""
        if text in self._names:
            return self._names[text]
        place = next((place for place in self._places if text.startswith(place)), "")
        bare = text[len(place) :].strip("/")
        if not bare or self._covered(bare) is None or (" " in bare and ": " in bare):
            return None
        return place + ("/" if text.startswith("/") and not place else "") + self.path(bare)

    def _quoted(self, found: re.Match[str]) -> str:
        inner = found[1] or found[2]
        said = self._within(inner)
        return found[0] if said is None else f"{found[0][0]}{said}{found[0][-1]}"

    def _word(self, found: re.Match[str]) -> str:
        word = found[0]
        core = word.lstrip(_BEFORE)
        core = core.rstrip(_AFTER)
        before, _, after = word.partition(core) if core else (word, "", "")
        if len(core) < SHORTEST or MASK in word:
            return word
        said = self._within(core)
        if said is None:
            said = "/".join(map(self._named, core.split("/"))) if self._names else core
        return before + said + after

    def _named(self, name: str) -> str:
        """One name of a path: `q3.odt.bak` where `q3.odt`, or `q3`, is the name of a file that was seen."""
        stem, end = name, len(name)
        while len(stem) >= SHORTEST:
            if stem in self._names:
                return self._names[stem] + name[end:]
            end = stem.rfind(".")
            if end < 0:
                break
            stem = name[:end]
        return name


def path_redactor(rules: Mapping[str, Mode], key: bytes | None, places: Iterable[str]) -> PathRedactor | None:
    """A redactor by these rules, None without any; without a key, by one that lives as long as the process."""
    return PathRedactor(rules, key or os.urandom(32), places) if rules else None


def read_key(path: str, *, make: bool) -> bytes | None:
    """The key in a file that only its owner reads; a new one where there is none and it is to be made, else None. Where
    `path` is a link, the key is where that leads.
    """
    path = os.path.realpath(path)
    try:
        with open(path, "rb") as file:
            return bytes.fromhex(file.read().decode())
    except FileNotFoundError:
        if not make:
            return None
    key = os.urandom(32)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w", encoding="ascii") as file:
        file.write(key.hex())
        file.flush()
        os.fsync(file.fileno())
    return key


def is_redacted(path: str) -> bool:
    """Whether a path is what stands for another."""
    return any(map(_TOKEN.fullmatch, path.split("/")))


def _put(known: OrderedDict[str, Any], key: str, value: Any) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > MOST_KNOWN:
        known.popitem(last=False)
