"""The cases that Flink CEP 1.20.1 answered, read from beside the repository and put through `replay`."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import pytest

from automation.patterns.model import Pattern
from automation.patterns.rendering import render_pattern
from automation.patterns.text import parse_pattern
from automation.replay import main, replay

FILE = Path(__file__).parents[2] / "shared" / "conformance" / "cep" / "cases.json"
CASES = json.loads(FILE.read_text())["cases"] if FILE.exists() else []
FOLLOWS = {"next": "strict", "followedBy": "relaxed", "followedByAny": "any", "notNext": "strict"}
SKIPS = {
    "no_skip": "none",
    "skip_to_next": "next",
    "skip_past_last": "past_last",
    "skip_to_first": "to_first",
    "skip_to_last": "to_last",
}
MS = 1_000_000


def condition(where):
    """A case's condition in the language of patterns."""
    for word in ("and", "or"):
        if word in where:
            return "(" + f" {word} ".join(condition(part) for part in where[word]) + ")"
    if "true" in where:
        return "true"
    if "agg" in where:
        over = where["over"] + ("" if where["agg"] == "count" else f".{where['field']}")
        extra = f", {where.get('field', '1')}" if where.get("plus_current") else ""
        return f"{where['agg']}({over}{extra}) {where['op']} {json.dumps(where['value'])}"
    if "type" in where:
        return f"type == {json.dumps(where['type'])}"
    if "ref" in where:
        index = 0 if where["ref"].get("pick") == "first" else -1
        return f"{where['field']} {where['op']} {where['ref']['step']}[{index}].{where['ref']['field']}"
    return f"{where['field']} {where['op']} {json.dumps(where['value'])}"


def step(case, top, head):
    """One step of a case in the form of `Step`; what concerns the whole pattern goes into `top`."""
    out = {"group": [step(one, top, i == 0) for i, one in enumerate(case["group"])]} if "group" in case else {}
    if not out:
        out = {"step": case["name"], "where": condition(case["where"]) if "where" in case else ""}
    if not head:
        out["follows"] = FOLLOWS.get(case["kind"], "relaxed")
    out["absent"] = case["kind"].startswith("not")
    out["optional"], out["greedy"] = case.get("optional", False), case.get("greedy", False)
    if "quantifier" in case:
        counts = case["quantifier"]
        out["repeat"] = {"min": counts["min"], "max": counts["max"]}
        if counts.get("within_ms"):
            out["every"] = f"{counts['within_ms']}ms"
        if counts["max"] != 1:
            out["inner"] = case.get("inner", "relaxed")
    if "until" in case:
        out["until"] = condition(case["until"])
    if "within" in case:
        place = (top, "within") if case["within"]["type"] == "first_last" else (out, "gap")
        place[0][place[1]] = f"{case['within']['ms']}ms"
    return out


def pattern_of(case):
    """A case's pattern, once through the compact text."""
    top = {"name": "case"}
    top["steps"] = [step(one, top, i == 0) for i, one in enumerate(case["pattern"])]
    skip = case["skip"]
    top["skip"] = {"strategy": SKIPS[skip["strategy"]], "to": skip.get("to", "")}
    top["skip"]["strict"] = skip.get("error_on_miss", False)
    top |= {"by": case.get("key_by", []), "timeouts": bool(case.get("emit_timeouts")), "over": "*"}
    top["time"] = "event" if "input" in case else "arrival"
    pattern = Pattern.model_validate(top)
    assert parse_pattern("case", render_pattern(pattern)) == pattern
    return pattern


def items_of(case):
    """A case's input as input of `replay`."""
    for item in case.get("events") or case["input"]:
        fields = {key: value for key, value in item.items() if key != "ts"}
        yield item if "watermark" in item else {**fields, "ts_ms": item["ts"]}
    if "advance_to" in case:
        yield {"advance_to": case["advance_to"]}


class Names:
    """Events as a case names them: by key, or by value where several are equal."""

    def __init__(self, case):
        self._values = {}
        for item in case.get("events") or case["input"]:
            if "key" in item:
                plain = tuple(sorted((key, value) for key, value in item.items() if key != "key"))
                self._values[item["key"]] = plain if case.get("value_duplicates") else item["key"]

    def expected(self, steps):
        return tuple(sorted((name, tuple(self._values[key] for key in keys)) for name, keys in steps.items()))

    def found(self, steps):
        return self.expected({name: [event["attrs"]["key"] for event in events] for name, events in steps.items()})


@pytest.mark.skipif(not CASES, reason="the conformance cases are not beside this repository")
def test_cases_are_there():
    """All cases of the file are run."""
    assert len(CASES) >= 117


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_case(case):
    """Matches, timeouts, late events and what remains are those of Flink CEP."""
    records = list(replay([pattern_of(case)], items_of(case)))
    kinds = {kind: [] for kind in ("match", "timeout", "late", "failed", "end")}
    for record in records:
        kinds[record["kind"]].append(record)
    if "expect_error" in case:
        word = "first event" if "first_of_match" in case["expect_error"] else "no such event"
        assert [word in record["reason"] for record in kinds["failed"]] == [True]
        return
    names = Names(case)
    assert not kinds["failed"]
    assert Counter((names.found(match["steps"]), match["at"], match["on"]) for match in kinds["match"]) == Counter(
        (names.expected(match["steps"]), match["at"], match["on"]) for match in case["expected"]
    )
    if "expected_timeouts" in case:
        found = Counter((names.found(one["steps"]), one["deadline"], one["at"]) for one in kinds["timeout"])
        assert found == Counter(
            (names.expected(one["steps"]), one["deadline"] * MS, one["at"]) for one in case["expected_timeouts"]
        )
    assert [record["event"]["attrs"]["key"] for record in kinds["late"]] == case.get("expected_late", [])
    after, status = case.get("after", {}), records[-1]["patterns"]["case"]
    assert status["live_partials"] == after.get("live_partials", status["live_partials"])
    assert status["events_held"] == after.get("events_buffered", status["events_held"])


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_case_by_the_command(case, tmp_path):
    """`vexfs replay --definitions DIR EVENTS.jsonl` prints the same as the function gives."""
    pattern = pattern_of(case)
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "case.json").write_text(json.dumps({"pattern": pattern.as_dict()}))
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items_of(case)))
    out = io.StringIO()
    code = main(["--definitions", str(tmp_path / "definitions"), str(tmp_path / "events.jsonl")], stdout=out)
    expected = [json.loads(json.dumps(record, default=str)) for record in replay([pattern], items_of(case))]
    assert (code, [json.loads(line) for line in out.getvalue().splitlines()]) == (0, expected)
