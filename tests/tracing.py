"""Reads and writes of a traced file, and the events that must tell of each."""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from tests.listening import Listener
from tests.posix.children import Child

_SIZE = 1 << 20
_MOST = 4096


def _operations(count: int) -> Iterator[tuple[str, int, int]]:
    """(type, offset, length) of each, the same at every call."""
    dice = random.Random(count)
    for _ in range(count):
        yield dice.choice(("file.read", "file.written")), dice.randrange(_SIZE), dice.randint(1, _MOST)


def _perform(path: Path, count: int) -> None:
    data = bytes(_MOST)
    fd = os.open(path, os.O_RDWR)
    for kind, offset, length in _operations(count):
        if kind == "file.read":
            assert len(os.pread(fd, length, offset)) == length
        else:
            assert os.pwrite(fd, data[:length], offset) == length
    os.close(fd)


def trace(mountpoint: Path, count: int) -> None:
    """Another process does `count` reads and writes; every event is there, exact and in order, or AssertionError."""
    path = mountpoint / "traced"
    path.write_bytes(bytes(_SIZE + _MOST))
    with Listener(mountpoint, "file.read,file.written") as events:
        worker = Child(lambda: _perform(path, count))
        expected, number, heard = _operations(count), 0, time.monotonic()
        while number < count:
            assert time.monotonic() - heard < 60, f"{number} events of {count}, then none for a minute"
            time.sleep(0.01)  # some hundred at a time cost the mount less than one by one
            for event in events.take():
                found = (event["type"], event.get("offset"), event.get("length"))
                wanted = next(expected)
                assert found == wanted, f"operation {number}: {found} instead of {wanted}; {event}"
                number, heard = number + 1, time.monotonic()
        worker.result()
