"""Directory listings: positions, types, large directories, and change under the reader."""

import os
import stat
from pathlib import Path

from tests.posix.calls import attempt, make, names, opened, try_open
from tests.posix.children import ALICE, as_user
from tests.posix.streams import Stream, getdents


def fill(directory: Path, count: int) -> list[str]:
    """Make `count` empty files; their names."""
    wanted = [f"entry-{number:05}" for number in range(count)]
    for name in wanted:
        os.mknod(directory / name)
    return wanted


def check_dots(directory: Path) -> object:
    """An empty directory lists as "." and "..", once each."""
    with Stream(directory) as stream:
        result = sorted(stream)
    assert result == [".", ".."]
    return result


def check_types_and_inodes(directory: Path) -> object:
    """Each entry's type and inode are those that lstat gives."""
    make(directory / "file")
    (directory / "dir").mkdir()
    (directory / "link").symlink_to("dir")
    os.mkfifo(directory / "fifo")
    os.mknod(directory / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(directory / "socket", stat.S_IFSOCK | 0o600)
    result = {}
    with opened(directory, os.O_RDONLY) as fd:
        for name, ino, type_ in getdents(fd, 1 << 16):
            if name != "..":  # of the check's own directory, whose parent differs
                status = os.lstat(directory / name)
                assert ino == status.st_ino
                assert type_ in (0, stat.S_IFMT(status.st_mode) >> 12)
                result[name] = type_
    return result


def check_dot_entries_inodes(directory: Path) -> object:
    """ "." and ".." carry the inodes of the directory and of its parent."""
    (directory / "sub").mkdir()
    with opened(directory / "sub", os.O_RDONLY) as fd:
        found = {name: ino for name, ino, _ in getdents(fd, 4096)}
    result = found["."] == (directory / "sub").stat().st_ino, found[".."] == directory.stat().st_ino
    assert result == (True, True)
    return result


def check_ten_thousand(directory: Path) -> object:
    """A directory of 10,000 entries lists each exactly once."""
    wanted = fill(directory, 10_000)
    found = os.listdir(directory)
    assert (len(found), sorted(found)) == (10_000, wanted)
    return len(found)


def check_long_names(directory: Path) -> object:
    """Hundreds of names of 255 bytes list in full."""
    wanted = sorted(f"{number:04}" + "n" * 251 for number in range(500))
    for name in wanted:
        os.mknod(directory / name)
    assert names(directory) == wanted
    return len(wanted)


def check_small_buffer(directory: Path) -> object:
    """Reading by the smallest buffer that fits one entry gives all; a smaller one is EINVAL."""
    wanted = fill(directory, 100)
    with opened(directory, os.O_RDONLY) as fd:
        result = [attempt(getdents, fd, 8)]
        found = []
        while batch := getdents(fd, 48):
            found += [name for name, _, _ in batch if name not in (".", "..")]
    assert sorted(found) == wanted
    assert result == ["EINVAL"]
    return result


def check_seek_to_every_position(directory: Path) -> object:
    """From each position that telldir gave, seekdir goes on with exactly what followed it."""
    fill(directory, 200)
    with Stream(directory) as stream:
        positions, order = [], []
        while True:
            positions.append(stream.tell())
            name = stream.read()
            if name is None:
                break
            order.append(name)
        for index in (0, 1, 2, 3, 50, 100, 150, 199, 200, 201):
            stream.seek(positions[index])
            assert list(stream) == order[index:], index
    return len(order)


def check_seek_back_and_forth(directory: Path) -> object:
    """Positions stay good in any order of visiting."""
    fill(directory, 60)
    with Stream(directory) as stream:
        order = []
        while True:
            position = stream.tell()
            name = stream.read()
            if name is None:
                break
            order.append((position, name))
        for position, name in reversed(order):
            stream.seek(position)
            assert stream.read() == name
    return len(order)


def check_positions_survive_another_open(directory: Path) -> object:
    """lseek to 0 starts again; another descriptor is not moved by it."""
    fill(directory, 50)
    with opened(directory, os.O_RDONLY) as one, opened(directory, os.O_RDONLY) as other:
        first = getdents(one, 400)
        second = getdents(other, 400)
        os.lseek(one, 0, os.SEEK_SET)
        again, onward = getdents(one, 400), getdents(other, 400)
    assert [n for n, _, _ in first] == [n for n, _, _ in second] == [n for n, _, _ in again]
    assert not {n for n, _, _ in second} & {n for n, _, _ in onward}
    return len(first) > 2, len(onward) > 2


def check_rewind_sees_changes(directory: Path) -> object:
    """rewinddir shows what has come and gone since."""
    fill(directory, 5)
    with Stream(directory) as stream:
        before = sorted(stream)
        (directory / "entry-00000").unlink()
        make(directory / "new")
        stream.rewind()
        after = sorted(stream)
    assert set(after) - set(before) == {"new"}
    assert set(before) - set(after) == {"entry-00000"}
    return after


def check_removal_under_the_reader(directory: Path) -> object:
    """Entries that stay are listed exactly once though others vanish during the reading."""
    wanted = fill(directory, 1000)
    seen: list[str] = []
    with Stream(directory) as stream:
        for count, name in enumerate(stream):
            seen.append(name)
            if count % 4 == 0 and name.startswith("entry"):
                (directory / name).unlink()
    left = set(os.listdir(directory))
    listed = [name for name in seen if name in left]
    assert sorted(listed) == sorted(left)
    assert len(wanted) > len(left)
    return len(seen)


def check_creation_under_the_reader(directory: Path) -> object:
    """Entries that were there are listed exactly once though new ones come during the reading."""
    wanted = fill(directory, 600)
    seen = []
    with Stream(directory) as stream:
        for count, name in enumerate(stream):
            seen.append(name)
            if count < 600:
                os.mknod(directory / f"new-{count}")
    assert sorted(name for name in seen if name.startswith("entry")) == wanted
    assert len(seen) == len(set(seen))
    return len(os.listdir(directory))


def check_rename_under_the_reader(directory: Path) -> object:
    """Entries that keep their names are listed exactly once though others are renamed during the reading."""
    wanted = fill(directory, 600)
    seen = []
    with Stream(directory) as stream:
        for count, name in enumerate(stream):
            seen.append(name)
            if count % 3 == 0 and name.startswith("entry"):
                (directory / name).rename(directory / f"moved-{name}")
    kept = [name for name in wanted if (directory / name).exists()]
    assert sorted(name for name in seen if name in set(kept)) == kept
    return len(os.listdir(directory))


def check_removing_while_reading_empties(directory: Path) -> object:
    """A loop that removes each entry as it is read, as `rm -r` does, leaves nothing after at most two passes."""
    fill(directory, 1000)
    passes = 0
    while os.listdir(directory):
        passes += 1
        with Stream(directory) as stream:
            for name in stream:
                if name not in (".", ".."):
                    (directory / name).unlink()
        assert passes < 5
    return passes


def check_new_entry_is_listed_at_once(directory: Path) -> object:
    """A listing that starts after a change shows it, again and again."""
    result = []
    for number in range(30):
        make(directory / f"{number:02}")
        result.append(len(os.listdir(directory)))
        if number % 3 == 0:
            (directory / f"{number:02}").unlink()
            result.append(len(os.listdir(directory)))
    return result


def check_permission(directory: Path) -> object:
    """Listing needs read permission, not search permission."""
    result = {}
    for bits in (0o777, 0o444, 0o111, 0o000):
        path = directory / oct(bits)
        path.mkdir()
        make(path / "file")
        path.chmod(bits)
        result[path.name] = as_user(ALICE, attempt, os.listdir, path)
    assert result == {"0o777": ["file"], "0o444": ["file"], "0o111": "EACCES", "0o0": "EACCES"}
    return result


def check_open_directory_keeps_listing(directory: Path) -> object:
    """An open directory can be listed after its permission has gone."""
    (directory / "dir").mkdir()
    make(directory / "dir" / "file")

    def work() -> object:
        with opened(directory / "dir", os.O_RDONLY) as fd:
            directory_mode(0o000)
            return sorted(os.listdir(fd))

    def directory_mode(bits: int) -> None:
        os.chmod(directory / "dir", bits)

    os.chown(directory / "dir", *ALICE.owner)
    result = as_user(ALICE, work)
    assert result == ["file"]
    return result


def check_removed_directory(directory: Path) -> object:
    """A directory that was removed while open lists as empty or is ENOENT."""
    (directory / "dir").mkdir()
    with opened(directory / "dir", os.O_RDONLY) as fd:
        (directory / "dir").rmdir()
        return attempt(getdents, fd, 4096)


def check_renamed_directory(directory: Path) -> object:
    """An open directory that is renamed goes on listing its own entries."""
    (directory / "dir").mkdir()
    fill(directory / "dir", 10)
    with opened(directory / "dir", os.O_RDONLY) as fd:
        (directory / "dir").rename(directory / "moved")
        (directory / "dir").mkdir()
        make(directory / "moved" / "late")
        result = sorted(os.listdir(fd))
    assert len(result) == 11
    return result


def check_wrong_kinds(directory: Path) -> object:
    """read(2) of a directory is EISDIR, getdents of a file ENOTDIR, of an O_PATH descriptor EBADF."""
    make(directory / "file")
    with opened(directory, os.O_RDONLY) as fd:
        result = [attempt(os.read, fd, 10), attempt(os.pread, fd, 10, 0), attempt(os.write, fd, b"x")]
    with opened(directory / "file", os.O_RDONLY) as fd:
        result.append(attempt(getdents, fd, 4096))
    with opened(directory, os.O_PATH) as fd:
        result.append(attempt(getdents, fd, 4096))
    assert result == ["EISDIR", "EISDIR", "EBADF", "ENOTDIR", "EBADF"]
    return result


def check_bad_paths(directory: Path) -> object:
    """opendir of a file is ENOTDIR, of nothing ENOENT."""
    make(directory / "file")
    result = [attempt(os.listdir, directory / name) for name in ("file", "none", "file/x")]
    assert result == ["ENOTDIR", "ENOENT", "ENOTDIR"]
    return result


def check_scan_with_status(directory: Path) -> object:
    """A listing with the attributes of each entry gives the same as one lstat each, right after changes."""
    for number in range(100):
        make(directory / f"{number:03}", b"x" * number, 0o600 + number % 8)
    names(directory)
    for number in range(0, 100, 7):
        os.truncate(directory / f"{number:03}", 1000)
    with os.scandir(directory) as entries:
        result = sorted((entry.name, entry.stat().st_size, oct(entry.stat().st_mode)) for entry in entries)
    assert all(size == 1000 for name, size, _ in result if int(name) % 7 == 0)
    return result


def check_marks_nothing_but_access(directory: Path) -> object:
    """Listing leaves the modification and change times alone."""
    fill(directory, 10)
    before = directory.stat()
    os.listdir(directory)
    after = directory.stat()
    assert (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)
    return True


def check_two_interleaved_readers(directory: Path) -> object:
    """Two streams over one directory do not disturb each other."""
    wanted = {".", "..", *fill(directory, 300)}
    with Stream(directory) as one, Stream(directory) as other:
        found: tuple[list[str], list[str]] = ([], [])
        for index, stream in ((0, one), (1, other)) * 400:
            name = stream.read()
            if name is not None:
                found[index].append(name)
    assert set(found[0]) == set(found[1]) == wanted
    return len(found[0]), len(found[1])


def check_directory_descriptor_flags(directory: Path) -> object:
    """A directory opens with O_DIRECTORY, O_NOATIME and O_CLOEXEC; O_DIRECT as the filesystem likes."""
    flags = (os.O_DIRECTORY, os.O_NOATIME, os.O_CLOEXEC, os.O_NONBLOCK, os.O_APPEND, os.O_SYNC)
    return [try_open(directory, os.O_RDONLY | flag) for flag in flags]
