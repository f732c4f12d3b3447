"""`vexfs verify` and `vexfs journal` on what a real mount left: every harm is found, everything is exported."""

import contextlib
import datetime
import json
import shutil
import sqlite3
from urllib.parse import urlsplit

import pytest

from automation.inbox import check
from automation.journal.chain import Chain, Head, canonical, linked
from tests.mounting import mounted, scratch
from tests.patience import eventually
from tests.test_journal_mount import vexfs

pytestmark = pytest.mark.mount

FLOW = "triggers: {path: 'in/*', types: file.closed}\nsteps: [{log: {message: hi}}]"
HEAR = "triggers: {type: external_event}\nsteps: [{log: {message: hi}}]"


@pytest.fixture(scope="module")
def left():
    """A state directory after two lives, and where the mount was in each."""
    with scratch() as place:
        (place / "source" / "in").mkdir(parents=True)
        (place / "workflows").mkdir()
        (place / "workflows" / "flow.yaml").write_text(FLOW)
        options = ["--workflows", str(place / "workflows"), "--state-dir", str(place / "state")]
        points = []
        for life in range(2):
            with mounted(place / "source", arguments=options) as mount:
                for number in range(4):
                    (mount.mountpoint / "in" / f"{life}{number}").write_text("x")
                wanted = 4 * (life + 1)
                eventually(lambda n=wanted, m=mount: len(vexfs("runs", m.mountpoint, "--json").splitlines()) == n)
            points.append(mount.mountpoint)
        yield place / "state", points


@pytest.fixture
def state(left, tmp_path):
    """A copy to be harmed."""
    shutil.copytree(left[0], tmp_path / "state")
    return tmp_path / "state"


@contextlib.contextmanager
def database(state):
    connection = sqlite3.connect(state / "journal.db", isolation_level=None)
    yield connection
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def head_of(state):
    number, digest = (state / "journal.head").read_text().split()
    return Head(int(number), digest)


def altered(connection, state):
    connection.execute("""UPDATE audit SET record = replace(record, '"uid":0', '"uid":1'), uid = 1 WHERE seq = 9""")


def removed(connection, state):
    connection.execute("DELETE FROM audit WHERE seq = 9")


def reordered(connection, state):
    connection.execute("UPDATE audit SET seq = -9 WHERE seq = 9")
    connection.execute("UPDATE audit SET seq = 9 WHERE seq = 10")
    connection.execute("UPDATE audit SET seq = 10 WHERE seq = -9")


def bodies_swapped(connection, state):
    """What two records say changes places, their numbers within it too; the hashes stay."""
    nine, ten = (connection.execute("SELECT * FROM audit WHERE seq = ?", (n,)).fetchone() for n in (9, 10))
    for seq, (_, at, kind, path, uid, run, record, _) in ((9, ten), (10, nine)):
        text = canonical(json.loads(record) | {"seq": seq})
        sql = "UPDATE audit SET at = ?, kind = ?, path = ?, uid = ?, run = ?, record = ? WHERE seq = ?"
        connection.execute(sql, (at, kind, path, uid, run, text, seq))


def inserted(connection, state):
    """One more after the last, with a hash that fits what is there."""
    row = Chain(head_of(state)).link("rule.fired", path="in/x")
    connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row[1:])
    connection.execute("UPDATE audit SET hash = ? WHERE seq = ?", ("f" * 64, row[1]))


def inserted_within(connection, state):
    """One more in the middle; all later ones are numbered anew."""
    connection.execute("UPDATE audit SET seq = -seq - 1 WHERE seq >= 9")
    connection.execute("UPDATE audit SET seq = -seq WHERE seq < 0")
    (before,) = connection.execute("SELECT hash FROM audit WHERE seq = 8").fetchone()
    row = Chain(Head(8, before)).link("rule.fired", path="in/x")
    connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row[1:])


def truncated(connection, state):
    connection.execute("DELETE FROM audit WHERE seq > (SELECT max(seq) - 2 FROM audit)")


def emptied(connection, state):
    connection.execute("DELETE FROM audit")


def beginning_removed(connection, state):
    connection.execute("DELETE FROM audit WHERE seq < 9")


def rewritten(connection, state):
    """The whole trail from one record on is made anew, with hashes that fit; the published head stays."""
    before = connection.execute("SELECT hash FROM audit WHERE seq = 8").fetchone()[0]
    for seq, record in connection.execute("SELECT seq, record FROM audit WHERE seq >= 9 ORDER BY seq").fetchall():
        text = record.replace('"pid":0', '"pid":4')
        before = linked(before, text)
        connection.execute("UPDATE audit SET record = ?, hash = ? WHERE seq = ?", (text, before, seq))


def head_altered(connection, state):
    head = head_of(state)
    (state / "journal.head").write_text(f"{head.seq:020d} {'0' * 64}\n")


def head_garbled(connection, state):
    (state / "journal.head").write_text("nothing to see here\n")


def head_ahead(connection, state):
    head = head_of(state)
    (state / "journal.head").write_text(f"{head.seq + 1:020d} {head.hash}\n")


def head_removed(connection, state):
    (state / "journal.head").unlink()


HARMS = [
    *(altered, removed, reordered, bodies_swapped, inserted, inserted_within, truncated, emptied, beginning_removed),
    *(rewritten, head_altered, head_garbled, head_ahead, head_removed),
]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_every_harm_is_found(state, harm):
    """`vexfs verify` says yes before and no after."""
    assert "are as they were written" in vexfs("verify", state)
    with database(state) as connection:
        harm(connection, state)
    vexfs("verify", state, code=1)


def prune(connection, state, last, **changed):
    """Give up records as retention does, with whatever is signed."""
    (digest,) = connection.execute("SELECT hash FROM audit WHERE seq = ?", (last,)).fetchone()
    chain = Chain(head_of(state))
    row = chain.link("audit.pruned", data={"through": last, "hash": digest} | changed)
    connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row[1:])
    (state / "journal.head").write_text(f"{chain.head.seq:020d} {chain.head.hash}\n")
    connection.execute("DELETE FROM audit WHERE seq <= ?", (last,))


def test_a_gap_is_accepted_with_the_right_hash_only(state):
    """The signature says which records went; a wrong hash, a wrong number and an altered signature are found."""
    with database(state) as connection:
        prune(connection, state, 8)
        assert "are as they were written" in vexfs("verify", state)
        connection.execute("DELETE FROM audit WHERE seq = 9")
    assert "no record signs that off" in vexfs("verify", state, code=1)


@pytest.mark.parametrize("wrong", [{"hash": "0" * 64}, {"through": 7}, {"through": "8"}, {"hash": None}])
def test_a_wrong_signature_is_found(state, wrong):
    """Though it is a record of the chain like any other."""
    with database(state) as connection:
        prune(connection, state, 8, **wrong)
    vexfs("verify", state, code=1)


def test_an_altered_signature_is_found(state):
    """It was right, and somebody lets it sign more."""
    with database(state) as connection:
        prune(connection, state, 8)
        (digest,) = connection.execute("SELECT hash FROM audit WHERE seq = 9").fetchone()
        (record,) = connection.execute("SELECT record FROM audit WHERE kind = 'audit.pruned'").fetchone()
        facts = json.loads(record)
        facts["data"] |= {"through": 9, "hash": digest}
        connection.execute("UPDATE audit SET record = ? WHERE kind = 'audit.pruned'", (canonical(facts),))
        connection.execute("DELETE FROM audit WHERE seq = 9")
    assert "was altered" in vexfs("verify", state, code=1)


def test_an_unfinished_gap_is_no_harm(state):
    """Killed while it gave records up, the journal holds some that are signed off: they must end in that hash."""
    with database(state) as connection:
        kept = connection.execute("SELECT * FROM audit WHERE seq BETWEEN 5 AND 8").fetchall()
        prune(connection, state, 8)
        connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", kept)
        assert "are as they were written" in vexfs("verify", state)
        connection.execute("DELETE FROM audit WHERE seq = 8")
    vexfs("verify", state, code=1)


def test_a_copy_of_the_head_shows_that_all_was_made_anew(state, tmp_path):
    """Whoever rewrites the trail and its head is found by a copy that lay elsewhere."""
    shutil.copy(state / "journal.head", tmp_path / "copy")
    with database(state) as connection:
        rewritten(connection, state)
        seq, digest = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    (state / "journal.head").write_text(f"{seq:020d} {digest}\n")
    assert "are as they were written" in vexfs("verify", state)
    assert "hash was published" in vexfs("verify", "--head", tmp_path / "copy", state, code=1)


def exported(left, *words):
    return [json.loads(line) for line in vexfs("journal", left[0], "--limit", "0", *words).splitlines()]


def test_the_export_as_cloudevents_is_what_the_specification_asks_for(left):
    """Version 1.0, structured JSON, one a line: required attributes, RFC 3339 times, names, unique and stable ids."""
    plain, events = exported(left), exported(left, "--format", "cloudevents")
    assert len(events) == len(plain) > 20
    assert len({event["id"] for event in events}) == len(events)
    assert events == exported(left, "--format", "cloudevents")
    life = -1
    for record, event in zip(plain, events, strict=True):
        assert event["specversion"] == "1.0" and event["id"] == record.pop("hash") and event["data"] == record
        assert event["type"] == f"vexfs.{record['kind']}" and event.get("subject", "") == record["path"]
        life += record["kind"] == "audit.begun"
        assert event["source"] == f"vexfs:{left[1][life]}" and urlsplit(event["source"]).scheme == "vexfs"
        assert event["time"].endswith("Z") and event["datacontenttype"] == "application/json"
        assert abs(datetime.datetime.fromisoformat(event["time"]).timestamp() - record["at"] / 1e9) < 1e-3
        assert all(name.isalnum() and name.islower() for name in event)
        check(event)
    sequence = [event["sequence"] for event in events]
    assert sequence == sorted(sequence)
    assert {event["source"] for event in exported(left, "--format", "cloudevents", "--source", "urn:x")} == {"urn:x"}


def test_a_batch_is_one_array(left):
    """The same events; none are an empty array."""
    whole = json.loads(vexfs("journal", left[0], "--limit", "0", "--format", "cloudevents-batch"))
    assert whole == exported(left, "--format", "cloudevents")
    assert json.loads(vexfs("journal", left[0], "--kind", "nothing", "--format", "cloudevents-batch")) == []


def test_an_inbox_takes_the_export(left, tmp_path):
    """What one mount exports, another's `/.vexfs/inbox` takes, once."""
    (tmp_path / "source").mkdir()
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "hear.yaml").write_text(HEAR)
    lines = vexfs("journal", left[0], "--kind", "workflow", "--format", "cloudevents")
    options = ["--workflows", str(tmp_path / "workflows"), "--volatile"]
    with mounted(tmp_path / "source", arguments=options) as mount:
        for _ in range(2):
            (mount.mountpoint / ".vexfs" / "inbox").write_text(lines)
        receipts = [json.loads(line) for line in (mount.mountpoint / ".vexfs" / "inbox").read_text().splitlines()]
        count = len(lines.splitlines())
        assert len(receipts) == 2 * count and [r["id"] for r in receipts[:count]] == [r["id"] for r in receipts[count:]]
        assert [bool(r.get("duplicate")) for r in receipts] == [False] * count + [True] * count
        eventually(lambda: mount.text().count("hear: hi") == count)


def test_questions_by_name_and_without_limit(left):
    """A user by name; the newest and all records; a name that nobody has is refused."""
    assert exported(left, "--user", "root") == exported(left, "--user", "0") == exported(left)
    assert len(vexfs("journal", left[0], "--limit", "3").splitlines()) == 3
    vexfs("journal", left[0], "--user", "nobody-here", code=2)
