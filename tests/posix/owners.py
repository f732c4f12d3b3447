"""chown(2), fchown(2), lchown(2)."""

import os
import time
from pathlib import Path

from tests.posix.calls import attempt, make, mode, opened, shape
from tests.posix.children import ALICE, BOB, CAROL, STAFF, User, as_user

MEMBER = User(ALICE.uid, ALICE.gid, (STAFF,))
KEEP = -1


def owner(path: Path) -> tuple[int, int]:
    """(uid, gid) of the thing itself."""
    status = os.lstat(path)
    return status.st_uid, status.st_gid


def check_root_gives_away(directory: Path) -> object:
    """Root sets both ids on every kind."""
    make(directory / "file")
    (directory / "dir").mkdir()
    os.mkfifo(directory / "fifo")
    for name in ("file", "dir", "fifo"):
        os.chown(directory / name, 1234, 5678)
        assert owner(directory / name) == (1234, 5678)
    return [shape(directory / name) for name in ("file", "dir", "fifo")]


def check_minus_one_keeps(directory: Path) -> object:
    """-1 leaves an id alone."""
    path = make(directory / "file", owner=(11, 22))
    result = []
    for uid, gid in ((KEEP, KEEP), (33, KEEP), (KEEP, 44), (0, 0)):
        os.chown(path, uid, gid)
        result.append(owner(path))
    assert result == [(11, 22), (33, 22), (33, 44), (0, 0)]
    return result


def check_large_ids(directory: Path) -> object:
    """Ids use all 32 bits but the last value."""
    path = make(directory / "file")
    os.chown(path, 4294967294, 4000000000)
    assert owner(path) == (4294967294, 4000000000)
    return owner(path)


def check_symlink_followed(directory: Path) -> object:
    """chown follows a link, lchown does not."""
    make(directory / "file")
    (directory / "link").symlink_to("file")
    os.chown(directory / "link", 11, 22)
    os.lchown(directory / "link", 33, 44)
    result = owner(directory / "file"), owner(directory / "link")
    assert result == ((11, 22), (33, 44))
    return result


def check_dangling_symlink(directory: Path) -> object:
    """lchown works on a dangling link, chown does not."""
    (directory / "link").symlink_to("nowhere")
    result = attempt(os.chown, directory / "link", 1, 1), attempt(os.lchown, directory / "link", 5, 6)
    assert result == ("ENOENT", None)
    return owner(directory / "link")


def check_through_descriptor(directory: Path) -> object:
    """fchown works on files and directories."""
    make(directory / "file")
    (directory / "dir").mkdir()
    for name in ("file", "dir"):
        with opened(directory / name, os.O_RDONLY) as fd:
            os.fchown(fd, 7, 8)
            assert (os.fstat(fd).st_uid, os.fstat(fd).st_gid) == (7, 8)
    return owner(directory / "file"), owner(directory / "dir")


def check_errors(directory: Path) -> object:
    """Missing is ENOENT, below a file ENOTDIR, a loop ELOOP."""
    make(directory / "file")
    (directory / "loop").symlink_to("loop")
    result = [attempt(os.chown, directory / name, 1, 1) for name in ("none", "file/x", "loop")]
    assert result == ["ENOENT", "ENOTDIR", "ELOOP"]
    return result


def check_owner_cannot_give_away(directory: Path) -> object:
    """An unprivileged owner may not change the owner."""
    path = make(directory / "file", owner=ALICE.owner)
    result = [as_user(ALICE, attempt, os.chown, path, uid, KEEP) for uid in (BOB.uid, 0, ALICE.uid)]
    assert result == ["EPERM", "EPERM", None]
    return owner(path)


def check_owner_changes_group(directory: Path) -> object:
    """An owner may give the file to a group of theirs, and to no other."""
    path = make(directory / "file", owner=ALICE.owner)
    result = [
        as_user(MEMBER, attempt, os.chown, path, KEEP, STAFF),
        as_user(MEMBER, attempt, os.chown, path, KEEP, BOB.gid),
        as_user(ALICE, attempt, os.chown, path, KEEP, ALICE.gid),
        as_user(ALICE, attempt, os.chown, path, KEEP, STAFF),
    ]
    assert result == [None, "EPERM", None, "EPERM"]
    return owner(path)


def check_stranger(directory: Path) -> object:
    """A stranger, or a mere member of the file's group, may change nothing; even -1,-1 is judged the same on both."""
    path = make(directory / "file", mode=0o666, owner=(ALICE.uid, STAFF))
    result = [as_user(user, attempt, os.chown, path, KEEP, STAFF) for user in (BOB, CAROL)]
    assert result == ["EPERM", "EPERM"]
    return result, as_user(BOB, attempt, os.chown, path, KEEP, KEEP)


def check_clears_set_ids_for_users(directory: Path) -> object:
    """chown by an unprivileged owner clears set-uid and set-gid of an executable file."""
    path = make(directory / "file", owner=ALICE.owner)
    result = []
    for bits in (0o6755, 0o4755, 0o2755, 0o6644):
        os.chmod(path, bits)
        as_user(MEMBER, os.chown, path, KEEP, STAFF)
        result.append(mode(path))
        os.chown(path, *ALICE.owner)
    assert result[:3] == ["0o755"] * 3
    return result


def check_clears_set_ids_for_root(directory: Path) -> object:
    """chown by root: whether set-ids go is the system's choice, the same on both."""
    path = make(directory / "file")
    result = []
    for bits in (0o6755, 0o2644, 0o6600, 0o1777):
        os.chmod(path, bits)
        os.chown(path, 5, 5)
        result.append(mode(path))
    return result


def check_directory_keeps_set_gid(directory: Path) -> object:
    """chown of a directory leaves its set-gid bit."""
    (directory / "dir").mkdir()
    (directory / "dir").chmod(0o2775)
    os.chown(directory / "dir", *ALICE.owner)
    as_user(MEMBER, os.chown, directory / "dir", KEEP, STAFF)
    return shape(directory / "dir")


def check_no_change_still_clears(directory: Path) -> object:
    """chown(-1, -1) and chown to the present owner, by the owner, treat the bits alike on both."""
    path = make(directory / "file", owner=ALICE.owner)
    result = []
    for uid, gid in ((KEEP, KEEP), ALICE.owner, (KEEP, ALICE.gid)):
        os.chmod(path, 0o6755)
        result.append((as_user(ALICE, attempt, os.chown, path, uid, gid), mode(path)))
    return result


def check_change_time(directory: Path) -> object:
    """chown marks the change time."""
    path = make(directory / "file")
    before = path.stat().st_ctime_ns
    time.sleep(0.02)
    os.chown(path, 9, 9)
    assert path.stat().st_ctime_ns > before
    return owner(path)


def check_effect_on_access(directory: Path) -> object:
    """The new owner has the owner's permissions from the next call."""
    path = make(directory / "file", b"text", 0o600)
    result = []
    for user in (ALICE, BOB):
        os.chown(path, *user.owner)
        result.append([as_user(one, attempt, path.read_bytes) for one in (ALICE, BOB)])
    assert result == [[b"text", "EACCES"], ["EACCES", b"text"]]
    return result


def check_relative_to_descriptor(directory: Path) -> object:
    """fchownat relative to a descriptor, with and without following."""
    make(directory / "file")
    (directory / "link").symlink_to("file")
    with opened(directory, os.O_RDONLY) as fd:
        os.chown("link", 3, 4, dir_fd=fd, follow_symlinks=False)
        os.chown("link", 5, 6, dir_fd=fd)
    result = owner(directory / "link"), owner(directory / "file")
    assert result == ((3, 4), (5, 6))
    return result
