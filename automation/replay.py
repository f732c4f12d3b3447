"""Events from a file through detection, on a virtual clock, with no mount and no effect.

Input and output are JSON lines; `docs/replay.md` describes both, and they are stable.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextvars import copy_context
from typing import IO, Any, Final

from automation.errors import CallerError, DefinitionError, VexError
from automation.event_lines import EventLineError, is_whole, read_event, read_time
from automation.patterns.loading import Definition, detect
from automation.patterns.routing import PatternSet
from automation.provenance.lineage import LINEAGE
from automation.rehearsal import Ensemble, Rehearsal, load_ensemble

_TIMES: Final = ("watermark", "watermark_ns", "advance_to", "advance_to_ns")
_OWN: Final = {"pattern": "pattern.", "rule": "rule.", "machine": "machine."}


def replay(
    definitions: Iterable[Definition],
    lines: Iterable[str | bytes | Mapping[str, Any]],
    ensemble: Ensemble | None = None,
) -> Iterator[dict[str, Any]]:
    """What detection finds in the input, as plain values in the order in which it is found: matches of the patterns,
    and what the workflows, rules and machines of the ensemble would do.

    `lines` are JSON lines or what they hold; empty ones are passed over. A wrong line gives a record of kind
    `invalid`, and the rest goes on. The last record has kind `end`.
    """
    run = _Replay(PatternSet(detect(definition) for definition in definitions), ensemble or Ensemble())
    for line in lines:
        yield from run.item(line)
    yield run.end()


class _Replay:
    def __init__(self, patterns: PatternSet, ensemble: Ensemble) -> None:
        self._patterns: Final = patterns
        self._rehearsal: Final = Rehearsal(patterns, ensemble)
        self._context: Final = copy_context()  # in which conditions ask its graph of provenance
        self._context.run(LINEAGE.set, self._rehearsal.lineage)
        self._names: Final = {
            "pattern": {detector.name for detector in patterns},
            "rule": {name for book in ensemble.books for name in book.rule_names},
            "machine": {machine.name for machine in ensemble.machines},
        }
        self._at = -1
        self._seq = 0
        self._ts = 0
        self._invalid = 0
        self._found_anew = 0

    def item(self, line: str | bytes | Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if not isinstance(line, Mapping) and not line.strip():
            return
        self._at += 1
        try:
            value = dict(line) if isinstance(line, Mapping) else _parse(line)
            found = self._context.run(self._apply, value)
        except (EventLineError, CallerError) as error:
            self._invalid += 1
            yield {"kind": "invalid", "at": self._at, "reason": str(error)}
            return
        yield from found

    def end(self) -> dict[str, Any]:
        patterns = {detector.name: detector.status() for detector in self._patterns}
        out = {"kind": "end", "items": self._at + 1, "events": self._seq, "patterns": patterns}
        out |= {"found_anew": self._found_anew} if self._found_anew else {}
        return {**out, "invalid": self._invalid} if self._invalid else out

    def _apply(self, value: dict[str, Any]) -> list[dict[str, Any]]:
        if "type" not in value:
            for control in _TIMES:
                if control in value:
                    return self._time(control, read_time(value[control], control))
            for control, use in (("state", self._rehearsal.change), ("load", self._rehearsal.measure)):
                if isinstance(value.get(control), Mapping):
                    return use(value[control], self._at)
        if self._is_own(value):
            self._found_anew += 1
            return []
        event = read_event(value, self._ts)
        self._seq += 1
        event.seq = value["seq"] if is_whole(value.get("seq")) else self._seq
        self._ts = event.ts
        return self._rehearsal.feed(event, self._at)

    def _time(self, control: str, ts: int) -> list[dict[str, Any]]:
        if control.startswith("watermark"):
            return self._rehearsal.watermark(ts, self._at)
        return self._rehearsal.advance(ts, self._at) + self._rehearsal.watermark(ts, self._at)

    def _is_own(self, value: Mapping[str, Any]) -> bool:
        """Whether it is a recorded event (they have a code) that a detector made which is here too."""
        kind, attrs = value.get("type"), value.get("attrs")
        if "code" not in value or not isinstance(kind, str) or not isinstance(attrs, Mapping):
            return False
        if kind.startswith("graph.") and self._rehearsal.lineage is not None:
            return True
        return any(kind.startswith(prefix) and attrs.get(of) in self._names[of] for of, prefix in _OWN.items())


def _parse(line: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise EventLineError(f"this is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise EventLineError('a line is an object: an event, {"watermark": ms}, {"advance_to": ms} or {"state": {…}}')
    return value


def main(argv: list[str] | None = None, stdin: IO[bytes] | None = None, stdout: IO[str] | None = None) -> int:
    """`vexfs replay`: 0 when the input was replayed, 1 when lines of it were wrong, 2 when it could not be."""
    parser = argparse.ArgumentParser(prog="vexfs replay", description="run events through detection, without a mount")
    parser.add_argument("--definitions", required=True, metavar="DIR", help="a directory of definitions, or one file")
    parser.add_argument("events", metavar="EVENTS.jsonl", help="events as JSON lines; - is standard input")
    arguments = parser.parse_args(argv)
    out, wrong = stdout or sys.stdout, False
    try:
        ensemble = load_ensemble(arguments.definitions, wrong=_left_out)
        for record in replay(ensemble.patterns.values(), _lines(arguments.events, stdin), ensemble):
            wrong = wrong or record["kind"] == "invalid"
            out.write(json.dumps(record, default=str, separators=(",", ":")) + "\n")
        out.flush()
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(f"vexfs replay: cannot read {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except VexError as error:
        print(f"vexfs replay: {error}", file=sys.stderr)
        return 2
    return 1 if wrong else 0


def _left_out(error: DefinitionError) -> None:
    print(f"vexfs replay: left out: {error}", file=sys.stderr)


def _lines(name: str, stdin: IO[bytes] | None) -> Iterator[bytes]:
    if name == "-":
        yield from stdin or sys.stdin.buffer
        return
    with open(name, "rb") as file:
        yield from file


if __name__ == "__main__":
    sys.exit(main())
