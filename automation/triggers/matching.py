"""Whether one event is what an event trigger asks for: cheapest test first, CEL last."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from typing import Any, Final

from automation.events import SemanticEvent, covers
from automation.expressions import EvaluationError, Expression, compile_expression
from automation.facts import event_facts, target_of
from automation.globs import compile_globs
from automation.maker_conditions import makers_of
from automation.makers import Maker
from automation.quantities import compare
from automation.triggers.forms import EventTrigger


class Matcher:
    """The conditions of one trigger. `state` gives the shared state at the time of the event, `variables` are the
    workflow's own. `last_error` is the last evaluation that failed; such an event does not match.
    """

    __slots__ = (
        "_form",
        "_key",
        "_makers",
        "_path",
        "_source",
        "_state",
        "_types",
        "_variables",
        "_where",
        "errors",
        "last_error",
    )

    def __init__(self, form: EventTrigger, variables: Mapping[str, Any], state: Callable[[], dict[str, Any]]) -> None:
        self._form: Final = form
        self._path: Final = compile_globs(tuple(form.path)) if form.path else None
        self._source: Final = compile_globs(tuple(form.source)) if form.source else None
        self._where: Final = compile_expression(form.where) if form.where else None
        self._key: Final = compile_expression(form.key)
        self._makers: Final = makers_of(form.where) if form.where else None
        self._types: Final[dict[str, bool]] = {}
        self._variables: Final = dict(variables)
        self._state: Final = state
        self.errors = 0
        self.last_error = ""

    def matches(self, event: SemanticEvent) -> bool:
        """Whether all conditions hold."""
        form = self._form
        return (
            self.has_type(event.type)
            and (event.errno is None or form.failed)
            and (self._path is None or self._path(target_of(event)))
            and (self._source is None or (event.dest is not None and self._source(event.path)))
            and (form.size is None or self._has_size(event))
            and (event.type != "file.closed" or self._has_close(event.attrs))
            and (form.uid is None or event.uid in form.uid)
            and (form.comm is None or self._has_comm(event.comm, form.comm))
            and (self._where is None or self._holds(event))
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """The patterns of paths; none is any path."""
        return tuple(self._form.path or ())

    def covers_path(self, path: str) -> bool:
        """Whether a file of this name is one that the trigger watches."""
        return self._path is None or self._path(path)

    def may_mean(self, maker: Maker) -> bool:
        """Whether events that this maker makes may match."""
        form = self._form
        return (
            (form.uid is None or maker.uid is None or maker.uid in form.uid)
            and (form.comm is None or maker.comm is None or self._has_comm(maker.comm, form.comm))
            and (self._makers is None or self._makers(maker))
        )

    def key(self, event: SemanticEvent) -> str:
        """The key of debounce, cooldown and concurrency; empty where it cannot be told."""
        if self._form.key == "event.target":
            return target_of(event)
        value = self._evaluate(self._key, event)
        return "" if value is None else str(value)

    def has_type(self, name: str) -> bool:
        """Whether the trigger asks for events of this type."""
        known = self._types.get(name)
        if known is None:
            if len(self._types) > 1000:
                self._types.clear()
            known = self._types[name] = any(covers(wanted, name) for wanted in self._form.types)
        return known

    def _has_size(self, event: SemanticEvent) -> bool:
        size = event.size
        return size is not None and all(compare(op, size, limit) for op, limit in self._form.size or ())

    def _has_close(self, attrs: Mapping[str, Any]) -> bool:
        """Who names closes means those after which the file is another, not those of everybody who read it."""
        changed = attrs.get("written") is not False or bool(attrs.get("created"))
        match self._form.written:
            case True:
                return bool(attrs.get("written"))
            case False:
                return not changed
            case None:
                return changed or "file.closed" not in self._form.types
        return True

    @staticmethod
    def _has_comm(comm: str, patterns: list[str]) -> bool:
        wanted = [p for p in patterns if not p.startswith("!")]
        barred = any(fnmatch.fnmatchcase(comm, p[1:]) for p in patterns if p.startswith("!"))
        return not barred and (not wanted or any(fnmatch.fnmatchcase(comm, p) for p in wanted))

    def _holds(self, event: SemanticEvent) -> bool:
        assert self._where is not None
        return self._evaluate(self._where, event) is True

    def _evaluate(self, expression: Expression, event: SemanticEvent) -> Any:
        facts = event_facts(event, expression.event_fields)
        try:
            return expression({"event": facts, "state": self._state(), "vars": self._variables})
        except EvaluationError as error:
            self.errors += 1
            self.last_error = str(error)
            return None
