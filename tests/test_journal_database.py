"""The journal's database: versions, damage, group commit, a full disk."""

import sqlite3

import pytest
import trio

from automation.errors import CallerError, InternalError, WorldError
from automation.journal import database as module
from automation.journal.database import Database
from automation.journal.schema import MIGRATIONS
from automation.journal.writer import Writer
from tests.full_disk import FullDisk


def row(number, kind="audit"):
    return [kind, number, number, "test", "", 0, "", "{}", "h"]


def stored(path):
    with module.reading(path) as connection:
        return [seq for (seq,) in connection.execute("SELECT seq FROM audit ORDER BY seq")]


def test_an_older_database_is_brought_to_this_version(tmp_path):
    """Every version that ever was is migrated, with what it held."""
    for version in range(1, len(MIGRATIONS)):
        path = str(tmp_path / f"{version}.db")
        with sqlite3.connect(path, isolation_level=None) as connection:
            for script in MIGRATIONS[:version]:
                connection.executescript(script)
            connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("INSERT INTO audit VALUES (1, 1, 'test', '', 0, '', '{}', 'h')")
        connection.close()
        Database(path)
        with module.reading(path) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
            assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
        assert stored(path) == [1]


def test_a_newer_database_is_refused(tmp_path):
    """The sentence names both versions and what to do; the file is left as it is."""
    path = str(tmp_path / "journal.db")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(
        CallerError, match=r"is of version 99, and this VexFS knows versions up to .* use the newer VexFS"
    ):
        Database(path)
    assert [p.name for p in tmp_path.iterdir()] == ["journal.db"]


@pytest.mark.parametrize("harm", ["no database at all, but much text" * 400, ""])
def test_a_damaged_database_is_set_aside(tmp_path, caplog, harm):
    """It is renamed, the log says so, and a new one serves."""
    path = tmp_path / "journal.db"
    connection = Database(str(path)).connect()
    connection.executemany(
        "INSERT INTO audit VALUES (?, 1, 'test', '', 0, '', ?, 'h')", ((i, "x" * 200) for i in range(400))
    )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = path.read_bytes()
    path.write_bytes(harm.encode() or content[:8192] + b"\xff" * 4096 + content[12288:])
    fresh = Database(str(path))
    assert fresh.set_aside is not None and fresh.set_aside.startswith(f"{path}.damaged-")
    assert stored(str(path)) == [] and "is damaged" in caplog.text


def test_damage_that_is_met_in_use_is_dealt_with_at_the_next_opening(tmp_path):
    """A condemned database is set aside even if it looks well."""
    path = str(tmp_path / "journal.db")
    Database(path).condemn()
    assert Database(path).set_aside is not None
    assert Database(path).set_aside is None


async def test_what_lies_there_is_committed_together_and_in_order(tmp_path):
    """A thousand who wait need a few commits; nothing is lost or reordered."""
    path = str(tmp_path / "journal.db")
    writer = Writer(Database(path, sync="off"))
    writer.start()
    async with trio.open_nursery() as nursery:
        for number in range(1, 1001):
            nursery.start_soon(writer.write, [row(number)])
    assert writer.commits < 200 and writer.written == 1000
    await writer.close()
    assert stored(path) == list(range(1, 1001))


async def test_a_wrong_record_fails_alone(tmp_path, caplog):
    """Those who were committed with it do not notice."""
    path = str(tmp_path / "journal.db")
    writer = Writer(Database(path, sync="off"))
    for number in (1, 2, 2, 3):  # handed over before the thread begins: one commit
        writer.hand_over([row(number)])
    writer.start()
    await writer.write([row(4)])
    with pytest.raises(InternalError, match="refused a record"):
        await writer.write([row(4)])
    await writer.close()
    assert stored(path) == [1, 2, 3, 4] and "refused a record" in caplog.text


async def test_all_rows_of_one_call_or_none(tmp_path, caplog):
    """A call is one transaction."""
    path = str(tmp_path / "journal.db")
    writer = Writer(Database(path, sync="off"))
    writer.start()
    with pytest.raises(InternalError):
        await writer.write([row(1), row(2), row(1)])
    await writer.close()
    assert stored(path) == []


async def test_what_sqlite_cannot_hold_fails_alone(tmp_path, caplog):
    """A text or a number of a wrong kind is the error of who brought it."""
    path = str(tmp_path / "journal.db")
    writer = Writer(Database(path, sync="off"))
    wrong = [["audit", 1, 1, "\udcff", *row(1)[4:]], ["audit", 2**70, *row(1)[2:]]]
    for unit in (row(1), *wrong, row(2)):
        writer.hand_over([unit])
    writer.start()
    await writer.write([row(3)])
    await writer.close()
    assert stored(path) == [1, 2, 3] and caplog.text.count("refused a record") == 2


@pytest.mark.parametrize("count", [1, 2, 17, 256, 257, 700])
async def test_a_crowd_of_any_size_is_written_whole(tmp_path, count):
    """Rows that fill a statement up are not taken; rows of all tables are."""
    path = str(tmp_path / "journal.db")
    writer = Writer(Database(path, sync="off"))
    writer.start()
    rows = [["run", f"r{n}", "w", "d", n, "{}"] for n in range(count)]
    rows += [["record", f"r{n}", "started", "p", n, "{}"] for n in range(count)]
    rows += [["end", f"r{n}", "failed", n] for n in range(0, count, 2)] + [["definition", "d", "text"]]
    await writer.write(rows)
    await writer.close()
    with module.reading(path) as connection:
        ends = connection.execute("SELECT status, ended FROM runs ORDER BY number").fetchall()
        places = connection.execute("SELECT run, at FROM records ORDER BY number").fetchall()
        assert connection.execute("SELECT * FROM definitions").fetchall() == [("d", "text")]
    assert ends == [("", 0) if n % 2 else ("failed", n) for n in range(count)]
    assert places == [(f"r{n}", n) for n in range(count)]


async def test_a_cancelled_wait_ends_with_the_commit(tmp_path):
    """What was handed over is written before the caller goes on, whatever became of it meanwhile."""
    path = str(tmp_path / "journal.db")
    writer = Writer(Database(path, sync="off"))
    writer.start()
    with trio.CancelScope() as scope:
        scope.cancel()
        await writer.write([row(1)])
        assert stored(path) == [1]
    await writer.close()


async def test_nobody_waits_for_a_full_disk_at_the_end(tmp_path, caplog):
    """Once the journal hurries, what the disk refuses fails, and closing returns."""
    path = str(tmp_path / "journal.db")
    told = []
    writer = Writer(Database(path, sync="off"), on_stall=told.append)
    disk = FullDisk(writer)
    disk.full = True
    writer.start()
    large = row(1)
    large[7] = "x" * 100_000
    failures = []

    async def wait():
        try:
            await writer.write([large])
        except WorldError as error:
            failures.append(str(error))

    with trio.fail_after(90):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            while not told:  # noqa: ASYNC110 - the thread tells in its own time
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
            writer.hurry()
        await writer.close()
    assert failures == ["the journal cannot be written: database or disk is full"]


async def test_a_full_disk_is_waited_for(tmp_path, monkeypatch, caplog):
    """Whoever waits waits, `stalled` says why and is told; when there is room everything is written."""
    monkeypatch.setattr("automation.journal.writer.RETRY_SECONDS", 0.01)
    path = str(tmp_path / "journal.db")
    told = []
    writer = Writer(Database(path, sync="off"), on_stall=told.append)
    disk = FullDisk(writer)
    disk.full = True
    writer.start()
    large = row(1)
    large[7] = "x" * 100_000
    with trio.fail_after(90):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.write, [large])
            while not told:  # noqa: ASYNC110 - the thread tells in its own time
                await trio.sleep(0.01)
            assert "full" in writer.stalled and stored(path) == []
            writer.hand_over([row(2)])
            disk.full = False
    await writer.write([row(3)])
    await writer.close()
    assert stored(path) == [1, 2, 3] and len(told) == 2 and told[1] == ""
