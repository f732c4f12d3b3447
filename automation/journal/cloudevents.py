"""The audit trail as CloudEvents 1.0 in JSON, for whatever collects those.

| attribute | from |
|---|---|
| `id` | the record's hash: no two records have the same, and a record keeps it |
| `source` | the mount: `vexfs:` and the mountpoint of the life in which it was written |
| `type` | `vexfs.` and the kind |
| `subject` | the path, where there is one |
| `time` | RFC 3339, in UTC |
| `sequence` | the number, in 20 digits (the extension of that name) |
| `data` | the record as it was hashed |
"""

from __future__ import annotations

import datetime
import json
import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final
from urllib.parse import quote

from automation.journal.chain import printable
from automation.journal.encoding import encoding

_encode: Final = encoding()


def cloud_event(record: str, digest: str, source: str) -> str:
    """One record as one line."""
    facts: dict[str, Any] = json.loads(record)
    event = {
        "specversion": "1.0",
        "id": digest,
        "source": source,
        "type": f"vexfs.{facts['kind']}",
        "time": _time(facts["at"]),
        "datacontenttype": "application/json",
        "sequence": f"{facts['seq']:020d}",
    }
    if facts["path"]:
        event["subject"] = printable(facts["path"])
    return f'{_encode(event)[:-1]},"data":{record}}}'


def batch(lines: Iterable[str]) -> Iterator[str]:
    """Events as the pieces of one JSON array (`application/cloudevents-batch+json`)."""
    between = "["
    for line in lines:
        yield between + line
        between = ","
    yield "[]" if between == "[" else "]"


def sources(connection: sqlite3.Connection, otherwise: str) -> Callable[[int], str]:
    """From a record's number to the source: where the mount was in that life; `otherwise` where that is not known."""
    starts: list[int] = [0]
    places: list[str] = [otherwise]
    for seq, kind, record in connection.execute(_MARKS):
        if kind == "audit.begun":
            starts.append(seq)
            places.append(places[-1])
        else:
            places[-1] = json.loads(record)["data"].get("mountpoint", otherwise)
            if len(places) == 2 and places[0] == otherwise:
                places[0] = places[-1]  # what came before was pruned
    return lambda seq: f"vexfs:{quote(places[bisect_right(starts, seq) - 1])}"


_MARKS: Final = "SELECT seq, kind, record FROM audit WHERE kind IN ('audit.begun', 'system.mounted') ORDER BY seq"


def _time(ns: int) -> str:
    whole = datetime.datetime.fromtimestamp(ns // 10**9, datetime.UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z"
