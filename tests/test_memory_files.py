"""The event log and snapshots as files: cut, damaged, full, bounded."""

import logging
import os
import random
import shutil

import pytest
import trio

from automation.errors import WorldError
from automation.event_rows import event_row, read_row
from automation.events import Cause, SemanticEvent
from automation.memory.event_log import EventLog, read_segments
from automation.memory.frames import pack, unpack
from automation.memory.recovery import read_earlier
from automation.memory.snapshots import SnapshotFile, numbers, read_snapshot
from tests.memory_rig import Detection

PAIR = {
    "pair": """
patterns: {pair: 'a(user.a) -> b(user.b)'}
triggers: [{type: pattern, pattern: pair}]
steps: [{log: {message: x}}]
"""
}


@pytest.fixture
def directory(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def written(directory, count, **bounds):
    log = EventLog(directory, **bounds)
    log.open(7)
    for number in range(count):
        log.append([("k", "key", number)])
    log.close()
    return log


def found(directory):
    return [records[0][2] for segment in read_segments(directory) for records in segment.frames]


def test_an_event_is_the_same_after_its_row():
    """Every field, bytes that are no UTF-8, attributes that are no plain values."""
    event = SemanticEvent(
        "file.renamed",
        "a\udc80",
        "b",
        inode=1 << 63,
        size=0,
        offset=2,
        length=3,
        pid=4,
        uid=5,
        gid=6,
        comm="cp",
        tenant="t",
        cause=Cause("r", "w", 2),
        errno="ENOENT",
        attrs={"x": [1, {"y": None}]},
        ts=-1,
    )
    event.seq = 9
    ((_, (row,)),) = unpack(pack([event_row(event)]))
    assert read_row(row).as_dict() == event.as_dict()
    odd = SemanticEvent("user.x", attrs={"path": os, "nested": {"set": {1}}})
    ((_, (row,)),) = unpack(pack([event_row(odd)]))
    assert read_row(row).attrs == {"path": str(os), "nested": {"set": "{1}"}}


def test_of_a_log_that_was_cut_everything_before_the_cut_is_read(tmp_path, directory):
    """At any byte."""
    written(directory, 5)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    ends = [end for end, _ in unpack(whole)]
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        assert found(directory) == list(range(max(0, sum(end <= size for end in ends) - 1)))
        problems = read_earlier(directory).problems
        assert bool(problems) == (size not in (0, *ends))


def test_a_flipped_bit_anywhere_loses_what_follows_and_nothing_before(tmp_path, directory):
    """In the first segment; the second one is read all the same."""
    log = written(directory, 4, segment_bytes=10_000)
    log.open(7)
    log.append([("k", "key", "second")])
    log.close()
    first, _ = sorted(tmp_path.iterdir())
    whole = first.read_bytes()
    ends = [end for end, _ in unpack(whole)]
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << random.Random(at).randrange(8)
        first.write_bytes(damaged)
        good = max(0, sum(end <= at for end in ends) - 1)
        assert found(directory) == [*range(good), "second"]
        assert "damaged" in read_earlier(directory).problems[0]


def test_segments_follow_each_other_and_go_when_nobody_needs_them(tmp_path, directory):
    """Numbers of frames go on over segments, and over a log that is opened anew."""
    log = written(directory, 100, segment_bytes=200)
    assert found(directory) == list(range(100))
    assert log.segments > 10
    assert log.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    log.prune(50)
    assert found(directory)[0] <= 50
    assert found(directory)[-1] == 99
    again = EventLog(directory, read_segments(directory))
    again.open(7)
    again.append([("k", "key", 100)])
    assert again.frames == 101
    assert found(directory)[-1] == 100
    again.prune(1000)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_log_is_bounded(directory):
    """It refuses what would make it larger."""
    log = EventLog(directory, most_bytes=1000)
    log.open(7)
    with pytest.raises(WorldError, match="more than"):
        for _ in range(1000):
            log.append([("k", "key", "x" * 10)])
    assert 900 < log.size <= 1000
    log.close()


def test_a_snapshot_with_any_byte_changed_or_missing_counts_as_none(tmp_path, directory):
    """The one before it is kept for that."""
    for number in (1, 2, 3):
        snapshot = SnapshotFile(directory, number)
        snapshot.part("desk", "name", 5)
        snapshot.add([number, "row"])
        snapshot.finish(4)
    assert numbers(directory) == [2, 3]
    assert read_snapshot(directory, 3).parts["desk", "name"].rows == [3, "row"]
    file = sorted(tmp_path.iterdir())[-1]
    whole = file.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << random.Random(at).randrange(8)
        for data in (damaged, whole[:at]):
            file.write_bytes(data)
            assert read_snapshot(directory, 3) is None
    earlier = read_earlier(directory)
    assert earlier.snapshot.number == 2
    assert "the one before it is used" in earlier.problems[0]


async def test_a_damaged_snapshot_costs_nothing_while_the_log_reaches_back(tmp_path, autojump_clock, caplog):
    """The snapshot before it and the log say the same; a warning and an event tell of it."""
    ran = []
    detection = await Detection(tmp_path / "0", ran, PAIR).begin()
    detection.publish("user.a", 1)
    detection.step()
    await detection.memory.snapshot()
    detection.killed(tmp_path / "1")
    newest = sorted((tmp_path / "1/detection").glob("snapshot-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        detection = Detection(tmp_path / "1", ran, PAIR)
        heard = detection.bus.subscribe("test", ("system.memory",))
        await detection.begin()
    assert "is damaged" in caplog.text
    assert "is damaged" in heard.receive_nowait()[0].attrs["reason"]
    detection.publish("user.b", 2)
    detection.step()
    detection.killed(tmp_path / "2")
    assert ran == [("pair", "f", (1, 2), 2)]


async def test_whatever_is_damaged_detection_starts(tmp_path, autojump_clock):
    """Files of noise, files that cannot be opened, none at all: each time it begins with what could be read."""
    ran = []
    detection = await Detection(tmp_path / "0", ran, PAIR).begin()
    detection.publish("user.a", 1)
    detection.step()
    detection.killed(tmp_path / "whole")
    names = sorted(path.name for path in (tmp_path / "whole/detection").iterdir())
    for case in range(20):
        dice, directory = random.Random(case), tmp_path / f"case{case}"
        shutil.copytree(tmp_path / "whole", directory)
        for name in dice.sample(names, dice.randrange(1, len(names) + 1)):
            file = directory / "detection" / name
            data = bytearray(file.read_bytes())
            file.unlink()
            if dice.random() < 0.6:
                data[dice.randrange(len(data))] ^= 255
                file.write_bytes(data if dice.random() < 0.7 else dice.randbytes(100))
            elif dice.random() < 0.3:
                file.symlink_to("/dev/null")
        detection = await Detection(directory, [], PAIR).begin()
        detection.publish("user.a", 2)
        detection.step()
        detection.publish("user.b", 3)
        detection.step()
        detection.killed(tmp_path / f"after{case}")
        assert detection.runner.ran


async def test_a_log_that_cannot_be_written_is_given_up_and_tried_again(tmp_path, autojump_clock, monkeypatch):
    """Events go on; the log and `system.memory` say so; a new snapshot makes good what was not recorded."""
    ran = []
    detection = await Detection(tmp_path / "0", ran, PAIR).begin()
    heard = detection.bus.subscribe("test", ("system.memory",))
    write = os.write

    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    detection.publish("user.a", 1)
    detection.step()
    assert "No space left" in detection.memory.status()["log"]
    async with trio.open_nursery() as nursery:
        await nursery.start(detection.memory.run)
        await trio.sleep(5)
        assert "No space left" in heard.receive_nowait()[0].attrs["reason"]
        detection.memory._at -= 100
        await trio.sleep(5)
        assert detection.memory.status()["log"] != "on"
        monkeypatch.setattr(os, "write", write)
        detection.memory._at -= 100
        await trio.sleep(5)
        assert detection.memory.status()["log"] == "on"
        nursery.cancel_scope.cancel()
    detection.killed(tmp_path / "1")
    detection = await Detection(tmp_path / "1", ran, PAIR).begin()
    detection.publish("user.b", 2)
    detection.step()
    detection.killed(tmp_path / "2")
    assert ran == [("pair", "f", (1, 2), 2)]


async def test_a_stop_while_an_event_waits_asks_for_no_log_that_went_before(tmp_path, autojump_clock):
    """However many lives the log has outlived: what is pruned was not needed, and no start says that it is missing."""
    (tmp_path / "0").mkdir()
    ran = []
    for number in range(6):
        detection = await Detection(tmp_path / str(number), ran, PAIR).begin()
        detection.publish("user.b", number)
        detection.step()
        if number == 5:
            detection.publish("user.a", number)
        await detection.closed(tmp_path / str(number + 1))
    assert min(int(file.stem[-12:]) for file in (tmp_path / "6/detection").glob("*.log")) > 1
    fd = os.open(tmp_path / "6/detection", os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert read_earlier(fd).problems == []
    finally:
        os.close(fd)
    last = await Detection(tmp_path / "6", ran, PAIR).begin()
    assert last.memory.recovery["problems"] == []
    last.publish("user.b", 9)
    last.step()
    assert ran == [("pair", "f", (5, 9), 2)]
    await last.closed(tmp_path / "7")
