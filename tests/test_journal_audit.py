"""The audit trail: what is in it, that it is chained, and that every change of it is found."""

import json
import re
import sqlite3
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from automation.journal import extract, inspection
from automation.journal.chain import Chain, Head, parse_head
from automation.journal.database import Database, reading
from automation.journal.keeping import Keeping
from automation.journal.query import Question, ask
from automation.journal.verification import verify
from automation.quantities import parse_size
from automation.state_directory import StateDirectory
from automation.targets import Automation
from tests.automation_rig import Rig, rig

INSERT = "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def trail(path, count, head=None):
    """A database with a chain of `count` records; the head."""
    chain = Chain(head or Head())
    connection = Database(str(path), sync="off").connect()
    for i in range(1, count + 1):
        row = chain.link(
            "rule.fired" if i % 2 else "workflow.step", path=f"dir{i % 3}/f{i}", uid=i, at=i * 10, run=f"r{i % 5}"
        )
        connection.execute(INSERT, row[1:])
    return connection, chain.head


def altered(connection, n):
    connection.execute("UPDATE audit SET record = replace(record, '\"pid\":0', '\"pid\":1') WHERE seq = ?", (n,))


def column(connection, n):
    connection.execute("UPDATE audit SET uid = 9999 WHERE seq = ?", (n,))


def removed(connection, n):
    connection.execute("DELETE FROM audit WHERE seq = ?", (n,))


def swapped(connection, n):
    other = n - 1 if n > 1 else n + 1
    connection.execute("UPDATE audit SET seq = -1 WHERE seq = ?", (n,))
    connection.execute("UPDATE audit SET seq = ? WHERE seq = ?", (n, other))
    connection.execute("UPDATE audit SET seq = ? WHERE seq = -1", (other,))


def forged(connection, n):
    """Altered, with a hash that fits."""
    (before,) = connection.execute("SELECT hash FROM audit WHERE seq = ?", (n - 1,)).fetchone() or ("0" * 64,)
    chain = Chain(Head(n - 1, before))
    row = chain.link("nothing.happened", at=n * 10)
    connection.execute("REPLACE INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row[1:])


@pytest.mark.parametrize("harm", [altered, column, removed, swapped, forged], ids=lambda f: f.__name__)
@pytest.mark.parametrize("n", [1, 2, 10, 19, 20])
def test_every_change_is_found(tmp_path, harm, n):
    """Altered, removed, reordered and forged records, at the beginning, in the middle and at the end."""
    connection, head = trail(tmp_path / "j.db", 20)
    assert verify(connection, head).problems == []
    harm(connection, n)
    problems = verify(connection, head).problems
    assert problems, f"{harm.__name__} of {n} was not found"
    assert any(str(k) in problems[0] for k in (n - 1, n, n + 1))
    connection.close()


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=1, max_size=1), st.integers(0, 10_000), st.integers(1, 6))
def test_no_byte_of_a_record_can_be_changed(tmp_path_factory, byte, at, n):
    """Whatever one byte of a record or a hash becomes, it is found."""
    connection, head = trail(tmp_path_factory.mktemp("j") / "j.db", 6)
    record, digest = connection.execute("SELECT record, hash FROM audit WHERE seq = ?", (n,)).fetchone()
    whole = bytearray((record + digest).encode())
    at %= len(whole)
    same = whole[at : at + 1] == byte
    whole[at : at + 1] = byte
    text = whole.decode("latin-1")
    connection.execute("UPDATE audit SET record = ?, hash = ? WHERE seq = ?", (text[:-64], text[-64:], n))
    assert (verify(connection, head).problems == []) == same
    connection.close()


def test_a_gap_must_be_signed_off(tmp_path):
    """The oldest records may go when a later record of the chain says so, and only then."""
    connection, head = trail(tmp_path / "j.db", 10)
    (digest,) = connection.execute("SELECT hash FROM audit WHERE seq = 4").fetchone()
    connection.execute("DELETE FROM audit WHERE seq <= 4")
    assert verify(connection, head).problems == ["records 1 to 4 were removed, and no record signs that off"]
    chain = Chain(head)
    row = chain.link("audit.pruned", data={"through": 4, "hash": digest})
    connection.execute(INSERT, row[1:])
    assert verify(connection, chain.head).problems == []
    connection.execute("DELETE FROM audit WHERE seq = 5")
    assert verify(connection, chain.head).problems
    connection.close()


def test_questions_are_answered(tmp_path):
    """By time, path and all below it, user, run, kind and all below it; the newest N, oldest first."""
    connection, _ = trail(tmp_path / "j.db", 30)

    def seqs(**asked):
        return [json.loads(line)["seq"] for line in ask(connection, Question(**asked))]

    assert seqs(since=250, until=280) == [25, 26, 27]
    assert seqs(path="dir1", since=200) == [22, 25, 28] and seqs(path="dir1/f4") == [4] and seqs(path="dir") == []
    assert seqs(uid=7) == [7] and seqs(run="r2", limit=2) == [22, 27]
    assert seqs(kind="workflow", limit=1) == [30] and seqs(kind="work") == []
    connection.close()


FLOW = "triggers: {path: in/*}\nsteps: [{log: {message: hi}}]"


async def test_what_happens_is_written_down(tmp_path):
    """Runs, steps, definitions, states and commands, with who; bytes that are no UTF-8 too; a restart goes on."""
    kept = StateDirectory(str(tmp_path / "state"))
    for _ in range(2):
        one = Rig(tmp_path, {"flow.yaml": FLOW}, kept=kept)
        async with trio.open_nursery() as nursery:
            await nursery.start(one.service.run)
            one.save("in/a\udcff.txt")
            await one.settled()
            await one.service.command("pause", 1000)
            await one.service.shutdown(1)
    with reading(kept.file("journal.db")) as connection:
        lines = [json.loads(line) for line in ask(connection, Question())]
        published = parse_head((tmp_path / "state" / "journal.head").read_bytes())
        assert verify(connection, published).problems == [] and published.seq == lines[-1]["seq"]
        assert len(ask(connection, Question(path="in/a\\xff.txt", kind="workflow.started"))) == 2
    kinds = [line["kind"] for line in lines]
    assert kinds.count("audit.begun") == 2
    assert {"workflow.started", "workflow.step", "workflow.succeeded", "system.definition", "system.state"} <= set(
        kinds
    )
    started = next(line for line in lines if line["kind"] == "workflow.started")
    assert started["path"] == "in/a\udcff.txt" and started["data"]["workflow"] == "flow" and len(started["run"]) == 16
    command = next(line for line in lines if line["kind"] == "control.command")
    assert command["uid"] == 1000 and command["data"]["line"] == "pause"
    kept.close()


async def test_nothing_is_kept_without_a_state_directory(tmp_path):
    """There is no journal then, and nothing misses it."""
    async with rig(tmp_path, flow=FLOW) as r:
        await r.service.command("pause", 0)
        assert r.service.journal is None


def test_the_commands_tell(tmp_path, capsys):
    """`vexfs journal` and `vexfs verify` on a state directory; verify fails on a change, also against an older head."""
    connection, head = trail(tmp_path / "journal.db", 5)
    (tmp_path / "journal.head").write_text(f"{head.seq:020d} {head.hash}\n")
    (tmp_path / "copy").write_text(f"{head.seq:020d} {head.hash}\n")
    assert extract.main([str(tmp_path), "--path", "dir1", "--since", "1970-01-01T00:00:00+00:00"]) == 0
    assert [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()] == [1, 4]
    assert inspection.main([str(tmp_path)]) == 0
    assert "5 records are as they were written" in capsys.readouterr().out
    connection.execute("DELETE FROM audit WHERE seq = 5")
    (last,) = connection.execute("SELECT hash FROM audit WHERE seq = 4").fetchone()
    (tmp_path / "journal.head").write_text(f"{4:020d} {last}\n")  # who cuts the trail writes the head anew as well
    assert inspection.main([str(tmp_path)]) == 0
    assert inspection.main([str(tmp_path), "--head", str(tmp_path / "copy")]) == 1
    assert "records 5 to 5, the newest, were removed" in capsys.readouterr().out
    assert inspection.main([str(tmp_path / "nowhere")]) == 2
    with pytest.raises(SystemExit):
        extract.main([str(tmp_path), "--since", "yesterday"])
    assert "write for instance" in capsys.readouterr().err
    connection.close()


def test_sqlite_is_new_enough():
    """JSON functions and triggers on views are needed."""
    assert sqlite3.sqlite_version_info >= (3, 38)


async def test_the_trail_can_be_left_out(tmp_path):
    """Without the audit only the journal's own records are there."""
    kept = StateDirectory(str(tmp_path / "state"))
    one = Rig(tmp_path, {"flow.yaml": FLOW}, kept=kept, automation=Automation(enable_compliance_audit=False))
    async with trio.open_nursery() as nursery:
        await nursery.start(one.service.run)
        one.save("in/a")
        await one.settled()
        await one.service.shutdown(1)
    with reading(kept.file("journal.db")) as connection:
        assert {json.loads(line)["kind"] for line in ask(connection, Question())} == {"audit.begun"}
    kept.close()


def test_every_setting_is_documented():
    """docs/journal.md has a row for each field of `[journal]`, with its default."""
    page = (Path(__file__).parent.parent / "docs" / "journal.md").read_text()
    rows = dict(
        re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", page.partition("## The `[journal]` table")[2], re.MULTILINE)
    )
    for name, field in Keeping.model_fields.items():
        shown: object = rows[name.replace("_", "-")].strip("` ")
        shown = parse_size(str(shown)) if str(shown).endswith("iB") else shown
        assert str(shown) == ("none" if field.default in (None, {}) else f"{field.default}"), name
