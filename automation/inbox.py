"""Events from outside: CloudEvents 1.0 in JSON, from `/.vexfs/inbox` or the HTTP endpoint, onto the bus.

Each becomes an `external.received`, its attributes those of the CloudEvent. The same `source` and `id` again is a
duplicate, as the specification has it, and is taken once.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import re
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from automation.bus import Bus
from automation.errors import CallerError
from automation.events import SemanticEvent

MOST_BYTES: Final = 1 << 20
MOST_REMEMBERED: Final = 10_000  # identities by which duplicates are known
MOST_RECENT: Final = 100
MOST_BATCH: Final = 1000
_NAME: Final = re.compile(r"[a-z0-9]+\Z")
_REQUIRED: Final = ("specversion", "id", "source", "type")
_TEXTS: Final = (*_REQUIRED, "subject", "datacontenttype", "dataschema", "time")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who handed an event over, and how: `inbox` or `http`."""

    via: str
    uid: int = 0
    gid: int = 0
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one event."""

    id: str
    source: str
    type: str
    ts: int
    via: str
    duplicate: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a person."""
        when = datetime.datetime.fromtimestamp(self.ts / 1e9, datetime.UTC).isoformat(timespec="milliseconds")
        shown = {"time": when, "source": self.source, "id": self.id, "type": self.type, "via": self.via}
        return shown | ({"duplicate": True} if self.duplicate else {})


class Inbox:
    """Takes events in. Remembers the last 10,000 identities and the last 100 receipts."""

    def __init__(self, bus: Bus) -> None:
        self.recent: Final[deque[Receipt]] = deque(maxlen=MOST_RECENT)
        self.received = 0
        self.refused = 0
        self._bus: Final = bus
        self._known: Final[OrderedDict[tuple[str, str], None]] = OrderedDict()

    def receive(self, value: Any, sender: Sender) -> list[Receipt]:
        """Take one event or a list of them, all or none; CallerError says which is wrong, and where."""
        try:
            checked = _check_batch(value if isinstance(value, list) else [value])
        except CallerError:
            self.refused += 1
            raise
        return [self._take(attrs, sender) for attrs in checked]

    def receive_text(self, text: str, sender: Sender) -> list[Receipt]:
        """Take the JSON of one event, of a list of them, or one event a line."""
        try:
            return self.receive(parse(text), sender)
        except json.JSONDecodeError as error:
            self.refused += 1
            raise CallerError(f"this is no JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
        except RecursionError:
            self.refused += 1
            raise CallerError("the JSON is nested too deeply") from None

    def _take(self, attrs: dict[str, Any], sender: Sender) -> Receipt:
        identity = (attrs["source"], attrs["id"])
        duplicate = identity in self._known
        self._known[identity] = None
        self._known.move_to_end(identity)
        if len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        event = SemanticEvent(
            "external.received", pid=sender.pid, uid=sender.uid, gid=sender.gid, attrs={**attrs, "via": sender.via}
        )
        if not duplicate:
            self.received += 1
            self._bus.publish(event)
        receipt = Receipt(attrs["id"], attrs["source"], attrs["type"], event.ts, sender.via, duplicate)
        self.recent.append(receipt)
        return receipt


def parse(text: str) -> Any:
    """JSON, or several JSON values one after another as a list; JSONDecodeError for neither."""
    decoder, values, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        at += len(text[at:]) - len(text[at:].lstrip())
        value, at = decoder.raw_decode(text, at)
        values.append(value)
    if not values:
        raise json.JSONDecodeError("there is nothing", text, 0)
    return values[0] if len(values) == 1 else values


def _check_batch(batch: list[Any]) -> list[dict[str, Any]]:
    if not 0 < len(batch) <= MOST_BATCH:
        raise CallerError(f"a batch has 1 to {MOST_BATCH} events, not {len(batch)}")
    return [check(one, f"event {i}: " if len(batch) > 1 else "") for i, one in enumerate(batch)]


def check(value: Any, where: str = "") -> dict[str, Any]:
    """The attributes of a CloudEvent, its binary data still in base64; CallerError for what is none."""
    if not isinstance(value, Mapping):
        raise CallerError(f"{where}a CloudEvent is a JSON object with {', '.join(_REQUIRED)}")
    for name in _REQUIRED:
        if not value.get(name):
            raise CallerError(f"{where}{name} is missing; a CloudEvent needs {', '.join(_REQUIRED)}")
    for name in _TEXTS:
        if name in value and not isinstance(value[name], str):
            raise CallerError(f"{where}{name} must be text, not {value[name]!r}")
    if value["specversion"] != "1.0":
        raise CallerError(f"{where}specversion must be '1.0', not {value['specversion']!r}")
    odd = next((name for name in value if name != "data_base64" and not _NAME.match(name)), None)
    if odd is not None:
        raise CallerError(f"{where}the attribute {odd!r} must be of lower-case letters and digits")
    _check_values(value, where)
    return dict(value)


def _check_values(value: Mapping[str, Any], where: str) -> None:
    if "time" in value:
        try:
            datetime.datetime.fromisoformat(value["time"])
        except ValueError:
            raise CallerError(f"{where}time must be as '2024-05-01T12:00:00Z', not {value['time']!r}") from None
    if "data" in value and "data_base64" in value:
        raise CallerError(f"{where}give 'data' or 'data_base64', not both")
    if "data_base64" in value:
        try:
            base64.b64decode(value["data_base64"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise CallerError(f"{where}data_base64 is no base64") from None
