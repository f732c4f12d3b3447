"""Runs in the journal: what is written is what is read, in any ledger; retention; secrets stay out."""

from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from automation.bus import Bus
from automation.journal.database import reading
from automation.journal.journal import Journal
from automation.journal.keeping import Keeping
from automation.journal.ledger import SqliteLedger
from automation.journal.retention import DAY_NS, Housekeeper
from automation.journal.verification import verify
from automation.runner.ledger import MemoryLedger, NewRun, Record
from automation.state_directory import StateDirectory


def new_run(id, digest="d1", at=1, **fields):
    return NewRun(id, "flow", digest, f"text of {digest}", {"kind": "event", "of": [0]}, "key", at, **fields)


def ended(status="succeeded", at=5):
    return Record("finished", "", at, {"status": status})


@asynccontextmanager
async def ledger_at(directory, redact=str):
    """A journal over `directory` with its ledger, until the block ends."""
    kept = StateDirectory(str(directory))
    journal = Journal(Bus(), kept, redact, Keeping(sync="off"))
    ledger = SqliteLedger(journal)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        try:
            yield ledger, journal
        finally:
            nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await journal.aclose()
    kept.close()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(max_size=5)
    | st.sampled_from(["\udcff", "\0", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.lists(
    st.builds(
        Record,
        st.sampled_from(["started", "ended", "decided", "timer", "mail"]),
        st.sampled_from(["", "copy", "each[3].copy", "undo/é"]),
        st.integers(0, 2**62),
        st.dictionaries(st.sampled_from(["value", "result", "error"]), JSON, max_size=3),
    ),
    max_size=6,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_both_ledgers_keep_the_same(tmp_path_factory, batches):
    """What one ledger has after any calls the other has too, and the one on the disk after a restart as well."""
    directory = tmp_path_factory.mktemp("kept")

    async def main():
        memory = MemoryLedger()
        async with ledger_at(directory) as (ledger, _):
            for one in (memory, ledger):
                assert await one.create(new_run("r", parent=("p", "each[1]")), batches[0])
                assert not await one.create(new_run("r", "other"))
                for batch in batches[1:]:
                    await one.append("r", batch)
            here = await ledger.load("r")
        async with ledger_at(directory) as (ledger, _):
            assert await ledger.load("r") == here == await memory.load("r")
            assert await ledger.unfinished() == [here] and ledger.known == memory.known
            assert await ledger.load("q") is None
            for one in (memory, ledger):
                await one.append("r", [ended()])
            assert await ledger.unfinished() == [] and ledger.known == memory.known
            assert (await ledger.load("r")).finished == ended()

    trio.run(main)


async def test_interrupted_runs_are_found_in_their_order(tmp_path):
    """Runs of many versions, each with its own definition and records, oldest first."""
    async with ledger_at(tmp_path) as (ledger, _):
        for i in range(20):
            await ledger.create(new_run(f"r{i}", f"d{i % 3}"), [Record("started", "a", i, {})])
        for i in range(0, 20, 2):
            await ledger.append(f"r{i}", [ended()])
    async with ledger_at(tmp_path) as (ledger, _):
        found = await ledger.unfinished()
        assert [stored.run.id for stored in found] == [f"r{i}" for i in range(1, 20, 2)]
        assert all(s.run.definition == f"text of {s.run.digest}" and len(s.records) == 1 for s in found)
        assert len(ledger.known) == 20 and ledger.known["r0"].status == "succeeded"


async def test_old_runs_are_given_up(tmp_path):
    """By count and by age, with their records and definitions; never one that goes on. A definition comes back."""
    async with ledger_at(tmp_path) as (ledger, journal):
        for i in range(10):
            await ledger.create(new_run(f"r{i}", f"d{i}"), [] if i < 2 else [ended(at=i * DAY_NS)])
        await Housekeeper(journal, ledger, Keeping(retention_days=1000, retention_runs=5)).tidy(20 * DAY_NS)
        assert list(ledger.known) == ["r0", "r1", "r5", "r6", "r7", "r8", "r9"]
        await Housekeeper(journal, ledger, Keeping(retention_days=12.5, retention_runs=100)).tidy(20 * DAY_NS)
        assert list(ledger.known) == ["r0", "r1", "r8", "r9"] and await ledger.load("r5") is None
        await ledger.create(new_run("again", "d5"))
        assert (await ledger.load("again")).run.definition == "text of d5"
        counts = (
            "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM records), (SELECT count(*) FROM definitions)"
        )
        assert await journal.read(lambda connection: connection.execute(counts).fetchone()) == (5, 2, 5)


async def test_old_audit_records_are_signed_off(tmp_path):
    """The gap that retention makes is a record, so that the trail is still whole."""
    async with ledger_at(tmp_path) as (ledger, journal):
        for i in range(50):
            journal.writer.hand_over([journal.chain.link("test", at=1 + i * DAY_NS)])
        before = journal.chain.head.seq
        await journal.writer.perform(lambda connection: None)
        await Housekeeper(journal, ledger, Keeping(retention_audit_days=10)).tidy(50 * DAY_NS)
        first = await journal.read(lambda connection: connection.execute("SELECT min(seq) FROM audit").fetchone()[0])
        assert first > 1 or before == journal.chain.head.seq
        head = journal.chain.head
        await journal.writer.perform(lambda connection: None)
        verdict = await journal.read(lambda connection: verify(connection, head))
        assert verdict.problems == []


async def test_no_secret_is_written(tmp_path):
    """Whatever hands a secret's value over, it is not in the files."""
    value = 'hunter2-"very"-secret'

    def redact(text):
        return text.replace('hunter2-\\"very\\"-secret', "[secret x]").replace(value, "[secret x]")

    async with ledger_at(tmp_path, redact) as (ledger, journal):
        firing = {"input": {"a": value}}
        await ledger.create(
            NewRun("r", "flow", "d", "text", firing, "k", 1), [Record("ended", "a", 1, {"result": [value]})]
        )
        journal.auditor.note("test", data={"said": value})
        await journal.writer.perform(lambda connection: connection.execute("PRAGMA user_version"))
    for file in tmp_path.iterdir():
        assert b"hunter2" not in file.read_bytes(), file
    with reading(str(tmp_path / "journal.db")) as connection:
        assert "[secret x]" in connection.execute("SELECT data FROM records").fetchone()[0]


async def test_a_run_that_cannot_be_written_is_not_there(tmp_path):
    """Once the journal is closed nothing begins."""
    async with ledger_at(tmp_path) as (ledger, journal):
        pass
    with pytest.raises(Exception, match="closed"):
        await ledger.create(new_run("r"))
    assert "r" not in ledger.known and journal.writer.closed
