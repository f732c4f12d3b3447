"""mkdir(2) and rmdir(2)."""

import os
from pathlib import Path

from tests.posix.calls import attempt, kind, make, mode, names, opened, shape
from tests.posix.children import ALICE, as_user, in_child, together


def check_new_directory(directory: Path) -> object:
    """A new directory has two links and adds one to its parent."""
    before = directory.stat().st_nlink
    os.mkdir(directory / "dir")
    return shape(directory / "dir"), directory.stat().st_nlink - before, os.listdir(directory / "dir")


def check_existing(directory: Path) -> object:
    """mkdir over anything is EEXIST."""
    make(directory / "file")
    os.mkdir(directory / "dir")
    (directory / "dangling").symlink_to("nowhere")
    (directory / "link").symlink_to("dir")
    cases = ("file", "dir", "dangling", "link", ".", "..")
    result = {name: attempt(os.mkdir, f"{directory}/{name}") for name in cases}
    assert set(result.values()) == {"EEXIST"}
    return result


def check_missing_parent(directory: Path) -> object:
    """Below nothing is ENOENT, below a file ENOTDIR."""
    make(directory / "file")
    result = [attempt(os.mkdir, directory / name / "x") for name in ("none", "file")]
    assert result == ["ENOENT", "ENOTDIR"]
    return result


def check_umask(directory: Path) -> object:
    """The umask takes bits from a new directory's mode."""
    result = {}
    for mask in (0o000, 0o022, 0o077, 0o777):
        os.umask(mask)
        for asked in (0o777, 0o750, 0o1777):
            path = directory / f"{mask:o}-{asked:o}"
            os.mkdir(path, asked)
            result[path.name] = mode(path)
            assert mode(path) == oct(asked & ~mask)
    return result


def check_set_id_bits_are_ignored(directory: Path) -> object:
    """mkdir ignores set-uid and set-gid in its mode and takes the sticky bit."""
    os.umask(0)
    os.mkdir(directory / "dir", 0o7777)
    assert mode(directory / "dir") == "0o1777"
    return mode(directory / "dir")


def check_trailing_slash(directory: Path) -> object:
    """mkdir and rmdir take trailing slashes."""
    result = attempt(os.mkdir, f"{directory}/dir//"), kind(directory / "dir"), attempt(os.rmdir, f"{directory}/dir/")
    assert result == (None, "directory", None)
    return result


def check_through_dangling_link(directory: Path) -> object:
    """mkdir does not make the target of a dangling link."""
    (directory / "link").symlink_to("target")
    result = attempt(os.mkdir, f"{directory}/link/")
    return result, names(directory)


def check_rmdir_full(directory: Path) -> object:
    """rmdir of a directory with entries of any kind fails and leaves them."""
    result = {}
    for name in ("file", "dir", "link"):
        os.mkdir(directory / f"with_{name}")
    make(directory / "with_file" / ".hidden")
    os.mkdir(directory / "with_dir" / "x")
    (directory / "with_link" / "x").symlink_to("nowhere")
    for name in names(directory):
        result[name] = attempt(os.rmdir, directory / name)
    assert set(result.values()) <= {"ENOTEMPTY", "EEXIST"}
    return result


def check_rmdir_not_a_directory(directory: Path) -> object:
    """rmdir of a file or of a link to a directory is ENOTDIR."""
    make(directory / "file")
    os.mkdir(directory / "dir")
    (directory / "link").symlink_to("dir")
    os.mkfifo(directory / "fifo")
    result = [attempt(os.rmdir, directory / name) for name in ("file", "link", "fifo")]
    assert result == ["ENOTDIR"] * 3
    return result


def check_rmdir_missing(directory: Path) -> object:
    """rmdir of nothing is ENOENT, below a file ENOTDIR."""
    make(directory / "file")
    result = [attempt(os.rmdir, directory / name) for name in ("none", "none/x", "file/x")]
    assert result == ["ENOENT", "ENOENT", "ENOTDIR"]
    return result


def check_rmdir_dots(directory: Path) -> object:
    """rmdir of "." is EINVAL, of ".." ENOTEMPTY."""
    os.mkdir(directory / "dir")
    result = [attempt(os.rmdir, f"{directory}/dir/{name}") for name in (".", "..")]
    assert result[0] == "EINVAL"
    return result


def check_rmdir_of_the_working_directory(directory: Path) -> object:
    """A removed working directory is empty, has no link, and getcwd is ENOENT."""
    os.mkdir(directory / "dir")
    os.chdir(directory / "dir")
    os.rmdir(directory / "dir")
    result = (
        os.listdir("."),
        attempt(os.getcwd),
        attempt(os.mkdir, "x"),
        os.stat(".").st_nlink,
        attempt(os.listdir, ".."),
    )
    assert result[:3] == ([], "ENOENT", "ENOENT")
    return result


def check_rmdir_link_count(directory: Path) -> object:
    """rmdir takes a link from the parent."""
    counts = []
    for name in ("a", "b"):
        os.mkdir(directory / name)
        counts.append(directory.stat().st_nlink)
    for name in ("a", "b"):
        os.rmdir(directory / name)
        counts.append(directory.stat().st_nlink)
    return counts


def check_owner(directory: Path) -> object:
    """A directory belongs to the user who makes it."""
    directory.chmod(0o777)
    as_user(ALICE, os.mkdir, directory / "dir")
    assert (shape(directory / "dir")["uid"], shape(directory / "dir")["gid"]) == ALICE.owner
    return shape(directory / "dir")


def check_permission(directory: Path) -> object:
    """mkdir and rmdir need write permission on the parent."""
    os.mkdir(directory / "dir")
    result = [as_user(ALICE, attempt, call, directory / name) for call, name in ((os.mkdir, "x"), (os.rmdir, "dir"))]
    assert result == ["EACCES", "EACCES"]
    return result


def check_search_permission(directory: Path) -> object:
    """Each directory of a path must be searchable."""
    (directory / "a" / "b").mkdir(parents=True)
    make(directory / "a" / "b" / "file", b"text", 0o644)
    (directory / "a").chmod(0o700)
    result = [as_user(ALICE, attempt, os.stat, directory / "a" / "b" / "file")]
    (directory / "a").chmod(0o711)
    result.append(as_user(ALICE, attempt, (directory / "a" / "b" / "file").read_bytes))
    result.append(as_user(ALICE, attempt, os.listdir, directory / "a"))
    assert result == ["EACCES", b"text", "EACCES"]
    return result


def check_race(directory: Path) -> object:
    """Of several processes that make one directory, exactly one succeeds."""

    def work() -> list[bool]:
        return [attempt(os.mkdir, directory / str(number)) is None for number in range(20)]

    wins = [sum(round_) for round_ in zip(*together([work] * 3), strict=True)]
    assert wins == [1] * 20
    return wins


def check_makedirs_deep(directory: Path) -> object:
    """A hundred levels down and up again."""
    deep = directory.joinpath(*["d"] * 100)
    os.makedirs(deep)
    make(deep / "file", b"bottom")
    data = (deep / "file").read_bytes()
    os.unlink(deep / "file")
    for _ in range(100):
        os.rmdir(deep)
        deep = deep.parent
    assert names(directory) == []
    return data


def check_parent_of_the_root_directory(directory: Path) -> object:
    """ ".." leads to the directory above, from every depth."""
    (directory / "a" / "b").mkdir(parents=True)
    one = os.stat(directory / "a" / "b" / ".." / "..")
    return os.path.samestat(one, directory.stat()), os.path.samestat(os.stat(directory / "a" / ".."), directory.stat())


def check_working_directory(directory: Path) -> object:
    """chdir, fchdir and getcwd agree, also after a rename above."""
    (directory / "a" / "b").mkdir(parents=True)
    root = os.getcwd()

    def work() -> object:
        os.chdir(directory / "a" / "b")
        os.rename(directory / "a", directory / "z")
        place = Path(os.getcwd())
        with opened("..", os.O_RDONLY) as fd:
            os.fchdir(fd)
        return place.relative_to(directory), Path(os.getcwd()).relative_to(directory)

    result = [str(one) for one in in_child(work)]
    assert result == ["z/b", "z"]
    return result, os.getcwd() == root


def check_chdir_errors(directory: Path) -> object:
    """chdir to a file is ENOTDIR, to nothing ENOENT, to a directory without search permission EACCES."""
    make(directory / "file")
    (directory / "closed").mkdir(0o600)
    cases = ("file", "none", "closed")
    result = [as_user(ALICE, attempt, os.chdir, directory / name) for name in cases]
    assert result == ["ENOTDIR", "ENOENT", "EACCES"]
    return result
