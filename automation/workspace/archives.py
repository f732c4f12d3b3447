"""The formats of archives: by name, and their compressed streams."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, Final

from automation.identity import Identity, resting
from automation.workspace import stats
from automation.workspace.beneath import Root
from automation.workspace.copying import Check
from automation.workspace.watching import watching

_SUFFIXES: Final = {".tar.gz": "tar.gz", ".tgz": "tar.gz", ".tar.zst": "tar.zst", ".tar": "tar", ".zip": "zip"}
CHUNK: Final = 1 << 20


class ArchiveError(OSError):
    """The archive is broken, or is refused."""


def refused(reason: str) -> ArchiveError:
    """An error of one sentence."""
    return ArchiveError(0, reason)


def form_of(name: str) -> str | None:
    """The format that the end of a name tells."""
    return next((form for suffix, form in _SUFFIXES.items() if name.lower().endswith(suffix)), None)


def watch(progress: Callable[[int, int], None], sources: Sequence[str]) -> Callable[[Root], Check]:
    """For a root, what is told of each piece."""
    return lambda root: watching(progress, lambda: sum(stats.weigh(root, source) for source in sources))


@contextmanager
def compressed(form: str, raw: IO[bytes], identity: Identity | None) -> Iterator[IO[bytes]]:
    """A stream to write the archive into."""
    if form == "tar":
        yield raw
    elif form == "tar.gz":
        with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as stream:
            yield stream  # type: ignore[misc]  # it is written, which is all that is needed
    else:
        with _zstd(["-q", "-c", "-T1"], identity, stdin=subprocess.PIPE, stdout=raw) as process:
            assert process.stdin is not None
            yield process.stdin
            process.stdin.close()


@contextmanager
def _zstd(
    words: list[str], identity: Identity | None, stdin: int | IO[bytes], stdout: int | IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    program = shutil.which("zstd")
    if program is None:
        raise refused("tar.zst needs the program zstd: install the package zstd")
    options: dict[str, Any] = {"stdin": stdin, "stdout": stdout, "stderr": subprocess.PIPE}
    command = [program, *words]
    process = subprocess.Popen(command, **options) if identity is None else identity.started(command, **options)
    try:
        yield process
        if process.stdout is not None:
            process.stdout.close()
        said = process.stderr.read().decode("utf-8", "replace").strip() if process.stderr else ""
        if process.wait() != 0:
            raise refused(f"zstd failed: {said or process.returncode}")
    finally:
        with resting(identity):
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


@contextmanager
def expanded(raw: IO[bytes], form: str, identity: Identity | None) -> Iterator[IO[bytes]]:
    """A stream to read the archive from."""
    if form == "tar":
        yield raw
    elif form == "tar.gz":
        with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
            yield stream  # type: ignore[misc]  # it reads, which is all that is needed
    else:
        with _zstd(["-q", "-d", "-c"], identity, stdin=raw, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            yield process.stdout
            while process.stdout.read(CHUNK):
                pass
