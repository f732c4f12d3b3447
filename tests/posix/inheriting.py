"""What new files take from their directory: the set-gid bit, and default ACLs; and what ACLs then allow."""

import os
import stat
import struct
from pathlib import Path

from tests.posix.calls import attempt, make, mode, names, opened, shape, try_open
from tests.posix.children import ALICE, BOB, CAROL, STAFF, User, as_user

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
ANY = 0xFFFFFFFF
Entry = tuple[int, int, int]


def acl(*entries: Entry) -> bytes:
    """An ACL as the kernel takes it; entries are (tag, rwx bits, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def entries(target: Path, name: str) -> object:
    """The ACL's entries, or the errno's name."""
    data = attempt(os.getxattr, target, name)
    return [struct.unpack_from("<HHI", data, at) for at in range(4, len(data), 8)] if isinstance(data, bytes) else data


def plain(owner: int, group: int, other: int) -> tuple[Entry, Entry, Entry]:
    """The three entries every ACL has."""
    return (USER_OBJ, owner, ANY), (GROUP_OBJ, group, ANY), (OTHER, other, ANY)


def extended(owner: int, group: int, other: int, mask: int, *more: Entry) -> bytes:
    """An ACL with named entries, in the order the kernel wants."""
    users = sorted(one for one in more if one[0] == USER)
    groups = sorted(one for one in more if one[0] == GROUP)
    mine, ours, others = plain(owner, group, other)
    return acl(mine, *users, ours, *groups, (MASK, mask, ANY), others)


def everything(directory: Path) -> object:
    """Make one of each kind in `directory`; the shapes and ACLs."""
    os.close(os.open(directory / "file", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o666))
    os.mkdir(directory / "dir", 0o777)
    os.mkfifo(directory / "fifo", 0o666)
    os.mknod(directory / "socket", stat.S_IFSOCK | 0o666)
    os.symlink("x", directory / "link")
    found = {name: shape(directory / name) for name in names(directory)}
    acls = {
        name: (entries(directory / name, ACCESS), entries(directory / name, DEFAULT))
        for name in ("file", "dir", "fifo")
    }
    return found, acls


def check_set_gid_directory(directory: Path) -> object:
    """All that is made in a set-gid directory has its group; directories the bit as well."""
    (directory / "team").mkdir()
    os.chown(directory / "team", 0, STAFF)
    (directory / "team").chmod(0o2777)
    shapes, _ = as_user(ALICE, everything, directory / "team")
    assert {one["gid"] for one in shapes.values()} == {STAFF}
    assert shapes["dir"]["mode"] == "0o2755"
    assert {one["uid"] for one in shapes.values()} == {ALICE.uid}
    return shapes


def check_set_gid_by_root(directory: Path) -> object:
    """Root's files too."""
    os.chown(directory, 0, STAFF)
    directory.chmod(0o2755)
    shapes, _ = everything(directory)
    assert {one["gid"] for one in shapes.values()} == {STAFF}
    return shapes


def check_set_gid_nested(directory: Path) -> object:
    """The bit goes down level by level."""
    os.chown(directory, 0, STAFF)
    directory.chmod(0o2777)
    path = directory
    for name in "abc":
        path = path / name
        as_user(CAROL, os.mkdir, path, 0o777)
    make(path / "file")
    assert (path / "file").stat().st_gid == STAFF
    return [shape(one) for one in (directory / "a", directory / "a" / "b", path)]


def check_set_gid_file_by_outsider(directory: Path) -> object:
    """A file with set-gid and group execution made there by someone outside the group loses the bit."""
    os.chown(directory, 0, STAFF)
    directory.chmod(0o2777)

    def work(name: str) -> None:
        os.umask(0)
        os.close(os.open(directory / name, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o2775))
        os.mknod(directory / f"{name}-node", stat.S_IFREG | 0o2775)

    as_user(ALICE, work, "outsider")
    as_user(CAROL, work, "member")
    result = {name: mode(directory / name) for name in names(directory)}
    assert (result["outsider"], result["member"]) == ("0o775", "0o2775")
    return result


def check_rename_into_keeps(directory: Path) -> object:
    """What is moved in keeps its group, and its mode."""
    (directory / "team").mkdir()
    os.chown(directory / "team", 0, STAFF)
    (directory / "team").chmod(0o2777)
    make(directory / "file")
    (directory / "dir").mkdir()
    for name in ("file", "dir"):
        (directory / name).rename(directory / "team" / name)
    result = [shape(directory / "team" / name) for name in ("file", "dir")]
    assert {one["gid"] for one in result} == {0}
    return result


def check_without_the_bit(directory: Path) -> object:
    """In any other directory a new file has its creator's own group, whatever the directory's."""
    os.chown(directory, 0, STAFF)
    directory.chmod(0o777)
    shapes, _ = as_user(ALICE, everything, directory)
    assert {(one["uid"], one["gid"]) for one in shapes.values()} == {ALICE.owner}
    return shapes


def check_own_filesystem_group(directory: Path) -> object:
    """The creator's effective group counts, not the supplementary ones."""
    directory.chmod(0o777)
    shapes, _ = as_user(User(ALICE.uid, STAFF, (ALICE.gid, 777)), everything, directory)
    assert {one["gid"] for one in shapes.values()} == {STAFF}
    return shapes


def check_access_acl(directory: Path) -> object:
    """A named user and a named group get what their entries say, within the mask; the owner what the owner's says."""
    path = make(directory / "file", b"text", 0o600)
    os.setxattr(path, ACCESS, extended(6, 0, 0, 6, (USER, 4, ALICE.uid), (GROUP, 6, STAFF)))
    result = {
        user.uid: [as_user(user, try_open, path, flags) for flags in (os.O_RDONLY, os.O_WRONLY)]
        for user in (ALICE, BOB, CAROL)
    }
    assert result == {ALICE.uid: ["opened", "EACCES"], BOB.uid: ["EACCES"] * 2, CAROL.uid: ["opened"] * 2}
    return result, mode(path), entries(path, ACCESS)


def check_acl_denies(directory: Path) -> object:
    """A named user's empty entry shuts him out though everybody else may."""
    path = make(directory / "file", b"text", 0o644)
    os.setxattr(path, ACCESS, extended(6, 4, 4, 4, (USER, 0, ALICE.uid)))
    result = [as_user(user, try_open, path, os.O_RDONLY) for user in (ALICE, BOB)]
    assert result == ["EACCES", "opened"]
    return result


def check_mask(directory: Path) -> object:
    """chmod of the group bits is the mask: it limits named entries, and stat shows it as the group's bits."""
    path = make(directory / "file", b"text", 0o600)
    os.setxattr(path, ACCESS, extended(6, 6, 0, 6, (USER, 6, ALICE.uid)))
    result: list[object] = [mode(path), as_user(ALICE, try_open, path, os.O_RDWR)]
    path.chmod(0o640)
    result += [as_user(ALICE, try_open, path, flags) for flags in (os.O_RDONLY, os.O_RDWR)]
    path.chmod(0o600)
    result.append(as_user(ALICE, try_open, path, os.O_RDONLY))
    assert result == ["0o660", "opened", "opened", "EACCES", "EACCES"]
    return result, entries(path, ACCESS)


def check_minimal_acl_is_the_mode(directory: Path) -> object:
    """An ACL of the three plain entries becomes the mode, and is no attribute any more."""
    path = make(directory / "file", mode=0o600)
    os.setxattr(path, ACCESS, acl(*plain(6, 4, 2)))
    assert mode(path) == "0o642"
    return mode(path), entries(path, ACCESS), os.listxattr(path)


def check_removed_acl(directory: Path) -> object:
    """Removing the ACL leaves the mode."""
    path = make(directory / "file", mode=0o600)
    os.setxattr(path, ACCESS, extended(6, 4, 0, 4, (USER, 4, ALICE.uid)))
    before = as_user(ALICE, try_open, path, os.O_RDONLY)
    os.removexattr(path, ACCESS)
    result = before, as_user(ALICE, try_open, path, os.O_RDONLY), entries(path, ACCESS), mode(path)
    assert result[:3] == ("opened", "EACCES", "ENODATA")
    return result


def check_only_the_owner_sets(directory: Path) -> object:
    """Only the owner and root set and remove ACLs; anybody reads them."""
    path = make(directory / "file", b"", 0o666, ALICE.owner)
    value = extended(6, 6, 6, 6, (USER, 6, BOB.uid))
    result = [
        as_user(BOB, attempt, os.setxattr, path, ACCESS, value),
        as_user(ALICE, attempt, os.setxattr, path, ACCESS, value),
        as_user(BOB, entries, path, ACCESS),
        as_user(BOB, attempt, os.removexattr, path, ACCESS),
        as_user(ALICE, attempt, os.removexattr, path, ACCESS),
    ]
    assert (result[0], result[1], result[3], result[4]) == ("EPERM", None, "EPERM", None)
    return result


def check_bad_acls(directory: Path) -> object:
    """An ACL that makes no sense is EINVAL, a default one on a file EACCES, one on a link as the system says."""
    path = make(directory / "file")
    (directory / "link").symlink_to("file")
    missing_mask = acl((USER_OBJ, 6, ANY), (USER, 4, 5), (GROUP_OBJ, 4, ANY), (OTHER, 4, ANY))
    double = acl((USER_OBJ, 6, ANY), (USER_OBJ, 6, ANY), (GROUP_OBJ, 4, ANY), (OTHER, 4, ANY))
    result = {
        "missing mask": attempt(os.setxattr, path, ACCESS, missing_mask),
        "double": attempt(os.setxattr, path, ACCESS, double),
        "short": attempt(os.setxattr, path, ACCESS, b"\2\0\0\0\1"),
        "version": attempt(os.setxattr, path, ACCESS, b"\7\0\0\0"),
        "empty": attempt(os.setxattr, path, ACCESS, b""),
        "default on a file": attempt(os.setxattr, path, DEFAULT, acl(*plain(7, 5, 5))),
        "on a link": attempt(os.setxattr, directory / "link", ACCESS, acl(*plain(7, 5, 5)), follow_symlinks=False),
        "get of none": attempt(os.getxattr, path, ACCESS),
        "remove of none": attempt(os.removexattr, path, ACCESS),
    }
    assert result["missing mask"] == result["double"] == result["short"] == "EINVAL"
    return result


def check_default_acl_is_inherited(directory: Path) -> object:
    """A default ACL goes to new files, limited by the asked mode, and to directories as their default as well."""
    value = extended(7, 5, 0, 7, (USER, 6, BOB.uid), (GROUP, 7, STAFF))
    (directory / "dir").mkdir()
    (directory / "dir").chmod(0o777)
    os.setxattr(directory / "dir", DEFAULT, value)
    result = as_user(ALICE, everything, directory / "dir")
    return result, entries(directory / "dir", DEFAULT), entries(directory / "dir", ACCESS)


def check_default_acl_beats_the_umask(directory: Path) -> object:
    """Where there is a default ACL the umask does not count."""
    os.setxattr(directory, DEFAULT, extended(7, 7, 7, 7, (USER, 7, BOB.uid)))
    result = []
    for mask in (0o000, 0o022, 0o077, 0o777):
        os.umask(mask)
        path = directory / f"{mask:o}"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o666))
        os.mkdir(directory / f"{mask:o}-dir", 0o755)
        result.append([mode(path), mode(directory / f"{mask:o}-dir")])
    assert [one for one, _ in result] == ["0o666"] * 4
    return result


def check_minimal_default_acl(directory: Path) -> object:
    """A default ACL of plain entries decides the mode of what is made."""
    os.setxattr(directory, DEFAULT, acl(*plain(7, 0, 0)))
    os.umask(0)
    shapes, acls = everything(directory)
    assert shapes["file"]["mode"] == "0o600"
    assert shapes["dir"]["mode"] == "0o700"
    return shapes, acls


def check_inherited_acl_allows(directory: Path) -> object:
    """What was inherited is enforced, two levels down."""
    directory.chmod(0o755)
    os.setxattr(directory, DEFAULT, extended(7, 0, 0, 7, (USER, 7, BOB.uid)))
    (directory / "a").mkdir(0o777)
    (directory / "a" / "b").mkdir(0o777)
    os.close(os.open(directory / "a" / "b" / "file", os.O_CREAT | os.O_WRONLY, 0o666))
    result = [as_user(user, try_open, directory / "a" / "b" / "file", os.O_RDWR) for user in (ALICE, BOB)]
    result.append(as_user(BOB, attempt, os.mkdir, directory / "a" / "b" / "c"))
    assert result == ["EACCES", "opened", None]
    return result


def check_default_acl_removed(directory: Path) -> object:
    """Without the default ACL the umask counts again."""
    os.setxattr(directory, DEFAULT, acl(*plain(7, 7, 7)))
    os.removexattr(directory, DEFAULT)
    os.umask(0o027)
    with opened(directory / "file", os.O_CREAT | os.O_WRONLY, 0o666):
        pass
    assert mode(directory / "file") == "0o640"
    return mode(directory / "file"), entries(directory, DEFAULT)


def check_acl_and_set_gid_directory(directory: Path) -> object:
    """Both at once: the directory's group, its bit, and its default ACL."""
    os.chown(directory, 0, STAFF)
    directory.chmod(0o2777)
    os.setxattr(directory, DEFAULT, extended(7, 7, 5, 7, (USER, 6, BOB.uid)))
    return as_user(ALICE, everything, directory)


def check_setting_clears_set_gid(directory: Path) -> object:
    """Setting an ACL by an owner outside the file's group clears its set-gid bit."""
    path = make(directory / "file", owner=(ALICE.uid, STAFF))
    path.chmod(0o2755)
    as_user(ALICE, os.setxattr, path, ACCESS, extended(7, 5, 5, 5, (USER, 4, BOB.uid)))
    return mode(path)


def check_search_by_acl(directory: Path) -> object:
    """A directory's ACL decides who may pass and list it."""
    (directory / "dir").mkdir(0o700)
    make(directory / "dir" / "file", b"text", 0o644)
    os.setxattr(directory / "dir", ACCESS, extended(7, 0, 0, 7, (USER, 1, ALICE.uid), (USER, 5, BOB.uid)))
    result = {
        user.uid: (
            as_user(user, try_open, directory / "dir" / "file", os.O_RDONLY),
            as_user(user, attempt, os.listdir, directory / "dir"),
        )
        for user in (ALICE, BOB, CAROL)
    }
    assert result[ALICE.uid] == ("opened", "EACCES")
    assert result[BOB.uid] == ("opened", ["file"])
    assert result[CAROL.uid] == ("EACCES", "EACCES")
    return result


def check_owner_and_groups_combine(directory: Path) -> object:
    """Several matching groups: one that allows is enough; a chown moves the owner's entry along."""
    path = make(directory / "file", b"text", 0o600)
    os.setxattr(path, ACCESS, extended(6, 0, 0, 7, (GROUP, 0, 777), (GROUP, 4, STAFF)))
    both = User(BOB.uid, 777, (STAFF,))
    result = [as_user(both, try_open, path, os.O_RDONLY)]
    os.chown(path, *ALICE.owner)
    result.append(as_user(ALICE, try_open, path, os.O_RDWR))
    assert result == ["opened", "opened"]
    return result, entries(path, ACCESS)
