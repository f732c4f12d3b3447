"""A thread that acts as a user has that user's rights and no more, and is itself again afterwards, whatever comes."""

import os
import subprocess
from pathlib import Path

import pytest
import trio

from automation.errors import CallerError, WorldError
from automation.identity import EVERYWHERE, Identity, Territory
from tests.effects import tree_in
from tests.tenant_rig import ALICE, BOB, NEEDS_ROOT, rights, rights_of_threads, town

pytestmark = NEEDS_ROOT


@pytest.fixture
def place():
    with town() as one:
        yield one


def in_a_thread(work):
    return trio.run(lambda: trio.to_thread.run_sync(work))


def test_a_user_has_the_groups_of_its_login():
    """By name and by number, from the databases of the system; nobody who is not there."""
    nobody = Identity.of_user("nobody")
    assert (nobody.uid, nobody.gid) == (65534, 65534)
    assert Identity.of_user(65534) == Identity.of_user("65534") == nobody
    assert Identity.of_user("root").uid == 0
    told = subprocess.run(["id", "-G", "daemon"], capture_output=True, text=True, check=True).stdout.split()
    daemon = Identity.of_user("daemon")
    assert {daemon.gid, *daemon.groups} == set(map(int, told))
    with pytest.raises(CallerError, match="there is no user 'nobody-of-that-name'"):
        Identity.of_user("nobody-of-that-name")


def test_no_capability_is_left():
    """User, group and groups are those of the identity; the effective set is empty, other than after setfsuid alone."""

    def work():
        before = rights()
        with ALICE.assumed():
            within = rights()
            with ALICE.assumed():
                assert rights() == within
            with ALICE.laid_aside():
                aside = rights()
            assert rights() == within
        return before, within, aside, rights()

    before, within, aside, after = in_a_thread(work)
    assert before == after
    assert [line.split()[-1] for line in within[:2]] == ["60001", "60001"]  # the fourth number is that for files
    assert within[2].split()[1:] == ["60010"]
    assert int(within[4].split()[1], 16) == 0
    assert within[3] == before[3]
    assert aside[0] == before[0]
    assert aside[4] == before[4]


def test_what_is_raised_within_leaves_no_trace():
    """An error on the way out finds the thread as it was."""

    def work():
        before = rights()
        for error in (OSError(5, "x"), RuntimeError("x"), KeyboardInterrupt(), SystemExit(3)):
            with pytest.raises(type(error)), ALICE.assumed():
                raise error
        return before, rights()

    before, after = in_a_thread(work)
    assert before == after


async def test_threads_of_other_jobs_are_not_touched(place: Path):
    """Whatever actions of tenants do and fail at, every thread of the pool is root's before and after."""
    with tree_in(place, ALICE) as alice, tree_in(place, BOB) as bob:
        before = await rights_of_threads()

        async def busy(tree, name):
            for number in range(30):
                path = f"{name}/{number}"
                assert await tree.workspace.write(path, b"x") == path
                with pytest.raises(WorldError):
                    await tree.workspace.write("root/new", b"x")
                with trio.move_on_after(0.0005):
                    await tree.workspace.copy(path, f"{name}/copy-{number}")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy, alice, "alice")
            nursery.start_soon(busy, bob, "bob")
        assert len({tuple(one) for one in before + await rights_of_threads()}) == 1
    assert {path.stat().st_uid for path in (place / "top/alice").iterdir()} == {ALICE.uid}
    assert {path.stat().st_uid for path in (place / "top/bob").iterdir()} == {BOB.uid}


def test_groups_count(place: Path):
    """What a supplementary group opens is open, and nothing that root's groups would."""

    def work(identity):
        with identity.assumed():
            return os.listdir(place / "top/team")

    assert in_a_thread(lambda: work(ALICE)) == []
    with pytest.raises(PermissionError):
        in_a_thread(lambda: work(BOB))


TERRITORY = Territory(["/home/", "a/b/c"], ["home/bob", "a/b/c/d"])


@pytest.mark.parametrize(
    ("path", "held"),
    [
        ("home", True),
        ("home/x/y", True),
        ("//home/./x", True),
        ("homes", False),
        ("home/bob", False),
        ("home/bob/x", False),
        ("home/bobby", True),
        ("", False),
        ("/", False),
        ("a/b", False),
        ("a/b/c", True),
        ("a/b/c/d", False),
        ("a/b/c/dd", True),
        ("home/..", False),
        ("home/../home", False),
        ("home/x/../../etc", False),
        ("home/\0", False),
        ("home/...", True),
    ],
)
def test_a_territory_holds_what_is_below_its_prefixes(path, held):
    """Whole names count, not letters; the longest prefix decides; `..` is nowhere."""
    assert TERRITORY.holds(path) is held


def test_of_nested_territories_the_inner_one_decides():
    """A prefix within an excluded one is included again."""
    inner = Territory([""], ["a"]), Territory(["", "a/b"], ["a"])
    assert [one.holds("a/b/x") for one in inner] == [False, True]
    assert all(one.holds("") and not one.holds("a/x") for one in inner)
    assert [one.holds_all("") for one in (EVERYWHERE, *inner)] == [True, False, False]
    assert not TERRITORY.holds_all("home")
    assert TERRITORY.holds_all("home/x")
