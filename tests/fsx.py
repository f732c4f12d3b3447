"""Random operations on one file, compared with a model in memory (after Apple's and LTP's fsx)."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
from pathlib import Path

MOST = 256 * 1024
PAGE = mmap.PAGESIZE
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
_libc = ctypes.CDLL(None, use_errno=True)


class Fsx:
    """The file, its model, and the operations; each keeps the two equal or raises AssertionError with the history."""

    def __init__(self, path: str, seed: int) -> None:
        self.path = path
        self.random = random.Random(seed)
        self.model = bytearray()
        self.history: list[str] = []
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self.operations = (
            self.read,
            self.read,
            self.write,
            self.write,
            self.append,
            self.truncate,
            self.map_read,
            self.map_write,
            self.allocate,
            self.punch,
            self.zero,
            self.copy_range,
            self.close_and_open,
            self.second_descriptor,
            self.sync,
        )

    def run(self, count: int) -> None:
        """`count` operations, the whole file compared now and then."""
        for number in range(count):
            operation = self.random.choice(self.operations)
            operation()
            if number % 200 == 199:
                self.compare()
        self.compare()
        os.close(self.fd)

    def compare(self) -> None:
        """Size and content."""
        size = os.fstat(self.fd).st_size
        assert size == len(self.model), self.report(f"size {size}, expected {len(self.model)}")
        self.equal(0, os.pread(self.fd, size + 10, 0))

    def equal(self, offset: int, data: bytes) -> None:
        """What was read at `offset` is what the model has there."""
        expected = bytes(self.model[offset : offset + len(data)])
        if data != expected:
            at = next((i for i, (a, b) in enumerate(zip(data, expected, strict=False)) if a != b), len(expected))
            raise AssertionError(self.report(f"differs at {offset + at}"))

    def report(self, what: str) -> str:
        """The failure with the last operations."""
        return what + "\n" + "\n".join(self.history[-40:])

    def note(self, text: str) -> None:
        """Remember an operation."""
        self.history.append(text)
        del self.history[:-200]

    def place(self, most: int = MOST) -> tuple[int, int]:
        """An offset and a length ≥ 1 with offset + length ≤ `most`."""
        offset = self.random.randrange(most)
        return offset, self.random.randint(1, min(most - offset, 65_536))

    def grow(self, size: int) -> None:
        """The model is at least `size` long."""
        self.model.extend(bytes(max(0, size - len(self.model))))

    def read(self) -> None:
        """pread, beyond the end too."""
        offset, length = self.place()
        self.note(f"read {offset} {length}")
        data = os.pread(self.fd, length, offset)
        expected = len(self.model[offset : offset + length])
        assert len(data) == expected, self.report(f"read {len(data)} of {expected}")
        self.equal(offset, data)

    def write(self) -> None:
        """pwrite, with holes."""
        offset, length = self.place()
        self.note(f"write {offset} {length}")
        data = self.random.randbytes(length)
        assert os.pwrite(self.fd, data, offset) == length
        self.grow(offset + length)
        self.model[offset : offset + length] = data

    def append(self) -> None:
        """O_APPEND through a descriptor of its own."""
        if len(self.model) > MOST - 5000:
            return
        data = self.random.randbytes(self.random.randint(1, 5000))
        self.note(f"append {len(data)} at {len(self.model)}")
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        assert os.write(fd, data) == len(data)
        os.close(fd)
        self.model += data

    def truncate(self) -> None:
        """By descriptor or by name."""
        size = self.random.randrange(MOST)
        by_name = self.random.random() < 0.5
        self.note(f"truncate {size} {'name' if by_name else 'fd'}")
        if by_name:
            os.truncate(self.path, size)
        else:
            os.ftruncate(self.fd, size)
        del self.model[size:]
        self.grow(size)

    def map_read(self) -> None:
        """A shared mapping."""
        if not self.model:
            return
        offset, length = self.place(len(self.model))
        self.note(f"map_read {offset} {length}")
        start = offset // PAGE * PAGE
        with mmap.mmap(self.fd, offset - start + length, mmap.MAP_SHARED, mmap.PROT_READ, offset=start) as view:
            self.equal(offset, view[offset - start :])

    def map_write(self) -> None:
        """A shared mapping, synced or left to the kernel."""
        if not self.model:
            return
        offset, length = self.place(len(self.model))
        self.note(f"map_write {offset} {length}")
        start = offset // PAGE * PAGE
        data = self.random.randbytes(length)
        with mmap.mmap(self.fd, offset - start + length, mmap.MAP_SHARED, offset=start) as view:
            view[offset - start :] = data
            if self.random.random() < 0.5:
                view.flush()
        self.model[offset : offset + length] = data

    def allocate(self) -> None:
        """fallocate, with and without a change of size."""
        offset, length = self.place()
        mode = self.random.choice((0, KEEP_SIZE))
        self.note(f"fallocate {mode} {offset} {length}")
        if self.fallocate(mode, offset, length) and mode == 0:
            self.grow(offset + length)

    def punch(self) -> None:
        """A hole reads as zeros."""
        offset, length = self.place()
        self.note(f"punch {offset} {length}")
        if self.fallocate(PUNCH_HOLE | KEEP_SIZE, offset, length):
            end = min(offset + length, len(self.model))
            if end > offset:
                self.model[offset:end] = bytes(end - offset)

    def zero(self) -> None:
        """A range of zeros, that the file may have to grow for."""
        offset, length = self.place()
        mode = ZERO_RANGE | self.random.choice((0, KEEP_SIZE))
        self.note(f"zero {mode} {offset} {length}")
        if self.fallocate(mode, offset, length):
            if mode == ZERO_RANGE:
                self.grow(offset + length)
            end = min(offset + length, len(self.model))
            if end > offset:
                self.model[offset:end] = bytes(end - offset)

    def fallocate(self, mode: int, offset: int, length: int) -> bool:
        """Whether this filesystem can."""
        return _libc.fallocate(self.fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) == 0

    def copy_range(self) -> None:
        """copy_file_range within the file."""
        if len(self.model) < 3:
            return
        half = len(self.model) // 2
        source, length = self.random.randrange(half), self.random.randint(1, half)
        target = self.random.randint(source + length, MOST)
        self.note(f"copy_range {source} -> {target} {length}")
        if target + length > MOST:
            return
        count = os.copy_file_range(self.fd, self.fd, length, source, target)
        data = bytes(self.model[source : source + count])
        self.grow(target + count)
        self.model[target : target + count] = data

    def close_and_open(self) -> None:
        """Caches are dropped, or rightly kept."""
        self.note("close_and_open")
        os.close(self.fd)
        self.fd = os.open(self.path, os.O_RDWR)

    def second_descriptor(self) -> None:
        """Written through one descriptor, read through another."""
        offset, length = self.place()
        self.note(f"second {offset} {length}")
        data = self.random.randbytes(length)
        fd = os.open(self.path, os.O_RDWR)
        assert os.pwrite(fd, data, offset) == length
        self.grow(offset + length)
        self.model[offset : offset + length] = data
        self.equal(offset, os.pread(self.fd, length, offset))
        os.close(fd)

    def sync(self) -> None:
        """fsync or fdatasync."""
        self.note("sync")
        self.random.choice((os.fsync, os.fdatasync))(self.fd)


def run(directory: Path, seed: int, operations: int) -> None:
    """Random operations on a new file; raises AssertionError with the last of them where it is not the model's."""
    path = directory / f"file-{seed}"
    fsx = Fsx(str(path), seed)
    fsx.run(operations)
    assert path.read_bytes() == bytes(fsx.model)
    path.unlink()
