"""What the native library carries out by itself, since no rule can mean it: counted, as right as what Python does, and
left to Python from the moment that a rule can.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.listening import Listener
from tests.mounting import Mount, filesystem, mounted, scratch
from tests.patience import eventually
from tests.posix.children import User, as_user
from tests.test_fuse_library import counted, forget_all, metric

pytestmark = pytest.mark.mount

RULES = 400
NOBODY = User(65534, 65534, ())


def book(names_of: Callable[[int], str], kinds: tuple[str, ...]) -> str:
    """As many rules, each about other names."""
    rules = [
        {
            "name": f"other-{number}",
            "on": list(kinds),
            "paths": names_of(number),
            "actions": [{"log": {"message": "no"}}],
        }
        for number in range(RULES)
    ]
    return json.dumps({"rules": rules})


@pytest.fixture(scope="module")
def mount() -> Iterator[Mount]:
    """A mount whose rules mean other directories and extensions."""
    with filesystem("tmpfs") as source, scratch() as workflows:
        source.chmod(0o777)
        kinds = ("file.created", "file.deleted", "file.closed", "file.renamed", "dir.created")
        (workflows / "directories.json").write_text(book(lambda number: f"archive/r{number}/**", kinds))
        text = book(lambda number: f"**/*.csv{number}", kinds).replace("other-", "suffix-")
        (workflows / "suffixes.json").write_text(text)
        with mounted(source, arguments=("--workflows", str(workflows), "-o", "allow_other")) as live:
            yield live


def written(path: Path, text: str) -> None:
    """A file in one call of each kind: create, write, close."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640)
    os.write(fd, text.encode())
    os.close(fd)


def fired(mount: Mount, name: str) -> int:
    """How often a rule has."""
    text = (mount.mountpoint / ".vexfs/rules" / name / "status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("fired:")).split()[1])


def test_each_operation_is_counted_once(mount: Mount) -> None:
    """Names and files come and go, and the inodes with them; the kernel's backing ids are given back."""
    root = mount.mountpoint / "counted"
    root.mkdir()
    forget_all()
    expected = {"file.created": 50, "file.opened": 100, "file.closed": 100, "file.written": 50, "file.renamed": 75}
    expected |= {"file.replaced": 25, "file.deleted": 25, "dir.created": 50, "dir.deleted": 50, "dir.renamed": 50}
    before = {kind: counted(mount, kind) for kind in expected}
    for number in range(50):
        written(root / f"a{number}", "text")
        with (root / f"a{number}").open() as file:
            assert file.read() == "text"
        os.rename(root / f"a{number}", root / f"b{number}")
        (root / f"d{number}").mkdir()
        os.rename(root / f"d{number}", root / f"e{number}")
        (root / f"e{number}").rmdir()
    for number in range(25):
        os.rename(root / f"b{number}", root / f"b{number + 25}")
    for number in range(25, 50):
        os.unlink(root / f"b{number}")
    assert os.listdir(root) == []
    eventually(lambda: counted(mount, "file.closed") - before["file.closed"] >= 100)
    assert {kind: counted(mount, kind) - before[kind] for kind in expected} == expected
    eventually(lambda: metric(mount, "vexfs_backing_ids") == 0)


def test_many_names_are_told_in_one_stretch(mount: Mount) -> None:
    """Ten thousand renames of what Python knows, without a request for it in between, and as many new files."""
    root = mount.mountpoint / "stretch"
    root.mkdir()
    names = [root / f"n{number}" for number in range(500)]
    for name in names:
        written(name, "x")
    assert metric(mount, "vexfs_inodes") >= 500  # Python knows them
    for step in range(20):
        for name in names:
            os.rename(root / name.name if step == 0 else root / f"{name.name}.{step - 1}", root / f"{name.name}.{step}")
    for number in range(5000):
        written(root / f"new{number}", "x")
    assert {entry.name for entry in os.scandir(root)} == {f"n{number}.19" for number in range(500)} | {
        f"new{number}" for number in range(5000)
    }
    with Listener(mount.mountpoint, "file.opened") as listener:
        (root / "n7.19").read_text()
        opened = [event["path"] for event in listener.take()]
    assert opened == ["stretch/n7.19"]


def test_open_files_outlive_their_names(mount: Mount) -> None:
    """A file that was renamed, replaced and removed while it is open: each descriptor has its own content."""
    root = mount.mountpoint / "open"
    root.mkdir()
    written(root / "a", "one")
    first = os.open(root / "a", os.O_RDWR)
    written(root / "b", "two")
    second = os.open(root / "b", os.O_RDONLY)
    os.rename(root / "b", root / "a")
    assert (root / "a").read_text() == "two"
    os.write(first, b"ONE+")
    assert os.fstat(first).st_nlink == 0
    assert os.pread(first, 10, 0) == b"ONE+"
    assert os.pread(second, 10, 0) == b"two"
    os.unlink(root / "a")
    assert os.listdir(root) == []
    assert os.pread(second, 10, 0) == b"two"
    os.ftruncate(first, 1)
    assert os.fstat(first).st_size == 1
    os.close(first)
    os.close(second)


def test_hard_links_and_moved_directories_keep_their_names(mount: Mount) -> None:
    """Python's share and the library's of one tree, in turn."""
    root = mount.mountpoint / "names"
    (root / "d/e").mkdir(parents=True)
    written(root / "d/e/f", "text")
    os.link(root / "d/e/f", root / "g")
    os.unlink(root / "d/e/f")
    assert os.stat(root / "g").st_nlink == 1
    os.rename(root / "g", root / "d/e/h")
    os.rename(root / "d", root / "moved")
    assert (root / "moved/e/h").read_text() == "text"
    with pytest.raises(FileNotFoundError):
        os.stat(root / "d/e/h")
    os.rename(root / "moved/e/h", root / "h")
    os.rmdir(root / "moved/e")
    os.rmdir(root / "moved")
    assert os.listdir(root) == ["h"]


def test_new_things_are_their_makers(mount: Mount) -> None:
    """With the caller's owner and umask; a set-gid directory gives its group."""
    root = mount.mountpoint / "makers"
    root.mkdir()
    root.chmod(0o777)

    def make() -> None:
        os.umask(0o027)
        written(root / "file", "x")
        os.mkdir(root / "dir", 0o777)

    as_user(NOBODY, make)
    for name, mode in (("file", 0o640), ("dir", 0o750)):
        status = os.stat(mount.source / "makers" / name)
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (65534, 65534, mode)
    os.chown(root, 0, 7)
    root.chmod(0o2777)
    as_user(NOBODY, lambda: (written(root / "inherits", "x"), os.mkdir(root / "below")))
    assert os.stat(mount.source / "makers/inherits").st_gid == 7
    assert (os.stat(mount.source / "makers/below").st_gid, os.stat(root / "below").st_mode & 0o2000) == (7, 0o2000)


def test_a_rule_that_comes_later_hears_what_it_means(mount: Mount) -> None:
    """From the write into `/.vexfs` on, in a directory that the library has been serving by itself; and where a
    directory is moved to what a rule means.
    """
    root = mount.mountpoint / "later"
    (root / "dir").mkdir(parents=True)
    for number in range(20):
        written(root / f"before{number}.txt", "x")
    rules = [
        {"name": "later", "on": "file.closed", "paths": "later/*.txt"},
        {"name": "moved", "on": "file.created", "paths": "later/meant/*"},
    ]
    log = [{"log": {"message": "yes"}}]
    book = json.dumps({"rules": [{**rule, "actions": log} for rule in rules]})
    (mount.mountpoint / ".vexfs/workflows/late.json").write_text(book)
    eventually((mount.mountpoint / ".vexfs/rules/later/status").exists)
    for number in range(5):
        written(root / f"after{number}.txt", "x")
        written(root / f"after{number}.dat", "x")
        written(root / "dir" / f"{number}", "x")
    eventually(lambda: fired(mount, "later") == 5)
    assert fired(mount, "moved") == 0
    os.rename(root / "dir", root / "meant")
    written(root / "meant/more", "x")
    eventually(lambda: fired(mount, "moved") == 1)
    os.rename(root / "meant", root / "elsewhere")
    written(root / "elsewhere/more2", "x")
    os.unlink(mount.mountpoint / ".vexfs/workflows/late.json")
    written(root / "last.txt", "x")
    assert not (mount.mountpoint / ".vexfs/rules/later").exists()


def test_attributes_and_links_are_counted_and_kept(mount: Mount) -> None:
    """Mode, owner, times and size by name and by descriptor, symbolic links, fsync: as on the backing directory."""
    root, source = mount.mountpoint / "attributes", mount.source / "attributes"
    root.mkdir()
    kinds = ("mode", "owner", "times")
    expected = {f"file.attr.{kind}": 20 for kind in kinds} | {"file.truncated": 30, "sync.fsync": 10}
    expected |= {"file.symlinked": 10, "meta.readlink": 20, "file.written": 20, "file.closed": 40}
    expected["file.attr.owner"] += 10  # of links
    before = {kind: counted(mount, kind) for kind in expected}
    for number in range(10):
        path = root / f"f{number}"
        written(path, "0123456789")
        os.chmod(path, 0o600)
        os.chown(path, 1, 2)
        os.utime(path, ns=(1_000_000_001, 2_000_000_002))
        os.truncate(path, 5)
        with path.open("r+") as file:
            os.fchmod(file.fileno(), 0o640)
            os.fchown(file.fileno(), 3, -1)
            os.ftruncate(file.fileno(), 3)
            os.fsync(file.fileno())
            os.utime(file.fileno(), ns=(3_000_000_003, 4_000_000_004))
        status, seen = os.stat(source / path.name), os.stat(path)
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_size) == (0o640, 3, 2, 3)
        assert (seen.st_atime_ns, seen.st_mtime_ns) == (3_000_000_003, 4_000_000_004)
        assert (status.st_atime_ns, status.st_mtime_ns, seen.st_ctime_ns) == (
            3_000_000_003,
            4_000_000_004,
            status.st_ctime_ns,
        )
        with path.open("w") as file:
            assert os.stat(path).st_size == 0
            file.write("new")
        assert (source / path.name).read_text() == "new"
        os.symlink(f"f{number}", root / f"l{number}")
        os.chown(root / f"l{number}", 5, 5, follow_symlinks=False)
        assert os.readlink(root / f"l{number}") == f"f{number}"
        assert (root / f"l{number}").read_text() == "new"
    eventually(lambda: counted(mount, "file.closed") - before["file.closed"] >= expected["file.closed"])
    assert {kind: counted(mount, kind) - before[kind] for kind in expected} == expected


def test_suid_goes_as_on_the_backing_directory(mount: Mount) -> None:
    """By an owner's change, and by nobody's write."""
    root = mount.mountpoint / "suid"
    root.mkdir()
    root.chmod(0o777)
    written(root / "f", "x")
    os.chmod(root / "f", 0o6777)
    os.chown(root / "f", 65534, 65534)
    assert os.stat(root / "f").st_mode & 0o7777 == 0o777
    os.chmod(root / "f", 0o6777)
    os.truncate(root / "f", 0)
    assert os.stat(mount.source / "suid/f").st_mode & 0o7777 in (0o6777, 0o777)
    os.chmod(root / "f", 0o6777)
    as_user(NOBODY, lambda: os.truncate(root / "f", 1))
    assert os.stat(mount.source / "suid/f").st_mode & 0o7777 == 0o777


def test_what_was_set_unheard_is_no_write_to_who_listens_later(mount: Mount) -> None:
    """A file that is open since before: its times and size were set, and only then does somebody listen."""
    root = mount.mountpoint / "known"
    root.mkdir()
    written(root / "quiet", "0123")
    written(root / "loud", "0123")
    quiet, loud = os.open(root / "quiet", os.O_RDWR), os.open(root / "loud", os.O_RDWR)
    os.utime(quiet, ns=(1, 1))
    os.write(loud, b"45")
    os.utime(loud, ns=(1, 1))
    with Listener(mount.mountpoint, "file") as listener:
        os.close(quiet)
        os.close(loud)
        eventually(lambda: counted(mount, "file.closed") > 0)
        events = [event for event in listener.take() if event["path"].startswith("known/")]
    assert [event["path"] for event in events if event["type"] == "file.written"] == ["known/loud"]
    closed = {event["path"]: event["attrs"]["written"] for event in events if event["type"] == "file.closed"}
    assert closed == {"known/quiet": False, "known/loud": True}


def test_names_taken_over_behind_the_mount_are_not_mistaken(mount: Mount) -> None:
    """A name that another object has by now: what is removed and renamed is what has the name."""
    root, source = mount.mountpoint / "behind", mount.source / "behind"
    root.mkdir()
    for number in range(40):
        written(root / f"a{number}", "old")
        written(root / f"b{number}", "other")
    for number in range(40):
        if number % 2:
            os.rename(source / f"b{number}", source / f"a{number}")
        else:
            os.unlink(source / f"a{number}")
            (source / f"a{number}").write_text("new")
    eventually(lambda: not (root / "b39").exists() and (root / "a38").read_text() == "new")
    for number in range(40):
        os.rename(root / f"a{number}", root / f"c{number}")
        assert (root / f"c{number}").read_text() == ("other" if number % 2 else "new")
        os.unlink(root / f"c{number}")
    assert sorted(os.listdir(source)) == sorted(f"b{number}" for number in range(0, 40, 2))
    os.link(root / "b0", root / "d0")
    os.unlink(root / "b0")
    os.rename(root / "d0", root / "e0")
    assert (root / "e0").read_text() == "other"
    assert os.stat(root / "e0").st_nlink == 1
