"""The validated YAML form of a machine → the outline of its chart."""

from __future__ import annotations

from typing import Any, Final

from automation.actions.table import LITERAL
from automation.expressions import nearest
from automation.machines import content, expressions, model
from automation.machines.outline import (
    Block,
    ChartError,
    Content,
    Kind,
    Outline,
    Place,
    StateOutline,
    TransitionOutline,
    Value,
)
from automation.quantities import parse_duration

ROOT: Final = "#machine"


def outline_of(form: model.MachineForm) -> Outline:
    """The outline; ChartError with the place in the file for what concerns several fields."""
    return _Reader(form).outline()


class _Reader:
    def __init__(self, form: model.MachineForm) -> None:
        self._form: Final = form

    def outline(self) -> Outline:
        form = self._form
        kind = Kind.PARALLEL if form.type == "parallel" else Kind.COMPOUND
        if kind is Kind.PARALLEL:  # the machine itself has one state at a time: put the regions into one
            inner = StateOutline((), "all", kind)
            self._fill(inner, form, ())
            root = StateOutline((), ROOT, Kind.COMPOUND, children=[inner])
        else:
            root = StateOutline((), ROOT, kind)
            self._fill(root, form, ())
        early = [content.declare(name, _constant(value)) for name, value in form.vars.items()]
        return Outline(root, early)

    def _fill(self, out: StateOutline, form: model.State | model.MachineForm, place: Place) -> None:
        """What a machine and its states have in common."""
        out.children = [self._state(name, one, (*place, "states", name)) for name, one in form.states.items()]
        if form.initial:
            out.initial = TransitionOutline((*place, "initial"), targets=tuple(form.initial))
        for names, transitions in form.on.items():
            events = tuple(name.removesuffix(".*") or "*" for name in names.split())
            out.transitions += self._transitions(transitions, (*place, "on", names), events)
        out.transitions += self._transitions(form.always, (*place, "always"), ())
        if form.entry:
            out.entry.append(self._block(form.entry, (*place, "entry")))
        if form.exit:
            out.exit.append(self._block(form.exit, (*place, "exit")))

    def _state(self, name: str, form: model.State, place: Place) -> StateOutline:
        if form.type == "history" or form.history is not None:
            kind = Kind.DEEP if form.history == "deep" else Kind.SHALLOW
            default = TransitionOutline((*place, "target"), targets=tuple(form.target))
            return StateOutline(place, name, kind, initial=default if form.target else None)
        kind = Kind(form.type) if form.type in ("parallel", "final") else Kind.COMPOUND if form.states else Kind.ATOMIC
        out = StateOutline(place, name, kind)
        self._fill(out, form, place)
        for delay, transitions in form.after.items():
            self._after(out, delay, transitions, (*place, "after", delay))
        if form.done:
            out.transitions += self._transitions(form.done, (*place, "done"), (f"done.state.{name}",))
        if form.data is not None:
            out.result = expressions.compile_template(form.data)
        return out

    def _after(self, out: StateOutline, delay: str, transitions: list[model.Transition], place: Place) -> None:
        """A delayed transition: a timer that starts when the state is entered and is cancelled when it is left."""
        name = f"after.{out.name}.{delay.replace(' ', '')}"
        wait = round(parse_duration(delay) * 1e9)
        timer = content.send(_constant(name), delay=lambda scope: wait, sender=name)
        out.entry.insert(0, (timer,))
        out.exit.insert(0, (content.cancel(_constant(name)),))
        out.transitions += self._transitions(transitions, place, (name,))

    def _transitions(
        self, forms: list[model.Transition], place: Place, events: tuple[str, ...]
    ) -> list[TransitionOutline]:
        return [
            TransitionOutline(
                place=(*place, i),
                events=events,
                condition=None if form.when is None else expressions.compile_when(form.when),
                targets=tuple(form.target),
                internal=form.internal,
                content=self._block(form.do, (*place, i, "do")),
            )
            for i, form in enumerate(forms)
        ]

    def _block(self, forms: list[model.Doing], place: Place) -> Block:
        return tuple(one for i, form in enumerate(forms) for one in self._content(form, (*place, i)))

    def _content(self, form: model.Doing, place: Place) -> list[Content]:
        if form.action is not None:
            literal = LITERAL.get(str(form.action.get("type")), frozenset())
            return [content.act(expressions.compile_template(form.action, literal))]
        if form.assign is not None:
            return [self._assign(name, value, (*place, "assign", name)) for name, value in form.assign.items()]
        if form.raise_ is not None:
            return [content.raise_(form.raise_.event, self._data(form.raise_))]
        if form.send is not None:
            wait = round(form.send.after * 1e9)
            name = _constant(form.send.event)
            return [content.send(name, data=self._data(form.send), delay=lambda scope: wait, sender=form.send.id)]
        if form.cancel is not None:
            return [content.cancel(_constant(form.cancel))]
        assert form.if_ is not None
        then, otherwise = self._block(form.then, (*place, "then")), self._block(form.else_, (*place, "else"))
        return [content.choose([(expressions.compile_when(form.if_), then), (None, otherwise)])]

    def _assign(self, name: str, value: Any, place: Place) -> Content:
        path = name.split(".")
        if path[0] not in self._form.vars:
            near = nearest(path[0], self._form.vars)
            raise ChartError(
                place, f"there is no variable {path[0]!r}{near or '; declare it under the vars of the machine'}"
            )
        return content.assign(path, expressions.compile_template(value))

    @staticmethod
    def _data(form: model.Send) -> Value | None:
        return expressions.compile_template(form.data) if form.data else None


def _constant(value: Any) -> Value:
    return lambda scope: value
