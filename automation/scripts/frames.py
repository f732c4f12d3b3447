"""Messages between the nursery and a worker: four bytes of length, big-endian, then JSON in ASCII."""

from __future__ import annotations

import json
import struct
from typing import Any, Final

MOST: Final = 16 << 20
"""Bytes in one message; arguments (an event, the shared state, earlier results) are the largest."""

HEADER: Final = struct.Struct(">I")

Message = dict[str, Any]


def encode(message: Message) -> bytes:
    """The bytes of a message. ValueError when it is too large; what is no JSON value becomes its text."""
    body = json.dumps(message, default=str).encode()
    if len(body) > MOST:
        raise ValueError(f"a message of {len(body)} bytes, more than {MOST >> 20} MiB")
    return HEADER.pack(len(body)) + body


def length(header: bytes) -> int:
    """The size of the body that follows; ValueError when it is too large."""
    (size,) = HEADER.unpack(header)
    if size > MOST:
        raise ValueError(f"a message of {size} bytes, more than {MOST >> 20} MiB")
    return int(size)


def decode(body: bytes) -> Message:
    """The message of a body; ValueError when it is none."""
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("a message is an object")  # noqa: TRY004 - as for any other malformed body
    return message
