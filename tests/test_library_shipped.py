"""Each automation in workflows/ does what its first lines promise, over a plain directory."""

import gzip
import json
import os
import stat
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trio

from automation.library import check
from tests.automation_rig import rig

SHIPPED = Path(__file__).parent.parent / "workflows"
FAST = {"settle: 2s": "settle: 10ms", "settle: 1s": "settle: 10ms", "settle: 500ms": "settle: 10ms"}


def shipped(name):
    """The text of a shipped definition, impatient."""
    text = (SHIPPED / f"{name}.yaml").read_text()
    for slow, fast in FAST.items():
        text = text.replace(slow, fast)
    return text


def test_every_shipped_definition_is_right():
    """And documented by comments at its head."""
    assert check([str(SHIPPED)]) == []
    for file in SHIPPED.iterdir():
        assert file.read_text().startswith(("# ", "-- ")), file


async def test_ingest_sorts_and_catalogues(tmp_path):
    """By kind and month; the digest is kept, a taken name gets a piece of it, unfinished files are left."""
    async with rig(tmp_path, ingest=shipped("ingest")) as r:
        r.save("inbox/holiday.JPG", b"picture")
        r.save("inbox/deep/holiday.JPG", b"another")
        r.save("inbox/big.iso.part", b"half")
        r.save("elsewhere/a.jpg", b"x")
        runs = await r.settled()
        assert [run.status for run in runs] == ["succeeded", "succeeded"], [run.error for run in runs]
        kept = [name for name in r.files() if name.startswith("sorted/images/")]
        assert len(kept) == 2 and kept[0].endswith(".JPG") and "holiday-" in kept[0]
        assert {"elsewhere/a.jpg", "inbox/big.iso.part"} <= set(r.files())
        lines = [json.loads(line) for line in r.text("sorted/catalog.jsonl").splitlines()]
        assert {line["from"] for line in lines} == {"inbox/holiday.JPG", "inbox/deep/holiday.JPG"}
        assert lines[0]["uid"] == 1000 and lines[0]["program"] == "test" and lines[0]["size"] == 7
        assert runs[0].steps[-1].status == "skipped"


async def test_ingest_announces_where_it_is_told_to(tmp_path):
    """By a POST with the digest; a dead address does not keep the file."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    try:
        async with rig(tmp_path, ingest=shipped("ingest").replace("backoff: 2s", "backoff: 1ms")) as r:
            r.service.state.set("ingest.webhook", f"http://127.0.0.1:{server.server_port}/x")
            r.save("inbox/a.txt", b"hello")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, server.handle_request)
                (run,) = await r.settled()
            assert run.status == "succeeded" and received[0]["path"].endswith("/a.txt")
            server.server_close()
            r.save("inbox/b.txt", b"hello")
            run = (await r.settled())[-1]
            assert run.status == "succeeded" and run.steps[-1].attempts == 3 and run.steps[-1].error
    finally:
        server.server_close()


async def test_text_is_extracted(tmp_path):
    """From plain, packed, marked-up and binary files, whatever their names."""
    async with rig(tmp_path, text=shipped("text")) as r:
        r.save("texts/a.txt", b"plain words")
        r.save("texts/sub dir/b.gz", gzip.compress(b"packed words"))
        r.save("texts/-c 'odd' $(name).html", b"<p>marked &amp; <b>words</b></p>")
        r.save("texts/d.bin", b"\0\1binary words\0\2\xff")
        runs = await r.settled()
        assert [run.status for run in runs] == ["succeeded"] * 4, [run.error for run in runs]
        plain = "texts/.plain/"
        assert r.text(f"{plain}a.txt.txt") == "plain words" and r.text(f"{plain}sub dir/b.gz.txt") == "packed words"
        assert "marked & " in r.text(f"{plain}-c 'odd' $(name).html.txt")
        assert r.text(f"{plain}d.bin.txt").strip() == "binary words"


async def test_a_missing_tool_is_named(tmp_path, monkeypatch):
    """With what to install."""
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "mkdir", "dirname", "rm", "tr", "cat", "wc", "mv"):
        (tmp_path / "bin" / tool).symlink_to(Path("/usr/bin") / tool)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    async with rig(tmp_path, text=shipped("text")) as r:
        r.save("texts/a.pdf", b"%PDF")
        (run,) = await r.settled()
        assert run.status == "failed" and "install poppler-utils" in run.error
        assert r.files() == ["texts/a.pdf"]


async def test_versions_keep_every_saved_state(tmp_path):
    """Up to the number that the state names; reading and temporary files make none."""
    async with rig(tmp_path, versions=shipped("versions")) as r:
        r.service.state.set("versions.keep", 3)
        for i in range(5):
            r.save("versioned/plan.txt", f"state {i}".encode())
            await r.settled()
        r.save("versioned/.plan.swp")
        r.publish("file.closed", "versioned/plan.txt", attrs={"written": False, "mode": "r"})
        (r.root / "versioned/new").write_text("by rename")
        (r.root / "versioned/new").rename(r.root / "versioned/plan.txt")
        r.publish("file.renamed", "versioned/new", "versioned/plan.txt")
        runs = await r.settled()
        assert [run.status for run in runs] == ["succeeded"] * 6, [run.error for run in runs]
        kept = sorted((r.root / "versioned/.versions/plan.txt").iterdir())
        assert [one.read_text() for one in kept] == ["state 3", "state 4", "by rename"]


async def test_quarantine_locks_dangerous_and_large_files_away(tmp_path):
    """With a note; harmless ones stay; what is there at the start is looked at too."""
    (tmp_path / "root" / "screened").mkdir(parents=True)
    (tmp_path / "root" / "screened" / "old.bat").write_text("x")
    text = shipped("quarantine").replace("largest: 1000000000", "largest: 10")
    async with rig(tmp_path, quarantine=text) as r:
        r.save("screened/fine.txt", b"ok")
        r.save("screened/setup.EXE", b"MZ")
        r.save("screened/big.txt", b"x" * 11)
        await r.until(lambda: len(r.runs) == 3)
        runs = await r.settled()
        assert [run.status for run in runs] == ["succeeded"] * 3, [run.error for run in runs]
        assert [name for name in r.files() if name.startswith("screened/")] == ["screened/fine.txt"]
        jailed = [name for name in r.files() if not name.endswith(".why")][:-1]
        assert [name.rpartition("-")[2] for name in sorted(jailed, key=lambda n: n[-7:])] == [
            "big.txt",
            "old.bat",
            "setup.EXE",
        ]
        assert all(stat.S_IMODE((r.root / name).stat().st_mode) == 0 for name in jailed)
        notes = "".join(r.text(name) for name in r.files() if name.endswith(".why"))
        assert "the extension .EXE" in notes and "the size, 11 bytes" in notes
        assert len(r.events("user.quarantined")) == 3


async def test_archive_packs_old_files(tmp_path):
    """What is younger, hidden, packed or linked stays; mode and time are kept."""
    async with rig(tmp_path, archive=shipped("archive")) as r:
        await r.service.command("run archive", 0)
        assert (await r.settled())[0].status == "succeeded"
        for name in ("old.txt", "sub dir/-old 'one'.txt", "young.txt", ".hidden"):
            r.save(f"archive/{name}", name.encode())
        for name in ("old.txt", "sub dir/-old 'one'.txt", ".hidden"):
            os.utime(r.root / "archive" / name, (1_000_000_000, 1_000_000_000))
        os.chmod(r.root / "archive/old.txt", 0o640)
        await r.service.command("run archive", 0)
        run = (await r.settled())[-1]
        assert run.status == "succeeded" and "packed 2 files" in run.output["message"], run.error
        packed = sorted((r.root / "archive/packed").rglob("*.gz"))
        assert [gzip.decompress(one.read_bytes()) for one in packed] == [b"old.txt", b"sub dir/-old 'one'.txt"]
        first = packed[0].stat()
        assert stat.S_IMODE(first.st_mode) == 0o640 and first.st_mtime == 1_000_000_000
        assert {"archive/.hidden", "archive/young.txt"} <= set(r.files()) and "archive/old.txt" not in r.files()
        await r.service.command('run archive {"days": 0}', 0)
        assert (await r.settled())[-1].status == "succeeded" and "archive/young.txt" not in r.files()


@pytest.mark.parametrize("name", ["ingest", "text", "versions", "quarantine", "archive"])
async def test_no_automation_acts_outside_of_its_folders(tmp_path, name):
    """Files elsewhere are left alone."""
    async with rig(tmp_path, **{name: shipped(name)}) as r:
        for path in ("a.exe", "docs/old.jpg", "my/inbox/x.pdf", "in box/versioned"):
            r.save(path)
        assert await r.settled() == [] and len(r.files()) == 4
