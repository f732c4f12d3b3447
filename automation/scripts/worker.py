"""The worker process: `python -m automation.scripts.worker MEMORY`. Reads calls on stdin, answers on stdout.

To `{op: call, source, name, entry, arguments, timeout}` it answers with any number of `{op: effect, action, notes}`,
each of which it wants answered by `{op: reply, ok, value}`, and then `{op: done, value, notes}` or
`{op: fail, message, notes}`. `{op: ready}` says that the next call may come. It ends when stdin does.
"""

from __future__ import annotations

import gc
import os
import sys

from automation.scripts import frames
from automation.scripts.confinement import confine, limit_cpu
from automation.scripts.frames import Message
from automation.scripts.lua import Outcome, Sandbox


def main(memory: int) -> None:
    """Serve until stdin ends."""
    Sandbox(memory).start("return {}", "warm", None, {})  # whatever is loaded lazily is loaded now
    confine(memory)
    gc.collect()
    gc.freeze()
    while True:
        sandbox = Sandbox(memory)
        _send({"op": "ready"})
        call = _receive()
        if call is None:
            return
        _serve(sandbox, call)
        del sandbox
        gc.collect()


def _serve(sandbox: Sandbox, call: Message) -> None:
    limit_cpu(call["timeout"])
    outcome = _guarded(sandbox, call)
    while outcome[0] == "effect":
        _send({"op": "effect", "action": outcome[1], "notes": sandbox.notes()})
        reply = _receive()
        if reply is None:
            os._exit(0)
        outcome = _guarded(sandbox, reply)
    kind, value = outcome
    _send({"op": kind, "value": value, "notes": sandbox.notes()})


def _guarded(sandbox: Sandbox, message: Message) -> Outcome:
    try:
        if message["op"] == "call":
            return sandbox.start(message["source"], message["name"], message["entry"], message["arguments"])
        return sandbox.resume(message["ok"], message["value"])
    except MemoryError:
        return "fail", "the script ran out of memory"


def _send(message: Message) -> None:
    data = memoryview(frames.encode(message))
    while data:
        data = data[os.write(1, data) :]


def _receive() -> Message | None:
    header = _exactly(frames.HEADER.size)
    if header is None:
        return None
    body = _exactly(frames.length(header))
    return None if body is None else frames.decode(body)


def _exactly(count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        chunk = os.read(0, count - len(data))
        if not chunk:
            return None
        data += chunk
    return bytes(data)


if __name__ == "__main__":
    main(int(sys.argv[1]))
