"""A worker whose interpreter was taken over: `python -m tests.broken_worker HOW` speaks the protocol wrongly."""

import json
import os
import struct
import sys

DEEP = "[" * 100_000 + "]" * 100_000
SAID = {
    "garbage": b"\x00\x00\x00\x05hello",
    "huge": b"\xff\xff\xff\xff",
    "list": b"\x00\x00\x00\x02[]",
    "deep": struct.pack(">I", len(DEEP)) + DEEP.encode(),
    "short": b"\x00\x00\x00\xff{}",
    "nothing": b"",
    "unknown": {"op": "root", "value": 1, "notes": []},
    "no op": {"value": 1},
    "no value": {"op": "done", "notes": []},
    "no notes": {"op": "done", "value": 1},
    "odd notes": {"op": "done", "value": 1, "notes": [1]},
    "odd action": {"op": "effect", "value": 5, "notes": []},
    "odd wait": {"op": "effect", "value": {"type": "wait", "seconds": {}}, "notes": []},
    "odd type": {"op": "effect", "value": {"type": ["copy"]}, "notes": [{"level": [], "message": {}}]},
}


def message(value: object) -> bytes:
    body = json.dumps(value).encode()
    return struct.pack(">I", len(body)) + body


def main(how: str) -> None:
    said = SAID[how]
    os.write(1, message({"op": "ready"}))
    os.read(0, 1 << 20)
    os.write(1, said if isinstance(said, bytes) else message(said))
    if isinstance(said, dict) and said.get("op") == "effect":
        os.read(0, 1 << 20)
        os.write(1, b"\x00\x00\x00\x02{}")


if __name__ == "__main__":
    main(sys.argv[1])
