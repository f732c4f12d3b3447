"""The benchmarks' own rules: what a ratio is, when a bar is met, and that the generated rules are real ones."""

import json

import pytest

from automation.definitions import Workflow
from bench import report
from bench.definitions import rule
from bench.samples import Cell, Failure, Results, Sample

SPEED = Cell("metadata", "open x1", "op/s")
COST = Cell("engine", "publish", "µs", higher=False)
FACTS = {
    "taken": "2026-01-01T00:00:00",
    "commit": "abc",
    "cpus": 2,
    "virtual": True,
    "cpu": "some",
    "kernel": "6.18",
    "python": "3.11",
    "libfuse": "3.14.0",
    "bindfs": "bindfs 1.14.7",
    "backing_filesystem": "tmpfs",
    "user": "root",
}


def measured(*rounds):
    """Results of rounds, each a mapping of (cell, system) to a value."""
    results = Results(["native", "passthrough_ll", "vexfs"])
    for number, values in enumerate(rounds):
        results.add([Sample(cell, system, value) for (cell, system), value in values.items()], number)
    return results


def test_median_of_rounds():
    """A figure is the median of its samples; what was not measured is None."""
    results = measured(*({(SPEED, "vexfs"): value} for value in (1.0, 100.0, 3.0)))
    assert results.median(SPEED, "vexfs") == 3.0
    assert results.median(SPEED, "native") is None


def test_ratio_pairs_rounds():
    """A ratio compares samples of the same round, and a round that one of the two missed does not count."""
    results = measured(
        {(SPEED, "vexfs"): 10.0, (SPEED, "native"): 20.0},
        {(SPEED, "vexfs"): 99.0},
        {(SPEED, "vexfs"): 1.0, (SPEED, "native"): 2.0},
    )
    assert results.ratio(SPEED, "vexfs", "native") == 0.5


def test_ratio_above_one_is_better():
    """Whatever the unit, a ratio above 1 speaks for the first of the two."""
    results = measured({(COST, "vexfs"): 2.0, (COST, "native"): 4.0})
    assert results.ratio(COST, "vexfs", "native") == 2.0


@pytest.mark.parametrize(("ours", "met"), [(79.0, False), (80.0, True)])
def test_bar(ours, met):
    """A bar is met from its least ratio on, and names the cells that miss it."""
    results = measured({(SPEED, "vexfs"): ours, (SPEED, "passthrough_ll"): 100.0})
    (verdict,) = report.verdicts(results)
    assert verdict["met"] is met
    assert verdict["below"] == ({} if met else {"open x1": 0.79})


def test_three_forms_of_one_report():
    """Markdown, text and JSON tell the same, failures included."""
    results = measured({(SPEED, "vexfs"): 90.0, (SPEED, "passthrough_ll"): 100.0})
    results.failures.append(Failure("everything", "bindfs", "bindfs is not installed"))
    for shown in (report.markdown(results, FACTS), report.text(results, FACTS)):
        assert "open x1" in shown
        assert "0.90" in shown
        assert "bindfs is not installed" in shown
    document = json.loads(report.as_json(results, FACTS, {"rounds": 1}))
    assert document["cells"][0]["samples"] == {"passthrough_ll": [100.0], "vexfs": [90.0]}
    assert document["failures"][0]["system"] == "bindfs"


def test_generated_rules_are_definitions():
    """Each kind of rule that the benchmark loads is a valid definition, and none wants reads or writes."""
    for number in range(8):
        workflow = Workflow.model_validate(rule(number))
        types = {name for trigger in workflow.triggers for name in trigger.types}
        assert not types & {"file", "file.read", "file.written", "*"}
