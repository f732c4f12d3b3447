"""What the steps at one level of a run see, and how an execution can come out."""

from __future__ import annotations

from typing import Any, Final

from automation.events import SemanticEvent

SKIPPED: Final = object()
"""The result of a step that was not performed, or failed and was handled."""


class Frontier(Exception):  # noqa: N818 - it reads as what happened
    """In a frozen scope: from here on nothing is recorded."""


class StepFailed(Exception):  # noqa: N818
    """A step failed for good. `kind` is the class of the error."""

    def __init__(self, name: str, text: str, kind: str) -> None:
        self.name, self.text, self.kind = name, text, kind
        super().__init__(text)

    def reason(self, name: str) -> str:
        """The error as the step of that name shows it: where it came from only when that is a step within."""
        return self.text if name == self.name else f"{self.name}: {self.text}"


class Scope:
    """Results by step. An iteration of a loop has one of its own: what was there before it, its `item` and `index`, and
    what it is called among the `vars`. `event` replaces that of the firing.
    """

    __slots__ = ("event", "extra", "frozen", "results", "vars")

    def __init__(
        self,
        results: dict[str, Any],
        extra: dict[str, Any] | None = None,
        vars: dict[str, Any] | None = None,
        event: SemanticEvent | None = None,
        *,
        frozen: bool = False,
    ) -> None:
        self.results: Final = results
        self.extra: Final = extra or {}
        self.vars: Final = vars or {}
        self.event: Final = event
        self.frozen: Final = frozen

    def iteration(self, item: Any, index: int, alias: str | None) -> Scope:
        """The scope of one iteration."""
        named = self.vars if alias is None else {**self.vars, alias: item}
        return Scope(dict(self.results), {"item": item, "index": index}, named, self.event, frozen=self.frozen)

    def with_event(self, event: SemanticEvent, results: dict[str, Any]) -> Scope:
        """The scope of what is done for one event."""
        return Scope(results, self.extra, self.vars, event, frozen=self.frozen)

    def with_result(self, name: str, result: Any) -> Scope:
        """The scope with one result more."""
        return Scope({**self.results, name: result}, self.extra, self.vars, self.event, frozen=self.frozen)

    def thawed(self) -> Scope:
        """The same, with effects again."""
        return Scope(self.results, self.extra, self.vars, self.event) if self.frozen else self

    def as_frozen(self) -> Scope:
        """The same, but only what is recorded happens in it."""
        return Scope(self.results, self.extra, self.vars, self.event, frozen=True)
