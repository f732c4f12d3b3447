"""The text of a definition → plain values, and the line on which each of them stands.

YAML without its surprises: no dates (they stay text), no duplicate keys, no custom tags, one document, at most
`MOST_VALUES` values. JSON is read by the same rules.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from automation.errors import DefinitionError

MOST_BYTES: Final = 1 << 20
MOST_VALUES: Final = 50_000
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """The values of one file and the 1-based line of each, by its place: `("steps", 0, "name")`."""

    path: str
    value: Any
    lines: Mapping[Place, int]

    @property
    def stem(self) -> str:
        """The file's name without its ending, which names a definition that has no name."""
        return os.path.splitext(os.path.basename(self.path))[0]

    def line(self, place: Place) -> int | None:
        """The line of `place`, or of the nearest thing around it."""
        while place not in self.lines:
            if not place:
                return None
            place = place[:-1]
        return self.lines[place]


def read_source(path: str, text: str) -> Source:
    """Parse YAML or, when `path` ends in `.json`, JSON; raises DefinitionError for what is neither."""
    if len(text) > MOST_BYTES:
        raise DefinitionError(path, None, "", f"the file is larger than {MOST_BYTES >> 20} MiB")
    if path.endswith(".json"):
        _check_json(path, text)
        text = text.replace("\t", " ")  # JSON allows tabs between tokens, YAML does not; within texts neither does
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DefinitionError(path, mark.line + 1 if mark else None, "", _sentence(error)) from None
    except yaml.YAMLError as error:
        raise DefinitionError(path, None, "", f"not YAML: {error}") from None
    except RecursionError:
        raise DefinitionError(path, None, "", "the file is nested too deeply") from None
    if node is None:
        raise DefinitionError(path, 1, "", "the file is empty")
    return _Builder(path).source(node)


def _check_json(path: str, text: str) -> None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise DefinitionError(path, error.lineno, "", f"not JSON: {error.msg}") from None
    except RecursionError:
        raise DefinitionError(path, None, "", "the file is nested too deeply") from None


def _sentence(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "malformed"
    if "expected a single document" in (error.context or ""):
        return "the file holds several documents; write one workflow a file"
    if "\\t" in problem:
        return "not YAML: a tab where only spaces may indent"
    context = f" {error.context}" if error.context and error.context != problem else ""
    return f"not YAML: {problem}{context}"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without timestamps and base-60 numbers; on, off, yes and no are text, as in YAML 1.2."""


_DROPPED: Final = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:bool")
_Loader.yaml_implicit_resolvers = {
    char: [(tag, regexp) for tag, regexp in resolvers if tag not in _DROPPED]
    for char, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(0x[0-9a-fA-F_]+|0o?[0-7_]+|[0-9][0-9_]*)\Z"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)


class _Builder:
    """Turns a node graph into values, noting lines; refuses duplicate keys, foreign tags and endless aliases."""

    def __init__(self, path: str) -> None:
        self._path: Final = path
        self._lines: Final[dict[Place, int]] = {}
        self._constructor: Final = yaml.constructor.SafeConstructor()

    def source(self, node: yaml.Node) -> Source:
        return Source(self._path, self._build(node, ()), self._lines)

    def _build(self, node: yaml.Node, place: Place) -> Any:
        self._lines.setdefault(place, node.start_mark.line + 1)
        if len(self._lines) > MOST_VALUES or len(place) > 60:
            raise self._error(node, "the file holds too many values or refers to itself")
        if not isinstance(node, yaml.ScalarNode) and not node.tag.endswith((":map", ":seq")):
            raise self._error(node, f"the tag {node.tag!r} is not supported")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self._build(item, (*place, i)) for i, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "a key must be plain text (put a value that begins with '{' in quotes)")
            key = key_node.value
            if key in out:
                raise self._error(key_node, f"{key!r} is given twice")
            self._lines[*place, key] = key_node.start_mark.line + 1
            out[key] = self._build(value_node, (*place, key))
        return out

    def _scalar(self, node: yaml.Node) -> Any:
        if node.tag.endswith(":int"):
            try:
                return _integer(node.value)
            except ValueError:
                raise self._error(node, f"{node.value!r} is no number; a zero in front means octal") from None
        if node.tag == "tag:yaml.org,2002:value":
            return node.value
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.endswith((":binary", ":timestamp")):
            raise self._error(node, f"the tag {node.tag!r} is not supported")
        try:
            return self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise self._error(node, f"not YAML: {error}") from None

    def _error(self, node: yaml.Node, reason: str) -> DefinitionError:
        return DefinitionError(self._path, node.start_mark.line + 1, "", reason)


def _integer(text: str) -> int:
    """`0644` and `0o644` are octal (file modes), `0x1f` is hexadecimal, `1_000` is a thousand."""
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-").lower()
    if digits.startswith("0x"):
        return sign * int(digits, 16)
    if digits.startswith("0") and len(digits) > 1:
        return sign * int(digits.removeprefix("0o").removeprefix("0") or "0", 8)
    return sign * int(digits)
