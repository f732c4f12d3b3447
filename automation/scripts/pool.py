"""Worker processes for scripts, each of one language: started at first use, two at work at a time, killed when one
misbehaves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final

import trio

from automation.errors import TimedOut, VexError, WorldError
from automation.identity import Identity
from automation.scripts import frames
from automation.scripts.api import Effects
from automation.scripts.call import MOST_NOTES
from automation.scripts.frames import Message
from automation.scripts.instances import PLAIN, Instances, Scale
from automation.scripts.process import Worker
from automation.scripts.quota import Meter, WorkerQuota

Perform = Callable[[dict[str, Any]], Awaitable[Any]]

MEMORY: Final = 64 << 20
GRACE: Final = 0.1  # seconds past its deadline in which a language may stop a script by itself, which saves the worker
_ANSWERS: Final = ("effect", "done", "fail", "late")
_MANY: Final = 1 << 30
_WAIT: Final = "wait"
_LONGEST: Final = 10 * 365 * 86_400  # seconds


class ScriptPool:
    """Runs scripts, one per worker at a time.

    As many scripts compute at once as `scale` says, further ones queue; a script that waits for an effect does not
    count, but at most `most` are under way in all. As many idle workers of each language are kept warm. Each script
    has a fresh interpreter of at most `memory` bytes, and may ask for the `effects`. `text` gives the script of a file,
    `tables` what SQL sees. Call from the trio thread; `aclose` when done.
    """

    def __init__(
        self,
        effects: Effects = MappingProxyType({}),
        *,
        scale: Scale = PLAIN,
        most: int = 16,
        memory: int = MEMORY,
        identity: Identity | None = None,
        quota: WorkerQuota | None = None,
    ) -> None:
        self.quota: Final = quota or WorkerQuota()
        self.text: Callable[[str], Awaitable[str]] = _no_files
        self.tables: Callable[[], Awaitable[dict[str, Any]]] = _no_tables
        self._effects: Final = effects
        self._identity: Final = identity
        self._memory: Final = self.quota.share(memory)
        self._most: Final = self.quota.workers(_MANY, self._memory)
        self.instances: Final = Instances(scale)
        self._under_way: Final = trio.Semaphore(self.quota.workers(most, self._memory))
        self._idle: Final[dict[str, list[Worker]]] = defaultdict(list)  # by language
        self._all: Final[dict[Worker, str]] = {}  # and their languages
        self._meters: Final[dict[Worker, Meter]] = {}
        self._closed = False
        self.started = 0
        self.killed = 0

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers."""
        return sorted(worker.pid for worker in self._all)

    @property
    def held(self) -> int:
        """How many bytes its workers may hold at most."""
        return len(self._all) * self._memory

    @property
    def status(self) -> dict[str, Any]:
        """Plain values: how many workers there are, were started and killed, and what they may use and used."""
        return {
            "workers": len(self._all),
            "started": self.started,
            "killed": self.killed,
            "memory_per_worker": self._memory,
            **self.quota.as_dict(),
        }

    async def run(
        self,
        source: str,
        entry: str | None,
        arguments: Mapping[str, Any],
        perform: Perform,
        timeout: float = 5.0,  # noqa: ASYNC109 - bounds computing, not waiting
        *,
        name: str = "script",
        language: str = "lua",
        fuel: int | None = None,
    ) -> Any:
        """Run a script; what it returns, as a JSON value.

        `entry` names the function to call (`steps.1.run` of a declared workflow, or a global one), None runs the
        text itself. The `arguments` are global variables of the script and fields of the function's one argument.
        Each effect is handed to `perform`; what that raises of ours becomes an error at the line that asked.
        `timeout` is the script's own computing time in seconds, waiting for effects excluded; `fuel` bounds
        the instructions of WebAssembly.

        WorldError with the line when the script fails, TimedOut when it computes too long; both cost no more
        than its worker. QuotaExceeded when the quota's CPU time is used up, before or meanwhile.
        """
        self.quota.require()
        call: Message = {"op": "call", "source": source, "name": name, "entry": entry, "timeout": timeout}
        call |= {"arguments": dict(arguments), "effects": dict(self._effects), "fuel": fuel}
        async with self._under_way, self._worker(language) as worker:
            return await _Conversation(worker, self._meters[worker], self.instances, perform, timeout).hold(
                await _encoded(call)
            )

    async def aclose(self) -> None:
        """Kill all workers; scripts under way fail."""
        self._closed = True
        for worker in list(self._all):
            await self._discard(worker)
        self._idle.clear()

    async def __aenter__(self) -> ScriptPool:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    @asynccontextmanager
    async def _worker(self, language: str) -> AsyncIterator[Worker]:
        worker = await self._take(language)
        try:
            yield worker
        except _Failed as failure:
            await self._hand_back(worker)
            raise failure.error from None
        except BaseException:
            await self._discard(worker)
            raise
        await self._hand_back(worker)

    async def _take(self, language: str) -> Worker:
        idle = self._idle[language]
        while True:
            if self._closed:
                raise WorldError("scripts cannot run any more: VexFS is stopping")
            fresh = not idle
            worker = idle.pop() if idle else await self._start(language)
            try:
                await worker.ready()
            except WorldError:
                await self._discard(worker)
                if fresh:
                    raise
            except BaseException:
                await self._discard(worker)
                raise
            else:
                return worker

    async def _start(self, language: str) -> Worker:
        await self._make_room()
        memory = str(self._memory)
        worker = await Worker.start("script", "automation.scripts.worker", language, memory, identity=self._identity)
        self._all[worker] = language
        self._meters[worker] = Meter(self.quota, worker.pid)
        self.started += 1
        return worker

    async def _make_room(self) -> None:
        """End idle workers of other languages where more would be too many."""
        idle = [worker for workers in self._idle.values() for worker in workers]
        for worker in idle[: max(0, len(self._all) - self._most + 1)]:
            self._idle[self._all[worker]].remove(worker)
            await self._discard(worker)

    async def _hand_back(self, worker: Worker) -> None:
        language = self._all.get(worker)
        if language is not None and len(self._idle[language]) < self.instances.count:
            self._idle[language].append(worker)
        else:
            await self._discard(worker)

    async def _discard(self, worker: Worker) -> None:
        if worker in self._all:
            del self._all[worker], self._meters[worker]
            self.killed += 1
            await worker.kill()


async def _no_files(path: str) -> str:
    raise WorldError(f"cannot read the script {path!r}: there is no directory of workflows")


async def _no_tables() -> dict[str, Any]:
    return {}


class _Failed(Exception):  # noqa: N818 - not an error of ours: it carries one past the worker, which is still good
    def __init__(self, error: WorldError) -> None:
        self.error = error


class _Conversation:
    """One call of one script."""

    def __init__(self, worker: Worker, meter: Meter, computing: Instances, perform: Perform, timeout: float) -> None:
        self._worker: Final = worker
        self._meter: Final = meter
        self._computing: Final = computing
        self._perform: Final = perform
        self._timeout: Final = timeout
        self._left = timeout + GRACE
        self._last: VexError | None = None

    async def hold(self, message: bytes) -> Any:
        """The script's result; `message` is its call."""
        while True:
            async with self._computing:
                answer = await self._compute(message)
            for note in answer["notes"]:
                await self._perform({"type": "log", "message": str(note["message"]), "level": _level(note["level"])})
            if answer["op"] == "done":
                return answer["value"]
            if answer["op"] == "late":
                raise _Failed(self._late())
            if answer["op"] == "fail":
                raise _Failed(self._failure(str(answer["value"])))
            message = await _encoded(await self._effect(answer["value"]))

    async def _compute(self, message: bytes) -> Message:
        started = trio.current_time()
        with trio.move_on_after(self._left) as scope:
            answer = _checked(await self._meter.metered(lambda: self._worker.exchange(message)))
        self._left = max(0.0, self._left - (trio.current_time() - started))
        if scope.cancelled_caught:
            raise self._late()
        return answer

    def _late(self) -> TimedOut:
        return TimedOut(f"the script computed longer than {self._timeout:g} s and was stopped")

    async def _effect(self, action: Any) -> Message:
        try:
            if not isinstance(action, dict):
                raise WorldError("a script may only yield a table that names an action's type")
            if action.get("type") == _WAIT:
                await trio.sleep(_seconds(action.get("seconds")))
                value = None
            else:
                value = await self._perform(action)
        except VexError as error:
            self._last = error
            return {"op": "reply", "ok": False, "value": str(error)}
        return {"op": "reply", "ok": True, "value": value}

    def _failure(self, message: str) -> WorldError:
        late = isinstance(self._last, TimedOut) and message.endswith(str(self._last))
        return TimedOut(message) if late else WorldError(message)


async def _encoded(message: Message) -> bytes:
    """What a worker is sent; whole tables are some megabytes, which the mount must not wait for."""
    try:
        if "tables" in message.get("arguments", ()):
            return await trio.to_thread.run_sync(frames.encode, message)
        return frames.encode(message)
    except ValueError as error:
        raise WorldError(f"the script cannot be given its arguments: {error}") from None


def _checked(answer: Message) -> Message:
    """An answer of the form that the protocol has: who speaks for the worker by now is not known."""
    notes: Any = answer.get("notes")
    known = answer.get("op") in _ANSWERS and (answer["op"] == "late" or "value" in answer)
    if not known or not isinstance(notes, list) or not all(map(_is_note, notes)):
        raise WorldError("the script's worker broke off: what it said is no answer")
    return {**answer, "notes": notes[:MOST_NOTES]}


def _is_note(note: object) -> bool:
    return isinstance(note, dict) and note.keys() >= {"level", "message"}


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST:
        raise WorldError(f"wait takes a number of seconds, at most {_LONGEST}")
    return value


def _level(text: object) -> str:
    return text if isinstance(text, str) and text in ("debug", "info", "warning", "error") else "info"
