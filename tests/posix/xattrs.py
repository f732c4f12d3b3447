"""Extended attributes: set, get, list, remove; limits; name spaces; links."""

import os
import time
from pathlib import Path

from tests.posix.calls import attempt, getxattr_size, listxattr_size, make, opened
from tests.posix.children import ALICE, BOB, as_user

CREATE, REPLACE = os.XATTR_CREATE, os.XATTR_REPLACE


def check_set_and_get(directory: Path) -> object:
    """What was set is got, on files and directories."""
    make(directory / "file")
    (directory / "dir").mkdir()
    for name in ("file", "dir"):
        os.setxattr(directory / name, "user.colour", b"blue")
        assert os.getxattr(directory / name, "user.colour") == b"blue"
    return os.listxattr(directory / "file"), os.listxattr(directory / "dir")


def check_binary_and_empty(directory: Path) -> object:
    """A value is any bytes, or none."""
    path = make(directory / "file")
    values = {"user.empty": b"", "user.binary": bytes(range(256)), "user.nul": b"a\0b"}
    for name, value in values.items():
        os.setxattr(path, name, value)
    assert {name: os.getxattr(path, name) for name in sorted(os.listxattr(path))} == values
    return sorted(os.listxattr(path))


def check_create_and_replace(directory: Path) -> object:
    """XATTR_CREATE demands a new name, XATTR_REPLACE an old one."""
    path = make(directory / "file")
    result = [
        attempt(os.setxattr, path, "user.a", b"1", REPLACE),
        attempt(os.setxattr, path, "user.a", b"2", CREATE),
        attempt(os.setxattr, path, "user.a", b"3", CREATE),
        attempt(os.setxattr, path, "user.a", b"4", REPLACE),
    ]
    assert result == ["ENODATA", None, "EEXIST", None]
    return os.getxattr(path, "user.a")


def check_missing(directory: Path) -> object:
    """A missing attribute is ENODATA to get and to remove."""
    path = make(directory / "file")
    result = [attempt(os.getxattr, path, "user.none"), attempt(os.removexattr, path, "user.none")]
    assert result == ["ENODATA", "ENODATA"]
    return result


def check_remove(directory: Path) -> object:
    """A removed attribute is gone, others stay."""
    path = make(directory / "file")
    for name in ("user.a", "user.b"):
        os.setxattr(path, name, b"x")
    os.removexattr(path, "user.a")
    assert os.listxattr(path) == ["user.b"]
    return os.listxattr(path)


def check_missing_file(directory: Path) -> object:
    """Every call on a missing file is ENOENT, below a file ENOTDIR."""
    make(directory / "file")
    result = []
    for path in (directory / "none", directory / "file" / "x"):
        result += [
            attempt(os.setxattr, path, "user.a", b""),
            attempt(os.getxattr, path, "user.a"),
            attempt(os.listxattr, path),
            attempt(os.removexattr, path, "user.a"),
        ]
    assert result == ["ENOENT"] * 4 + ["ENOTDIR"] * 4
    return result


def check_small_buffer(directory: Path) -> object:
    """A buffer that is too small is ERANGE; size 0 asks for the length."""
    path = make(directory / "file")
    os.setxattr(path, "user.a", b"12345")
    result = [
        [attempt(getxattr_size, path, "user.a", size) for size in (0, 4, 5, 100)],
        [attempt(listxattr_size, path, size) for size in (0, 6, 7, 100)],
    ]
    assert result == [[5, "ERANGE", 5, 5], [7, "ERANGE", 7, 7]]
    return result


def check_name_limits(directory: Path) -> object:
    """Names have up to 255 bytes; longer or empty ones are refused alike."""
    path = make(directory / "file")
    cases = ("user." + "n" * 250, "user." + "n" * 251, "user.", "", "n" * 256)
    result = [attempt(os.setxattr, path, name, b"x") for name in cases]
    assert result[:2] == [None, "ERANGE"]
    return result, len(os.listxattr(path)[0])


def check_unknown_name_space(directory: Path) -> object:
    """A name outside the known name spaces is refused."""
    path = make(directory / "file")
    result = [
        attempt(call, path, *rest)
        for call, *rest in ((os.setxattr, "other.a", b""), (os.getxattr, "other.a"), (os.removexattr, "a"))
    ]
    assert set(result) == {"EOPNOTSUPP"}
    return result


def check_value_limits(directory: Path) -> object:
    """Values beyond 64 KiB are E2BIG; below that the filesystem decides, the same on both."""
    path = make(directory / "file")
    return [attempt(os.setxattr, path, "user.a", b"x" * size) for size in (100, 2000, 4000, 5000, 65536, 65537)]


def check_many(directory: Path) -> object:
    """Fifty attributes on one file."""
    path = make(directory / "file")
    for number in range(50):
        os.setxattr(path, f"user.number{number:03}", str(number).encode())
    listed = sorted(os.listxattr(path))
    assert [os.getxattr(path, name) for name in listed] == [str(number).encode() for number in range(50)]
    return listed


def check_on_symlink(directory: Path) -> object:
    """User attributes do not exist on links; calls that follow reach the target."""
    make(directory / "file")
    (directory / "link").symlink_to("file")
    result = [
        attempt(os.setxattr, directory / "link", "user.a", b"x", follow_symlinks=False),
        attempt(os.getxattr, directory / "link", "user.a", follow_symlinks=False),
        attempt(os.listxattr, directory / "link", follow_symlinks=False),
        attempt(os.setxattr, directory / "link", "user.a", b"x"),
    ]
    assert result[0] == "EPERM"
    return result, os.listxattr(directory / "file")


def check_trusted_on_symlink(directory: Path) -> object:
    """Root's trusted attributes can lie on a link itself."""
    make(directory / "file")
    (directory / "link").symlink_to("file")
    link = directory / "link"
    result = [
        attempt(os.setxattr, link, "trusted.a", b"mine", follow_symlinks=False),
        attempt(os.getxattr, link, "trusted.a", follow_symlinks=False),
        attempt(os.listxattr, link, follow_symlinks=False),
        attempt(os.getxattr, link, "trusted.a"),
        attempt(os.removexattr, link, "trusted.a", follow_symlinks=False),
        attempt(os.listxattr, link, follow_symlinks=False),
    ]
    assert result == [None, b"mine", ["trusted.a"], "ENODATA", None, []]
    return result


def check_trusted_is_roots(directory: Path) -> object:
    """Trusted attributes cannot be set by users, and are invisible to them."""
    path = make(directory / "file", mode=0o666, owner=ALICE.owner)
    os.setxattr(path, "trusted.a", b"x")
    os.setxattr(path, "user.a", b"x")
    result = [
        as_user(ALICE, attempt, os.setxattr, path, "trusted.b", b"x"),
        as_user(ALICE, attempt, os.getxattr, path, "trusted.a"),
        as_user(ALICE, attempt, os.removexattr, path, "trusted.a"),
        as_user(ALICE, attempt, os.listxattr, path),
    ]
    assert result == ["EPERM", "ENODATA", "EPERM", ["user.a"]]
    return result


def check_security_name_space(directory: Path) -> object:
    """Security attributes: root sets any, a user none."""
    path = make(directory / "file", owner=ALICE.owner)
    return [
        attempt(os.setxattr, path, "security.custom", b"x"),
        attempt(os.getxattr, path, "security.custom"),
        as_user(ALICE, attempt, os.setxattr, path, "security.custom", b"y"),
        as_user(ALICE, attempt, os.getxattr, path, "security.custom"),
    ]


def check_capability(directory: Path) -> object:
    """File capabilities can be stored by root and are cleared by a write."""
    path = make(directory / "file", b"data", 0o755)
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(path, "security.capability", value)
    before = os.getxattr(path, "security.capability") == value
    with opened(path, os.O_WRONLY) as fd:
        os.write(fd, b"D")
    after = attempt(os.getxattr, path, "security.capability")
    assert (before, after) == (True, "ENODATA")
    return after


def check_permissions(directory: Path) -> object:
    """User attributes follow the file's permission bits."""
    path = make(directory / "file", mode=0o644, owner=ALICE.owner)
    os.setxattr(path, "user.a", b"x")
    result = [
        as_user(BOB, attempt, os.getxattr, path, "user.a"),
        as_user(BOB, attempt, os.setxattr, path, "user.a", b"y"),
    ]
    os.chmod(path, 0o600)
    result += [as_user(BOB, attempt, os.getxattr, path, "user.a"), as_user(BOB, attempt, os.listxattr, path)]
    result += [
        as_user(ALICE, attempt, os.setxattr, path, "user.b", b"y"),
        as_user(BOB, attempt, os.removexattr, path, "user.a"),
    ]
    assert result == [b"x", "EACCES", "EACCES", ["user.a"], None, "EACCES"]
    return result


def check_sticky_directory(directory: Path) -> object:
    """In a sticky directory only the owner sets user attributes on the directory itself."""
    (directory / "dir").mkdir()
    (directory / "dir").chmod(0o1777)
    os.chown(directory / "dir", *ALICE.owner)
    result = [as_user(user, attempt, os.setxattr, directory / "dir", "user.a", b"x") for user in (BOB, ALICE)]
    assert result == ["EPERM", None]
    return result


def check_special_files(directory: Path) -> object:
    """User attributes do not exist on fifos and devices; trusted ones do."""
    os.mkfifo(directory / "fifo")
    result = [attempt(os.setxattr, directory / "fifo", name, b"x") for name in ("user.a", "trusted.a")]
    assert result[0] == "EPERM"
    return result


def check_by_descriptor(directory: Path) -> object:
    """The calls on descriptors see the same attributes, also without a name."""
    path = make(directory / "file")
    with opened(path, os.O_RDONLY) as fd:
        os.setxattr(fd, "user.a", b"x")
        by_path = os.getxattr(path, "user.a")
        os.unlink(path)
        result = [os.getxattr(fd, "user.a"), os.listxattr(fd), attempt(os.removexattr, fd, "user.a"), os.listxattr(fd)]
    assert (by_path, result) == (b"x", [b"x", ["user.a"], None, []])
    return result


def check_shared_by_links(directory: Path) -> object:
    """Hard links share attributes; a copy made by rename keeps them."""
    path = make(directory / "a")
    os.link(path, directory / "b")
    os.setxattr(path, "user.a", b"x")
    os.rename(path, directory / "c")
    result = os.getxattr(directory / "b", "user.a"), os.getxattr(directory / "c", "user.a")
    assert result == (b"x", b"x")
    return result


def check_change_time(directory: Path) -> object:
    """Setting an attribute marks the change time and not the modification time."""
    path = make(directory / "file")
    before = path.stat()
    time.sleep(0.02)
    os.setxattr(path, "user.a", b"x")
    after = path.stat()
    assert (after.st_ctime_ns > before.st_ctime_ns, after.st_mtime_ns) == (True, before.st_mtime_ns)
    return True


def check_replaced_file_starts_clean(directory: Path) -> object:
    """A new file under an old name has none of the old one's attributes."""
    path = make(directory / "file")
    os.setxattr(path, "user.a", b"x")
    os.unlink(path)
    make(path)
    assert os.listxattr(path) == []
    return attempt(os.getxattr, path, "user.a")


def check_utf8_and_odd_names(directory: Path) -> object:
    """Attribute names are bytes too."""
    path = make(directory / "file")
    odd = [b"user.\xff\xfe", "user.größe".encode(), b"user.a\nb", b"user.a b", b"user.a.b.c"]
    for name in odd:
        os.setxattr(path, name, b"x")
    return sorted(os.fsencode(name) for name in os.listxattr(path)) == sorted(odd), [
        os.getxattr(path, name) for name in odd
    ]
