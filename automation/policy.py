"""What the configuration says against a definition, however right it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from automation.definitions import Workflow
from automation.models.forms import AdaptiveForm, ModelForm
from automation.rules.book import Book
from automation.targets import Automation
from automation.triggers.forms import PredictionTrigger

LEARNING: Final = frozenset({"ml_inference", "predict"})  # actions that need machine learning


class Policy:
    """`loaded` gives the definitions that are loaded, by the name of their file; `limit` is the name of their bound."""

    def __init__(
        self, automation: Automation, loaded: Callable[[], Mapping[str, Any]], limit: str = "max_active_automations"
    ) -> None:
        self._automation: Final = automation
        self._loaded: Final = loaded
        self._limit: Final = limit

    @property
    def count(self) -> int:
        """How many automations are loaded: workflows, machines and sets of patterns count one, books by their rules."""
        return sum(map(size_of, self._loaded().values()))

    def against(self, file: str, definition: Any) -> str:
        """Why a definition may not be loaded from this file; empty when it may."""
        others = sum(size_of(one) for name, one in self._loaded().items() if name != file)
        most = self._automation.max_active_automations
        if others + size_of(definition) > most:
            return f"with it there would be {others + size_of(definition)} automations; {self._limit} is {most}"
        if not self._automation.enable_machine_learning and learns(definition):
            return "it uses machine learning, which the configuration switches off (enable_machine_learning)"
        return ""


def size_of(definition: Any) -> int:
    """How many automations a definition is."""
    return len(definition.rule_names) + len(definition.guard_names) if isinstance(definition, Book) else 1


def learns(definition: Any) -> bool:
    """Whether a definition needs machine learning."""
    if not isinstance(definition, Workflow):
        return isinstance(definition, ModelForm | AdaptiveForm)
    if any(isinstance(trigger, PredictionTrigger) for trigger in definition.triggers):
        return True
    return str(definition.workflow_type) == "ml_enhanced" or any(kind in LEARNING for kind in _kinds(definition))


def _kinds(definition: Workflow) -> Iterable[str]:
    """The types of all actions, however deep they lie."""
    todo: list[Any] = [definition.model_dump(include={"steps", "compensation_steps"})]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if isinstance(value.get("type"), str):
                yield value["type"]
            todo += value.values()
        elif isinstance(value, list | tuple):
            todo += value
