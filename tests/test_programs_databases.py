"""sqlite3 on the mount: write-ahead log and rollback journal, concurrent writers, crashes, integrity."""

import os
import re
import sqlite3
from collections.abc import Iterator

import pytest

from tests.patience import eventually
from tests.posix.children import Child, together
from tests.programs.places import SETTINGS, Place, below, place
from tests.programs.running import need, run

pytestmark = pytest.mark.mount

MODES = pytest.mark.parametrize("mode", ["wal", "delete", "truncate", "persist"])


@pytest.fixture(scope="module", params=SETTINGS)
def mounted_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """One mount for all tests of this file, in each setting."""
    with place(request.param) as where:
        yield where


@pytest.fixture
def there(mounted_place: Place, request: pytest.FixtureRequest) -> Place:
    """An empty directory on it."""
    return below(mounted_place, re.sub(r"\W", "-", request.node.name))


def connect(there: Place, mode: str) -> sqlite3.Connection:
    """A connection to the test's database, in the given journal mode."""
    connection = sqlite3.connect(there.path / "data.db", timeout=180, isolation_level=None)
    assert connection.execute(f"pragma journal_mode = {mode}").fetchone() == (mode,)
    connection.execute("create table if not exists t (id integer primary key, who int, data blob)")
    return connection


def rows(connection: sqlite3.Connection) -> int:
    """How many there are."""
    return int(connection.execute("select count(*) from t").fetchone()[0])


def check(there: Place) -> int:
    """Integrity of the database on the mount and behind it; the number of rows."""
    counts = []
    for root in (there.path, there.backing):
        connection = sqlite3.connect(root / "data.db")
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        counts.append(rows(connection))
        connection.close()
    assert counts[0] == counts[1]
    return counts[0]


@MODES
def test_concurrent_writers(there: Place, mode: str) -> None:
    """Three processes insert and update at the same time: nothing is lost, and the database is sound."""
    connect(there, mode).close()

    def work() -> int:
        connection = connect(there, mode)
        for _ in range(25):
            connection.execute("begin immediate")
            connection.execute("insert into t (who, data) values (?, randomblob(2000))", (os.getpid(),))
            connection.execute("update t set data = randomblob(1500) where id % 7 = 3")
            connection.execute("commit")
        connection.close()
        return 25

    assert check(there) == 0
    assert sum(together([work] * 3)) == check(there)


@MODES
def test_rollback_and_readers(there: Place, mode: str) -> None:
    """A transaction that is rolled back leaves nothing; a reader sees a consistent state throughout."""
    connection = connect(there, mode)
    connection.execute("insert into t (who, data) values (1, randomblob(100000))")
    reader = connect(there, mode)
    connection.execute("begin immediate")
    connection.execute("insert into t (who, data) values (2, randomblob(500000))")
    assert reader.execute("select count(*) from t").fetchone() == (1,)
    connection.execute("rollback")
    assert reader.execute("select count(*) from t").fetchone() == (1,)
    reader.close()
    connection.close()
    assert check(there) == 1


@MODES
def test_killed_writer(there: Place, mode: str) -> None:
    """A writer killed within a transaction costs that transaction and nothing else."""
    connect(there, mode).close()

    def work() -> None:
        connection = connect(there, mode)
        while True:
            connection.execute("begin immediate")
            for _ in range(10):
                connection.execute("insert into t (who, data) values (1, randomblob(3000))")
            connection.execute("commit")

    for _ in range(3):
        child = Child(work)
        watcher = connect(there, mode)
        before = rows(watcher)
        eventually(lambda watcher=watcher, before=before: rows(watcher) >= before + 50)
        child.kill()
        os.waitpid(child.pid, 0)
        assert rows(watcher) % 10 == 0
        watcher.close()
    assert check(there) % 10 == 0


def test_vacuum_and_large_rows(there: Place) -> None:
    """Rows of megabytes, deletion and VACUUM; the file shrinks."""
    connection = connect(there, "delete")
    for _ in range(10):
        connection.execute("insert into t (who, data) values (1, randomblob(1000000))")
    large = (there.path / "data.db").stat().st_size
    connection.execute("delete from t where id > 2")
    connection.execute("vacuum")
    connection.close()
    assert check(there) == 2
    assert (there.path / "data.db").stat().st_size < large // 3


def test_memory_mapped(there: Place) -> None:
    """With memory-mapped I/O the same."""
    connection = connect(there, "wal")
    connection.execute("pragma mmap_size = 50000000")
    for number in range(50):
        connection.execute("insert into t (who, data) values (?, randomblob(20000))", (number,))
    connection.execute("pragma wal_checkpoint(truncate)")
    assert connection.execute("select count(distinct who) from t").fetchone() == (50,)
    connection.close()
    assert check(there) == 50


def test_command(there: Place) -> None:
    """The sqlite3 program: import, dump and restore."""
    need("sqlite3")
    inserts = "".join(f"insert into t values ({number}, 'row {number}');\n" for number in range(500))
    run(there.path, "sqlite3", "a.db", data=f"create table t (id int, text);\nbegin;\n{inserts}commit;\n")
    dump = run(there.path, "sqlite3", "a.db", ".dump")
    run(there.path, "sqlite3", "b.db", data=dump)
    assert run(there.path, "sqlite3", "b.db", ".dump") == dump
    assert run(there.path, "sqlite3", "b.db", "pragma integrity_check; select count(*) from t").split() == ["ok", "500"]
