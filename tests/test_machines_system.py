"""The state of the system: thresholds over time, by hand, by workflows; what is measured, and the sampler."""

import os
import time
from dataclasses import asdict

import pytest
import trio
from pydantic import ValidationError

from automation.bus import Bus
from automation.errors import CallerError
from automation.events import Cause
from automation.machines.load import Load, Sampler, read_pressure
from automation.machines.system_state import HISTORY, SystemState, SystemTransition
from automation.machines.thresholds import DEFAULTS, MEASURES, Threshold, Thresholds
from automation.state import State

S = 1_000_000_000


class Rig:
    """A system state with a clock that the test sets, and everything that it publishes."""

    def __init__(self, *thresholds: Threshold):
        self.bus, self.now = Bus(), 0
        self.state = State(self.bus)
        self.system = SystemState(self.state, lambda: self.now, thresholds or DEFAULTS)
        self.seen = self.bus.subscribe("test")

    def measure(self, at: float, **values: float) -> SystemTransition | None:
        self.now = round(at * S)
        return self.system.observe(values, self.now)

    def events(self):
        return [dict(event.attrs) for event in self.seen.receive_nowait()]


def threshold(measure="disk", state="Degraded", enter=0.9, **more) -> Threshold:
    return Threshold.model_validate({"measure": measure, "state": state, "enter": enter, **more})


def test_a_threshold_has_hysteresis():
    """Between `leave` and `enter` nothing changes, in either direction."""
    rig = Rig(threshold(leave=0.8))
    states = []
    for at, disk in enumerate((0.85, 0.9, 0.85, 0.8, 0.79, 0.85)):
        rig.measure(at, disk=disk)
        states.append(str(rig.system.current))
    assert states == ["Normal", "Degraded", "Degraded", "Degraded", "Normal", "Normal"]


def test_a_threshold_must_be_exceeded_for_its_hold_time_and_released_for_its_own():
    """A short peak moves nothing; one that lasts does, and so does its end."""
    rig = Rig(threshold(hold=3, release=5))
    made = [rig.measure(at, disk=0.95) for at in (0, 1, 2)]
    assert made == [None] * 3
    assert rig.measure(2.5, disk=0.1) is None
    assert [rig.measure(at, disk=0.95) is not None for at in (3, 5, 6)] == [False, False, True]
    assert [rig.measure(at, disk=0.1) is not None for at in (7, 11, 12)] == [False, False, True]


def test_tolerance_forgives_contrary_samples_within_a_hold():
    """One sample that contradicts, where one is allowed, does not begin the hold anew; two in a row do."""
    rig = Rig(threshold(hold=3, tolerance=1))
    assert rig.measure(0, disk=0.95) is None
    assert rig.measure(1, disk=0.1) is None
    assert rig.measure(3, disk=0.95) is not None
    other = Rig(threshold(hold=3, tolerance=1))
    for at, disk in ((0, 0.95), (1, 0.1), (2, 0.1)):
        other.measure(at, disk=disk)
    assert other.measure(3, disk=0.95) is None


def test_the_gravest_state_that_is_asked_for_wins():
    """Of several exceeded thresholds that of the gravest state counts, with its reason."""
    rig = Rig(
        threshold("memory", "HighLoad", 0.2), threshold("disk", "Emergency", 0.99), threshold("lag", "Degraded", 1)
    )
    made = rig.measure(0, memory=0.5, disk=0.995, lag=2)
    assert (made.new, made.by) == ("Emergency", "measurement")
    assert "disk is 0.995" in made.reason
    assert rig.measure(1, memory=0.5, disk=0.5, lag=0).new == "HighLoad"


def test_what_is_not_measured_keeps_its_last_answer():
    """A container that hides its memory pressure does not flap."""
    rig = Rig(threshold("memory", "HighLoad", 0.2))
    rig.measure(0, memory=0.5)
    assert rig.measure(1) is None
    assert rig.system.current == "HighLoad"


def test_each_transition_is_one_event_and_the_shared_state_shows_where_we_are():
    """`system.state` with path, old, new, reason and by; details make no event, measurements those of variables."""
    rig = Rig(threshold())
    rig.events()
    rig.measure(1, disk=0.95)
    rig.measure(2, disk=0.96)
    measured, event, again = rig.events()
    assert [(one["path"], one["new"]) for one in (measured, again)] == [
        ("disk_usage", 0.95),
        ("disk_usage", 0.96),
    ]
    assert event["path"] == "system.state"
    assert (event["old"], event["new"], event["by"]) == ("Normal", "Degraded", "measurement")
    assert "disk" in event["reason"]
    shown = rig.state.get("system")
    assert (shown["state"], shown["previous"], shown["since"]) == ("Degraded", "Normal", S)
    assert shown["load"] == {"disk": 0.96}


def test_a_state_set_by_hand_holds_until_auto():
    """`system.state = "maintenance"`, in any spelling; measurements go on but move nothing until it is released."""
    rig = Rig(threshold())
    rig.state.set("system.state", "maintenance")
    assert rig.state.get("system.state") == "Maintenance"
    assert rig.measure(1, disk=0.95) is None
    rig.state.set("system.state", "auto")
    assert (rig.system.current, rig.system.held) == ("Degraded", False)
    assert [(one.new, one.by) for one in rig.system.history] == [("Maintenance", "hand"), ("Degraded", "hand")]


def test_a_workflow_sets_it_as_an_action_would():
    """`update_state` on `system.state`: the event carries cause, reason and who."""
    rig = Rig()
    rig.state.set("system.state", {"state": "HIGH_LOAD", "reason": "a flood"}, Cause("r1", "guard", 1))
    (event,) = [one for one in rig.seen.receive_nowait() if one.type == "system.state"]
    assert event.cause == Cause("r1", "guard", 1)
    assert event.attrs["by"] == "workflow guard"
    assert (event.attrs["new"], event.attrs["reason"]) == ("HighLoad", "a flood")


def test_a_state_may_be_set_for_a_while():
    """With `for` it ends by itself, at the first sample after."""
    rig = Rig(threshold())
    rig.state.set("system.state", {"state": "Scaling", "for": "10s"})
    assert rig.measure(9, disk=0.1) is None
    made = rig.measure(10, disk=0.1)
    assert (made.old, made.new, made.by) == ("Scaling", "Normal", "time")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("system.state", "Panic"),
        ("system.state", 3),
        ("system.state", {"state": "Normal", "four": "2h"}),
        ("system.state", {"state": "Normal", "for": "long"}),
        ("system.load", {}),
        ("system.load.disk", 0),
        ("system.since", 1),
        ("system", {}),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(path, value):
    """Unknown states, and the names under `system` that are measured."""
    rig = Rig()
    before = rig.state.as_dict()
    with pytest.raises(CallerError):
        rig.state.set(path, value)
    with pytest.raises(CallerError):
        rig.state.delete("system.state")
    assert rig.state.as_dict() == before


def test_names_of_ones_own_may_be_set_below_system():
    """The seed's state variables: anything else, as everywhere in the shared state."""
    rig = Rig()
    rig.state.set("system.shift", "night")
    assert rig.state.get("system.shift") == "night"


def test_the_history_is_bounded_and_says_from_to_why_when_and_by_whom():
    """The last 256 transitions."""
    rig = Rig()
    for i in range(HISTORY + 50):
        rig.now = i
        rig.state.set("system.state", "Scaling" if i % 2 == 0 else "Normal")
    assert len(rig.system.history) == HISTORY
    last = asdict(rig.system.history[-1])
    assert last == {"old": "Scaling", "new": "Normal", "reason": "set by hand", "by": "hand", "at": HISTORY + 49}


def test_a_held_state_survives_a_restart_and_a_measured_one_is_measured_anew():
    """`snapshot` and `restore`."""
    rig = Rig(threshold())
    rig.state.set("system.state", {"state": "Maintenance", "reason": "backup"})
    other = Rig(threshold())
    other.system.restore(rig.system.snapshot(), 5)
    assert (other.system.current, other.state.get("system.reason")) == ("Maintenance", "backup")
    rig.state.set("system.state", "auto")
    rig.measure(1, disk=0.95)
    another = Rig(threshold())
    another.system.restore(rig.system.snapshot(), 5)
    assert another.system.current == "Normal"


def test_a_threshold_that_contradicts_itself_is_refused():
    """`leave` above `enter`, unknown measures and states."""
    for wrong in ({"leave": 0.95}, {"measure": "luck"}, {"state": "Maintenance"}, {"hold": "soon"}, {"holt": 1}):
        with pytest.raises(ValidationError):
            threshold(**wrong)


def test_the_defaults_ask_for_normal_when_nothing_is_wrong():
    """An idle system is Normal, and every measure of the defaults is one that is taken."""
    assert Thresholds().observe(dict.fromkeys(MEASURES, 0.0), 0)[0] == "Normal"
    assert {one.measure for one in DEFAULTS} == set(MEASURES)


class Queue:
    """A queue that is as full as a test says."""

    def __init__(self, held: int, capacity: int):
        self.held, self.capacity = held, capacity

    def __len__(self):
        return self.held


async def test_the_load_is_sampled_from_queues_runs_disk_and_kernel(tmp_path, autojump_clock):
    """The fullest queue, the share of failed runs of the last minute, the disk below, the kernel's pressure file."""
    pressure = tmp_path / "memory"
    pressure.write_text(
        "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=1\n"
    )
    counts = {("w", "succeeded"): 100}
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        load = Load(
            queues=lambda: [Queue(1, 10), Queue(3, 4), Queue(0, 0)],
            waiting=lambda: 3,
            lag=lambda: 0.25,
            runs=lambda: counts,
            root_fd=fd,
            pressure=str(pressure),
        )
        first = await load.sample()
        assert (first["queues"], first["waiting"], first["lag"], first["errors"]) == (0.75, 3, 0.25, 0)
        assert (first["memory"], first["memory_stalled"]) == (0.125, 0.01)
        assert 0 < first["disk"] <= 1
        counts |= {("w", "succeeded"): 106, ("w", "failed"): 4}
        assert (await load.sample())["errors"] == 0.4
        await trio.sleep(120)
        assert (await load.sample())["errors"] == 0
    finally:
        os.close(fd)


def test_a_kernel_without_pressure_measurements_gives_none(tmp_path):
    """A missing or odd file is no error."""
    assert read_pressure(str(tmp_path / "none")) == {}
    (tmp_path / "odd").write_bytes(b"\xff\xfe")
    assert read_pressure(str(tmp_path / "odd")) == {}
    assert set(read_pressure()) <= {"memory", "memory_stalled"}


async def test_the_sampler_moves_the_system_and_back(autojump_clock):
    """Every second a sample; the transition comes after the hold time."""
    rig = Rig(threshold("waiting", "HighLoad", 100, hold=3))
    waiting = 500

    def clock() -> int:
        return round(trio.current_time() * S)

    async def measure():
        return {"waiting": waiting}

    async with trio.open_nursery() as nursery:
        await nursery.start(Sampler(rig.system, measure, clock=clock).run)
        await trio.sleep(2.5)
        assert rig.system.current == "Normal"
        await trio.sleep(1)
        assert rig.system.current == "HighLoad"
        waiting = 0
        await trio.sleep(4.5)
        assert rig.system.current == "Normal"
        nursery.cancel_scope.cancel()


def test_a_sample_costs_little():
    """Judging all default thresholds and showing the load takes well under a millisecond."""
    rig = Rig()
    start = time.thread_time()
    for at in range(200):
        rig.measure(at, **dict.fromkeys(MEASURES, 0.1))
    assert time.thread_time() - start < 0.2
