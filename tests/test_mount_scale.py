"""Many files: more live inodes than descriptors, and directories of 100,000 entries that change under the reader."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounting import Mount, filesystem, mounted, scratch
from tests.posix.calls import attempt
from tests.posix.children import Child, together
from tests.posix.streams import Stream

pytestmark = [pytest.mark.mount, pytest.mark.stress]

DESCRIPTORS = 20_000
DIRECTORIES = 200
PER_DIRECTORY = 1_000
CROWD = 100_000

# Without CAP_SYS_RESOURCE even root cannot raise the limit again.
CONFINED = ("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}", "setpriv", "--bounding-set=-sys_resource", "--")


@pytest.fixture(scope="module", params=["ext4", "tmpfs"])
def mount(request: pytest.FixtureRequest) -> Iterator[Mount]:
    """A mount whose process may have no more than DESCRIPTORS descriptors."""
    with filesystem(request.param) as root, scratch() as workflows:
        (root / "source").mkdir()
        arguments = ("--workflows", str(workflows))
        with mounted(root / "source", arguments=arguments, prefix=CONFINED) as live:
            yield live


def descriptors(mount: Mount) -> int:
    """How many the serving process has."""
    return len(os.listdir(f"/proc/{mount.process.pid}/fd"))


def create(root: Path, numbers: range) -> int:
    """Make the directories of these numbers, each with its files; how many files."""
    for number in numbers:
        directory = f"{root}/{number:03}"
        os.mkdir(directory)
        for file in range(PER_DIRECTORY):
            os.mknod(f"{directory}/{file:04}", 0o100644)
    return len(numbers) * PER_DIRECTORY


def walk(root: Path) -> tuple[int, int]:
    """(files, sum of their sizes) below `root`, each looked at by lstat."""
    files = total = 0
    for directory, _, names in os.walk(root):
        for name in names:
            total += os.lstat(f"{directory}/{name}").st_size
            files += 1
    return files, total


@pytest.fixture(scope="module")
def many(mount: Mount) -> Path:
    """200,000 empty files, ten times as many as descriptors; two processes make the first 60,000 through the mount."""
    root = mount.mountpoint / "many"
    root.mkdir()
    assert sum(together([lambda: create(root, range(30)), lambda: create(root, range(30, 60))])) == 60 * PER_DIRECTORY
    create(mount.source / "many", range(60, DIRECTORIES))
    return root


def test_more_inodes_than_descriptors(mount: Mount, many: Path) -> None:
    """All 200,000 are found by a walk, and the process has stayed below its limit."""
    assert walk(many) == (DIRECTORIES * PER_DIRECTORY, 0)
    assert descriptors(mount) < DESCRIPTORS


def test_inodes_without_descriptor_still_work(mount: Mount, many: Path) -> None:
    """Files whose descriptor was given up are written, renamed, linked and removed as before; so are directories."""
    touched = [many / f"{number:03}" / "0500" for number in range(0, DIRECTORIES, 2)]
    for path in touched:
        path.write_bytes(path.parent.name.encode())
    for path in touched[:50]:
        path.rename(path.with_name("renamed"))
        os.link(path.with_name("renamed"), path.with_name("linked"))
        path.parent.rename(many / f"moved-{path.parent.name}")
    for path in touched[:50]:
        moved = many / f"moved-{path.parent.name}"
        assert (moved / "linked").read_bytes() == path.parent.name.encode()
        assert (moved / "linked").stat().st_nlink == 2
        (moved / "linked").unlink()
    assert walk(many) == (DIRECTORIES * PER_DIRECTORY, 3 * len(touched))


def test_open_files_survive_the_crowd(mount: Mount, many: Path) -> None:
    """Files that are open, one of them without a name, stay themselves while 200,000 others pass by."""
    kept = os.open(mount.mountpoint / "kept", os.O_CREAT | os.O_RDWR)
    gone = os.open(mount.mountpoint / "gone", os.O_CREAT | os.O_RDWR)
    os.write(kept, b"kept")
    os.write(gone, b"gone")
    (mount.mountpoint / "gone").unlink()
    assert walk(many)[0] == DIRECTORIES * PER_DIRECTORY
    (mount.mountpoint / "kept").rename(mount.mountpoint / "kept-elsewhere")
    found = os.pread(kept, 9, 0), os.pread(gone, 9, 0), (mount.mountpoint / "kept-elsewhere").read_bytes()
    os.close(kept)
    os.close(gone)
    assert found == (b"kept", b"gone", b"kept")


def test_a_thousand_open_at_once(mount: Mount, many: Path) -> None:
    """A thousand files open at once beside the crowd."""
    fds = [os.open(many / "001" / f"{number:04}", os.O_RDWR) for number in range(PER_DIRECTORY)]
    for number, fd in enumerate(fds):
        os.pwrite(fd, b"%d" % number, 0)
    assert [os.pread(fd, 9, 0) for fd in fds] == [b"%d" % number for number in range(PER_DIRECTORY)]
    for number, fd in enumerate(fds):
        os.ftruncate(fd, 0)
        assert os.fstat(fd).st_size == 0, number
        os.close(fd)


@pytest.fixture(scope="module")
def crowd(mount: Mount) -> tuple[Path, set[str]]:
    """A directory of 100,000 entries, made behind the mount, and their names."""
    (mount.source / "crowd").mkdir()
    names = {f"stays-{number:06}" for number in range(CROWD)}
    for name in names:
        os.mknod(f"{mount.source}/crowd/{name}")
    return mount.mountpoint / "crowd", names


def test_listing_of_a_crowd(crowd: tuple[Path, set[str]]) -> None:
    """100,000 entries are listed exactly once each, and again after the first listing."""
    path, names = crowd
    for _ in range(2):
        found = os.listdir(path)
        assert len(found) == CROWD
        assert set(found) == names


def test_listing_of_a_crowd_that_changes(crowd: tuple[Path, set[str]]) -> None:
    """Entries that stay are listed exactly once, whatever others come, go and are renamed during the listing."""
    path, names = crowd

    def churn() -> None:
        number = 0
        while True:
            name = f"{path}/passes-{number % 500}"
            attempt(os.mknod, name)
            attempt(os.rename, name, f"{name}-renamed")
            attempt(os.unlink, f"{path}/passes-{(number - 200) % 500}-renamed")
            number += 1

    child = Child(churn)
    try:
        for _ in range(3):
            with Stream(path) as stream:
                found = [name for name in stream if name.startswith("stays-")]
            assert len(found) == CROWD
            assert set(found) == names
    finally:
        child.kill()
        os.waitpid(child.pid, 0)


def test_the_mount_answers_during_a_listing(mount: Mount, crowd: tuple[Path, set[str]]) -> None:
    """While others list the crowd again and again, a stat elsewhere never waits for a whole listing."""
    path, _ = crowd
    (mount.mountpoint / "elsewhere").mkdir()

    def listing() -> tuple[int, float]:
        begin = time.perf_counter()
        found = sum(len(os.listdir(path)) for _ in range(3))
        return found, (time.perf_counter() - begin) / 3

    children = [Child(listing) for _ in range(2)]
    slowest = 0.0
    for number in range(200):
        start = time.perf_counter()
        (mount.mountpoint / "elsewhere" / str(number)).mkdir()
        slowest = max(slowest, time.perf_counter() - start)
    counts, means = zip(*(child.result() for child in children), strict=True)
    assert min(counts) >= 3 * CROWD
    assert slowest < max(0.5, min(means) / 2), f"a mkdir took {slowest:.2f} s, a listing {min(means):.2f} s"
