"""The state of the whole system: Normal, HighLoad, Degraded, Emergency, Maintenance or Scaling.

Measurements move it by thresholds. A person or a workflow moves it by setting `system.state`, which then holds until
`system.state = "auto"`, or for a while: `system.state = {"state": "Maintenance", "reason": "backup", "for": "2h"}`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from automation.errors import CallerError
from automation.events import Cause
from automation.expressions import nearest
from automation.machines.thresholds import DEFAULTS, VARIABLES, Threshold, Thresholds
from automation.quantities import parse_duration
from automation.state import State

AUTO: Final = "auto"
HISTORY: Final = 256
OWN: Final = ("state", "previous", "since", "reason", "by", "held", "until", "load")
"""The names under `system` that are ours; anybody may set others."""


class SystemStateType(StrEnum):
    """The seed's states."""

    NORMAL = "Normal"
    HIGH_LOAD = "HighLoad"
    DEGRADED = "Degraded"
    EMERGENCY = "Emergency"
    MAINTENANCE = "Maintenance"
    SCALING = "Scaling"


@dataclass(frozen=True, slots=True)
class SystemTransition:
    """From one state to another, at `at` (ns). `by` is `measurement`, `hand`, `time` or `workflow NAME`."""

    old: str
    new: str
    reason: str
    by: str
    at: int


class SystemState:
    """Lives in `state` under `system`; each transition publishes one `system.state` event with `path`, `old`, `new`,
    `reason` and `by`. Keeps the last 256 transitions. `clock` is asked only for changes that come by hand or workflow.
    """

    def __init__(self, state: State, clock: Callable[[], int], thresholds: Sequence[Threshold] = DEFAULTS) -> None:
        self.history: Final[deque[SystemTransition]] = deque(maxlen=HISTORY)
        self.current = SystemStateType.NORMAL
        self.held = False
        self.on_change: Callable[[str], None] = lambda state: None
        self.keep: Callable[[dict[str, Any]], None] = lambda snapshot: None  # told of what must outlive the mount
        self._state: Final = state
        self._clock: Final = clock
        self._thresholds = Thresholds(thresholds)
        self._measured: tuple[str, str] = ("Normal", "nothing is exceeded")
        self._until: int | None = None
        self._shown: Final[dict[str, float]] = {}
        state.keep("system.state", str(self.current), quiet=True)
        self._note(None, "it begins so", "start", clock())
        state.claim("system", self._set)

    def use(self, thresholds: Sequence[Threshold] = DEFAULTS) -> None:
        """Judge by these thresholds from now on, without any by those that VexFS comes with."""
        self._thresholds = Thresholds(thresholds)

    def observe(self, measurements: Mapping[str, float], now: int) -> SystemTransition | None:
        """Use one sample of the load (see MEASURES) at `now` (ns); the transition that it brings about."""
        self._measured = self._thresholds.observe(measurements, now)
        load = {name: round(value, 4) for name, value in measurements.items()}
        self._state.keep("system.load", load, quiet=True)
        self._show(measurements)
        if self.held:
            if self._until is None or now < self._until:
                return None
            self._release()
            return self._go(*self._measured, "time", now)
        return self._go(*self._measured, "measurement", now)

    def _show(self, measurements: Mapping[str, float]) -> None:
        """Set the variables whose measure is another now: a value set by hand stays until then."""
        for measure, variable in VARIABLES.items():
            value = round(measurements.get(measure, 0.0), 3)
            if measure in measurements and self._shown.get(variable) != value:
                self._shown[variable] = value
                self._state.keep(variable, value)

    def change(
        self, to: str, reason: str, by: str, now: int, *, seconds: float | None = None, cause: Cause | None = None
    ) -> SystemTransition | None:
        """Move by hand or by a workflow, and stay there, for `seconds` or until `auto`; CallerError for no state."""
        if to == AUTO:
            self._release()
            return self._go(self._measured[0], reason or self._measured[1], by, now, cause)
        state = named(to)
        self.held = True
        self._until = None if seconds is None else now + round(seconds * 1e9)
        made = self._go(state, reason or f"set by {by}", by, now, cause)
        if made is None:
            self._note(None, reason or f"set by {by}", by, now)
        return made

    def set(self, value: Any, by: str, cause: Cause | None = None) -> None:
        """Move to a state by its name, or by an object with `state`, `reason` and `for`; CallerError for neither."""
        values = value if isinstance(value, dict) else {"state": value}
        odd = values.keys() - {"state", "reason", "for"}
        if odd or not isinstance(values.get("state"), str) or not isinstance(values.get("reason", ""), str):
            raise CallerError(
                'write the name of a state, or for instance {"state": "Maintenance", "reason": "backup", "for": "2h"}'
            )
        try:
            seconds = parse_duration(values["for"]) if "for" in values else None
        except ValueError as error:
            raise CallerError(str(error)) from None
        self.change(values["state"], values.get("reason", ""), by, self._clock(), seconds=seconds, cause=cause)

    def as_dict(self) -> dict[str, Any]:
        """What `system` holds in the shared state."""
        found: dict[str, Any] = self._state.get("system", {})
        return found

    def snapshot(self) -> dict[str, Any]:
        """State, hold and history as plain JSON."""
        transitions = [asdict(one) for one in self.history]
        return {"state": str(self.current), "held": self.held, "until": self._until, "history": transitions}

    def restore(self, snapshot: Mapping[str, Any], now: int) -> None:
        """Continue a snapshot: a state that was held is held; a measured one is measured anew."""
        self.history.clear()
        self.history.extend(SystemTransition(**one) for one in snapshot["history"])
        if snapshot["held"] and (snapshot["until"] is None or snapshot["until"] > now):
            last = self.history[-1] if self.history else None
            self.held, self._until = True, snapshot["until"]
            self.current = SystemStateType(snapshot["state"])
            self._note(None, last.reason if last else "held", last.by if last else "hand", last.at if last else now)
        else:
            self._note(None, "it begins so", "start", now)

    def _go(self, to: str, reason: str, by: str, now: int, cause: Cause | None = None) -> SystemTransition | None:
        if to == self.current:
            return None
        made = SystemTransition(str(self.current), to, reason, by, now)
        self.current = SystemStateType(to)
        self.history.append(made)
        self.on_change(to)
        self._note(made, reason, by, now, cause)
        return made

    def _note(self, made: SystemTransition | None, reason: str, by: str, now: int, cause: Cause | None = None) -> None:
        """Show where we are in the shared state; one event for a transition, none for the details."""
        values: dict[str, Any] = {"since": now, "reason": reason, "by": by, "held": self.held, "until": self._until}
        if made is not None:
            values["previous"] = made.old
        for name, value in values.items():
            self._state.keep(f"system.{name}", value, quiet=True)
        self.keep(self.snapshot())
        self._state.keep("system.state", str(self.current), cause, quiet=made is None, reason=reason, by=by)

    def _release(self) -> None:
        self.held, self._until = False, None
        self._state.keep("system.held", False, quiet=True)
        self._state.keep("system.until", None, quiet=True)
        self.keep(self.snapshot())

    def _set(self, path: str, value: Any, cause: Cause | None) -> None:
        """Somebody sets `system.…` in the shared state."""
        name = path.partition(".")[2]
        if name == "state":
            self.set(value, f"workflow {cause.workflow}" if cause is not None else "hand", cause)
        elif not name or name.partition(".")[0] in OWN:
            shown = path if name else "system"
            raise CallerError(f"{shown!r} is VexFS's own; set 'system.state', or names of your own below 'system'")
        else:
            self._state.keep(path, value, cause)


def named(text: str) -> str:
    """The state of this name, however it is spelled (`high load`, `HIGH_LOAD`); CallerError when there is none."""
    plain = "".join(char for char in text.lower() if char.isalnum())
    for state in SystemStateType:
        if state.value.lower() == plain:
            return state.value
    names = [str(state) for state in SystemStateType]
    known = nearest(text, names) or f"; the states are {', '.join(names)}, and {AUTO}"
    raise CallerError(f"there is no system state {text!r}{known}")
