"""symlink(2), readlink(2) and how paths follow links."""

import os
from pathlib import Path

from tests.posix.calls import attempt, kind, make, names, opened, shape, try_open
from tests.posix.children import ALICE, BOB, as_user


def check_new_link(directory: Path) -> object:
    """A link holds its target to the byte; its size is the target's length, its mode 0777."""
    targets = {"short": b"x", "odd": b"a\nb \xff\xfe", "slashes": b"//a/./b/../", "long": b"y" * 255}
    result = {}
    for name, target in targets.items():
        os.symlink(target, os.fsencode(directory / name))
        assert os.readlink(os.fsencode(directory / name)) == target
        result[name] = shape(directory / name)
        assert (result[name]["size"], result[name]["mode"]) == (len(target), "0o777")
    return result


def check_target_length(directory: Path) -> object:
    """A target of PATH_MAX - 1 bytes works, one more is ENAMETOOLONG."""
    result = {}
    for length in (60, 1000, 4094, 4095, 4096, 5000):
        outcome = attempt(os.symlink, "x" * length, directory / str(length))
        result[length] = outcome or len(os.readlink(directory / str(length)))
    assert (result[4095], result[4096]) == (4095, "ENAMETOOLONG")
    return result


def check_empty_target(directory: Path) -> object:
    """An empty target is ENOENT."""
    result = attempt(os.symlink, "", directory / "link")
    assert result == "ENOENT"
    return result


def check_existing_name(directory: Path) -> object:
    """symlink never replaces anything: EEXIST, a dangling link included."""
    make(directory / "file")
    (directory / "dir").mkdir()
    (directory / "dangling").symlink_to("nowhere")
    result = [attempt(os.symlink, "x", directory / name) for name in ("file", "dir", "dangling")]
    assert result == ["EEXIST"] * 3
    return names(directory)


def check_readlink_of_others(directory: Path) -> object:
    """readlink of what is no link is EINVAL, of nothing ENOENT."""
    make(directory / "file")
    (directory / "dir").mkdir()
    os.mkfifo(directory / "fifo")
    result = [attempt(os.readlink, directory / name) for name in ("file", "dir", "fifo", "none", "file/x")]
    assert result == ["EINVAL", "EINVAL", "EINVAL", "ENOENT", "ENOTDIR"]
    return result


def check_loops(directory: Path) -> object:
    """A link to itself, and two to each other, are ELOOP wherever they are followed."""
    (directory / "self").symlink_to("self")
    (directory / "one").symlink_to("two")
    (directory / "two").symlink_to("one")
    result = {}
    for name in ("self", "one", "self/below"):
        path = directory / name
        result[name] = [
            attempt(os.stat, path),
            try_open(path, os.O_RDONLY),
            try_open(path, os.O_WRONLY | os.O_CREAT),
            attempt(os.chmod, path, 0o600),
            attempt(os.truncate, path, 0),
            attempt(os.chown, path, 0, 0),
            attempt(os.utime, path),
            attempt(os.listdir, path),
            attempt(os.getxattr, path, "user.a"),
            attempt(os.statvfs, path),
        ]
        assert result[name] == ["ELOOP"] * 10
    return result


def check_chain_limit(directory: Path) -> object:
    """A chain of 40 links is followed, of 41 not."""
    make(directory / "0", b"end")
    for number in range(1, 45):
        (directory / str(number)).symlink_to(str(number - 1))
    result = {number: try_open(directory / str(number), os.O_RDONLY) for number in (1, 8, 39, 40, 41, 44)}
    assert (result[40], result[41]) == ("opened", "ELOOP")
    return result


def check_relative_to_the_link(directory: Path) -> object:
    """A relative target counts from the directory that holds the link."""
    (directory / "a" / "b").mkdir(parents=True)
    make(directory / "a" / "file", b"right")
    make(directory / "file", b"wrong")
    (directory / "a" / "b" / "link").symlink_to("../file")
    (directory / "way").symlink_to("a/b/link")
    result = (directory / "a" / "b" / "link").read_bytes(), (directory / "way").read_bytes()
    assert result == (b"right", b"right")
    return result


def check_absolute_target(directory: Path) -> object:
    """An absolute target leads back through the same path."""
    make(directory / "file", b"text")
    (directory / "link").symlink_to(directory / "file")
    result = (directory / "link").read_bytes()
    (directory / "link").unlink()  # its target names this very directory
    return result


def check_out_of_the_filesystem(directory: Path) -> object:
    """Links lead out of the filesystem, and back."""
    (directory / "null").symlink_to("/dev/null")
    (directory / "root").symlink_to("/")
    result = [kind(Path(os.path.realpath(directory / "null"))), (directory / "root" / "proc" / "self").exists()]
    assert result == ["character device", True]
    return result


def check_dot_dot_after_a_link(directory: Path) -> object:
    """ ".." after a link is the parent of its target."""
    (directory / "far" / "deep").mkdir(parents=True)
    make(directory / "far" / "file", b"far")
    (directory / "link").symlink_to("far/deep")
    result = Path(f"{directory}/link/../file").read_bytes()
    assert result == b"far"
    return result


def check_trailing_slash(directory: Path) -> object:
    """A slash after a link follows it, and demands a directory."""
    make(directory / "file")
    (directory / "dir").mkdir()
    for name, target in (("to_file", "file"), ("to_dir", "dir"), ("dangling", "none")):
        (directory / name).symlink_to(target)
    result = {
        name: [
            attempt(lambda path: oct(os.lstat(path).st_mode), f"{directory}/{name}/"),
            attempt(os.readlink, f"{directory}/{name}/"),
            attempt(os.unlink, f"{directory}/{name}/"),
        ]
        for name in ("to_file", "to_dir", "dangling")
    }
    assert result["to_file"][0] == "ENOTDIR"
    assert result["dangling"][0] == "ENOENT"
    return result, names(directory)


def check_owner(directory: Path) -> object:
    """A link belongs to who made it, in a directory that others may write."""
    directory.chmod(0o777)
    as_user(ALICE, os.symlink, "x", directory / "link")
    result = shape(directory / "link")
    assert (result["uid"], result["gid"]) == ALICE.owner
    return result


def check_permissions_of_the_directory(directory: Path) -> object:
    """Making a link needs write permission, reading one only search permission."""
    (directory / "dir").mkdir(0o711)
    (directory / "dir" / "link").symlink_to("target")
    result = [
        as_user(ALICE, attempt, os.symlink, "x", directory / "dir" / "new"),
        as_user(ALICE, attempt, os.readlink, directory / "dir" / "link"),
    ]
    (directory / "dir").chmod(0o600)
    result.append(as_user(ALICE, attempt, os.readlink, directory / "dir" / "link"))
    assert result == ["EACCES", "target", "EACCES"]
    return result


def check_sticky_directory(directory: Path) -> object:
    """Following another user's link in a sticky world-writable directory: as the kernel is set, alike on both."""
    (directory / "tmp").mkdir()
    (directory / "tmp").chmod(0o1777)
    make(directory / "file", b"text", 0o644)
    as_user(ALICE, os.symlink, "../file", directory / "tmp" / "link")
    return [as_user(user, try_open, directory / "tmp" / "link", os.O_RDONLY) for user in (ALICE, BOB)]


def check_short_buffer(directory: Path) -> object:
    """A readlink buffer that is too small is filled without an error."""
    import ctypes

    (directory / "link").symlink_to("0123456789")
    buffer = ctypes.create_string_buffer(20)
    libc = ctypes.CDLL(None, use_errno=True)
    path = os.fsencode(directory / "link")
    result = [(libc.readlink(path, buffer, size), buffer.raw[:size]) for size in (1, 4, 10, 20)]
    assert [length for length, _ in result] == [1, 4, 10, 10]
    return [length for length, _ in result] + [libc.readlink(path, buffer, 0)]


def check_by_descriptor(directory: Path) -> object:
    """readlinkat with an empty name reads the link that an O_PATH descriptor holds, even when it is gone."""
    (directory / "link").symlink_to("target")
    with opened(directory / "link", os.O_PATH | os.O_NOFOLLOW) as fd:
        result = [os.readlink("", dir_fd=fd), shape(fd)["type"]]
        (directory / "link").unlink()
        result.append(attempt(os.readlink, "", dir_fd=fd))
    assert result[:2] == ["target", "symlink"]
    return result


def check_replaced_link(directory: Path) -> object:
    """A link replaced by rename shows its new target at once."""
    (directory / "current").symlink_to("v1")
    result = [os.readlink(directory / "current")]
    for number in range(2, 5):
        (directory / "next").symlink_to(f"v{number}")
        (directory / "next").rename(directory / "current")
        result.append(os.readlink(directory / "current"))
    assert result == ["v1", "v2", "v3", "v4"]
    return result


def check_link_becomes_something_else(directory: Path) -> object:
    """A name that was a link and becomes a file or directory is what it now is."""
    path, result = directory / "name", []
    path.symlink_to("nowhere")
    result.append(kind(path))
    path.unlink()
    make(path)
    result.append(kind(path))
    path.unlink()
    path.mkdir()
    result.append(kind(path))
    assert result == ["symlink", "file", "directory"]
    return result


def check_through_link_to_directory(directory: Path) -> object:
    """All operations reach through a link to a directory."""
    (directory / "dir").mkdir()
    (directory / "link").symlink_to("dir")
    via = directory / "link"
    make(via / "file", b"x")
    (via / "sub").mkdir()
    (via / "file").rename(via / "moved")
    os.link(via / "moved", via / "again")
    (via / "sub").rmdir()
    assert names(via) == names(directory / "dir") == ["again", "moved"]
    return names(via)


def check_rmdir_and_unlink(directory: Path) -> object:
    """rmdir of a link to a directory is ENOTDIR; unlink takes the link."""
    (directory / "dir").mkdir()
    (directory / "link").symlink_to("dir")
    result = [attempt(os.rmdir, directory / "link"), attempt(os.unlink, directory / "link")]
    assert result == ["ENOTDIR", None]
    return names(directory)


def check_mkdir_and_mknod_on_a_link(directory: Path) -> object:
    """mkdir and mknod do not follow a final link."""
    (directory / "dangling").symlink_to("none")
    result = [attempt(os.mkdir, directory / "dangling"), attempt(os.mkfifo, directory / "dangling")]
    assert result == ["EEXIST", "EEXIST"]
    return names(directory)
