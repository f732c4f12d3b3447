"""Permission checks with three users: owner, group member, other."""

import os
from pathlib import Path

from tests.posix.calls import attempt, eaccess, make, names, opened, shape, try_open
from tests.posix.children import ALICE, BOB, CAROL, STAFF, User, as_user, in_child

OTHERS = (ALICE, CAROL, BOB)  # owner, member of the group, other


def check_read_classes(directory: Path) -> object:
    """Owner, group and other each read by their own bits, and only those."""
    path = make(directory / "file", b"text", owner=(ALICE.uid, STAFF))
    result = {}
    for bits in (0o400, 0o040, 0o004, 0o044, 0o404, 0o777, 0o000):
        os.chmod(path, bits)
        result[oct(bits)] = [try_open_as(user, path, os.O_RDONLY) for user in OTHERS]
        assert result[oct(bits)] == ["opened" if bits & (0o400 >> 3 * place) else "EACCES" for place in range(3)]
    return result


def try_open_as(user: User, path: Path, flags: int) -> object:
    """Open as a user: "opened" or the errno's name."""
    return as_user(user, try_open, path, flags)


def check_write_classes(directory: Path) -> object:
    """The same for writing."""
    path = make(directory / "file", b"text", owner=(ALICE.uid, STAFF))
    result = {}
    for bits in (0o200, 0o020, 0o002, 0o022, 0o777):
        os.chmod(path, bits)
        result[oct(bits)] = [try_open_as(user, path, os.O_WRONLY) for user in OTHERS]
        assert result[oct(bits)] == ["opened" if bits & (0o200 >> 3 * place) else "EACCES" for place in range(3)]
    return result


def check_owner_class_shuts_out(directory: Path) -> object:
    """An owner without the bit is refused though others have it."""
    path = make(directory / "file", b"text", 0o077, (ALICE.uid, ALICE.gid))
    result = [try_open_as(user, path, os.O_RDWR) for user in (ALICE, BOB)]
    assert result == ["EACCES", "opened"]
    return result


def check_supplementary_groups(directory: Path) -> object:
    """A supplementary group counts like the primary one, among many."""
    path = make(directory / "file", b"text", 0o640, (0, STAFF))
    users = (BOB, CAROL, User(BOB.uid, STAFF), User(BOB.uid, BOB.gid, (*range(20000, 20040), STAFF)))
    result = [try_open_as(user, path, os.O_RDONLY) for user in users]
    assert result == ["EACCES", "opened", "opened", "opened"]
    return result


def check_supplementary_group_creates(directory: Path) -> object:
    """A directory that a supplementary group may write lets a member create, owned by the member's own group."""
    os.chown(directory, 0, STAFF)
    directory.chmod(0o775)
    result = [as_user(user, attempt, os.mkdir, directory / str(user.uid)) for user in (CAROL, BOB)]
    assert result == [None, "EACCES"]
    return shape(directory / str(CAROL.uid))


def check_root_overrides(directory: Path) -> object:
    """Root reads and writes whatever the bits say, but executes only with some x."""
    path = make(directory / "file", b"#!/bin/sh\n", 0o000, ALICE.owner)
    result = [try_open(path, os.O_RDWR), os.access(path, os.R_OK | os.W_OK), os.access(path, os.X_OK)]
    os.chmod(path, 0o001)
    result.append(os.access(path, os.X_OK))
    assert result == ["opened", True, False, True]
    return result


def check_search_bit(directory: Path) -> object:
    """A directory's x lets one reach entries, its r lets one list them."""
    (directory / "dir").mkdir()
    make(directory / "dir" / "file", b"text", 0o644)
    result = {}
    for bits in (0o700, 0o701, 0o704, 0o705):
        (directory / "dir").chmod(bits)
        reached = as_user(ALICE, attempt, (directory / "dir" / "file").read_bytes)
        result[oct(bits)] = [reached, as_user(ALICE, attempt, os.listdir, directory / "dir")]
    assert result["0o701"] == [b"text", "EACCES"]
    assert result["0o704"] == ["EACCES", ["file"]]
    return result


def check_write_without_search(directory: Path) -> object:
    """A directory one may write but not search takes no new entry."""
    (directory / "dir").mkdir()
    (directory / "dir").chmod(0o706)
    result = [
        as_user(ALICE, try_open, directory / "dir" / "x", os.O_CREAT | os.O_WRONLY),
        as_user(ALICE, attempt, os.mkdir, directory / "dir" / "y"),
    ]
    assert result == ["EACCES", "EACCES"]
    return result


def check_every_creator_needs_write(directory: Path) -> object:
    """Each call that makes an entry needs write permission on the directory."""
    make(directory / "file", mode=0o666, owner=ALICE.owner)

    def work() -> object:
        return [
            try_open(directory / "x", os.O_CREAT | os.O_RDWR),
            attempt(os.mkdir, directory / "x"),
            attempt(os.symlink, "t", directory / "x"),
            attempt(os.link, directory / "file", directory / "x"),
            attempt(os.mkfifo, directory / "x"),
            attempt(os.rename, directory / "file", directory / "x"),
        ]

    result = as_user(ALICE, work)
    assert result == ["EACCES"] * 6
    return result


def check_create_existing_without_write(directory: Path) -> object:
    """O_CREAT on an existing file needs no permission on the directory."""
    make(directory / "file", mode=0o666)
    result = as_user(ALICE, try_open, directory / "file", os.O_CREAT | os.O_RDWR)
    assert result == "opened"
    return result


def check_access_matrix(directory: Path) -> object:
    """access(2) agrees with what open does, for every class and mode."""
    path = make(directory / "file", owner=(ALICE.uid, STAFF))
    result = {}
    for bits in (0o751, 0o640, 0o107, 0o000):
        os.chmod(path, bits)
        rows = [as_user(user, lambda: [os.access(path, want) for want in (4, 2, 1, 6, 7)]) for user in OTHERS]
        result[oct(bits)] = rows
        for place, row in enumerate(rows):
            have = bits >> 3 * (2 - place) & 7
            assert row == [have & want == want for want in (4, 2, 1, 6, 7)]
    return result


def check_access_real_and_effective(directory: Path) -> object:
    """access uses the real ids, AT_EACCESS the effective ones."""
    path = make(directory / "file", mode=0o600, owner=ALICE.owner)

    def work() -> object:
        os.setgroups([])
        os.setresgid(BOB.gid, ALICE.gid, 0)
        os.setresuid(BOB.uid, ALICE.uid, 0)
        return os.access(path, os.R_OK), eaccess(path, os.R_OK), try_open(path, os.O_RDONLY)

    result = in_child(work)
    assert result == (False, True, "opened")
    return result


def check_access_errors(directory: Path) -> object:
    """access on what does not exist, or lies behind a closed directory, is False for all modes."""
    (directory / "closed").mkdir(0o700)
    make(directory / "closed" / "file", mode=0o777)
    result = [as_user(ALICE, os.access, directory / name, os.F_OK) for name in ("none", "closed/file", "closed")]
    assert result == [False, False, True]
    return result


def check_filesystem_uid(directory: Path) -> object:
    """Effective ids decide who owns a new file, also when they change within one process."""
    directory.chmod(0o777)

    def work() -> object:
        os.setgroups([])
        result = []
        for user in (ALICE, BOB):
            os.setegid(user.gid)
            os.seteuid(user.uid)
            make(directory / f"by{user.uid}")
            os.seteuid(0)
            os.setegid(0)
            result.append(shape(directory / f"by{user.uid}"))
        return result

    result = in_child(work)
    assert [(one["uid"], one["gid"]) for one in result] == [ALICE.owner, BOB.owner]
    return result


def check_sticky_unlink(directory: Path) -> object:
    """In a sticky directory one removes only what one owns, unless one owns the directory."""
    directory.chmod(0o1777)
    os.chown(directory, CAROL.uid, CAROL.gid)
    for number in range(4):
        make(directory / f"file{number}", mode=0o666, owner=ALICE.owner)
    cases = ((BOB, 0), (ALICE, 1), (CAROL, 2))
    result = [as_user(user, attempt, os.unlink, directory / f"file{number}") for user, number in cases]
    result.append(attempt(os.unlink, directory / "file3"))
    assert result == ["EPERM", None, None, None]
    return names(directory)


def check_sticky_rename(directory: Path) -> object:
    """Nor does one rename or replace there what one does not own."""
    directory.chmod(0o1777)
    make(directory / "alices", owner=ALICE.owner)
    make(directory / "bobs", owner=BOB.owner)
    result = [
        as_user(BOB, attempt, os.rename, directory / "alices", directory / "stolen"),
        as_user(BOB, attempt, os.rename, directory / "bobs", directory / "alices"),
        as_user(BOB, attempt, os.rename, directory / "bobs", directory / "renamed"),
    ]
    assert result == ["EPERM", "EPERM", None]
    return names(directory)


def check_sticky_directories_too(directory: Path) -> object:
    """The sticky rule holds for rmdir and for moving directories out."""
    (directory / "sticky").mkdir()
    (directory / "sticky").chmod(0o1777)
    (directory / "open").mkdir()
    (directory / "open").chmod(0o777)
    for name in ("a", "b"):
        (directory / "sticky" / name).mkdir()
        os.chown(directory / "sticky" / name, *ALICE.owner)
    result = [
        as_user(BOB, attempt, os.rmdir, directory / "sticky" / "a"),
        as_user(BOB, attempt, os.rename, directory / "sticky" / "a", directory / "open" / "a"),
        as_user(ALICE, attempt, os.rename, directory / "sticky" / "a", directory / "open" / "a"),
        as_user(ALICE, attempt, os.rmdir, directory / "sticky" / "b"),
    ]
    assert result == ["EPERM", "EPERM", None, None]
    return names(directory / "open")


def check_moving_a_directory_needs_write_on_it(directory: Path) -> object:
    """Moving a directory to another parent rewrites its "..": it must itself be writable."""
    for name in ("from", "to"):
        (directory / name).mkdir()
        (directory / name).chmod(0o777)
    (directory / "from" / "dir").mkdir()
    (directory / "from" / "dir").chmod(0o755)
    return [
        as_user(ALICE, attempt, os.rename, directory / "from" / "dir", directory / "from" / "same_parent"),
        as_user(ALICE, attempt, os.rename, directory / "from" / "same_parent", directory / "to" / "dir"),
    ]


def check_truncating_open(directory: Path) -> object:
    """O_TRUNC needs write permission even with O_RDONLY."""
    path = make(directory / "file", b"text", 0o444)
    result = as_user(ALICE, try_open, path, os.O_RDONLY | os.O_TRUNC)
    assert result == "EACCES"
    return path.read_bytes()


def check_noatime_is_the_owners(directory: Path) -> object:
    """O_NOATIME on another's file is EPERM."""
    path = make(directory / "file", b"text", 0o666, ALICE.owner)
    result = [as_user(user, try_open, path, os.O_RDONLY | os.O_NOATIME) for user in (ALICE, BOB)]
    assert result == ["opened", "EPERM"]
    return result


def check_stat_needs_only_search(directory: Path) -> object:
    """stat and readlink of what one may not read."""
    make(directory / "file", b"secret", 0o000)
    (directory / "link").symlink_to("file")
    result = as_user(ALICE, lambda: (shape(directory / "file"), os.readlink(directory / "link")))
    assert result[0]["size"] == 6
    return result


def check_inherited_descriptor(directory: Path) -> object:
    """A descriptor that root opened serves the user it is handed to."""
    path = make(directory / "file", b"root's", 0o600)
    with opened(path, os.O_RDWR) as fd:
        result = as_user(ALICE, lambda: (os.pread(fd, 10, 0), os.pwrite(fd, b"R", 0), attempt(os.fchmod, fd, 0o777)))
    assert result == (b"root's", 1, "EPERM")
    return result


def check_closed_parent_of_working_directory(directory: Path) -> object:
    """A working directory whose parent has been closed still serves relative names."""
    (directory / "a" / "b").mkdir(parents=True)
    make(directory / "a" / "b" / "file", b"text", 0o644)

    def work() -> object:
        os.chdir(directory / "a" / "b")
        return Path("file").read_bytes(), attempt(os.stat, "../b")

    (directory / "a").chmod(0o711)
    result = as_user(ALICE, work)
    assert result[0] == b"text"
    return type(result[1]).__name__


def check_user_full_cycle(directory: Path) -> object:
    """An unprivileged user makes, fills, renames, links and removes within a directory of their own."""
    os.chown(directory, *ALICE.owner)

    def work() -> object:
        make(directory / "a", b"text", 0o600)
        (directory / "d").mkdir()
        os.rename(directory / "a", directory / "d" / "b")
        os.link(directory / "d" / "b", directory / "c")
        os.symlink("c", directory / "l")
        os.setxattr(directory / "c", "user.a", b"x")
        os.utime(directory / "c", ns=(1, 2))
        described = [shape(directory / name) for name in names(directory)]
        os.unlink(directory / "l")
        return described, names(directory)

    result = as_user(ALICE, work)
    assert all((one["uid"], one["gid"]) == ALICE.owner for one in result[0])
    return result
