"""SCXML documents → outlines of charts: the W3C notation, for machines that come from an editor of statecharts.

What stands for the rest of the world (`<invoke>`, `<script>`, other processors) is refused. Expressions are those of
`automation.machines.ecmascript`; with `datamodel="cel"` they are CEL as in YAML, with `datamodel="null"` only `In()`.
Elements of the namespace `urn:vexfs` in executable content are actions: `<vexfs:copy source="…" target="…"/>`, with
`{{ }}` in their attributes (CEL, over `event`, `vars`, `state`, `machine`).
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import Any, Final
from xml.parsers import expat

from automation.errors import DefinitionError
from automation.expressions import nearest
from automation.machines import content, ecmascript, expressions
from automation.machines.outline import (
    Block,
    ChartError,
    Condition,
    Content,
    Kind,
    Outline,
    StateOutline,
    TransitionOutline,
    Value,
)
from automation.machines.scope import ExecutionError, Scope, UnreachableError
from automation.quantities import parse_duration
from automation.step_forms import action_template

SCXML: Final = "http://www.w3.org/2005/07/scxml"
VEXFS: Final = "urn:vexfs"
_PROCESSORS: Final = (ecmascript.PROCESSOR, ecmascript.PROCESSOR.removesuffix("#SCXMLEventProcessor"), "scxml")
_CHILDREN: Final = {
    "scxml": ("state", "parallel", "final", "datamodel"),
    "state": ("onentry", "onexit", "transition", "initial", "state", "parallel", "final", "history", "datamodel"),
    "parallel": ("onentry", "onexit", "transition", "state", "parallel", "history", "datamodel"),
    "final": ("onentry", "onexit", "donedata"),
    "history": ("transition",),
}
_KINDS: Final = {"state": Kind.COMPOUND, "parallel": Kind.PARALLEL, "final": Kind.FINAL, "history": Kind.SHALLOW}
Fetch = Callable[[str], str]


def read_scxml(path: str, text: str, fetch: Fetch | None = None) -> tuple[ET.Element, Outline]:
    """The document's root element and its outline; DefinitionError with the line for what is wrong.

    `fetch` gives the text of `<data src="…">`; without it such data are refused.
    """
    root, lines = _parse(path, text)
    if _local(root) != "scxml":
        raise DefinitionError(path, lines[root], "", f"<scxml> is expected, not <{_local(root)}>")
    try:
        return root, _Reader(root, lines, fetch).outline()
    except ChartError as error:
        raise wrong(path, error) from None


def wrong(path: str, error: ChartError) -> DefinitionError:
    """A chart's error as one of the file: the place is the line."""
    line = error.place[0] if error.place else None
    field = str(error.place[1]) if len(error.place) > 1 else ""
    return DefinitionError(path, line if isinstance(line, int) else None, field, str(error))


def _parse(path: str, text: str) -> tuple[ET.Element, dict[ET.Element, int]]:
    """The tree, and the line on which each element begins. A DOCTYPE is refused: entities can grow without end."""
    builder = ET.TreeBuilder()
    lines: dict[ET.Element, int] = {}
    parser = expat.ParserCreate("utf-8", "}")  # whatever the document declares: it is text already
    parser.buffer_text = True

    def start(tag: str, attributes: dict[str, str]) -> None:
        named = {_qualified(name): value for name, value in attributes.items()}
        lines[builder.start(_qualified(tag), named)] = parser.CurrentLineNumber

    def doctype(*_: Any) -> None:
        raise DefinitionError(path, parser.CurrentLineNumber, "", "a DOCTYPE is not allowed")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: builder.end(_qualified(tag))
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(text.lstrip("\ufeff").encode("utf-8", "surrogateescape"), True)
    except expat.ExpatError as error:
        raise DefinitionError(path, error.lineno, "", f"not XML: {expat.ErrorString(error.code)}") from None
    return builder.close(), lines


def _qualified(name: str) -> str:
    return "{" + name if "}" in name else name


def _local(element: ET.Element) -> str:
    """The name of an element of SCXML (a namespace may be missing); with its namespace for others."""
    tag = element.tag
    return tag.removeprefix("{" + SCXML + "}") if tag.startswith("{" + SCXML) else tag


class _Reader:
    def __init__(self, root: ET.Element, lines: dict[ET.Element, int], fetch: Fetch | None) -> None:
        self._root: Final = root
        self._lines: Final = lines
        self._fetch: Final = fetch
        self._late: Final = root.get("binding") == "late"
        self._datamodel: Final = root.get("datamodel", "ecmascript")
        self._early: Final[list[Content]] = []
        self._names: Final = {e.get("id") for e in root.iter() if e.get("id")}
        self._made_up = 0
        if self._datamodel not in ("ecmascript", "cel", "null"):
            raise self._error(root, "datamodel", "the data models are ecmascript, cel and null")

    def outline(self) -> Outline:
        root = self._state(self._root, Kind.COMPOUND)
        root.name = "#machine"
        return Outline(root, self._early)

    def _error(self, element: ET.Element, field: str, reason: str) -> ChartError:
        return ChartError((self._lines[element], field or _local(element)), reason)

    # States

    def _state(self, element: ET.Element, kind: Kind) -> StateOutline:
        if kind is Kind.SHALLOW:
            return self._history(element)
        out = StateOutline((self._lines[element], "id"), element.get("id") or self._new_name(), kind)
        for child in self._children(element):
            self._part(out, child, late=self._late and element is not self._root)
        if (
            element is not self._root
            and kind is Kind.COMPOUND
            and not any(c.kind not in (Kind.SHALLOW, Kind.DEEP) for c in out.children)
        ):
            out.kind = Kind.ATOMIC
        names = (element.get("initial") or "").split()
        if names:
            out.initial = TransitionOutline((self._lines[element], "initial"), targets=tuple(names))
        return out

    def _part(self, out: StateOutline, child: ET.Element, *, late: bool) -> None:
        match _local(child):
            case "state" | "parallel" | "final" | "history" as tag:
                out.children.append(self._state(child, _KINDS[tag]))
            case "onentry":
                out.entry.append(self._block(child))
            case "onexit":
                out.exit.append(self._block(child))
            case "transition":
                out.transitions.append(self._transition(child))
            case "initial":
                inner = list(child)
                if len(inner) != 1 or _local(inner[0]) != "transition":
                    raise self._error(child, "", "<initial> holds one <transition>")
                out.initial = self._transition(inner[0])
            case "datamodel":
                for data in child:
                    self._data(out, data, late=late)
            case "donedata":
                out.result = self._payload(child)

    def _history(self, element: ET.Element) -> StateOutline:
        depth = element.get("type", "shallow")
        if depth not in ("shallow", "deep"):
            raise self._error(element, "type", f"history is shallow or deep, not {depth!r}")
        kind = Kind.DEEP if depth == "deep" else Kind.SHALLOW
        out = StateOutline((self._lines[element], "id"), element.get("id") or self._new_name(), kind)
        for child in self._children(element):
            out.initial = self._transition(child)
        return out

    def _children(self, element: ET.Element) -> Iterator[ET.Element]:
        known = _CHILDREN["history" if _local(element) == "history" else _local(element)]
        for child in element:
            tag = _local(child)
            if tag in known:
                yield child
            elif tag in ("invoke", "script"):
                raise self._error(child, "", f"<{tag}> is not supported: machines run no other code")
            elif not tag.startswith("{"):  # foreign elements are for other readers
                raise self._error(child, "", f"<{tag}> has no place in <{_local(element)}>{nearest(tag, known)}")

    def _new_name(self) -> str:
        while (name := f"state{self._made_up}") in self._names:
            self._made_up += 1
        self._names.add(name)
        return name

    def _transition(self, element: ET.Element) -> TransitionOutline:
        events = tuple(_descriptor(event) for event in (element.get("event") or "").split())
        condition = element.get("cond")
        kind = element.get("type", "external")
        if kind not in ("internal", "external"):
            raise self._error(element, "type", f"a transition is internal or external, not {kind!r}")
        return TransitionOutline(
            place=(self._lines[element], "transition"),
            events=events,
            condition=None if condition is None else self._when(element, condition),
            targets=tuple((element.get("target") or "").split()),
            internal=kind == "internal",
            content=self._block(element),
        )

    # Data

    def _data(self, out: StateOutline, element: ET.Element, *, late: bool) -> None:
        if _local(element) != "data":
            raise self._error(element, "", f"<datamodel> holds <data>, not <{_local(element)}>")
        name = element.get("id")
        if not name:
            raise self._error(element, "id", "this attribute is required")
        if self._datamodel == "null":
            raise self._error(element, "", "the null data model has no data")
        set_it = content.declare(name, self._first_value(element))
        if late:
            self._early.append(content.declare(name, None))
            out.data.append(set_it)
        else:
            self._early.append(set_it)

    def _first_value(self, element: ET.Element) -> Value | None:
        source, expression = element.get("src"), element.get("expr")
        if source is not None:
            if self._fetch is None:
                raise self._error(element, "src", "data come from 'expr' or from the element's text")
            return _constant(_fetched(self._fetch(source)))
        if expression is not None:
            return self._value(element, expression)
        return self._literal(element) if len(element) or (element.text or "").strip() else None

    def _literal(self, element: ET.Element) -> Value:
        """What stands between tags: an element, JSON, an expression's list or object, or the text itself."""
        plain, text = _inside(element), element.text or ""
        if isinstance(plain, str) and plain[:1] in ("[", "{") and self._datamodel == "ecmascript":
            try:
                return ecmascript.compile_value(text)
            except ValueError:
                return _constant(plain)
        return _constant(plain)

    # Expressions

    def _when(self, element: ET.Element, source: str) -> Condition:
        only = expressions.only_in(source)
        if only is not None:
            return only
        if self._datamodel == "null":
            raise self._error(element, "cond", "the null data model knows only In('state')")
        if self._datamodel == "cel":
            try:
                return expressions.compile_when(source)
            except ValueError as error:
                raise self._error(element, "cond", str(error)) from None
        try:
            return ecmascript.compile_when(source)
        except ecmascript.SyntaxUnknownError as error:  # the standard wants an error event, not a refusal
            failing = content.failing(str(error))
            return lambda scope: bool(failing(scope))

    def _value(self, element: ET.Element, source: str) -> Value:
        if self._datamodel == "null":
            return content.failing("the null data model has no values")
        if self._datamodel == "cel":
            try:
                return expressions.compile_value(source)
            except ValueError as error:
                raise self._error(element, "expr", str(error)) from None
        try:
            return ecmascript.compile_value(source)
        except ecmascript.SyntaxUnknownError as error:
            return content.failing(str(error))

    # Executable content

    def _block(self, element: ET.Element) -> Block:
        return tuple(one for child in element for one in self._content(child))

    def _content(self, element: ET.Element) -> Iterator[Content]:
        match _local(element):
            case "raise":
                yield content.raise_(self._needed(element, "event"))
            case "assign":
                yield self._assign(element)
            case "log":
                source = element.get("expr")
                yield content.log(element.get("label") or "", None if source is None else self._value(element, source))
            case "send":
                yield self._send(element)
            case "cancel":
                expression = element.get("sendidexpr")
                sender = (
                    _constant(self._needed(element, "sendid"))
                    if expression is None
                    else self._value(element, expression)
                )
                yield content.cancel(sender)
            case "if":
                yield self._if(element)
            case "foreach":
                yield self._foreach(element)
            case "script" | "invoke" as tag:
                raise self._error(element, "", f"<{tag}> is not supported: machines run no other code")
            case tag if tag.startswith("{" + VEXFS + "}"):
                yield self._act(element, tag.partition("}")[2])
            case tag if not tag.startswith("{"):
                known = ("raise", "assign", "log", "send", "cancel", "if", "foreach")
                raise self._error(element, "", f"<{tag}> is no executable content{nearest(tag, known)}")

    def _needed(self, element: ET.Element, name: str) -> str:
        value = element.get(name)
        if not value:
            raise self._error(element, name, "this attribute is required")
        return value

    def _act(self, element: ET.Element, name: str) -> Content:
        action: dict[str, Any] = {"type": name, **{k: v for k, v in element.attrib.items() if not k.startswith("{")}}
        try:
            from_text = (element.text or "").strip()
            if from_text:
                action |= json.loads(from_text)
            return content.act(checked_action(action))
        except (ValueError, TypeError) as error:
            raise self._error(element, "", str(error)) from None

    def _assign(self, element: ET.Element) -> Content:
        location = self._needed(element, "location").strip()
        source = element.get("expr")
        value = self._value(element, source) if source is not None else self._literal(element)
        names = location.split(".")
        if names[0] in ecmascript.SYSTEM or not all(name.isidentifier() for name in names):
            return content.failing(f"{location!r} cannot be assigned to")
        return content.assign(names, value)

    def _if(self, element: ET.Element) -> Content:
        branches: list[tuple[Condition | None, list[Content]]] = [
            (self._when(element, self._needed(element, "cond")), [])
        ]
        for child in element:
            match _local(child):
                case "elseif":
                    branches.append((self._when(child, self._needed(child, "cond")), []))
                case "else":
                    branches.append((None, []))
                case _:
                    branches[-1][1].extend(self._content(child))
        return content.choose([(condition, tuple(block)) for condition, block in branches])

    def _foreach(self, element: ET.Element) -> Content:
        item, index = self._needed(element, "item"), element.get("index") or ""
        values = self._value(element, self._needed(element, "array"))
        if not item.isidentifier() or (index and not index.isidentifier()) or item in ecmascript.SYSTEM:
            return content.failing(f"{item!r} is no name of a variable")
        return content.repeat(values, item, index, self._block(element))

    def _send(self, element: ET.Element) -> Content:
        return content.send(
            self._either(element, "event", "eventexpr"),
            data=self._payload(element),
            delay=self._delay(element),
            sender=element.get("id") or "",
            remember=self._remembering(element),
            target=self._target(element),
        )

    def _either(self, element: ET.Element, name: str, computed: str) -> Value:
        expression = element.get(computed)
        return self._value(element, expression) if expression is not None else _constant(element.get(name))

    def _delay(self, element: ET.Element) -> Callable[[Scope], int] | None:
        if element.get("delay") is None and element.get("delayexpr") is None:
            return None
        value = self._either(element, "delay", "delayexpr")

        def delay(scope: Scope) -> int:
            given = value(scope)
            try:
                return round(parse_duration(given) * 1e9)
            except ValueError:
                pass
            try:  # CSS2 allows `.5s`
                return round(parse_duration(f"0{given}") * 1e9)
            except ValueError as error:
                raise ExecutionError(str(error)) from None

        return delay

    def _remembering(self, element: ET.Element) -> Callable[[Scope, str], None] | None:
        location = element.get("idlocation")
        if location is None:
            return None

        def remember(scope: Scope, sender: str) -> None:
            content.assign(location.split("."), _constant(sender))(scope)

        return remember

    def _target(self, element: ET.Element) -> Callable[[Scope], bool] | None:
        target = self._either(element, "target", "targetexpr")
        kind = self._either(element, "type", "typeexpr")

        def internal(scope: Scope) -> bool:
            where, how = target(scope), kind(scope)
            if how is not None and how not in _PROCESSORS:
                raise ExecutionError(f"there is no event processor {how!r}")
            if where in (None, "", f"#_scxml_{ecmascript.system_value(scope, '_sessionid')}"):
                return False
            if where == "#_internal":
                return True
            if isinstance(where, str) and where.startswith("#_"):
                raise UnreachableError(f"there is nothing to send to at {where!r}")
            raise ExecutionError(f"{where!r} is no target; a machine sends to itself")

        return internal

    def _payload(self, element: ET.Element) -> Value | None:
        """`namelist`, `<param>` and `<content>` of a `<send>` or `<donedata>`."""
        parts: list[tuple[str, Value]] = [
            (name, self._value(element, name)) for name in (element.get("namelist") or "").split()
        ]
        for child in element:
            match _local(child):
                case "content":
                    expression = child.get("expr")
                    if expression is not None:
                        return _forgiving(self._value(child, expression), None)
                    return _constant(_inside(child))
                case "param":
                    source = child.get("expr") or child.get("location")
                    if source is None:
                        raise self._error(child, "expr", "a <param> has 'expr' or 'location'")
                    parts.append((self._needed(child, "name"), self._value(child, source)))
        if not parts:
            return None
        strict = _local(element) == "send" and bool(element.get("namelist"))
        return _collected(parts, strict)


def _collected(parts: list[tuple[str, Value]], strict: bool) -> Value:
    """An object of the parts; one that fails is left out with an error event, or fails the whole."""

    def value(scope: Scope) -> Any:
        out: dict[str, Any] = {}
        for name, part in parts:
            try:
                out[name] = part(scope)
            except ExecutionError as error:
                if strict:
                    raise
                scope.fault(str(error))
        return out or None

    return value


def _forgiving(value: Value, otherwise: Any) -> Value:
    """A value that is `otherwise`, with an error event, where it cannot be evaluated."""

    def out(scope: Scope) -> Any:
        try:
            return value(scope)
        except ExecutionError as error:
            scope.fault(str(error))
            return otherwise

    return out


def checked_action(action: dict[str, Any]) -> Value:
    """The rendering of an action's mapping; ValueError for what is wrong with it."""
    from automation.actions.table import LITERAL, check_action

    check_action(action)
    action_template(action)
    literal = LITERAL.get(str(action.get("type")), frozenset())
    return expressions.compile_template(action, literal)


def _descriptor(event: str) -> str:
    """`a.*` and `a.` mean `a`."""
    return event.removesuffix(".*").removesuffix(".") or "*"


def _constant(value: Any) -> Value:
    return lambda scope: value


def _inside(element: ET.Element) -> Any:
    """The first element in it as a value, or its text."""
    return _element(element[0]) if len(element) else _plain(element.text or "")


def _element(element: ET.Element) -> dict[str, Any]:
    """An element of data as a plain value, for `getElementsByTagName` and `getAttribute`."""
    inner = [_element(child) for child in element]
    text = (element.text or "").strip()
    return {"tagName": _local(element), "attributes": dict(element.attrib), "children": inner, "textContent": text}


def _fetched(text: str) -> Any:
    """A file's content: an XML document, else as between tags."""
    if text.lstrip("\ufeff \t\r\n").startswith("<"):
        try:
            return _element(_parse("", text)[0])
        except DefinitionError:
            return _plain(text)
    return _plain(text)


def _plain(text: str) -> Any:
    """JSON, else the text with its white space made single."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return " ".join(text.split())
