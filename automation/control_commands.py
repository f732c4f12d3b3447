"""The commands of `/.vexfs/ctl`: each takes the rest of its line and says in one sentence what it did."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from automation.errors import CallerError

if TYPE_CHECKING:
    from automation.rules.desk import RuleDesk
    from automation.service import Service
    from automation.triggers.pattern_desk import PatternDesk


async def _pause(service: Service, rest: str) -> str:
    _nothing(rest)
    service.pause()
    return "paused: nothing new starts until resume"


async def _resume(service: Service, rest: str) -> str:
    _nothing(rest)
    service.resume()
    return "resumed"


async def _reload(service: Service, rest: str) -> str:
    _nothing(rest)
    service.library.check_hot()
    errors = await service.library.reload()
    loaded = f"{len(service.library.entries)} definitions"
    return f"reloaded: {loaded}" + (f", {len(errors)} with errors; the first: {errors[0]}" if errors else "")


async def _enable(service: Service, rest: str) -> str:
    if _one_name(rest) not in service.library.entries:
        _reacts(service, rest).enable(rest, True)
        return f"enabled {rest}"
    service.library.enable(rest)
    entry = service.library.entry(rest)
    return f"enabled {rest}" + ("" if entry.active else ", which has no working definition yet")


def _reacts(service: Service, name: str) -> PatternDesk | RuleDesk:
    """What has the pattern, rule or guard of that name."""
    if service.patterns.knows(name):
        return service.patterns
    if service.rules.knows(name):
        return service.rules
    raise CallerError(f"there is no workflow, pattern, rule or guard called {name!r}")


async def _disable(service: Service, rest: str) -> str:
    if _one_name(rest) in service.library.entries:
        service.library.disable(rest)
    else:
        _reacts(service, rest).enable(rest, False)
    return f"disabled {rest}"


async def _run(service: Service, rest: str) -> str:
    dry = rest.startswith("--dry-run ")
    name, _, text = rest.removeprefix("--dry-run ").partition(" {")
    try:
        given = json.loads("{" + text) if text else {}
    except (json.JSONDecodeError, RecursionError) as error:
        raise CallerError(f"the input is no JSON object: {error}") from None
    entry = service.library.entry(_one_name(name.strip()))
    if not entry.active:
        raise CallerError(f"{entry.name} is not active: {entry.fault or entry.error or 'it is disabled'}")
    run = await service.dispatcher.run_by_hand(entry.name, given, dry=dry)
    return f"started the {'dry ' if dry else ''}run {run.id} of {entry.name}"


async def _cancel(service: Service, rest: str) -> str:
    run = service.runner.cancel(_one_name(rest))
    return f"cancelling the run {run.id} of {run.workflow}"


async def _retry(service: Service, rest: str) -> str:
    run = await service.archive.run(_one_name(rest))
    if not run.finished:
        raise CallerError(f"the run {run.id} goes on")
    if run.status == "succeeded":
        raise CallerError(f"the run {run.id} has succeeded: start another one with `run {run.workflow}`")
    fresh = service.dispatcher.run_again(run)
    return f"started the run {fresh.id} of {fresh.workflow} with what {run.id} was started with"


async def _rollback(service: Service, rest: str) -> str:
    name, _, number = _one_name(rest).rpartition(" ")
    if not name or not number.isdecimal():
        name, number = rest, ""
    entry = await service.library.rollback(name, int(number) if number else None)
    return f"rolled {entry.name} back; what it says now is version {entry.version}"


async def _quit(service: Service, rest: str) -> str:
    _nothing(rest)
    if service.tenant is not None:
        raise CallerError("a tenant cannot end the mount")
    service.quit_requested.set()
    return "stopping"


def _nothing(rest: str) -> None:
    if rest:
        raise CallerError(f"this command takes nothing more, not {rest!r}")


def _one_name(text: str) -> str:
    if not text:
        raise CallerError("a name is missing")
    return text


COMMANDS: Final[Mapping[str, Callable[[Service, str], Awaitable[str]]]] = MappingProxyType(
    {
        "pause": _pause,
        "resume": _resume,
        "reload": _reload,
        "enable": _enable,
        "disable": _disable,
        "run": _run,
        "cancel": _cancel,
        "retry": _retry,
        "rollback": _rollback,
        "quit": _quit,
    }
)
