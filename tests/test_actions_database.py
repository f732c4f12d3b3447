"""Statements on a SQLite file and on a PostgreSQL server of our own: values are parameters, never text."""

import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from pydantic import ValidationError

from automation.actions import check_action
from automation.actions.databases import Databases
from automation.errors import CircuitOpen, TimedOut, WorldError
from tests.effects import acting_in

HOSTILE = "'); DROP TABLE t; --"


@pytest.fixture
async def act(tmp_path: Path):
    place = tmp_path / "databases"
    place.mkdir()
    with sqlite3.connect(place / "x.db") as connection:
        connection.execute("CREATE TABLE t (a INTEGER UNIQUE, b TEXT)")
    connection.close()
    async with acting_in(tmp_path, databases=Databases([str(place)])) as one:
        yield one


async def test_a_row_is_written_and_read(act):
    """By position and by name; lists go as JSON; what looks like SQL stays a value."""
    sql = "INSERT INTO t VALUES (?, ?)"
    assert (await act("update_database", sqlite="x.db", sql=sql, parameters=[1, HOSTILE]))["changed"] == 1
    named = {"a": 2, "b": [1, {"k": None}]}
    await act("update_database", sqlite="x.db", sql="INSERT INTO t VALUES (:a, :b)", parameters=named)
    done = await act("update_database", sqlite="x.db", sql="SELECT * FROM t ORDER BY a", max_rows=5)
    assert done == {
        "rows": [{"a": 1, "b": HOSTILE}, {"a": 2, "b": '[1, {"k": null}]'}],
        "changed": 0,
        "truncated": False,
    }
    assert (await act("update_database", sqlite="x.db", sql="SELECT a FROM t", max_rows=1))["truncated"]


async def test_a_template_in_the_statement_is_refused_at_load():
    """With what to write instead."""
    raw = {"type": "update_database", "sqlite": "x", "sql": "DELETE FROM t WHERE b = '{{ event.path }}'"}
    with pytest.raises(ValidationError, match="templates in SQL are refused"):
        check_action(raw)


async def test_only_allowed_places_are_reached(act, tmp_path):
    """Not by an absolute path, not by `..`, not by a link, not by ATTACH; a missing file is made only if asked."""
    place = tmp_path / "databases"
    sqlite3.connect(tmp_path / "other.db").close()
    os.symlink(tmp_path / "other.db", place / "link.db")
    for path in (str(tmp_path / "other.db"), "../other.db", "link.db"):
        with pytest.raises(WorldError, match="not in an allowed place"):
            await act("update_database", sqlite=path, sql="SELECT 1", create=True)
    with pytest.raises(WorldError, match="not authorized"):
        await act("update_database", sqlite="x.db", sql=f"ATTACH '{tmp_path}/other.db' AS o")
    with pytest.raises(WorldError, match="say `create: true`"):
        await act("update_database", sqlite="new.db", sql="SELECT 1")
    await act("update_database", sqlite="new.db", sql="CREATE TABLE x (a)", create=True)
    with pytest.raises(WorldError, match="no place is allowed"):
        Databases().place("x", create=True)


async def test_a_wrong_statement_changes_nothing_and_blames_nobody_else(act):
    """One statement only, in a transaction; the breaker does not count it."""
    for sql in (
        "INSERT INTO t VALUES (1, 2); DROP TABLE t",
        "SELEC 1",
        "INSERT INTO t SELECT 1, 2 UNION ALL SELECT 1, 3",
    ):
        with pytest.raises(WorldError, match="the statement failed"):
            await act("update_database", sqlite="x.db", sql=sql)
    assert (await act("update_database", sqlite="x.db", sql="SELECT count(*) AS n FROM t"))["rows"] == [{"n": 0}]
    assert act.context.breakers.all[0].failures == 0


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


async def test_a_statement_that_does_not_end_is_stopped(act):
    """By its time limit, and when the step is cancelled."""
    with pytest.raises(TimedOut, match=r"longer than 0\.2 s"):
        await act("update_database", sqlite="x.db", sql=ENDLESS, timeout="200ms")
    with trio.move_on_after(0.2) as scope, trio.fail_after(60):
        await act("update_database", sqlite="x.db", sql=ENDLESS)
    assert scope.cancelled_caught


# PostgreSQL


def _program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The DSN of a server of our own, on a socket in a directory of its own."""
    if _program("initdb") is None or _program("pg_ctl") is None:
        pytest.skip("PostgreSQL's programs are not installed")
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("there is no user postgres to run the server")
    if os.geteuid() != 0:
        pytest.skip("only root can start the server as the user postgres")
    with tempfile.TemporaryDirectory(prefix="vexfs-pg-", dir="/tmp") as directory:
        os.chown(directory, user.pw_uid, user.pw_gid)
        data = f"{directory}/data"

        def run(*words: str) -> None:
            subprocess.run(words, check=True, capture_output=True, user="postgres", group=user.pw_gid, cwd="/")

        run(
            _program("initdb"),
            "-D",
            data,
            "-A",
            "scram-sha-256",
            "-U",
            "ann",
            "--no-sync",
            f"--pwfile={_password(directory, user)}",
        )
        options = f"-k {directory} -c listen_addresses= -c fsync=off -c max_connections=10"
        run(_program("pg_ctl"), "-D", data, "-w", "-o", options, "-l", f"{directory}/log", "start")
        try:
            yield f"postgresql://ann:t0p-s3cret@/postgres?host={directory}"
        finally:
            run(_program("pg_ctl"), "-D", data, "-m", "immediate", "stop")


def _password(directory: str, user: pwd.struct_passwd) -> str:
    path = f"{directory}/password"
    with open(path, "w") as file:
        file.write("t0p-s3cret\n")
    os.chown(path, user.pw_uid, user.pw_gid)
    return path


async def test_postgresql_takes_parameters(act, postgres):
    """By position and by name; times and numbers come back as JSON can hold them."""
    await act("update_database", postgresql=postgres, sql="CREATE TABLE IF NOT EXISTS t (a int, b text)")
    done = await act(
        "update_database", postgresql=postgres, sql="INSERT INTO t VALUES (%s, %s)", parameters=[1, HOSTILE]
    )
    assert done["changed"] == 1
    sql = "SELECT a, b, 1.5::numeric AS n, '2026-01-02'::date AS d FROM t WHERE a = %(a)s"
    done = await act("update_database", postgresql=postgres, sql=sql, parameters={"a": 1})
    assert done["rows"] == [{"a": 1, "b": HOSTILE, "n": "1.5", "d": "2026-01-02"}]


async def test_postgresql_failures_are_told_apart_and_show_no_password(act, postgres):
    """A wrong statement is the definition's fault; a slow one is stopped; a refused login opens the breaker."""
    with pytest.raises(WorldError, match="the statement failed: relation"):
        await act("update_database", postgresql=postgres, sql="SELECT * FROM nowhere")
    with pytest.raises(TimedOut):
        await act("update_database", postgresql=postgres, sql="SELECT pg_sleep(30)", timeout="300ms")
    with trio.move_on_after(0.3) as scope, trio.fail_after(60):
        await act("update_database", postgresql=postgres, sql="SELECT pg_sleep(30)")
    assert scope.cancelled_caught
    wrong = postgres.replace("t0p-s3cret", "wr0ng-s3cret")
    raw = {"postgresql": wrong, "sql": "SELECT 1", "breaker": {"failures": 1}}
    with pytest.raises(WorldError, match="the server failed") as caught:
        await act("update_database", **raw)
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(CircuitOpen):
        await act("update_database", **raw)
    with pytest.raises(WorldError, match="the DSN is none"):
        await act("update_database", postgresql="nonsense", sql="SELECT 1")
