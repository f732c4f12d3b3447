"""The benchmarks' own rules: what a ratio is, when a bar is met, and that the generated rules are real ones."""

import json
import xml.etree.ElementTree
from pathlib import Path

import pytest

from automation import library
from automation.definitions import Workflow
from bench import documents, report
from bench.definitions import rule, write_listener, write_rules
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


def test_a_bar_on_each_cell_is_missed_by_one():
    """Where every cell counts, a good mean does not make up for a bad cell; other cells do not count."""
    stat, lookup = Cell("metadata", "stat x1", "op/s"), Cell("metadata", "lookup x1", "op/s")
    results = Results(["native", "vexfs+rules"])
    values = (
        (stat, "vexfs+rules", 80.0),
        (stat, "native", 100.0),
        (lookup, "vexfs+rules", 1.0),
        (lookup, "native", 9.0),
    )
    results.add([Sample(cell, system, value) for cell, system, value in values], 0)
    (verdict,) = report.verdicts(results)
    assert (verdict["met"], verdict["below"]) == (False, {"stat x1": 0.8})


def test_figures_go_between_their_marks(tmp_path, monkeypatch):
    """README and documentation get the figures where they say, and nothing else of them changes."""
    monkeypatch.setattr(documents, "REPOSITORY", str(tmp_path))
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/benchmarks.md"):
        (tmp_path / name).write_text("before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n")
    cell = Cell("workloads", "untar", "s", higher=False)
    results = Results(["native", "bindfs", "vexfs+rules"])
    for system, seconds in (("native", 1.0), ("vexfs+rules", 2.0), ("bindfs", 4.0)):
        results.add([Sample(cell, system, seconds)], 0)
    documents.write(results, FACTS)
    documents.write(results, FACTS)
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("before\n<!-- figures -->\n| speed")
    assert text.endswith("<!-- /figures -->\nafter\n")
    assert "| unpack a tree of small files | 0.50 | 0.25 | - | - | - |" in text
    drawing = xml.etree.ElementTree.parse(tmp_path / "docs" / "benchmarks.svg").getroot()
    assert [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")].count("0.50") == 1


def test_the_repository_has_places_for_figures():
    """README.md and docs/benchmarks.md each have one."""
    root = Path(__file__).parent.parent
    for name in ("README.md", "docs/benchmarks.md"):
        assert (root / name).read_text().count("<!-- figures -->") == 1


def test_generated_books_are_definitions(tmp_path):
    """Workflows and books as the benchmark writes them pass `vexfs check`."""
    write_rules(str(tmp_path), 40)
    write_listener(str(tmp_path))
    assert library.check([str(tmp_path)]) == []
    assert {path.suffix for path in tmp_path.iterdir()} == {".yaml", ".json"}
