"""A tree as plain values: what must be equal on the bare directory, behind the mount and through the mount."""

import hashlib
import os

from tests.posix.calls import attempt, shape

CROWD = 300
LARGE = 8 << 20


def snapshot(root: os.PathLike[str] | str) -> dict[str, object]:
    """Relative path → attributes, contents' hash, extended attributes and link target of all below `root`.

    Directories are entered by descriptor, so that trees deeper than PATH_MAX can be described. A directory of more than
    CROWD entries is described by its names alone; a file above LARGE bytes by its ends.
    """
    result: dict[str, object] = {}
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _describe_directory(fd, "", result)
    finally:
        os.close(fd)
    return result


def _describe_directory(fd: int, prefix: str, result: dict[str, object]) -> None:
    entries = sorted(os.listdir(fd))
    result[prefix + "/"] = shape(fd) | {"xattrs": _xattrs(fd), "entries": len(entries)}
    if len(entries) > CROWD:
        result[prefix + "/*"] = hashlib.sha256(repr(entries).encode()).hexdigest()
        return
    for name in entries:
        child = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=fd)
        try:
            _describe(child, f"{prefix}/{name}", result)
        finally:
            os.close(child)


def _describe(fd: int, path: str, result: dict[str, object]) -> None:
    described = shape(fd)
    link = f"/proc/self/fd/{fd}"
    if described["type"] == "directory":
        inner = os.open(link, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _describe_directory(inner, path, result)
        finally:
            os.close(inner)
        return
    if described["type"] == "symlink":
        described["target"] = os.readlink("", dir_fd=fd)
    else:
        described["xattrs"] = _xattrs(link)
    if described["type"] == "file":
        described["sha256"] = _digest(link)
    result[path] = described


def _xattrs(target: int | str) -> object:
    found = attempt(os.listxattr, target)
    return {name: os.getxattr(target, name) for name in sorted(found)} if isinstance(found, list) else found


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(file.read(LARGE))
        if size > LARGE:
            file.seek(size - LARGE // 2)
            digest.update(file.read())
    return digest.hexdigest()
