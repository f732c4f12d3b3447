"""set-uid and set-gid bits and capabilities: what clears them, and what they do."""

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from tests.posix.calls import attempt, make, mode, opened
from tests.posix.children import ALICE, BOB, CAROL, STAFF, User, as_user, in_child

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service, effective
BITS = (0o4777, 0o2777, 0o6777, 0o2767, 0o6766)


def by_each_bit(directory: Path, work: Callable[[Path], object], user: User | None = ALICE) -> dict[str, str]:
    """Mode before → mode after `work(path)` by `user` on a file that is not his."""
    result = {}
    for bits in BITS:
        path = make(directory / oct(bits), b"some text", owner=(BOB.uid, BOB.gid))
        path.chmod(bits)
        in_child(lambda path=path: work(path), user)  # type: ignore[misc]
        result[oct(bits)] = mode(path)
    return result


def writes(path: Path, flags: int = os.O_WRONLY) -> object:
    """One write of one byte."""
    with opened(path, flags) as fd:
        return os.write(fd, b"x")


def check_write(directory: Path) -> object:
    """An unprivileged write clears set-uid, and set-gid where the group may execute."""
    result = by_each_bit(directory, writes)
    assert result["0o4777"] == result["0o2777"] == result["0o6777"] == "0o777"
    return result


def check_append_and_positioned(directory: Path) -> object:
    """So do append, pwrite and writev."""

    def work(path: Path) -> None:
        with opened(path, os.O_RDWR | os.O_APPEND) as fd:
            os.writev(fd, [b"x", b"y"])

    result = by_each_bit(directory, work)
    (directory / "more").mkdir()
    other = by_each_bit(directory / "more", lambda path: os.close(os.open(path, os.O_RDWR)) or _pwrite(path))
    assert result == other
    return result


def _pwrite(path: Path) -> None:
    with opened(path, os.O_RDWR) as fd:
        os.pwrite(fd, b"x", 3)


def check_write_by_root(directory: Path) -> object:
    """A write by root keeps the bits."""
    result = by_each_bit(directory, writes, None)
    assert all(before == after for before, after in result.items())
    return result


def check_second_write(directory: Path) -> object:
    """Bits set again while the file is open are cleared by the next write again."""
    path = make(directory / "file", b"text", owner=ALICE.owner)

    def work() -> object:
        seen = []
        with opened(path, os.O_RDWR) as fd:
            for _ in range(3):
                os.fchmod(fd, 0o4755)
                os.write(fd, b"x")
                seen.append(mode(fd))
        return seen

    result = as_user(ALICE, work)
    assert result == ["0o755"] * 3
    return result


def check_write_through_an_old_descriptor(directory: Path) -> object:
    """A descriptor opened before the bits were set clears them too; one that root opened and a user writes through."""
    path = make(directory / "file", b"text", 0o777)
    with opened(path, os.O_RDWR) as fd:
        path.chmod(0o6777)
        as_user(ALICE, os.write, fd, b"x")
        result = mode(path)
    assert result == "0o777"
    return result


def check_truncate(directory: Path) -> object:
    """truncate and ftruncate by an unprivileged user clear them."""

    def by_descriptor(path: Path) -> None:
        with opened(path, os.O_RDWR) as fd:
            os.ftruncate(fd, 2)

    result = [by_each_bit(directory, lambda path: os.truncate(path, 3))]
    (directory / "fd").mkdir()
    result.append(by_each_bit(directory / "fd", by_descriptor))
    assert result[0]["0o6777"] == result[1]["0o6777"] == "0o777"
    return result


def check_truncate_to_same_size(directory: Path) -> object:
    """Truncation to the present size."""
    return by_each_bit(directory, lambda path: os.truncate(path, 9))


def check_truncating_open(directory: Path) -> object:
    """A truncating open by an unprivileged user clears them, without a write."""
    result = by_each_bit(directory, lambda path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)))
    assert result["0o6777"] == "0o777"
    return result


def check_truncating_open_of_empty_file(directory: Path) -> object:
    """The same when there was nothing to truncate."""
    path = make(directory / "file", owner=BOB.owner)
    path.chmod(0o6777)
    as_user(ALICE, lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)))
    return mode(path)


def check_truncate_by_root(directory: Path) -> object:
    """Root's truncations keep the bits."""
    result = by_each_bit(directory, lambda path: os.truncate(path, 3), None)
    assert result["0o6777"] == "0o6777"
    return result


def check_reading_keeps(directory: Path) -> object:
    """Opening, reading, an empty write and fsync clear nothing."""

    def work(path: Path) -> None:
        with opened(path, os.O_RDWR) as fd:
            os.read(fd, 5)
            os.write(fd, b"")
            os.fsync(fd)

    result = by_each_bit(directory, work)
    assert all(before == after for before, after in result.items())
    return result


def check_rename_and_link_keep(directory: Path) -> object:
    """rename and link keep the bits and the capability."""
    path = make(directory / "file", owner=BOB.owner)
    path.chmod(0o6755)
    os.setxattr(path, "security.capability", CAPABILITY)
    os.link(path, directory / "link")
    path.rename(directory / "moved")
    result = mode(directory / "moved"), os.getxattr(directory / "link", "security.capability") == CAPABILITY
    assert result == ("0o6755", True)
    return result


def check_copy_file_range(directory: Path) -> object:
    """copy_file_range into a file clears them."""
    source = make(directory / "source", b"data", 0o644)

    def work(path: Path) -> object:
        with opened(source, os.O_RDONLY) as from_fd, opened(path, os.O_WRONLY) as to_fd:
            return os.copy_file_range(from_fd, to_fd, 4)

    result = by_each_bit(directory, work)
    assert result["0o6777"] == "0o777"
    return result


def check_sendfile_and_splice(directory: Path) -> object:
    """sendfile into a file clears them."""
    source = make(directory / "source", b"data", 0o644)

    def work(path: Path) -> object:
        with opened(source, os.O_RDONLY) as from_fd, opened(path, os.O_WRONLY) as to_fd:
            return os.sendfile(to_fd, from_fd, 0, 4)

    result = by_each_bit(directory, work)
    assert result["0o6777"] == "0o777"
    return result


def check_capability_cleared_by_write(directory: Path) -> object:
    """A write, a truncation and a change of owner remove the capability of a file, root's too."""
    works: dict[str, Callable[[Path], object]] = {
        "write": writes,
        "truncate": lambda path: os.truncate(path, 2),
        "open": lambda path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)),
        "chown": lambda path: os.chown(path, 5, 5),
        "chmod": lambda path: os.chmod(path, 0o700),
        "read": lambda path: path.read_bytes(),
        "append": lambda path: writes(path, os.O_WRONLY | os.O_APPEND),
    }
    result = {}
    for name, work in works.items():
        path = make(directory / name, b"text", 0o755)
        os.setxattr(path, "security.capability", CAPABILITY)
        work(path)
        result[name] = "kept" if attempt(os.getxattr, path, "security.capability") == CAPABILITY else "gone"
    assert (result["write"], result["read"], result["chmod"]) == ("gone", "kept", "kept")
    return result


def check_capability_cleared_by_user(directory: Path) -> object:
    """The same by an unprivileged user, several writes in a row."""
    path = make(directory / "file", b"text", 0o777)
    os.setxattr(path, "security.capability", CAPABILITY)

    def work() -> object:
        with opened(path, os.O_WRONLY) as fd:
            return [os.write(fd, b"x") for _ in range(3)]

    as_user(ALICE, work)
    result = attempt(os.getxattr, path, "security.capability")
    assert result == "ENODATA"
    return result


def check_chown_then_write(directory: Path) -> object:
    """The group's member who writes a set-gid file clears its set-gid bit."""
    path = make(directory / "file", b"text", owner=(ALICE.uid, STAFF))
    path.chmod(0o2775)
    result = [as_user(CAROL, writes, path), mode(path)]
    assert result == [1, "0o775"]
    return result


def check_set_uid_program(directory: Path) -> object:
    """A set-uid program runs as its owner, a set-gid one with its group."""
    program = directory / "id"
    shutil.copy("/usr/bin/id", program)
    result = []
    for owner, bits in (((BOB.uid, BOB.gid), 0o4755), ((0, STAFF), 0o2755), ((BOB.uid, BOB.gid), 0o755)):
        os.chown(program, *owner)
        os.chmod(program, bits)
        result.append([as_user(ALICE, _output, str(program), option) for option in ("-u", "-g")])
    program.unlink()
    assert result == [["12002", "12001"], ["12001", "12100"], ["12001", "12001"]]
    return result


def _output(*command: str) -> str:
    """What a program prints; spawned without subprocess, which is not made for forked children."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 1)
        try:
            os.execv(command[0], command)
        except OSError as error:
            os.write(1, type(error).__name__.encode())
        os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode().strip()
    os.waitpid(pid, 0)
    return text
