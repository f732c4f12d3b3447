"""Python for one call: a session of Monty, an interpreter of a large part of Python that reaches nothing by itself.

Monty is a program of its own, which this worker starts and keeps; what runs there can open no files (Landlock), has no
network, no rights and bounded memory, and asks this process for whatever it wants done. Only the interpreter's own
libraries can be read: it must find them while it starts.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable
from typing import Any, Final

import pydantic_monty
from pydantic_monty._binary import find_monty_binary

from automation.scripts.api import FILE, SHORT, Effects, fields_of
from automation.scripts.call import MOST_NOTE_BYTES, Call, Failure, Late, Outside, plain
from automation.scripts.confinement import drop_rights, limit
from automation.scripts.landlock import only_read

_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
_ROOM: Final = 256 << 20  # address space for the interpreter itself; it has 116 MiB at its start
_MOST_EFFECTS: Final = 1_000_000
_SOURCE: Final = 1  # the number of the script among what a session is fed; the world comes before it
_PROGRAM: Final = re.compile(r"<python-input-(\d+)>")
_ENTRY: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Language:
    """Monty as a child of this process."""

    def __init__(self, memory: int) -> None:
        self._memory: Final = memory
        self._binary: Final = os.open(find_monty_binary(), os.O_RDONLY)
        self._pool: pydantic_monty.Monty | None = None

    def confine(self) -> None:
        """Drop what a child must not inherit, start it, and bound what it may use."""
        drop_rights()
        program = f"/proc/self/fd/{self._binary}"
        only_read((*_LIBRARIES, program))
        self._pool = pydantic_monty.Monty(binary_path=program, min_processes=1, max_processes=1)
        self._pool.__enter__()
        os.close(self._binary)
        with self._pool.checkout() as session:
            session.feed_run("1")
            self._bound(session.worker_pid or 0)

    def _bound(self, pid: int) -> None:
        limit(resource.RLIMIT_AS, _ROOM + 2 * self._memory, pid)
        limit(resource.RLIMIT_NOFILE, 3, pid)
        limit(resource.RLIMIT_NPROC, 0, pid)

    def sandbox(self) -> Sandbox:
        """A fresh session."""
        assert self._pool is not None
        return Sandbox(self._pool, self._memory)


class Sandbox:
    """One script in one session of at most `memory` bytes."""

    def __init__(self, pool: pydantic_monty.Monty, memory: int) -> None:
        self._pool: Final = pool
        self._memory: Final = memory

    def run(self, call: Call, outside: Outside) -> Any:
        """Run the text; its value is that of its last expression, or what the entry function returns."""
        limits = pydantic_monty.ResourceLimits(
            max_memory=self._memory,
            max_feed_duration_secs=call.timeout,
            max_suspensions=_MOST_EFFECTS,
            max_total_sleep_secs=0,
        )
        world = _World(call, outside)
        try:
            with self._pool.checkout(script_name=call.name, limits=limits) as session:
                value = _value(session, call, world)
            world.end_line()
            return plain(value)
        except pydantic_monty.MontyCrashedError:
            os._exit(1)  # the interpreter is gone, and this worker with it
        except pydantic_monty.MontyError as error:
            raise world.failure(error) from None
        except ValueError as error:
            raise Failure(f"{call.name}: the result cannot be handed over: {error}") from None


def _value(session: pydantic_monty.MontySession, call: Call, world: _World) -> Any:
    def feed(text: str, given: dict[str, Any]) -> Any:
        return session.feed_run(text, inputs=given, external_lookup=world.names, print_callback=world.printed)

    feed(world.prelude, {})
    value = feed(call.source, dict(call.arguments))
    if call.entry is None:
        return value
    if not _ENTRY.fullmatch(call.entry):
        raise Failure(f"{call.name}: there is no function {call.entry!r} in the script")
    return feed(f"{call.entry}(ctx)", {"ctx": dict(call.arguments)})


class _World:
    """The names that a script finds, and what went wrong behind them."""

    def __init__(self, call: Call, outside: Outside) -> None:
        self._call: Final = call
        self._outside: Final = outside
        self._problem = ""  # what the last failed effect said
        self._line = ""  # printed, but not ended yet
        effects = {name: self._effect(name, fields) for name, fields in call.effects.items()}
        short = {other: effects[name] for other, name in SHORT.items() if name in effects}
        hidden = {f"_{name}": effects[name] for name in FILE if name in effects}
        self.names: Final[dict[str, Any]] = {**hidden, **effects, **short, "log": self._log, "wait": self._wait}
        self.prelude: Final = _file_class(call.effects)

    def _effect(self, name: str, positional: tuple[str, ...]) -> Callable[..., Any]:
        def effect(*arguments: Any, **named: Any) -> Any:
            action = fields_of(name, positional, arguments, named)
            if name == "emit_event" and arguments and isinstance(arguments[0], dict) and "type" in arguments[0]:
                action["event"] = arguments[0]["type"]
            return self._perform(action)

        return effect

    def _wait(self, seconds: float) -> None:
        self._perform({"type": "wait", "seconds": seconds})

    def _perform(self, action: Any) -> Any:
        self.end_line()
        try:
            ok, value = self._outside.ask(plain(action))
        except ValueError as error:
            ok, value = False, f"{action['type']} cannot be asked for: {error}"
        if ok:
            return value
        self._problem = value
        raise RuntimeError(value)

    def _log(self, *values: Any, level: str = "info") -> None:
        self.end_line()
        self._outside.note(level, " ".join(map(str, values)))

    def printed(self, stream: str, text: str) -> None:
        """Each line that is printed is one for the log."""
        *lines, rest = (self._line + text).split("\n")
        for line in lines:
            self._outside.note("info", line)
        self._line = rest[:MOST_NOTE_BYTES]

    def end_line(self) -> None:
        """What was printed without an end is a line too."""
        if self._line:
            self.printed("stdout", "\n")

    def failure(self, error: pydantic_monty.MontyError) -> Exception:
        """What to say of an error, with the script's line where it happened."""
        self.end_line()
        cause = error.exception()
        frames = error.traceback() if isinstance(error, _TRACED) else []
        if isinstance(cause, TimeoutError) and not frames:
            return Late()
        if isinstance(cause, MemoryError):
            message = "the script ran out of memory"
        elif str(error).startswith("UnicodeEncodeError"):
            message = "Python cannot be given a text that is not UTF-8"
        elif isinstance(cause, TimeoutError):
            message = "a script does not sleep; it calls wait(seconds)"
        elif str(cause) == self._problem:
            message = self._problem
        elif isinstance(cause, NameError) and str(cause) == f"name {self._call.entry!r} is not defined":
            return Failure(f"{self._call.name}: there is no function {self._call.entry!r} in the script")
        elif isinstance(error, pydantic_monty.MontySyntaxError):
            message = f"SyntaxError: {error}"
        else:
            message = str(error)
        lines = [frame.line for frame in frames if _number(frame.filename) == _SOURCE]
        return Failure(f"{self._call.name}:{lines[-1]}: {message}" if lines else f"{self._call.name}: {message}")


_TRACED: Final = (pydantic_monty.MontyRuntimeError, pydantic_monty.MontySyntaxError)


def _number(filename: str) -> int:
    found = _PROGRAM.fullmatch(filename)
    return int(found[1]) if found else -1


def _file_class(effects: Effects) -> str:
    """`file`, in the script's own language: its methods keep clear of the names that Python has, such as `list`."""
    methods = [f"    def {name}(self, *a, **k): return _{name}(*a, **k)\n" for name in FILE if name in effects]
    return "class _File:\n" + ("".join(methods) or "    pass\n") + "file = _File()\n"
