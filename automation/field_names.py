"""The fields that a definition may have at a place: what is offered to who wrote one that is not there."""

from __future__ import annotations

import types
from collections.abc import Collection
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel

from automation.actions.table import ACTIONS, ALIASES
from automation.forms import Form
from automation.sources import Place


def of_action(name: Any) -> list[str]:
    """Those of an action by its type or another name of it; none where there is no such action."""
    model = ACTIONS.get(ALIASES.get(str(name), str(name)))
    return ["type", *(name for name in model.model_fields if name != "type")] if model else []


def of_forms(forms: Collection[type[BaseModel]]) -> list[str]:
    """Those of any of these forms."""
    return [_spellings(name, info)[0] for form in forms for name, info in form.model_fields.items()]


def forms_at(loc: Place, root: type[BaseModel], tags: Collection[str] = ()) -> list[type[BaseModel]]:
    """The forms that may stand at `loc` of a `root`. One of `tags` there names the member of a union by its type; a
    part that no form has is a name that the user chose.
    """
    forms: list[type[BaseModel]] = [root]
    for part in loc:
        if isinstance(part, int):
            continue
        if part in tags and len(forms) > 1:
            forms = [form for form in forms if part in get_args(form.model_fields["type"].annotation)]
            continue
        inner = [
            found
            for form in forms
            for name, info in form.model_fields.items()
            if part in _spellings(name, info)
            for found in _forms(info.annotation)
        ]
        forms = inner or forms
    return forms


def _spellings(name: str, info: Any) -> list[str]:
    alias = info.validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name]


def _forms(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, Form):
        return [annotation]
    if get_origin(annotation) in (list, dict, Annotated, Union, types.UnionType):
        return [form for inner in get_args(annotation) for form in _forms(inner)]
    return []
