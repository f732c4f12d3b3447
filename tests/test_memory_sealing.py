"""Where paths must not be written, what detection remembers is sealed: it goes on after a kill all the same."""

import contextlib
import os
import shutil
import signal
import time

import pytest

from automation.errors import WorldError
from automation.memory.event_log import EventLog, read_segments
from automation.memory.frames import begin, pack, unpack
from automation.memory.recovery import read_earlier
from automation.memory.sealing import Keyhole
from automation.memory.snapshots import SnapshotFile, read_snapshot
from tests.mounting import mounted, scratch
from tests.patience import eventually

KEY = b"k" * 32
PAIR = """
patterns: {pair: 'a(file.created, "vault/*.a") -> b(file.created, "vault/*.b") within 1h'}
triggers: [{type: pattern, pattern: pair}]
steps: [{write: {path: "{{ match.steps.a[0].path }}.seen", content: "{{ match.steps.b[0].name }}"}}]
"""
QUIET = """
triggers: [{types: file.closed, path: "vault/*.txt", settle: 4s}]
steps: [{copy: {source: "{{ event.path }}", target: "vault/copy"}}]
"""
RULES = '[journal.redact-paths]\n"vault/**" = "hash"\n'
HIDDEN = (b"plan-nine", b"testament", b"earlier")


def test_frames_are_sealed_and_opened():
    """With the key and in their order only; the first one is in clear."""
    seal = Keyhole(KEY, sealing=True).new()
    frames = [begin(("begin", 1), seal), *(pack([("k", f"plan-{i}")], seal) for i in range(3))]
    whole = b"".join(frames)
    assert b"plan" not in whole and b"begin" in whole
    assert [records for _, records in unpack(whole, Keyhole(KEY))][1:] == [[("k", f"plan-{i}")] for i in range(3)]
    for data, keyhole in (
        (whole, Keyhole(b"o" * 32)),
        (whole, Keyhole()),
        (b"".join([frames[0], frames[2], frames[1]]), Keyhole(KEY)),
    ):
        with pytest.raises(WorldError, match="sealed"):
            list(unpack(data, keyhole))


def test_files_without_their_key_are_told_of_and_not_used(tmp_path):
    """The log and the snapshot; the life that they were of is not taken up, so that no number is given twice."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    keyhole = Keyhole(KEY, sealing=True)
    log = EventLog(fd, (), keyhole)
    log.open(7)
    log.append([("k", "plan", 1)])
    log.close()
    snapshot = SnapshotFile(fd, 1, keyhole)
    snapshot.part("desk", "name", 0)
    snapshot.add(["plan"])
    snapshot.finish(0)
    assert not any(b"plan" in path.read_bytes() for path in tmp_path.iterdir())
    assert read_snapshot(fd, 1, Keyhole(KEY)).parts["desk", "name"].rows == ["plan"]
    assert read_segments(fd, Keyhole(KEY))[0].frames == [[("k", "plan", 1)]]
    known, unknown = read_earlier(fd, Keyhole(KEY)), read_earlier(fd)
    assert known.problems == [] and known.values == {"plan": 1} and known.epoch == 7
    assert len(unknown.problems) == 2 and all("sealed" in problem for problem in unknown.problems)
    assert unknown.snapshot is None and unknown.epoch != 7
    os.close(fd)


@pytest.mark.mount
def test_no_such_path_is_in_what_detection_remembers():
    """The first half of a pattern and a file that settles, killed: their names are nowhere in `detection/`, not even
    those of before the rule; the next mount completes both, on the real paths. Without the key it says so and goes on.
    """
    with scratch() as place:
        (place / "source" / "vault").mkdir(parents=True)
        (place / "workflows").mkdir()
        (place / "workflows" / "pair.yaml").write_text(PAIR)
        (place / "workflows" / "quiet.yaml").write_text(QUIET)
        config, vault = place / "vexfs.toml", place / "source" / "vault"
        given = ["--config", f"{config}", "--workflows", f"{place}/workflows", "--state-dir", f"{place}/state"]
        config.write_text("")
        with mounted(place / "source", arguments=given, exit_code=None) as mount:
            (mount.mountpoint / "vault" / "earlier.a").write_text("x")
            _kill(mount)
        assert HIDDEN[2] in _remembered(place)
        config.write_text(RULES)
        with mounted(place / "source", arguments=given, exit_code=None) as mount:
            (mount.mountpoint / "vault" / "first.b").write_text("x")
            eventually((vault / "earlier.a.seen").exists)
            eventually(lambda: HIDDEN[2] not in _remembered(place))
            (mount.mountpoint / "vault" / "plan-nine.a").write_text("x")
            (mount.mountpoint / "vault" / "testament.txt").write_text("x")
            time.sleep(0.3)  # the kernel tells of the close a moment later
            _kill(mount)
        assert not [word for word in HIDDEN if word in _remembered(place)]
        with mounted(place / "source", arguments=given) as mount:
            (mount.mountpoint / "vault" / "other.b").write_text("x")
            eventually((vault / "plan-nine.a.seen").exists)
            eventually((vault / "copy").exists)
            assert (vault / "plan-nine.a.seen").read_text() == "other.b"
            (mount.mountpoint / "vault" / "testament.a").write_text("x")
        assert not [word for word in HIDDEN if word in _remembered(place)]  # the last snapshot
        shutil.move(place / "state" / "journal.key", place / "elsewhere")
        with mounted(place / "source", arguments=given) as mount:
            assert "sealed with another key" in mount.text()
            (mount.mountpoint / "vault" / "plan-nine.a").unlink()
            (mount.mountpoint / "vault" / "plan-nine.a").write_text("x")
            (mount.mountpoint / "vault" / "third.b").write_text("x")
            eventually(lambda: (vault / "plan-nine.a.seen").read_text() == "third.b")


@pytest.mark.mount
def test_the_key_may_lie_elsewhere():
    """`journal.key` is a link to where there is no key yet: it is made there, none in the state directory."""
    with scratch() as place:
        for name in ("source", "workflows", "state", "keys"):
            (place / name).mkdir()
        (place / "state" / "journal.key").symlink_to(place / "keys" / "journal.key")
        (place / "vexfs.toml").write_text(RULES)
        given = ["--config", f"{place}/vexfs.toml", "--workflows", f"{place}/workflows"]
        with mounted(place / "source", arguments=[*given, "--state-dir", f"{place}/state"]):
            made = place / "keys" / "journal.key"
            assert made.stat().st_mode & 0o777 == 0o600 and (place / "state" / "journal.key").is_symlink()


def _kill(mount):
    mount.process.send_signal(signal.SIGKILL)
    mount.process.wait()


def _remembered(place):
    found = []
    for path in (place / "state" / "detection").iterdir():
        with contextlib.suppress(FileNotFoundError):  # replaced just now
            found.append(path.read_bytes())
    return b"".join(found)
