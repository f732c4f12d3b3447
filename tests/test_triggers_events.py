"""The event trigger as a function of events and time: no clock, no mount."""

import pytest

from automation.events import Cause, SemanticEvent
from automation.triggers.forms import EventTrigger
from automation.triggers.on_event import OnEvent
from automation.triggers.writers import Writers


class Bench:
    """A trigger, the table of writers that a dispatcher would keep, and a virtual clock."""

    def __init__(self, state=None, variables=None, **form):
        self.writers, self.now, self.fired = Writers(), 0.0, []
        self.trigger = OnEvent(
            "w",
            0,
            EventTrigger.model_validate(form),
            variables=variables or {},
            state=lambda: state or {},
            busy=self.writers.busy,
        )

    def feed(self, type, path="in/a", dest=None, at=None, **fields):
        """Feed an event at a time, having let what was due before happen."""
        self.until(self.now if at is None else at)
        event = SemanticEvent(type, path, dest, **fields)
        self.writers.note(event)
        self._take(self.trigger.feed(event, self.now))

    def until(self, now):
        """Let time pass, calling `due` when the trigger wants it."""
        while (deadline := self.trigger.deadline) is not None and deadline <= now:
            self.now = max(self.now, deadline)
            self._take(self.trigger.due(self.now))
        self.now = now

    def _take(self, firings):
        self.fired += [(self.now, f.event.path if f.event.dest is None else f.event.dest, f.count) for f in firings]


def closed(written=True, mode="w"):
    return {"written": written, "mode": mode}


MATCHING = [
    ({}, {"type": "file.closed"}, True),
    ({}, {"type": "file.opened"}, False),
    ({"types": "file"}, {"type": "file.attr.mode"}, True),
    ({"types": ["file.attr.*", "dir"]}, {"type": "dir.created"}, True),
    ({"types": "*"}, {"type": "user.anything"}, True),
    ({"path": "in/*"}, {"path": "out/a"}, False),
    ({"path": ["in/*", "!*.tmp", "!**/*.tmp"]}, {"path": "in/a.tmp"}, False),
    ({"types": "file.renamed", "path": "in/*"}, {"type": "file.renamed", "path": "x", "dest": "in/y"}, True),
    ({"types": "file.renamed", "path": "in/*"}, {"type": "file.renamed", "path": "in/y", "dest": "x"}, False),
    ({"types": "file.renamed", "from": "in/*"}, {"type": "file.renamed", "path": "in/y", "dest": "x"}, True),
    ({"from": "in/*"}, {"path": "in/y"}, False),
    ({"size": "> 1KB"}, {"size": 1001}, True),
    ({"size": "> 1KB"}, {"size": 1000}, False),
    ({"size": "> 1KB"}, {}, False),
    ({"written": True}, {"attrs": {"written": True}}, True),
    ({"written": True}, {}, False),
    ({"written": True}, {"attrs": {"written": False, "created": True}}, False),
    ({"written": True, "types": ["file.closed", "file.renamed"]}, {"type": "file.renamed", "dest": "x"}, True),
    ({}, {"attrs": {"written": False, "created": False}}, False),
    ({}, {"attrs": {"written": False, "created": True}}, True),
    ({"written": "any"}, {"attrs": {"written": False}}, True),
    ({"written": False}, {"attrs": {"written": False}}, True),
    ({"written": False}, {"attrs": {"written": True}}, False),
    ({"types": "file"}, {"attrs": {"written": False}}, True),
    ({"uid": 7}, {"uid": 7}, True),
    ({"uid": [7, 8]}, {"uid": 9}, False),
    ({"comm": ["*ftp*", "!sftp"]}, {"comm": "vsftpd"}, True),
    ({"comm": ["*ftp*", "!sftp"]}, {"comm": "sftp"}, False),
    ({"comm": "!rsync"}, {"comm": "cp"}, True),
    ({"where": "event.size % 2 == 0 && vars.on"}, {"size": 4}, True),
    ({"where": "{{ event.name.startsWith('a') }}"}, {}, True),
    ({"where": "state.mode == 'busy'"}, {}, True),
    ({"where": "event.size > 3"}, {}, False),
    ({}, {"errno": "ENOENT"}, False),
    ({"failed": True}, {"errno": "ENOENT"}, True),
    ({}, {"attrs": {"nlink": 0}}, False),
    ({}, {"cause": Cause("r", "w", 1)}, False),
    ({"own": True}, {"cause": Cause("r", "w", 1)}, True),
    ({}, {"cause": Cause("r", "other", 1)}, True),
]


@pytest.mark.parametrize(("form", "event", "expected"), MATCHING)
def test_a_trigger_fires_when_all_its_conditions_hold(form, event, expected):
    """Types, paths, size, uid, comm, CEL, failed operations, own effects."""
    bench = Bench(state={"mode": "busy"}, variables={"on": True}, **form)
    bench.feed(**{"type": "file.closed", "path": "in/a", **event})
    assert bool(bench.fired) is expected


def test_a_condition_that_fails_is_counted_and_shown():
    """An evaluation error means no match, not the end of the trigger."""
    bench = Bench(where="event.attrs.nope == 1")
    bench.feed("file.closed")
    status = bench.trigger.status()
    assert not bench.fired and status["condition_errors"] == 1 and "nope" in status["last_error"]


def test_settle_waits_until_the_file_has_been_quiet():
    """Each further event of the file starts the wait anew; one firing speaks for all."""
    bench = Bench(path="in/**", settle="5s")
    for at in (0, 3, 6):
        bench.feed("file.closed", at=at)
    bench.until(10.9)
    assert not bench.fired
    bench.until(20)
    assert bench.fired == [(11, "in/a", 3)]


def test_settle_waits_for_the_last_writer():
    """A file that somebody has open for writing is not complete, however quiet it is."""
    bench = Bench(types="file.created", path="in/**", settle="5s")
    bench.feed("file.created", inode=9)
    bench.feed("file.opened", inode=9, attrs={"mode": "w"})
    bench.feed("file.opened", inode=9, attrs={"mode": "rw"}, at=1)
    bench.feed("file.closed", inode=9, attrs=closed(), at=30)
    bench.until(60)
    assert not bench.fired
    bench.feed("file.closed", inode=9, attrs=closed(), at=70)
    bench.until(100)
    assert bench.fired == [(75, "in/a", 1)]


def test_a_reader_does_not_hold_up_settling():
    """Only descriptors that may write count."""
    bench = Bench(path="in/**", settle="5s")
    bench.feed("file.closed", inode=9, attrs=closed())
    bench.feed("file.opened", inode=9, attrs={"mode": "r"}, at=1)
    bench.until(10)
    assert bench.fired == [(5, "in/a", 1)]


def test_writes_to_a_settling_file_start_the_wait_anew():
    """Also when the trigger does not ask for writes."""
    bench = Bench(path="in/**", settle="5s")
    bench.feed("file.closed", attrs=closed())
    bench.feed("file.written", at=4)
    bench.until(8.9)
    assert not bench.fired
    bench.until(9)
    assert bench.fired == [(9, "in/a", 1)]


def test_a_settling_file_is_followed_to_its_new_name():
    """Upload to a temporary name and rename: the run gets the name that exists."""
    bench = Bench(path=["in/**", "!**/*.part"], settle="5s")
    bench.feed("file.closed", "in/a.new")
    bench.feed("file.renamed", "in/a.new", "in/a.txt", at=1)
    bench.until(20)
    assert bench.fired == [(6, "in/a.txt", 2)]


def test_a_settling_file_that_leaves_or_dies_is_forgotten():
    """No run for a file that is not there any more."""
    bench = Bench(path="in/**", settle="5s")
    bench.feed("file.closed", "in/a")
    bench.feed("file.closed", "in/b")
    bench.feed("file.renamed", "in/a", "out/a", at=1)
    bench.feed("file.deleted", "in/b", at=1)
    bench.until(20)
    assert not bench.fired and bench.trigger.status()["waiting"] == 0


def test_a_file_thought_open_is_looked_at_again_after_lost_events():
    """A close that was dropped from the queue must not leave its file waiting for ever."""
    bench = Bench(path="in/**", settle="5s")
    bench.feed("file.closed", inode=9, attrs=closed())
    bench.writers.note(SemanticEvent("file.opened", "in/a", inode=9, attrs={"mode": "w"}))
    bench.until(10)
    bench.writers.note(SemanticEvent("file.closed", "in/a", inode=9, attrs=closed()))  # the trigger never sees it
    bench.trigger.recheck(10)
    bench.until(20)
    assert bench.fired == [(15, "in/a", 1)]


def test_debounce_joins_a_burst_into_one_firing():
    """Per key; the firing holds every event of the burst."""
    bench = Bench(debounce="2s", key="directory")
    for at, path in ((0, "in/a"), (1, "in/b"), (1.5, "out/c"), (2.5, "in/a")):
        bench.feed("file.closed", path, at=at)
    bench.until(10)
    assert bench.fired == [(3.5, "out/c", 1), (4.5, "in/a", 3)]


def test_cooldown_lets_the_first_through_and_counts_the_rest():
    """Per key, from the firing on."""
    bench = Bench(cooldown="10s")
    for at in (0, 5, 9.9, 10):
        bench.feed("file.closed", at=at)
    bench.feed("file.closed", "in/other", at=11)
    assert [at for at, *_ in bench.fired] == [0, 10, 11]
    assert bench.trigger.status()["suppressed"] == {"cooldown": 2}


def test_settle_debounce_and_cooldown_work_together():
    """In this order."""
    bench = Bench(settle="1s", debounce="2s", cooldown="100s", key="workflow")
    for at, path in ((0, "a"), (0.5, "b"), (10, "c"), (200, "d")):
        bench.feed("file.closed", path, at=at)
    bench.until(300)
    assert bench.fired == [(3.5, "b", 2), (203, "d", 1)]


def test_a_burst_without_end_stays_bounded():
    """At most 1,000 events are kept of a firing, all are counted."""
    bench = Bench(debounce="1s", key="workflow")
    for i in range(3000):
        bench.feed("file.closed", f"in/{i}")
    firings = bench.trigger.due(5)
    assert len(firings[0].events) == 1000 and firings[0].count == 3000


def test_a_firing_knows_the_longest_chain_behind_it():
    """The depth is that of the deepest of its events."""
    bench = Bench(debounce="1s", key="workflow")
    bench.feed("file.closed", cause=Cause("r", "other", 3))
    bench.feed("file.closed")
    (firing,) = bench.trigger.due(5)
    assert firing.depth == 3


def test_the_identity_of_a_run_is_that_of_its_firing():
    """Equal for the same events of the same mount, different otherwise; files from before the mount have their own."""
    firings = []
    for seq, path in ((1, "a"), (1, "a"), (2, "a"), (0, "a"), (0, "b")):
        bench = Bench()
        event = SemanticEvent("file.closed", path, ts=5)
        event.seq = seq
        firings += bench.trigger.feed(event, 0)
    ids = [firing.run_id(77) for firing in firings]
    assert ids[0] == ids[1] and len(set(ids)) == 4 and firings[0].run_id(78) != ids[0]
    assert all(len(one) == 16 for one in ids)
