"""Rules as a person with many would have them, none of which ever matches what the benchmarks do."""

from __future__ import annotations

import os

import yaml

_SUFFIXES = ("csv", "json", "pdf", "jpg", "log")


def rule(number: int) -> dict[str, object]:
    """The `number`-th definition: by directory, by extension, by size, by condition, in turn."""
    suffix = _SUFFIXES[number % len(_SUFFIXES)]
    trigger: dict[str, object] = {"types": ["file.closed"], "written": True}
    kind = number % 4
    if kind == 0:
        trigger |= {"path": f"projects/p{number}/**/*.{suffix}"}
    elif kind == 1:
        trigger |= {"path": f"**/*.{suffix}{number}"}
    elif kind == 2:
        trigger |= {
            "types": ["file.created", "file.renamed"],
            "path": f"inbox/{number}/*.{{{suffix},txt}}",
            "size": ">1MB",
        }
        del trigger["written"]
    else:
        trigger |= {"path": f"users/u{number}/*", "where": f'event.size > {number} && event.path.endsWith(".{suffix}")'}
    return {
        "name": f"rule-{number}",
        "description": f"Rule {number} of the benchmark.",
        "triggers": [trigger],
        "steps": [{"name": "note", "action": {"type": "log", "message": "{{ event.path }}"}}],
    }


def write_rules(directory: str, count: int) -> None:
    """One YAML file a rule."""
    for number in range(count):
        with open(os.path.join(directory, f"rule-{number}.yaml"), "w", encoding="utf-8") as file:
            yaml.safe_dump(rule(number), file, sort_keys=False)
