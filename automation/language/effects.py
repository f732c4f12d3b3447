"""What a clause says to do → a step of a workflow, and what `it` is afterwards."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from automation.errors import CallerError
from automation.language.reading import Reading, Slots, own, place, word
from automation.language.words import Word, literal, shown

MOVED: Final = "moved"  # the name of the step whose result says where the file is now
ARCHIVES: Final = (".tar.gz", ".tar.zst", ".tgz", ".tar", ".zip")


class _Effect(NamedTuple):
    """How a form becomes an action: whether it is about a file, the action, and whether the file is gone then."""

    about_it: bool
    action: Callable[[Slots, str], dict[str, Any]]
    gone: bool = False


def effect(read: Reading, it: str | None, number: int, piece: list[Word]) -> tuple[dict[str, Any], str | None]:
    """The step, and the template for the file after it. CallerError when there is no file that `it` could be."""
    one = EFFECTS[read.form]
    if one.about_it and not it:
        why = "it is not about a file" if it is None else "the file is deleted by then"
        raise CallerError(f"{shown(piece)!r} needs a file, but {why}")
    step = one.action(read.slots, it or "")
    if read.form == "move":
        name = f"{MOVED}{number}"
        return {"name": name, **step}, f"{{{{ steps.{name}.path }}}}"
    return step, "" if one.gone else it


def _transfer(kind: str) -> Callable[[Slots, str], dict[str, Any]]:
    def action(slots: Slots, it: str) -> dict[str, Any]:
        fields: dict[str, Any] = {"from": it, "to": f"{place(slots['place'])}/"}
        return {kind: fields | ({"overwrite": True} if "replacing" in slots else {})}

    return action


def _archive(slots: Slots, it: str) -> dict[str, Any]:
    target = place(slots["place"])
    if not target.endswith(ARCHIVES):
        raise CallerError(f"{target!r} is no archive; its name ends in {', '.join(ARCHIVES)}")
    return {"archive": {"from": it, "to": target, "overwrite": True}}


def _mode(slots: Slots, it: str) -> dict[str, Any]:
    mode = own(slots["number"])
    if not mode.isdigit() or len(mode) not in (3, 4) or set(mode) - set("01234567"):
        raise CallerError(f"{mode!r} is no mode; write octal digits, for instance 0640")
    return {"set_mode": {"path": it, "mode": mode.rjust(4, "0")}}


def _command(slots: Slots, it: str) -> dict[str, Any]:
    try:
        argv = shlex.split(own(slots["text"]))
    except ValueError as error:
        raise CallerError(f"{own(slots['text'])!r} is no command: {error}") from None
    if not argv:
        raise CallerError("the command is missing between the quotes")
    return {"command": {"argv": [*argv, it] if it else argv}}


def _without_it(slots: Slots, it: str) -> dict[str, Any]:
    return _command(slots, "")


def _chat(slots: Slots, it: str) -> dict[str, Any]:
    """The webhook's address is a secret called like the service."""
    return {"send_notification": {"message": own(slots["text"]), str(slots["chat"]): f"secret:{slots['chat']}"}}


def _event(slots: Slots, it: str) -> dict[str, Any]:
    name = own(slots["place"])
    if not name.startswith("user."):
        raise CallerError(
            f"{name!r} cannot be emitted; events of your own begin with 'user.', for instance user.report"
        )
    return {"emit_event": {"event": name} | ({"path": it} if it else {})}


def _set(slots: Slots, it: str) -> dict[str, Any]:
    return {"update_state": {"path": own(slots["place"]), "value": literal(word(slots["value"]))}}


EFFECTS: Final[dict[str, _Effect]] = {
    "copy": _Effect(True, _transfer("copy")),
    "move": _Effect(True, _transfer("move")),
    "delete": _Effect(True, lambda slots, it: {"delete": {"path": it}}, gone=True),
    "archive": _Effect(True, _archive),
    "checksum": _Effect(True, lambda slots, it: {"checksum": {"path": it}}),
    "read_only": _Effect(True, lambda slots, it: {"set_mode": {"path": it, "mode": "0444"}}),
    "executable": _Effect(True, lambda slots, it: {"set_mode": {"path": it, "mode": "0755"}}),
    "mode": _Effect(True, _mode),
    "label": _Effect(
        True, lambda slots, it: {"set_xattr": {"path": it, "name": "label", "value": own(slots["place"])}}
    ),
    "snapshot": _Effect(True, lambda slots, it: {"snapshot": {"path": it}}),
    "http": _Effect(False, lambda slots, it: {"http": {"url": own(slots["url"])}}),
    "post": _Effect(False, lambda slots, it: {"http": {"url": own(slots["url"]), "body": "{{ event }}"}}),
    "upload": _Effect(True, lambda slots, it: {"http": {"url": own(slots["url"]), "method": "POST", "upload": it}}),
    "log": _Effect(False, lambda slots, it: {"log": {"message": own(slots["text"])}}),
    "warn": _Effect(False, lambda slots, it: {"log": {"message": own(slots["text"]), "level": "warning"}}),
    "notify": _Effect(False, lambda slots, it: {"send_notification": {"message": own(slots["text"]), "desktop": True}}),
    "chat": _Effect(False, _chat),
    "write": _Effect(
        False, lambda slots, it: {"write": {"path": place(slots["place"]), "content": own(slots["text"])}}
    ),
    "append": _Effect(
        False,
        lambda slots, it: {
            "write": {"path": place(slots["place"]), "content": own(slots["text"]) + "\n", "append": True}
        },
    ),
    "command_on": _Effect(True, _command),
    "command": _Effect(False, _without_it),
    "emit": _Effect(False, _event),
    "set": _Effect(False, _set),
    "workflow": _Effect(False, lambda slots, it: {"trigger_workflow": {"workflow": own(slots["place"])}}),
    "mkdir": _Effect(False, lambda slots, it: {"mkdir": {"path": place(slots["place"])}}),
}
"""Every form of an action."""
