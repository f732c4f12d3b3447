"""Events from a file through detection, on a virtual clock, with no mount and no effect.

Input and output are JSON lines; `docs/patterns.md` describes both, and they are stable.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any, Final

from automation.errors import DefinitionError, VexError
from automation.event_lines import MS, EventLineError, is_whole, read_event, read_time
from automation.patterns.loading import Definition, detect, load_definitions
from automation.patterns.outcomes import Expired, Failed, Late, Match, Outcome, Overflow, as_plain
from automation.patterns.routing import PatternSet
from automation.rehearsal import Rehearsal, load_rehearsal

_CONTROLS: Final = ("watermark", "watermark_ns", "advance_to", "advance_to_ns")


def replay(
    definitions: Iterable[Definition],
    lines: Iterable[str | bytes | Mapping[str, Any]],
    rehearsal: Rehearsal | None = None,
) -> Iterator[dict[str, Any]]:
    """What detection finds in the input, as plain values in the order in which it is found; with a rehearsal also the
    firings of rules and the runs that there would be.

    `lines` are JSON lines or what they hold; empty ones are passed over. A wrong line gives a record of kind
    `invalid`, and the rest goes on. The last record has kind `end`.
    """
    run = _Replay(PatternSet(detect(definition) for definition in definitions), rehearsal or Rehearsal())
    for line in lines:
        yield from run.item(line)
    yield run.end()


class _Replay:
    def __init__(self, patterns: PatternSet, rehearsal: Rehearsal) -> None:
        self._patterns: Final = patterns
        self._rehearsal: Final = rehearsal
        self._at = -1
        self._seq = 0
        self._ts = 0
        self._invalid = 0

    def item(self, line: str | bytes | Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if not isinstance(line, Mapping) and not line.strip():
            return
        self._at += 1
        try:
            value = dict(line) if isinstance(line, Mapping) else _parse(line)
            found = self._apply(value)
        except EventLineError as error:
            self._invalid += 1
            yield {"kind": "invalid", "at": self._at, "reason": str(error)}
            return
        yield from found

    def end(self) -> dict[str, Any]:
        patterns = {detector.name: detector.status() for detector in self._patterns}
        out = {"kind": "end", "items": self._at + 1, "events": self._seq, "patterns": patterns}
        return {**out, "invalid": self._invalid} if self._invalid else out

    def _apply(self, value: dict[str, Any]) -> list[dict[str, Any]]:
        for control in _CONTROLS:
            if control in value and "type" not in value:
                ts = read_time(value[control], control)
                if control.startswith("watermark"):
                    return self._tell(self._patterns.watermark(ts), ts)
                early = self._rehearsal.advance(ts, self._at)
                return early + self._tell([*self._patterns.advance(ts), *self._patterns.watermark(ts)], ts)
        event = read_event(value, self._ts)
        self._seq += 1
        event.seq = value["seq"] if is_whole(value.get("seq")) else self._seq
        self._ts = event.ts
        out = self._rehearsal.advance(event.ts, self._at)
        out += self._tell(self._patterns.advance(event.ts), event.ts)
        out += self._rehearsal.feed(event, self._at)
        return out + self._tell(self._patterns.feed(event, event.ts), event.ts)

    def _tell(self, outcomes: Iterable[Outcome], ts: int) -> list[dict[str, Any]]:
        out = []
        for outcome in outcomes:
            out.append(describe(outcome, self._at))
            if isinstance(outcome, Match):
                out += self._rehearsal.matched(outcome, ts, self._at)
        return out


def _parse(line: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise EventLineError(f"this is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise EventLineError('a line is an object: an event, {"watermark": ms} or {"advance_to": ms}')
    return value


def describe(outcome: Outcome, at: int) -> dict[str, Any]:
    """An outcome as a record of the output; `at` is the number of the input item, from 0."""
    common = {"pattern": outcome.pattern, "at": at}
    match outcome:
        case Match():
            out = {"kind": "match", **common, "on": outcome.on, "id": outcome.id, "ts": outcome.ts}
            out |= {"confidence": round(outcome.confidence, 6), "steps": as_plain(outcome.steps)}
            return {**out, "values": dict(outcome.values)} if outcome.values else out
        case Expired():
            out = {"kind": "timeout", **common, "id": outcome.id, "deadline": outcome.deadline}
            return {**out, "deadline_ms": outcome.deadline / MS, "steps": as_plain(outcome.steps)}
        case Late():
            return {"kind": "late", **common, "event": outcome.event.as_dict(), "total": outcome.total}
        case Overflow():
            return {
                "kind": "overflow",
                **common,
                "what": outcome.what,
                "dropped": outcome.dropped,
                "total": outcome.total,
            }
        case Failed():
            return {"kind": "failed", **common, "reason": outcome.reason}


def main(argv: list[str] | None = None, stdin: IO[bytes] | None = None, stdout: IO[str] | None = None) -> int:
    """`vexfs replay`: 0 when the input was replayed, 1 when lines of it were wrong, 2 when it could not be."""
    parser = argparse.ArgumentParser(prog="vexfs replay", description="run events through detection, without a mount")
    parser.add_argument("--definitions", required=True, metavar="DIR", help="a directory of definitions, or one file")
    parser.add_argument("events", metavar="EVENTS.jsonl", help="events as JSON lines; - is standard input")
    arguments = parser.parse_args(argv)
    out, wrong = stdout or sys.stdout, False
    try:
        definitions, rehearsal = load(arguments.definitions, wrong=_left_out)
        for record in replay(definitions, _lines(arguments.events, stdin), rehearsal):
            wrong = wrong or record["kind"] == "invalid"
            out.write(json.dumps(record, default=str, separators=(",", ":")) + "\n")
        out.flush()
    except BrokenPipeError:
        return 0
    except (VexError, OSError) as error:
        print(f"vexfs replay: {error}", file=sys.stderr)
        return 2
    return 1 if wrong else 0


def load(*paths: str, wrong: Callable[[DefinitionError], None] | None = None) -> tuple[list[Definition], Rehearsal]:
    """The patterns, and what would act, of files or directories. DefinitionError for the first pattern that is wrong,
    and for the first workflow or book, unless `wrong` is told of those.
    """
    definitions = [one for path in paths for one in load_definitions(path)]
    rehearsal = load_rehearsal(*paths, wrong=wrong) if wrong is not None else load_rehearsal(*paths)
    known = {definition.name for definition in definitions}
    return [*definitions, *(one for name, one in rehearsal.patterns.items() if name not in known)], rehearsal


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
