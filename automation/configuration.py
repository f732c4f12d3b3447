"""The settings of one mount: their names, types and defaults, and the TOML file that holds them.

The file, the command line and `-o` use the same names (`attr-timeout`, `attr_timeout` in `-o` also); later ones win:

    defaults → file → `-o` → command line
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from automation.errors import CallerError, DefinitionError
from automation.globs import compile_globs
from automation.journal.keeping import Keeping
from automation.permissions import Permissions
from automation.quantities import Duration
from automation.targets import Automation
from automation.tenants import forms as tenant_forms
from automation.tenants.forms import LimitsForm, TenantForm


def _listed(value: object) -> object:
    """`"ro,allow_other"` as the list that it stands for."""
    return tuple(part for part in value.split(",") if part) if isinstance(value, str) else value


def _known_globs(value: object) -> object:
    """The globs of the table must be well-formed."""
    if isinstance(value, dict):
        for glob in value:
            compile_globs((str(glob),))
    return value


Io = Literal["auto", "native", "traced"]
Options = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Settings(BaseModel):
    """Everything that one mount can be told; see docs/mounting.md for what each does. Times are in seconds."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-"), populate_by_name=True
    )

    source: str | None = None
    mountpoint: str | None = None
    workflows: str | None = None
    options: Options = ()
    background: bool = False
    show_control: bool = False
    attr_timeout: Duration | None = None
    entry_timeout: Duration | None = None
    exclusive: bool = False
    locks: Literal["local", "shared"] = "local"
    io: Annotated[Io | dict[str, Io], BeforeValidator(_known_globs)] = "auto"
    failed_events: bool = False
    grace: Duration = 10.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    log_file: str | None = None
    state_dir: str | None = None
    volatile: bool = False
    event_log: bool = True
    dry_run: bool = False
    listen: str | None = None
    token_file: str | None = None
    actions: Permissions = Permissions()
    automation: Automation = Automation()
    journal: Keeping = Keeping()
    tenants: dict[str, TenantForm] = {}


NAMES: Final = tuple(name.replace("_", "-") for name in Settings.model_fields)
TABLES: Final[Mapping[str, type[BaseModel]]] = {
    "actions": Permissions,
    "automation": Automation,
    "journal": Keeping,
    "tenants": TenantForm,
}  # only in the file
PATHS: Final = ("source", "mountpoint", "workflows", "log_file", "state_dir", "token_file")


# What pydantic calls by Python's names.
WANTED: Final = {
    "tuple_type": "a list, in brackets",
    "string_type": "text, in quotes",
    "dict_type": "a table",
    "model_type": "a table",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
}


def suggest(name: str, known: tuple[str, ...]) -> str:
    """`; did you mean X?` for the known name nearest to `name`, or nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def canonical(name: str) -> str:
    """The attribute name of a setting as written in any of the three places; CallerError when there is none."""
    plain = name.replace("-", "_")
    if plain not in Settings.model_fields:
        raise CallerError(f"there is no setting {name}{suggest(name.replace('_', '-'), NAMES)}")
    return plain


def read(path: str) -> Settings:
    """The settings in the TOML file at `path`; relative paths in it are relative to the file.

    Raises DefinitionError with line and field for what is wrong in the file, CallerError when it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
    except OSError as error:
        raise CallerError(f"cannot read the configuration file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DefinitionError(path, None, "", "the file is not UTF-8 text") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = None if at is None else int(at[1]) if at[1] else max(1, len(text.splitlines()))
        raise DefinitionError(path, line, "", f"not TOML: {str(error).partition(' (at ')[0]}") from error
    settings = _validated(path, text, values)
    folder = os.path.dirname(os.path.abspath(path))
    given = settings.model_dump(exclude_unset=True)
    # `~` is a shell's affair on the command line; in a file nobody else would expand it.
    placed: dict[str, Any] = {
        n: os.path.join(folder, os.path.expanduser(v)) for n, v in given.items() if n in PATHS and v is not None
    }
    if "actions" in given:
        placed["actions"] = settings.actions.placed(folder)
    if "tenants" in given:
        placed["tenants"] = {name: form.placed(folder) for name, form in settings.tenants.items()}
    return settings.model_copy(update=placed)


def parse(values: Mapping[str, Any], where: str = "--{}") -> Settings:
    """Settings from values by name, as text or typed; `where` turns a name into what the caller wrote.

    Raises CallerError that names the option.
    """
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-") if first["loc"] else ""
        raise CallerError(f"{where.format(name)}: {_reason(first)}") from error


def combine(*layers: Settings) -> Settings:
    """One Settings from several; of two that give the same name, the later one wins. `options` add up."""
    merged: dict[str, Any] = {}
    options: tuple[str, ...] = ()
    for layer in layers:
        merged.update({name: getattr(layer, name) for name in layer.model_fields_set})
        options += layer.options
    return Settings(**merged | {"options": options})


def _validated(path: str, text: str, values: dict[str, Any]) -> Settings:
    if "foreground" in values:  # the opposite of `background`, as on the command line
        foreground = values.pop("foreground")
        if not isinstance(foreground, bool) or values.get("background") is foreground:
            raise DefinitionError(
                path, _line(text, "foreground"), "foreground", "give true or false, the opposite of background"
            )
        values["background"] = not foreground
    for name in values:
        if name.replace("-", "_") not in Settings.model_fields:
            known = (*NAMES, "foreground")
            raise DefinitionError(path, _line(text, name), name, f"there is no such setting{suggest(name, known)}")
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(key) for key in first["loc"] if isinstance(key, str)] if first["loc"][0] in TABLES else []
        keys = keys or [str(first["loc"][0])]
        reason = _reason(first)
        if len(keys) > 1 and first["type"] == "extra_forbidden":
            known = tuple(field.replace("_", "-") for field in _form(keys).model_fields)
            advice = suggest(keys[-1].replace("_", "-"), known) or f"; there are {', '.join(known)}"
            reason = f"there is no such setting{advice}"
        raise DefinitionError(path, _place(text, keys), ".".join(keys), reason) from error
    for name in settings.tenants:
        if wrong := tenant_forms.bad_name(name):
            raise DefinitionError(path, _place(text, ["tenants", name]), f"tenants.{name}", wrong)
    if both := tenant_forms.conflict(settings.tenants):
        keys = ["tenants", *both[0]]
        raise DefinitionError(path, _place(text, keys), ".".join(keys), both[1])
    return settings


def _form(keys: list[str]) -> type[BaseModel]:
    """The form that lacks the last of the keys."""
    return LimitsForm if keys[0] == "tenants" and "limits" in keys[2:-1] else TABLES[keys[0]]


def _reason(error: Any) -> str:
    """Pydantic's sentence for one error, without its prefix for errors that are ours, and with the value."""
    message = WANTED.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    shown = repr(error["input"])
    if isinstance(error["input"], dict):
        told = ", not a table" if error["type"] in WANTED else ""
    else:
        told = "" if shown in message else f", not {shown if len(shown) < 60 else shown[:57] + '...'}"
    return f"{message[:1].lower()}{message[1:]}{told}"


def _place(text: str, keys: list[str]) -> int | None:
    """The line of the setting with these keys: in its table, if that is written as one, else the first of its name."""
    for depth in range(len(keys), 0, -1):
        header = re.compile(rf"\s*\[\s*{_spelled('.'.join(keys[:depth]))}\s*\]")
        lines = text.splitlines()
        begin = next((number for number, line in enumerate(lines) if header.match(line)), None)
        if begin is not None:
            end = next((n for n in range(begin + 1, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
            within = next((_line("\n".join(lines[begin + 1 : end]), key) for key in keys[depth:]), None)
            return begin + 1 + (within or 0)
    found = (_line(text, key) for key in reversed(keys))
    return next((line for line in found if line), None)


def _spelled(name: str) -> str:
    """A pattern for the name in either spelling, quoted or not."""
    spelled = re.escape(name).replace("_", "[-_]").replace(r"\-", "[-_]")
    return spelled.replace(r"\.", r"[\"']?\s*\.\s*[\"']?")


def _line(text: str, name: str) -> int | None:
    """The 1-based line of the top-level key or table `name`, in either spelling; tomllib does not tell."""
    key = re.compile(rf"\s*\[*\s*[\"']?{_spelled(name)}[\"']?\s*[=.\]]")
    return next((number for number, line in enumerate(text.splitlines(), 1) if key.match(line)), None)
