"""A process that holds one ONNX model and answers with its outputs: `python -m automation.actions.inference_worker`.

Reads `{path, sha256, most}` first, then one `{inputs}` after the other, as frames; answers `{outputs}` or `{error}`.
Whatever the model is, it works without network, files and rights, as scripts do.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
from typing import Any, Final

from automation.identity import Identity, acting
from automation.scripts import frames
from automation.scripts.confinement import USER, drop_rights, limit, user
from automation.scripts.seccomp import refuse_system_calls

_TYPES: Final = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}


def serve() -> None:
    """Until the input ends."""
    first = _receive()
    if first is None:
        return
    resource.setrlimit(resource.RLIMIT_AS, (first["memory"], first["memory"]))
    try:
        session = _load(first)
        wanted = {one.name: one for one in session.get_inputs()}
        _send({"inputs": {name: {"type": one.type, "shape": one.shape} for name, one in wanted.items()}})
    except Exception as error:
        _send({"error": f"the model cannot be loaded: {_said(error)}"})
        return
    while (message := _receive()) is not None:
        try:
            _send({"outputs": _infer(session, wanted, message["inputs"], first["most"])})
        except MemoryError:
            _send({"error": "it needs more memory than it may have"})
        except Exception as error:
            _send({"error": _said(error)})


def _load(first: dict[str, Any]) -> Any:
    uid, gid = user()
    with acting(Identity(uid, gid) if USER in os.environ else None), open(first["path"], "rb") as file:
        data = file.read(min(first["largest"], os.fstat(file.fileno()).st_size) + 1)
    if len(data) > first["largest"]:
        raise ValueError(f"it is larger than {first['largest']} bytes")
    digest = hashlib.sha256(data).hexdigest()
    if first["sha256"] and digest != first["sha256"].lower():
        raise ValueError(f"its SHA-256 is {digest}, not the one that the definition asks for")
    import numpy  # noqa: F401 - what is needed later is here before the walls go up
    import onnxruntime

    drop_rights()
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    limit(resource.RLIMIT_NPROC, 0)
    limit(resource.RLIMIT_NOFILE, 3)
    refuse_system_calls()
    return session


def _infer(session: Any, wanted: dict[str, Any], given: dict[str, Any], most: int) -> dict[str, Any]:
    import numpy

    missing, unknown = wanted.keys() - given.keys(), given.keys() - wanted.keys()
    if missing or unknown:
        raise ValueError(f"the model takes {', '.join(wanted)}, not {', '.join(given) or 'nothing'}")
    feed = {}
    for name, value in given.items():
        kind = _TYPES.get(wanted[name].type)
        if kind is None:
            raise ValueError(f"the input {name} is of the type {wanted[name].type}, which cannot be given")
        array = numpy.array(value, dtype=kind)
        if array.size > most:
            raise ValueError(f"the input {name} has {array.size} elements, more than {most}")
        feed[name] = array
    outputs = session.run(None, feed)
    return {one.name: _plain(value, most) for one, value in zip(session.get_outputs(), outputs, strict=True)}


def _plain(value: Any, most: int) -> Any:
    """Arrays as nested lists, and so on within lists and mappings (classifiers give a list of mappings)."""
    if hasattr(value, "tolist"):
        if getattr(value, "size", 0) > most:
            raise ValueError(f"an output has {value.size} elements, more than {most}")
        return value.tolist()
    if isinstance(value, dict):
        return {str(name): _plain(item, most) for name, item in value.items()}
    return [_plain(item, most) for item in value] if isinstance(value, list) else value


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def _receive() -> dict[str, Any] | None:
    header = sys.stdin.buffer.read(frames.HEADER.size)
    return frames.decode(sys.stdin.buffer.read(frames.length(header))) if len(header) == frames.HEADER.size else None


def _send(message: dict[str, Any]) -> None:
    try:
        data = frames.encode(message)
    except ValueError as error:
        data = frames.encode({"error": f"the answer is {error}"})
    os.write(1, data) if len(data) < 4096 else _write_all(data)


def _write_all(data: bytes) -> None:
    with open(1, "wb", closefd=False) as out:
        out.write(data)


if __name__ == "__main__":
    serve()
