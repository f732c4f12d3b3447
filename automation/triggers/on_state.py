"""The state-change trigger: a value of the shared state begins to compare as asked, and does so for a while."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from automation.event_rows import event_row, read_row
from automation.events import SemanticEvent
from automation.globs import Anchor
from automation.index import ANYWHERE
from automation.makers import Maker
from automation.triggers.comparisons import holds
from automation.triggers.firing import Firing
from automation.triggers.forms import StateTrigger

MOST_NOTES: Final = 64
_ABSENT: Final = object()


class OnState:
    """One state-change trigger of one workflow. Fires once when the condition begins to hold, again only after it has
    ceased to; without an operator at each change. `state` gives the shared state at the time.
    """

    types: Final = ("system.state",)
    anchors: Final[tuple[Anchor, ...]] = ANYWHERE

    def __init__(
        self,
        workflow: str,
        number: int,
        form: StateTrigger,
        *,
        state: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.workflow: Final = workflow
        self.number: Final = number
        self.form: Final = form
        self.fired = 0
        self.suppressed: Final[Counter[str]] = Counter()
        self.notes: Final[deque[tuple[tuple[SemanticEvent, ...], str]]] = deque(maxlen=MOST_NOTES)
        self.deadline: float | None = None
        self._state: Final = state
        self._held = False
        self._event: SemanticEvent | None = None  # made the condition hold, which has yet to last
        self._cool_until = float("-inf")

    def begin(self, event: SemanticEvent, now: float) -> list[Firing]:
        """What the state is when the trigger is installed; `event` stands for that moment."""
        value = self._present()
        return [] if self.form.operator is None or value is _ABSENT else self._judge(value, event, now)

    def matches(self, event: SemanticEvent) -> bool:
        """Whether the event is about the path."""
        return event.type == "system.state" and self._value_after(event) is not _ABSENT

    def asks(self, type_name: str, maker: Maker) -> bool:
        """Whether events of this type are wanted."""
        return type_name == "system.state"

    def feed(self, event: SemanticEvent, now: float) -> list[Firing]:
        """Take a change of the state; the firings that it makes at once."""
        if event.type != "system.state" or not self._concerns(str(event.attrs.get("path", ""))):
            return []
        if event.cause is not None and event.cause.workflow == self.workflow and not self.form.own:
            self.suppressed["own"] += 1
            return []
        value = self._value_after(event)
        value = None if value is _ABSENT else value
        if self.form.operator is None:
            return self._fire(event, now)
        return self._judge(value, event, now)

    def due(self, now: float) -> list[Firing]:
        """The firing of a condition that has held long enough."""
        if self.deadline is None or now < self.deadline or self._event is None:
            return []
        event, self._event, self.deadline = self._event, None, None
        return self._fire(event, now)

    def recheck(self, now: float) -> None:
        """Changes were lost: what the state is now counts."""
        value = self._present()
        if self._held and not self._compares(None if value is _ABSENT else value):
            self._release()

    def waiting(self, event: SemanticEvent) -> str:
        """What an event that made the condition hold waits for."""
        return f"waits until it has held for {self.form.held:g} s" if event is self._event else ""

    def status(self) -> dict[str, Any]:
        """Plain values for a person."""
        out: dict[str, Any] = {"type": "state_change", "state_path": self.form.state_path, "fired": self.fired}
        value = self._present()
        out |= {
            "holds": self._held,
            "value": None if value is _ABSENT else value,
            "waiting": int(self._event is not None),
        }
        return out | {"suppressed": dict(self.suppressed)}

    def rows(self) -> Iterator[Any]:
        """What it remembers, in one row."""
        event = None if self._event is None else event_row(self._event)
        counts = {"fired": self.fired, "suppressed": dict(self.suppressed), "cool": self._cool_until}
        held = {"held": self._held, "event": event, "deadline": self.deadline}
        yield {"form": self.form.model_dump_json(), **counts, **held}

    def resume(self, rows: Sequence[Any]) -> bool:
        """Go on from what another remembered: a condition that had fired and still holds does not fire again. False if
        that was another trigger.
        """
        kept = rows[0]
        if kept["form"] != self.form.model_dump_json():
            return False
        self.fired, self._cool_until = kept["fired"], kept["cool"]
        self.suppressed.update(kept["suppressed"])
        self._held, self.deadline = kept["held"], kept["deadline"]
        self._event = None if kept["event"] is None else read_row(kept["event"])
        return True

    def _judge(self, value: Any, event: SemanticEvent, now: float) -> list[Firing]:
        if not self._compares(value):
            if self._event is not None:
                self.notes.append(((self._event, event), "not fired: it did not hold long enough"))
            self._release()
            return []
        if self._held:
            return []
        self._held = True
        if self.form.held:
            self._event, self.deadline = event, now + self.form.held
            return []
        return self._fire(event, now)

    def _release(self) -> None:
        self._held, self._event, self.deadline = False, None, None

    def _compares(self, value: Any) -> bool:
        form = self.form
        assert form.operator is not None
        return holds(form.operator, value, form.value, form.tolerance, held=self._held)

    def _fire(self, event: SemanticEvent, now: float) -> list[Firing]:
        if self.form.cooldown is not None and now < self._cool_until:
            self.suppressed["cooldown"] += 1
            self.notes.append(((event,), "not fired: cooldown"))
            return []
        self._cool_until = now + (self.form.cooldown or 0.0)
        self.fired += 1
        self.notes.append(((event,), "fired"))
        return [
            Firing(
                self.workflow,
                self.number,
                "state_change",
                self.form.state_path,
                (event,),
                waited=bool(self.form.held),
            )
        ]

    def _concerns(self, path: str) -> bool:
        own = self.form.state_path
        return path == own or own.startswith(f"{path}.") or path.startswith(f"{own}.")

    def _value_after(self, event: SemanticEvent) -> Any:
        """The value at our path after the change that the event tells of."""
        path, own = str(event.attrs.get("path", "")), self.form.state_path
        if not self._concerns(path):
            return _ABSENT
        if path == own:
            return event.attrs.get("new")
        if own.startswith(f"{path}."):
            return _dig(event.attrs.get("new"), own[len(path) + 1 :])
        return self._present()

    def _present(self) -> Any:
        return _dig(self._state(), self.form.state_path)


def _dig(value: Any, path: str) -> Any:
    for name in path.split("."):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return _ABSENT
    return value
