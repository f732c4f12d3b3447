"""Lua 5.4 for one call: a fresh state, so that nothing of a script outlives it. Making one takes 0.5 ms."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import lupa.lua54

from automation.scripts.api import FILE, SHORT
from automation.scripts.call import Answer, Call, Failure, Outside
from automation.scripts.confinement import confine
from automation.scripts.lua_prelude import PRELUDE


class Language:
    """Lua in this process."""

    def __init__(self, memory: int) -> None:
        self._memory: Final = memory
        warm = Call("return {}", "warm", None, {}, {}, 1.0)
        Sandbox(memory).run(warm, Outside(1.0, _nobody))  # whatever is loaded lazily is loaded now

    def confine(self) -> None:
        """No files, no network, no rights."""
        confine(self._memory)

    def sandbox(self) -> Sandbox:
        """A fresh state."""
        return Sandbox(self._memory)


def _nobody(action: Any, notes: list[dict[str, str]]) -> Answer:
    return Answer(False, "there is nobody to ask")


class Sandbox:
    """One script in one Lua state of at most `memory` bytes."""

    def __init__(self, memory: int) -> None:
        self._runtime: Final = lupa.lua54.LuaRuntime(
            encoding=None,
            source_encoding="utf-8",
            register_eval=False,
            register_builtins=False,
            attribute_filter=_refuse,
            overflow_handler=float,
            max_memory=memory,
        )
        parts: Any = self._runtime.execute(PRELUDE)
        self._start, self._resume, self._notes, self._mark, self._null = parts

    def run(self, call: Call, outside: Outside) -> Any:
        """Run the script, with its effects, to its end."""
        where = None if call.entry is None else _bytes(call.entry)
        effects = self._value({name: list(fields) for name, fields in call.effects.items()})
        short, files = self._value(dict(SHORT)), self._value(list(FILE))
        arguments = self._value(dict(call.arguments))
        kind, value = self._step(
            self._start, _bytes(call.source), _bytes(call.name), where, arguments, effects, short, files
        )
        while kind == "effect":
            self._tell(outside)
            ok, result = outside.ask(value)
            kind, value = self._step(self._resume, ok, self._value(result))
        self._tell(outside)
        if kind == "fail":
            raise Failure(value)
        return value

    def _tell(self, outside: Outside) -> None:
        """Hand on what was printed."""
        out = self._notes()
        flat = out if isinstance(out, tuple) else () if out is None else (out,)
        texts = [_text(item) for item in flat]
        for i in range(0, len(texts) - 1, 2):
            outside.note(texts[i], texts[i + 1])

    def _step(self, call: Callable[..., Any], *arguments: Any) -> tuple[str, Any]:
        try:
            kind, payload = call(*arguments)
        except lupa.lua54.LuaMemoryError:
            return "fail", "the script ran out of memory"
        except lupa.lua54.LuaError as error:
            return "fail", str(error)
        if kind == b"fail":
            return "fail", _text(payload)
        return kind.decode(), json.loads(_text(payload), strict=False)

    def _value(self, value: Any) -> Any:
        """A JSON value as Lua has it; never anything but nil, booleans, numbers, strings and tables."""
        if value is None:
            return self._null
        if isinstance(value, str):
            return _bytes(value)
        if isinstance(value, dict):
            items = {_bytes(key): self._value(item) for key, item in value.items() if item is not None}
            return self._runtime.table_from(items)
        if isinstance(value, list):
            return self._mark(self._runtime.table_from([self._value(item) for item in value]))
        return value


def _refuse(target: object, name: object, setting: bool) -> str:
    raise AttributeError("no Python object is within reach")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass" if any("\ud800" <= c < "\udc80" for c in text) else "surrogateescape")


def _text(data: Any) -> str:
    return data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else str(data)
