"""`vexfs test`: expectations kept beside definitions, `NAME.test.yaml` beside `NAME.yaml`.

A case replays events through that one definition (and those that `with` names) and compares what is found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from automation.errors import CallerError, DefinitionError, VexError
from automation.library import EXPECTATIONS, SUFFIXES
from automation.rehearsal import load_ensemble
from automation.replay import replay
from automation.sources import read_source

_USUAL: Final = frozenset({"match", "run", "firing", "move"})


class Case(BaseModel):
    """Events, in the form of `vexfs replay`, and what must be found: all records of the kinds that `expect` names, in
    this order, each with at least these fields. `expect: []` means no match, run, firing or move.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = ""
    events: list[dict[str, Any]] = Field(default_factory=list)
    file: str | None = None
    expect: list[dict[str, Any]]


class Expectations(BaseModel):
    """A whole file: one case, or several."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    cases: list[Case]
    others: list[str] = Field(default_factory=list, alias="with")


def run_file(path: str) -> Iterator[tuple[str, list[str]]]:
    """Each case of a file of expectations: its name, and the lines that differ (none when it holds)."""
    expectations = _read(path)
    folder = os.path.dirname(path)
    files = [_beside(path), *(os.path.join(folder, other) for other in expectations.others)]
    for number, case in enumerate(expectations.cases, 1):
        found = _replayed(files, case, folder)
        yield case.name or f"case {number}", compare(case.expect, found)


def compare(expected: Sequence[Mapping[str, Any]], found: Iterable[Mapping[str, Any]]) -> list[str]:
    """The lines of a diff, none when all is as expected: `-` was expected and not found, `+` the reverse."""
    kinds = {str(one.get("kind", "match")) for one in expected} or _USUAL
    rest = [record for record in found if record["kind"] in kinds or record["kind"] in ("invalid", "failed")]
    lines, wrong, at = [], False, 0
    for one in expected:
        ahead = next((i for i in range(at, len(rest)) if _fits(one, rest[i])), None)
        if ahead is None:
            lines.append(f"- {_brief(one)}")
            wrong = True
            continue
        lines += [f"+ {_brief(record)}" for record in rest[at:ahead]]
        wrong = wrong or ahead > at
        lines.append(f"  {_brief(one)}")
        at = ahead + 1
    lines += [f"+ {_brief(record)}" for record in rest[at:]]
    return lines if wrong or at < len(rest) else []


def _fits(expected: Any, found: Any) -> bool:
    """Whether `found` has at least what is expected; an event may be expected by its number."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return all(_fits(value, found.get(key, "match" if key == "kind" else None)) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(_fits, expected, found))
    if isinstance(found, Mapping) and isinstance(expected, int):
        return bool(found.get("seq") == expected)
    return bool(expected == found)


def _brief(record: Mapping[str, Any]) -> str:
    """A record on one line, events by their numbers."""
    out = dict(record)
    if isinstance(out.get("steps"), Mapping):
        out["steps"] = {
            name: [one.get("seq", one) if isinstance(one, Mapping) else one for one in events]
            for name, events in out["steps"].items()
        }
    return json.dumps(out, default=str)


def _replayed(files: Sequence[str], case: Case, folder: str) -> list[dict[str, Any]]:
    ensemble = load_ensemble(*files)
    lines: list[Any] = list(case.events)
    if case.file is not None:
        try:
            lines = Path(folder, case.file).read_text(encoding="utf-8").splitlines() + lines
        except (OSError, UnicodeDecodeError) as error:
            raise CallerError(f"{case.file} cannot be read: {error}") from None
    return [record for record in replay(ensemble.patterns.values(), lines, ensemble) if record["kind"] != "end"]


def _read(path: str) -> Expectations:
    try:
        source = read_source(path, Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"{path} cannot be read: {error}") from None
    value = source.value
    if isinstance(value, dict) and "cases" not in value:
        value = {"cases": [{k: v for k, v in value.items() if k != "with"}], "with": value.get("with", [])}
    try:
        return Expectations.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DefinitionError(path, source.line(tuple(first["loc"])), place, first["msg"]) from None


def _beside(path: str) -> str:
    """The definition that a file of expectations is about."""
    stem = os.path.splitext(os.path.splitext(path)[0])[0]
    for suffix in SUFFIXES:
        if os.path.exists(stem + suffix):
            return stem + suffix
    raise CallerError(f"{path} is about {stem}.yaml, which is not there")


def _files(paths: Iterable[str]) -> list[str]:
    out = []
    for path in paths:
        if os.path.isdir(path):
            out += [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.endswith(EXPECTATIONS)]
        elif path.endswith(EXPECTATIONS):
            out.append(path)
        else:
            if not os.path.exists(path):
                raise CallerError(f"{path} does not exist")
            stem = os.path.splitext(path)[0]
            found = [stem + suffix for suffix in EXPECTATIONS if os.path.exists(stem + suffix)]
            if not found:
                raise CallerError(f"there are no expectations for {path}: write {stem}.test.yaml")
            out += found
    return out


def main(argv: list[str] | None = None, stdout: IO[str] | None = None) -> int:
    """`vexfs test`: 0 when every case holds, 1 when one does not, 2 when one could not be tried."""
    parser = argparse.ArgumentParser(prog="vexfs test", description="try the expectations kept beside definitions")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="directories, definitions, or NAME.test.yaml files")
    arguments = parser.parse_args(argv)
    out, tried, failed, broken = stdout or sys.stdout, 0, 0, False
    try:
        files = _files(arguments.paths)
    except CallerError as error:
        print(f"vexfs test: {error}", file=sys.stderr)
        return 2
    for file in files:
        try:
            for name, difference in run_file(file):
                tried += 1
                failed += bool(difference)
                out.write(f"{'FAILED' if difference else 'ok'}  {file}: {name}\n")
                out.writelines(f"    {line}\n" for line in difference)
        except VexError as error:
            broken = True
            print(f"vexfs test: {error}", file=sys.stderr)
    out.write(f"{tried} cases, {failed} failed\n")
    return 2 if broken else 1 if failed else 0
