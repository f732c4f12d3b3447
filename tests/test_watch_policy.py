"""`--io`: who decides whether reads and writes are events, and what the status tells of those that nobody sees."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from automation.bus import Bus
from tests.listening import Listener
from tests.mounting import Mount, mounted, scratch
from tests.opening import open_many
from vexfs_fuse.interest import Interest


@contextlib.contextmanager
def mount_with(*arguments: str, config: str = "") -> Iterator[Mount]:
    """A mount without automations, by options or a configuration file."""
    with scratch() as directory:
        (directory / "source").mkdir()
        (directory / "workflows").mkdir()
        (directory / "vexfs.toml").write_text(config)
        given = ("--workflows", str(directory / "workflows"), "--config", str(directory / "vexfs.toml"), *arguments)
        with mounted(directory / "source", arguments=given) as mount:
            yield mount


def writes(mount: Mount, *names: str) -> dict[str, bool]:
    """Whether the write of each file was an event of its own, with an offset."""
    with Listener(mount.mountpoint, "file.written,file.closed") as listener:
        for name in names:
            (mount.mountpoint / name).write_text("x")
        events = listener.until(lambda event: event["type"] == "file.closed" and event["path"] == names[-1])
    return {e["path"]: "offset" in e for e in events if e["type"] == "file.written"}


def test_a_table_decides_by_the_first_glob() -> None:
    """Of several globs that match a path the first one counts, and `auto` asks who listens."""
    bus = Bus()
    interest = Interest(bus, {"a/b/**": "auto", "a/**": "native", "**": "traced"})
    assert not interest.in_data("a/b/f")
    bus.subscribe("reader", ("file.read",))
    assert interest.in_data("a/b/f")
    assert not interest.in_data("a/f")
    assert interest.in_data("f")


@pytest.mark.mount
def test_native_shows_summaries_only() -> None:
    """With --io=native a write is no event of its own, though somebody listens."""
    with mount_with("--io=native") as mount:
        assert writes(mount, "f") == {"f": False}


@pytest.mark.mount
def test_the_file_says_it_by_glob() -> None:
    """The table [io] decides for the paths that it names; a listener for the others."""
    with mount_with(config='[io]\n"*.log" = "native"\n') as mount:
        assert writes(mount, "a.log", "b") == {"a.log": False, "b": True}


@pytest.mark.mount
def test_the_status_lists_what_nobody_sees() -> None:
    """Files that were open natively before somebody listened are counted and named, until they are closed."""
    with mount_with() as mount:
        status, metrics = mount.mountpoint / ".vexfs" / "status", mount.mountpoint / ".vexfs" / "metrics"
        with (mount.mountpoint / "early").open("w"):
            assert "unseen" not in status.read_text()
            with Listener(mount.mountpoint, "file.written"):
                assert "1 open natively though something listens: early" in status.read_text()
                assert "vexfs_open_files_unseen 1.0" in metrics.read_text()
        with Listener(mount.mountpoint, "file.written"), (mount.mountpoint / "late").open("w"):
            assert "unseen" not in status.read_text()


@pytest.mark.mount
def test_the_status_tells_of_the_watch() -> None:
    """What is watched, and how much has been seen, is in the status and the metrics."""
    with mount_with() as mount:
        with Listener(mount.mountpoint, "file.created") as listener:
            Path(mount.source / "f").touch()
            listener.until(lambda event: event["path"] == "f")
        assert "fanotify on 1 filesystem" in (mount.mountpoint / ".vexfs" / "status").read_text()
        assert "vexfs_watch_gaps_total 0.0" in (mount.mountpoint / ".vexfs" / "metrics").read_text()
    with mount_with("--exclusive") as mount:
        assert "off: nobody else" in (mount.mountpoint / ".vexfs" / "status").read_text()


@pytest.mark.mount
def test_no_open_leaves_a_file_registered_with_the_kernel() -> None:
    """Whatever becomes of the names of open files: at the last close the kernel lets go of the file behind.

    `python -m tests.soak opens` does a hundred thousand.
    """
    with mount_with() as mount:
        assert open_many(mount.mountpoint, 1000) > 200
