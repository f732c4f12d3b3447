"""Archives are packed whole and unpacked safely; links, owners and snapshots do what they say."""

import io
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from automation.errors import WorldError
from automation.workspace import snapshots
from tests.effects import acting_in

FORMATS = [
    "tar.gz",
    "tar",
    "zip",
    pytest.param("tar.zst", marks=pytest.mark.skipif(not shutil.which("zstd"), reason="zstd is not installed")),
]


@pytest.fixture
async def act(tmp_path: Path):
    async with acting_in(tmp_path) as one:
        yield one


@pytest.mark.parametrize("form", FORMATS)
async def test_what_is_packed_comes_out_again(act, form):
    """Content, modes, times, empty directories, symbolic links and odd names."""
    top = act.tree.top
    (top / "d/empty").mkdir(parents=True)
    (top / "d/ä b").write_bytes(os.urandom(3 << 20))
    (top / "d/run.sh").write_text("x")
    (top / "d/run.sh").chmod(0o750)
    os.utime(top / "d/run.sh", (1_000_000_000, 1_000_000_000))
    os.symlink("run.sh", top / "d/link")
    packed = await act("archive", source="d", target=f"out/x.{form}")
    assert packed["entries"] == 5 and packed["size"] == (top / f"out/x.{form}").stat().st_size
    assert "file.closed out/x." + form in act.tree.told()
    done = await act("extract", source=f"out/x.{form}", target="u")
    assert (done["path"], done["entries"]) == ("u", 5)
    assert (top / "u/d/ä b").read_bytes() == (top / "d/ä b").read_bytes()
    info = (top / "u/d/run.sh").stat()
    assert stat.S_IMODE(info.st_mode) == 0o750 and info.st_mtime == 1_000_000_000
    assert os.readlink(top / "u/d/link") == "run.sh" and (top / "u/d/empty").is_dir()
    assert "file.closed u/d/run.sh" in act.tree.told()
    with pytest.raises(WorldError, match="file exists"):
        await act("extract", source=f"out/x.{form}", target="u")
    await act("undo", of=act.context.undo)
    assert act.tree.names() == ["d", "d/empty", "d/link", "d/run.sh", "d/ä b"]


def tar(path: Path, *entries: tarfile.TarInfo) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.type, one.linkname, one.size = kind, link, size
    return one


HOSTILE = {
    "absolute": [entry("/etc/x", size=1)],
    "parent": [entry("a/../../x", size=1)],
    "link out": [entry("l", tarfile.SYMTYPE, "../x")],
    "absolute link": [entry("l", tarfile.SYMTYPE, "/etc/passwd")],
    "through a link": [entry("d", tarfile.DIRTYPE), entry("l", tarfile.SYMTYPE, "d"), entry("l/x", size=1)],
    "links in a chain": [
        entry("p/q", tarfile.DIRTYPE),
        entry("p/q/l", tarfile.SYMTYPE, "../.."),
        entry("a", tarfile.SYMTYPE, "p/q/l/../.."),
    ],
    "hard link out": [entry("h", tarfile.LNKTYPE, "../secret")],
    "hard link to a link": [entry("l", tarfile.SYMTYPE, "x"), entry("h", tarfile.LNKTYPE, "l")],
    "device": [entry("null", tarfile.CHRTYPE)],
    "fifo": [entry("f", tarfile.FIFOTYPE)],
    "twice": [entry("a", size=1), entry("a", size=1)],
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_archive_is_refused_as_a_whole(act, name):
    """Nothing of it is left, neither in its directory nor beside it."""
    (act.tree.top.parent / "secret").write_text("secret")
    tar(act.tree.top / "x.tar.gz", entry("fine", size=3), *HOSTILE[name])
    with pytest.raises(WorldError, match=r"cannot unpack 'x\.tar\.gz'"):
        await act("extract", source="x.tar.gz", target="u")
    assert act.tree.names() == ["x.tar.gz"]
    assert sorted(os.listdir(act.tree.top.parent)) == ["secret", "top"]


@pytest.mark.parametrize("form", ["tar.gz", "zip"])
async def test_a_bomb_is_stopped_by_what_comes_out(act, form):
    """By size, by ratio and by the number of entries, whatever the headers say."""
    source = act.tree.top / f"x.{form}"
    if form == "zip":
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros", bytes(8 << 20))
            archive.writestr("more", b"")
    else:
        tar(source, entry("zeros", size=8 << 20), entry("more"))
    for bound, says in (
        ({"max_size": "1MiB"}, "more than 1048576 bytes"),
        ({}, "200 times"),
        ({"max_entries": 1}, "1 ent"),
    ):
        more = {"max_ratio": 1e9} if bound else {}
        with pytest.raises(WorldError, match=says):
            await act("extract", source=source.name, target="u", **bound, **more)
    assert act.tree.names() == [source.name]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nonsense", b"\x1f\x8b\x08junk", os.urandom(2000)])
@pytest.mark.parametrize("form", FORMATS)
async def test_a_broken_archive_is_an_error_of_one_sentence(act, content, form):
    """Not a crash, and nothing is left."""
    (act.tree.top / "x").write_bytes(content)
    try:
        await act("extract", source="x", target="u", format=form)
    except WorldError as error:
        assert "cannot unpack 'x'" in str(error) and act.tree.names() == ["x"]
    else:
        assert not list((act.tree.top / "u").iterdir())  # some read nothing as an archive of nothing


async def test_packing_is_cancelled_between_pieces_and_leaves_nothing(act):
    """A half archive never has the name."""
    (act.tree.top / "big").write_bytes(os.urandom(64 << 20))
    with trio.move_on_after(0.2) as scope:
        await act("archive", source="big", target="x.tar.gz")
    assert scope.cancelled_caught and act.tree.names() == ["big"]


async def test_links_and_owners(act):
    """A hard link is one more name; a symbolic one holds its text; a name that is taken is refused or replaced."""
    top = act.tree.top
    (top / "a").write_text("x")
    assert await act("link", target="a", path="in/h") == {"path": "in/h", "target": "a"}
    assert (top / "in/h").stat().st_ino == (top / "a").stat().st_ino
    await act("link", target="../nowhere", path="s", symbolic=True)
    assert os.readlink(top / "s") == "../nowhere"
    with pytest.raises(WorldError, match="file exists"):
        await act("link", target="a", path="s")
    await act("link", target="a", path="s", overwrite=True)
    assert (top / "s").read_text() == "x"
    with pytest.raises(WorldError, match="cannot link"):
        await act("link", target="../../etc/passwd", path="p")
    if os.geteuid() == 0:
        assert await act("set_owner", path="a", uid=7) == {"uid": 7, "gid": 0, "before": {"uid": 0, "gid": 0}}
        assert (top / "a").stat().st_uid == 7
    assert [t for t in act.tree.told() if "linked" in t][:2] == ["file.linked a>in/h", "file.symlinked s"]


async def test_snapshots_are_kept_by_number(act, monkeypatch):
    """The newest stay; what is no snapshot in that directory stays too; undone, the old ones are back."""
    top = act.tree.top
    (top / "d").mkdir()
    (top / "d/x").write_text("1")
    for i in range(3):
        monkeypatch.setattr("time.time", lambda i=i: 1_000_000.0 + i)
        (top / "d/x").write_text(str(i))
        done = await act("snapshot", path="d", keep=2)
    assert len(done["removed"]) == 1 and done["path"] == ".snapshots/d/1970-01-12T13-46-42.000000Z"
    assert [(p / "x").read_text() for p in sorted((top / ".snapshots/d").iterdir())] == ["1", "2"]
    monkeypatch.undo()
    await act("undo", of=act.context.undo)
    assert not (top / ".snapshots").exists()


@given(st.lists(st.floats(0, 4e9), max_size=8), st.integers(1, 5), st.floats(0, 4e9))
def test_snapshots_past_keeping(times, keep, oldest):
    """Never one of the newest that is young enough, never a name of another form."""
    names = [snapshots.name(one) for one in times]
    gone = snapshots.outdated([*names, "README", "2026"], keep, oldest)
    stay = [one for one in names if one not in gone]
    assert len(set(stay)) <= keep and all(one >= snapshots.name(oldest) for one in stay) and "README" not in gone


async def test_long_copies_report_how_far_they_are(act, monkeypatch):
    """Copied bytes and the whole, growing."""
    told = []
    monkeypatch.setattr("automation.workspace.watching._PACE", 0.0)
    monkeypatch.setattr("automation.workspace.copying._FICLONE", 0)
    (act.tree.top / "big").write_bytes(os.urandom(40 << 20))
    await act.context.workspace.copy("big", "copy", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (40 << 20, 40 << 20) and told == sorted(told) and len(told) > 2
