"""The watch on the backing tree: what changes behind the mount's back is seen through it, and is an event."""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.listening import Event, Listener
from tests.mounting import Mount, filesystem, mounted, run, scratch

pytestmark = pytest.mark.mount

SEEN_SECONDS = 30.0  # generous: the watch looks every 40 ms, the kernel would believe itself for 60 s
QUEUE = Path("/proc/sys/fs/fanotify/max_queued_events")


@contextlib.contextmanager
def watched(*arguments: str, source: Path | None = None) -> Iterator[Mount]:
    """A mount without automations."""
    with scratch() as directory:
        (directory / "workflows").mkdir()
        behind = source or directory / "source"
        behind.mkdir(exist_ok=True)
        with mounted(behind, arguments=("--workflows", str(directory / "workflows"), *arguments)) as mount:
            yield mount


@pytest.fixture(scope="module")
def mount() -> Iterator[Mount]:
    """One for the tests that leave it as it was."""
    with watched() as mount:
        yield mount


@pytest.fixture
def place(mount: Mount, request: pytest.FixtureRequest) -> Iterator[tuple[Path, Path]]:
    """A directory of the test's own: behind the mount, and through it, where the kernel knows it well."""
    name = request.node.name.replace("/", "-")
    behind, front = mount.source / name, mount.mountpoint / name
    with Listener(mount.mountpoint, "dir") as listener:
        behind.mkdir()
        listener.until(last("dir.created", name))
        assert os.listdir(front) == []
        yield behind, front
        subprocess.run(["rm", "-rf", str(behind)], check=True)
        listener.until(last("dir.deleted", name))


def eventually(condition: Callable[[], bool]) -> None:
    """The condition holds within `SEEN_SECONDS`."""
    deadline = time.monotonic() + SEEN_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not show through the mount"
        time.sleep(0.002)


def shell(command: str, directory: Path) -> int:
    """Run a command of another process in `directory`; its process number."""
    process = subprocess.Popen(["sh", "-c", command], cwd=directory)
    assert process.wait(90) == 0
    return process.pid


def foreign(events: list[Event]) -> list[tuple[str, str]]:
    """(type, last name) of the events that the watch made."""
    return [(e["type"], e["path"].rpartition("/")[2]) for e in events if e.get("attrs", {}).get("origin") == "backing"]


def last(type: str, name: str) -> Callable[[Event], bool]:
    """Whether it is the event of this type, from behind, about a path that ends so."""
    return lambda event: (type, name) in foreign([event])


def test_a_created_file_appears_where_it_was_absent(place: tuple[Path, Path]) -> None:
    """A name that the kernel takes to be absent exists as soon as somebody makes it behind the mount."""
    behind, front = place
    assert not (front / "new").exists()
    assert not (front / "new").exists()
    (behind / "new").write_text("hello")
    eventually((front / "new").exists)
    assert (front / "new").read_text() == "hello"
    assert os.listdir(front) == ["new"]


def test_a_modified_file_is_read_anew(place: tuple[Path, Path]) -> None:
    """Content, size and times of a file that the kernel knows follow a change behind the mount."""
    behind, front = place
    (behind / "f").write_text("one")
    eventually((front / "f").exists)
    assert (front / "f").stat().st_size == 3
    assert (front / "f").read_text() == "one"
    (behind / "f").write_text("three")
    eventually(lambda: (front / "f").stat().st_size == 5)
    assert (front / "f").read_text() == "three"
    assert (front / "f").stat().st_mtime_ns == (behind / "f").stat().st_mtime_ns


def test_a_rename_moves_the_name(place: tuple[Path, Path]) -> None:
    """After a rename behind the mount the old name is gone and the new one there, for directories' content too."""
    behind, front = place
    (behind / "a").mkdir()
    (behind / "a" / "inner").write_text("x")
    eventually((front / "a" / "inner").exists)
    (behind / "a").rename(behind / "b")
    eventually(lambda: not (front / "a").exists())
    assert os.listdir(front) == ["b"]
    assert (front / "b" / "inner").read_text() == "x"


def test_a_deleted_file_is_gone(place: tuple[Path, Path]) -> None:
    """A name that was removed behind the mount is absent, for stat, open and ls."""
    behind, front = place
    (behind / "f").write_text("x")
    eventually((front / "f").exists)
    (behind / "f").unlink()
    eventually(lambda: not (front / "f").exists())
    with pytest.raises(FileNotFoundError):
        (front / "f").open()
    assert os.listdir(front) == []


def test_a_new_mode_shows(place: tuple[Path, Path]) -> None:
    """Permission bits that were changed behind the mount are those that stat shows."""
    behind, front = place
    (behind / "f").write_text("x")
    eventually((front / "f").exists)
    assert (front / "f").stat().st_mode & 0o777 == 0o644
    (behind / "f").chmod(0o600)
    eventually(lambda: (front / "f").stat().st_mode & 0o777 == 0o600)


def test_changes_are_events_with_their_origin(mount: Mount, place: tuple[Path, Path]) -> None:
    """Each change behind the mount is an event with `origin` backing and the number of the process that made it."""
    behind, _front = place
    with Listener(mount.mountpoint, "file,dir") as listener:
        writer = shell("printf abc > f", behind)
        shell("mkdir d; mv f d/g; chmod 600 d/g; ln -s target l; rm d/g; rmdir d", behind)
        events = listener.until(last("dir.deleted", "d"))
    made = foreign(events)
    assert made[:3] == [("file.created", "f"), ("file.written", "f"), ("file.closed", "f")]
    for wanted in (
        ("dir.created", "d"),
        ("file.renamed", "f"),
        ("file.symlinked", "l"),
        ("file.deleted", "g"),
        ("dir.deleted", "d"),
    ):
        assert wanted in made
    closed = next(e for e in events if e["type"] == "file.closed")
    assert closed["attrs"]["written"] is True
    assert closed["pid"] == writer
    renamed = next(e for e in events if e["type"] == "file.renamed")
    assert renamed["dest"].endswith("/d/g")
    assert next(e for e in events if e["type"] == "file.symlinked")["attrs"]["target"] == "target"


def test_a_save_by_rename_behind_the_mount(mount: Mount, place: tuple[Path, Path]) -> None:
    """A rename over a file that the mount has shown is `file.replaced` too; over a free name it is not."""
    behind, front = place
    (behind / "f").write_text("old text")
    eventually((front / "f").exists)
    with Listener(mount.mountpoint, "file") as listener:
        shell("printf new > tmp; mv tmp f; printf x > other; mv other free; rm free", behind)
        events = listener.until(last("file.deleted", "free"))
    renamed = [e for e in events if e["type"] in ("file.renamed", "file.replaced")]
    assert [e["type"] for e in renamed] == ["file.renamed", "file.replaced", "file.renamed"]
    replaced = renamed[1]
    assert (replaced["path"].split("/")[-1], replaced["size"], replaced["attrs"]["size_before"]) == ("f", 3, 8)
    assert (replaced["attrs"]["from"].split("/")[-1], replaced["attrs"]["origin"]) == ("tmp", "backing")
    eventually(lambda: (front / "f").read_text() == "new")


def test_a_changed_mode_and_owner_are_told_apart(mount: Mount, place: tuple[Path, Path]) -> None:
    """For an object that the kernel knows, the event says what attribute changed and from what."""
    behind, front = place
    (behind / "f").write_text("x")
    eventually((front / "f").exists)
    with Listener(mount.mountpoint, "file.attr") as listener:
        shell("chmod 640 f", behind)
        (mode,) = listener.until(last("file.attr.mode", "f"))
        shell("chown 12:34 f", behind)
        (owner,) = listener.until(last("file.attr.owner", "f"))
    assert (mode["attrs"]["before"], mode["attrs"]["mode"]) == ("0o644", "0o640")
    assert (owner["attrs"]["uid"], owner["attrs"]["gid"]) == (12, 34)


def test_the_changer_is_named(mount: Mount, place: tuple[Path, Path]) -> None:
    """A process that still runs when its change is told has user, group and name in the event."""
    behind, _ = place
    behind.chmod(0o777)
    command = ["setpriv", "--reuid=12", "--regid=34", "--clear-groups", "sh", "-c", "printf x > f; sleep 0.3"]
    with Listener(mount.mountpoint, "file.created") as listener:
        subprocess.run(command, cwd=behind, check=True)
        (event,) = listener.until(last("file.created", "f"))
    assert (event["uid"], event["gid"], event["comm"]) == (12, 34, "sh")


def test_a_file_moved_in_is_complete(mount: Mount, place: tuple[Path, Path]) -> None:
    """What is moved in from outside the source is created and closed; what is moved out is deleted."""
    behind, front = place
    with Listener(mount.mountpoint, "file") as listener, scratch() as outside:
        (outside / "f").write_text("x")
        (outside / "f").rename(behind / "f")
        events = listener.until(last("file.closed", "f"))
        eventually((front / "f").exists)
        (behind / "f").rename(outside / "f")
        events += listener.until(last("file.deleted", "f"))
    assert foreign(events) == [("file.created", "f"), ("file.closed", "f"), ("file.deleted", "f")]
    assert events[1]["attrs"]["written"] is True


def test_what_happens_elsewhere_is_nothing(mount: Mount) -> None:
    """Changes on the same filesystem but outside the source are no events."""
    with Listener(mount.mountpoint, "file,dir") as listener, scratch() as outside:
        shell("echo x > f; mkdir d; mv f d; rm -r d", outside)
        shell("echo x > marker; rm marker", mount.source)
        events = listener.until(last("file.deleted", "marker"))
    assert {name for _, name in foreign(events)} == {"marker"}


def test_our_own_doing_is_not_foreign(mount: Mount, place: tuple[Path, Path]) -> None:
    """What clients do through the mount, reading and writing in the kernel included, has no second event."""
    behind, front = place
    with Listener(mount.mountpoint, "file.created,file.renamed,file.closed,file.deleted,file.attr,dir") as listener:
        script = "for i in 1 2 3; do echo x > f$i; cat f$i; dd if=/dev/zero of=f$i bs=64k count=20 status=none; "
        script += "chmod u+s f$i; echo y >> f$i; mv f$i g$i; chmod 600 g$i; ln g$i h; rm h g$i; mkdir d; rmdir d; done"
        shell(f"({script}) > /dev/null", front)
        shell("touch end", behind)
        events = listener.until(last("file.created", "end"))
    assert foreign(events) == [("file.created", "end")]
    assert ("file.closed", True) in [(e["type"], e.get("attrs", {}).get("written")) for e in events]


def test_a_native_writer_that_stays_open_is_not_foreign(mount: Mount, place: tuple[Path, Path]) -> None:
    """Writes that the kernel does for a client are no events of the backing tree while the file is open either."""
    behind, front = place
    with Listener(mount.mountpoint, "file.created,file.closed,file.deleted") as listener:
        with (front / "f").open("wb") as file:
            for _ in range(20):
                file.write(b"x" * 4096)
                file.flush()
                time.sleep(0.005)
        shell("touch end", behind)
        events = listener.until(last("file.created", "end"))
    assert foreign(events) == [("file.created", "end")]


def test_reading_through_the_mount_hides_no_change(mount: Mount, place: tuple[Path, Path]) -> None:
    """A file that a client has open natively for reading is still watched: others' writes are events."""
    behind, front = place
    (behind / "f").write_text("x")
    eventually((front / "f").exists)
    with Listener(mount.mountpoint, "file.closed") as listener, (front / "f").open():
        shell("printf y >> f", behind)
        events = listener.until(last("file.closed", "f"))
    assert foreign(events) == [("file.closed", "f")]


def test_another_filesystem_within_is_watched() -> None:
    """A filesystem mounted beneath the source is watched from when the mount meets it."""
    with scratch() as directory:
        source = directory / "source"
        (source / "inner").mkdir(parents=True)
        run("mount", "-t", "tmpfs", "vexfs-test", str(source / "inner"))
        try:
            with watched(source=source) as mount, Listener(mount.mountpoint, "file.closed") as listener:
                assert os.listdir(mount.mountpoint / "inner") == []
                assert not (mount.mountpoint / "inner" / "f").exists()
                shell("printf x > f", source / "inner")
                (event,) = listener.until(last("file.closed", "f"))
                assert event["path"] == "inner/f"
                eventually((mount.mountpoint / "inner" / "f").exists)
        finally:
            run("umount", str(source / "inner"))


def test_a_mount_in_place_is_watched_beneath() -> None:
    """Where the mount covers its own source, changes by those who were there before are seen."""
    with scratch() as directory:
        source, workflows = directory / "source", directory / "workflows"
        source.mkdir()
        workflows.mkdir()
        beneath = os.open(source, os.O_RDONLY)
        try:
            with (
                mounted(source, arguments=("--workflows", str(workflows)), mountpoint=source) as mount,
                Listener(mount.mountpoint, "file.closed") as listener,
            ):
                assert not (source / "f").exists()
                os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=beneath))
                (event,) = listener.until(last("file.closed", "f"))
                assert event["path"] == "f"
                eventually((source / "f").exists)
        finally:
            os.close(beneath)


def test_an_overflow_is_one_gap_and_nothing_stays_wrong() -> None:
    """When the kernel drops notifications there is a gap event, and whatever the kernel remembered is asked anew."""
    limit = QUEUE.read_text()
    with scratch() as directory:
        source = directory / "source"
        for name in ("kept", "moved"):
            (source / name).mkdir(parents=True)
        (source / "kept" / "f").write_text("one")
        QUEUE.write_text("8")
        try:
            with watched(source=source) as mount:
                QUEUE.write_text(limit)
                _overflow(mount)
        finally:
            QUEUE.write_text(limit)


def _overflow(mount: Mount) -> None:
    front, source = mount.mountpoint, mount.source
    with Listener(front, "system.gap") as listener:
        for _ in range(2):
            assert (front / "kept" / "f").read_text() == "one"
            assert not (front / "kept" / "absent").exists()
            assert sorted(os.listdir(front)) == ["kept", "moved"]
        flood = "i=0; while [ $i -lt 2000 ]; do : > x$i; i=$((i+1)); done; rm x*"
        threads = [threading.Thread(target=shell, args=(flood, source / "moved")) for _ in range(1)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        (source / "kept" / "absent").write_text("there")
        (source / "kept" / "f").write_text("three")
        for thread in threads:
            thread.join()
        (source / "moved").rename(source / "gone")
        gaps = [e for e in listener.until(lambda event: event["type"] == "system.gap") if e["type"] == "system.gap"]
        assert gaps[0]["attrs"]["origin"] == "backing"
        eventually((front / "kept" / "absent").exists)
        eventually(lambda: (front / "kept" / "f").read_text() == "three")
        eventually(lambda: (front / "kept" / "f").stat().st_size == 5)
        eventually(lambda: sorted(os.listdir(front)) == ["gone", "kept"])


def test_exclusive_means_unwatched() -> None:
    """With --exclusive nothing is watched: the kernel believes what it knows, and changes behind are no events."""
    with watched("--exclusive") as mount:
        (mount.source / "f").write_text("one")
        assert (mount.mountpoint / "f").stat().st_size == 3
        time.sleep(0.2)
        with Listener(mount.mountpoint, "file,dir") as listener:
            shell("printf three > f; touch end", mount.source)
            time.sleep(1.2)
            assert (mount.mountpoint / "f").stat().st_size == 3
            assert foreign(listener.take()) == []
        (mount.mountpoint / "f").write_text("seven!!")
        assert (mount.mountpoint / "f").stat().st_size == 7


def test_a_given_timeout_wins() -> None:
    """Timeouts that were asked for hold, watch or no watch."""
    with watched("--exclusive", "--attr-timeout", "0", "--entry-timeout", "0") as mount:
        (mount.source / "f").write_text("one")
        assert (mount.mountpoint / "f").stat().st_size == 3
        assert not (mount.mountpoint / "g").exists()
        shell("printf three > f; touch g", mount.source)
        assert (mount.mountpoint / "f").stat().st_size == 5
        assert (mount.mountpoint / "g").exists()


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_many_changes_at_once_all_show(kind: str) -> None:
    """A tree of 2,000 files that appears behind the mount, known and unknown directories alike, is all there."""
    with filesystem(kind) as root:
        source = root / "source"
        (source / "known").mkdir(parents=True)
        with watched(source=source) as mount, Listener(mount.mountpoint, "file.closed") as listener:
            front = mount.mountpoint
            names = [f"known/{i}" for i in range(1000)] + [f"deep/{i % 7}/{i}" for i in range(1000, 2000)]
            assert not any((front / name).exists() for name in names)
            shell("mkdir -p deep/0 deep/1 deep/2 deep/3 deep/4 deep/5 deep/6", source)
            script = "import sys\nfor n in sys.stdin.read().split(): open(n, 'w').write('x')"
            subprocess.run(["python3", "-c", script], input="\n".join(names), text=True, cwd=source, check=True)
            events = listener.until(last("file.closed", names[-1].rpartition("/")[2]))
            eventually(lambda: all((front / name).exists() for name in names))
            assert sorted(e["path"] for e in events if e["type"] == "file.closed") == sorted(names)
