"""ONNX models in worker processes: one process a model, warm between calls, killed when it takes too long."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import trio

from automation.breakers import Harmless
from automation.errors import QuotaExceeded, TimedOut, WorldError
from automation.identity import Identity, acting
from automation.scripts import frames
from automation.scripts.process import Worker
from automation.scripts.quota import Meter, WorkerQuota

LARGEST: Final = 512 << 20  # bytes of a model
MOST: Final = 1_000_000  # elements of an input or output
_LIBRARIES: Final = 320 << 20  # bytes of address space that an idle worker has, and some
_WARM: Final = 4  # processes; of more models, the one that was not used for longest loses its own
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model's name, its file, and the state in which the file is."""

    name: str
    path: str
    state: tuple[int, int, int]


class _Loaded:
    """A process with its model, and whose turn it is to ask."""

    def __init__(self, worker: Worker, meter: Meter) -> None:
        self.worker: Final = worker
        self._meter: Final = meter
        self.turn: Final = trio.Lock()

    async def ask(self, message: frames.Message) -> frames.Message:
        try:
            data = frames.encode(message)
        except ValueError as error:
            raise Harmless(WorldError(f"the input is {error}")) from None
        return await self._meter.metered(lambda: self.worker.exchange(data))


class Models:
    """The models of a directory, `NAME.onnx`. A file that changed is loaded anew. Call from the trio thread."""

    def __init__(
        self, directory: str | None = None, *, identity: Identity | None = None, quota: WorkerQuota | None = None
    ) -> None:
        self.directory: Final = directory
        self._identity: Final = identity
        self.quota: Final = quota or WorkerQuota()
        self._workers: Final[OrderedDict[tuple[Any, ...], _Loaded]] = OrderedDict()
        self._starting: Final = trio.Lock()

    @property
    def warm(self) -> list[int]:
        """The process ids of the workers."""
        return [one.worker.pid for one in self._workers.values()]

    async def find(self, name: str) -> ModelFile:
        """The file of a model; WorldError when there is none, or it is too large."""
        return await trio.to_thread.run_sync(self._find, name)

    async def infer(
        self,
        model: ModelFile,
        inputs: dict[str, Any],
        *,
        sha256: str = "",
        memory: int = 4 << 30,
        timeout: float = 30.0,  # noqa: ASYNC109 - it costs the worker too
    ) -> dict[str, Any]:
        """The outputs by their names, as nested lists. TimedOut, a crash or a cancelled call cost that worker only."""
        with trio.move_on_after(timeout):
            try:
                async with self._worker(model, sha256, self._space(memory)) as worker:
                    answer = await worker.ask({"inputs": inputs})
            except QuotaExceeded as error:
                raise Harmless(error) from None
            if "error" in answer:
                raise Harmless(WorldError(f"the model '{model.name}' failed: {answer['error']}"))
            return dict(answer["outputs"])
        raise TimedOut(f"the model '{model.name}' took longer than {timeout:g} s")

    def _space(self, memory: int) -> int:
        """Bytes of address space, which the libraries take too."""
        return min(memory, self.quota.share(memory) + _LIBRARIES)

    def _find(self, name: str) -> ModelFile:
        with acting(self._identity):
            return self._found(name)

    def _found(self, name: str) -> ModelFile:
        if self.directory is None:
            raise WorldError("there is no directory of models: name one as `models` in the configuration")
        if not _NAME.match(name):
            raise WorldError(f"{name!r} is no name of a model: write letters, digits, '.', '_' and '-'")
        path = os.path.join(self.directory, name if name.endswith(".onnx") else f"{name}.onnx")
        if not os.path.isfile(path):
            raise WorldError(f"there is no model '{name}' in {self.directory}")
        info = os.stat(path)
        if info.st_size > LARGEST:
            raise WorldError(f"the model '{name}' is larger than {LARGEST >> 20} MiB")
        return ModelFile(name, path, (info.st_ino, info.st_mtime_ns, info.st_size))

    async def aclose(self) -> None:
        """Kill all workers."""
        while self._workers:
            await self._workers.popitem()[1].worker.kill()

    @asynccontextmanager
    async def _worker(self, model: ModelFile, sha256: str, memory: int) -> AsyncIterator[_Loaded]:
        """A loaded worker in its turn; whoever leaves it in the middle of an exchange has it killed."""
        key = (model.path, model.state, sha256, memory)
        async with self._starting:
            loaded = self._workers.get(key)
            if loaded is None:
                loaded = await self._start(model.path, sha256, memory)
                self._workers[key] = loaded
                await self._make_room(self.quota.workers(_WARM, key[-1] - _LIBRARIES))
            self._workers.move_to_end(key)
        async with loaded.turn:
            try:
                yield loaded
            except Harmless:
                raise
            except BaseException:
                if self._workers.get(key) is loaded:
                    del self._workers[key]
                await loaded.worker.kill()
                raise

    async def _start(self, path: str, sha256: str, memory: int) -> _Loaded:
        worker = await Worker.start("model", "automation.actions.inference_worker", identity=self._identity)
        loading = _Loaded(worker, Meter(self.quota, worker.pid))
        settings = {"path": path, "sha256": sha256, "memory": memory, "most": MOST, "largest": LARGEST}
        loaded = False
        try:
            answer = await loading.ask(settings)
            loaded = "error" not in answer
        finally:
            if not loaded:
                await loading.worker.kill()
        if not loaded:
            raise Harmless(WorldError(answer["error"]))
        return loading

    async def _make_room(self, most: int) -> None:
        idle = [key for key, worker in self._workers.items() if not worker.turn.locked()]
        for key in idle[: max(0, len(self._workers) - most)]:
            if key != next(reversed(self._workers)):
                await self._workers.pop(key).worker.kill()
