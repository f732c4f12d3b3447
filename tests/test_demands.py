"""What events tell only where a definition asks: failed operations, and how long operations took."""

import json
import os
import time

import pytest

from automation.bus import Bus
from automation.demands import demands
from automation.library import examined
from automation.tenants.lane import Lane
from automation.tenants.share import Share
from tests.mounting import mounted, scratch
from vexfs_fuse.callers import Callers
from vexfs_fuse.handles import Opener, OpenFile
from vexfs_fuse.inodes import Inode
from vexfs_fuse.observer import BEGAN, Observer

FAILED, TOOK = frozenset({"failed"}), frozenset({"took"})
STEPS = "steps: [{log: {message: x}}]"
DEFINITIONS = {
    f"triggers: {{types: file.deleted, failed: true}}\n{STEPS}": FAILED,
    f"triggers: {{types: file.deleted}}\n{STEPS}": frozenset(),
    f"triggers: {{types: file.deleted, failed: true, where: event.attrs.took > 0.5}}\n{STEPS}": FAILED | TOOK,
    "rules: {r: {on: file.deleted, failed: true, actions: [{log: {message: x}}]}}": FAILED,
    "rules: {r: {on: file.deleted, conditions: event.attrs.took > 1.0, actions: [{log: {message: x}}]}}": TOOK,
    "kind: machine\nkey: none\nfailed: true\nstates: {a: {on: {file.deleted: b}}, b: {}}": FAILED,
    "kind: analytics\nstreams: {s: {events: file, value: event.attrs.took, aggregates: {most: max}}}": TOOK,
    "kind: analytics\nstreams: {s: {events: file, failed: true}}": FAILED,
}


@pytest.mark.parametrize("text", DEFINITIONS)
def test_what_a_definition_demands(text):
    """Triggers, rules, machines and streams say `failed`; anything may speak of `took`."""
    definition, errors = examined("d.yaml", text)
    assert not errors and demands(text, definition) == DEFINITIONS[text]


def test_a_bus_remembers_who_demands_what():
    """Until the last one who did is gone; whoever decides what is told is asked anew each time."""
    asked = []
    bus = Bus()
    bus.on_reroute(lambda: asked.append(bus.details))
    bus.demand("a", FAILED)
    bus.demand("b", FAILED | TOOK)
    bus.demand("b", FAILED)
    assert bus.details == FAILED and not bus.clocked
    bus.demand("a", frozenset())
    bus.demand("b", TOOK)
    assert bus.clocked
    bus.demand("b", frozenset())
    assert bus.details == frozenset() and not bus.clocked
    assert asked == [frozenset(), FAILED, FAILED | TOOK, FAILED, TOOK, frozenset()]


def test_what_a_tenant_demands_the_mount_tells():
    """Its definitions ask the mount's bus, as the tenant's."""
    main = Bus()
    lane = Lane(main, "ann", 10, Share(1.0))
    lane.bus.demand("flow", FAILED)
    assert main.details == FAILED
    lane.bus.demand("flow", frozenset())
    assert main.details == frozenset()


def test_reads_and_writes_tell_how_long_they_took(tmp_path):
    """Those that Python carries out, from the second of a file on too, of which is remembered who takes them."""
    bus, place = Bus(), tmp_path.stat()
    reader = bus.subscribe("reader", ("file",))
    observer = Observer(bus, Callers(None))
    root = Inode(1, 0, place, None, b"")
    who = Opener(os.getpid(), 0, 0)
    file = OpenFile(9, Inode(2, 0, place, root, b"name"), os.O_RDWR, who, False, False, False, False, 0, 0)
    bus.demand("somebody", TOOK)
    token = BEGAN.set(time.perf_counter())
    for name in ("file.read", "file.read", "file.written"):
        observer.data(name, file, who, 0, 5)
    BEGAN.reset(token)
    bus.demand("somebody", frozenset())
    observer.data("file.read", file, who, 0, 5)
    told = [(event.type, event.path, event.length, "took" in event.attrs) for event in reader.receive_nowait()]
    asked = [(name, "name", 5, True) for name in ("file.read", "file.read", "file.written")]
    assert told == [*asked, ("file.read", "name", 5, False)]
    observer.callers.close()


@pytest.mark.mount
def test_events_tell_more_as_long_as_somebody_asks():
    """On a real mount: with the definition, and no more once it is gone."""
    with scratch() as place:
        for name in ("source", "flows"):
            (place / name).mkdir()
        (place / "source" / "full" / "inside").mkdir(parents=True)
        with mounted(place / "source", arguments=("--workflows", f"{place}/flows", "--volatile")) as mount:
            point = mount.mountpoint
            asks = next(text for text, details in DEFINITIONS.items() if details == FAILED | TOOK)
            for loaded in (False, True, False):
                installed = point / ".vexfs" / "workflows" / "asks.yaml"
                if loaded:
                    installed.write_text(asks)
                elif installed.exists():
                    installed.unlink()
                found = _events(point)
                (made,) = (event for event in found if event["type"] == "dir.created")
                assert (0 < made.get("attrs", {}).get("took", 0) < 10) == loaded
                assert [event["errno"] for event in found if "errno" in event] == ["ENOTEMPTY"] * loaded


def _events(point):
    """What is told of a directory that is made, one that is removed, and one that cannot be."""
    with open(os.open(point / ".vexfs" / "events.d" / "dir", os.O_RDONLY | os.O_NONBLOCK), "rb", 0) as stream:
        (point / "new").mkdir()
        (point / "new").rmdir()
        with pytest.raises(OSError, match="not empty"):
            (point / "full").rmdir()
        return [json.loads(line) for line in stream.read(1 << 16).splitlines()]
