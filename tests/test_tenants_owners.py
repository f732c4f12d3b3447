"""Whose an event is, what of it each side of a border learns, and how much a tenant is given."""

import time

import pytest
import trio

from automation.bus import Bus
from automation.events import SemanticEvent
from automation.identity import Identity
from automation.metering import CURRENT, Metering
from automation.permissions import PUBLIC
from automation.tenants.forms import LimitsForm
from automation.tenants.forwarding import Forwarding
from automation.tenants.lane import Lane
from automation.tenants.owners import Owners, territory
from automation.tenants.share import Share
from automation.tenants.tenant import Tenant

ANN, BEN, CAT = 1001, 1002, 1003


def tenant(name, uids=(), gids=(), paths=(), **limits):
    uid = uids[0] if uids else 9
    identity = Identity(uid, 9)
    return Tenant(name, frozenset(uids), frozenset(gids), tuple(paths), identity, LimitsForm(**limits), PUBLIC)


TENANTS = (
    tenant("ann", uids=[ANN], paths=["teams/ann", "shared/a"]),
    tenant("ben", uids=[BEN], paths=["teams/ben"]),
    tenant("cat", uids=[CAT], gids=[50]),
)


@pytest.fixture
def owners():
    return Owners(TENANTS)


@pytest.mark.parametrize(
    ("path", "uid", "gid", "owner"),
    [
        ("teams/ann/f", BEN, 0, "ann"),
        ("teams/ann", 0, 0, "ann"),
        ("teams/annex/f", 0, 0, ""),
        ("teams", 0, 0, ""),
        ("teams/ben/x/y", ANN, 50, "ben"),
        ("other/f", ANN, 50, "ann"),
        ("other/f", 0, 50, "cat"),
        ("", CAT, 0, "cat"),
        ("shared/a/b", 0, 0, "ann"),
        ("shared/b", 0, 0, ""),
    ],
)
def test_the_place_decides_then_the_caller(owners, path, uid, gid, owner):
    """The data's owner first, then the uid, then the gid, else nobody."""
    assert owners.of(path, uid, gid) == owner


def test_territory_is_its_directories_or_all_that_is_nobodys():
    """Nobody's actions reach into another's territory."""
    ann, cat = territory(TENANTS[0], TENANTS), territory(TENANTS[2], TENANTS)
    assert [ann.holds(p) for p in ("teams/ann/f", "/teams/ann/f", "other", "teams/ben/f")] == [True, True, False, False]
    assert [cat.holds(p) for p in ("other", "teams/ann/f", "teams/ben")] == [True, False, False]


class Scene:
    """A mount's bus with a lane for each tenant; what each heard."""

    def __init__(self, owners, rate=1000.0):
        self.bus = Bus()
        self.forwarding = Forwarding(self.bus, owners)
        self.readers = {t.name: self.forwarding.join(t.name, rate, Share(1.0)).bus.subscribe("r") for t in TENANTS}
        self.readers["operator"] = self.bus.subscribe("r")

    def heard(self, who):
        return [(e.type, e.path, e.dest) for e in self.readers[who].receive_nowait()]


@pytest.fixture
def scene(owners):
    return Scene(owners)


def test_each_hears_its_own_and_the_operator_all(scene):
    """An event of which nobody has said whose it is finds out."""
    event = SemanticEvent("file.created", "teams/ann/f", uid=BEN)
    scene.bus.adopt(event)
    scene.bus.adopt(SemanticEvent("file.created", "elsewhere", uid=7))
    assert event.tenant == "ann"
    assert scene.heard("ann") == [("file.created", "teams/ann/f", None)]
    assert not scene.heard("ben")
    assert not scene.heard("cat")
    assert len(scene.heard("operator")) == 2


@pytest.mark.parametrize("kind", ["file.renamed", "file.linked", "dir.renamed"])
def test_who_loses_and_who_gains_learn_it_without_the_others_path(scene, kind):
    """Across a border nobody sees the other name."""
    attrs = {"exchange": "teams/ben/secret", "from": "teams/ben/secret"}
    scene.bus.adopt(SemanticEvent(kind, "teams/ann/old", "teams/ben/new", uid=0, attrs=attrs))
    for who, own in (("ann", "teams/ann/old"), ("ben", "teams/ben/new")):
        heard = scene.readers[who].receive_nowait()
        assert heard
        for event in heard:
            assert (event.path, event.dest, event.seq) == (own, None, 1)
            assert not {"exchange", "from"} & event.attrs.keys()
    assert scene.heard("operator") == [(kind, "teams/ann/old", "teams/ben/new")]


def test_within_a_territory_a_rename_stays_whole(scene):
    """Nothing crosses a border: also from and to where the caller decides."""
    scene.bus.adopt(SemanticEvent("file.renamed", "teams/ann/a", "shared/a/b", uid=BEN))
    assert scene.heard("ann") == [("file.renamed", "teams/ann/a", "shared/a/b")]
    scene.bus.publish(SemanticEvent("file.renamed", "x", "y", uid=CAT, tenant="cat"))
    assert scene.heard("cat") == [("file.renamed", "x", "y")]


def test_into_a_territory_from_nobodys_land(scene):
    """The path it had is not told."""
    scene.bus.adopt(SemanticEvent("file.renamed", "private/f", "teams/ann/f", uid=0))
    assert scene.heard("ann") == [("file.created", "teams/ann/f", None), ("file.closed", "teams/ann/f", None)]


def test_the_source_of_a_copy_is_told_to_its_owner_only(scene):
    """`from` is a path."""
    for source in ("teams/ben/s", "teams/ann/s"):
        scene.bus.adopt(SemanticEvent("file.copied", "teams/ann/f", attrs={"from": source, "n": 1}))
    first, second = scene.readers["ann"].receive_nowait()
    assert dict(first.attrs) == {"n": 1}
    assert dict(second.attrs) == {"n": 1, "from": "teams/ann/s"}


def test_what_a_tenant_publishes_is_its_own_and_numbered_by_the_mount(scene):
    """Neither another's path in it nor another's tenant in it makes it another's."""
    scene.bus.adopt(SemanticEvent("file.created", "elsewhere"))
    scene.forwarding.lanes["ann"].bus.publish(SemanticEvent("user.hello", "teams/ben/f", tenant="ben"))
    assert scene.heard("ann") == [("user.hello", "teams/ben/f", None)]
    assert not scene.heard("ben")
    last = scene.readers["operator"].receive_nowait()[-1]
    assert (last.tenant, last.seq) == ("ann", 2)


def test_the_operators_own_events_are_nobodys(scene):
    """A run of the operator's about a tenant's file is not the tenant's."""
    scene.bus.publish(SemanticEvent("workflow.started", "teams/ann/f"))
    assert not scene.heard("ann")


def test_nobody_hears_what_no_tenant_asks_for(owners):
    """Interest decides as before: a tenant's listeners count for what is that tenant's."""
    bus = Bus()
    forwarding = Forwarding(bus, owners)
    ann, cat = forwarding.join("ann", 10, Share(1.0)).bus, forwarding.join("cat", 10, Share(1.0)).bus
    assert not bus.heard("file.written")
    one = ann.subscribe("r", ("file.written",), wants=lambda t, p, m: p[-1] == "x", takes=lambda t, p, d: p[-1] == "x")
    assert bus.heard("file.written")
    assert bus.taken("file.written", "teams/ann/x", None, "ann")
    assert not bus.taken("file.written", "teams/ann/y", None, "ann")
    assert not bus.taken("file.written", "teams/ben/x", None, "ben")
    assert bus.wanted("file.written", "teams/ann/x")
    assert not bus.wanted("file.written", "teams/ben/x")
    assert not bus.wanted("file.written", "else/x", "cat")
    two = cat.subscribe("r", ("file.written",))
    assert bus.wanted("file.written", "else/x", "cat")
    assert bus.wanted("file.written", "else/x")
    assert not bus.wanted("file.written", "else/x", "")
    two.close()
    one.close()
    assert not bus.heard("file.written")


async def test_what_is_over_the_rate_is_dropped_counted_and_announced(owners):
    """For the tenant's automations only; a gap stands where it was; the next second there is room again."""
    bus, now = Bus(), [0.0]
    forwarding = Forwarding(bus, owners)
    lane = forwarding.lanes["ann"] = Lane(bus, "ann", 10, Share(1.0), clock=lambda: now[0])
    reader, everything = lane.bus.subscribe("r"), bus.subscribe("all", ("file",))
    for i in range(30):
        bus.adopt(SemanticEvent("file.created", f"teams/ann/{i}"))
    assert (lane.delivered, lane.dropped) == (11, 20)  # ten, and the announcement
    assert len(everything) == 30
    now[0] = 1.0
    bus.adopt(SemanticEvent("file.created", "teams/ann/late"))
    heard = reader.receive_nowait()
    assert [e.type for e in heard] == ["file.created"] * 10 + ["system.overload", "system.gap", "file.created"]
    assert heard[10].attrs["reason"] == "events-per-second"
    assert heard[11].attrs["dropped"] == 20


async def test_what_its_automations_say_of_themselves_is_not_metered(owners):
    """The ends of its runs must not be lost to a flood of files."""
    bus = Bus()
    lane = Forwarding(bus, owners).join("ann", 10, Share(1.0))
    reader = lane.bus.subscribe("r", ("workflow",))
    for i in range(100):
        bus.adopt(SemanticEvent("file.created", f"teams/ann/{i}"))
        lane.bus.publish(SemanticEvent("workflow.succeeded"))
    assert len(reader) == 100


def test_who_has_used_more_than_its_share_waits_until_it_is_its_again():
    """A tenth of the time: 120 ms of which 20 are free are a second's."""
    now = [0.0]
    share = Share(0.1, clock=lambda: now[0])
    assert share.wait == 0
    share.spend(0.12)
    assert share.wait == pytest.approx(1.0)
    now[0] = 0.5
    assert share.wait == pytest.approx(0.5)
    now[0] = 1.01
    assert share.wait == 0


def test_what_is_forgiven_is_not_shown_as_used():
    """The part of the time that is shown is of what counts."""
    now = [0.0]
    share = Share(0.1, clock=lambda: now[0])
    now[0] = 1.0
    share.spend(0.5)
    share.forgive()
    now[0] = 2.0
    share.spend(0.1)
    assert share.wait == pytest.approx(0.8)
    now[0] = 3.0
    assert share.recent() == pytest.approx(0.05)
    assert share.used == pytest.approx(0.6)


async def test_a_step_is_charged_what_it_computes_not_what_it_waits_for_the_processor():
    """Of the tasks that run under a share, and of no others."""
    share = Share(0.1)
    instrument = Metering()

    async def blocked():
        time.sleep(0.2)  # noqa: ASYNC251 - as when the machine is busy elsewhere

    async def tenants():
        CURRENT.set(share)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(blocked)

    trio.lowlevel.add_instrument(instrument)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(blocked)
            nursery.start_soon(tenants)
    finally:
        trio.lowlevel.remove_instrument(instrument)
    assert 0 < share.used < 0.1


async def test_what_another_thread_computed_for_it_counts_too():
    """What the journal's thread charges makes its tasks rest as their own computing does."""
    now = 0.0
    share = Share(0.1, lambda: now)
    await trio.to_thread.run_sync(share.charge, 0.05)
    assert share.wait == pytest.approx(0.3)  # 0.05 s, less the burst of 0.02 s, at a tenth
    assert share.used == pytest.approx(0.05)
    now = 0.31
    assert share.wait == 0
