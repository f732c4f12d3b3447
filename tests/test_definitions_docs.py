"""The documentation of definitions names everything that there is, and its example is right."""

import re
from pathlib import Path

import pytest
from pydantic import AliasChoices

from automation import definitions, step_forms
from automation.expressions import EVENT_FIELDS, FUNCTIONS, VARIABLES
from automation.forms import KEYS
from automation.loading import examine
from automation.triggers import forms as triggers

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "definitions.md").read_text() + (DOCS / "outside.md").read_text()
WORKFLOWS = (DOCS / "workflows.md").read_text()
STEPS = [
    step_forms.Step,
    step_forms.Retry,
    step_forms.EventFilter,
    step_forms.Decision,
    step_forms.Parallel,
    step_forms.Loop,
    step_forms.Wait,
    step_forms.Transition,
    step_forms.Undo,
    step_forms.Handler,
]
MODELS = [
    definitions.Workflow,
    triggers.EventTrigger,
    triggers.PatternTrigger,
    triggers.ScheduleTrigger,
    triggers.StateTrigger,
    triggers.AnomalyTrigger,
    triggers.PredictionTrigger,
    triggers.ExternalTrigger,
    triggers.ManualTrigger,
    triggers.Join,
    definitions.Concurrency,
    definitions.RateLimit,
    definitions.Lifetime,
    definitions.Input,
    definitions.Output,
    *STEPS,
]


def spellings(name, info):
    return info.validation_alias.choices if isinstance(info.validation_alias, AliasChoices) else [name]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_documented(model):
    """Under each of its names."""
    for name, info in model.model_fields.items():
        for spelling in spellings(name, info):
            assert re.search(rf"`[^`\n]*\b{spelling}\b[^`\n]*`", PAGE + WORKFLOWS), f"{model.__name__}.{spelling}"


@pytest.mark.parametrize(
    "names", [EVENT_FIELDS, FUNCTIONS, VARIABLES, KEYS], ids=["fields", "functions", "variables", "keys"]
)
def test_every_name_that_expressions_know_is_documented(names):
    """Fields of events, functions, variables, words for keys."""
    for name in names:
        assert re.search(rf"`{name}\b", PAGE) or f" `{name}" in PAGE, name


def test_every_example_is_right():
    """Each whole definition on the page loads."""
    examples = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert examples
    for text in examples:
        whole = text if "steps" in text else f"{text}steps: [{{log: {{message: x}}}}]"
        assert examine("example.yaml", whole)[1] == []
