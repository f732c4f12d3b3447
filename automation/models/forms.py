"""What definitions of the kinds `model` and `adaptive` say."""

# ruff: noqa: RUF012 - pydantic copies its models' defaults
from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from automation.expressions import compile_expression
from automation.forms import Form, Name, unwrapped
from automation.quantities import Duration

LABELS: Final = {"outcome": ("failed", "succeeded"), "approval": ("refused", "approved")}
"""By what a model learns from, what it says: the less wanted first."""


def _feature(text: str) -> str:
    source = unwrapped(text)
    compile_expression(source)
    return source


Feature = Annotated[str, AfterValidator(_feature)]


class ModelForm(Form):
    """A model."""

    kind: Literal["model"]
    name: Name
    description: str = ""
    enabled: bool = True
    workflow: Name
    features: dict[Name, Feature] = Field(min_length=1, max_length=100)
    label: Literal["outcome", "approval"] = "outcome"
    algorithm: Literal["logistic", "tree"] = "logistic"
    learning_rate: float = Field(default=0.1, gt=0, le=10)
    warm_up: int = Field(default=20, ge=1, le=1_000_000)
    snapshot_every: int = Field(default=100, ge=1, le=1_000_000)
    versions: int = Field(default=10, ge=1, le=1000)
    metadata: dict[str, Any] = {}

    @property
    def signature(self) -> dict[str, Any]:
        """What must be the same for one definition to go on with what another one learnt."""
        return self.model_dump(mode="json", include={"workflow", "features", "label", "algorithm"})


class RetryTarget(Form):
    """The wait before a step is tried again."""

    workflow: Name
    step: Annotated[str, Field(min_length=1, max_length=200)]


class AnomalyTarget(Form):
    """How far from usual is unusual: an anomaly of the method `robust` of a stream, `DEFINITION.STREAM`."""

    stream: Name
    measure: Name


class CooldownTarget(Form):
    """How long the event triggers of a workflow are silent after they fired."""

    workflow: Name


class AdaptiveForm(Form):
    """A value that is moved by outcomes, from `min` to `max`, by `step`."""

    kind: Literal["adaptive"]
    name: Name
    description: str = ""
    enabled: bool = True
    retry: RetryTarget | None = None
    cooldown: CooldownTarget | None = None
    anomaly: AnomalyTarget | None = None
    initial: Duration | None = None
    min: Duration
    max: Duration
    step: Annotated[Duration, Field(gt=0)]
    metadata: dict[str, Any] = {}

    @model_validator(mode="after")
    def _whole(self) -> AdaptiveForm:
        if [self.retry, self.cooldown, self.anomaly].count(None) != 2:
            raise ValueError("give one of 'retry', 'cooldown' and 'anomaly': what is to be adapted")
        if self.min >= self.max:
            raise ValueError("'min' must be less than 'max'")
        if self.anomaly is not None and self.min <= 0:
            raise ValueError("a sensitivity is greater than 0: raise 'min'")
        if self.initial is not None and not self.min <= self.initial <= self.max:
            raise ValueError("'initial' lies between 'min' and 'max'")
        return self

    @property
    def start(self) -> float:
        """What it is before any outcome."""
        return self.min if self.initial is None else self.initial

    @property
    def target(self) -> str:
        """What is adapted, in words."""
        if self.retry is not None:
            return f"backoff of {self.retry.workflow}.{self.retry.step}"
        if self.cooldown is not None:
            return f"cooldown of {self.cooldown.workflow}"
        assert self.anomaly is not None
        return f"sensitivity of {self.anomaly.stream}.{self.anomaly.measure}"
