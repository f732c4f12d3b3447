"""WebAssembly for one call: a fresh instance of a module, in binary (base64) or text form, run by Wasmtime.

A module is of two kinds. One that exports `run` (or what `function` names) takes its arguments as JSON in its memory
and returns its result in the same way: `run(pointer, length) -> pointer`, where a pointer that is handed over leads to
a length of four bytes, little-endian, and that many bytes of JSON; 0 is null. It exports `memory` and
`alloc(size) -> pointer`, and may import `vexfs.effect(pointer, length) -> pointer`, `vexfs.log` and `vexfs.fail`. One
that exports `_start` is a WASI command: it finds its arguments as JSON in the environment variable VEXFS and prints its
result. WASI gives it a clock, random numbers, that variable and what it prints, and no file.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import wasmtime

from automation.scripts.call import Answer, Call, Failure, Late, Outside, handed_over
from automation.scripts.confinement import close_off, drop_rights

_MAGIC: Final = b"\0asm"
_STACK: Final = 512 << 10
_TABLE: Final = 100_000  # elements
_I32: Final = wasmtime.ValType.i32()
_WARM: Final = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\04\\00\\00\\00null")
  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))
"""
_PLACE: Final = re.compile(r"<anon>:(\d+):")


class Language:
    """Wasmtime in this process."""

    def __init__(self, memory: int) -> None:
        self._memory: Final = memory
        self._engine: Final = wasmtime.Engine(_settings(fueled=False))
        self._fueled: Final = wasmtime.Engine(_settings(fueled=True))  # counting instructions costs time: if asked for
        self._alarm: Final = Alarm(self._ring)

    def confine(self) -> None:
        """No files, no network, no rights; the threads of the alarm and of WASI are there before no more can be."""
        drop_rights()
        self._alarm.start()
        warm = Call(_WARM, "warm", None, {}, {}, 10.0)
        self.sandbox().run(warm, Outside(10.0, lambda action, notes: Answer(False, None)))
        close_off(self._memory)

    def sandbox(self) -> Sandbox:
        """For one module."""
        return Sandbox(self._engine, self._fueled, self._alarm, self._memory)

    def _ring(self) -> None:
        self._engine.increment_epoch()
        self._fueled.increment_epoch()


def _settings(*, fueled: bool) -> wasmtime.Config:
    config = wasmtime.Config()
    config.consume_fuel = fueled
    config.epoch_interruption = True
    config.parallel_compilation = False  # there are no threads for it
    config.memory_reservation = 0  # address space is bounded too
    config.memory_reservation_for_growth = 1 << 20
    config.memory_guard_size = 0
    config.memory_init_cow = False
    config.wasm_threads = False
    config.max_wasm_stack = _STACK
    return config


class Alarm:
    """Rings once when the time that was set is over, from a thread of its own."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring: Final = ring
        self._changed: Final = threading.Condition()
        self._at: float | None = None

    def start(self) -> None:
        """Begin to watch the clock."""
        threading.Thread(target=self._watch, daemon=True).start()

    def set(self, seconds: float | None) -> None:
        """Ring in so many seconds, or not at all."""
        with self._changed:
            self._at = None if seconds is None else time.monotonic() + seconds
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while True:
                left = None if self._at is None else self._at - time.monotonic()
                if left is None or left > 0:
                    self._changed.wait(left)
                else:
                    self._at = None
                    self._ring()


class Sandbox:
    """One module in one store of at most `memory` bytes, of the second engine when the call has fuel."""

    def __init__(self, engine: wasmtime.Engine, fueled: wasmtime.Engine, alarm: Alarm, memory: int) -> None:
        self._engines: Final = engine, fueled
        self._alarm: Final = alarm
        self._memory: Final = memory

    def run(self, call: Call, outside: Outside) -> Any:
        """Instantiate the module and call it."""
        engine = self._engines[call.fuel is not None]
        store = wasmtime.Store(engine)
        store.set_limits(memory_size=self._memory, table_elements=_TABLE, instances=1, tables=10, memories=1)
        store.set_epoch_deadline(1)
        if call.fuel is not None:
            store.set_fuel(call.fuel)
        self._alarm.set(outside.left)
        try:
            return self._run(engine, store, call, outside)
        except _Ended as ended:
            raise Failure(f"{call.name}: {ended}") from None
        except wasmtime.ExitTrap as ended:
            raise Failure(f"{call.name}: it ended with exit code {ended.code}") from None
        except wasmtime.Trap as trap:
            if trap.trap_code is wasmtime.TrapCode.INTERRUPT:
                raise Late from None
            if trap.trap_code is wasmtime.TrapCode.OUT_OF_FUEL:
                raise Failure(f"{call.name}: it has used up its fuel of {call.fuel}") from None
            raise Failure(f"{call.name}: {_trap(trap)}") from None
        except wasmtime.WasmtimeError as error:
            raise Failure(_reason(call.name, str(error))) from None
        except ValueError as error:
            raise Failure(f"{call.name}: the result cannot be handed over: {error}") from None
        finally:
            self._alarm.set(None)

    def _run(self, engine: wasmtime.Engine, store: wasmtime.Store, call: Call, outside: Outside) -> Any:
        module = wasmtime.Module(engine, _binary(call.source))
        imports = _Imports(call, outside, self._alarm)
        exports = imports.linker(store, engine).instantiate(store, module).exports(store)
        entry = call.entry or ("run" if any(export.name == "run" for export in module.exports) else "_start")
        try:
            result = _called(store, exports, call, entry)
        except wasmtime.ExitTrap as ended:
            if ended.code != 0:
                raise
            result = None
        return _value(imports.printed) if entry == "_start" else result


class _Ended(Exception):  # noqa: N818 - it carries a sentence out of a module
    """The module cannot go on, or does not want to."""


class _Imports:
    """What a module may call. It does not hold the store, which in turn holds it: Wasmtime could free neither."""

    def __init__(self, call: Call, outside: Outside, alarm: Alarm) -> None:
        self._call: Final = call
        self._outside: Final = outside
        self._alarm: Final = alarm
        self.printed: Final = bytearray()

    def linker(self, store: wasmtime.Store, engine: wasmtime.Engine) -> wasmtime.Linker:
        """Joins a module of that store to them."""
        wasi = wasmtime.WasiConfig()
        wasi.argv = [self._call.name]
        wasi.env = [("VEXFS", json.dumps(dict(self._call.arguments)))]
        wasi.stdout_custom = self._print
        wasi.stderr_custom = self._complain
        store.set_wasi(wasi)
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        for name, results, body in (
            ("effect", [_I32], self._effect),
            ("log", [], self._log),
            ("fail", [], self._fail),
        ):
            linker.define_func("vexfs", name, wasmtime.FuncType([_I32, _I32], results), body, access_caller=True)
        return linker

    def _effect(self, caller: wasmtime.Caller, pointer: int, length: int) -> int:
        memory = _Memory(caller, caller.get)
        try:
            action = handed_over(memory.text(pointer, length))
        except ValueError as error:
            answer = Answer(False, f"the action cannot be handed over: {error}")
        else:
            answer = self._outside.ask(action)
            self._alarm.set(self._outside.left)
        body = json.dumps(answer._asdict()).encode()
        return memory.put(len(body).to_bytes(4, "little") + body)

    def _log(self, caller: wasmtime.Caller, pointer: int, length: int) -> None:
        self._outside.note("info", _Memory(caller, caller.get).text(pointer, length))

    def _fail(self, caller: wasmtime.Caller, pointer: int, length: int) -> None:
        raise _Ended(_Memory(caller, caller.get).text(pointer, length))

    def _print(self, data: Any) -> int:
        if len(self.printed) <= 1 << 20:
            self.printed.extend(data)
        return len(data)

    def _complain(self, data: Any) -> int:
        text = bytes(data).decode("utf-8", "replace").rstrip("\n")
        if text:
            self._outside.note("warning", text)
        return len(data)


class _Memory:
    """A module's memory, by what the module exports: the host never believes a pointer."""

    def __init__(self, store: Any, export: Callable[[str], Any]) -> None:
        self._store: Final = store
        self._export: Final = export

    def put(self, data: bytes) -> int:
        """Hand over bytes, in the place that the module's `alloc` makes for them."""
        memory, alloc = self._memory(), self._export("alloc")
        if not isinstance(alloc, wasmtime.Func):
            raise _Ended("the module exports no function 'alloc', by which it makes room for what it is given")
        pointer = alloc(self._store, len(data)) & 0xFFFFFFFF
        if pointer + len(data) > memory.data_len(self._store):
            raise _Ended(f"'alloc' gave a pointer without {len(data)} bytes behind it")
        memory.write(self._store, data, pointer)
        return int(pointer)

    def counted(self, pointer: int) -> str:
        """The text behind its length."""
        return self.text(pointer + 4, int.from_bytes(self._read(pointer, 4), "little"))

    def text(self, pointer: int, length: int) -> str:
        """So many bytes."""
        return self._read(pointer, length).decode("utf-8", "surrogateescape")

    def _read(self, pointer: int, length: int) -> bytes:
        memory, start, count = self._memory(), pointer & 0xFFFFFFFF, length & 0xFFFFFFFF
        if start + count > memory.data_len(self._store):
            raise _Ended("it handed over a pointer beyond the end of its memory")
        return bytes(memory.read(self._store, start, start + count))

    def _memory(self) -> wasmtime.Memory:
        found = self._export("memory")
        if not isinstance(found, wasmtime.Memory):
            raise _Ended("the module exports no memory")
        return found


def _called(store: wasmtime.Store, exports: Any, call: Call, entry: str) -> Any:
    """What the function returns for the arguments."""
    body = exports.get(entry)
    if not isinstance(body, wasmtime.Func):
        raise _Ended(f"the module exports no function {entry!r}")
    if entry == "_start":
        return body(store)
    memory = _Memory(store, exports.get)
    given = json.dumps(dict(call.arguments)).encode()
    pointer = body(store, memory.put(given), len(given))
    return None if not pointer else handed_over(memory.counted(pointer))


def _value(printed: bytearray) -> Any:
    """The result of a command: what it printed, JSON or else text."""
    text = printed.decode("utf-8", "surrogateescape")
    try:
        return handed_over(text) if text.strip() else None
    except json.JSONDecodeError:
        return text


def _binary(source: str) -> bytes:
    """A module's bytes, of whichever form."""
    if source.lstrip().startswith(("(", ";;")):
        return bytes(wasmtime.wat2wasm(source))
    try:
        data = base64.b64decode(source, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data.startswith(_MAGIC):
        raise _Ended("it is neither a module in text form nor one in base64")
    return data


def _trap(trap: wasmtime.Trap) -> str:
    """What went wrong and in which function, where it has a name."""
    reason = str(trap).rsplit("wasm trap: ", 1)[-1].strip().split("\n", 1)[0]
    names = [frame.func_name for frame in trap.frames if frame.func_name]
    return f"wasm trap: {reason}" + (f" (in ${names[0]})" if names else "")


def _reason(name: str, text: str) -> str:
    """What Wasmtime says of a module that it does not take, with the line if it is a text."""
    line = _PLACE.search(text)
    if line is None:
        return f"{name}: {' '.join(text.split())}"
    first = text.split("\n", 1)[0]
    return f"{name}:{line[1]}: {first}"
