"""Scripts in files of the workflows directory, read anew for each run: an edited script counts from its next run on."""

from __future__ import annotations

import base64
import os
import stat
from typing import Final

import trio

from automation.errors import WorldError

MOST_BYTES: Final = 1 << 20
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class ScriptFiles:
    """Reads scripts beneath the directory `directory_fd` (borrowed), which messages call `shown`."""

    def __init__(self, directory_fd: int, shown: str) -> None:
        self._directory_fd: Final = directory_fd
        self._shown: Final = shown

    async def text(self, path: str) -> str:
        """The content of a file, in base64 when it is binary (`.wasm`). WorldError when it cannot be had."""
        data = await trio.to_thread.run_sync(self._read, path)
        return base64.b64encode(data).decode() if path.endswith(".wasm") else data.decode("utf-8", "surrogateescape")

    def _read(self, path: str) -> bytes:
        try:
            fd = self._open(path)
        except OSError as error:
            raise WorldError(f"cannot read the script {path!r} in {self._shown}: {error.strerror}") from None
        with os.fdopen(fd, "rb") as stream:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise WorldError(f"the script {path!r} in {self._shown} is no regular file")
            data = stream.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise WorldError(f"the script {path!r} in {self._shown} is larger than {MOST_BYTES >> 20} MiB")
        return data

    def _open(self, path: str) -> int:
        """Name by name, following no link: what is opened lies in the directory."""
        *directories, name = path.split("/")
        if not {"", ".", ".."}.isdisjoint((*directories, name)):
            raise WorldError(f"{path!r} is no script in {self._shown}; name it as it lies beneath that directory")
        at = os.dup(self._directory_fd)
        try:
            for directory in directories:
                inner = os.open(directory, _FLAGS | os.O_DIRECTORY, dir_fd=at)
                os.close(at)
                at = inner
            return os.open(name, _FLAGS, dir_fd=at)
        finally:
            os.close(at)
