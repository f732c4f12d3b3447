"""Programs that lie on the filesystem."""

import os
import shutil
import time
from pathlib import Path

from tests.posix.calls import attempt, make, try_open
from tests.posix.children import ALICE, User, as_user


def run(*command: str) -> object:
    """The exit status of a program, or the errno's name when it cannot be started."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        outcome = attempt(os.execv, command[0], command)
        os.write(write, str(outcome).encode())
        os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        failure = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    return failure or os.waitstatus_to_exitcode(status)


def program(directory: Path, bits: int = 0o755) -> Path:
    """A copy of /bin/true."""
    path = directory / "program"
    shutil.copy("/bin/true", path)
    path.chmod(bits)
    return path


def check_binary(directory: Path) -> object:
    """A binary runs, many times."""
    path = program(directory)
    result = [run(str(path)) for _ in range(10)]
    path.unlink()
    assert result == [0] * 10
    return result


def check_script(directory: Path) -> object:
    """A script runs by its first line; without one it is ENOEXEC."""
    make(directory / "script", b"#!/bin/sh\nexit 7\n", 0o755)
    make(directory / "plain", b"exit 7\n", 0o755)
    make(directory / "lost", b"#!/none/such\n", 0o755)
    make(directory / "empty", b"", 0o755)
    result = [run(str(directory / name)) for name in ("script", "plain", "lost", "empty")]
    assert result == [7, "ENOEXEC", "ENOENT", "ENOEXEC"]
    return result


def check_permission(directory: Path) -> object:
    """Execution needs the bit of one's class; root needs any one."""
    path, result = program(directory), {}
    for bits in (0o755, 0o744, 0o655, 0o711, 0o644):
        path.chmod(bits)
        result[oct(bits)] = [as_user(ALICE, run, str(path)), run(str(path))]
    path.unlink()
    assert result["0o644"] == ["EACCES", "EACCES"]
    assert result["0o711"] == [0, 0]
    assert result["0o655"][1] == 0
    return result


def check_group_permission(directory: Path) -> object:
    """The group's bit counts for members."""
    path = program(directory, 0o710)
    os.chown(path, 0, 777)
    result = [as_user(User(12001, 777), run, str(path)), as_user(User(12001, 1, (777,)), run, str(path))]
    result.append(as_user(ALICE, run, str(path)))
    path.unlink()
    assert result == [0, 0, "EACCES"]
    return result


def check_directories_and_links(directory: Path) -> object:
    """A directory is EACCES, a link is followed, nothing is ENOENT."""
    path = program(directory)
    (directory / "dir").mkdir()
    (directory / "link").symlink_to("program")
    result = [run(str(directory / name)) for name in ("dir", "link", "none", "program/x")]
    path.unlink()
    assert result == ["EACCES", 0, "ENOENT", "ENOTDIR"]
    return result


def check_running_program_cannot_be_written(directory: Path) -> object:
    """A running program is ETXTBSY to writers but can be replaced; one that is being written is ETXTBSY to run."""
    path = directory / "sleep"
    shutil.copy("/bin/sleep", path)
    pid = os.fork()
    if pid == 0:
        os.execv(path, ["sleep", "60"])
    while os.readlink(f"/proc/{pid}/exe") != str(path):
        time.sleep(0.005)
    result = [try_open(path, os.O_WRONLY), attempt(os.truncate, path, 0)]
    shutil.copy("/bin/true", directory / "new")
    (directory / "new").rename(path)
    result.append(try_open(path, os.O_WRONLY))
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    fd = os.open(path, os.O_WRONLY)
    result.append(run(str(path)))
    os.close(fd)
    result.append(run(str(path)))
    path.unlink()
    assert result == ["ETXTBSY", "ETXTBSY", "opened", "ETXTBSY", 0]
    return result


def check_fresh_binary(directory: Path) -> object:
    """A program that was written a moment ago, as compilers do, runs."""
    data = Path("/bin/true").read_bytes()
    result = []
    for number in range(5):
        path = directory / str(number)
        path.write_bytes(data)
        path.chmod(0o755)
        result.append(run(str(path)))
        path.unlink()
    assert result == [0] * 5
    return result
