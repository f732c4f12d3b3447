"""Rules as a person with many would have them, none of which ever matches what the benchmarks do."""

from __future__ import annotations

import json
import os

import yaml

_BOOK = 300
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


def book(first: int, count: int) -> dict[str, object]:
    """`count` rules of one file, by directory or by extension and size, in turn."""
    rules = []
    for number in range(first, first + count):
        suffix = _SUFFIXES[number % len(_SUFFIXES)]
        wanted: dict[str, object] = {"on": "file.closed", "paths": f"archive/r{number}/**/*.{suffix}"}
        if number % 2:
            wanted = {"on": ["file.created", "file.deleted"], "paths": f"**/*.{suffix}{number}", "size": "> 1MB"}
        rules.append({"name": f"book-{number}", **wanted, "actions": [{"log": {"message": "{{ event.path }}"}}]})
    return {"rules": rules}


def write_rules(directory: str, count: int) -> None:
    """A tenth of them workflows with a file each, as people write them; the rest in books, as programs do."""
    for number in range(count // 10):
        with open(os.path.join(directory, f"rule-{number}.yaml"), "w", encoding="utf-8") as file:
            yaml.safe_dump(rule(number), file, sort_keys=False)
    for first in range(count // 10, count, _BOOK):
        with open(os.path.join(directory, f"book-{first}.json"), "w", encoding="utf-8") as file:
            json.dump(book(first, min(_BOOK, count - first)), file)


def write_listener(directory: str) -> None:
    """A rule that wants every read and write, and whose condition none of them meets."""
    never = {"on": ["file.read", "file.written"], "paths": "**", "conditions": ["event.length > 1GB"]}
    rule = {"name": "listener", **never, "actions": [{"log": {"message": "{{ event.path }}"}}]}
    with open(os.path.join(directory, "listener.json"), "w", encoding="utf-8") as file:
        json.dump({"rules": [rule]}, file)
