"""Run another workflow."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from automation.actions.context import ActionContext
from automation.actions.foresight import Foreseen, Foresight
from automation.actions.form import STRICT
from automation.errors import CallerError
from automation.forms import also


class TriggerWorkflow(BaseModel):
    """Start a run of a workflow and, unless told otherwise, wait for its end: its failure is the step's."""

    model_config = STRICT
    type: Literal["trigger_workflow"] = "trigger_workflow"
    workflow: str = also("workflow", "workflow_id", "name", min_length=1)
    input: dict[str, Any] = also("input", "parameters", default={})
    wait: bool = True

    async def perform(self, context: ActionContext) -> Any:
        """`{run, status, output}` of the run that ended, `{run}` of one that is not waited for."""
        if context.workflows is None:
            raise CallerError("workflows can be started by the steps of workflows only")
        return await context.workflows.start(self.workflow, self.input, waits=self.wait)

    async def foresee(self, view: Foresight) -> Foreseen:
        """Nothing is started."""
        return Foreseen({"run": None} | ({"status": "succeeded", "output": None} if self.wait else {}))


class ExecuteRule(BaseModel):
    """Carry out the actions of a rule, whatever its conditions say; `parameters` are their `input`."""

    model_config = STRICT
    type: Literal["execute_rule"] = "execute_rule"
    rule: str = also("rule", "rule_id", "name", min_length=1)
    parameters: dict[str, Any] = Field(default={})

    async def perform(self, context: ActionContext) -> Any:
        """`{run, status, output}` of the actions' run."""
        if context.workflows is None:
            raise CallerError("rules can be executed by the steps of workflows only")
        return await context.workflows.rule(self.rule, self.parameters)

    async def foresee(self, view: Foresight) -> Foreseen:
        """Nothing is done."""
        return Foreseen({"run": None, "status": "succeeded", "output": None})
