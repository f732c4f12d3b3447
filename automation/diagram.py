"""A workflow as a picture in text: Mermaid's flowchart, which editors, forges and `mmdc` draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from automation.definitions import Workflow
from automation.runner.plan import (
    Branch,
    DecisionBody,
    LoopBody,
    ParallelBody,
    Plan,
    PlannedStep,
    SequenceBody,
    WaitBody,
)

Ends = list[tuple[str, str]]
"""The nodes that the next step follows, each with the label of its arrow."""


def diagram(workflow: Workflow) -> str:
    """The triggers, the steps as they follow each other, and what undoes them (dotted)."""
    return "\n".join(["flowchart TD", *(f"  {line}" for line in _Drawing().draw(workflow)), ""])


class _Drawing:
    def __init__(self) -> None:
        self._lines: Final[list[str]] = []
        self._count = 0

    def draw(self, workflow: Workflow) -> list[str]:
        plan = Plan.of(workflow)
        starts: Ends = [(self._node(f'(["{trigger.type}"])'), "") for trigger in workflow.triggers]
        starts = starts or [(self._node('(["by hand"])'), "")]
        if plan.type == "state_machine":
            self._machine(plan, starts)
        elif plan.type == "parallel":
            self._graph(plan.steps, starts)
        else:
            self._chain(plan.steps, starts)
        for step in plan.compensation:
            self._lines.append(f"failed([failure]) -.-> {self._box(step)}")
        return self._lines

    def _chain(self, steps: Sequence[PlannedStep], ends: Ends) -> Ends:
        for step in steps:
            ends = self._step(step, ends)
        return ends

    def _step(self, step: PlannedStep, ends: Ends) -> Ends:
        body = step.body
        if isinstance(body, DecisionBody):
            return self._decision(step, body, ends)
        if isinstance(body, LoopBody):
            return self._loop(step, body, ends)
        if isinstance(body, SequenceBody):
            return self._chain(body.steps, ends)
        node = self._box(step)
        self._follow(ends, node)
        if isinstance(body, ParallelBody):
            return [end for one in body.steps for end in self._step(one, [(node, "")])]
        return [(node, "")]

    def _decision(self, step: PlannedStep, body: DecisionBody, ends: Ends) -> Ends:
        node = self._node(f'{{"{_text(step.name)}"}}')
        self._follow(ends, node)
        branches = [*body.branches, body.otherwise or Branch("else", ())]
        out: Ends = []
        for branch in branches:
            out += self._chain(branch.steps, [(node, branch.value or "else")])
        return out

    def _loop(self, step: PlannedStep, body: LoopBody, ends: Ends) -> Ends:
        node = self._node(f'[/"{_text(step.name)}"/]')
        self._follow(ends, node)
        self._follow(self._chain(body.steps, [(node, "each")]), node, "again")
        return [(node, "done")]

    def _graph(self, steps: Sequence[PlannedStep], starts: Ends) -> None:
        """Steps by what they depend on."""
        ends: dict[str, Ends] = {}
        for step in steps:
            before = [end for name in step.depends_on for end in ends.get(name, [])]
            ends[step.name] = self._step(step, before or starts)

    def _machine(self, plan: Plan, starts: Ends) -> None:
        names = {step.name: self._box(step) for step in plan.steps}
        if plan.steps:
            self._follow(starts, names[plan.initial or plan.steps[0].name])
        for step in plan.steps:
            for move in step.moves:
                label = (
                    "failed" if move.error else "event" if move.on is not None else "" if move.when is None else "if"
                )
                self._follow([(names[step.name], label)], names.get(move.to, names[step.name]))

    def _box(self, step: PlannedStep) -> str:
        shape = '(["%s"])' if step.final else '[["%s"]]' if isinstance(step.body, ParallelBody) else '["%s"]'
        shape = '>"%s"]' if isinstance(step.body, WaitBody) else shape
        label = _text(step.name) + (f"<br>{_text(step.kind)}" if step.kind and step.kind != step.name else "")
        node = self._node(shape % label)
        for undo in step.compensate:
            label = f'["undo: {_text(undo.kind)}"]'
            self._lines.append(f"{node} -.-> {self._node(label)}")
        return node

    def _node(self, shape: str) -> str:
        self._count += 1
        self._lines.append(f"n{self._count}{shape}")
        return f"n{self._count}"

    def _follow(self, ends: Ends, node: str, label: str = "") -> None:
        for end, said in ends:
            text = said or label
            self._lines.append(f'{end} -->|"{_text(text)}"| {node}' if text else f"{end} --> {node}")


def _text(text: str) -> str:
    """A label: Mermaid reads entities, and nothing else of it."""
    return "".join(_characters(text))


def _characters(text: str) -> Iterator[str]:
    for char in text:
        yield char if char.isalnum() or char in " .,:;-_/!?%+=*()" else f"#{ord(char)};"
