"""What is begun of a write before it may be done: nobody sees it, and the write does what it always does."""

import os
import stat

import pytest
import trio

from automation.errors import WorldError
from automation.workspace import drafts
from tests.effects import CAUSE, tree_in


@pytest.fixture
def tree(tmp_path):
    with tree_in(tmp_path) as one:
        yield one
        one.workspace.trash.close()


def draft(tree, path="f", data=b"x", mode=None):
    found = tree.workspace.draft(path, data, mode)
    assert found is not None
    return found


async def settled(tree):
    while tree.workspace._drafting.borrowed_tokens:  # noqa: ASYNC110 - the thread is not ours
        await trio.sleep(0.01)


async def write(tree, one, path="f", data=b"x", **options):
    try:
        return await tree.workspace.write(path, data, draft=one, cause=CAUSE, **options)
    finally:
        one.discard()


async def test_a_draft_is_nothing_that_anybody_sees(tree):
    """No name, no event, nothing for the kernel to forget; discarded it is gone, synced or not, and for good."""
    before = len(os.listdir("/proc/self/fd"))
    for wait in (False, True):
        one = draft(tree)
        if wait:
            assert await one.sync()
        assert tree.names() == tree.events() == tree.cache.entries == []
        one.discard()
        one.discard()
    await settled(tree)
    assert tree.names() == [] and len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("mode", [None, 0o640])
async def test_a_write_with_a_draft_is_as_one_without(tree, mode):
    """The same content, mode, events, record to undo it, and stale entry."""
    told = []
    for path in ("plain", "drafted"):
        undo = []
        if path == "plain":
            await tree.workspace.write(path, b"hello", mode=mode, cause=CAUSE, undo=undo)
        else:
            one = draft(tree, path, b"hello", mode)
            assert await write(tree, one, path, b"hello", mode=mode, undo=undo) == path
            assert one.path == path
        info = (tree.top / path).stat()
        same = {"seq": 0, "ts": 0, "path": ""}
        events = [{**e.as_dict(), **same, "inode": e.inode == info.st_ino} for e in tree.events()]
        (record,) = undo
        record = {**record, "path": "", "inode": record["inode"] == info.st_ino}
        told.append([(tree.top / path).read_bytes(), stat.S_IMODE(info.st_mode), info.st_nlink, events, record])
    assert told[0] == told[1] and len(told[0][3]) == 4
    assert tree.cache.entries == [("", "plain"), ("", "drafted")]
    await tree.workspace.undo(undo, cause=CAUSE)
    assert tree.names() == ["plain"]


async def test_what_takes_longer_has_no_draft(tree):
    """A file that is there, a missing directory, much data, a place outside, and when many are at work."""
    (tree.top / "f").write_text("old")
    for path in ("f", "a/f", ".vexfs/x", "../g"):
        one = draft(tree, path)
        assert not await one.sync()
        one.discard()
    assert tree.workspace.draft("g", bytes(drafts.LARGEST + 1)) is None
    some = [draft(tree, f"f{i}") for i in range(8)]
    assert tree.workspace.draft("f8", b"x") is None
    await tree.workspace.write("f8", b"x")  # they hold no thread up
    for one in some:
        await one.sync()
        one.discard()
    draft(tree, "f9").discard()
    await settled(tree)
    assert tree.names() == ["f", "f8"]


async def test_what_happens_meanwhile_is_respected(tree):
    """The name is taken: the file is replaced, or that is an error. The directory is another: the file is in that."""
    one = draft(tree)
    (tree.top / "f").write_text("other")
    with pytest.raises(WorldError, match="exists"):
        await write(tree, one, overwrite=False)
    assert (tree.top / "f").read_text() == "other"
    (tree.top / "f").unlink()
    one = draft(tree)
    (tree.top / "f").write_text("other")
    assert await write(tree, one) == "f"
    assert (tree.top / "f").read_bytes() == b"x" and tree.told()[0] == "file.replaced f"
    (tree.top / "d").mkdir()
    one = draft(tree, "d/f")
    (tree.top / "d").rename(tree.top / "e")
    (tree.top / "d").mkdir()
    assert await write(tree, one, "d/f") == "d/f"
    assert tree.names() == ["d", "d/f", "e", "f"]


async def test_a_draft_that_the_disk_does_not_take_is_written_again(tree, monkeypatch):
    """The write tries by itself, and tells what is wrong."""
    fsync, failures = os.fsync, 1

    def failing(fd):
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OSError(5, "Input/output error")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", failing)
    assert await write(tree, draft(tree)) == "f"
    failures = 2
    with pytest.raises(WorldError, match="input/output error"):
        await write(tree, draft(tree, "g"), "g")
    assert tree.names() == ["f"]


async def test_who_is_cancelled_leaves_nothing(tree):
    """Whether it waits for the disk or has not begun to."""
    for deadline in (0, 0.001):
        one = draft(tree)
        with trio.move_on_after(deadline):
            await write(tree, one)
        await settled(tree)
    assert set(tree.names()) <= {"f"}
