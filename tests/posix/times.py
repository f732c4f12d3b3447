"""utimensat(2), futimens(3), and the times that other calls mark."""

import os
import time
from pathlib import Path

from tests.posix.calls import UTIME_NOW, UTIME_OMIT, attempt, futimens, make, opened, utimensat
from tests.posix.children import ALICE, BOB, as_user

AT_SYMLINK_NOFOLLOW = 0x100
NOW, OMIT = (0, UTIME_NOW), (0, UTIME_OMIT)
PAST = (10**18, 10**18)


def times(path: Path) -> tuple[int, int]:
    """Access and modification time in ns, of the thing itself."""
    status = os.lstat(path)
    return status.st_atime_ns, status.st_mtime_ns


def check_nanoseconds(directory: Path) -> object:
    """Both times are stored to the nanosecond."""
    path = make(directory / "file")
    os.utime(path, ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))
    assert times(path) == (1_234_567_890_123_456_789, 987_654_321_987_654_321)
    return times(path)


def check_every_kind(directory: Path) -> object:
    """Directories and fifos have times as well."""
    (directory / "dir").mkdir()
    os.mkfifo(directory / "fifo")
    for name in ("dir", "fifo"):
        os.utime(directory / name, ns=(10**18 + 1, 10**18 + 2))
    return [times(directory / name) for name in ("dir", "fifo")]


def check_extremes(directory: Path) -> object:
    """Times before 1970 and far ahead are stored or clamped alike on both."""
    path = make(directory / "file")
    result = []
    for seconds in (0, -1, -(2**31), 2**31, 2**32, 2**33, 2**34, -(2**33)):
        result.append((attempt(os.utime, path, (seconds, seconds)), times(path)))
    return result


def check_omit_access(directory: Path) -> object:
    """UTIME_OMIT for the access time leaves it."""
    path = make(directory / "file")
    os.utime(path, ns=PAST)
    utimensat(path, OMIT, (5, 6))
    assert times(path) == (10**18, 5_000_000_006)
    return times(path)


def check_omit_modification(directory: Path) -> object:
    """UTIME_OMIT for the modification time leaves it."""
    path = make(directory / "file")
    os.utime(path, ns=PAST)
    utimensat(path, (5, 6), OMIT)
    assert times(path) == (5_000_000_006, 10**18)
    return times(path)


def check_omit_both(directory: Path) -> object:
    """UTIME_OMIT for both changes nothing, not even the change time, and asks no permission."""
    path = make(directory / "file", mode=0o600)
    os.utime(path, ns=PAST)
    before = path.stat().st_ctime_ns
    time.sleep(0.02)
    utimensat(path, OMIT, OMIT)
    stranger = as_user(ALICE, attempt, utimensat, path, OMIT, OMIT)
    assert (times(path), path.stat().st_ctime_ns) == (PAST, before)
    return stranger


def check_now(directory: Path) -> object:
    """UTIME_NOW sets the present, for one or both."""
    path, start, result = make(directory / "file"), time.time_ns() - 10**9, []
    for pair in ((NOW, NOW), (NOW, OMIT), (OMIT, NOW), (NOW, (1, 0)), ((1, 0), NOW)):
        os.utime(path, ns=PAST)
        utimensat(path, *pair)
        result.append([one if one < start else "now" for one in times(path)])
    assert result[0] == ["now", "now"]
    return result


def check_now_as_null(directory: Path) -> object:
    """utime without times sets both to the present."""
    path, start = make(directory / "file"), time.time_ns() - 10**9
    os.utime(path, ns=PAST)
    os.utime(path)
    assert min(times(path)) > start
    return True


def check_bad_nanoseconds(directory: Path) -> object:
    """Nanoseconds out of range are EINVAL."""
    path = make(directory / "file")
    os.utime(path, ns=PAST)
    result = [attempt(utimensat, path, (1, bad), (1, 0)) for bad in (-1, 10**9, 10**12)]
    assert result == ["EINVAL"] * 3
    return times(path)


def check_symlink_itself(directory: Path) -> object:
    """AT_SYMLINK_NOFOLLOW sets the link's own times."""
    make(directory / "file")
    (directory / "link").symlink_to("file")
    os.utime(directory / "file", ns=PAST)
    os.utime(directory / "link", ns=(10**18 + 5, 10**18 + 6), follow_symlinks=False)
    result = times(directory / "file"), os.lstat(directory / "link").st_mtime_ns
    assert result == (PAST, 10**18 + 6)
    return result


def check_symlink_followed(directory: Path) -> object:
    """Without the flag the target's times are set."""
    make(directory / "file")
    (directory / "link").symlink_to("file")
    os.utime(directory / "link", ns=(3, 4))
    return times(directory / "file")


def check_dangling_symlink(directory: Path) -> object:
    """A dangling link is ENOENT to follow, and can itself be set."""
    (directory / "link").symlink_to("nowhere")
    result = (
        attempt(os.utime, directory / "link"),
        attempt(utimensat, directory / "link", (1, 2), (3, 4), AT_SYMLINK_NOFOLLOW),
    )
    assert result == ("ENOENT", None)
    return os.lstat(directory / "link").st_mtime_ns


def check_by_descriptor(directory: Path) -> object:
    """futimens works on read-only descriptors and directories."""
    make(directory / "file")
    (directory / "dir").mkdir()
    for name in ("file", "dir"):
        with opened(directory / name, os.O_RDONLY) as fd:
            futimens(fd, (7, 8), (9, 10))
            assert (os.fstat(fd).st_atime_ns, os.fstat(fd).st_mtime_ns) == (7_000_000_008, 9_000_000_010)
    return times(directory / "file"), times(directory / "dir")


def check_by_descriptor_after_write(directory: Path) -> object:
    """Times that were set on an open, written file survive its close: what tar and cp -p rely on."""
    path = directory / "file"
    with opened(path, os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, b"data")
        os.utime(fd, ns=PAST)
        open_times = os.fstat(fd).st_mtime_ns
    assert (open_times, times(path)) == (10**18, PAST)
    return times(path)


def check_by_path_while_open(directory: Path) -> object:
    """Times set by path while a written descriptor is open survive its close."""
    path = directory / "file"
    with opened(path, os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, b"data" * 5000)
        os.utime(path, ns=PAST)
    assert times(path) == PAST
    return times(path)


def check_owner_sets(directory: Path) -> object:
    """Only the owner sets given times; who may write may set the present."""
    path = make(directory / "file", mode=0o666, owner=ALICE.owner)
    result = [
        as_user(BOB, attempt, utimensat, path, (1, 1), (1, 1)),
        as_user(BOB, attempt, utimensat, path, NOW, NOW),
        as_user(BOB, attempt, utimensat, path, NOW, OMIT),
        as_user(ALICE, attempt, utimensat, path, (1, 1), (1, 1)),
    ]
    assert [result[0], result[1], result[3]] == ["EPERM", None, None]
    return result


def check_no_write_permission(directory: Path) -> object:
    """Who may neither write nor owns gets EACCES for the present, EPERM for given times."""
    path = make(directory / "file", mode=0o644, owner=ALICE.owner)
    result = [as_user(BOB, attempt, utimensat, path, NOW, NOW), as_user(BOB, attempt, utimensat, path, (1, 1), (1, 1))]
    assert result == ["EACCES", "EPERM"]
    return result


def check_owner_of_read_only_file(directory: Path) -> object:
    """The owner sets times whatever the mode says."""
    path = make(directory / "file", mode=0o000, owner=ALICE.owner)
    result = [
        as_user(ALICE, attempt, utimensat, path, NOW, NOW),
        as_user(ALICE, attempt, utimensat, path, (1, 1), (2, 2)),
    ]
    assert result == [None, None]
    return times(path)


def check_errors(directory: Path) -> object:
    """Missing is ENOENT, below a file ENOTDIR, a loop ELOOP."""
    make(directory / "file")
    (directory / "loop").symlink_to("loop")
    result = [attempt(os.utime, directory / name) for name in ("none", "file/x", "loop")]
    assert result == ["ENOENT", "ENOTDIR", "ELOOP"]
    return result


def check_write_marks(directory: Path) -> object:
    """write marks the modification time and not the access time, visible while the file is open."""
    path = make(directory / "file", b"data")
    os.utime(path, ns=PAST)
    with opened(path, os.O_WRONLY) as fd:
        os.write(fd, b"more")
        inside = os.fstat(fd).st_mtime_ns > 10**18, path.stat().st_mtime_ns > 10**18
    assert inside == (True, True)
    return times(path)[0]


def check_empty_write_marks_nothing(directory: Path) -> object:
    """A write of no bytes leaves the times."""
    path = make(directory / "file", b"data")
    os.utime(path, ns=PAST)
    with opened(path, os.O_WRONLY) as fd:
        os.write(fd, b"")
    assert times(path) == PAST
    return times(path)


def check_close_marks_nothing(directory: Path) -> object:
    """Opening for writing and closing leaves the times."""
    path = make(directory / "file", b"data")
    os.utime(path, ns=PAST)
    with opened(path, os.O_RDWR):
        pass
    assert times(path) == PAST
    return times(path)


def check_change_time_moves_on(directory: Path) -> object:
    """utime marks the change time with the present."""
    path, start = make(directory / "file"), time.time_ns() - 10**9
    os.utime(path, ns=(1, 1))
    assert path.stat().st_ctime_ns > start
    return times(path)


def check_relative_access_time(directory: Path) -> object:
    """Reading marks the access time as relatime says: when it is older than the modification."""
    path = make(directory / "file", b"data")
    os.utime(path, ns=(10**18, 10**18 + 5))
    path.read_bytes()
    return path.stat().st_atime_ns > 10**18


def check_order_of_events(directory: Path) -> object:
    """Modification times of files written one after another never go backwards."""
    stamps = []
    for number in range(20):
        stamps.append(make(directory / str(number), b"x").stat().st_mtime_ns)
    assert stamps == sorted(stamps)
    return len(stamps)
