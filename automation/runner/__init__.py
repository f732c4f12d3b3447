"""From a firing to effects: a `Plan` is the compiled workflow, a `Run` its record, the `Runner` carries it out."""

from automation.runner.plan import Plan
from automation.runner.record import FINISHED, Run, StepRecord
from automation.runner.runner import Runner

__all__ = ["FINISHED", "Plan", "Run", "Runner", "StepRecord"]
