"""`{{ expression }}` in the texts of a definition: compiled when it is loaded, rendered when a step runs.

A text that is exactly one `{{ … }}` becomes the expression's value with its type; in a longer text each value is
written out (true and false in lower case, null as nothing, lists and objects as JSON). Keys are never templates.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from automation import seals
from automation.expressions import Expression, compile_expression


class Template:
    """A JSON value with compiled texts; `constant` when nothing in it needs rendering.

    Of a mapping, the values of the keys in `literal` are left as they are. `prepared` is for whoever uses a constant
    one again and again: what its value has been made into.
    """

    __slots__ = ("_form", "constant", "prepared", "source")

    def __init__(self, source: Any, literal: Collection[str] = ()) -> None:
        self.source: Final = source
        self.prepared: Any = None
        plain = {key: source[key] for key in literal if key in source} if isinstance(source, dict) else {}
        self._form: Final = (
            {**_compile({**source, **dict.fromkeys(plain)}, ()), **plain} if plain else _compile(source, ())
        )
        self.constant: Final = _is_constant(self._form)

    def render(self, variables: Mapping[str, Any]) -> Any:
        """The value for these variables; EvaluationError when an expression fails."""
        return self.source if self.constant else _render(self._form, variables)


class TemplateError(ValueError):
    """A malformed template; `place` leads to the text within the value, empty for the value itself."""

    def __init__(self, place: tuple[str | int, ...], reason: str) -> None:
        self.place = place
        super().__init__(reason)


# A compiled text is a tuple of literal pieces and expressions; lists and dicts hold compiled values.
def _compile(value: Any, place: tuple[str | int, ...]) -> Any:
    if isinstance(value, str):
        if "{{" not in value:
            reference = seals.literal(value)
            return value if reference is None else (reference,)
        try:
            return tuple(pieces(value))
        except ValueError as error:
            raise TemplateError(place, str(error)) from None
    if isinstance(value, dict):
        return {key: _compile(item, (*place, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_compile(item, (*place, i)) for i, item in enumerate(value)]
    return value


def pieces(text: str) -> list[str | Expression]:
    """A text apart: what stands for itself, and its expressions; ValueError for a malformed one."""
    out: list[str | Expression] = []
    at = 0
    while (start := text.find("{{", at)) >= 0:
        if start > at:
            out.append(text[at:start])
        end = _end(text, start + 2)
        source = text[start + 2 : end].strip()
        out.append(seals.expression(source) or compile_expression(source))
        at = end + 2
    if at < len(text):
        out.append(text[at:])
    return out


def _end(text: str, at: int) -> int:
    """Where the `}}` of the expression that starts at `at` is: outside of quotes and of the expression's own braces."""
    depth, quote = 0, ""
    start = at
    while at < len(text):
        char = text[at]
        if quote:
            if char == "\\":
                at += 1
            elif char == quote:
                quote = ""
        elif char in "\"'":
            quote = char
        elif char == "{":
            depth += 1
        elif char == "}" and depth:
            depth -= 1
        elif text.startswith("}}", at):
            return at
        at += 1
    raise ValueError(
        f"'{{{{' without '}}}}' after {text[start : start + 30]!r}; write {{{{ '{{{{' }}}} for literal braces"
    )


def _is_constant(form: Any) -> bool:
    if isinstance(form, tuple):
        return False
    if isinstance(form, dict):
        return all(map(_is_constant, form.values()))
    return all(map(_is_constant, form)) if isinstance(form, list) else True


def _render(form: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(form, tuple):
        if len(form) == 1 and isinstance(form[0], Expression):
            return form[0](variables)
        return "".join(piece if isinstance(piece, str) else write_out(piece(variables)) for piece in form)
    if isinstance(form, dict):
        return {key: _render(item, variables) for key, item in form.items()}
    if isinstance(form, list):
        return [_render(item, variables) for item in form]
    return form


def write_out(value: Any) -> str:
    """A plain value as text within text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
