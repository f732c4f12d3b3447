"""Promise 2, publishing never blocks: a reader that lags loses its oldest events, is told, and stops nobody."""

import os
import time
from dataclasses import dataclass

import pytest

from tests.listening import Event, Listener, typed
from tests.mounting import Mount
from vexfs_fuse.control.events import QUEUE

pytestmark = pytest.mark.mount

LAST = "the-last"


@dataclass(frozen=True, slots=True)
class Overflow:
    """What a slow reader of everything got, what was said of it, and the longest that one operation took (seconds)."""

    found: list[Event]
    told: list[Event]
    slowest: float

    @property
    def gap(self) -> Event:
        """The gap record."""
        return self.found[0]

    @property
    def kept(self) -> list[int]:
        """Numbers of the events that the reader got."""
        return [event["seq"] for event in self.found[1:]]


@pytest.fixture(scope="module")
def overflow(mount: Mount) -> Overflow:
    """More operations than a queue holds, with a reader that sleeps meanwhile."""
    path, slowest = mount.mountpoint / "dir", 0.0
    with Listener(mount.mountpoint) as slow, Listener(mount.mountpoint, "system.gap") as told:
        for _ in range(QUEUE // 2 + 1_000):
            start = time.perf_counter()
            os.mkdir(path)
            os.rmdir(path)
            slowest = max(slowest, time.perf_counter() - start)
        (mount.mountpoint / LAST).mkdir()
        found = slow.until(typed("dir.created", LAST))
        return Overflow(found, told.until(typed("system.gap")), slowest)


def test_the_reader_is_told_how_many_it_lost(overflow: Overflow) -> None:
    """The stream starts with the one gap record; what it counts lies between its first and last number."""
    assert [event["type"] for event in overflow.found].index("system.gap") == 0
    gap = overflow.gap["attrs"]
    assert gap["last"] - gap["first"] + 1 == gap["dropped"] >= 2_000


def test_the_gap_is_where_the_loss_is(overflow: Overflow) -> None:
    """The first event after the record is the one after the last lost."""
    assert overflow.kept[0] == overflow.gap["attrs"]["last"] + 1


def test_the_newest_are_kept(overflow: Overflow) -> None:
    """What the reader still gets are the last events, as many as its queue holds, without a hole."""
    kept = overflow.kept
    assert kept == list(range(kept[0], kept[0] + len(kept)))
    assert len(kept) == QUEUE
    assert overflow.found[-1]["path"] == LAST


def test_others_hear_of_it(overflow: Overflow) -> None:
    """The loss is an event on the bus, for those who watch the watchers."""
    assert overflow.told[-1]["attrs"]["dropped"] == overflow.gap["attrs"]["dropped"]


def test_nobody_waited(overflow: Overflow) -> None:
    """No operation waited for the slow reader."""
    assert overflow.slowest < 30.0


def test_metrics_count_the_loss(mount: Mount, overflow: Overflow) -> None:
    """What was dropped is visible in the metrics, and the mount goes on."""
    assert overflow.gap
    assert "dropped" in (mount.mountpoint / ".vexfs" / "metrics").read_text()
