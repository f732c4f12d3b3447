"""A definition → the sentence that says it, read from the definition alone; read again, it means the same."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final

from automation.language.forms import ANOMALIES, COMPARISONS, FOLDINGS, HAPPENINGS, KINDS, MEASURES
from automation.language.times import say_cron, say_duration

IT: Final = re.compile(r"\{\{ (event\.target|steps\.moved\d+\.path) \}\}")
_PATH: Final = re.compile(r"(?:(?P<place>[^*{}]+?)/)?(?P<deep>\*\*/)?(?P<name>[^/]+)")
_PLAIN: Final = re.compile(r"[^\s,;\"“”]*[^\s,;\"“”.!]")
_BYTES: Final = re.compile(r"(>=|<=|>|<) (\d+(?:\.\d+)?)([KMGT]i?B)?")
_RATE: Final = re.compile(r"(\d+)/(\d+)([wdhms])")


class Unsayable(ValueError):  # noqa: N818 - it says what the definition is
    """There is no sentence for this definition."""


def say(definition: Mapping[str, Any]) -> str:
    """The whole sentence. Unsayable when the language has no words for something in the definition."""
    left = dict(definition)
    left.pop("description", None)
    (trigger,) = left.pop("triggers")
    steps = [dict(step) for step in left.pop("steps")]
    try:
        limits = [*_retries(steps), *_limits(left, dict(trigger))]
        sentence = f"{_when(dict(trigger))}, {' and '.join(_step(step) for step in steps)}"
        name = left.pop("name")
        if left:
            raise Unsayable(f"there are no words for {', '.join(left)}")
        return "; ".join([sentence, *limits, f"named {quoted(name)}"])
    except (KeyError, ValueError, TypeError) as error:
        raise error if isinstance(error, Unsayable) else Unsayable(f"there are no words for {error}") from None


def quoted(text: str) -> str:
    """A word of the author's, in quotes where it would be several, or be taken for something else."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _TAKEN and not text[0].isdigit() else f'"{text}"'


_TAKEN: Final = frozenset(("and", "then", "true", "false", "noon", "midnight", "a", "an", "one", "two", "three"))


def _matched(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise Unsayable(f"there are no words for {text}")
    return match


# When


def _when(trigger: dict[str, Any]) -> str:
    trigger.pop("cooldown", None)
    kind = trigger.pop("type", "event")
    said = {
        "event": _event,
        "schedule": _schedule,
        "state_change": _state,
        "anomaly": _anomaly,
        "external_event": _outside,
    }[kind](trigger)
    if trigger:
        raise Unsayable(f"there are no words for {', '.join(trigger)} of the trigger")
    return said


def _event(trigger: dict[str, Any]) -> str:
    types = " ".join(trigger.pop("types"))
    folder = FOLDINGS.get(types)
    happening = (folder or HAPPENINGS[types])[0]
    paths = trigger.pop("from", None) or trigger.get("path", "**")
    target = trigger.pop("path", "**") if paths is not trigger.get("path") and "path" in trigger else None
    trigger.pop("path", None)
    first, *others = [paths] if isinstance(paths, str) else paths
    place, name, directly = _place(first)
    subject = "a folder" if folder else f"{_kind(name)}{_size(trigger.pop('size', None))}"
    if not folder and name and name not in _GLOBS:
        subject += f" called {quoted(name)}"
    where = f" {'directly ' if directly else ''}in {quoted(place)}" if place else ""
    said = f"when {subject} {happening}{where}"
    if target is not None and target != "**":
        said = f"when {subject} is moved from {quoted(place)} to {quoted(_place(target)[0])}"
    if "comm" in trigger:
        said += f" by {quoted(trigger.pop('comm'))}"
    for other in others:
        said += f" except in {quoted(other.removeprefix('!').removesuffix('/**'))}"
    return said + (f" and is quiet for {say_duration(trigger.pop('settle'))}" if "settle" in trigger else "")


_GLOBS: Final = {f"*.{ending}": kind for kind, ending in reversed(list(KINDS.items()))}


def _kind(name: str) -> str:
    kind = _GLOBS.get(name)
    return f"{'an' if kind and kind[0] in 'aeiou' else 'a'} {kind} file" if kind else "a file"


def _place(path: str) -> tuple[str, str, bool]:
    """Place, name and whether it lies directly there."""
    if path == "**":
        return "", "", False
    if path.endswith("/**"):
        return path[:-3], "", False
    match = _matched(_PATH, path)
    directly = match["deep"] is None
    return match["place"] or "", "" if directly and match["name"] == "*" else match["name"], directly


def _size(test: str | None) -> str:
    if test is None:
        return ""
    parts = [_matched(_BYTES, part) for part in test.split(", ")]
    sizes = [f"{part[2]} {part[3] or 'bytes'}" for part in parts]
    if len(parts) == 2:
        return f" between {sizes[0]} and {sizes[1]}"
    return f" {COMPARISONS[parts[0][1]][0]} {sizes[0]}"


def _schedule(trigger: dict[str, Any]) -> str:
    return say_cron(trigger.pop("cron")) if "cron" in trigger else f"every {_unit(trigger.pop('every'))}"


def _unit(text: str) -> str:
    """`1h` → `hour`, `2h` → `2 hours`."""
    return say_duration(text).removeprefix("1 ")


def _text(value: str) -> str:
    return f"“{value}”" if '"' in value else f'"{value}"'


def _state(trigger: dict[str, Any]) -> str:
    path = trigger.pop("state_path")
    held = f" for {say_duration(trigger.pop('held'))}" if "held" in trigger else ""
    if "operator" not in trigger:
        return f"when the state {quoted(path)} changes"
    operator, value = trigger.pop("operator"), trigger.pop("value")
    if operator == "==":
        return f"when the state {quoted(path)} becomes {_value(value)}{held}"
    compare = COMPARISONS[operator][0]
    if path in MEASURES:
        return f"when {MEASURES[path][0]} is {compare} {value * 100:g} %{held}"
    return f"when the state {quoted(path)} is {compare} {value}{held}"


def _anomaly(trigger: dict[str, Any]) -> str:
    kinds = trigger.pop("anomaly_type", None)
    name = "anomaly"
    if kinds is not None:
        (kind,) = kinds
        name = ANOMALIES[kind][0]
    severity = f" of at least {trigger.pop('severity_threshold')} severity" if "severity_threshold" in trigger else ""
    return f"when {'an' if name[0] in 'aeiou' else 'a'} {name} is detected{severity}"


def _outside(trigger: dict[str, Any]) -> str:
    (name,) = trigger.pop("event_type")
    return f"when an event {quoted(name)} comes from outside"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    return str(value) if isinstance(value, int | float) else _text(value)


_TRIGGERS: Final[Mapping[str, Callable[[dict[str, Any]], str]]] = {
    "event": _event,
    "schedule": _schedule,
    "state_change": _state,
    "anomaly": _anomaly,
    "external_event": _outside,
}


# What is done


def _step(step: dict[str, Any]) -> str:
    step.pop("name", None)
    ((kind, fields),) = step.items()
    return _ACTIONS[kind](dict(fields))


def _is(value: str) -> bool:
    return IT.fullmatch(value) is not None


def _transfer(kind: str) -> Callable[[dict[str, Any]], str]:
    def said(fields: dict[str, Any]) -> str:
        replacing = " replacing what is there" if fields.get("overwrite") else ""
        return f"{kind} it to {quoted(fields['to'].removesuffix('/'))}{replacing}"

    return said


def _mode(fields: dict[str, Any]) -> str:
    named = {"0444": "make it read-only", "0755": "make it executable"}
    return named.get(fields["mode"], f"set its mode to {fields['mode']}")


def _http(fields: dict[str, Any]) -> str:
    if "upload" in fields:
        return f"upload it to {fields['url']}"
    return f"post the event to {fields['url']}" if "body" in fields else f"call {fields['url']}"


def _notify(fields: dict[str, Any]) -> str:
    message = _text(fields.pop("message"))
    if fields == {"desktop": True}:
        return f"notify me {message}"
    ((chat, address),) = fields.items()
    if address != f"secret:{chat}":
        raise Unsayable(f"there are no words for the address {address}")
    return f"send {message} to {chat}"


def _write(fields: dict[str, Any]) -> str:
    if fields.get("append"):
        return f"append {_text(fields['content'].removesuffix(chr(10)))} to {quoted(fields['path'])}"
    return f"write {_text(fields['content'])} to {quoted(fields['path'])}"


def _command(fields: dict[str, Any]) -> str:
    argv = fields["argv"]
    on_it = bool(argv) and _is(argv[-1])
    return f"run {_text(shlex.join(argv[:-1] if on_it else argv))}{' on it' if on_it else ''}"


_ACTIONS: Final[Mapping[str, Callable[[dict[str, Any]], str]]] = {
    "copy": _transfer("copy"),
    "move": _transfer("move"),
    "delete": lambda fields: "delete it",
    "archive": lambda fields: f"pack it into {quoted(fields['to'])}",
    "checksum": lambda fields: "checksum it",
    "set_mode": _mode,
    "set_xattr": lambda fields: f"label it {quoted(fields['value'])}",
    "snapshot": lambda fields: "keep a version of it",
    "http": _http,
    "log": lambda fields: f"{'warn' if fields.get('level') == 'warning' else 'log'} {_text(fields['message'])}",
    "send_notification": _notify,
    "write": _write,
    "command": _command,
    "emit_event": lambda fields: f"emit {quoted(fields['event'])}",
    "update_state": lambda fields: f"set the state {quoted(fields['path'])} to {_value(fields['value'])}",
    "trigger_workflow": lambda fields: f"start the workflow {quoted(fields['workflow'])}",
    "mkdir": lambda fields: f"make the folder {quoted(fields['path'])}",
}


# How often, and how


def _retries(steps: list[dict[str, Any]]) -> list[str]:
    """What is said of every step is said once."""
    attempts = {json.dumps(step.pop("retry", None)) for step in steps}
    if attempts == {"null"}:
        return []
    (one,) = attempts
    return [f"retry {json.loads(one)['attempts'] - 1} times"]


def _limits(left: dict[str, Any], trigger: dict[str, Any]) -> list[str]:
    out = []
    if "rate" in left:
        match = _matched(_RATE, left.pop("rate")["rate"])
        often = "once" if match[1] == "1" else f"{match[1]} times"
        out.append(f"at most {often} every {_unit(match[2] + match[3])}")
    if "cooldown" in trigger:
        out.append(f"not more often than every {_unit(trigger['cooldown'])}")
    if "concurrency" in left:
        out.append(f"at most {left.pop('concurrency')['limit']} at a time")
    if "timeout" in left:
        out.append(f"give up after {say_duration(left.pop('timeout'))}")
    if "priority" in left:
        out.append(f"with {left.pop('priority')} priority")
    return out + (["as a dry run"] if left.pop("dry_run", False) else [])
