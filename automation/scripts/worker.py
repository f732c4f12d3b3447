"""The worker process: `python -m automation.scripts.worker LANGUAGE MEMORY`. Reads calls on stdin, answers on stdout.

To `{op: call, source, name, entry, arguments, effects, timeout, fuel}` it answers with any number of `{op: effect,
value, notes}`, each of which it wants answered by `{op: reply, ok, value}`, and then `{op: done, value, notes}`,
`{op: fail, value, notes}` or `{op: late, notes}`. `{op: ready}` says that the next call may come. It ends when stdin
does.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

from automation.scripts import frames
from automation.scripts.call import MOST_MESSAGE, Answer, Call, Failure, Late, Outside, Sandbox
from automation.scripts.confinement import limit_cpu
from automation.scripts.frames import Message
from automation.scripts.languages import load


def main(name: str, memory: int) -> None:
    """Serve until stdin ends."""
    sys.stdout = sys.stderr  # nothing but messages goes out by the descriptor
    language = load(name, memory)
    language.confine()
    gc.collect()
    gc.freeze()
    while True:
        sandbox = language.sandbox()
        _send({"op": "ready"})
        call = _receive()
        if call is None:
            return
        _serve(sandbox, call)
        del sandbox
        gc.collect()


def _serve(sandbox: Sandbox, message: Message) -> None:
    timeout = message["timeout"]
    limit_cpu(timeout)
    effects = {name: tuple(fields) for name, fields in message["effects"].items()}
    call = Call(
        message["source"], message["name"], message["entry"], message["arguments"], effects, timeout, message["fuel"]
    )
    outside = Outside(timeout, _exchange)
    try:
        answer: Message = {"op": "done", "value": sandbox.run(call, outside)}
    except Failure as failure:
        answer = {"op": "fail", "value": str(failure)[:MOST_MESSAGE]}
    except Late:
        answer = {"op": "late"}
    except MemoryError:
        answer = {"op": "fail", "value": f"{call.name}: the script ran out of memory"}
    _send({**answer, "notes": outside.notes()})


def _exchange(action: Any, notes: list[dict[str, str]]) -> Answer:
    _send({"op": "effect", "value": action, "notes": notes})
    reply = _receive()
    if reply is None:
        os._exit(0)
    return Answer(reply["ok"], reply["value"])


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
    main(sys.argv[1], int(sys.argv[2]))
