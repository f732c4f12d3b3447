"""chmod(2), fchmod(2), fchmodat(2)."""

import os
import time
from pathlib import Path

from tests.posix.calls import attempt, kind, make, mode, opened, shape
from tests.posix.children import ALICE, BOB, CAROL, STAFF, User, as_user


def check_every_bit(directory: Path) -> object:
    """Each of the twelve bits can be set on a file by root."""
    path = make(directory / "file")
    result = []
    for bit in range(12):
        os.chmod(path, 1 << bit)
        result.append(mode(path))
    assert result == [oct(1 << bit) for bit in range(12)]
    return result


def check_directory_bits(directory: Path) -> object:
    """Directories take all bits as well."""
    path = directory / "dir"
    path.mkdir()
    result = []
    for bits in (0o000, 0o777, 0o1777, 0o2755, 0o4755, 0o7777):
        os.chmod(path, bits)
        result.append(mode(path))
        assert mode(path) == oct(bits)
    return result


def check_special_files(directory: Path) -> object:
    """Fifos and devices have modes too."""
    os.mkfifo(directory / "fifo")
    os.mknod(directory / "device", 0o20600, os.makedev(1, 3))
    for name in ("fifo", "device"):
        os.chmod(directory / name, 0o642)
    return [shape(directory / name) for name in ("fifo", "device")]


def check_through_descriptor(directory: Path) -> object:
    """fchmod works on read-only descriptors and on directories."""
    path = make(directory / "file")
    (directory / "dir").mkdir()
    for name in ("file", "dir"):
        with opened(directory / name, os.O_RDONLY) as fd:
            os.fchmod(fd, 0o751)
            assert mode(fd) == "0o751"
    return mode(path), mode(directory / "dir")


def check_follows_symlink(directory: Path) -> object:
    """chmod through a link changes the target."""
    make(directory / "file", mode=0o600)
    (directory / "link").symlink_to("file")
    os.chmod(directory / "link", 0o644)
    assert mode(directory / "file") == "0o644"
    return mode(directory / "link")


def check_of_a_symlink_itself(directory: Path) -> object:
    """A link's own mode cannot be changed."""
    (directory / "link").symlink_to("file")
    with opened(directory / "link", os.O_PATH | os.O_NOFOLLOW) as fd:
        result = attempt(os.chmod, f"/proc/self/fd/{fd}", 0o600)
    assert result == "EOPNOTSUPP"
    return result, mode(directory / "link")


def check_errors(directory: Path) -> object:
    """Missing is ENOENT, below a file ENOTDIR, a loop ELOOP."""
    make(directory / "file")
    (directory / "loop").symlink_to("loop")
    (directory / "dangling").symlink_to("nowhere")
    result = [attempt(os.chmod, directory / name, 0o600) for name in ("none", "file/x", "loop", "dangling")]
    assert result == ["ENOENT", "ENOTDIR", "ELOOP", "ENOENT"]
    return result


def check_only_the_owner(directory: Path) -> object:
    """Neither a group member nor a stranger may chmod, even with write permission."""
    path = make(directory / "file", mode=0o666, owner=(ALICE.uid, STAFF))
    result = [as_user(user, attempt, os.chmod, path, 0o600) for user in (BOB, CAROL, ALICE)]
    assert result == ["EPERM", "EPERM", None]
    return mode(path)


def check_set_gid_outside_own_groups(directory: Path) -> object:
    """An owner who is not in the file's group loses the set-gid bit silently; one who is keeps it."""
    result = []
    for user in (ALICE, User(ALICE.uid, ALICE.gid, (STAFF,))):
        path = make(directory / f"file{len(user.groups)}", owner=(ALICE.uid, STAFF))
        result.append((as_user(user, attempt, os.chmod, path, 0o2755), mode(path)))
    assert result == [(None, "0o755"), (None, "0o2755")]
    return result


def check_sticky_on_a_file(directory: Path) -> object:
    """An unprivileged owner sets the sticky bit on a file: Linux allows it."""
    path = make(directory / "file", owner=ALICE.owner)
    return as_user(ALICE, attempt, os.chmod, path, 0o1644), mode(path)


def check_change_time(directory: Path) -> object:
    """chmod marks the change time and leaves the other two."""
    path = make(directory / "file")
    os.utime(path, ns=(10**18, 10**18 + 7))
    before = path.stat().st_ctime_ns
    time.sleep(0.02)
    os.chmod(path, 0o600)
    after = path.stat()
    assert after.st_ctime_ns > before
    assert (after.st_atime_ns, after.st_mtime_ns) == (10**18, 10**18 + 7)
    return True


def check_takes_effect_at_once(directory: Path) -> object:
    """A permission given or taken counts from the next call, for every user."""
    path = make(directory / "file", b"text", 0o600)
    result = []
    for bits in (0o600, 0o604, 0o600, 0o644, 0o200):
        os.chmod(path, bits)
        result.append(as_user(ALICE, attempt, path.read_bytes))
    assert result == ["EACCES", b"text", "EACCES", b"text", "EACCES"]
    return result


def check_open_descriptor_keeps_access(directory: Path) -> object:
    """What a descriptor may do was settled when it was opened."""
    path = make(directory / "file", b"text", 0o644, ALICE.owner)

    def work() -> object:
        with opened(path, os.O_RDWR) as fd:
            os.chmod(path, 0o000)
            return os.pread(fd, 4, 0), os.pwrite(fd, b"TEXT", 0), attempt(os.open, path, os.O_RDONLY)

    result = as_user(ALICE, work)
    assert result == (b"text", 4, "EACCES")
    return result


def check_unlinked_file(directory: Path) -> object:
    """fchmod works on a file without a name."""
    path = make(directory / "file", mode=0o644)
    with opened(path, os.O_RDWR) as fd:
        os.unlink(path)
        os.fchmod(fd, 0o600)
        assert mode(fd) == "0o600"
    return kind(path)


def check_relative_to_descriptor(directory: Path) -> object:
    """fchmodat relative to a directory descriptor."""
    make(directory / "file")
    with opened(directory, os.O_RDONLY) as fd:
        os.chmod("file", 0o611, dir_fd=fd)
        result = attempt(os.chmod, "none", 0o611, dir_fd=fd)
    return mode(directory / "file"), result


def check_bits_beyond_the_mode(directory: Path) -> object:
    """Bits that are no permission bits are ignored."""
    path = make(directory / "file")
    result = attempt(os.chmod, path, 0o100000 | 0o640), shape(path)
    assert result[1]["mode"] == "0o640"
    return result
