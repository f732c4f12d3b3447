"""JavaScript for one call: a fresh QuickJS context. It has the language itself and nothing of a browser or of Node.

QuickJS refuses callbacks into Python while a time limit is set, so there is none: the nursery's clock ends a script
that does not end, with its worker.
"""

from __future__ import annotations

import json
from typing import Any, Final

import quickjs

from automation.scripts.api import FILE, SHORT
from automation.scripts.call import Answer, Call, Failure, Outside, handed_over
from automation.scripts.confinement import confine
from automation.scripts.javascript_prelude import PRELUDE

_STACK: Final = 1 << 20  # bytes; the worker's own stack has 8 MiB


class Language:
    """QuickJS in this process."""

    def __init__(self, memory: int) -> None:
        self._memory: Final = memory
        warm = Call("1", "warm", None, {}, {}, 1.0)
        Sandbox(memory).run(warm, Outside(1.0, lambda action, notes: Answer(False, None)))

    def confine(self) -> None:
        """No files, no network, no rights."""
        confine(self._memory)

    def sandbox(self) -> Sandbox:
        """A fresh context."""
        return Sandbox(self._memory)


class Sandbox:
    """One script in one context of at most `memory` bytes."""

    def __init__(self, memory: int) -> None:
        self._context: Final = quickjs.Context()
        self._context.set_memory_limit(memory)
        self._context.set_max_stack_size(_STACK)
        self._outside: Outside | None = None
        self._context.add_callable("ask", self._ask)
        self._context.add_callable("note", self._note)
        self._start: Final = self._context.eval(PRELUDE)

    def run(self, call: Call, outside: Outside) -> Any:
        """Run the script to its end, and its promises to theirs."""
        self._outside = outside
        given: dict[str, Any] = {"source": call.source, "entry": call.entry, "context": call.arguments}
        given |= {"effects": call.effects, "short": dict(SHORT), "files": FILE}
        try:
            text = self._start(json.dumps(given))
            while text == "" and self._context.execute_pending_job():
                pass
            found = json.loads(text or self._start(None) or _PENDING)
            if found["kind"] == "done":
                return handed_over(found["text"])
        except quickjs.StackOverflow:
            raise Failure(f"{call.name}: RangeError: the stack is used up") from None
        except quickjs.JSException as error:
            raise Failure(f"{call.name}: {_sentence(str(error))}") from None
        except ValueError as error:
            raise Failure(f"{call.name}: the result cannot be handed over: {error}") from None
        line = f":{found['line']}" if found["line"] else ""
        raise Failure(f"{call.name}{line}: {found['message']}")

    def _ask(self, text: str) -> str:
        """An effect and its answer, both JSON. It never raises: QuickJS cannot hand on an exception of Python's."""
        assert self._outside is not None
        try:
            action = handed_over(text)
        except ValueError as error:
            return json.dumps(Answer(False, f"the action cannot be handed over: {error}")._asdict())
        return json.dumps(self._outside.ask(action)._asdict())

    def _note(self, level: str, text: str) -> None:
        assert self._outside is not None
        self._outside.note(level, text)


_PENDING: Final = '{"kind": "fail", "message": "the script waits for a promise that nothing keeps", "line": null}'


def _sentence(text: str) -> str:
    """What an exception that the prelude could not catch says."""
    first = text.split("\n", 1)[0]
    return "the script ran out of memory" if "out of memory" in first else first
