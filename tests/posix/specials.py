"""Fifos, sockets and device nodes."""

import errno
import os
import select
import signal
import socket
import stat
from pathlib import Path

from tests.posix.calls import attempt, kind, make, names, opened, shape, try_open
from tests.posix.children import ALICE, Steps, as_user


def check_fifo_carries_data(directory: Path) -> object:
    """What one process writes into a fifo another reads, and then its end."""
    path = directory / "fifo"
    os.mkfifo(path, 0o622)

    def write() -> int:
        with opened(path, os.O_WRONLY) as fd:
            return os.write(fd, b"through the pipe")

    with Steps([write]) as other:
        other.begin()
        with opened(path, os.O_RDONLY) as fd:
            result = [os.read(fd, 100), other.finish(), os.read(fd, 100)]
    assert result == [b"through the pipe", 16, b""]
    return result, shape(path)


def check_fifo_opens_block(directory: Path) -> object:
    """Opening one end waits for the other."""
    path = directory / "fifo"
    os.mkfifo(path)
    with Steps([lambda: try_open(path, os.O_RDONLY)]) as other:
        other.begin()
        waited = other.waits()
        result = waited, try_open(path, os.O_WRONLY), other.finish()
    assert result == (True, "opened", "opened")
    return result


def check_fifo_without_waiting(directory: Path) -> object:
    """With O_NONBLOCK a reader opens at once, a writer without reader gets ENXIO."""
    path = directory / "fifo"
    os.mkfifo(path)
    result = [try_open(path, flags | os.O_NONBLOCK) for flags in (os.O_WRONLY, os.O_RDONLY, os.O_RDWR)]
    with opened(path, os.O_RDONLY | os.O_NONBLOCK) as reader:
        result += [os.read(reader, 9), try_open(path, os.O_WRONLY | os.O_NONBLOCK)]
    assert result == ["ENXIO", "opened", "opened", b"", "opened"]
    return result


def check_fifo_broken(directory: Path) -> object:
    """Writing into a fifo that nobody reads is EPIPE; reading an empty one without waiting is EAGAIN."""
    path = directory / "fifo"
    os.mkfifo(path)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with opened(path, os.O_WRONLY) as writer:
        result = [attempt(os.read, reader, 9), os.write(writer, b"x"), os.read(reader, 9)]
        os.close(reader)
        result.append(attempt(os.write, writer, b"x"))
    assert result == ["EAGAIN", 1, b"x", "EPIPE"]
    return result


def check_fifo_poll(directory: Path) -> object:
    """poll tells when a fifo can be read."""
    path = directory / "fifo"
    os.mkfifo(path)
    with opened(path, os.O_RDWR | os.O_NONBLOCK) as fd:
        before = select.select([fd], [], [], 0)[0]
        os.write(fd, b"x")
        after = select.select([fd], [], [], 1)[0]
    assert (before, len(after)) == ([], 1)
    return len(before), len(after)


def check_fifo_as_user(directory: Path) -> object:
    """Any user may make a fifo or a socket node, and owns it."""
    directory.chmod(0o777)
    result = [
        as_user(ALICE, attempt, os.mkfifo, directory / "fifo", 0o640),
        as_user(ALICE, attempt, os.mknod, directory / "socket", stat.S_IFSOCK | 0o640),
        as_user(ALICE, attempt, os.mknod, directory / "file", stat.S_IFREG | 0o640),
        as_user(ALICE, attempt, os.mknod, directory / "device", stat.S_IFCHR | 0o640, os.makedev(1, 3)),
        as_user(ALICE, attempt, os.mknod, directory / "block", stat.S_IFBLK | 0o640, os.makedev(7, 0)),
    ]
    assert result == [None, None, None, "EPERM", "EPERM"]
    return result, [shape(directory / name) for name in names(directory)]


def check_mkfifo_errors(directory: Path) -> object:
    """EEXIST, ENOENT, ENOTDIR and EACCES."""
    make(directory / "file")
    (directory / "closed").mkdir(0o755)
    result = [attempt(os.mkfifo, directory / name) for name in ("file", "none/fifo", "file/fifo")]
    result.append(as_user(ALICE, attempt, os.mkfifo, directory / "closed" / "fifo"))
    assert result == ["EEXIST", "ENOENT", "ENOTDIR", "EACCES"]
    return result


def check_mknod_kinds(directory: Path) -> object:
    """mknod makes files, fifos, sockets and devices; no directories or links."""
    kinds = ("S_IFREG", "S_IFIFO", "S_IFSOCK", "S_IFCHR", "S_IFBLK", "S_IFDIR", "S_IFLNK")
    result = {}
    for name in kinds:
        outcome = attempt(os.mknod, directory / name, getattr(stat, name) | 0o604, os.makedev(1, 5))
        result[name] = outcome or shape(directory / name)
    result["untyped"] = attempt(os.mknod, directory / "untyped", 0o600) or shape(directory / "untyped")
    result["unknown"] = attempt(os.mknod, directory / "unknown", 0o150600)
    assert result["S_IFDIR"] == "EPERM"
    return result


def check_device_numbers(directory: Path) -> object:
    """Large major and minor numbers are kept."""
    result = {}
    for major, minor in ((0, 0), (1, 3), (255, 255), (259, 1_000_000), (4095, 1_048_575)):
        path = directory / f"{major}-{minor}"
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(major, minor))
        status = os.lstat(path)
        result[path.name] = os.major(status.st_rdev), os.minor(status.st_rdev)
        assert result[path.name] == (major, minor)
    return result


def check_devices_work(directory: Path) -> object:
    """The null and zero devices do what they do."""
    os.mknod(directory / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(directory / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    result: list[object] = []
    for name in ("null", "zero"):
        with opened(directory / name, os.O_RDWR) as fd:
            result += [os.write(fd, b"gone"), os.read(fd, 4)]
    assert result == [4, b"", 4, b"\0\0\0\0"]
    return result


def check_device_that_is_not_there(directory: Path) -> object:
    """A device without a driver is ENXIO to open."""
    os.mknod(directory / "char", stat.S_IFCHR | 0o666, os.makedev(400, 77))
    os.mknod(directory / "block", stat.S_IFBLK | 0o666, os.makedev(400, 77))
    result = [try_open(directory / name, os.O_RDONLY) for name in ("char", "block")]
    assert result == ["ENXIO", "ENXIO"]
    return result


def check_socket(directory: Path) -> object:
    """A bound socket appears as one, takes connections by its path, and can be renamed and linked."""
    os.chdir(directory)  # a socket's path has at most 108 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        server.listen()
        os.rename("socket", "moved")
        os.link("moved", "link")
        result: list[object] = [kind(Path("moved")), shape(Path("moved"))["mode"]]
        for name in ("moved", "link"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(name)
                accepted, _ = server.accept()
                with accepted:
                    client.send(b"hello")
                    result.append(accepted.recv(9))
    assert result[0] == "socket"
    assert result[2:] == [b"hello", b"hello"]
    return result, names(directory)


def check_socket_errors(directory: Path) -> object:
    """bind to an existing name is EADDRINUSE, connect to nobody ECONNREFUSED, open ENXIO."""
    os.chdir(directory)
    make(Path("file"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        result = []
        for name in ("file", "socket", "none/socket"):
            with socket.socket(socket.AF_UNIX) as other:
                result.append(attempt(other.bind, name))
    for name in ("socket", "file", "none"):
        with socket.socket(socket.AF_UNIX) as client:
            result.append(attempt(client.connect, name))
    result.append(try_open("socket", os.O_RDWR))
    wanted = ["EADDRINUSE", "EADDRINUSE", "ENOENT", "ECONNREFUSED", "ECONNREFUSED", "ENOENT", "ENXIO"]
    assert result == wanted
    return result


def check_socket_permission(directory: Path) -> object:
    """Connecting needs write permission on the socket."""
    os.chdir(directory)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        server.listen()

        def connect() -> object:
            with socket.socket(socket.AF_UNIX) as client:
                return attempt(client.connect, "socket")

        result = []
        for bits in (0o755, 0o757):
            os.chmod("socket", bits)
            result.append(as_user(ALICE, connect))
    assert result == ["EACCES", None]
    return result


def check_datagrams(directory: Path) -> object:
    """Datagram sockets work by path, and know the sender's."""
    os.chdir(directory)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as two,
    ):
        one.bind("one")
        two.bind("two")
        one.sendto(b"to two", "two")
        result = two.recvfrom(99)
    assert result == (b"to two", "one")
    return result


def check_truncate_of_fifo(directory: Path) -> object:
    """truncate of a fifo is EINVAL; its size is zero."""
    os.mkfifo(directory / "fifo")
    try:
        os.truncate(directory / "fifo", 0)
        result = "done"
    except OSError as error:
        result = errno.errorcode[error.errno]
    assert result == "EINVAL"
    return result


def check_attributes_of_specials(directory: Path) -> object:
    """chmod, chown, utime, link and rename work on fifos, sockets and devices without opening them."""
    os.mkfifo(directory / "fifo")
    os.mknod(directory / "socket", stat.S_IFSOCK | 0o600)
    os.mknod(directory / "device", stat.S_IFBLK | 0o600, os.makedev(400, 1))
    result = {}
    for name in ("fifo", "socket", "device"):
        path = directory / name
        os.chmod(path, 0o4641)
        os.chown(path, 5, 6)
        os.chmod(path, 0o641)
        os.utime(path, ns=(5, 7))
        os.link(path, directory / f"{name}-link")
        path.rename(directory / f"{name}-moved")
        moved = directory / f"{name}-moved"
        result[name] = shape(moved), moved.lstat().st_mtime_ns, attempt(os.setxattr, moved, "user.a", b"x")
    return result
