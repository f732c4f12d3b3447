"""The bounds of the journal on a real mount: a full disk, its age, its size; each as `[journal]` declares it."""

import contextlib
import json
import sqlite3
import subprocess
import time

import pytest

from automation.journal.database import used_bytes
from tests.mounting import mounted, run, scratch
from tests.patience import eventually
from tests.test_journal_mount import vexfs

pytestmark = pytest.mark.mount

FLOW = """
triggers: {path: "in/*", types: file.closed}
steps:
  - {name: first, write: {path: "log/{{ event.name }}", content: "first ", append: true}}
  - {name: last, write: {path: "log/{{ event.name }}", content: "last ", append: true}}
"""
FILES = 30


@contextlib.contextmanager
def place_of(journal, **definitions):
    """A directory to mount from, and the options of a mount with that `[journal]` table."""
    with scratch() as place:
        for path in ("source/in", "source/log", "workflows", "disk"):
            (place / path).mkdir(parents=True)
        for name, text in definitions.items():
            (place / "workflows" / f"{name}.yaml").write_text(text)
        (place / "vexfs.toml").write_text(f"[journal]\n{journal}\n")
        yield place, ["--config", f"{place}/vexfs.toml", "--workflows", f"{place}/workflows"]


@contextlib.contextmanager
def heard(mount, kind):
    """What a reader of the events hears meanwhile, from the block's end on."""
    events = []
    reader = subprocess.Popen(["cat", mount.mountpoint / ".vexfs" / "events.d" / kind], stdout=subprocess.PIPE)
    eventually(lambda: "1 of events" in (mount.mountpoint / ".vexfs" / "status").read_text())
    try:
        yield events
    finally:
        reader.terminate()
        events += [json.loads(line) for line in reader.communicate()[0].splitlines()]


def fill(path):
    """Take all the room that is left."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def done(place):
    return sum(path.read_text() == "first last " for path in (place / "source" / "log").iterdir())


@pytest.mark.parametrize("policy", ["stop_automations", "stop_auditing"])
def test_a_full_disk_degrades_as_declared(policy):
    """The state lies on a disk of 4 MiB that fills up. Files are written as ever; either no run goes on until there is
    room, or runs go on and nothing is audited. Status, log and an event say so, and how many records are missing is a
    record. Nothing is done twice, and in the end the runs are all remembered.
    """
    with place_of(f'when-full = "{policy}"', flow=FLOW) as (place, options):
        run("mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "vexfs-test", str(place / "disk"))
        options += ["--state-dir", f"{place}/disk/mine"]
        try:
            with mounted(place / "source", arguments=options) as mount, heard(mount, "system.overload") as events:
                lost = _fill_and_free(mount, place, policy)
                log = mount.text()
            begin, end = [event["attrs"] for event in events if event["attrs"]["reason"] == "journal"]
            assert begin["policy"] == policy and "full" in begin["said"]
            assert end["over"] and end["policy"] == policy and end["lost"] == lost
            assert "the journal cannot be written" in log and "the journal is written again" in log
            assert "are as they were written" in vexfs("verify", place / "disk" / "mine")
            with mounted(place / "source", arguments=options) as mount:
                runs = vexfs("runs", mount.mountpoint, "--limit", "100", "--json").splitlines()
                assert [json.loads(line)["status"] for line in runs] == ["succeeded"] * (FILES + 1)
                assert done(place) == FILES + 1
        finally:
            run("umount", str(place / "disk"))


def _fill_and_free(mount, place, policy):
    """How many records the trail says it lacks."""
    control, disk = mount.mountpoint / ".vexfs", place / "disk"
    fill(disk / "filler")
    for number in range(FILES):
        (mount.mountpoint / "in" / f"{number}").write_text("x")
    if policy == "stop_automations":
        eventually(lambda: "STALLED, no run starts: the journal cannot be written" in (control / "status").read_text())
        assert done(place) < FILES
    else:
        eventually(lambda: "NOT AUDITED" in (control / "status").read_text())
        eventually(lambda: done(place) == FILES)
        (control / "ctl").write_text("pause\n")
        (control / "ctl").write_text("resume\n")
    (mount.mountpoint / "other").write_text("the filesystem goes on")
    (disk / "filler").unlink()
    eventually(lambda: not any(word in (control / "status").read_text() for word in ("STALLED", "NOT AUDITED")))
    eventually(lambda: done(place) == FILES)
    (mount.mountpoint / "in" / "afterwards").write_text("x")
    eventually(lambda: done(place) == FILES + 1)
    found = eventually(lambda: vexfs("journal", mount.mountpoint, "--kind", "workflow.succeeded").splitlines())
    gaps = [
        json.loads(line)["data"] for line in vexfs("journal", mount.mountpoint, "--kind", "system.gap").splitlines()
    ]
    if policy == "stop_automations":
        eventually(
            lambda: len(vexfs("journal", mount.mountpoint, "--kind", "workflow.succeeded").splitlines()) == FILES + 1
        )
        assert gaps == []
        return 0
    (gap,) = gaps
    assert gap["subscription"] == "audit" and "full" in gap["reason"]
    assert gap["dropped"] >= 6 and len(found) <= FILES + 1
    assert f"{gap['dropped']} lost" in (control / "status").read_text()
    return gap["dropped"]


def seqs(state):
    return [json.loads(line)["seq"] for line in vexfs("journal", state, "--limit", "0").splitlines()]


def test_old_records_go_with_a_signature():
    """What is older than `retention-audit-days` is gone after the next start; a record signs the gap off, by number
    and hash, and verify accepts it as it is.
    """
    with place_of("retention-audit-days = 0.00004", flow=FLOW) as (place, options):
        options += ["--state-dir", f"{place}/disk/mine"]
        state = place / "disk" / "mine"
        with mounted(place / "source", arguments=options) as mount:
            (mount.mountpoint / "in" / "a").write_text("x")
            eventually(lambda: done(place) == 1)
        before = [json.loads(line) for line in vexfs("journal", state).splitlines()]
        time.sleep(4.0)  # the age of records is the wall clock's affair
        with mounted(place / "source", arguments=options):
            pruned = eventually(lambda: vexfs("journal", state, "--kind", "audit.pruned").splitlines())
        (record,) = (json.loads(line)["data"] for line in pruned)
        known = {one["seq"]: one["hash"] for one in before}
        assert record["reason"] == "age" and record["through"] >= before[-2]["seq"]
        assert record["hash"] == known[record["through"]] and seqs(state)[0] == record["through"] + 1
        assert "are as they were written" in vexfs("verify", state)
        with sqlite3.connect(state / "journal.db") as connection:
            connection.execute("DELETE FROM audit WHERE seq = ?", (record["through"] + 1,))
        connection.close()
        assert "no record signs that off" in vexfs("verify", state, code=1)


def test_the_size_is_bounded():
    """With `max-bytes` the oldest records go, each time with a signature, and the newest stay."""
    rule = "rules: {watch: {on: file.closed, paths: ['in/**'], actions: [{log: {message: hi, level: debug}}]}}"
    with place_of('max-bytes = "512 KiB"\nretention-runs = 10', book=rule) as (place, options):
        state = place / "disk" / "mine"
        with mounted(place / "source", arguments=[*options, "--state-dir", str(state)]) as mount:
            for number in range(1500):
                (mount.mountpoint / "in" / f"{number}").write_text("x")
            eventually(lambda: "in/1499" in vexfs("journal", mount.mountpoint, "--kind", "workflow.succeeded"))
            with contextlib.closing(sqlite3.connect(state / "journal.db")) as connection:
                eventually(lambda: used_bytes(connection) <= 512 << 10)
            pruned = [json.loads(line) for line in vexfs("journal", state, "--kind", "audit.pruned").splitlines()]
            assert pruned and {record["data"]["reason"] for record in pruned} == {"max-bytes"}
            assert "are as they were written" in vexfs("verify", mount.mountpoint)
        assert "are as they were written" in vexfs("verify", state)
        left = seqs(state)
        assert left == list(range(left[0], left[0] + len(left))) and left[0] > 1000
