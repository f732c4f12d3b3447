"""Names are bytes, at most 255 of them; paths at most 4095, deeper by relative steps."""

import os
from pathlib import Path

from tests.posix.calls import attempt, kind, make, names, renameat2, try_open

LONGEST = "n" * 255
TOO_LONG = "n" * 256


def check_longest_name(directory: Path) -> object:
    """255 bytes are a name for every kind of file."""
    make(directory / LONGEST, b"x")
    (directory / ("d" * 255)).mkdir()
    (directory / ("l" * 255)).symlink_to(LONGEST)
    os.mkfifo(directory / ("f" * 255))
    os.link(directory / LONGEST, directory / ("h" * 255))
    (directory / ("h" * 255)).rename(directory / ("r" * 255))
    assert all(len(name) == 255 for name in names(directory))
    return names(directory)


def check_too_long_name(directory: Path) -> object:
    """256 bytes are ENAMETOOLONG to every call."""
    make(directory / "file")
    path = directory / TOO_LONG
    result = {
        "open": try_open(path, os.O_RDONLY),
        "create": try_open(path, os.O_CREAT | os.O_WRONLY),
        "mkdir": attempt(os.mkdir, path),
        "rmdir": attempt(os.rmdir, path),
        "unlink": attempt(os.unlink, path),
        "symlink": attempt(os.symlink, "x", path),
        "readlink": attempt(os.readlink, path),
        "mkfifo": attempt(os.mkfifo, path),
        "stat": attempt(os.stat, path),
        "lstat": attempt(os.lstat, path),
        "chmod": attempt(os.chmod, path, 0o600),
        "chown": attempt(os.chown, path, 0, 0),
        "lchown": attempt(os.lchown, path, 0, 0),
        "truncate": attempt(os.truncate, path, 0),
        "utime": attempt(os.utime, path),
        "access": attempt(os.stat, path),
        "link from": attempt(os.link, path, directory / "new"),
        "link to": attempt(os.link, directory / "file", path),
        "rename from": attempt(os.rename, path, directory / "new"),
        "rename to": attempt(os.rename, directory / "file", path),
        "exchange": attempt(renameat2, directory / "file", path, 2),
        "getxattr": attempt(os.getxattr, path, "user.a"),
        "setxattr": attempt(os.setxattr, path, "user.a", b""),
        "statvfs": attempt(os.statvfs, path),
        "listdir": attempt(os.listdir, path),
        "component": attempt(os.stat, path / "below"),
    }
    assert set(result.values()) == {"ENAMETOOLONG"}
    return result, names(directory)


def check_multibyte_limit(directory: Path) -> object:
    """The limit counts bytes, not characters."""
    result = {count: try_open(directory / ("é" * count), os.O_CREAT | os.O_WRONLY) for count in (127, 128, 200)}
    assert result == {127: "opened", 128: "ENAMETOOLONG", 200: "ENAMETOOLONG"}
    return result


def check_every_byte(directory: Path) -> object:
    """Every byte but NUL and the slash makes a name of its own."""
    root = os.fsencode(directory)
    wanted = sorted(b"-%c" % byte for byte in range(1, 256) if byte != ord("/"))
    for name in wanted:
        os.close(os.open(root + b"/" + name, os.O_CREAT | os.O_WRONLY | os.O_EXCL))
    assert sorted(os.listdir(root)) == wanted
    return sorted(os.listdir(root))


def check_not_utf8(directory: Path) -> object:
    """Names that are no UTF-8 go through every call that takes or gives a name."""
    root = os.fsencode(directory)
    for name in (b"\xff", b"a\xc3", b"\xed\xa0\x80", b"caf\xe9"):
        os.mkdir(root + b"/" + name)
        os.symlink(b"\xfe" + name, root + b"/" + name + b"/\x80link")
        os.rename(root + b"/" + name, root + b"/new" + name)
    return sorted((name, os.listdir(root + b"/" + name)) for name in os.listdir(root))


def check_awkward_names(directory: Path) -> object:
    """Newlines, leading dashes, spaces, quotes, dots and terminal escapes are names like any other."""
    odd = ["-rf", "--", "a\nb", " ", "  lead", "trail ", "...", "..a", ".hidden", "*", "?", "[x]", "\\", "'\"", "$(x)"]
    odd += ["\x1b[31m", "\t", "\r", "#", "~", "a:b", "CON", "x" * 200 + "\n", "emoji😀", "%00", "|", "&", ";"]
    for name in odd:
        make(directory / name, name.encode())
    result = {name: (directory / name).read_bytes() for name in names(directory)}
    assert result == {name: name.encode() for name in odd}
    return result


def check_case_and_normal_form(directory: Path) -> object:
    """Names that differ in case or in Unicode normal form are different."""
    for name in ("name", "Name", "NAME", "é", "e\u0301"):
        make(directory / name, name.encode())
    assert len(names(directory)) == 5
    return [(directory / name).read_bytes() for name in names(directory)]


def check_control_name_below_the_root(directory: Path) -> object:
    """`.vexfs` is reserved in the mount's root only."""
    (directory / ".vexfs").mkdir()
    make(directory / ".vexfs" / "status", b"mine")
    make(directory / ".vexfs" / ".vexfs", b"mine")
    return names(directory), names(directory / ".vexfs"), (directory / ".vexfs" / "status").read_bytes()


def check_names_of_the_kernel(directory: Path) -> object:
    """Names that FUSE itself uses are ordinary: a user's `.fuse_hidden` file stays what it is."""
    path = make(directory / ".fuse_hidden0000000100000001", b"x")
    result = path.read_bytes(), names(directory)
    path.unlink()
    return result, names(directory)


def check_empty_path(directory: Path) -> object:
    """An empty path is ENOENT."""
    os.chdir(directory)
    result = [attempt(call, "") for call in (os.stat, os.unlink, os.mkdir, os.rmdir, os.readlink, os.listdir)]
    result += [try_open("", os.O_RDONLY), try_open("", os.O_CREAT | os.O_WRONLY)]
    assert set(result) == {"ENOENT"}
    return result


def check_repeated_slashes_and_dots(directory: Path) -> object:
    """Repeated slashes and single dots change nothing."""
    (directory / "a").mkdir()
    make(directory / "a" / "file", b"text")
    forms = ("a//file", "a/./file", ".//a////./file", "a/../a/file", "././././a/file")
    result = [Path(f"{directory}/{form}").read_bytes() for form in forms]
    assert result == [b"text"] * 5
    return result


def check_longest_path(directory: Path) -> object:
    """A path of 4095 bytes works in every call, one of 4096 is ENAMETOOLONG."""
    os.chdir(directory)
    make(Path("file"), b"text")

    def padded(name: str, length: int) -> str:
        return "./" * ((length - len(name)) // 2) + "/" * ((length - len(name)) % 2) + name

    result = {}
    for length in (4094, 4095, 4096, 5000):
        path = padded("file", length)
        result[length] = [
            try_open(path, os.O_RDONLY),
            attempt(lambda one: os.stat(one).st_size, path),
            attempt(os.chmod, path, 0o640),
            attempt(os.mkdir, padded("dir", length)) or attempt(os.rmdir, padded("dir", length)),
            attempt(os.rename, path, padded("other", length)) or attempt(os.rename, padded("other", length), path),
            attempt(os.symlink, "x", padded("link", length)) or attempt(os.unlink, padded("link", length)),
        ]
    assert result[4095] == ["opened", 4, None, None, None, None]
    assert result[4096] == ["ENAMETOOLONG"] * 6
    return result


def check_deeper_than_the_longest_path(directory: Path) -> object:
    """Below PATH_MAX one gets by relative steps, and everything works there."""
    os.chdir(directory)
    for _ in range(40):
        os.mkdir("x" * 200)
        os.chdir("x" * 200)
    make(Path("file"), b"deep")
    os.mkdir("dir")
    os.symlink("file", "link")
    os.link("file", "hard")
    os.rename("hard", "dir/moved")
    os.setxattr("file", "user.a", b"value")
    os.chmod("file", 0o600)
    os.truncate("file", 2)
    os.utime("file", (1, 1))
    os.mkfifo("fifo")
    result = [
        names(Path(".")),
        Path("link").read_bytes(),
        os.getxattr("dir/moved", "user.a"),
        oct(os.stat("file").st_mode),
        attempt(os.getcwd) if attempt(os.getcwd) in ("ENAMETOOLONG", "ERANGE") else "a path",
    ]
    os.unlink("fifo")
    os.unlink("file")
    for _ in range(40):
        os.chdir("..")
    result.append(names(Path(".")) == ["x" * 200])
    assert result[1] == b"de"
    return result


def check_deep_tree_removed(directory: Path) -> object:
    """A tree deeper than PATH_MAX can be taken down again."""
    os.chdir(directory)
    for _ in range(30):
        os.mkdir("y" * 250)
        os.chdir("y" * 250)
    for _ in range(30):
        os.chdir("..")
        os.rmdir("y" * 250)
    assert names(directory) == []
    return names(directory)


def check_move_of_a_deep_tree(directory: Path) -> object:
    """A directory above a tree deeper than PATH_MAX can be renamed while someone stands at its bottom."""
    os.chdir(directory)
    os.mkdir("top")
    top = os.open(".", os.O_RDONLY)
    os.chdir("top")
    for _ in range(25):
        os.mkdir("z" * 200)
        os.chdir("z" * 200)
    os.rename("top", "moved", src_dir_fd=top, dst_dir_fd=top)
    make(Path("file"), b"text")
    result = [names(Path(".")), Path("file").read_bytes()]
    for _ in range(26):
        os.chdir("..")
    result.append(names(Path(".")))
    os.close(top)
    assert result == [["file"], b"text", ["moved"]]
    return result


def check_kinds_by_every_spelling(directory: Path) -> object:
    """A directory answers to name, name/, name/. and name/sub/.. alike."""
    (directory / "dir" / "sub").mkdir(parents=True)
    inodes = {os.stat(f"{directory}/dir{tail}").st_ino for tail in ("", "/", "/.", "/sub/..", "//")}
    assert len(inodes) == 1
    return kind(directory / "dir")
