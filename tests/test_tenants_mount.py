"""Tenants on a real mount, with real users: each reacts to its own, keeps its own, and survives what breaks another."""

import os
import re
import time
from pathlib import Path

import pytest

from tests.mounting import mounted, scratch
from tests.patience import eventually
from tests.posix.children import User, as_user

pytestmark = pytest.mark.mount

ANN, BEN, CAT = User(1, 1), User(2, 2), User(65534, 65534)  # daemon, bin and nobody, whom every system has
ROOT = User(0, 0)
CONFIGURATION = """
state-dir = "{place}/state"
workflows = "{place}/workflows"
[tenants.ann]
uids = ["daemon"]
paths = ["teams/ann"]
[tenants.ben]
paths = ["teams/ben"]
run-as = "bin"
[tenants.cat]
uids = ["nobody"]
"""
NOTE = """
name: note
triggers: {{path: "**/*.txt", types: file.closed}}
steps: [{{write: {{path: "{place}/{{{{ event.name }}}}.noted", content: "{{{{ event.path }}}}"}}}}]
"""


@pytest.fixture
def place():
    """Source, state and definitions of a mount with three tenants, one of them in no directory."""
    with scratch() as directory:
        for name, owner in (("teams/ann", ANN), ("teams/ben", BEN), ("open", ROOT)):
            (directory / "source" / name).mkdir(parents=True, mode=0o755)
            os.chown(directory / "source" / name, *owner.owner)
        (directory / "source/open").chmod(0o777)
        (directory / "workflows").mkdir()
        (directory / "vexfs.toml").write_text(CONFIGURATION.format(place=directory))
        yield directory


def mount(place, *more):
    return mounted(place / "source", arguments=["--config", str(place / "vexfs.toml"), *more])


def define(place: Path, tenant: str, text: str, name: str = "note.yaml") -> None:
    """Put a definition where the tenant's are."""
    directory = place / "state/tenants" / tenant / "workflows"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f".{name}").write_text(text)
    (directory / f".{name}").rename(directory / name)


def write(user: User, path: Path) -> None:
    """Write a file as another user."""
    as_user(user, path.write_text, "x")


def many(folder: Path) -> None:
    """A hundred files."""
    for i in range(100):
        (folder / f"{i}.txt").write_text("x")


def content(path: Path) -> str:
    """That of a file that is to come."""
    return eventually(lambda: path.exists() and path.read_text(), str(path))


def test_each_reacts_to_its_own_files_only(place):
    """By directory whoever writes there, by user elsewhere; definitions may come while mounted."""
    source = place / "source"
    define(place, "ann", NOTE.format(place="teams/ann"))
    with mount(place) as live:
        define(place, "cat", NOTE.format(place="open"))
        define(place, "ben", NOTE.format(place="teams/ben"))
        for name in ("ann", "ben", "cat"):
            loaded = live.mountpoint / ".vexfs/tenants" / name / "workflows"
            eventually(lambda loaded=loaded: "note" in os.listdir(loaded), f"the definition of {name}")
        write(ANN, live.mountpoint / "teams/ann/a.txt")
        write(BEN, live.mountpoint / "teams/ben/b.txt")
        write(ROOT, live.mountpoint / "teams/ben/r.txt")
        write(CAT, live.mountpoint / "open/c.txt")
        write(BEN, live.mountpoint / "open/nobodys.txt")
        assert content(source / "teams/ann/a.txt.noted") == "teams/ann/a.txt"
        assert content(source / "teams/ben/b.txt.noted") == "teams/ben/b.txt"
        assert content(source / "teams/ben/r.txt.noted") == "teams/ben/r.txt"
        assert content(source / "open/c.txt.noted") == "open/c.txt"
        os.rename(live.mountpoint / "teams/ann/a.txt", live.mountpoint / "teams/ben/moved.txt")
        assert content(source / "teams/ben/moved.txt.noted") == "teams/ben/moved.txt"
    noted = sorted(str(path.relative_to(source)) for path in source.rglob("*.noted"))
    expected = ["open/c", "teams/ann/a", "teams/ben/b", "teams/ben/moved", "teams/ben/r"]
    assert noted == [f"{name}.txt.noted" for name in expected]


def test_one_with_a_damaged_database_is_off_and_the_others_work(place):
    """The mount starts, and says which one is off."""
    define(place, "ann", NOTE.format(place="teams/ann"))
    (place / "state/tenants/ben").mkdir(parents=True)
    (place / "state/tenants/ben/lock").mkdir()
    with mount(place) as live:
        write(ANN, live.mountpoint / "teams/ann/a.txt")
        content(place / "source/teams/ann/a.txt.noted")
        write(BEN, live.mountpoint / "teams/ben/b.txt")
        assert "the tenant ben is off: the state directory" in live.text()


def test_what_is_over_the_limits_is_dropped_and_shown(place):
    """Files are all written; her automations see what she may have, and another's all."""
    with (place / "vexfs.toml").open("a") as file:
        file.write("[tenants.ann.limits]\nevents-per-second = 5\nrules = 1\n")
        file.write("[tenants.ben.limits]\nloop-share = 1.0\n")
    define(place, "ann", NOTE.format(place="teams/ann/out"))
    define(place, "ann", NOTE.format(place="teams/ann/more").replace("name: note", "name: more"), "zmore.yaml")
    define(place, "ben", NOTE.format(place="teams/ben/out"))
    for name, user in (("ann", ANN), ("ben", BEN)):
        (place / f"source/teams/{name}/out").mkdir()
        os.chown(place / f"source/teams/{name}/out", *user.owner)
    with mount(place) as live:
        for name, user in (("ann", ANN), ("ben", BEN)):
            as_user(user, many, live.mountpoint / "teams" / name)
        assert len(os.listdir(place / "source/teams/ann")) == 101
        eventually(lambda: len(os.listdir(place / "source/teams/ben/out")) == 100)
        metrics = (live.mountpoint / ".vexfs/metrics").read_text()
        dropped = re.search(r'vexfs_tenant_events_dropped_total\{tenant="ann"\} (\d+)', metrics)
        assert dropped is not None
        assert int(dropped[1]) >= 50
        assert 'vexfs_tenant_events_dropped_total{tenant="ben"} 0.0' in metrics
        assert 'vexfs_tenant_use{tenant="ann",what="rules"} 1.0' in metrics
        status = (live.mountpoint / ".vexfs/status").read_text()
        row = next(line for line in status.splitlines() if line.startswith("ann "))
        assert re.search(r"% of (rules|events-per-second)$", row)
        assert "rules is 1" in (live.mountpoint / ".vexfs/tenants/ann/status").read_text().replace("\n", " ")
    assert len(os.listdir(place / "source/teams/ann/out")) < 60


def test_switched_off_by_the_automation_table(place):
    """Nobody is a tenant then."""
    define(place, "ann", NOTE.format(place="teams/ann"))
    with (place / "vexfs.toml").open("a") as file:
        file.write("[automation]\nenable_multi_tenant_isolation = false\n")
    with mount(place) as live:
        write(ANN, live.mountpoint / "teams/ann/a.txt")
        time.sleep(0.5)
    assert not (place / "source/teams/ann/a.txt.noted").exists()


def test_a_full_journal_stops_a_tenant_that_says_so(place):
    """Its automations, not the others'; its status and the operator's tell."""
    with (place / "vexfs.toml").open("a") as file:
        file.write('[tenants.ann.limits]\njournal = "256KiB"\njournal-full = "stop"\n')
    for name in ("ann", "ben"):
        define(place, name, NOTE.format(place=f"teams/{name}"))
    with mount(place) as live:
        control = live.mountpoint / ".vexfs"
        deadline = time.monotonic() + 60
        while "ann is stopped: the journal has" not in (control / "status").read_text().replace("\n", " "):
            assert time.monotonic() < deadline
            for _ in range(100):
                with pytest.raises(OSError, match="Invalid argument"):
                    (control / "tenants/ann/ctl").write_text(f"nonsense {'x' * 800}\n")
        assert "STALLED, no run starts: the journal has" in (control / "tenants/ann/status").read_text()
        write(ANN, live.mountpoint / "teams/ann/a.txt")
        write(BEN, live.mountpoint / "teams/ben/b.txt")
        eventually((place / "source/teams/ben/b.txt.noted").exists)
        assert not (place / "source/teams/ann/a.txt.noted").exists()
        assert "STALLED" not in (control / "tenants/ben/status").read_text()
